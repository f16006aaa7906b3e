"""Halting strategies side by side on the same recorded states.

Definitions, for a puzzle with drafts of steps 1..T of which some are right (verified), that a strategy halts at step h:

- accuracy: the draft of step h is right.
- premature halt: it is wrong, but a later one (h + 1..T) is right.
- missed halt: it is wrong, but an earlier one (1..h - 1) was right. A puzzle may be both.
- overthinking: steps spent after the first right draft, h - f where the first right draft f is at or before h, else 0.
- regret in accuracy: the oracle's accuracy (some draft of 1..T is right) minus the strategy's.
- reward: 1 if right, minus h times the step cost. Regret in reward: of the best step in hindsight, which is the first right draft or, where
  none pays, step 1. Both regrets are never negative.
- area under the accuracy-per-step curve: the strategy is cut off after 1, 2, .., T steps; each cut is a point (mean steps, accuracy);
  from the last point the accuracy is held to T steps. The area between 1 and T steps divided by T - 1 (T = 1: the accuracy), 0..1: high
  where a strategy is right early and stops.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from hrm_gym.agents.agent import write_whole
from hrm_gym.agents.halting import HaltingStrategy, halting_strategy
from hrm_gym.agents.trajectories import Trajectories
from hrm_gym.envs.errors import ConfigError
from hrm_gym.train.evaluate import kind_of_accuracy, plain
from hrm_gym.train.statistics import (
    RESAMPLES,
    bootstrap_p_value,
    holm,
    mcnemar_p_value,
    percentile_interval,
    resampled_means,
)

LESSER_COLUMNS = ("median", "p95", "missed %", "over", "reward", "area")  # what a narrow terminal does without
FIXED_STEPS = (1, 2, 4, 8, 16, 32, 64)
STEP_COST = 0.01
Interval = tuple[float, float]


def default_strategies(trajectories: Trajectories) -> list[str]:
    """The strategies to compare where none are named: fixed numbers of steps up to the recording's, learned, plain and upper lines."""
    fixed = sorted({steps for steps in FIXED_STEPS if steps < trajectories.max_steps} | {trajectories.max_steps})
    names = [f"fixed({steps})" for steps in fixed]
    names += ["q", "q-halt(0.5)", "stable(1)", "stable(2)", "stable(3)", "random(0.25)"]
    if trajectories.has_rules:
        names.append("verifier")
    return [*names, "oracle"]


@dataclass(frozen=True)
class StrategyFigures:
    """One strategy's row. Intervals are 95 % bootstrap intervals over puzzles; the module's text defines the figures.

    Attributes:
        strategy: its name.
        kind: of accuracy: "single pass", or who stopped it (`train.evaluate.kind_of_accuracy`).
        accuracy, accuracy_interval: share of puzzles, 0..1.
        mean_steps, mean_steps_interval, median_steps, p95_steps: steps at the halt.
        premature_halts, missed_halts: share of puzzles.
        overthinking_steps: mean over all puzzles.
        accuracy_regret, accuracy_regret_interval: 0..1.
        reward, reward_interval, reward_regret, reward_regret_interval: means over puzzles, with the comparison's step cost.
        area: under the accuracy-per-step curve, 0..1.
        on_frontier: single pass, and no other single-pass strategy, nor any fixed number of steps (compared or not), is at least as
            accurate with at most as many steps and better in one of both.
    """

    strategy: str
    kind: str
    accuracy: float
    accuracy_interval: Interval
    mean_steps: float
    mean_steps_interval: Interval
    median_steps: float
    p95_steps: float
    premature_halts: float
    premature_halts_interval: Interval
    missed_halts: float
    missed_halts_interval: Interval
    overthinking_steps: float
    overthinking_steps_interval: Interval
    accuracy_regret: float
    accuracy_regret_interval: Interval
    reward: float
    reward_interval: Interval
    reward_regret: float
    reward_regret_interval: Interval
    area: float
    on_frontier: bool


