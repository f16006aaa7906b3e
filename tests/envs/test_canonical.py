"""Canonical forms: the same for all images of a puzzle, different for different puzzles, and what plain enumeration finds."""

from __future__ import annotations

from functools import cache
from itertools import permutations, product

import numpy as np
import pytest

from hrm_gym.envs import arc, maze, sudoku
from hrm_gym.envs.canonical import smallest_images
from hrm_gym.envs.errors import PuzzleError
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.registry import make_family
from hrm_gym.envs.sudoku.canonical import canonical, column_orders
from hrm_gym.envs.sudoku.rules import BOXES

# the first of all 9 x 9 grids in minlex order, its own canonical form, as the Sudoku literature prints it
FIRST_GRID = "123456789456789123789123456231564897564897231897231564312645978645978312978312645"


def bare(questions: np.ndarray, answers: np.ndarray) -> Puzzles:
    count = len(questions)
    return Puzzles(questions, answers, [str(row) for row in range(count)], np.zeros(count, np.float32))


@cache
def line_orders(size: int, width: int) -> list[tuple[int, ...]]:
    """Orders of the lines in which the lines of a band stay neighbours, by trying all permutations."""
    bands = [set(range(start, start + width)) for start in range(0, size, width)]
    return [
        order
        for order in permutations(range(size))
        if all({order[place] for place in band} in bands for band in bands)
    ]  # fmt: skip


