"""The post-hoc probe: a logistic regression that reads off the current step's features whether the draft is right, fitted after training
on recorded trajectories of held-out puzzles. 2607.20519 finds such readouts as good as gates that are trained with the network."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hrm_gym.agents.agent import write_whole
from hrm_gym.agents.halting import HaltingStrategy
from hrm_gym.agents.thought import Thought
from hrm_gym.agents.trajectories import Trajectories
from hrm_gym.envs.errors import CheckpointError, ConfigError

# What the probe sees of a thought, in this order; `probe_features` computes it. No verification, no answer.
PROBE_FEATURES = (
    "q_halt",  # logit, cut off at +-20
    "q_continue",  # the same
    "log_changed_cells",  # log(1 + cells of the draft that changed)
    "log_unchanged_steps",  # log(1 + steps for which the draft has not changed)
    "log_doubt",  # log(1 - mean top-1 probability), not below log(1e-6); the following ones alike
    "log_entropy",
    "log_divergence",  # at the first step, where it is infinite, as if it were 10
    "log_residual",
    "log_cosine",
    "first_step",  # 1 at the first step, else 0
    "step",  # share of max_steps
)
NEEDED = frozenset({"confidence", "entropy", "divergence", "residual", "cosine"})
LEAST = 1e-6
RIDGE = 1e-5  # small: a strong one would make the probe underestimate how sure it may be
NEWTON_STEPS = 100


def probe_features(thought: Thought) -> Tensor:
    """The features PROBE_FEATURES of a batch of thoughts: float32[B, 11], finite."""
    assert thought.confidence is not None and thought.entropy is not None and thought.divergence is not None
    assert thought.residual is not None and thought.cosine is not None

    def log(values: Tensor) -> Tensor:
        return torch.log(values.clamp(LEAST, 10.0))

    return torch.stack(
        (
            thought.q_halt.clamp(-20.0, 20.0),
            thought.q_continue.clamp(-20.0, 20.0),
            torch.log1p(thought.changed_cells.float()),
            torch.log1p(thought.unchanged_steps.float()),
            log(1.0 - thought.confidence),
            log(thought.entropy),
            log(thought.divergence),
            log(thought.residual),
            log(thought.cosine),
            (thought.step == 1).float(),
            thought.step.float() / thought.max_steps,
        ),
        dim=1,
    )


@dataclass(frozen=True)
class ProbeWeights:
    """A fitted probe: probability of a right draft = sigmoid(bias + sum of weights * (features - mean) / scale).

    Attributes:
        features: names, the columns that it was fitted on.
        weights, mean, scale: as many numbers as there are features.
        bias: a number.
        puzzles: how many puzzles it was fitted on.
    """

    features: tuple[str, ...]
    weights: tuple[float, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    bias: float
    puzzles: int

    def save(self, path: str | Path) -> Path:
        """Write the probe as JSON, whole or not at all."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, (json.dumps(dataclasses.asdict(self), indent=2) + "\n").encode())
        return path

    @staticmethod
    def load(path: str | Path) -> ProbeWeights:
        """What `save` wrote.

        Raises:
            CheckpointError: no such file, or not a probe of these features.
        """
        try:
            values = json.loads(Path(path).read_text())
            lists = {name: tuple(values[name]) for name in ("features", "weights", "mean", "scale")}
            if lists["features"] != PROBE_FEATURES or any(len(entries) != len(PROBE_FEATURES) for entries in lists.values()):
                raise ValueError("other features")
            return ProbeWeights(**lists, bias=float(values["bias"]), puzzles=int(values["puzzles"]))
        except FileNotFoundError:
            raise CheckpointError(f"probe {path} does not exist; fit one on recorded trajectories first") from None
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"probe {path} cannot be read ({error}); fit it again") from None


