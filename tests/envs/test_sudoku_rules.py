"""Sudoku's rules against a checker made of Python sets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hrm_gym.envs.errors import PuzzleError
from hrm_gym.envs.sudoku import rules
from hrm_gym.envs.sudoku.family import SudokuFamily

SIZES = (4, 6, 9, 16)


def units(size: int) -> list[list[tuple[int, int]]]:
    """The cells of each row, column and box, spelled out."""
    height, width = {4: (2, 2), 6: (2, 3), 9: (3, 3), 16: (4, 4)}[size]
    rows = [[(r, c) for c in range(size)] for r in range(size)]
    columns = [[(r, c) for r in range(size)] for c in range(size)]
    boxes = [
        [(top + r, left + c) for r in range(height) for c in range(width)]
        for top in range(0, size, height)
        for left in range(0, size, width)
    ]
    return rows + columns + boxes


def plainly_verified(question: np.ndarray, draft: np.ndarray) -> bool:
    size = len(draft)
    for unit in units(size):
        if {int(draft[cell]) for cell in unit} != set(range(1, size + 1)):
            return False
    return all(question[cell] in (0, draft[cell]) for cell in np.ndindex(size, size))


def plainly_wrong(question: np.ndarray, draft: np.ndarray) -> tuple[int, int, np.ndarray]:
    """Broken units, wrong clues, wrong cells."""
    broken = 0
    cells = (question != 0) & (question != draft)
    clues = int(cells.sum())
    for unit in units(len(draft)):
        values = [int(draft[cell]) for cell in unit if draft[cell] != 0]
        broken += len(set(values)) < len(values)
        for cell in unit:
            if draft[cell] != 0 and values.count(int(draft[cell])) > 1:
                cells[cell] = True
    return broken, clues, cells


def solved_grids(size: int, count: int, seed: int) -> np.ndarray:
    """Random solved grids: the shifted-rows grid under random symmetries."""
    height, width = rules.BOXES[size]
    r, c = np.mgrid[:size, :size]
    grid = ((r % height) * width + r // height + c) % size + 1
    family = SudokuFamily(size)
    return family.sample_symmetries(count, np.random.default_rng(seed)).apply(np.tile(grid.astype(np.uint8), (count, 1, 1)))


def cases(size: int, seed: int, count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Questions and drafts: solved, with one cell changed, with two cells of a row swapped, with a clue overwritten, random."""
    rng = np.random.default_rng(seed)
    drafts = solved_grids(size, count, seed)
    questions = np.where(rng.random(drafts.shape) < 0.4, drafts, 0).astype(np.uint8)
    for i in range(count):
        row, one, other = rng.integers(size, size=3)
        kind = i % 6
        if kind == 1:
            drafts[i, row, one] = rng.integers(size + 1)
        elif kind == 2:
            drafts[i, row, [one, other]] = drafts[i, row, [other, one]]
            questions[i] = 0
        elif kind == 3:
            questions[i, row, one] = drafts[i, row, one] % size + 1
        elif kind == 4:
            drafts[i] = rng.integers(0, size + 1, size=(size, size))
        elif kind == 5:  # whole rows exchanged: rows and columns hold, boxes may not
            drafts[i, [0, size - 1]] = drafts[i, [size - 1, 0]]
            questions[i] = 0
    return questions, drafts


@pytest.mark.parametrize("size", SIZES)
def test_every_check_agrees_with_sets(size: int) -> None:
    questions, drafts = cases(size, seed=size, count=60)
    expected = np.array([plainly_verified(q, d) for q, d in zip(questions, drafts, strict=True)])
    assert 10 <= expected.sum() <= 50  # both kinds occur
    np.testing.assert_array_equal(rules.verify(questions, drafts), expected)
    wrong = [plainly_wrong(q, d) for q, d in zip(questions, drafts, strict=True)]
    np.testing.assert_array_equal(rules.broken_rules(drafts), [broken for broken, _, _ in wrong])
    np.testing.assert_array_equal(rules.wrong_clues(questions, drafts), [clues for _, clues, _ in wrong])
    np.testing.assert_array_equal(rules.wrong_cells(questions, drafts), [cells for _, _, cells in wrong])


