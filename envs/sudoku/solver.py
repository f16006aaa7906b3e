"""The Sudoku solver: finds, counts and rates solutions, for all sizes, many puzzles at a time.

How a position is kept
----------------------
A grid of size n has boxes of R rows x C columns (n = R * C). It is C *bands* of R rows, and a band is R boxes side by side.
For every band and digit one 64-bit word says where in the band the digit may still go (n * R bits: 27 for 9 x 9, 64 for
16 x 16). The cell in row r of the band and column j of box k is bit `j * R * R + r * R + k`. A word is thus C *planes* of
R x R bits, one plane for each column of a box, and a plane has one bit for each *minirow*, the crossing of a row and a box.
A shift per plane folds a word onto its minirows; a multiplication copies minirows or boxes back onto all cells.

What is deduced
---------------
1. One digit, the rows and boxes of one band: its R places lie in R minirows, one in each row and one in each box. A minirow
   that belongs to no such choice among the open ones is closed (hidden singles and locked candidates, by a table).
2. One digit, the columns: a column open in only one band is taken there; a box with one open column takes that column.
3. A digit down to one cell of its row bars all others from that cell, which is then *settled* (hidden singles).
4. A cell down to one digit takes it (naked singles).

The search
----------
When nothing more follows, the search branches on a cell with two candidates left: it counts for each digit the
two-candidate cells that hold it, takes the digit with the most and, of this digit's cells, the one whose other digit has
the most. If no cell has two, a cell with the fewest candidates serves. One branch places a digit, the other rules it out.
A branch that ends in a contradiction is a dead end.
"""

from __future__ import annotations

from functools import cache
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from hrm_gym.envs.errors import PuzzleError
from hrm_gym.envs.sudoku.rules import SizeTuples, check_grids, constant_sizes, over_batch

NO_LIMIT = 1 << 62
_GRAIN = 64  # puzzles per slice of a batch: fewer are solved sooner than a thread starts


class Tables(NamedTuple):
    """What a set of minirows (R x R bits, used as an index) implies, int64[2^(R * R)] each."""

    locked: np.ndarray  # its minirows that are part of a full choice, one in each row and box
    alone: np.ndarray  # its minirows that are the only one in their row
    rivals: np.ndarray  # the minirows that share a row or box with one of its minirows


@cache
def tables(rows: int) -> Tables:
    """The tables for bands of `rows` rows."""
    sets = np.arange(1 << (rows * rows), dtype=np.int64)
    locked, alone, rivals = np.zeros_like(sets), np.zeros_like(sets), np.zeros_like(sets)
    for boxes in permutations(range(rows)):
        choice = sum(1 << (row * rows + box) for row, box in enumerate(boxes))
        locked[sets & choice == choice] |= choice
    for row in range(rows):
        whole_row = ((1 << rows) - 1) << (row * rows)
        for box in range(rows):
            whole_box = sum(1 << (other * rows + box) for other in range(rows))
            minirow = 1 << (row * rows + box)
            alone[sets & whole_row == minirow] |= minirow
            rivals[sets & minirow != 0] |= (whole_row | whole_box) & ~minirow
    return Tables(locked, alone, rivals)


Workspace = tuple[np.ndarray, np.ndarray, np.ndarray]


# The kernels below share these arguments:
#   box: (rows, columns) of a box as the lengths of two tuples, see `constant_sizes`
#   position: int64[C, n + 1], the words of band b and digit d (0..n-1) at [b, d] and the band's settled cells at [b, n]
#   frames: int64[n * n + 1, C + 1, n + 1], one position per branching on the way; its row C keeps what to do on return
#   scratch: int64[n], overwritten


@njit(inline="always")
def _repeat(step: int, count: int) -> int:
    """x * _repeat(step, count) is `count` copies of x, `step` bits apart."""
    ones = 0
    for i in range(count):
        ones |= 1 << (i * step)
    return ones


@njit(inline="always")
def _count_bits(word: int) -> int:
    """The number of ones; the compiler knows this loop and makes it one instruction."""
    count = 0
    while word != 0:
        word &= word - 1
        count += 1
    return count


