"""How good an agent is: accuracy, exactness, steps, calibration and speed on puzzles it has not seen; and episode by episode."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from rich.table import Table

from hrm_gym.agents.agent import HRMAgent, write_whole
from hrm_gym.agents.halting import Fixed, HaltingStrategy, halting_strategy
from hrm_gym.agents.solving import Solutions
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.train.statistics import calibration, wilson_interval


def kind_of_accuracy(strategy: HaltingStrategy) -> str:
    """Which kind of accuracy a halting strategy gives; every table says it.

    "single pass": one pass of the network, which halts by its own numbers. "single pass, stopped by the verifier": the rules tell when
    a draft is right. "single pass, stopped by the oracle": the reward tells, which no agent knows.
    """
    if "correct" in strategy.needs:
        return "single pass, stopped by the oracle"
    if "verified" in strategy.needs:
        return "single pass, stopped by the verifier"
    return "single pass"


@dataclass(frozen=True)
class Measured:
    """What one halting strategy made of the test puzzles.

    Attributes:
        halting: the strategy's name.
        kind: of accuracy, see `kind_of_accuracy`.
        accuracy: share of puzzles whose handed-in draft is verified (Sudoku, maze: by the rules), 0..1.
        accuracy_interval: its 95 % Wilson interval.
        exact_accuracy: share whose draft is equal to the stored answer; where a puzzle has several right answers (mazes) it is lower.
        cell_accuracy: share of cells that are equal to the stored answer's.
        mean_steps, median_steps, p95_steps: steps of thought spent on a puzzle.
        calibration_error: expected calibration error of sigmoid(Q-halt) at the halt against verified, 10 bins of equal width.
        puzzles_per_second: in slots, from handing the puzzles over to having all the answers.
        seconds: that this took.
    """

    halting: str
    kind: str
    accuracy: float
    accuracy_interval: tuple[float, float]
    exact_accuracy: float
    cell_accuracy: float
    mean_steps: float
    median_steps: float
    p95_steps: float
    calibration_error: float
    puzzles_per_second: float
    seconds: float


@dataclass(frozen=True)
class EvaluationReport:
    """An agent's figures on a test set.

    Attributes:
        checkpoint: the agent's name or folder.
        family, size: of the puzzles.
        test_puzzles: how many.
        max_steps: steps after which the agent halts in any case.
        slots: puzzles in thought at once.
        device: where it ran.
        learned: with the agent's halting strategy.
        all_steps: with `max_steps` steps for every puzzle, what HRM and TRM report.
    """

    checkpoint: str
    family: str
    size: int
    test_puzzles: int
    max_steps: int
    slots: int
    device: str
    learned: Measured
    all_steps: Measured

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def save(self, path: str | Path) -> Path:
        """Write the report as JSON, whole or not at all."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, (json.dumps(plain(self.to_dict()), indent=2) + "\n").encode())
        return path

    def table(self) -> Table:
        """The report as a table for the terminal."""
        title = f"{self.checkpoint or self.family}: {self.test_puzzles:,} test puzzles, {self.family} {self.size} x {self.size}"
        table = Table(
            title=title, caption=f"at most {self.max_steps} steps, 95 % Wilson intervals, {self.device}", title_style="bold"
        )
        table.add_column("")
        columns = (self.learned, self.all_steps)
        for measured in columns:
            table.add_column(f"halting {measured.halting}", justify="right")

        def percent(share: float) -> str:
            return f"{100 * share:.1f} %"

        def row(name: str, cells: list[str]) -> None:
            table.add_row(name, *cells)

        row("kind of accuracy", [m.kind for m in columns])
        row(
            "accuracy (verified)",
            [
                f"{percent(m.accuracy)} ({100 * m.accuracy_interval[0]:.1f} to {100 * m.accuracy_interval[1]:.1f})"
                for m in columns
            ],
        )
        row("equal to the stored answer", [percent(m.exact_accuracy) for m in columns])
        row("right cells", [percent(m.cell_accuracy) for m in columns])
        row("steps: mean", [f"{m.mean_steps:.2f}" for m in columns])
        row("steps: median", [f"{m.median_steps:g}" for m in columns])
        row("steps: 95th percentile", [f"{m.p95_steps:g}" for m in columns])
        row("calibration error of Q-halt", [f"{m.calibration_error:.3f}" for m in columns])
        row("puzzles per second", [f"{m.puzzles_per_second:,.0f}" for m in columns])
        return table