@dataclass(frozen=True)
class PairedTest:
    """Two strategies on the same puzzles.

    Attributes:
        first, second: their names.
        accuracy_difference, accuracy_difference_interval: first minus second, with its paired 95 % bootstrap interval.
        only_first, only_second: puzzles that only one of them solves.
        accuracy_p: exact McNemar test, two-sided. accuracy_p_holm: adjusted for all pairs of the comparison (Holm).
        steps_difference, steps_difference_interval: mean steps, first minus second, with its paired 95 % bootstrap interval.
        steps_p: paired bootstrap test, two-sided. steps_p_holm: adjusted for all pairs of the comparison.
    """

    first: str
    second: str
    accuracy_difference: float
    accuracy_difference_interval: Interval
    only_first: int
    only_second: int
    accuracy_p: float
    accuracy_p_holm: float
    steps_difference: float
    steps_difference_interval: Interval
    steps_p: float
    steps_p_holm: float


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes:
        checkpoint, family, size: where the trajectories come from.
        test_puzzles: N.
        max_steps: T.
        step_cost: in the rewards.
        resamples: of the bootstrap.
        accuracy_by_step: accuracy of stopping every puzzle after 1, 2, .., T steps.
        rows: one for each strategy, in the order given.
        pairs: one for each two strategies.
        halting_steps: strategy -> int64[N], the step at which each puzzle halts.
    """

    checkpoint: str
    family: str
    size: int
    test_puzzles: int
    max_steps: int
    step_cost: float
    resamples: int
    accuracy_by_step: list[float]
    rows: list[StrategyFigures]
    pairs: list[PairedTest]
    halting_steps: dict[str, np.ndarray]

    def row(self, strategy: str) -> StrategyFigures:
        """The row of the strategy of this name.

        Raises:
            ConfigError: it was not compared.
        """
        for row in self.rows:
            if row.strategy == strategy:
                return row
        raise ConfigError(
            f"strategy {strategy!r} was not compared; expected one of {', '.join(row.strategy for row in self.rows)}"
        )

    def pair(self, first: str, second: str) -> PairedTest:
        """The paired test of two strategies, in this order.

        Raises:
            ConfigError: one of them was not compared, or both are the same.
        """
        for pair in self.pairs:
            if (pair.first, pair.second) == (first, second):
                return pair
            if (pair.second, pair.first) == (first, second):
                return _swapped(pair)
        self.row(first), self.row(second)
        raise ConfigError(f"strategies {first!r} and {second!r} are the same; a paired test needs two")

    @property
    def title(self) -> str:
        """Checkpoint, test size and puzzles in one line."""
        where = f"{self.family} {self.size} x {self.size}"
        return f"{self.checkpoint or self.family}: {self.test_puzzles:,} test puzzles, {where}, at most {self.max_steps} steps"

    def to_dict(self) -> dict[str, Any]:
        """Everything but the halting steps."""
        return {
            field.name: _as_plain(getattr(self, field.name))
            for field in dataclasses.fields(self)
            if field.name != "halting_steps"
        }

    def table(self, width: int = 140) -> Table:
        """The rows as a table for a terminal of `width` characters; below 120 the lesser columns are left out."""
        caption = (
            f"Accuracy: single pass, verified drafts; * stopped by the verifier, ** by the oracle. ± is half of a 95 % bootstrap interval. "
            f"Regret: accuracy lost to the oracle. Reward: step cost {self.step_cost:g}. Area: under accuracy per step."
        )
        table = Table(title=self.title, title_style="bold", caption=caption)
        narrow = width < 120
        table.add_column("strategy", no_wrap=True)
        for name in self._cells(self.rows[0]):
            if not (narrow and name in LESSER_COLUMNS):
                table.add_column(name, justify="right", no_wrap=True)
        for row in self.rows:
            cells = [cell for name, cell in self._cells(row).items() if not (narrow and name in LESSER_COLUMNS)]
            table.add_row(row.strategy + _mark(row.kind), *cells, style="bold" if row.on_frontier else None)
        return table

    @staticmethod
    def _cells(row: StrategyFigures) -> dict[str, str]:
        return {
            "accuracy %": f"{100 * row.accuracy:.1f} ± {100 * _half(row.accuracy_interval):.1f}",
            "steps": f"{row.mean_steps:.2f} ± {_half(row.mean_steps_interval):.2f}",
            "median": f"{row.median_steps:g}",
            "p95": f"{row.p95_steps:g}",
            "premature %": f"{100 * row.premature_halts:.1f}",
            "missed %": f"{100 * row.missed_halts:.1f}",
            "over": f"{row.overthinking_steps:.2f}",
            "regret %": f"{100 * row.accuracy_regret:.1f}",
            "reward": f"{row.reward:.3f}",
            "area": f"{row.area:.3f}",
        }


def compare(
    trajectories: Trajectories,
    strategies: Sequence[str | HaltingStrategy] | None = None,
    step_cost: float = STEP_COST,
    resamples: int = RESAMPLES,
    random: np.random.Generator | None = None,
) -> Comparison:
    """Judge every strategy on the same recorded states.

    Args:
        trajectories: of at least one puzzle.
        strategies: strategies or their texts; None: `default_strategies`.
        step_cost: of one step, in units of the reward of a right draft.
        resamples: of the bootstrap.
        random: the bootstrap's generator; None: a new one of seed 0, so that the same trajectories give the same numbers.

    Raises:
        ConfigError: no puzzles, no strategies, two of one name, an unknown one, or a step cost below 0.
    """
    count, last = len(trajectories), trajectories.max_steps
    chosen = [
        halting_strategy(strategy) for strategy in (default_strategies(trajectories) if strategies is None else strategies)
    ]
    names = [str(strategy) for strategy in chosen]
    twice = {name for name in names if names.count(name) > 1}
    if count == 0:
        raise ConfigError("the trajectories hold no puzzle; expected at least one")
    if not chosen:
        raise ConfigError("there is no halting strategy to compare; expected at least one, such as q")
    if twice:
        raise ConfigError(f"halting strategy {min(twice)!r} is there twice; give each a name of its own")
    if not step_cost >= 0:
        raise ConfigError(f"step_cost is {step_cost:g}; expected 0 or more")
    if resamples < 1:
        raise ConfigError(f"resamples is {resamples}; expected at least 1")
    random = np.random.default_rng(0) if random is None else random

    steps = np.stack([trajectories.halting_steps(strategy) for strategy in chosen])  # [S, N]
    figures = per_puzzle(trajectories.verified, steps, step_cost)  # name -> [S, N]
    means = {name: values.mean(axis=1) for name, values in figures.items()}
    # all strategies and figures are resampled alike: [S, figures, resamples]
    columns = np.stack(list(figures.values()), axis=1).reshape(-1, count).T
    resampled = resampled_means(columns, resamples, random).T.reshape(len(chosen), len(figures), resamples)
    at = {name: index for index, name in enumerate(figures)}

    by_step = trajectories.verified.mean(axis=1)
    single_pass = np.array([kind_of_accuracy(strategy) == "single pass" for strategy in chosen])
    unbeaten = single_pass & _unbeaten(
        means["accuracy"],
        means["mean_steps"],
        np.concatenate((means["accuracy"][single_pass], by_step)),
        np.concatenate((means["mean_steps"][single_pass], np.arange(1, last + 1))),
    )
    rows = []
    for number, strategy in enumerate(chosen):
        values: dict[str, Any] = {}
        for name in figures:
            values[name] = float(means[name][number])
            values[f"{name}_interval"] = _interval(resampled[number, at[name]])
        rows.append(
            StrategyFigures(
                strategy=names[number],
                kind=kind_of_accuracy(strategy),
                median_steps=float(np.median(steps[number])),
                p95_steps=float(np.percentile(steps[number], 95)),
                area=area_under_accuracy(trajectories.verified, steps[number]),
                on_frontier=bool(unbeaten[number]),
                **values,
            )
        )
    right = figures["accuracy"] > 0
    description = trajectories.description
    return Comparison(
        checkpoint=str(description.get("checkpoint", "")),
        family=str(description.get("family", "")),
        size=int(description.get("size", 0)),
        test_puzzles=count,
        max_steps=last,
        step_cost=float(step_cost),
        resamples=resamples,
        accuracy_by_step=by_step.tolist(),
        rows=rows,
        pairs=_paired_tests(names, right, steps, resampled[:, at["accuracy"]], resampled[:, at["mean_steps"]]),
        halting_steps=dict(zip(names, steps, strict=True)),
    )


def per_puzzle(verified: np.ndarray, steps: np.ndarray, step_cost: float) -> dict[str, np.ndarray]:
    """The figures of S strategies that are means over puzzles, puzzle by puzzle.

    Args:
        verified: bool[T, N].
        steps: int64[S, N], 1..T, the halting steps.
        step_cost: in the reward.

    Returns:
        float64[S, N] for each name: `accuracy`, `mean_steps`, `premature_halts`, `missed_halts`, `overthinking_steps`,
        `accuracy_regret`, `reward`, `reward_regret`.
    """
    last, count = verified.shape
    ever = verified.any(axis=0)
    first = np.where(ever, verified.argmax(axis=0) + 1, last + 1)  # T + 1: never
    final = np.where(ever, last - verified[::-1].argmax(axis=0), 0)  # the last right draft; 0: never
    right = verified[steps - 1, np.arange(count)]
    reward = right - step_cost * steps
    best = np.maximum(np.where(ever, 1.0 - step_cost * first, -np.inf), verified[0] - step_cost)
    figures = {
        "accuracy": right,
        "mean_steps": steps,
        "premature_halts": ~right & (final > steps),
        "missed_halts": ~right & (first < steps),
        "overthinking_steps": np.where(first <= steps, steps - first, 0),
        "accuracy_regret": ever & ~right,
        "reward": reward,
        "reward_regret": best - reward,
    }
    return {name: np.asarray(values, np.float64) for name, values in figures.items()}


def area_under_accuracy(verified: np.ndarray, steps: np.ndarray) -> float:
    """The area under one strategy's accuracy-per-step curve, 0..1, as this module's text defines it.

    Args:
        verified: bool[T, N].
        steps: int64[N], 1..T.
    """
    last, count = verified.shape
    cut = np.minimum(steps, np.arange(1, last + 1)[:, None])  # [T, N]
    accuracy = verified[cut - 1, np.arange(count)].mean(axis=1)
    if last == 1:
        return float(accuracy[0])
    spent = np.append(cut.mean(axis=1), last)
    held = np.append(accuracy, accuracy[-1])
    return float((np.diff(spent) * (held[1:] + held[:-1]) / 2).sum() / (last - 1))


def _unbeaten(accuracy: np.ndarray, steps: np.ndarray, rival_accuracy: np.ndarray, rival_steps: np.ndarray) -> np.ndarray:
    """Which points no rival beats, by being as good in both and better in one: bool[S]."""
    as_good = (rival_accuracy >= accuracy[:, None]) & (rival_steps <= steps[:, None])
    better = (rival_accuracy > accuracy[:, None]) | (rival_steps < steps[:, None])
    return np.asarray(~(as_good & better).any(axis=1))


def frontier(comparison: Comparison) -> list[tuple[float, float]]:
    """The frontier's points (mean steps, accuracy), fewest steps first: strategies on it and the fixed numbers of steps that none beats."""
    rows = [(row.mean_steps, row.accuracy) for row in comparison.rows if row.on_frontier]
    fixed = [(float(step), accuracy) for step, accuracy in enumerate(comparison.accuracy_by_step, start=1)]
    points = np.array(rows + fixed)
    kept = points[_unbeaten(points[:, 1], points[:, 0], points[:, 1], points[:, 0])]
    return sorted({(float(steps), float(accuracy)) for steps, accuracy in kept})