@njit(inline="always")
def _lowest_bit(word: int) -> int:
    """The index of the lowest one of a word that is not 0."""
    return _count_bits((word & -word) - 1)


@njit(inline="always")
def copy_over(target: np.ndarray, source: np.ndarray) -> None:
    """Writes `source` over `target`, of the same shape [., .]. A slice can fail, and its message takes 4 s to compile."""
    for i in range(source.shape[0]):
        for j in range(source.shape[1]):
            target[i, j] = source[i, j]


@njit(inline="always")
def _fold(word: int, plane: int, count: int) -> int:
    """The minirows in which a word has cells."""
    minirows = 0
    for j in range(count):
        minirows |= word >> (j * plane)
    return minirows & ((1 << plane) - 1)


@njit(cache=True)
def _confine(position: np.ndarray, d: int, scratch: np.ndarray, box: SizeTuples, table: Tables) -> bool:
    """Deductions 1 and 2 for digit d until nothing changes. False if the digit has nowhere to go."""
    R = len(box[0])
    C = len(box[1])
    plane = R * R
    all_planes = _repeat(plane, C)
    all_rows = _repeat(R, R)
    boxes_mask = (1 << R) - 1
    columns_mask = boxes_mask * all_planes
    open_columns = scratch  # band b: bit j * R * R + k, column j of box k
    while True:
        once = 0
        twice = 0
        for b in range(C):
            minirows = table.locked[_fold(position[b, d], plane, C)]
            if minirows == 0:
                return False
            word = position[b, d] & (minirows * all_planes)
            position[b, d] = word
            columns = 0
            for r in range(R):
                columns |= word >> (r * R)
            columns &= columns_mask
            open_columns[b] = columns
            twice |= once & columns
            once |= columns
        if once != columns_mask:
            return False
        for b in range(C):  # columns that are open in this band only
            own = open_columns[b] & once & ~twice
            boxes = _fold(own, plane, C) & boxes_mask
            open_columns[b] &= ~(boxes * all_planes) | own
        for b in range(C):  # boxes of this band with one open column
            one = 0
            more = 0
            for j in range(C):
                column = open_columns[b] >> (j * plane)
                more |= one & column
                one |= column
            taken = open_columns[b] & ((one & ~more & boxes_mask) * all_planes)
            for other in range(C):
                if other != b:
                    open_columns[other] &= ~taken
        changed = 0
        for b in range(C):
            word = position[b, d]
            kept = word & (open_columns[b] * all_rows)
            position[b, d] = kept
            changed |= _fold(word, plane, C) ^ _fold(kept, plane, C)
        if changed == 0:
            return True


@njit(cache=True)
def _bar_others(position: np.ndarray, b: int, d: int, cells: int, n: int) -> int:
    """Settles `cells` of band b for digit d: no other digit may go there. Returns the digits that lost a cell, as a bit set."""
    position[b, n] |= cells
    own = position[b, d]
    losers = 0
    for other in range(n):
        word = position[b, other]
        position[b, other] = word & ~cells
        losers |= int(word & cells != 0) << other
    position[b, d] = own
    return losers & ~(1 << d)


@njit(cache=True)
def _propagate(position: np.ndarray, dirty: int, scratch: np.ndarray, box: SizeTuples, table: Tables) -> bool:
    """All deductions until nothing changes; `dirty` is the set of digits that lost a cell. False on a contradiction."""
    R = len(box[0])
    C = len(box[1])
    n = R * C
    plane = R * R
    all_planes = _repeat(plane, C)
    all_cells = ((1 << plane) - 1) * all_planes
    while True:
        while dirty != 0:
            d = _lowest_bit(dirty)
            dirty &= dirty - 1
            if not _confine(position, d, scratch, box, table):
                return False
            for b in range(C):
                word = position[b, d]
                one = 0
                more = 0
                for j in range(C):
                    minirows = word >> (j * plane)
                    more |= one & minirows
                    one |= minirows
                single = table.alone[one & ((1 << plane) - 1)] & ~more
                cells = word & (single * all_planes) & ~position[b, n]
                if cells != 0:
                    dirty |= _bar_others(position, b, d, cells, n)
        for b in range(C):
            one = 0
            more = 0
            for d in range(n):
                more |= one & position[b, d]
                one |= position[b, d]
            if one != all_cells:
                return False
            singles = one & ~more & ~position[b, n]
            if singles == 0:
                continue
            for d in range(n):
                word = position[b, d]
                cells = word & singles
                if cells != 0:
                    minirows = _fold(cells, plane, C)
                    kept = word & (~((minirows | table.rivals[minirows]) * all_planes) | cells)
                    if kept == word:  # nothing to remove, yet not settled: two such cells in one row or box
                        return False
                    position[b, d] = kept
                    dirty |= 1 << d
        if dirty == 0:
            return True


