"""What comes back from solving many puzzles, with and without retries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from hrm_gym.agents.retry import SINGLE_PASS
from hrm_gym.envs.puzzles import Puzzles


@dataclass(frozen=True)
class Solutions:
    """The answers to N puzzles, in the puzzles' order.

    Attributes:
        drafts: uint8[N, H, W], the drafts handed in.
        verified: bool[N], whether they are right by the family's verification (Sudoku, mazes: by the rules).
        steps: int64[N], steps of thought spent, all attempts together.
        halt_values, continue_values: float32[N], sigmoid of the Q values at the halt of the draft handed in.
        finished: bool[N]; False only where solving was interrupted before the puzzle was done: its draft is the bare question.
    """

    drafts: np.ndarray
    verified: np.ndarray
    steps: np.ndarray
    halt_values: np.ndarray
    continue_values: np.ndarray
    finished: np.ndarray

    def __len__(self) -> int:
        return len(self.drafts)

    @property
    def accuracy(self) -> float:
        """Share of verified drafts among the finished puzzles, 0..1."""
        return float(self.verified[self.finished].mean()) if self.finished.any() else float("nan")

    @property
    def mean_steps(self) -> float:
        return float(self.steps[self.finished].mean()) if self.finished.any() else float("nan")


@dataclass(frozen=True)
class RetrySolutions(Solutions):
    """The answers to N puzzles that were tried again.

    Attributes:
        accepted: bool[N], whether the outer loop stands by the draft. With the verifier: whether the rules accepted it; where not, the
            draft with the highest Q-halt is handed in all the same. With a selection without labels: True.
        attempts: int64[N], attempts made, the single pass counted.
        winners: int64[N], the attempt whose draft was handed in; 0: the single pass.
        plan: the perturbation of each attempt, K names; the first is "single pass".
        accepted_attempts, accepted_steps: int64[N], attempts made and steps spent when the draft was accepted; 0: never.
    """

    accepted: np.ndarray
    attempts: np.ndarray
    winners: np.ndarray
    plan: tuple[str, ...]
    accepted_attempts: np.ndarray
    accepted_steps: np.ndarray

    @property
    def perturbations(self) -> list[str]:
        """Which perturbation won, for each puzzle."""
        return [self.plan[winner] for winner in self.winners.tolist()]

    @property
    def mean_attempts(self) -> float:
        return float(self.attempts[self.finished].mean()) if self.finished.any() else float("nan")

    @property
    def acceptance(self) -> float:
        """Share of the finished puzzles whose draft was accepted, 0..1; the others are abstentions."""
        return float(self.accepted[self.finished].mean()) if self.finished.any() else float("nan")


class SolvingInterrupted(KeyboardInterrupt):
    """Ctrl-C while puzzles were being solved. It is a `KeyboardInterrupt`, so a program that does not care stops as ever.

    Attributes:
        solutions: of all puzzles; `solutions.finished` says which were done.
    """

    def __init__(self, solutions: Solutions) -> None:
        super().__init__(f"interrupted after {int(solutions.finished.sum())} of {len(solutions)} puzzles")
        self.solutions = solutions


def joined(parts: Sequence[RetrySolutions], puzzles: Puzzles, names: tuple[str, ...]) -> RetrySolutions:
    """The chunks' solutions as one; puzzles that no chunk has reached are unfinished."""
    missing = len(puzzles) - sum(len(part) for part in parts)
    parts = [*parts, unattempted(puzzles.questions[len(puzzles) - missing :], names, finished=False)]
    arrays = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(RetrySolutions)
        if field.name != "plan"
    }
    return RetrySolutions(**arrays, plan=names)


def unattempted(questions: np.ndarray, names: tuple[str, ...] = (SINGLE_PASS,), finished: bool = True) -> RetrySolutions:
    """Solutions of puzzles, uint8[N, H, W], that nobody has thought about: not verified, no step, the bare question for a draft."""
    count = len(questions)
    no, zeros, zero_values = np.zeros(count, dtype=bool), np.zeros(count, np.int64), np.zeros(count, np.float32)
    return RetrySolutions(
        drafts=questions.copy(),
        verified=no,
        steps=zeros,
        halt_values=zero_values,
        continue_values=zero_values,
        finished=np.full(count, finished),
        accepted=no,
        attempts=zeros,
        winners=zeros,
        plan=names,
        accepted_attempts=zeros,
        accepted_steps=zeros,
    )


def scattered(solutions: Solutions, rows: np.ndarray, questions: np.ndarray, names: tuple[str, ...]) -> Solutions:
    """`solutions` at the places of the mask `rows`, bool[N]; the other questions, uint8[N, H, W], are finished without an attempt."""
    blank = unattempted(questions, names)
    arrays = {}
    for field in fields(solutions):
        if field.name != "plan":
            arrays[field.name] = getattr(blank, field.name).copy()
            arrays[field.name][rows] = getattr(solutions, field.name)
    return RetrySolutions(**arrays, plan=names) if isinstance(solutions, RetrySolutions) else Solutions(**arrays)


def without_retries(solutions: RetrySolutions) -> Solutions:
    """Plain `Solutions`, of a single pass."""
    return Solutions(**{field.name: getattr(solutions, field.name) for field in fields(Solutions)})