def _paired_tests(
    names: list[str], right: np.ndarray, steps: np.ndarray, resampled_accuracy: np.ndarray, resampled_steps: np.ndarray
) -> list[PairedTest]:
    pairs = [(a, b) for a in range(len(names)) for b in range(a + 1, len(names))]
    accuracy_p = [mcnemar_p_value(right[a], right[b]) for a, b in pairs]
    steps_p = []
    for a, b in pairs:
        # means of equal integers may differ in their last bit; the strategies do not
        same = bool((steps[a] == steps[b]).all())
        steps_p.append(1.0 if same else bootstrap_p_value(resampled_steps[a] - resampled_steps[b]))
    tests = []
    for number, (a, b) in enumerate(pairs):
        tests.append(
            PairedTest(
                first=names[a],
                second=names[b],
                accuracy_difference=float(right[a].mean() - right[b].mean()),
                accuracy_difference_interval=_interval(resampled_accuracy[a] - resampled_accuracy[b]),
                only_first=int((right[a] & ~right[b]).sum()),
                only_second=int((~right[a] & right[b]).sum()),
                accuracy_p=accuracy_p[number],
                accuracy_p_holm=0.0,
                steps_difference=float(steps[a].mean() - steps[b].mean()),
                steps_difference_interval=_interval(resampled_steps[a] - resampled_steps[b]),
                steps_p=steps_p[number],
                steps_p_holm=0.0,
            )
        )
    adjusted = zip(tests, holm(accuracy_p), holm(steps_p), strict=True)
    return [
        dataclasses.replace(test, accuracy_p_holm=by_accuracy, steps_p_holm=by_steps)
        for test, by_accuracy, by_steps in adjusted
    ]


