"""The rules of Sudoku on batches of grids: rows, columns and boxes hold every value once, and the clues stay.

Grids are uint8[N, n, n] with 0 for blank and 1..n; one grid uint8[n, n] is a batch of one. Sizes n: 4, 6, 9 and 16, with
boxes of 2 x 2, 2 x 3 (rows x columns), 3 x 3 and 4 x 4 cells.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
from numba import njit

from hrm_gym.envs.errors import PuzzleError

BOXES: dict[int, tuple[int, int]] = {4: (2, 2), 6: (2, 3), 9: (3, 3), 16: (4, 4)}
"""Size of a grid -> (rows, columns) of a box."""

SizeTuples = tuple[tuple[int, ...], tuple[int, ...]]


def box_shape(size: int) -> tuple[int, int]:
    """(rows, columns) of a box of a size x size grid.

    Raises:
        PuzzleError: an unknown size.
    """
    if size not in BOXES:
        raise PuzzleError(f"Sudoku size {size!r} is unknown; expected one of {', '.join(map(str, BOXES))}")
    return BOXES[size]


def check_grids(grids: Any, what: str = "questions") -> np.ndarray:
    """`grids` as uint8[N, n, n], C-contiguous (one grid [n, n] becomes a batch of one).

    Raises:
        PuzzleError: values that are not whole numbers 0..n, or a shape that is not N grids of a known size; names it.
    """
    array = np.asarray(grids)
    if array.dtype == object or not np.issubdtype(array.dtype, np.integer):
        raise PuzzleError(f"{what} have dtype {array.dtype}; expected whole numbers, 0 for blank")
    shape = array.shape
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or array.shape[1] != array.shape[2] or array.shape[1] not in BOXES:
        sizes = ", ".join(map(str, BOXES))
        raise PuzzleError(f"{what} have shape {shape}; expected [N, n, n] or [n, n] with n one of {sizes}")
    size = array.shape[1]
    if array.size and (array.max() > size or (array.dtype != np.uint8 and array.min() < 0)):
        i, row, column = np.argwhere((array < 0) | (array > size))[0]
        value = array[i, row, column]
        raise PuzzleError(f"{what}: grid {i} has value {value} at row {row}, column {column}; expected 0 (blank) to {size}")
    return np.ascontiguousarray(array, dtype=np.uint8)


def check_pairs(questions: Any, drafts: Any) -> tuple[np.ndarray, np.ndarray]:
    """Questions and drafts as uint8[N, n, n] of one shape.

    Raises:
        PuzzleError: as `check_grids`, or two different shapes.
    """
    questions, drafts = check_grids(questions, "questions"), check_grids(drafts, "drafts")
    if questions.shape != drafts.shape:
        raise PuzzleError(f"drafts have shape {drafts.shape} for questions {questions.shape}; give one draft for each question")
    return questions, drafts


def constant_sizes(size: int) -> SizeTuples:
    """The box's rows and columns as the lengths of two tuples.

    A tuple's length is part of its type, so Numba compiles each kernel once per size with the sizes as constants: every
    loop over a box is unrolled, and the code is still written once. Twice as fast as passing two numbers.
    """
    rows, columns = box_shape(size)
    return (0,) * rows, (0,) * columns


def over_batch(kernel: Callable[[int, int], None], count: int, grain: int) -> None:
    """Runs `kernel(start, stop)` over 0..count-1 in slices of at least `grain` puzzles on `NUMBA_NUM_THREADS` threads.

    Plain threads around kernels that release the GIL, made for the call and gone after it, rather than Numba's `prange`:
    its thread pools do not survive `fork` (vector environments fork) nor, without TBB, calls from two threads at once.
    """
    threads = min(numba.config.NUMBA_NUM_THREADS, -(-count // grain))  # type: ignore[attr-defined]
    if threads <= 1:
        kernel(0, count)
        return
    step = max(grain, -(-count // (8 * threads)))  # several slices per thread, since puzzles differ in cost
    starts = range(0, count, step)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(kernel, starts, [min(start + step, count) for start in starts]))


# -- solved? -----------------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def _verify(questions: np.ndarray, drafts: np.ndarray, verified: np.ndarray, start: int, stop: int, box: SizeTuples) -> None:
    R = len(box[0])
    C = len(box[1])
    n = R * C
    full = (2 << n) - 2  # bits 1..n
    for i in range(start, stop):
        question = questions[i]
        draft = drafts[i]
        kept = True
        for row in range(n):
            for column in range(n):
                clue = question[row, column]
                kept &= (clue == 0) | (clue == draft[row, column])
        good = kept
        band = 0
        while good and band < C:
            for r in range(R):
                seen = 0
                for column in range(n):
                    seen |= 1 << draft[band * R + r, column]
                good &= seen == full
            for k in range(R):
                seen = 0
                for r in range(R):
                    for j in range(C):
                        seen |= 1 << draft[band * R + r, k * C + j]
                good &= seen == full
            band += 1
        if good:
            for column in range(n):
                seen = 0
                for row in range(n):
                    seen |= 1 << draft[row, column]
                good &= seen == full
        verified[i] = good


def verify(questions: Any, drafts: Any) -> np.ndarray:
    """Which drafts solve their question: complete, every row, column and box all different, every clue kept.

    Args:
        questions: uint8[N, n, n] (or one grid [n, n]), 0 blank, 1..n clues; n is 4, 6, 9 or 16.
        drafts: the same shape.

    Returns:
        bool[N].

    Raises:
        PuzzleError: a wrong shape, size or value.
    """
    questions, drafts = check_pairs(questions, drafts)
    verified = np.empty(len(questions), dtype=bool)
    sizes = constant_sizes(questions.shape[1])
    over_batch(lambda start, stop: _verify(questions, drafts, verified, start, stop, sizes), len(questions), 4096)
    return verified


def is_solved(questions: Any, drafts: Any, box: tuple[int, int]) -> Any:
    """`verify` in operations that NumPy arrays and torch tensors share: bool[N].

    Args:
        questions, drafts: integer arrays or tensors [N, n, n] of 32 bits or more, values 0..n.
        box: (rows, columns) of a box.
    """
    # A sum of n powers of two is the number with exactly the bits 1..n only if the powers are 2^1 .. 2^n, each once.
    rows, columns = box
    n = rows * columns
    full = (2 << n) - 2
    powers = 1 << drafts
    each_row = (powers.sum(2) == full).all(1)
    each_column = (powers.sum(1) == full).all(1)
    each_box = (powers.reshape(-1, columns, rows, rows, columns).sum((2, 4)).reshape(-1, n) == full).all(1)
    clues_kept = ((questions == 0) | (questions == drafts)).reshape(-1, n * n).all(1)
    return each_row & each_column & each_box & clues_kept


# -- what is wrong -----------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def _count_broken(drafts, broken, start, stop, box):  # type: ignore[no-untyped-def]
    R = len(box[0])
    C = len(box[1])
    n = R * C
    for i in range(start, stop):
        draft = drafts[i]
        count = 0
        for a in range(n):
            row = row_twice = column = column_twice = 0
            for b in range(n):
                bit = 1 << draft[a, b]
                row_twice |= row & bit
                row |= bit
                bit = 1 << draft[b, a]
                column_twice |= column & bit
                column |= bit
            count += (row_twice > 1) + (column_twice > 1)  # bit 0 is the blank, which may repeat
        for band in range(C):
            for k in range(R):
                seen = twice = 0
                for r in range(R):
                    for j in range(C):
                        bit = 1 << draft[band * R + r, k * C + j]
                        twice |= seen & bit
                        seen |= bit
                count += twice > 1
        broken[i] = count


@njit(cache=True, nogil=True)
def _count_wrong_clues(questions, drafts, wrong, start, stop):  # type: ignore[no-untyped-def]
    for i in range(start, stop):
        count = 0
        for row in range(questions.shape[1]):
            for column in range(questions.shape[2]):
                clue = questions[i, row, column]
                count += (clue != 0) & (clue != drafts[i, row, column])
        wrong[i] = count


@njit(cache=True, nogil=True)
def _count_filled(drafts, filled, start, stop):  # type: ignore[no-untyped-def]
    for i in range(start, stop):
        count = 0
        for row in range(drafts.shape[1]):
            for column in range(drafts.shape[2]):
                count += drafts[i, row, column] != 0
        filled[i] = count


def broken_rules(drafts: Any) -> np.ndarray:
    """The number of rows, columns and boxes in which a value stands twice (blanks do not count): int64[N], 0..3 n.

    Args:
        drafts: uint8[N, n, n] or [n, n].

    Raises:
        PuzzleError: a wrong shape, size or value.
    """
    drafts = check_grids(drafts, "drafts")
    broken = np.empty(len(drafts), dtype=np.int64)
    sizes = constant_sizes(drafts.shape[1])
    over_batch(lambda start, stop: _count_broken(drafts, broken, start, stop, sizes), len(drafts), 4096)
    return broken


def wrong_clues(questions: Any, drafts: Any) -> np.ndarray:
    """The number of clues of each question that the draft does not keep: int64[N].

    Raises:
        PuzzleError: a wrong shape, size or value.
    """
    questions, drafts = check_pairs(questions, drafts)
    wrong = np.empty(len(drafts), dtype=np.int64)
    over_batch(lambda start, stop: _count_wrong_clues(questions, drafts, wrong, start, stop), len(drafts), 4096)
    return wrong


def filled_cells(drafts: Any) -> np.ndarray:
    """The number of cells that are not blank: int64[N].

    Raises:
        PuzzleError: a wrong shape, size or value.
    """
    drafts = check_grids(drafts, "drafts")
    filled = np.empty(len(drafts), dtype=np.int64)
    over_batch(lambda start, stop: _count_filled(drafts, filled, start, stop), len(drafts), 4096)
    return filled


def wrong_cells(questions: Any, drafts: Any) -> np.ndarray:
    """Cells that share their value with another cell of a unit, or do not keep a clue: bool[N, n, n].

    Raises:
        PuzzleError: a wrong shape, size or value.
    """
    questions, drafts = check_pairs(questions, drafts)
    n = drafts.shape[1]
    rows, columns = BOXES[n]
    # per value, since one comparison of all pairs of cells would be n^4 numbers a grid
    conflict = np.zeros(drafts.shape, dtype=bool)
    for value in range(1, n + 1):
        here = drafts == value
        per_box = here.reshape(-1, columns, rows, rows, columns).sum((2, 4))
        crowded = here.sum(2)[:, :, None] > 1
        crowded = crowded | (here.sum(1)[:, None, :] > 1)
        crowded |= (per_box > 1).repeat(rows, axis=1).repeat(columns, axis=2)
        conflict |= here & crowded
    return conflict | ((questions != 0) & (questions != drafts))
