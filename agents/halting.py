"""When to stop thinking: the halting strategies.

A strategy looks at a batch of thoughts and says which halt. It is the same object in `HRMAgent.predict`, in `HRMAgent.solve` and on
recorded trajectories. A user's own:

    class Confident(HaltingStrategy):
        needs = frozenset({"confidence"})
        def halt(self, thought):
            return thought.confidence > 0.99
"""

from __future__ import annotations

import importlib
import math
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as functional
from torch import Tensor

from hrm_gym.agents.thought import Thought
from hrm_gym.envs.errors import ConfigError, HRMGymError


class HaltingStrategy(ABC):
    """Says which puzzles of a batch halt.

    Attributes:
        name: as it stands in tables.
        needs: the features of `Thought` that have to be computed for it (names of `agents.thought.FEATURES`).
        memory_size: numbers per puzzle that it may keep in `thought.memory` from step to step.
    """

    name: str = ""
    needs: frozenset[str] = frozenset()
    memory_size: int = 0

    @abstractmethod
    def halt(self, thought: Thought) -> Tensor:
        """bool[B]: which halt now. At `max_steps` the agent halts whatever the strategy says."""

    def __str__(self) -> str:
        return self.name or type(self).__name__


class Fixed(HaltingStrategy):
    """Always the same number of steps: what HRM and TRM do at evaluation."""

    def __init__(self, steps: int) -> None:
        if steps < 1:
            raise ConfigError(f"fixed({steps}): expected at least 1 step")
        self.steps = steps
        self.name = f"fixed({steps})"

    def halt(self, thought: Thought) -> Tensor:
        return thought.step >= self.steps


class QLearned(HaltingStrategy):
    """Halt when Q-halt is above Q-continue: the policy that HRM learns."""

    name = "q"

    def halt(self, thought: Thought) -> Tensor:
        return thought.q_halt > thought.q_continue


class QHalt(HaltingStrategy):
    """Halt when sigmoid(Q-halt) is above `threshold`; TRM's rule is a threshold of 1/2, and it needs no continue head."""

    def __init__(self, threshold: float = 0.5) -> None:
        if not 0.0 < threshold < 1.0:
            raise ConfigError(f"q-halt({threshold:g}): expected a probability between 0 and 1")
        self.threshold = threshold
        self.name = f"q-halt({threshold:g})"

    def halt(self, thought: Thought) -> Tensor:
        return torch.sigmoid(thought.q_halt) > self.threshold


class QMargin(HaltingStrategy):
    """Halt when Q-halt is above Q-continue by more than `margin` (logits); a margin of 0 is "q". HRM's rule (2506.21734) with caution."""

    def __init__(self, margin: float = 0.0) -> None:
        self.margin = float(margin)
        self.name = f"q-margin({margin:g})"

    def halt(self, thought: Thought) -> Tensor:
        return thought.q_halt - thought.q_continue > self.margin


class AdaptiveComputationTime(HaltingStrategy):
    """Halt when the halting probabilities sigmoid(Q-halt) of the steps so far add up to at least 1 - `epsilon`.

    The halting rule of adaptive computation time (Graves 2016, 1603.08983, with its epsilon of 0.01; Universal Transformers, 1807.03819),
    without its weighted mean of the states: the draft handed in is the last one.
    """

    memory_size = 1  # the sum so far

    def __init__(self, epsilon: float = 0.01) -> None:
        _check_inside("act", epsilon)
        self.epsilon = epsilon
        self.name = f"act({epsilon:g})"

    def halt(self, thought: Thought) -> Tensor:
        thought.memory[:, 0] += torch.sigmoid(thought.q_halt)
        return thought.memory[:, 0] >= 1.0 - self.epsilon


class PonderNet(HaltingStrategy):
    """Halt when the chance of having halted by now passes `quantile`, if each step halts with probability sigmoid(Q-halt).

    PonderNet (Banino et al. 2021, 2107.05407): p_n = l_n (1 - l_1) .. (1 - l_(n-1)). It samples the halting step from p; here the step is
    p's quantile, by default its median, so that it is the same each time.
    """

    memory_size = 1  # -log of the chance of not having halted yet; sums keep small chances that products would lose

    def __init__(self, quantile: float = 0.5) -> None:
        _check_inside("pondernet", quantile)
        self.quantile = quantile
        self.name = f"pondernet({quantile:g})"

    def halt(self, thought: Thought) -> Tensor:
        thought.memory[:, 0] += functional.softplus(thought.q_halt)  # -log(1 - sigmoid(Q-halt))
        return thought.memory[:, 0] >= -math.log1p(-self.quantile)