def _swapped(pair: PairedTest) -> PairedTest:
    return dataclasses.replace(
        pair,
        first=pair.second,
        second=pair.first,
        accuracy_difference=-pair.accuracy_difference,
        accuracy_difference_interval=(-pair.accuracy_difference_interval[1], -pair.accuracy_difference_interval[0]),
        only_first=pair.only_second,
        only_second=pair.only_first,
        steps_difference=-pair.steps_difference,
        steps_difference_interval=(-pair.steps_difference_interval[1], -pair.steps_difference_interval[0]),
    )


def _interval(resampled: np.ndarray) -> Interval:
    ((low, high),) = percentile_interval(resampled[:, None])
    return float(low), float(high)


def _half(interval: Interval) -> float:
    return (interval[1] - interval[0]) / 2


def _mark(kind: str) -> str:
    return "**" if kind.endswith("oracle") else "*" if kind.endswith("verifier") else ""


def _as_plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_plain(item) for item in value]
    return plain(dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value)


# -- files -----------------------------------------------------------------------------------------------------------------


def write_json(path: str | Path, comparisons: Sequence[Comparison]) -> Path:
    """All comparisons, rows and paired tests, as one JSON list; written whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps([comparison.to_dict() for comparison in comparisons], indent=2) + "\n").encode())
    return path


def write_csv(path: str | Path, comparisons: Sequence[Comparison]) -> Path:
    """All rows of all comparisons as one table, intervals in two columns `<name>_low` and `<name>_high`; whole or not at all."""
    path = Path(path)
    about = ("checkpoint", "family", "size", "test_puzzles", "max_steps", "step_cost")
    lines = []
    for comparison in comparisons:
        for row in comparison.rows:
            line: dict[str, Any] = {name: getattr(comparison, name) for name in about}
            for name, value in dataclasses.asdict(row).items():
                if name.endswith("_interval"):
                    stem = name.removesuffix("_interval")
                    line[f"{stem}_low"], line[f"{stem}_high"] = value
                else:
                    line[name] = value
            lines.append(line)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]) if lines else list(about), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.getvalue().encode())
    return path
