"""The steps of a Sudoku solver, written down: which cell is filled next, and with what.

The solver fills one cell at a time, as a patient person would:

1. The first cell, row by row, that has one candidate left (naked single).
2. Without one: the first cell whose value has no other place in its row, column or box (hidden single).
3. Without one: a guess, in the first of the cells with the fewest candidates.

A guess is always right, for the answer is known: the dead ends of a search are not written. A trace so is a proof without its wrong turns,
two entries for each blank cell.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from hrm_gym.envs.errors import PuzzleError
from hrm_gym.envs.sudoku.rules import box_shape, check_pairs, over_batch, verify

_GRAIN = 64  # puzzles per slice of a batch: fewer are done sooner than a thread starts


@njit(cache=True, nogil=True)
def _count_bits(word: int) -> int:
    count = 0
    while word != 0:
        word &= word - 1
        count += 1
    return count


@njit(cache=True, nogil=True)
def _only_place(used: np.ndarray, filled: np.ndarray, row: int, column: int, bit: int, box: tuple[int, int]) -> bool:
    """Whether no other blank cell of the cell's row, of its column or of its box can take the value."""
    n = len(filled)
    in_row = in_column = in_box = True
    for other in range(n):
        if other != column and filled[row, other] == 0 and used[row, other] & bit == 0:
            in_row = False
        if other != row and filled[other, column] == 0 and used[other, column] & bit == 0:
            in_column = False
        y = row // box[0] * box[0] + other // box[1]
        x = column // box[1] * box[1] + other % box[1]
        if (y != row or x != column) and filled[y, x] == 0 and used[y, x] & bit == 0:
            in_box = False
    return in_row or in_column or in_box


@njit(cache=True, nogil=True)
def _fill(used: np.ndarray, filled: np.ndarray, row: int, column: int, value: int, box: tuple[int, int]) -> None:
    """Writes the value and bars it from the cell's row, column and box; `used` holds a bit for each barred value."""
    bit = 1 << value
    filled[row, column] = value
    for other in range(len(filled)):
        used[row, other] |= bit
        used[other, column] |= bit
        used[row // box[0] * box[0] + other // box[1], column // box[1] * box[1] + other % box[1]] |= bit


@njit(cache=True, nogil=True)
def _trace(questions: np.ndarray, answers: np.ndarray, traces: np.ndarray, start: int, stop: int, box: tuple[int, int]) -> None:
    n = questions.shape[1]
    used = np.empty((n, n), np.int32)
    filled = np.empty((n, n), np.uint8)
    for i in range(start, stop):
        used[:] = 0
        filled[:] = 0
        blanks = n * n
        for cell in range(n * n):
            value = questions[i, cell // n, cell % n]
            if value != 0:
                _fill(used, filled, cell // n, cell % n, value, box)
                blanks -= 1
        for written in range(blanks):
            chosen, fewest = -1, n + 1
            for cell in range(n * n):
                row, column = cell // n, cell % n
                if filled[row, column] == 0:
                    candidates = n - _count_bits(used[row, column])
                    if candidates < fewest:
                        chosen, fewest = cell, candidates
            if fewest > 1:
                for cell in range(n * n):
                    row, column = cell // n, cell % n
                    if filled[row, column] == 0 and _only_place(used, filled, row, column, 1 << answers[i, row, column], box):
                        chosen = cell
                        break
            row, column = chosen // n, chosen % n
            traces[i, 2 * written] = chosen
            traces[i, 2 * written + 1] = n * n + answers[i, row, column]
            _fill(used, filled, row, column, answers[i, row, column], box)


def trace(questions: Any, answers: Any) -> np.ndarray:
    """The solver's steps for N puzzles.

    Args:
        questions, answers: uint8[N, n, n]; every answer solves its question, which has no other solution.

    Returns:
        int32[N, 2 * n * n]: for each blank cell, in the order in which they are filled, the cell (0..n*n-1, row by row) and n*n + its
        value; then -1 up to the end.

    Raises:
        PuzzleError: grids that do not fit, or an answer that is none; names the first.
    """
    questions, answers = check_pairs(questions, answers)
    right = verify(questions, answers)
    if not right.all():
        raise PuzzleError(
            f"answer {int(right.argmin())} does not solve its question; a trace can only be written to a solution"
        )
    count, size = questions.shape[:2]
    traces = np.full((count, 2 * size * size), -1, np.int32)
    box = box_shape(size)
    over_batch(lambda start, stop: _trace(questions, answers, traces, start, stop, box), count, _GRAIN)
    return traces
