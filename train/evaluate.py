"""How good an agent is: accuracy, exactness, steps, calibration and speed on puzzles it has not seen; and episode by episode.

Accuracy is of three kinds that are always named and never mixed: "single pass", "selected" without labels or rules, and "accepted by the
verifier" within a budget.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from rich.table import Table

from hrm_gym.agents.agent import HRMAgent, write_whole
from hrm_gym.agents.flops import forward_flops
from hrm_gym.agents.halting import Fixed, HaltingStrategy, halting_strategy
from hrm_gym.agents.outer_loop import judge_attempts
from hrm_gym.agents.retry import SINGLE_PASS, Retry
from hrm_gym.agents.solutions import RetrySolutions, Solutions
from hrm_gym.agents.written_out import WrittenOutAgent
from hrm_gym.envs.errors import ConfigError
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.train.statistics import calibration, wilson_interval

ACCEPTED = "accepted by the verifier"
CURVE_POINTS = 64  # of accuracy against steps, at most
DEFAULT_ATTEMPTS = 8  # of `hrm-gym evaluate`, which is to stay quick


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
        flops_per_puzzle: floating-point operations of the network's forward passes, on average (`agents.flops`): what agents that think in
            different ways are compared by.
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
    flops_per_puzzle: float


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
        outer_loop: the three kinds of accuracy with retries; None where none were made.
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
    outer_loop: OuterLoopReport | None = None

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
        row("forward FLOPs per puzzle", [f"{m.flops_per_puzzle:.3g}" for m in columns])
        row("puzzles per second", [f"{m.puzzles_per_second:,.0f}" for m in columns])
        return table


def evaluate(
    agent: HRMAgent | WrittenOutAgent,
    puzzles: Puzzles,
    halting: str | HaltingStrategy | None = None,
    max_steps: int | None = None,
    slots: int = 256,
    checkpoint: str = "",
    progress: Callable[[int], None] | None = None,
    retry: Retry | None = None,
    others: Sequence[HRMAgent] = (),
) -> EvaluationReport:
    """Solve `puzzles` twice in slots, with learned halting and with all steps, and measure both; with `retry` also all its attempts.

    Args:
        halting: a strategy or its text; None: the agent's own.
        max_steps: None: the agent's own.
        slots: puzzles in thought at once.
        checkpoint: the agent's name in the report.
        progress: called with the number of finished puzzles, 0..2 N (with `retry` 3 N): all runs count.
        retry: attempts for `measure_outer_loop`; its rule plays no part, since all of them are measured.
        others: agents for the perturbation "ensemble".

    Raises:
        ConfigError: unknown strategy, or a retry that does not go with the agent.
        PuzzleError: puzzles that do not fit the agent's family.
    """
    strategy = agent.halting if halting is None else halting_strategy(halting)
    steps = agent.max_steps if max_steps is None else max_steps
    done = 0

    def measure(by: HaltingStrategy) -> Measured:
        started = time.perf_counter()
        report = None if progress is None else (lambda finished: progress(done + finished))
        solutions = agent.solve(puzzles, halting=by, max_steps=steps, slots=slots, progress=report)
        seconds = time.perf_counter() - started
        return measured(solutions, puzzles, by, seconds, forward_flops(agent, solutions))

    learned = measure(strategy)
    done = len(puzzles)
    all_steps = measure(Fixed(steps))
    done = 2 * len(puzzles)
    report = None if progress is None else (lambda finished: progress(done + finished))
    outer_loop = None
    if retry is not None:
        if not isinstance(agent, HRMAgent):
            raise ConfigError("an agent that writes its answer has no retries of its own; evaluate it with --attempts 1")
        outer_loop = measure_outer_loop(agent, puzzles, retry, strategy, steps, slots, others, report)
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
        outer_loop=outer_loop,
    )


# -- retries -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judged:
    """What one rule made of the attempts.

    Attributes:
        kind: of accuracy: "single pass", "selected" (without labels or rules) or "accepted by the verifier"; where the halting strategy
            itself asks the verifier or the oracle, the first says so.
        rule: "first attempt", "best-q", "vote", "residual" or "verifier".
        attempts: K, the most that were allowed.
        accuracy: share of puzzles with a right draft handed in; of those accepted where the verifier decides.
        accuracy_interval: its 95 % Wilson interval.
        mean_steps: steps of thought that the rule spends on a puzzle, all attempts together.
        mean_attempts: attempts that it makes.
        abstained: share of puzzles whose draft it does not stand by (the verifier: nothing was accepted).
    """

    kind: str
    rule: str
    attempts: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    mean_steps: float
    mean_attempts: float
    abstained: float


@dataclass(frozen=True)
class BudgetCurve:
    """Accuracy against budget; every list of shares goes with the list of budgets above it.

    Attributes:
        attempts: 1, 2, 4, .., K.
        accepted: share of puzzles that the verifier has accepted within so many attempts, which never falls; empty without rules.
        selected: for each rule without labels the share of right choices among the first so many attempts; it may fall.
        steps: budgets in steps of thought for a puzzle.
        accepted_by_steps: share of puzzles that the verifier has accepted within so many steps, which never falls.
    """

    attempts: list[int]
    accepted: list[float]
    selected: dict[str, list[float]]
    steps: list[int]
    accepted_by_steps: list[float]


@dataclass(frozen=True)
class OuterLoopReport:
    """The three kinds of accuracy on the same attempts.

    Attributes:
        retry: the attempts' settings.
        planned: attempts that the plan has, at most K: those that would only repeat an earlier one are left out.
        test_puzzles: finished puzzles, to which everything refers.
        interrupted: whether Ctrl-C ended it early.
        halting: the strategy within an attempt.
        rows: one for each rule.
        winners: of the puzzles that the verifier accepted, how many through each perturbation.
        curve: accuracy against budget.
    """

    retry: dict[str, Any]
    planned: int
    test_puzzles: int
    interrupted: bool
    halting: str
    rows: tuple[Judged, ...]
    winners: dict[str, int]
    curve: BudgetCurve

    def table(self) -> Table:
        """The report as a table for the terminal."""
        perturb = ", ".join(self.retry["perturb"])
        table = Table(
            title=f"At most {self.planned} attempts each, halting {self.halting}, changed by: {perturb} (seed {self.retry['seed']})",
            caption=f"{self.test_puzzles:,} test puzzles{', interrupted' if self.interrupted else ''}, 95 % Wilson intervals; "
            "one set of attempts, judged by each rule",
            title_style="bold",
        )
        for name in ("kind of accuracy", "by", "accuracy", "mean steps", "mean attempts", "abstained"):
            table.add_column(name, justify="left" if name in ("kind of accuracy", "by") else "right")
        for row in self.rows:
            low, high = row.accuracy_interval
            kind = row.kind if row.kind != ACCEPTED else f"{ACCEPTED} within {row.attempts} attempts"
            table.add_row(
                kind,
                row.rule,
                f"{100 * row.accuracy:.1f} % ({100 * low:.1f} to {100 * high:.1f})",
                f"{row.mean_steps:.2f}",
                f"{row.mean_attempts:.2f}",
                f"{100 * row.abstained:.1f} %",
            )
        return table


def retry_for(
    agent: HRMAgent | WrittenOutAgent,
    halting: str | HaltingStrategy | None = None,
    attempts: int | None = None,
    perturb: Sequence[str] | None = None,
    sigma: float | None = None,
    seed: int = 0,
) -> Retry | None:
    """The retries that `hrm-gym evaluate` measures; None: none.

    Args:
        attempts: K; 1: no retries; None: DEFAULT_ATTEMPTS, but none where only the answers could judge them (a halting strategy that
            looks at the answers of a family without rules), and none for an agent that writes its answer.
        perturb, sigma: None: `Retry`'s own.

    Raises:
        ConfigError: a value outside its range.
    """
    strategy = agent.halting if halting is None else halting_strategy(halting)
    if attempts is None and isinstance(agent, WrittenOutAgent):
        attempts = 1
    if attempts is None and not agent.family.has_rules and strategy.needs & {"verified", "correct"}:
        attempts = 1
    if attempts == 1:
        return None
    retry = Retry(attempts=DEFAULT_ATTEMPTS if attempts is None else attempts, seed=seed)
    if perturb:
        retry = dataclasses.replace(retry, perturb=tuple(perturb))
    return retry if sigma is None else dataclasses.replace(retry, sigma=sigma)


def measure_outer_loop(
    agent: HRMAgent,
    puzzles: Puzzles,
    retry: Retry,
    halting: str | HaltingStrategy | None = None,
    max_steps: int | None = None,
    slots: int = 256,
    others: Sequence[HRMAgent] = (),
    progress: Callable[[int], None] | None = None,
) -> OuterLoopReport:
    """Make all attempts at `puzzles` once, and measure what each rule makes of them.

    After Ctrl-C the report is on the puzzles that were finished, and says so (`interrupted`).

    Args:
        retry: `retry.accept` plays no part; every rule that goes with the family and the halting strategy has a row.

    Raises:
        ConfigError: a retry that does not go with the agent.
    """
    strategy = agent.halting if halting is None else halting_strategy(halting)
    judged = judge_attempts(agent, puzzles, retry, strategy, max_steps, slots, others, progress)
    finished, planned = judged.finished, len(judged.plan)
    rows = []
    for rule, solutions in judged.solutions.items():
        if rule == SINGLE_PASS:
            kind, name, most = kind_of_accuracy(strategy), "first attempt", 1
        elif rule == "verifier":
            kind, name, most = ACCEPTED, rule, planned
        else:
            kind, name, most = "selected", rule, planned
        rows.append(_judged(solutions, kind, name, most))
    verifier = judged.solutions.get("verifier")
    winners: dict[str, int] = {}
    if verifier is not None:
        for number in verifier.winners[verifier.accepted].tolist():
            winners[judged.plan[number]] = winners.get(judged.plan[number], 0) + 1
    settings = dataclasses.asdict(retry)
    settings.pop("accept")
    return OuterLoopReport(
        retry=settings,
        planned=planned,
        test_puzzles=int(finished.sum()),
        interrupted=judged.interrupted,
        halting=str(strategy),
        rows=tuple(rows),
        winners=winners,
        curve=_budget_curve(verifier, judged.right_after, finished, planned),
    )


def _judged(solutions: RetrySolutions, kind: str, rule: str, attempts: int) -> Judged:
    finished = solutions.finished
    right = (solutions.accepted if kind == ACCEPTED else solutions.verified)[finished]
    return Judged(
        kind=kind,
        rule=rule,
        attempts=attempts,
        accuracy=float(right.mean()) if len(right) else float("nan"),
        accuracy_interval=wilson_interval(int(right.sum()), len(right)),
        mean_steps=solutions.mean_steps,
        mean_attempts=solutions.mean_attempts,
        abstained=1.0 - solutions.acceptance,
    )


def _budget_curve(
    verifier: RetrySolutions | None, right_after: dict[str, dict[int, np.ndarray]], finished: np.ndarray, planned: int
) -> BudgetCurve:
    attempts = sorted({k for k in (2**power for power in range(32)) if k <= planned} | {planned})
    selected = {rule: [share(right[k][finished]) for k in attempts] for rule, right in right_after.items()}
    if verifier is None:
        return BudgetCurve(attempts, [], selected, [], [])
    at, spent = verifier.accepted_attempts[finished], verifier.accepted_steps[finished]
    accepted = at > 0
    steps = np.unique(spent[accepted])
    if len(steps) > CURVE_POINTS:
        steps = steps[np.unique(np.linspace(0, len(steps) - 1, CURVE_POINTS).round().astype(np.intp))]
    return BudgetCurve(
        attempts=attempts,
        accepted=[share(accepted & (at <= k)) for k in attempts],
        selected=selected,
        steps=steps.tolist(),
        accepted_by_steps=[share(accepted & (spent <= budget)) for budget in steps.tolist()],
    )


def share(mask: np.ndarray) -> float:
    """Share of True, 0..1; nan of nothing."""
    return float(mask.mean()) if len(mask) else float("nan")


def measured(solutions: Solutions, puzzles: Puzzles, strategy: HaltingStrategy, seconds: float, flops: np.ndarray) -> Measured:
    """The figures of `solutions` to `puzzles`, which took `seconds` and `flops`, float64[N].

    All but the speed are nan where there is no puzzle."""
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
        flops_per_puzzle=mean(flops),
    )


@dataclass(frozen=True)
class EpisodeRecord:
    """One episode in an environment: `puzzle_id`, the sum of its rewards, whether it ended verified, steps taken, the last draft."""

    puzzle_id: str
    reward: float
    verified: bool
    steps: int
    draft: np.ndarray


def play(agent: HRMAgent | WrittenOutAgent, env: gymnasium.Env[Any, Any], puzzles: Puzzles) -> list[EpisodeRecord]:
    """Play each of `puzzles` in the Gymnasium environment `env`, one after the other: the slow road, which any agent goes.

    `env` is one of the draft environments (wrapped or not); its puzzles are not used, its rewards are. With one attempt and at least as
    many steps as the agent's `max_steps`, the drafts and steps are those of `HRMAgent.solve`.

    Raises:
        PuzzleError: puzzles that do not fit the environment.
    """
    records = []
    state: Any = None  # kept from episode to episode, so that random strategies see a new puzzle each time
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
