"""The steps of a maze solver, written down: a breadth-first search from the goal, then the way it has found.

First the cells that the search comes to, from near to far: all that are nearer to the goal than the start is. Then the cells of the path
from start to goal, both included, each one step nearer than the one before.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from hrm_gym.envs.errors import PuzzleError
from hrm_gym.envs.maze.rules import verify
from hrm_gym.envs.maze.solver import GOAL, PATH, START, WALL, as_mazes, run_in_threads, shortest_path_lengths

_LEAST = 64  # mazes in a thread: fewer are done sooner than a thread starts
_UNSEEN, _BLOCKED = -1, -2


@njit(cache=True, nogil=True)
def _trace(questions: np.ndarray, answers: np.ndarray, traces: np.ndarray, first: int, last: int) -> None:
    height, width = questions.shape[1:]
    stride = width + 2
    distance = np.empty((height + 2) * stride, np.int32)  # a frame of blocked cells around the maze
    queue = np.empty(distance.size, np.int32)
    for i in range(first, last):
        distance[:] = _BLOCKED
        start = goal = 0
        for y in range(height):
            for x in range(width):
                cell = (y + 1) * stride + x + 1
                value = questions[i, y, x]
                if value != WALL:
                    distance[cell] = _UNSEEN
                if value == START:
                    start = cell
                elif value == GOAL:
                    goal = cell
        distance[goal] = 0
        queue[0] = goal
        head, tail = 0, 1
        while distance[start] == _UNSEEN:
            cell = queue[head]
            head += 1
            for step in (-stride, -1, 1, stride):
                if distance[cell + step] == _UNSEEN:
                    distance[cell + step] = distance[cell] + 1
                    queue[tail] = cell + step
                    tail += 1
        written = 0
        for place in range(tail):
            cell = queue[place]
            if distance[cell] == distance[start]:
                break
            traces[i, written] = (cell // stride - 1) * width + cell % stride - 1
            written += 1
        cell = start
        while True:
            traces[i, written] = (cell // stride - 1) * width + cell % stride - 1
            written += 1
            if cell == goal:
                break
            nearer = distance[cell] - 1
            for step in (-stride, -1, 1, stride):
                beside = cell + step
                if distance[beside] == nearer and (
                    beside == goal or answers[i, beside // stride - 1, beside % stride - 1] == PATH
                ):
                    cell = beside
                    break


def trace(questions: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """The solver's steps for N mazes.

    Args:
        questions, answers: uint8[N, H, W]; every answer marks a shortest path, which is the one that the trace walks.

    Returns:
        int32[N, 2 * H * W]: cells, 0..H*W-1 row by row; then -1 up to the end. How many there are is the same for all rotations and
        reflections of a maze: the cells nearer to the goal than the start is, and the path's.

    Raises:
        PuzzleError: grids that do not fit, or an answer that is none; names the first.
    """
    questions, answers = as_mazes(questions), as_mazes(answers, "answer")
    right = verify(questions, answers, shortest_path_lengths(questions))
    if not right.all():
        raise PuzzleError(
            f"answer {int(right.argmin())} marks no shortest path of its maze; a trace can only be written to one that does"
        )
    traces = np.full((len(questions), 2 * questions[0].size if len(questions) else 0), -1, np.int32)
    run_in_threads(_trace, (questions, answers, traces), len(questions), _LEAST)
    return traces
