"""ARC grids on square canvases, and when a draft is right.

An ARC grid has its own height and width, up to 30 x 30, and finding them is part of the puzzle. A batch needs one shape, so a
grid sits in the top left corner of a size x size canvas and every other cell holds OUTSIDE (10).

A draft is right if it equals the answer's canvas in every cell: same rectangle, same place, same colours, nothing beside it.
The place counts on purpose. It makes the check two tensor operations on any device, and it is the same check after a symmetry
has moved question, answer and demonstrations together. A draft that shows the right rectangle elsewhere on the canvas is wrong.
(The published HRM evaluator is milder: it cuts the largest rectangle at the top left out of the draft and ignores the rest.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hrm_gym.envs.errors import ConfigError, PuzzleError

COLOURS = 10
OUTSIDE = 10
MAX_SIZE = 30


def check_size(size: int, what: str = "size") -> int:
    """`size` as an int in 1..30.

    Raises:
        ConfigError: it is not a whole number in that range.
    """
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or not 1 <= size <= MAX_SIZE:
        raise ConfigError(f"{what} is {size!r}; expected a whole number 1..{MAX_SIZE}, the sides an ARC grid may have")
    return int(size)


def to_canvas(grids: Sequence[np.ndarray], size: int) -> np.ndarray:
    """N grids of their own sizes (uint8[h, w], 0..9) -> uint8[N, size, size], each at the top left, OUTSIDE around it.

    Raises:
        PuzzleError: a grid is not two-dimensional, is empty, does not fit, or has a value that is no colour; names it.
        ConfigError: `size` is not in 1..30.
    """
    size = check_size(size)
    canvases = np.full((len(grids), size, size), OUTSIDE, dtype=np.uint8)
    for number, grid in enumerate(grids):
        array = np.asarray(grid)
        if array.ndim != 2 or array.size == 0:
            raise PuzzleError(f"grid {number} has shape {array.shape}; expected height x width, both at least 1")
        height, width = array.shape
        if height > size or width > size:
            raise PuzzleError(
                f"grid {number} is {height} x {width}, which does not fit a {size} x {size} canvas; take a larger size"
            )
        if array.min() < 0 or array.max() >= COLOURS:
            y, x = np.argwhere((array < 0) | (array >= COLOURS))[0]
            raise PuzzleError(f"grid {number} has colour {array[y, x]} at row {y}, column {x}; ARC colours are 0..9")
        canvases[number, :height, :width] = array
    return canvases


def from_canvas(canvas: np.ndarray) -> np.ndarray | None:
    """The grid on one canvas (uint8[H, W]), wherever it sits: uint8[h, w], or None if the canvas holds no valid grid.

    The grid is the smallest rectangle around all cells that are not OUTSIDE; it is valid if it exists and has no OUTSIDE cell.
    """
    rows, columns = np.nonzero(np.asarray(canvas) != OUTSIDE)
    if len(rows) == 0:
        return None
    grid: np.ndarray = canvas[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].astype(np.uint8)
    return None if (grid == OUTSIDE).any() else grid


def crop(canvases: np.ndarray) -> np.ndarray:
    """The largest rectangle of each draft that has its corner at the top left and no outside cell, all else outside: uint8[N, H, W].

    This is how the published evaluator reads a draft: a stray cell beside the grid does no harm. Of rectangles of equal area it is the
    one with fewest rows. A draft whose top left cell is outside holds none; all of it is then outside.
    """
    canvases = np.asarray(canvases)
    count, height, width = canvases.shape
    inside = canvases != OUTSIDE
    run = np.minimum.accumulate(inside, axis=2).sum(axis=2)  # colours from the left edge on, in each row: [N, H]
    widths = np.minimum.accumulate(run, axis=1)  # of the widest rectangle with so many rows
    rows = (widths * np.arange(1, height + 1)).argmax(axis=1)
    columns = widths[np.arange(count), rows]
    kept = (np.arange(height)[None, :, None] <= rows[:, None, None]) & (np.arange(width) < columns[:, None, None])
    return np.where(kept, canvases, OUTSIDE).astype(np.uint8)


def has_grid(canvases: np.ndarray) -> np.ndarray:
    """Which canvases (uint8[N, H, W]) hold a valid grid, as `from_canvas` understands it: bool[N]."""
    inside = np.asarray(canvases) != OUTSIDE
    rows, columns = inside.any(axis=2), inside.any(axis=1)
    # the inside cells are a rectangle if they are all cells of one run of rows and one run of columns
    filled = (inside == rows[:, :, None] & columns[:, None, :]).all(axis=(1, 2))
    runs = [side[:, 0].astype(np.int64) + (side[:, 1:] & ~side[:, :-1]).sum(axis=1) for side in (rows, columns)]
    return np.asarray(filled & (runs[0] == 1) & (runs[1] == 1))


def is_solved(drafts: Any, answers: Any) -> Any:
    """`verify` in operators that NumPy arrays and torch tensors share: two [N, H, W] of one kind -> bool[N]."""
    # an answer that is not known is an empty canvas: nothing may pass as right there, least of all an empty draft
    return (drafts == answers).all(-1).all(-1) & (answers != OUTSIDE).any(-1).any(-1)


def verify(drafts: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Which drafts are right: uint8[N, H, W] against uint8[N, H, W] -> bool[N].

    Right means equal canvases. Where the answer is not known (an empty canvas) no draft is right.

    Raises:
        PuzzleError: the shapes differ or are not [N, H, W].
    """
    drafts, answers = np.asarray(drafts), np.asarray(answers)
    if drafts.shape != answers.shape or drafts.ndim != 3:
        raise PuzzleError(f"drafts have shape {drafts.shape} and answers {answers.shape}; expected both [N, H, W] and equal")
    return np.asarray(is_solved(drafts, answers))
