"""ARC canvases and verdicts, against plain Python."""

from __future__ import annotations

import numpy as np
import pytest

from hrm_gym.envs.arc import load_tasks
from hrm_gym.envs.arc.rules import OUTSIDE, from_canvas, has_grid, is_solved, to_canvas, verify
from hrm_gym.envs.errors import ConfigError, PuzzleError


def plain_grid(canvas: list[list[int]]) -> list[list[int]] | None:
    """The grid on a canvas, cell by cell."""
    cells = {(y, x): value for y, row in enumerate(canvas) for x, value in enumerate(row) if value != OUTSIDE}
    if not cells:
        return None
    top, bottom = min(y for y, _ in cells), max(y for y, _ in cells)
    left, right = min(x for _, x in cells), max(x for _, x in cells)
    if len(cells) != (bottom - top + 1) * (right - left + 1):
        return None
    return [[cells[y, x] for x in range(left, right + 1)] for y in range(top, bottom + 1)]


def plain_verdict(draft: list[list[int]], answer: list[list[int]]) -> bool:
    """The same grid at the same place, and an answer that is known."""

    def corner(canvas: list[list[int]]) -> tuple[int, int]:
        return min((y, x) for y, row in enumerate(canvas) for x, value in enumerate(row) if value != OUTSIDE)

    grid = plain_grid(draft)
    return grid is not None and grid == plain_grid(answer) and corner(draft) == corner(answer)


def drafts_of_all_kinds(seed: int, count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Drafts right and wrong in many ways, and their answers."""
    rng = np.random.default_rng(seed)
    answers = to_canvas([rng.integers(0, 10, rng.integers(1, size + 1, 2)) for _ in range(count)], size)
    drafts = answers.copy()
    for row in range(count):
        kind = row % 9
        y, x = rng.integers(0, size, 2)
        if kind == 1:  # one cell changed, perhaps to what it was
            drafts[row, y, x] = rng.integers(0, 11)
        elif kind == 2:  # shifted
            drafts[row] = np.roll(drafts[row], (y, x), (0, 1))
        elif kind == 3:  # a hole or a missing corner
            drafts[row, 0, x] = OUTSIDE
        elif kind == 4:  # a cell beside the grid
            drafts[row, -1, -1] = 5
        elif kind == 5:  # nothing
            drafts[row] = OUTSIDE
        elif kind == 6:  # noise
            drafts[row] = rng.integers(0, 11, (size, size))
        elif kind == 7:  # another size
            drafts[row] = OUTSIDE
            drafts[row, : y + 1, : x + 1] = answers[row, : y + 1, : x + 1] % 10
        elif kind == 8:  # two rectangles in one run of columns
            drafts[row] = OUTSIDE
            drafts[row, ::2, : x + 1] = 3
    return drafts, answers


def test_canvases_round_trip_on_every_real_grid() -> None:
    grids = [grid for task in load_tasks("arc-agi-1", "training") for pair in (*task.train, *task.test) for grid in pair]
    canvases = to_canvas(grids, 30)
    assert canvases.dtype == np.uint8 and canvases.shape == (len(grids), 30, 30)
    assert has_grid(canvases).all()
    for grid, canvas in zip(grids, canvases, strict=True):
        height, width = grid.shape
        assert np.array_equal(canvas[:height, :width], grid)
        assert (canvas != OUTSIDE).sum() == height * width
        assert np.array_equal(from_canvas(canvas), grid)


def test_from_canvas_and_has_grid_agree_with_plain_python() -> None:
    drafts, _ = drafts_of_all_kinds(1, 900, 4)
    grids = [from_canvas(draft) for draft in drafts]
    expected = [plain_grid(draft.tolist()) for draft in drafts]
    assert [None if grid is None else grid.tolist() for grid in grids] == expected
    assert has_grid(drafts).tolist() == [grid is not None for grid in expected]
    assert 100 < sum(grid is None for grid in expected) < 800


@pytest.mark.parametrize("size", [1, 2, 5, 30])
def test_verify_agrees_with_plain_python(size: int) -> None:
    drafts, answers = drafts_of_all_kinds(2 + size, 360, size)
    verdicts = verify(drafts, answers)
    assert verdicts.dtype == bool and verdicts.shape == (360,)
    assert verdicts.tolist() == [plain_verdict(*pair) for pair in zip(drafts.tolist(), answers.tolist(), strict=True)]
    assert 40 <= verdicts.sum() < 360  # the unchanged ones at least


def test_the_same_rectangle_elsewhere_is_wrong() -> None:
    answers = to_canvas([np.array([[1, 2]])], 3)
    assert verify(answers, answers).tolist() == [True]
    assert verify(np.roll(answers, 1, axis=1), answers).tolist() == [False]


def test_no_draft_is_right_where_the_answer_is_not_known() -> None:
    empty = np.full((1, 3, 3), OUTSIDE, np.uint8)
    assert verify(empty, empty).tolist() == [False]
    assert verify(np.zeros_like(empty), empty).tolist() == [False]


def test_is_solved_is_verify_in_numpy_and_torch() -> None:
    torch = pytest.importorskip("torch")
    drafts, answers = drafts_of_all_kinds(9, 450, 6)
    answers[::20] = OUTSIDE
    drafts[::40] = OUTSIDE
    expected = verify(drafts, answers)
    assert 0 < expected.sum() < 450
    for kind in (np.int32, np.int64):
        assert np.array_equal(is_solved(drafts.astype(kind), answers.astype(kind)), expected)
        on_torch = is_solved(torch.from_numpy(drafts.astype(kind)), torch.from_numpy(answers.astype(kind)))
        assert on_torch.dtype == torch.bool and np.array_equal(on_torch.numpy(), expected)


def test_empty_batches() -> None:
    nothing = np.zeros((0, 4, 4), np.uint8)
    assert verify(nothing, nothing).shape == (0,)
    assert has_grid(nothing).shape == (0,)
    assert to_canvas([], 4).shape == (0, 4, 4)


def test_messages() -> None:
    for grids, size, message in [
        ([np.zeros((2, 2), int), np.zeros((2, 5), int)], 4, "grid 1 is 2 x 5, which does not fit a 4 x 4 canvas"),
        ([np.zeros(3, int)], 4, r"grid 0 has shape \(3,\)"),
        ([np.zeros((0, 3), int)], 4, r"grid 0 has shape \(0, 3\)"),
        ([np.array([[1, 10]])], 4, "grid 0 has colour 10 at row 0, column 1"),
        ([np.array([[-1, 1]])], 4, "grid 0 has colour -1 at row 0, column 0"),
    ]:
        with pytest.raises(PuzzleError, match=message):
            to_canvas(grids, size)
    for size in (0, 31, 2.0, True, "9"):
        with pytest.raises(ConfigError, match=r"size is .*; expected a whole number 1\.\.30"):
            to_canvas([], size)
    with pytest.raises(PuzzleError, match=r"drafts have shape \(2, 3, 3\) and answers \(1, 3, 3\)"):
        verify(np.zeros((2, 3, 3), np.uint8), np.zeros((1, 3, 3), np.uint8))
    with pytest.raises(PuzzleError, match="expected both"):
        verify(np.zeros((3, 3), np.uint8), np.zeros((3, 3), np.uint8))