@njit(cache=True)
def place(position: np.ndarray, b: int, d: int, cell: int, box: SizeTuples, table: Tables) -> int:
    """Puts digit d into `cell` (one bit) of band b. Returns the digits to look at, as a bit set."""
    R = len(box[0])
    C = len(box[1])
    minirow = _fold(cell, R * R, C)
    position[b, d] &= ~((minirow | table.rivals[minirow]) * _repeat(R * R, C)) | cell
    return _bar_others(position, b, d, cell, R * C) | 1 << d


@njit(cache=True)
def start(question: np.ndarray, position: np.ndarray, box: SizeTuples, table: Tables) -> bool:
    """The position of a question uint8[n, n], before any deduction but for the clues' rows and boxes. False if two clues clash there."""
    R = len(box[0])
    C = len(box[1])
    n = R * C
    plane = R * R
    all_planes = _repeat(plane, C)
    all_cells = ((1 << plane) - 1) * all_planes
    for b in range(C):
        position[b, :] = 0
        for r in range(R):
            for k in range(R):
                for j in range(C):
                    value = np.int64(question[b * R + r, k * C + j])
                    if value != 0:
                        position[b, value - 1] |= 1 << (j * plane + r * R + k)
        clues = 0
        for d in range(n):
            clues |= position[b, d]
        for d in range(n):
            cells = position[b, d]
            minirows = _fold(cells, plane, C)
            position[b, d] = (all_cells & ~clues & ~((minirows | table.rivals[minirows]) * all_planes)) | cells
            if table.rivals[minirows] & minirows != 0 or _count_bits(minirows) != _count_bits(cells):
                return False
        position[b, n] = clues
    return True


