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
from hrm_gym.envs.sudoku.rules import BOXES, SizeTuples, constant_sizes, over_batch
from hrm_gym.envs.sudoku.solver import NO_LIMIT, Tables, Workspace, copy_over, random_below, search, start, tables, workspace

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
        "hard": Recipe((0, 5), (0, ANY)),  # minimal; at 4 x 4 none needs a guess
        "extreme": Recipe((0, 4), (0, ANY)),  # as few clues as a 4 x 4 puzzle can have
    },
    6: {
        "easy": Recipe((18, 22), (0, 0)),
        "medium": Recipe((13, 15), (0, 0)),
        "hard": Recipe((0, 36), (0, ANY)),  # minimal, about 10 clues; one in twenty needs a guess
        "extreme": Recipe((0, 36), (1, ANY)),
    },
    9: {
        "easy": Recipe((36, 45), (0, 0)),
        "medium": Recipe((28, 32), (0, 0)),
        "hard": Recipe((0, 81), (1, ANY)),  # minimal, about 24 clues; mean rating 1.6
        "extreme": Recipe((0, 81), (24, ANY), climbs=1000),  # mean rating about 28; about 21 on the scale of tdoku guesses
    },
    16: {
        "easy": Recipe((150, 170), (0, 0), patience=50),
        "medium": Recipe((120, 135), (0, 0), patience=50),
        "hard": Recipe((105, 112), (1, ANY), patience=50),
        "extreme": Recipe((0, 256), (20, ANY), patience=200),  # nearly minimal, about 94 clues
    },
}
"""Size -> difficulty -> recipe."""

DIFFICULTIES = ("easy", "medium", "hard", "extreme")

_GIVE_UP = 2000  # dead ends after which a random grid is begun anew


@njit(cache=True)
def _shuffle(items: np.ndarray, coin: np.ndarray) -> None:
    for i in range(len(items) - 1, 0, -1):
        j = random_below(coin, i + 1)
        items[i], items[j] = items[j], items[i]


@njit(inline="always")
def _fill(answer: np.ndarray, order: np.ndarray, coin: np.ndarray, work: Workspace, box: SizeTuples, table: Tables) -> None:
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
        if search(frames, np.int64(1), np.int64(_GIVE_UP), coin, answer, scratch, pairs, box, table)[0] == 1:
            return