@settings(max_examples=60, deadline=None)
@given(size=st.sampled_from(SIZES[:3]), seed=st.integers(0, 2**32 - 1), changes=st.integers(0, 3))
def test_verify_under_random_changes(size: int, seed: int, changes: int) -> None:
    rng = np.random.default_rng(seed)
    drafts = solved_grids(size, 3, seed)
    questions = np.where(rng.random(drafts.shape) < 0.3, drafts, 0).astype(np.uint8)
    for _ in range(changes):
        i, row, column = rng.integers(3), *rng.integers(size, size=2)
        (questions, drafts)[rng.integers(2)][i, row, column] = rng.integers(size + 1)
    expected = [plainly_verified(q, d) for q, d in zip(questions, drafts, strict=True)]
    np.testing.assert_array_equal(rules.verify(questions, drafts), expected)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_is_solved_equals_verify(size: int, kind: str) -> None:
    questions, drafts = cases(size, seed=100 + size, count=120)
    box = rules.BOXES[size]
    if kind == "numpy":
        found = rules.is_solved(questions.astype(np.int32), drafts.astype(np.int32), box)
    else:
        found = rules.is_solved(torch.from_numpy(questions).int(), torch.from_numpy(drafts).int(), box).numpy()
    assert found.dtype == bool and found.shape == (120,)
    np.testing.assert_array_equal(found, rules.verify(questions, drafts))


def test_sums_that_collide_do_not_fool_is_solved() -> None:
    # a row of 1 1 2 2 sums to 6 + 6; sums of n powers equal the full mask only if all are there, so no grid may slip through
    grids = np.array(np.meshgrid(*[np.arange(5)] * 4)).reshape(4, -1).T
    drafts = np.repeat(grids[:, None, :], 4, axis=1).astype(np.int32)
    rows_right = (1 << drafts).sum(2)[:, 0] == 30
    np.testing.assert_array_equal(rows_right, [set(row) == {1, 2, 3, 4} for row in grids.tolist()])


def test_one_grid_is_a_batch_of_one_and_a_large_batch_uses_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    solved = solved_grids(9, 10_000, 0)
    assert rules.verify(np.zeros((9, 9), np.uint8), solved[0]).tolist() == [True]
    solved[7_777, 0, 0] = 0
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 2)
    verified = rules.verify(np.zeros_like(solved), solved)
    assert np.flatnonzero(~verified).tolist() == [7_777]
    assert rules.verify(np.zeros((0, 9, 9), np.uint8), np.zeros((0, 9, 9), np.uint8)).shape == (0,)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (np.zeros((2, 5, 5), np.uint8), r"shape \(2, 5, 5\)"),
        (np.zeros((9, 4), np.uint8), r"shape \(9, 4\)"),
        (np.full((1, 4, 4), 5, np.uint8), "value 5 at row 0, column 0"),
        (np.full((1, 4, 4), -1), "value -1"),
        (np.zeros((4, 4)), "dtype float64"),
    ],
)
def test_wrong_grids_are_named(grid: np.ndarray, message: str) -> None:
    with pytest.raises(PuzzleError, match=message):
        rules.verify(grid, grid)
    with pytest.raises(PuzzleError, match=message):
        rules.broken_rules(grid)


def test_shapes_that_differ_are_named() -> None:
    with pytest.raises(PuzzleError, match=r"drafts have shape \(2, 4, 4\)"):
        rules.verify(np.zeros((1, 4, 4), np.uint8), np.zeros((2, 4, 4), np.uint8))
    with pytest.raises(PuzzleError, match="size 5"):
        rules.box_shape(5)