def plain_canonical(question: np.ndarray, answer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The definition: the smallest (answer, question) of all images, digits named in order of first appearance."""
    size = len(answer)
    height, width = BOXES[size]
    best = None
    for turned in (False, True) if height == width else (False,):
        q, a = (question.T, answer.T) if turned else (question, answer)
        for rows, columns in product(line_orders(size, height), line_orders(size, width)):
            moved = a[np.ix_(rows, columns)]
            names = {0: 0}
            for digit in moved.ravel().tolist():
                names.setdefault(digit, len(names))
            image = tuple(names[digit] for digit in moved.ravel().tolist())
            clues = tuple(names[digit] for digit in q[np.ix_(rows, columns)].ravel().tolist())
            if best is None or (image, clues) < best:
                best = (image, clues)
    assert best is not None
    return np.reshape(best[1], (size, size)), np.reshape(best[0], (size, size))


def all_grids(size: int, first_row: bool) -> np.ndarray:
    """All solution grids, or those whose first row reads 1..n, by filling in cell after cell."""
    height, width = BOXES[size]
    grids = []
    grid = [[0] * size for _ in range(size)]
    rows, columns, boxes = ([set() for _ in range(size)] for _ in range(3))

    def fill(cell: int) -> None:
        if cell == size * size:
            grids.append([list(row) for row in grid])
            return
        y, x = divmod(cell, size)
        box = y // height * height + x // width
        for digit in [x + 1] if first_row and y == 0 else range(1, size + 1):
            if digit not in rows[y] and digit not in columns[x] and digit not in boxes[box]:
                for group in (rows[y], columns[x], boxes[box]):
                    group.add(digit)
                grid[y][x] = digit
                fill(cell + 1)
                for group in (rows[y], columns[x], boxes[box]):
                    group.remove(digit)

    fill(0)
    return np.array(grids, np.uint8)


# -- Sudoku ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [4, 6])
def test_column_orders_are_those_that_keep_stacks_together(size: int) -> None:
    assert sorted(map(tuple, column_orders(size).tolist())) == line_orders(size, BOXES[size][1])


def test_column_orders_at_9_are_all_different_and_keep_stacks_together() -> None:
    orders = column_orders(9)
    assert len(np.unique(orders, axis=0)) == 6**4 == len(orders)
    assert (np.sort(orders, axis=1) == np.arange(9)).all()
    stacks = orders.reshape(-1, 3, 3) // 3
    assert (stacks == stacks[:, :, :1]).all()


@pytest.mark.parametrize(("size", "count"), [(4, 30), (6, 4)])
def test_sudoku_form_is_the_smallest_of_all_images(size: int, count: int) -> None:
    puzzles = sudoku.generate(count, size=size, seed=1)
    # besides real puzzles, grids with all but a few clues gone: their forms depend on the grid's automorphisms
    random = np.random.default_rng(0)
    few = np.where(random.random(puzzles.answers.shape) < 0.1, puzzles.answers, 0).astype(np.uint8)
    questions, answers = np.concatenate([puzzles.questions, few]), np.concatenate([puzzles.answers] * 2)
    found_questions, found_answers = canonical(questions, answers)
    for row in range(2 * count):
        question, answer = plain_canonical(questions[row], answers[row])
        np.testing.assert_array_equal(found_answers[row], answer)
        np.testing.assert_array_equal(found_questions[row], question)


def test_the_288_grids_of_4_x_4_are_two() -> None:
    grids = all_grids(4, first_row=False)
    assert len(grids) == 288
    _, forms = canonical(np.zeros_like(grids), grids)
    distinct, counts = np.unique(forms, axis=0, return_counts=True)
    assert len(distinct) == 2
    assert sorted(counts.tolist()) == [96, 192]


def test_the_grids_of_6_x_6_are_49() -> None:
    # 28,200,960 grids in all, 6! for each with the first row in order; 49 are essentially different (Wikipedia, Mathematics of Sudoku)
    grids = all_grids(6, first_row=True)
    assert len(grids) * 720 == 28_200_960
    _, forms = canonical(np.zeros_like(grids), grids)
    assert len(np.unique(forms, axis=0)) == 49


def test_the_first_grid_of_9_x_9_is_its_own_form() -> None:
    family = make_family("sudoku", 9)
    grid = family.parse(FIRST_GRID)[None]
    np.testing.assert_array_equal(canonical(grid, grid)[1], grid)
    moved = np.repeat(grid, 20, axis=0)
    moved = family.sample_symmetries(20, np.random.default_rng(3)).apply(moved)
    assert (canonical(moved, moved)[1] == grid).all()


@pytest.mark.parametrize(("size", "count"), [(4, 200), (6, 200), (9, 60)])
def test_sudoku_form_does_not_change_under_symmetries(size: int, count: int) -> None:
    family = make_family("sudoku", size)
    puzzles = sudoku.generate(count, size=size, difficulty="easy", seed=2)
    random = np.random.default_rng(5)
    moved = family.augment(puzzles, family.sample_symmetries(count, random))
    assert (moved.questions != puzzles.questions).any(axis=(1, 2)).mean() > 0.9
    questions, answers = family.canonical(puzzles)
    for found, expected in zip(family.canonical(moved), (questions, answers), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert family.verify(Puzzles(questions, answers, puzzles.ids, puzzles.ratings), answers).all()
    assert ((questions != 0).sum(axis=(1, 2)) == (puzzles.questions != 0).sum(axis=(1, 2))).all()
    # applied again nothing changes: the form is an image, and the smallest
    for found, expected in zip(canonical(questions, answers), (questions, answers), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_symmetric_grid_with_one_clue_has_one_form_wherever_it_is_equivalent() -> None:
    # the first grid's automorphisms join some cells: one clue there is the same puzzle, and the form must say so
    family = make_family("sudoku", 9)
    grid = family.parse(FIRST_GRID)
    questions = np.zeros((81, 81), np.uint8)
    questions[np.arange(81), np.arange(81)] = grid.reshape(-1)
    questions = questions.reshape(81, 9, 9)
    answers = np.repeat(grid[None], 81, axis=0)
    forms, _ = canonical(questions, answers)
    distinct = len(np.unique(forms, axis=0))
    assert 1 <= distinct < 81
    symmetries = family.sample_symmetries(81, np.random.default_rng(9))
    moved, _ = canonical(symmetries.apply(questions), symmetries.apply(answers))
    np.testing.assert_array_equal(moved, forms)


def test_one_clue_more_or_elsewhere_is_another_puzzle() -> None:
    puzzles = sudoku.generate(30, size=9, difficulty="easy", seed=4)
    changed = puzzles.questions.copy()
    for question in changed:
        cell = np.flatnonzero(question)[0]
        question.reshape(-1)[cell] = 0
    before, _ = canonical(puzzles.questions, puzzles.answers)
    after, _ = canonical(changed, puzzles.answers)
    assert (before != after).any(axis=(1, 2)).all()
    assert len(np.unique(before, axis=0)) == 30


def test_what_has_no_form_says_so() -> None:
    family = make_family("sudoku", 16)
    empty = np.zeros((1, 16, 16), np.uint8)
    assert not family.has_canonical_form
    with pytest.raises(PuzzleError, match="16 x 16 has too many symmetries"):
        family.canonical(bare(empty, empty))
    with pytest.raises(PuzzleError, match="answer 1 does not solve its question"):
        grids = all_grids(4, first_row=True)[:2]
        canonical(np.array([grids[0], grids[0]]), grids)


# -- mazes and ARC ---------------------------------------------------------------------------------------------------


def test_smallest_images_by_python_lists() -> None:
    random = np.random.default_rng(1)
    images = random.integers(0, 3, (5, 40, 2, 3)).astype(np.uint8)
    expected = [min(images[:, row].reshape(5, -1).tolist()) for row in range(40)]
    np.testing.assert_array_equal(smallest_images(list(images)).reshape(40, -1), expected)


def test_maze_form_is_the_smallest_of_eight() -> None:
    family = make_family("maze", 7)
    puzzles = maze.generate(40, size=7, seed=1)
    questions, answers = family.canonical(puzzles)
    for grids, forms in ((puzzles.questions, questions), (puzzles.answers, answers)):
        for grid, form in zip(grids, forms, strict=True):
            images = [np.rot90(side, turns).reshape(-1).tolist() for side in (grid, grid.T) for turns in range(4)]
            assert form.reshape(-1).tolist() == min(images)
    moved = family.augment(puzzles, family.sample_symmetries(40, np.random.default_rng(2)))
    assert (moved.questions != puzzles.questions).any()
    for found, expected in zip(family.canonical(moved), (questions, answers), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert len(np.unique(questions, axis=0)) == 40


def arc_puzzles(count: int, size: int) -> Puzzles:
    random = np.random.default_rng(7)
    grids = [[random.integers(0, 10, random.integers(1, 5, 2)).astype(np.uint8) for _ in range(count)] for _ in range(2)]
    return bare(arc.to_canvas(grids[0], size), arc.to_canvas(grids[1], size))


def plain_arc(canvas: np.ndarray) -> np.ndarray:
    """The smallest image of the grid itself on a canvas, colours numbered as they appear."""
    grid = canvas[np.ix_((canvas != arc.OUTSIDE).any(axis=1), (canvas != arc.OUTSIDE).any(axis=0))]
    images = []
    for side in (grid, grid.T):
        for turns in range(4):
            names = {0: 0}
            turned = np.rot90(side, turns)
            for colour in turned.reshape(-1).tolist():
                names.setdefault(colour, len(names))
            image = np.full_like(canvas, arc.OUTSIDE)
            image[: turned.shape[0], : turned.shape[1]] = np.vectorize(names.get)(turned)
            images.append(image.reshape(-1).tolist())
    return np.reshape(min(images), canvas.shape)


def test_arc_form_is_the_smallest_of_all_images() -> None:
    family = make_family("arc", 6)
    puzzles = arc_puzzles(60, 6)
    questions, answers = family.canonical(puzzles)
    for row in range(60):
        np.testing.assert_array_equal(questions[row], plain_arc(puzzles.questions[row]))
        np.testing.assert_array_equal(answers[row], plain_arc(puzzles.answers[row]))


def test_arc_form_does_not_change_under_symmetries_and_shifts() -> None:
    family = make_family("arc", 6)
    puzzles = arc_puzzles(60, 6)
    random = np.random.default_rng(8)
    moved = family.augment(puzzles, family.sample_symmetries(60, random))
    moved = family.augment(moved, arc.sample_translations(moved, random))
    for found, expected in zip(family.canonical(moved), family.canonical(puzzles), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_arc_form_keeps_black_and_an_empty_canvas() -> None:
    family = make_family("arc", 3)
    grids = [np.array([[0, 5]]), np.array([[5, 0]]), np.array([[5, 3]]), np.array([[0, 0]])]
    canvases = np.concatenate([arc.to_canvas([grid.astype(np.uint8) for grid in grids], 3), np.full((1, 3, 3), arc.OUTSIDE)])
    forms, _ = family.canonical(bare(canvases.astype(np.uint8), canvases.astype(np.uint8)))
    np.testing.assert_array_equal(forms[0], forms[1])
    assert len(np.unique(forms, axis=0)) == 4
    assert (forms[4] == arc.OUTSIDE).all()
