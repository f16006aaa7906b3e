"""The Sudoku generator: puzzles with exactly one solution at a wanted difficulty, each a pure function of its seed.

A puzzle is made in three steps, with a small random generator of its own so that nothing else in the batch matters:

1. A random solution grid: the boxes of the diagonal at random, the rest by the solver with random branches.
2. Digging: the cells in random order lose their clue where the solution stays unique, down to the wanted number of clues.
   Without such a number the puzzle ends up *minimal*: no clue can go.
3. If a rating is wanted that digging seldom hits, climbing: two clues come back, the puzzle is dug out again, and the change
   stays if the rating is no lower.

What misses its recipe is thrown away and the seed's random numbers run on. Generated puzzles, even the extreme ones, are not
the hand-searched collections behind Sudoku-Extreme: do not present accuracy on the one as accuracy on the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from hrm_gym.envs import splits
from hrm_gym.envs.errors import ConfigError
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.sudoku.rules import BOXES, constant_sizes, over_batch
from hrm_gym.envs.sudoku.solver import NO_LIMIT, place, random_below, search, start, tables, workspace

ANY = 1 << 30


@dataclass(frozen=True)
class Recipe:
    """What a difficulty means at one size.

    Attributes:
        clues: (fewest, most) clues; digging stops at a number drawn from this range. Fewest 0: dig until minimal.
        rating: (lowest, highest) rating, see `solver.rate`.
        climbs: moves of step 3 before a fresh start with another grid; 0: no climbing.
        patience: dead ends after which a uniqueness check gives up and the clue stays. A bound for 16 x 16, where a check
            can take for ever; a puzzle is then nearly minimal.
    """

    clues: tuple[int, int]
    rating: tuple[int, int]
    climbs: int = 0
    patience: int = NO_LIMIT


RECIPES: dict[int, dict[str, Recipe]] = {
    4: {
        "easy": Recipe((8, 10), (0, 0)),
        "medium": Recipe((6, 7), (0, 0)),
        "hard": Recipe((0, 5), (0, ANY)),
        "extreme": Recipe((0, 4), (0, ANY)),
    },
    6: {
        "easy": Recipe((18, 22), (0, 0)),
        "medium": Recipe((13, 15), (0, 0)),
        "hard": Recipe((0, 36), (0, ANY)),
        "extreme": Recipe((0, 36), (1, ANY), climbs=50),
    },
    9: {
        "easy": Recipe((36, 45), (0, 0)),
        "medium": Recipe((28, 32), (0, 0)),
        "hard": Recipe((0, 81), (1, ANY)),
        "extreme": Recipe((0, 81), (20, ANY), climbs=1000),
    },
    16: {
        "easy": Recipe((150, 170), (0, 0), patience=50),
        "medium": Recipe((115, 130), (0, 0), patience=50),
        "hard": Recipe((95, 105), (0, ANY), patience=50),
        "extreme": Recipe((0, 256), (1, ANY), patience=50),
    },
}
"""Size -> difficulty -> recipe."""

DIFFICULTIES = ("easy", "medium", "hard", "extreme")

_GIVE_UP = 2000  # dead ends after which a random grid is begun anew


@njit(cache=True)
def _shuffle(items, coin):  # type: ignore[no-untyped-def]
    for i in range(len(items) - 1, 0, -1):
        j = random_below(coin, i + 1)
        items[i], items[j] = items[j], items[i]


@njit(inline="always")
def _fill(answer, order, coin, work, box, table):  # type: ignore[no-untyped-def]
    """Writes a random solution grid into answer uint8[n, n]."""
    R = len(box[0])
    C = len(box[1])
    n = R * C
    frames, scratch, pairs = work
    while True:
        answer[:] = 0
        for i in range(min(R, C)):  # these boxes share no row or column, so any digits fit
            digits = order[:n]
            for value in range(n):
                digits[value] = value + 1
            _shuffle(digits, coin)
            for cell in range(n):
                answer[i * R + cell // C, i * C + cell % C] = digits[cell]
        start(answer, frames[0], box, table)
        if search(frames, 1, _GIVE_UP, coin, answer, scratch, pairs, box, table)[0] == 1:
            return


@njit(inline="always")
def _only_solution(question, row, column, digit, patience, work, box, table):  # type: ignore[no-untyped-def]
    """Whether a question that has a solution with `digit` (0..n-1) in a cell has none with another digit there."""
    R = len(box[0])
    C = len(box[1])
    frames, scratch, pairs = work
    no_coin = np.empty(0, dtype=np.uint64)
    unused = np.empty((R * C, R * C), dtype=np.uint8)
    start(question, frames[0], box, table)
    bit = column % C * R * R + row % R * R + column // C
    frames[0, row // R, digit] &= ~(1 << bit)
    solutions, dead_ends = search(frames, 1, patience, no_coin, unused, scratch, pairs, box, table)
    return solutions == 0 and dead_ends <= patience


@njit(inline="always")
def _dig(question, answer, target, patience, order, coin, work, box, table):  # type: ignore[no-untyped-def]
    """Removes clues in random order, keeping one solution, down to `target` clues. Returns the number left."""
    n = len(question)
    for cell in range(n * n):
        order[cell] = cell
    _shuffle(order, coin)
    clues = 0
    for cell in range(n * n):
        clues += question[cell // n, cell % n] != 0
    for cell in order:
        if clues <= target:
            break
        row, column = cell // n, cell % n
        if question[row, column] == 0:
            continue
        question[row, column] = 0
        digit = np.int64(answer[row, column]) - 1
        if _only_solution(question, row, column, digit, patience, work, box, table):
            clues -= 1
        else:
            question[row, column] = answer[row, column]
    return clues


@njit(inline="always")
def _rating(question, work, box, table):  # type: ignore[no-untyped-def]
    frames, scratch, pairs = work
    no_coin = np.empty(0, dtype=np.uint64)
    unused = np.empty(question.shape, dtype=np.uint8)
    start(question, frames[0], box, table)
    return (search(frames, 2, NO_LIMIT, no_coin, unused, scratch, pairs, box, table)[1] + 1) // 2


@njit(inline="always")
def _make(question, answer, recipe, split, weights, order, coin, work, box, table):  # type: ignore[no-untyped-def]
    """One puzzle of a recipe (fewest clues, most clues, lowest rating, highest rating, climbs, patience). Returns its rating."""
    n = len(question)
    fewest, most, lowest, highest, climbs, patience = recipe
    trial = np.empty_like(question)
    while True:
        _fill(answer, order, coin, work, box, table)
        if split != 2:
            total = 0
            for cell in range(n * n):
                total += (np.int64(answer[cell // n, cell % n]) + 1) * weights[cell] % splits.PRIME
            held_out = total % splits.PRIME % splits.HELD_OUT_EVERY == 0
            if held_out != (split == 1):
                continue
        target = fewest
        if fewest > 0:
            target += random_below(coin, most - fewest + 1)
        clues = 0
        rating = -1
        for climb in range(climbs + 1):
            if climb == 0:
                trial[:] = answer
            else:
                trial[:] = question
                for _ in range(2):  # of all cells, so that now and then a clue that is there already is drawn
                    cell = random_below(coin, n * n)
                    trial[cell // n, cell % n] = answer[cell // n, cell % n]
            trial_clues = _dig(trial, answer, target, patience, order, coin, work, box, table)
            trial_rating = _rating(trial, work, box, table)
            if trial_rating >= rating:
                question[:] = trial
                clues = trial_clues
                rating = trial_rating
            if rating >= lowest:
                break
        if clues <= most and lowest <= rating <= highest:
            return rating


@njit(cache=True, nogil=True)
def _make_many(seeds, recipe, split, weights, questions, answers, ratings, first, last, box, table):  # type: ignore[no-untyped-def]
    n = len(box[0]) * len(box[1])
    work = workspace(box)
    order = np.empty(n * n, dtype=np.int64)
    coin = np.empty(1, dtype=np.uint64)
    for i in range(first, last):
        coin[0] = seeds[i]
        ratings[i] = _make(questions[i], answers[i], recipe, split, weights, order, coin, work, box, table)
