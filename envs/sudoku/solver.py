"""The Sudoku solver: finds, counts and rates solutions, for all sizes, many puzzles at a time.

How a position is kept
----------------------
A grid of size n has boxes of R rows x C columns (n = R * C); it is C *bands* of R rows, and a band is R boxes side by side.
For every digit and band one 64-bit word says where in the band the digit may still go (n * R bits: 27 for 9 x 9, 64 for
16 x 16). The cell in row r of the band, in box k, in column j of that box, is bit `j * R * R + r * R + k`: a word is C
*planes* of R x R bits, one plane per column of the boxes. So one shift per plane folds a word onto its *minirows* (the
crossings of a row with a box), and one multiplication spreads minirows or boxes back over the cells.

What is deduced
---------------
1. Rows and boxes of one digit in one band: the digit takes R minirows, one in each row and one in each box, so a minirow
   stays only if it belongs to a permutation of the open ones (a table). That is hidden singles and locked candidates.
2. Columns of one digit: a column open in just one band is taken there; a band whose box is down to one column keeps it.
3. A digit down to one cell in its row bars the other digits from that cell (settled cells).
4. A cell down to one digit takes it (naked singles).

The search then branches on a cell with the fewest candidates: first one of its digits, then the position without it.
"""

from __future__ import annotations

from itertools import permutations
from functools import cache

import numpy as np
from numba import njit

def box_shape(n):
    return {4: (2, 2), 6: (2, 3), 9: (3, 3), 16: (4, 4)}[n]


@cache
def _tables(rows):
    """Tables over the R x R minirows of a band."""
    size = 1 << (rows * rows)
    minirows = np.arange(size, dtype=np.int64)
    locked = np.zeros(size, dtype=np.int64)
    for boxes in permutations(range(rows)):
        placement = sum(1 << (row * rows + box) for row, box in enumerate(boxes))
        locked[minirows & placement == placement] |= placement
    rivals = np.zeros(size, dtype=np.int64)
    alone = np.zeros(size, dtype=np.int64)
    for row in range(rows):
        whole_row = ((1 << rows) - 1) << (row * rows)
        for box in range(rows):
            whole_box = sum(1 << (r * rows + box) for r in range(rows))
            bit = 1 << (row * rows + box)
            rivals[minirows & bit != 0] |= (whole_row | whole_box) & ~bit
            alone[minirows & whole_row == bit] |= bit
    return locked, alone, rivals


@njit(inline="always")
def _copies(step, count):
    """The number whose product with x holds `count` copies of x, `step` bits apart."""
    total = 0
    for i in range(count):
        total |= 1 << (i * step)
    return total


@njit(cache=True)
def _confine(position, d, columns, box_rows, box_columns, locked):
    """Deductions 1 and 2 for digit d. False if d has no place left."""
    R = len(box_rows)
    C = len(box_columns)
    plane = R * R
    minirow_mask = (1 << plane) - 1
    box_mask = (1 << R) - 1
    planes = _copies(plane, C)
    rows = _copies(R, R)
    column_mask = planes * box_mask
    while True:
        # 1
        once = 0
        twice = 0
        for b in range(C):
            word = position[b, d]
            minirows = 0
            for j in range(C):
                minirows |= word >> (j * plane)
            open_minirows = locked[minirows & minirow_mask]
            if open_minirows == 0:
                return False
            word &= open_minirows * planes
            position[b, d] = word
            taken = 0
            for r in range(R):
                taken |= word >> (r * R)
            taken &= column_mask
            columns[b] = taken
            twice |= once & taken
            once |= taken
        if once != column_mask:
            return False
        # 2
        only_here = once & ~twice
        for b in range(C):
            here = columns[b] & only_here
            boxes = 0
            for j in range(C):
                boxes |= here >> (j * plane)
            columns[b] &= ~((boxes & box_mask) * planes) | here
        for b in range(C):
            taken = columns[b]
            one = 0
            more = 0
            for j in range(C):
                column = taken >> (j * plane)
                more |= one & column
                one |= column
            sure = taken & ((one & ~more & box_mask) * planes)
            for other in range(C):
                if other != b:
                    columns[other] &= ~sure
        changed = 0
        for b in range(C):
            word = position[b, d]
            kept = word & (columns[b] * rows)
            changed |= word ^ kept
            position[b, d] = kept
        if changed == 0:
            return True


@njit(cache=True)
def _propagate(position, dirty, columns, box_rows, box_columns, locked, alone, rivals):
    """All deductions until nothing changes, starting from the digits in the bit set `dirty`. False on a contradiction."""
    R = len(box_rows)
    C = len(box_columns)
    n = R * C
    plane = R * R
    minirow_mask = (1 << plane) - 1
    planes = _copies(plane, C)
    every_cell = planes * minirow_mask
    while True:
        while dirty != 0:
            for d in range(n):
                if dirty >> d & 1 == 0:
                    continue
                dirty ^= 1 << d
                if not _confine(position, d, columns, box_rows, box_columns, locked):
                    return False
                # 3
                for b in range(C):
                    word = position[b, d]
                    one = 0
                    more = 0
                    for j in range(C):
                        minirows = word >> (j * plane)
                        more |= one & minirows
                        one |= minirows
                    one &= minirow_mask
                    settled = word & ((alone[one] & ~more) * planes) & ~position[b, n]
                    if settled != 0:
                        position[b, n] |= settled
                        for other in range(n):
                            if position[b, other] & settled != 0 and other != d:
                                position[b, other] &= ~settled
                                dirty |= 1 << other
        # 4
        for b in range(C):
            one = 0
            more = 0
            for d in range(n):
                word = position[b, d]
                more |= one & word
                one |= word
            if one != every_cell:
                return False
            single = one & ~more & ~position[b, n]
            if single != 0:
                for d in range(n):
                    word = position[b, d]
                    cells = word & single
                    if cells != 0:
                        minirows = 0
                        for j in range(C):
                            minirows |= cells >> (j * plane)
                        minirows &= minirow_mask
                        kept = word & (~((minirows | rivals[minirows]) * planes) | cells)
                        if kept == word:  # two such cells in one row or box
                            return False
                        position[b, d] = kept
                        dirty |= 1 << d
        if dirty == 0:
            return True