@njit(cache=True)
def _read(position: np.ndarray, answer: np.ndarray, box: SizeTuples) -> None:
    """Writes the solved position into answer uint8[n, n]."""
    R = len(box[0])
    C = len(box[1])
    for b in range(C):
        for d in range(R * C):
            word = position[b, d]
            while word != 0:
                bit = _lowest_bit(word)
                word &= word - 1
                column, minirow = bit // (R * R), bit % (R * R)
                answer[b * R + minirow // R, minirow % R * C + column] = d + 1


@njit(cache=True)
def _choose(position: np.ndarray, scratch: np.ndarray, pairs: np.ndarray, box: SizeTuples) -> tuple[int, int]:
    """The cell to branch on, as (band, bit); bit 0 if the position is solved. `pairs`: int64[C], overwritten."""
    R = len(box[0])
    C = len(box[1])
    n = R * C
    any_pair = 0
    any_open = 0
    for b in range(C):
        one = 0
        two = 0
        three = 0
        for d in range(n):
            word = position[b, d]
            three |= two & word
            two |= one & word
            one |= word
        pairs[b] = two & ~three
        any_pair |= pairs[b]
        any_open |= two
    if any_open == 0:
        return 0, 0
    best_band = 0
    best_cell = 0
    if any_pair != 0:
        first = 0
        for d in range(n):
            scratch[d] = 0
            for b in range(C):
                scratch[d] += _count_bits(position[b, d] & pairs[b])
            if scratch[d] > scratch[first]:
                first = d
        most = -1
        for d in range(n):
            if d != first and scratch[d] > most:
                for b in range(C):
                    cells = position[b, first] & position[b, d] & pairs[b]
                    if cells != 0:
                        most = scratch[d]
                        best_band = b
                        best_cell = cells & -cells
                        break
        return best_band, best_cell
    fewest = n + 1
    for b in range(C):
        for bit in range(n * R):
            candidates = 0
            for d in range(n):
                candidates += position[b, d] >> bit & 1
            if 1 < candidates < fewest:
                fewest = candidates
                best_band = b
                best_cell = 1 << bit
    return best_band, best_cell


@njit(cache=True)
def search(
    frames: np.ndarray,
    limit: int | np.int64,
    patience: int | np.int64,
    coin: np.ndarray,
    answer: np.ndarray,
    scratch: np.ndarray,
    pairs: np.ndarray,
    box: SizeTuples,
    table: Tables,
) -> tuple[int, int]:
    """Searches the position in frames[0] until `limit` solutions or more than `patience` dead ends.

    `coin`: uint64[0], and the lowest digit of a cell is tried first; or uint64[1], the state of a random generator, and it is
    a random one. The first solution is written to `answer`. Returns (solutions, dead ends).
    Kernels call it with `limit` and `patience` as np.int64: for each pair of literals Numba would compile it anew.
    """
    R = len(box[0])
    C = len(box[1])
    n = R * C
    depth = 0
    dirty = (1 << n) - 1
    solutions = 0
    dead_ends = 0
    while True:
        position = frames[depth]
        if _propagate(position, dirty, scratch, box, table):
            b, cell = _choose(position, scratch, pairs, box)
            if cell != 0:
                candidates = 0
                for d in range(n):
                    candidates |= int(position[b, d] & cell != 0) << d
                tried = _lowest_bit(candidates)
                if len(coin) > 0:
                    for _ in range(random_below(coin, _count_bits(candidates))):
                        tried = _lowest_bit(candidates & (-2 << tried))
                following = frames[depth + 1]
                copy_over(following, position)
                dirty = place(following, b, tried, cell, box, table)
                position[b, tried] &= ~cell
                dirty_on_return = 1 << tried
                left = candidates ^ dirty_on_return
                if left & (left - 1) == 0:
                    dirty_on_return |= place(position, b, _lowest_bit(left), cell, box, table)
                position[C, 0] = dirty_on_return
                depth += 1
                continue
            solutions += 1
            if solutions == 1:
                _read(position, answer, box)
            if solutions >= limit:
                break
        else:
            dead_ends += 1
            if dead_ends > patience:
                break
        if depth == 0:
            break
        depth -= 1
        dirty = frames[depth, C, 0]
    return solutions, dead_ends


@njit(inline="always")
def random_below(coin: np.ndarray, bound: int) -> int:
    """A random whole number 0..bound-1; `coin` uint64[1] is the state of a SplitMix64 generator (Steele, Lea, Flood 2014)."""
    coin[0] += np.uint64(0x9E3779B97F4A7C15)
    mixed = coin[0]
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed = mixed ^ (mixed >> np.uint64(31))
    return int(np.int64(((mixed >> np.uint64(32)) * np.uint64(bound)) >> np.uint64(32)))


@njit(cache=True)
def workspace(box: SizeTuples) -> Workspace:
    """Arrays for `search`: (frames, scratch, pairs)."""
    R = len(box[0])
    C = len(box[1])
    n = R * C
    frames = np.empty((n * n + 1, C + 1, n + 1), dtype=np.int64)
    return frames, np.empty(n, dtype=np.int64), np.empty(C, dtype=np.int64)


@njit(cache=True, nogil=True)
def _search_many(
    questions: np.ndarray,
    limit: int,
    answers: np.ndarray,
    solutions: np.ndarray,
    dead_ends: np.ndarray,
    first: int,
    last: int,
    box: SizeTuples,
    table: Tables,
) -> None:
    frames, scratch, pairs = workspace(box)
    coin = np.empty(0, dtype=np.uint64)
    for i in range(first, last):
        solutions[i] = 0
        dead_ends[i] = 0
        if start(questions[i], frames[0], box, table):
            solutions[i], dead_ends[i] = search(frames, limit, np.int64(NO_LIMIT), coin, answers[i], scratch, pairs, box, table)


def _run(questions: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Answers uint8[N, n, n] (zeros where there is none), solutions int64[N] up to `limit`, dead ends int64[N]."""
    count, size = questions.shape[:2]
    answers = np.zeros_like(questions)
    solutions = np.zeros(count, dtype=np.int64)
    dead_ends = np.zeros(count, dtype=np.int64)
    box = constant_sizes(size)
    table = tables(len(box[0]))
    over_batch(
        lambda first, last: _search_many(questions, limit, answers, solutions, dead_ends, first, last, box, table),
        count,
        _GRAIN,
    )
    return answers, solutions, dead_ends


def solve(questions: Any, strict: bool = True, prove_unique: bool = True) -> np.ndarray:
    """The answers of puzzles with exactly one solution.

    Args:
        questions: uint8[N, n, n] (or one grid [n, n]), 0 blank, 1..n clues; n is 4, 6, 9 or 16.
        strict: whether a puzzle with no or several solutions is an error; if not, its answer is all zeros.
        prove_unique: whether to search on after the first solution until there can be no other. Without it hard puzzles take half
            the time, and one that has several solutions gets any of them.

    Returns:
        uint8[N, n, n].

    Raises:
        PuzzleError: a wrong shape, size or value; strict, and a puzzle has no or several solutions (names the first one).
    """
    if prove_unique:
        return solve_and_rate(questions, strict)[0]
    answers, solutions, _ = _run(check_grids(questions), 1)
    if strict and not solutions.all():
        raise PuzzleError(
            f"puzzle {int(solutions.argmin())} has no solution; expected one (strict=False gives such puzzles zeros)"
        )
    return answers


def solve_and_rate(questions: Any, strict: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """`solve` and `rate` in one search: answers uint8[N, n, n] and ratings int64[N].

    Raises:
        PuzzleError: as `solve`.
    """
    questions = check_grids(questions)
    answers, solutions, dead_ends = _run(questions, 2)
    several = solutions != 1
    if strict and several.any():
        i = int(several.argmax())
        found = "no solution" if solutions[i] == 0 else "more than one solution"
        raise PuzzleError(f"puzzle {i} has {found}; expected exactly one (strict=False gives such puzzles an answer of zeros)")
    answers[several] = 0
    return answers, _rating(dead_ends)


def count_solutions(questions: Any, limit: int = 2) -> np.ndarray:
    """The number of solutions of each puzzle, counted up to `limit`: int64[N], 0..limit.

    Args:
        questions: uint8[N, n, n] or [n, n].
        limit: where counting stops, at least 1. An empty grid has 288 (4 x 4) to more than 10^21 (9 x 9) solutions.

    Raises:
        PuzzleError: a wrong shape, size or value, or a limit below 1.
    """
    if limit < 1:
        raise PuzzleError(f"limit {limit!r} is too low; count up to 1 solution or more")
    return _run(check_grids(questions), int(limit))[1]


def rate(questions: Any) -> np.ndarray:
    """How hard each puzzle is for the search of this module, in backtracks: int64[N].

    The search (see the module's text) is run until it has found the solution and shown that there is no other. A search
    that stops at the solution, and tosses a coin at each branching for the branch to take first, meets each dead end off
    the way with chance 1/2: the rating is this mean number of backtracks, half the dead ends, rounded up. It is 0 exactly
    if singles and locked candidates solve the puzzle. Unlike the count of one search to the solution, it does not hang on
    luck. With several solutions it counts the dead ends until the second one.

    Not to be mixed with the ratings of the Sudoku-Extreme files (tdoku's guesses). On the 10,000 training puzzles of the
    sample the files' ratings have mean 25.1 and median 18, these have mean 32.7 and median 33. The correlation of
    log(1 + rating) is 0.90 over all puzzles, but that is mostly easy against hard sources: among the 7,000 hardest ones
    (puzzles5_forum_hardest_1905_11+) it is 0.22.

    Args:
        questions: uint8[N, n, n] or [n, n].

    Raises:
        PuzzleError: a wrong shape, size or value.
    """
    return _rating(_run(check_grids(questions), 2)[2])


def _rating(dead_ends: np.ndarray) -> np.ndarray:
    return (dead_ends + 1) // 2