class Confidence(HaltingStrategy):
    """Halt when the mean over the cells of the largest token probability is above `threshold`.

    A plain confidence rule: as an early exit BranchyNet (1709.01686, there with entropy); as a score of recursive models C-voting
    (2604.13521), and 2607.20519 on such rules against trained gates.
    """

    needs = frozenset({"confidence"})

    def __init__(self, threshold: float = 0.99) -> None:
        _check_inside("confidence", threshold)
        self.threshold = threshold
        self.name = f"confidence({threshold:g})"

    def halt(self, thought: Thought) -> Tensor:
        assert thought.confidence is not None
        return thought.confidence > self.threshold


class Entropy(HaltingStrategy):
    """Halt when the mean entropy of the cells' token probabilities is below `threshold`, in nats (BranchyNet, 1709.01686)."""

    needs = frozenset({"entropy"})

    def __init__(self, threshold: float = 0.05) -> None:
        _check_positive("entropy", threshold)
        self.threshold = threshold
        self.name = f"entropy({threshold:g})"

    def halt(self, thought: Thought) -> Tensor:
        assert thought.entropy is not None
        return thought.entropy < self.threshold


class EntropyChange(HaltingStrategy):
    """Halt when the mean entropy differs from the step before's by less than `threshold`, in nats; never at the first step.

    The "entropy-diff" exit in the code of recurrent-depth models (Geiping et al. 2025, 2502.05171), with its threshold of 0.001.
    """

    needs = frozenset({"entropy"})
    memory_size = 1  # the entropy of the step before

    def __init__(self, threshold: float = 1e-3) -> None:
        _check_positive("entropy-change", threshold)
        self.threshold = threshold
        self.name = f"entropy-change({threshold:g})"

    def halt(self, thought: Thought) -> Tensor:
        assert thought.entropy is not None
        change = (thought.entropy - thought.memory[:, 0]).abs()
        thought.memory[:, 0] = thought.entropy
        return (change < self.threshold) & (thought.step > 1)


class Divergence(HaltingStrategy):
    """Halt when the mean Kullback-Leibler divergence of the cells' token probabilities from the step before's is below `threshold`, in
    nats; never at the first step.

    The "kl" exit of recurrent-depth models (Geiping et al. 2025, 2502.05171), with its threshold of 0.001.
    """

    needs = frozenset({"divergence"})

    def __init__(self, threshold: float = 1e-3) -> None:
        _check_positive("kl", threshold)
        self.threshold = threshold
        self.name = f"kl({threshold:g})"

    def halt(self, thought: Thought) -> Tensor:
        assert thought.divergence is not None
        return thought.divergence < self.threshold


class Residual(HaltingStrategy):
    """Halt when the latent state has come to rest: |z_H - z_H before| / |z_H| is below `threshold`.

    The "latent-diff" exit in the code of recurrent-depth models (Geiping et al. 2025, 2502.05171), with its threshold of 0.03;
    fixed-point reasoners (2606.18206, 2605.21488) halt and select by it.
    """

    needs = frozenset({"residual"})

    def __init__(self, threshold: float = 0.03) -> None:
        _check_positive("residual", threshold)
        self.threshold = threshold
        self.name = f"residual({threshold:g})"

    def halt(self, thought: Thought) -> Tensor:
        assert thought.residual is not None
        return thought.residual < self.threshold


class Cosine(HaltingStrategy):
    """Halt when the latent state has stopped turning: 1 - cosine of z_H and z_H before is below `threshold`.

    The "cosine" exit in the code of recurrent-depth models (Geiping et al. 2025, 2502.05171), with its threshold of 0.001.
    """

    needs = frozenset({"cosine"})

    def __init__(self, threshold: float = 1e-3) -> None:
        _check_positive("cosine", threshold)
        self.threshold = threshold
        self.name = f"cosine({threshold:g})"

    def halt(self, thought: Thought) -> Tensor:
        assert thought.cosine is not None
        return thought.cosine < self.threshold


def _check_inside(name: str, value: float) -> None:
    if not 0.0 < value < 1.0:
        raise ConfigError(f"{name}({value:g}): expected a number between 0 and 1")


def _check_positive(name: str, value: float) -> None:
    if not value > 0.0:
        raise ConfigError(f"{name}({value:g}): expected a number above 0")


class StableDraft(HaltingStrategy):
    """Halt when the draft has not changed for `patience` steps in a row (PABEE, 2006.04152)."""

    def __init__(self, patience: int = 2) -> None:
        if patience < 1:
            raise ConfigError(f"stable({patience}): expected at least 1 step")
        self.patience = patience
        self.name = f"stable({patience})"

    def halt(self, thought: Thought) -> Tensor:
        return thought.unchanged_steps >= self.patience


class Verifier(HaltingStrategy):
    """Halt as soon as the rules accept the draft. Uses the environment's checker, no label."""

    name = "verifier"
    needs = frozenset({"verified"})

    def halt(self, thought: Thought) -> Tensor:
        assert thought.verified is not None
        return thought.verified