@njit(inline="always")
def _only_solution(
    question: np.ndarray,
    row: int,
    column: int,
    digit: int | np.int64,
    patience: int,
    work: Workspace,
    box: SizeTuples,
    table: Tables,
) -> bool:
    """Whether a question that has a solution with `digit` (0..n-1) in a cell has none with another digit there."""
    R = len(box[0])
    C = len(box[1])
    frames, scratch, pairs = work
    no_coin = np.empty(0, dtype=np.uint64)
    unused = np.empty((R * C, R * C), dtype=np.uint8)
    start(question, frames[0], box, table)
    bit = column % C * R * R + row % R * R + column // C
    frames[0, row // R, digit] &= ~(1 << bit)
    solutions, dead_ends = search(frames, np.int64(1), np.int64(patience), no_coin, unused, scratch, pairs, box, table)
    return solutions == 0 and dead_ends <= patience


@njit(inline="always")
def _dig(
    question: np.ndarray,
    answer: np.ndarray,
    target: int,
    patience: int,
    order: np.ndarray,
    coin: np.ndarray,
    work: Workspace,
    box: SizeTuples,
    table: Tables,
) -> int:
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
def _rating(question: np.ndarray, work: Workspace, box: SizeTuples, table: Tables) -> int:
    frames, scratch, pairs = work
    no_coin = np.empty(0, dtype=np.uint64)
    unused = np.empty(question.shape, dtype=np.uint8)
    start(question, frames[0], box, table)
    return (search(frames, np.int64(2), np.int64(NO_LIMIT), no_coin, unused, scratch, pairs, box, table)[1] + 1) // 2


@njit(inline="always")
def _make(
    question: np.ndarray,
    answer: np.ndarray,
    recipe: tuple[int, int, int, int, int, int],
    split: int,
    weights: np.ndarray,
    order: np.ndarray,
    coin: np.ndarray,
    work: Workspace,
    box: SizeTuples,
    table: Tables,
) -> int:
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
                copy_over(trial, answer)
            else:
                copy_over(trial, question)
                for _ in range(4):  # fewer climb too slowly; a cell that has its clue already may be drawn
                    cell = random_below(coin, n * n)
                    trial[cell // n, cell % n] = answer[cell // n, cell % n]
            trial_clues = _dig(trial, answer, target, patience, order, coin, work, box, table)
            trial_rating = _rating(trial, work, box, table)
            if trial_rating >= rating:
                copy_over(question, trial)
                clues = trial_clues
                rating = trial_rating
            if rating >= lowest:
                break
        if clues <= most and lowest <= rating <= highest:
            return rating


@njit(cache=True, nogil=True)
def _make_many(
    seeds: np.ndarray,
    recipe: tuple[int, int, int, int, int, int],
    split: int,
    weights: np.ndarray,
    questions: np.ndarray,
    answers: np.ndarray,
    ratings: np.ndarray,
    first: int,
    last: int,
    box: SizeTuples,
    table: Tables,
) -> None:
    n = len(box[0]) * len(box[1])
    work = workspace(box)
    order = np.empty(n * n, dtype=np.int64)
    coin = np.empty(1, dtype=np.uint64)
    for i in range(first, last):
        coin[0] = seeds[i]
        ratings[i] = _make(questions[i], answers[i], recipe, split, weights, order, coin, work, box, table)


def generate_from_seeds(seeds: Any, size: int = 9, difficulty: str = "hard", split: str = "all") -> Puzzles:
    """One puzzle for each seed; puzzle i depends on seed i and the other arguments alone.

    Args:
        seeds: uint64[N] (or other whole numbers that are not negative).
        size: 4, 6, 9 or 16.
        difficulty: "easy", "medium", "hard" or "extreme"; `RECIPES` says what each means at each size.
        split: "all", or "train" or "test" to draw from the solution grids of one side only (see `envs.splits`).

    Returns:
        N puzzles with exactly one solution; ids "sudoku-9x9-hard-7" (seed 7; a split other than "all" is named before the
        seed), ratings as `rate`.

    Raises:
        ConfigError: an unknown size, difficulty or split, or a negative seed.
    """
    recipe = _recipe(size, difficulty, split)
    given = np.atleast_1d(np.asarray(seeds))
    if given.ndim != 1 or (given.size and (not np.issubdtype(given.dtype, np.integer) or given.min() < 0)):
        raise ConfigError(f"seeds {seeds!r} do not fit; expected a list of whole numbers, 0 or more")
    given = given.astype(np.uint64)
    count = len(given)
    questions = np.zeros((count, size, size), dtype=np.uint8)
    answers = np.zeros_like(questions)
    ratings = np.zeros(count, dtype=np.float32)
    box = constant_sizes(size)
    table = tables(len(box[0]))
    numbers = (*recipe.clues, *recipe.rating, recipe.climbs, recipe.patience)
    code = splits.SPLITS.index(split)
    weights = splits.coefficients(size * size)
    slow = recipe.climbs > 0 or size == 16
    over_batch(
        lambda first, last: _make_many(given, numbers, code, weights, questions, answers, ratings, first, last, box, table),
        count,
        1 if slow else 64,
    )
    name = f"sudoku-{size}x{size}-{difficulty}" + ("" if split == "all" else f"-{split}")
    return Puzzles(questions, answers, [f"{name}-{seed}" for seed in given.tolist()], ratings)


def generate(count: int, size: int = 9, difficulty: str = "hard", seed: int = 0, split: str = "all") -> Puzzles:
    """`count` puzzles from one seed; the first k of them are the same for every count.

    Args:
        count: N, 0 or more.
        seed: a whole number, 0 or more, from which the seeds of the puzzles are derived.
        size, difficulty, split: as `generate_from_seeds`.

    Returns:
        N puzzles with exactly one solution.

    Raises:
        ConfigError: an unknown size, difficulty or split, or a negative count or seed.
    """
    if count < 0 or seed < 0:
        raise ConfigError(f"count {count!r} and seed {seed!r} must be whole numbers, 0 or more")
    seeds = np.random.SeedSequence(seed).generate_state(count, np.uint64)
    return generate_from_seeds(seeds, size, difficulty, split)


def _recipe(size: int, difficulty: str, split: str) -> Recipe:
    if size not in BOXES:
        raise ConfigError(f"Sudoku size {size!r} is unknown; expected one of {', '.join(map(str, BOXES))}")
    if difficulty not in DIFFICULTIES:
        raise ConfigError(f"difficulty {difficulty!r} is unknown; expected one of {', '.join(DIFFICULTIES)}")
    if split not in splits.SPLITS:
        raise ConfigError(f"split {split!r} is unknown; expected one of {', '.join(splits.SPLITS)}")
    return RECIPES[size][difficulty]
