"""`Puzzles`: a batch of puzzles. One puzzle is a batch of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from hrm_gym.envs.errors import PuzzleError


@dataclass(frozen=True)
class Puzzles:
    """N puzzles of one family, as arrays whose first axis is the puzzle.

    Attributes:
        questions: uint8[N, H, W], what is given.
        answers: uint8[N, H, W], what is right (a maze: one of the right paths).
        ids: N strings, a stable name for each puzzle.
        ratings: float32[N], the family's difficulty figure (Sudoku: backtracks; maze: path length; ARC: grid cells).
        facts: further arrays with first axis N that the family's rules need, computed once per puzzle
            (maze: `optimum`, int32[N], the shortest path's number of moves; ARC: `task`, int32[N], and the demonstrations).
    """

    questions: np.ndarray
    answers: np.ndarray
    ids: Sequence[str]
    ratings: np.ndarray
    facts: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.questions)
        lengths = {"answers": len(self.answers), "ids": len(self.ids), "ratings": len(self.ratings)}
        lengths |= {name: len(values) for name, values in self.facts.items()}
        for name, length in lengths.items():
            if length != count:
                raise PuzzleError(f"{name} has {length} entries for {count} questions; give one for each puzzle")

    def __len__(self) -> int:
        return len(self.questions)

    def take(self, rows: np.ndarray | slice | Sequence[int]) -> Puzzles:
        """The puzzles at `rows` (integers, a boolean mask or a slice), as a new batch."""
        if isinstance(rows, slice) or np.asarray(rows).dtype == bool:
            index = np.arange(len(self))[rows]
        else:
            index = np.asarray(rows, dtype=np.intp)  # no array as long as the batch: it may hold millions
        return Puzzles(
            self.questions[index],
            self.answers[index],
            [self.ids[i] for i in index.tolist()],
            self.ratings[index],
            {name: values[index] for name, values in self.facts.items()},
        )

    @staticmethod
    def join(batches: Sequence[Puzzles]) -> Puzzles:
        """One batch of all puzzles in `batches` (at least one), in order."""
        first = batches[0]
        return Puzzles(
            np.concatenate([batch.questions for batch in batches]),
            np.concatenate([batch.answers for batch in batches]),
            [name for batch in batches for name in batch.ids],
            np.concatenate([batch.ratings for batch in batches]),
            {name: np.concatenate([batch.facts[name] for batch in batches]) for name in first.facts},
        )
