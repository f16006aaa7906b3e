"""The canonical form of a Sudoku: one grid that stands for all its images under the symmetries of the rules.

Of all images of a solution grid (rows within a band, bands, columns within a stack, stacks, transposition where boxes are
square, names of the digits) the canonical one is the smallest, read row by row. The question goes along; where several
symmetries lead to the smallest grid (the grid's automorphisms), the one that makes the question smallest counts. Two puzzles
have the same canonical question exactly if each is an image of the other.

The search needs no clever bounds. Once the row that comes first, the order of the columns and the transposition are chosen, the
smallest image is plain: digits are named so that the first row reads 1..n, and since the first column holds different
digits, it alone puts the other rows and bands in order. That leaves 2 * 9 * 1296 candidates at 9 x 9, of which most are
dropped at the second row.
"""

from __future__ import annotations

from functools import cache
from itertools import permutations
from typing import Any

import numpy as np
from numba import njit

from hrm_gym.envs.errors import PuzzleError
from hrm_gym.envs.sudoku.rules import BOXES, check_pairs, over_batch, verify

LARGEST = 9  # 16 x 16 has 8 million orders of the columns


def canonical(questions: Any, answers: Any) -> tuple[np.ndarray, np.ndarray]:
    """The canonical forms of puzzles and of their solution grids.

    Args:
        questions: uint8[N, n, n], n up to 9; 0 is blank.
        answers: uint8[N, n, n], a solution of each question (the one solution, if equal forms are to mean equal puzzles).

    Returns:
        Canonical questions and canonical answers, uint8[N, n, n] each; the canonical question's solution is the canonical answer.

    Raises:
        PuzzleError: wrong shapes or values, a size above 9, or an answer that does not solve its question.
    """
    questions, answers = check_pairs(questions, answers)
    size = questions.shape[1]
    if size > LARGEST:
        raise PuzzleError(
            f"a Sudoku of {size} x {size} has too many symmetries for a canonical form; expected at most {LARGEST} x {LARGEST}"
        )
    solved = verify(questions, answers)
    if not solved.all():
        raise PuzzleError(f"answer {int(solved.argmin())} does not solve its question; a canonical form needs the solution")
    box_rows, box_columns = BOXES[size]
    orders = column_orders(size)
    new_questions, new_answers = np.empty_like(questions), np.empty_like(answers)
    over_batch(
        lambda first, last: _canonical(
            questions, answers, new_questions, new_answers, orders, box_rows, box_columns, first, last
        ),
        len(questions),
        8,
    )
    return new_questions, new_answers


@cache
def column_orders(size: int) -> np.ndarray:
    """All orders of the columns that keep stacks together, int64[orders, n]: 8 at 4 x 4, 72 at 6 x 6, 1296 at 9 x 9."""
    width = BOXES[size][1]
    orders: list[list[int]] = [[]]
    for _ in range(size // width):
        orders = [
            order + [stack * width + column for column in within]
            for order in orders
            for stack in range(size // width)
            if stack * width not in {column // width * width for column in order}
            for within in permutations(range(width))
        ]
    table = np.array(orders, dtype=np.int64)
    table.setflags(write=False)
    return table


@njit(cache=True, nogil=True)
def _canonical(
    questions: np.ndarray,
    answers: np.ndarray,
    new_questions: np.ndarray,
    new_answers: np.ndarray,
    orders: np.ndarray,
    box_rows: int,
    box_columns: int,
    first_puzzle: int,
    last_puzzle: int,
) -> None:
    n = answers.shape[1]
    grid = np.empty((n, n), np.uint8)
    clues = np.empty((n, n), np.uint8)
    image = np.empty((n, n), np.uint8)
    label = np.zeros(n + 1, np.uint8)  # the new name of each digit; blank stays 0
    rows = np.empty(n, np.int64)
    for puzzle in range(first_puzzle, last_puzzle):
        smallest = new_answers[puzzle]
        smallest_clues = new_questions[puzzle]
        smallest[:] = n + 1  # larger than any image
        for turned in range(2 if box_rows == box_columns else 1):
            for y in range(n):
                for x in range(n):
                    grid[y, x] = answers[puzzle, x, y] if turned else answers[puzzle, y, x]
                    clues[y, x] = questions[puzzle, x, y] if turned else questions[puzzle, y, x]
            for first in range(n):
                band = first // box_rows * box_rows
                for order in orders:
                    # The first cell of the second row cannot be among 1..C, which stand in its box, and can always be made
                    # C + 1: an order in which it is not loses.
                    wanted = grid[first, order[box_columns]]
                    second = -1
                    for row in range(band, band + box_rows):
                        if grid[row, order[0]] == wanted:
                            second = row
                    if second == -1:
                        continue
                    for x in range(n):
                        label[grid[first, order[x]]] = x + 1
                    if _compare(grid[second], order, label, smallest[1]) > 0:
                        continue
                    _order_rows(grid, order[0], label, first, box_rows, rows)
                    comparison = 0
                    for y in range(n):
                        comparison = _compare(grid[rows[y]], order, label, smallest[y])
                        if comparison != 0:
                            break
                    if comparison > 0:
                        continue
                    _write_image(clues, rows, order, label, image)
                    if comparison < 0:
                        _write_image(grid, rows, order, label, smallest)
                        smallest_clues[:] = image
                    elif _is_smaller(image, smallest_clues):  # an automorphism of the grid
                        smallest_clues[:] = image


@njit(cache=True, nogil=True)
def _compare(row: np.ndarray, order: np.ndarray, label: np.ndarray, other: np.ndarray) -> int:
    """-1, 0 or 1 as the row's image is smaller than, equal to or larger than `other`."""
    for x in range(len(order)):
        digit = label[row[order[x]]]
        if digit != other[x]:
            return -1 if digit < other[x] else 1
    return 0


@njit(cache=True, nogil=True)
def _order_rows(grid: np.ndarray, column: int, label: np.ndarray, first: int, box_rows: int, rows: np.ndarray) -> None:
    """Writes the order of rows that makes the image of `column` smallest with row `first` on top and bands kept together."""
    n = len(rows)
    # the band with the smallest digit not yet placed comes next, its rows by their digits; row `first` has digit 1
    place = np.empty(n + 1, np.int64)
    for y in range(n):
        place[label[grid[y, column]]] = y
    filled = 0
    taken = 0  # bit b: band b has its place
    for digit in range(1, n + 1):
        band = place[digit] // box_rows
        if taken >> band & 1:
            continue
        taken |= 1 << band
        for later in range(digit, n + 1):
            if place[later] // box_rows == band:
                rows[filled] = place[later]
                filled += 1


@njit(cache=True, nogil=True)
def _write_image(grid: np.ndarray, rows: np.ndarray, order: np.ndarray, label: np.ndarray, image: np.ndarray) -> None:
    for y in range(len(rows)):
        for x in range(len(order)):
            image[y, x] = label[grid[rows[y], order[x]]]


@njit(cache=True, nogil=True)
def _is_smaller(image: np.ndarray, other: np.ndarray) -> bool:
    for y in range(len(image)):
        for x in range(len(image)):
            if image[y, x] != other[y, x]:
                return image[y, x] < other[y, x]
    return False