class Probe(HaltingStrategy):
    """Halt when the probe's probability that the draft is right is above `threshold`.

    Args:
        fitted: from `fit_probe` or a file.
        threshold: between 0 and 1.
    """

    needs = NEEDED

    def __init__(self, fitted: ProbeWeights, threshold: float = 0.5) -> None:
        if not 0.0 < threshold < 1.0:
            raise ConfigError(f"probe({threshold:g}): expected a probability between 0 and 1")
        self.fitted = fitted
        self.threshold = threshold
        self.name = f"probe({threshold:g})"

    def probability(self, thought: Thought) -> Tensor:
        """The probability that each draft is right, float32[B]."""
        features = probe_features(thought)
        weights, mean, scale = (
            torch.tensor(values, dtype=features.dtype, device=features.device)
            for values in (self.fitted.weights, self.fitted.mean, self.fitted.scale)
        )
        return torch.sigmoid(((features - mean) / scale * weights).sum(1) + self.fitted.bias)

    def halt(self, thought: Thought) -> Tensor:
        return self.probability(thought) > self.threshold


def fit_probe(trajectories: Trajectories, ridge: float = RIDGE) -> ProbeWeights:
    """Fit the probe on all steps of all puzzles of a recording that is not tested on.

    Logistic regression by Newton's method (iteratively reweighted least squares) with a ridge penalty on the standardised weights, in
    float64 and without randomness: the same recording gives the same probe.

    Args:
        ridge: the penalty is ridge / 2 times the sum of squared weights, against the mean loss of an example.

    Raises:
        ConfigError: no puzzles, or a ridge that is not above 0 (then right and wrong drafts that a plane separates have no fit).
    """
    if len(trajectories) == 0:
        raise ConfigError("the trajectories hold no puzzle; a probe needs some to be fitted on")
    if not ridge > 0.0:
        raise ConfigError(f"ridge is {ridge:g}; expected a number above 0")
    steps = range(1, trajectories.max_steps + 1)
    features = np.concatenate([probe_features(trajectories.thought(step)).double().numpy() for step in steps])
    right = trajectories.verified.reshape(-1).astype(np.float64)
    mean = features.mean(axis=0)
    scale = features.std(axis=0)
    scale[scale < 1e-9] = 1.0  # a feature that never varies gets the weight 0
    weights, bias = fit_logistic((features - mean) / scale, right, ridge)
    return ProbeWeights(PROBE_FEATURES, _floats(weights), _floats(mean), _floats(scale), float(bias), len(trajectories))


def fit_logistic(features: np.ndarray, outcomes: np.ndarray, ridge: float) -> tuple[np.ndarray, float]:
    """The minimum of mean log loss + ridge / 2 * |weights|^2 (the bias is free but for a trace): weights float64[F], bias.

    Newton's method, each step halved until it goes down; the problem is strictly convex, so there is one minimum and it is found.

    Args:
        features: float64[M, F], standardised.
        outcomes: float64[M], 0 or 1.
    """
    design = np.column_stack([features, np.ones(len(features))])
    # a trace of penalty on the bias keeps it finite where all outcomes are alike
    penalty = np.append(np.full(features.shape[1], ridge), 1e-6)

    def loss(parameters: np.ndarray) -> float:
        score = design @ parameters
        return float((np.logaddexp(0.0, score) - outcomes * score).mean() + 0.5 * (penalty * parameters**2).sum())

    parameters: np.ndarray = np.zeros(design.shape[1])
    now = loss(parameters)
    for _ in range(NEWTON_STEPS):
        score = design @ parameters
        probability = 1.0 / (1.0 + np.exp(-np.clip(score, -500, 500)))
        gradient = design.T @ (probability - outcomes) / len(design) + penalty * parameters
        curvature = (design * (probability * (1.0 - probability))[:, None]).T @ design / len(design) + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        share = 1.0
        while (then := loss(parameters - share * step)) > now and share > 1e-10:
            share /= 2
        if then > now:
            break
        parameters = parameters - share * step
        done = now - then < 1e-13 and np.abs(gradient).max() < 1e-9
        now = then
        if done:
            break
    return parameters[:-1], float(parameters[-1])


def _floats(values: Sequence[float] | np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