class Random(HaltingStrategy):
    """Halt with probability `probability` at every step; a function of seed, puzzle and step, whatever the batch is."""

    def __init__(self, probability: float = 0.25, seed: int = 0) -> None:
        if not 0.0 <= probability <= 1.0:
            raise ConfigError(f"random({probability:g}): expected a probability 0..1")
        self.probability = probability
        self.seed = seed
        self.name = f"random({probability:g})"

    def halt(self, thought: Thought) -> Tensor:
        return hashed_uniform(self.seed, thought.puzzle, thought.step) < self.probability


class Oracle(HaltingStrategy):
    """Halt at the first correct draft: looks at the reward, so it is an upper line for others, not a strategy."""

    name = "oracle"
    needs = frozenset({"correct"})

    def halt(self, thought: Thought) -> Tensor:
        assert thought.correct is not None
        return thought.correct


def hashed_uniform(seed: int, puzzle: Tensor, step: Tensor) -> Tensor:
    """Numbers in [0, 1) that look random and are a function of the three integers alone: float64[B]."""
    return hashed_integers(seed, puzzle, step).double() / 2**31


def hashed_integers(seed: int, puzzle: Tensor, step: Tensor) -> Tensor:
    """Whole numbers 0..2^31 - 1 that look random and are a function of the three integers alone: int64[B]."""
    x = (puzzle * 1_000_003 + step * 8_191 + seed * 131_071 + 12_345) & 0x7FFFFFFF
    for _ in range(2):  # two rounds of a 31-bit xor-shift-multiply mix; products stay below 2^62
        x = ((x ^ (x >> 16)) * 73_244_475) & 0x7FFFFFFF
        x = ((x ^ (x >> 15)) * 295_559_667) & 0x7FFFFFFF
    return x ^ (x >> 16)


def _trained_by_sb3(path: object) -> HaltingStrategy:
    """A model saved by Stable-Baselines3, which is loaded only when it is asked for."""
    from hrm_gym.agents.sb3_halting import SB3Halting

    return SB3Halting(str(path))


STRATEGIES: dict[str, Callable[..., HaltingStrategy]] = {
    "fixed": Fixed,
    "q": QLearned,
    "q-halt": QHalt,
    "q-margin": QMargin,
    "act": AdaptiveComputationTime,
    "pondernet": PonderNet,
    "confidence": Confidence,
    "entropy": Entropy,
    "entropy-change": EntropyChange,
    "kl": Divergence,
    "residual": Residual,
    "cosine": Cosine,
    "stable": StableDraft,
    "patience": StableDraft,
    "verifier": Verifier,
    "random": Random,
    "oracle": Oracle,
    "sb3": _trained_by_sb3,
}


def register_strategy(name: str, make: Callable[..., HaltingStrategy]) -> None:
    """Make a strategy known by name to `halting=`, `hrm-gym compare` and `evaluate`; `name(1, 0.5)` calls `make(1, 0.5)`."""
    STRATEGIES[name] = make


def halting_strategy(strategy: str | HaltingStrategy) -> HaltingStrategy:
    """A strategy from its text, `"q"`, `"fixed(8)"`, `"sb3(runs/dqn.zip)"`; a strategy is returned as it is.

    `"module:Class(0.9)"` is a strategy of one's own: the module is imported, from the current folder too.

    Raises:
        ConfigError: unknown name, or arguments that do not fit.
        CheckpointError: a file that is named there is missing or broken.
    """
    if isinstance(strategy, HaltingStrategy):
        return strategy
    name, bracket, rest = strategy.strip().partition("(")
    if ":" in name:
        _import_strategy(name)
    if name not in STRATEGIES or (bracket and not rest.endswith(")")):
        raise ConfigError(
            f"halting strategy {strategy!r} is unknown; expected one of {', '.join(STRATEGIES)}, such as fixed(8)"
        )
    try:
        arguments = [_argument(text.strip()) for text in rest[:-1].split(",") if text.strip()]
        return STRATEGIES[name](*arguments)
    except (TypeError, ValueError) as error:
        if isinstance(error, HRMGymError):
            raise
        raise ConfigError(
            f"halting strategy {strategy!r} has arguments that do not fit {name}; write for example fixed(8)"
        ) from None


def _import_strategy(name: str) -> None:
    """Register `module:Class` under that name.

    Raises:
        ConfigError: no such module, or no such strategy in it.
    """
    module, _, attribute = name.partition(":")
    if name in STRATEGIES:
        return
    sys.path.insert(0, os.getcwd())  # an installed command does not look there by itself, as `python -m` does
    try:
        make = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"halting strategy {name!r} cannot be imported ({error}); write module:Class") from None
    finally:
        sys.path.remove(os.getcwd())
    register_strategy(name, make)


def _argument(text: str) -> int | float | str:
    """A number if it reads as one."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