def evaluate(
    agent: HRMAgent,
    puzzles: Puzzles,
    halting: str | HaltingStrategy | None = None,
    max_steps: int | None = None,
    slots: int = 256,
    checkpoint: str = "",
    progress: Callable[[int], None] | None = None,
) -> EvaluationReport:
    """Solve `puzzles` twice in slots, with learned halting and with all steps, and measure both.

    Args:
        halting: a strategy or its text; None: the agent's own.
        max_steps: None: the agent's own.
        slots: puzzles in thought at once.
        checkpoint: the agent's name in the report.
        progress: called with the number of finished puzzles, 0..2 N: both runs count.

    Raises:
        ConfigError: unknown strategy.
        PuzzleError: puzzles that do not fit the agent's family.
    """
    strategy = agent.halting if halting is None else halting_strategy(halting)
    steps = agent.max_steps if max_steps is None else max_steps
    done = 0

    def measure(by: HaltingStrategy) -> Measured:
        started = time.perf_counter()
        report = None if progress is None else (lambda finished: progress(done + finished))
        solutions = agent.solve(puzzles, halting=by, max_steps=steps, slots=slots, progress=report)
        return measured(solutions, puzzles, by, time.perf_counter() - started)

    learned = measure(strategy)
    done = len(puzzles)
    all_steps = measure(Fixed(steps))
    return EvaluationReport(
        checkpoint=checkpoint,
        family=agent.family.name,
        size=agent.family.shape[0],
        test_puzzles=len(puzzles),
        max_steps=steps,
        slots=slots,
        device=str(agent.device),
        learned=learned,
        all_steps=all_steps,
    )


def measured(solutions: Solutions, puzzles: Puzzles, strategy: HaltingStrategy, seconds: float) -> Measured:
    """The figures of `solutions` to `puzzles`, which took `seconds`. All but the speed are nan where there is no puzzle."""
    count = len(puzzles)
    same = (solutions.drafts == puzzles.answers).reshape(count, puzzles.questions[0].size if count else 1)

    def mean(values: np.ndarray) -> float:
        return float(values.mean()) if count else float("nan")

    return Measured(
        halting=str(strategy),
        kind=kind_of_accuracy(strategy),
        accuracy=solutions.accuracy,
        accuracy_interval=wilson_interval(int(solutions.verified.sum()), count),
        exact_accuracy=mean(same.all(axis=1)),
        cell_accuracy=mean(same),
        mean_steps=solutions.mean_steps,
        median_steps=float(np.median(solutions.steps)) if count else float("nan"),
        p95_steps=float(np.percentile(solutions.steps, 95)) if count else float("nan"),
        calibration_error=calibration(solutions.halt_values, solutions.verified).error,
        puzzles_per_second=count / seconds,
        seconds=seconds,
    )


@dataclass(frozen=True)
class EpisodeRecord:
    """One episode in an environment: `puzzle_id`, the sum of its rewards, whether it ended verified, steps taken, the last draft."""

    puzzle_id: str
    reward: float
    verified: bool
    steps: int
    draft: np.ndarray


def play(agent: HRMAgent, env: gymnasium.Env[Any, Any], puzzles: Puzzles) -> list[EpisodeRecord]:
    """Play each of `puzzles` in the Gymnasium environment `env`, one after the other: the slow road, which any agent goes.

    `env` is one of the draft environments (wrapped or not); its puzzles are not used, its rewards are. With one attempt and at least as
    many steps as the agent's `max_steps`, the drafts and steps are those of `HRMAgent.solve`.

    Raises:
        PuzzleError: puzzles that do not fit the environment.
    """
    records = []
    state = None  # kept from episode to episode, so that random strategies see a new puzzle each time
    for row in range(len(puzzles)):
        observation, info = env.reset(options={"puzzle": puzzles.take([row])})
        reward, steps, over = 0.0, 0, False
        while not over:
            action, state = agent.predict(observation, state)
            observation, earned, terminated, truncated, info = env.step(action)
            reward += float(earned)
            steps += 1
            over = terminated or truncated
        records.append(EpisodeRecord(info["puzzle_id"], reward, bool(info["verified"]), steps, observation["draft"]))
    return records


def plain(value: Any) -> Any:
    """`value` as JSON knows it: nan and infinity become null, NumPy's numbers become Python's, tuples become lists."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
