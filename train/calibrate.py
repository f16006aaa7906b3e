"""Thresholds of halting strategies, chosen on validation puzzles and never on those that are tested on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hrm_gym.agents.halting import (
    AdaptiveComputationTime,
    Confidence,
    Cosine,
    Divergence,
    Entropy,
    EntropyChange,
    HaltingStrategy,
    PonderNet,
    QHalt,
    QMargin,
    Residual,
    StableDraft,
    halting_strategy,
)
from hrm_gym.agents.probe import Probe, ProbeWeights, fit_probe
from hrm_gym.agents.trajectories import Trajectories
from hrm_gym.envs.errors import ConfigError
from hrm_gym.train.compare import STEP_COST, default_strategies

TOLERANCE = 0.005
OBJECTIVES = ("cheapest", "reward")
CANDIDATES = 40
DIGITS = 3  # thresholds are rounded to what their names show, so that a name says exactly which strategy it is


@dataclass(frozen=True)
class Calibrated:
    """A strategy with the threshold that was chosen for it.

    Attributes:
        strategy: the strategy.
        threshold: chosen.
        thresholds: float64[K], all that were tried, ascending.
        accuracy, mean_steps: float64[K], what they gave on the validation puzzles.
    """

    strategy: HaltingStrategy
    threshold: float
    thresholds: np.ndarray
    accuracy: np.ndarray
    mean_steps: np.ndarray


def split_trajectories(
    trajectories: Trajectories, validation_share: float = 0.25, random: np.random.Generator | None = None
) -> tuple[Trajectories, Trajectories]:
    """A recording in two: validation puzzles to choose thresholds on, and test puzzles; none is in both, not even if it was drawn twice.

    Puzzles are the same if their questions are, or, where the recording kept no questions, their ids.

    Args:
        validation_share: of the distinct puzzles, above 0 and below 1.
        random: the generator of the split; None: a new one of seed 0.

    Raises:
        ConfigError: a share out of range, or too few puzzles for both.
    """
    if not 0.0 < validation_share < 1.0:
        raise ConfigError(f"validation_share is {validation_share:g}; expected a number between 0 and 1")
    random = np.random.default_rng(0) if random is None else random
    same = [row.tobytes() for row in trajectories.questions] if trajectories.questions is not None else list(trajectories.ids)
    first_seen: dict[bytes | str, int] = {}
    number = np.array([first_seen.setdefault(key, len(first_seen)) for key in same], np.int64)  # equal puzzles, equal numbers
    distinct = int(number.max()) + 1 if len(number) else 0
    chosen = np.zeros(distinct, bool)
    chosen[random.permutation(distinct)[: round(validation_share * distinct)]] = True
    validation = chosen[number] if distinct else np.zeros(0, bool)
    if not validation.any() or validation.all():
        raise ConfigError(f"{distinct} puzzles cannot be split into validation and test puzzles; record more")
    return trajectories.take(validation), trajectories.take(~validation)


def calibrate(
    make: Callable[[float], HaltingStrategy],
    thresholds: Sequence[float] | np.ndarray,
    validation: Trajectories,
    objective: str = "cheapest",
    tolerance: float = TOLERANCE,
    step_cost: float = STEP_COST,
) -> Calibrated:
    """Choose a strategy's threshold on validation puzzles.

    Args:
        make: threshold -> strategy.
        thresholds: those to try.
        validation: a recording of puzzles that are not tested on.
        objective: "cheapest": the fewest mean steps whose accuracy is at most `tolerance` below that of all steps; where none comes so
            near, the highest accuracy. "reward": the highest accuracy - step_cost * mean steps. Ties: fewer steps, then the
            lower threshold.
        tolerance: 0..1; 0.005 is half a point.
        step_cost: of the objective "reward".

    Raises:
        ConfigError: an unknown objective, no thresholds, or no puzzles.
    """
    if objective not in OBJECTIVES:
        raise ConfigError(f"objective {objective!r} is unknown; expected one of {', '.join(OBJECTIVES)}")
    tried = np.unique(np.asarray(thresholds, np.float64))
    if len(tried) == 0:
        raise ConfigError("there is no threshold to try; give at least one")
    if len(validation) == 0:
        raise ConfigError("the trajectories hold no puzzle; a threshold needs some to be chosen on")
    strategies = [make(float(threshold)) for threshold in tried]
    steps = np.stack([validation.halting_steps(strategy) for strategy in strategies])
    accuracy = np.array([validation.right_at(row).mean() for row in steps])
    mean_steps = steps.mean(axis=1)
    if objective == "reward":
        value = accuracy - step_cost * mean_steps
    else:
        enough = accuracy >= validation.verified[-1].mean() - tolerance - 1e-12
        value = np.where(enough, -mean_steps, -np.inf) if enough.any() else accuracy
    # lexsort takes the last key first: value, then steps, then threshold
    best = int(np.lexsort((tried, mean_steps, -np.round(value, 12)))[0])
    return Calibrated(strategies[best], float(tried[best]), tried, accuracy, mean_steps)


def rounded(values: np.ndarray, digits: int = DIGITS) -> np.ndarray:
    """Each value to so many significant digits, as a strategy's name shows it; equal ones once, ascending."""
    finite = np.asarray(values, np.float64)
    return np.unique([float(f"{value:.{digits}g}") for value in finite[np.isfinite(finite)]])


