"""The Sudoku family: what the episode, the drawing and the training need to know about Sudoku."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hrm_gym.envs.errors import ConfigError, PuzzleError
from hrm_gym.envs.family import CellStyle, Family
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.sudoku import rules
from hrm_gym.envs.sudoku.canonical import LARGEST, canonical
from hrm_gym.envs.sudoku.solver import solve_and_rate
from hrm_gym.envs.symmetries import Symmetries

_DIGITS = "123456789ABCDEFG"
_BLANKS = ".0_*"


class SudokuFamily(Family):
    """Sudoku of one size: 4 (boxes of 2 x 2), 6 (2 rows x 3 columns), 9 (3 x 3) or 16 (4 x 4).

    Values are 0 (blank) and 1..n; as text '.', then 1..9 and, at 16 x 16, A..G.

    Args:
        size: n.

    Raises:
        ConfigError: an unknown size.
    """

    name = "sudoku"
    has_rules = True

    def __init__(self, size: int = 9) -> None:
        if size not in rules.BOXES:
            raise ConfigError(f"Sudoku size {size!r} is unknown; expected one of {', '.join(map(str, rules.BOXES))}")
        self.size = size
        self.shape = (size, size)
        self.values = size + 1
        self.blank = 0
        self.tokens = np.arange(1, size + 2, dtype=np.uint8)
        self.vocabulary = size + 2
        self.box = rules.BOXES[size]
        self.has_canonical_form = size <= LARGEST
        self.styles = (
            CellStyle("", (255, 255, 255), "."),
            *(CellStyle(digit, (255, 255, 255), digit) for digit in _DIGITS[:size]),
        )
        self._value_of = dict.fromkeys(_BLANKS, 0)
        for value, digit in enumerate(_DIGITS[:size], start=1):
            self._value_of[digit] = self._value_of[digit.lower()] = value

    def __repr__(self) -> str:
        return f"SudokuFamily({self.size})"

    # -- rules -----------------------------------------------------------------------------------------------------

    def verify(self, puzzles: Puzzles, drafts: np.ndarray) -> np.ndarray:
        return rules.verify(puzzles.questions, drafts)

    def is_solved(self, questions: Any, drafts: Any, answers: Any, facts: Mapping[str, Any]) -> Any:
        return rules.is_solved(questions, drafts, rules.BOXES[self.size])

    def figures(self, puzzles: Puzzles, drafts: np.ndarray) -> dict[str, np.ndarray]:
        """`broken_rules` (rows, columns and boxes with a repeat), `wrong_clues` and `filled_cells`, int64[N] each."""
        return {
            "broken_rules": rules.broken_rules(drafts),
            "wrong_clues": rules.wrong_clues(puzzles.questions, drafts),
            "filled_cells": rules.filled_cells(drafts),
        }

    def wrong_cells(self, puzzles: Puzzles, drafts: np.ndarray) -> np.ndarray:
        return rules.wrong_cells(puzzles.questions, drafts)

    # -- puzzles ---------------------------------------------------------------------------------------------------

    def puzzles_from_questions(self, questions: np.ndarray) -> Puzzles:
        questions = self.check_grids(questions)
        answers, ratings = solve_and_rate(questions)
        return Puzzles(questions, answers, [self.format(question) for question in questions], ratings.astype(np.float32))

    def puzzles_with_answers(self, questions: np.ndarray, answers: np.ndarray, ids: list[str], ratings: np.ndarray) -> Puzzles:
        questions, answers = self.check_grids(questions), self.check_grids(answers, "answer")
        if len(questions) != len(answers):
            raise PuzzleError(f"{len(answers)} answers for {len(questions)} questions; give one for each puzzle")
        verified = rules.verify(questions, answers)
        if not verified.all():
            row = int(verified.argmin())
            raise PuzzleError(
                f"answer {row} does not solve question {row}; expected a full grid that keeps the clues and repeats no value"
            )
        return Puzzles(questions, answers, ids, np.asarray(ratings, dtype=np.float32))

    def parse(self, text: str) -> np.ndarray:
        """One grid as text, row by row -> uint8[n, n]. Blanks are '.', '0', '_' or '*'; spaces and line ends are skipped.

        Raises:
            PuzzleError: wrong length or an unknown character.
        """
        characters = "".join(text.split())
        if len(characters) != self.cells:
            raise PuzzleError(
                f"a {self.size} x {self.size} Sudoku has {self.cells} characters, this text has {len(characters)}: {characters[:90]!r}"
            )
        for place, character in enumerate(characters):
            if character not in self._value_of:
                raise PuzzleError(
                    f"character {character!r} at place {place} is unknown; expected '.' or '0' for blank and 1 to {_DIGITS[self.size - 1]}"
                )
        values = [self._value_of[character] for character in characters]
        return np.array(values, dtype=np.uint8).reshape(self.shape)

    def format(self, grid: np.ndarray) -> str:
        return "".join(self.styles[value].character for value in np.asarray(grid).reshape(-1).tolist())

    # -- symmetries ------------------------------------------------------------------------------------------------

    def sample_symmetries(self, count: int, rng: np.random.Generator) -> Symmetries:
        """Random renaming of the digits, order of bands, stacks, rows in a band and columns in a stack, and, where boxes are
        square, transposition: all symmetries of the rules, each with equal chance."""
        n = self.size
        box_rows, box_columns = rules.BOXES[n]
        rows = _lines(count, n // box_rows, box_rows, rng)
        columns = _lines(count, n // box_columns, box_columns, rng)
        cells = rows[:, :, None] * n + columns[:, None, :]
        if box_rows == box_columns:
            turned = rng.random(count) < 0.5
            cells = np.where(turned[:, None, None], cells.transpose(0, 2, 1), cells)
        values = np.zeros((count, n + 1), dtype=np.uint8)
        values[:, 1:] = _orders(count, n, rng) + 1
        return Symmetries(cells.reshape(count, n * n), values)

    def canonical(self, puzzles: Puzzles) -> tuple[np.ndarray, np.ndarray]:
        """See `hrm_gym.envs.sudoku.canonical`: about 0.6 ms of one core for a 9 x 9 puzzle."""
        return canonical(puzzles.questions, puzzles.answers)

    def measurements(self, puzzles: Puzzles) -> dict[str, np.ndarray]:
        """`clues`: cells given."""
        return {"clues": (puzzles.questions != 0).sum(axis=(1, 2))}


def _orders(count: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """`count` random orders of 0..length-1, int64[count, length]."""
    return rng.permuted(np.tile(np.arange(length), (count, 1)), axis=1)


def _lines(count: int, groups: int, group_length: int, rng: np.random.Generator) -> np.ndarray:
    """`count` random orders of rows (or columns) that keep bands (or stacks) together, int64[count, groups * group_length]."""
    outer = _orders(count, groups, rng)
    inner = _orders(count * groups, group_length, rng).reshape(count, groups, group_length)
    return (outer[:, :, None] * group_length + inner).reshape(count, groups * group_length)
