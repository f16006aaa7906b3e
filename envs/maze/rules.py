"""The rules of the maze: which drafts mark a shortest path.

A question is a grid of 0 wall, 1 open, 2 start, 3 goal (exactly one each). A draft is right if it equals the question except
that the open cells of a path from start to goal are marked 4, and no path from start to goal has fewer moves. Any
shortest path is right, not just a stored one.

No search is needed once the optimum L, the number of moves of a shortest path, is known. Call start, goal and marked open
cells path cells. A draft is right exactly if
  (a) there are L + 1 path cells,
  (b) start and goal each touch one path cell and every other path cell touches two.
Right drafts obey both: a shortest path has L + 1 cells, and two of its cells that touch without following one another would be
a short cut. The other way round: every connected part of the graph of path cells has an even number of cells of odd degree,
so by (b) the part that holds the start also holds the goal and is a simple path between them; what is left, all of degree
two, could only be loops. The path alone has at least L + 1 cells, because no path is shorter than L moves; by (a) it has just
that many, so it is a shortest path and no cell is left for a loop.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from hrm_gym.envs.errors import PuzzleError
from hrm_gym.envs.maze.solver import GOAL, OPEN, PATH, START, as_mazes, malformed, run_in_threads, shortest_path_lengths

_MALFORMED = -1  # in place of a number of path cells: the question is no maze
_BROKEN = 0  # in place of a number of path cells: the draft changes the question, or (b) fails


@njit(cache=True, nogil=True)
def _count_path_cells(
    questions: np.ndarray, drafts: np.ndarray, width: int, path_cells: np.ndarray, first: int, last: int
) -> None:
    """path_cells[i]: the number of path cells of draft i, or _BROKEN or _MALFORMED. Grids are flat: uint8[N, H * width].

    Both loops over cells are without branches and narrow every sum at once to a few bits, so that the compiler turns
    them into vector instructions (five times as fast as the plain form).
    """
    size = questions.shape[1]
    framed = np.zeros(size + 2 * width, np.uint8)  # 1 on path cells; the row above the maze and the row below stay 0
    above, on_path, below = framed[:size], framed[width : width + size], framed[2 * width :]
    before, after = framed[width - 1 :], framed[width + 1 :]
    has_left, has_right = np.ones(size, np.uint8), np.ones(size, np.uint8)
    has_left[::width] = 0
    has_right[width - 1 :: width] = 0
    wanted = np.empty(size, np.uint8)
    for row in range(first, last):
        question, draft = questions[row], drafts[row]
        starts = goals = cells = np.int32(0)
        strange = changed = broken = np.uint8(0)
        for c in range(size):
            given, drawn = question[c], draft[c]
            mark = (given == OPEN) & (drawn == PATH)
            path = drawn >= START
            on_path[c] = path
            wanted[c] = 1 + mark
            starts = np.int32(starts + (given == START))
            goals = np.int32(goals + (given == GOAL))
            cells = np.int32(cells + path)
            strange = np.uint8(strange | (given > GOAL))
            changed = np.uint8(changed | ((drawn != given) & (not mark)))
        if strange or starts != 1 or goals != 1:
            path_cells[row] = _MALFORMED
            continue
        if changed:
            path_cells[row] = _BROKEN
            continue
        for c in range(size):
            touching = np.uint8(above[c] + below[c] + (before[c] & has_left[c]) + (after[c] & has_right[c]))
            broken = np.uint8(broken | ((on_path[c] != 0) & (touching != wanted[c])))
        path_cells[row] = _BROKEN if broken else cells


def verify(questions: np.ndarray, drafts: np.ndarray, optimum: np.ndarray | None = None) -> np.ndarray:
    """Which drafts mark a shortest path of their question: bool[N].

    Args:
        questions: uint8[N, H, W], values 0..3 with exactly one start and one goal.
        drafts: uint8[N, H, W]; any value is allowed, a wrong one is simply not right.
        optimum: int[N], the number of moves of a shortest path of each question; None searches for it, where the draft
            is a path at all. It must be true: no search is made to check it.

    Raises:
        PuzzleError: shapes that do not fit one another, or a question that is no maze; names the first bad one.
    """
    questions, drafts = as_mazes(questions), as_mazes(drafts, "draft")
    if questions.shape != drafts.shape:
        raise PuzzleError(f"drafts have shape {drafts.shape}; expected that of the questions, {questions.shape}")
    path_cells = np.empty(len(questions), np.int32)
    flat = (len(questions), questions.shape[1] * questions.shape[2])
    arrays = (questions.reshape(flat), drafts.reshape(flat), questions.shape[2], path_cells)
    run_in_threads(_count_path_cells, arrays, len(questions), least=4096)
    if (path_cells == _MALFORMED).any():
        row = int(np.argmax(path_cells == _MALFORMED))
        raise malformed(questions[row], row)
    if optimum is None:
        right = path_cells != _BROKEN
        right[right] = shortest_path_lengths(questions[right]) + 1 == path_cells[right]
        return right
    optimum = np.asarray(optimum)
    if optimum.shape != path_cells.shape:
        raise PuzzleError(
            f"optimum has shape {optimum.shape}; expected one number of moves for each of {len(questions)} questions"
        )
    return (path_cells != _BROKEN) & (path_cells == optimum + 1)


def is_solved(questions: Any, drafts: Any, optimum: Any) -> Any:
    """`verify` in operators that NumPy arrays and torch tensors share, on any device: bool[N].

    Args:
        questions: integers [N, H, W] of 32 bits or more, values 0..3 with exactly one start and one goal (taken on trust).
        drafts: integers [N, H, W] of the same kind.
        optimum: integers [N], the true number of moves of a shortest path.
    """
    marked = (questions == OPEN) & (drafts == PATH)
    on_path = (drafts >= START) * 1
    touching = path_neighbours(on_path)
    fits = (drafts == questions) | marked
    wanted = 1 + marked * 1
    sound = fits & ((on_path == 0) | (touching == wanted))
    cells = drafts.shape[1] * drafts.shape[2]
    return sound.reshape(-1, cells).all(1) & (on_path.reshape(-1, cells).sum(1) == optimum + 1)


def path_neighbours(on_path: Any) -> Any:
    """How many of a cell's four neighbours are on the path: integers [N, H, W] of 0 and 1 -> integers [N, H, W], 0..4."""
    touching = on_path * 0
    touching[:, 1:] += on_path[:, :-1]
    touching[:, :-1] += on_path[:, 1:]
    touching[:, :, 1:] += on_path[:, :, :-1]
    touching[:, :, :-1] += on_path[:, :, 1:]
    return touching