def quantiles(values: np.ndarray, count: int = CANDIDATES) -> np.ndarray:
    """`count` quantiles of the finite ones of `values`, denser towards both ends, where thresholds matter most; rounded."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return np.zeros(0)
    return rounded(np.quantile(finite, (1 - np.cos(np.linspace(0, np.pi, count))) / 2))


def _inside(values: np.ndarray) -> np.ndarray:
    return values[(values > 0) & (values < 1)]


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-np.clip(logits, -60, 60)))


# probabilities between 0 and 1, denser towards both ends
PROBABILITIES = rounded(_sigmoid(np.linspace(-7, 7, CANDIDATES)))


def candidates(
    validation: Trajectories, probe: ProbeWeights | None = None
) -> dict[str, tuple[Callable[[float], HaltingStrategy], np.ndarray]]:
    """Every strategy with a threshold: name -> (threshold -> strategy, thresholds to try), taken from what the validation puzzles show.

    Args:
        probe: a fitted one; None: without the probe.
    """
    v = validation
    q_margins = quantiles(v.q_halt - v.q_continue)
    made: dict[str, tuple[Callable[[float], HaltingStrategy], np.ndarray]] = {
        "q-margin": (QMargin, np.union1d(q_margins, [0.0])),
        "q-halt": (QHalt, _inside(np.union1d(quantiles(_sigmoid(v.q_halt)), PROBABILITIES))),
        "act": (AdaptiveComputationTime, PROBABILITIES),
        "pondernet": (PonderNet, PROBABILITIES),
        "confidence": (Confidence, _inside(quantiles(v.confidence))),
        "entropy": (Entropy, _positive(quantiles(v.entropy))),
        "entropy-change": (EntropyChange, _positive(quantiles(np.abs(np.diff(v.entropy, axis=0))))),
        "kl": (Divergence, _positive(quantiles(v.divergence))),
        "residual": (Residual, _positive(quantiles(v.residual))),
        "cosine": (Cosine, _positive(quantiles(v.cosine))),
        "stable": (lambda steps: StableDraft(int(steps)), np.arange(1, max(2, v.max_steps))),
    }
    if probe is not None:
        made["probe"] = (lambda threshold: Probe(probe, threshold), PROBABILITIES)
    return {name: (make, thresholds) for name, (make, thresholds) in made.items() if len(thresholds)}


def _positive(values: np.ndarray) -> np.ndarray:
    return values[values > 0]


def calibrated_strategies(
    validation: Trajectories, objective: str = "cheapest", tolerance: float = TOLERANCE, step_cost: float = STEP_COST
) -> dict[str, Calibrated]:
    """Every strategy with a threshold, calibrated on `validation`, by its name; the probe is fitted on the same puzzles.

    Arguments and errors as in `calibrate`.
    """
    # The probe's threshold is chosen on puzzles that it was not fitted on.
    if len(validation) >= 4:
        for_fit, for_threshold = validation.take(slice(0, None, 2)), validation.take(slice(1, None, 2))
    else:
        for_fit = for_threshold = validation
    probe = fit_probe(for_fit)
    found = {}
    for name, (make, thresholds) in candidates(validation, probe).items():
        recording = for_threshold if name == "probe" else validation
        found[name] = calibrate(make, thresholds, recording, objective, tolerance, step_cost)
    return found


def strategies_with(trajectories: Trajectories, calibrated: dict[str, Calibrated]) -> list[HaltingStrategy]:
    """The default strategies for `trajectories`, then the calibrated ones that are not among them."""
    chosen = {name: halting_strategy(name) for name in default_strategies(trajectories)}
    lines = [name for name in ("verifier", "oracle") if name in chosen]
    last = {name: chosen.pop(name) for name in lines}
    for found in calibrated.values():
        chosen.setdefault(str(found.strategy), found.strategy)
    return list((chosen | last).values())