@njit(cache=True)
def _start(question, position, box_rows, box_columns, rivals):
    R = len(box_rows)
    C = len(box_columns)
    n = R * C
    plane = R * R
    minirow_mask = (1 << plane) - 1
    planes = _copies(plane, C)
    every_cell = planes * minirow_mask
    for b in range(C):
        for d in range(n + 1):
            position[b, d] = 0
        for r in range(R):
            for k in range(R):
                for j in range(C):
                    value = question[b * R + r, k * C + j]
                    if value != 0:
                        position[b, np.int64(value) - 1] |= 1 << (j * plane + r * R + k)
        given = 0
        for d in range(n):
            given |= position[b, d]
        for d in range(n):
            cells = position[b, d]
            minirows = 0
            for j in range(C):
                minirows |= cells >> (j * plane)
            minirows &= minirow_mask
            position[b, d] = every_cell & ~given & ~((minirows | rivals[minirows]) * planes) | cells


@njit(cache=True)
def _read(position, answer, box_rows, box_columns):
    R = len(box_rows)
    C = len(box_columns)
    n = R * C
    for b in range(C):
        for d in range(n):
            word = position[b, d]
            for r in range(R):
                for k in range(R):
                    for j in range(C):
                        if word >> (j * R * R + r * R + k) & 1:
                            answer[b * R + r, k * C + j] = d + 1


@njit(cache=True)
def _choose(position, box_rows, box_columns):
    """-> band, cell bit (0: solved)"""
    R = len(box_rows)
    C = len(box_columns)
    n = R * C
    best_band = -1
    for b in range(C):
        one = 0
        two = 0
        three = 0
        for d in range(n):
            word = position[b, d]
            three |= two & word
            two |= one & word
            one |= word
        if two != 0:
            best_band = b
        pair = two & ~three
        if pair != 0:
            return b, pair & -pair
    if best_band < 0:
        return 0, 0
    # no cell with two: fewest candidates by counting
    best_count = n + 1
    best_cell = 0
    for b in range(C):
        for bit in range(n * R):
            count = 0
            for d in range(n):
                count += position[b, d] >> bit & 1
            if 1 < count < best_count:
                best_count = count
                best_cell = 1 << bit
                best_band = b
    return best_band, best_cell


@njit(cache=True)
def _search(question, limit, answer, frames, columns, box_rows, box_columns, locked, alone, rivals):
    R = len(box_rows)
    C = len(box_columns)
    n = R * C
    _start(question, frames[0], box_rows, box_columns, rivals)
    depth = 0
    dirty = (1 << n) - 1
    solutions = 0
    backtracks = 0
    while True:
        position = frames[depth]
        if _propagate(position, dirty, columns, box_rows, box_columns, locked, alone, rivals):
            b, cell = _choose(position, box_rows, box_columns)
            if cell != 0:
                for d in range(n):
                    if position[b, d] & cell != 0:
                        break
                following = frames[depth + 1]
                following[:] = position
                position[b, d] &= ~cell
                dirty_here = 1 << d
                depth += 1
                dirty = 0
                for other in range(n):
                    if other != d and following[b, other] & cell != 0:
                        following[b, other] &= ~cell
                        dirty |= 1 << other
                frames[depth - 1, C, 0] = dirty_here
                continue
            solutions += 1
            if solutions == 1:
                _read(position, answer, box_rows, box_columns)
            if solutions >= limit:
                break
        else:
            backtracks += 1
        if depth == 0:
            break
        depth -= 1
        dirty = frames[depth, C, 0]
    return solutions, backtracks


@njit(cache=True, nogil=True)
def _search_many(questions, limit, answers, solutions, backtracks, box_rows, box_columns, locked, alone, rivals):
    R = len(box_rows)
    C = len(box_columns)
    n = R * C
    frames = np.empty((n * n + 1, C + 1, n + 1), dtype=np.int64)
    columns = np.empty(C, dtype=np.int64)
    for i in range(len(questions)):
        solutions[i], backtracks[i] = _search(
            questions[i], limit, answers[i], frames, columns, box_rows, box_columns, locked, alone, rivals
        )


def search(questions, limit=2):
    n = questions.shape[1]
    R, C = box_shape(n)
    answers = np.zeros_like(questions)
    solutions = np.zeros(len(questions), dtype=np.int64)
    backtracks = np.zeros(len(questions), dtype=np.int64)
    _search_many(questions, limit, answers, solutions, backtracks, (0,) * R, (0,) * C, *_tables(R))
    return answers, solutions, backtracks
