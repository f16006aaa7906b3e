"""Shortest paths in mazes: batched breadth-first search, compiled.

A maze is a uint8[H, W] grid of 0 wall, 1 open, 2 start, 3 goal (exactly one each); moves go to the four neighbours.
In an answer 4 marks the open cells of a path; start and goal keep their values.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numba import config, njit

from hrm_gym.envs.errors import PuzzleError

WALL, OPEN, START, GOAL, PATH = range(5)

MOST_PATHS = 2**62 - 1  # where `count_shortest_paths` stops counting: the sum of two counts still fits int64

_UNSEEN = -1  # in a distance map: a cell that can be entered and has not been reached
_BLOCKED = -2  # in a distance map: a wall, or the frame around the maze
_UNREACHABLE = -1
_MALFORMED = -2


# -- kernels -----------------------------------------------------------------------------------------------------------
# A kernel may only call functions of its own file: Numba's cache does not notice when another file changes.


@njit(cache=True, nogil=True)
def _prepare(question: np.ndarray, distance: np.ndarray) -> tuple[int, int]:
    """Fills the flat distance map, a frame of blocked cells around the maze; returns start and goal in it, -1 if malformed."""
    height, width = question.shape
    stride = width + 2
    distance[:] = _BLOCKED
    start = goal = -1
    sound = True
    for y in range(height):
        for x in range(width):
            value = question[y, x]
            if value == WALL:
                continue
            cell = (y + 1) * stride + x + 1
            distance[cell] = _UNSEEN
            if value == START:
                sound &= start == -1
                start = cell
            elif value == GOAL:
                sound &= goal == -1
                goal = cell
            elif value != OPEN:
                sound = False
    if not sound or start == -1 or goal == -1:
        return -1, -1
    return start, goal


@njit(cache=True, nogil=True)
def _flood(distance: np.ndarray, stride: int, source: int, target: int, queue: np.ndarray) -> int:
    """Writes distances from `source` until `target` is reached (all smaller distances are then known); its distance or -1."""
    distance[source] = 0
    queue[0] = source
    head, tail = 0, 1
    while head < tail:
        cell = queue[head]
        head += 1
        further = distance[cell] + 1
        for step in (-stride, -1, 1, stride):
            neighbour = cell + step
            if distance[neighbour] == _UNSEEN:
                distance[neighbour] = further
                if neighbour == target:
                    return further
                queue[tail] = neighbour
                tail += 1
    return _UNREACHABLE


@njit(cache=True, nogil=True)
def _lengths(questions: np.ndarray, lengths: np.ndarray, first: int, last: int) -> None:
    stride = questions.shape[2] + 2
    distance = np.empty((questions.shape[1] + 2) * stride, np.int32)
    queue = np.empty(distance.size, np.int32)
    for row in range(first, last):
        start, goal = _prepare(questions[row], distance)
        lengths[row] = _MALFORMED if start == -1 else _flood(distance, stride, start, goal, queue)


@njit(cache=True, nogil=True)
def _solve(questions: np.ndarray, answers: np.ndarray, lengths: np.ndarray, first: int, last: int) -> None:
    stride = questions.shape[2] + 2
    distance = np.empty((questions.shape[1] + 2) * stride, np.int32)
    queue = np.empty(distance.size, np.int32)
    for row in range(first, last):
        start, goal = _prepare(questions[row], distance)
        if start == -1:
            lengths[row] = _MALFORMED
            continue
        # search from the goal, so that the path can be walked from the start, always one step nearer
        length = _flood(distance, stride, goal, start, queue)
        lengths[row] = length
        cell = start
        for left in range(length - 1, 0, -1):
            for step in (-stride, -1, 1, stride):
                if distance[cell + step] == left:
                    cell += step
                    break
            answers[row, cell // stride - 1, cell % stride - 1] = PATH


@njit(cache=True, nogil=True)
def _count(questions: np.ndarray, counts: np.ndarray, first: int, last: int) -> None:
    stride = questions.shape[2] + 2
    distance = np.empty((questions.shape[1] + 2) * stride, np.int32)
    queue = np.empty(distance.size, np.int32)
    paths = np.empty(distance.size, np.int64)
    for row in range(first, last):
        start, goal = _prepare(questions[row], distance)
        if start == -1:
            counts[row] = _MALFORMED
            continue
        paths[:] = 0
        paths[start] = 1
        distance[start] = 0
        queue[0] = start
        head, tail = 0, 1
        while head < tail:
            cell = queue[head]
            head += 1
            if cell == goal:  # every cell nearer than the goal has passed its count on
                break
            further = distance[cell] + 1
            for step in (-stride, -1, 1, stride):
                neighbour = cell + step
                if distance[neighbour] == _UNSEEN:
                    distance[neighbour] = further
                    queue[tail] = neighbour
                    tail += 1
                if distance[neighbour] == further:
                    paths[neighbour] = min(paths[neighbour] + paths[cell], MOST_PATHS)
        counts[row] = paths[goal]


# -- shared helpers ----------------------------------------------------------------------------------------------------


def run_in_threads(kernel: Callable[..., None], arrays: tuple[Any, ...], count: int, least: int) -> None:
    """Calls `kernel(*arrays, first, last)` on slices of 0..count in threads, `least` rows or more in each.

    The kernels let go of the interpreter lock. Plain threads rather than Numba's `parallel=True`, because with the latter a
    process that forks after its first parallel call (gymnasium's AsyncVectorEnv does) is killed at the next one by OpenMP.
    NUMBA_NUM_THREADS sets the number of threads.
    """
    threads = min(config.NUMBA_NUM_THREADS, count // least)  # type: ignore[attr-defined]
    if threads <= 1:
        kernel(*arrays, 0, count)
        return
    parts = min(4 * threads, count // least)  # more parts than threads, so that an unlucky part holds nobody up for long
    edges = [count * part // parts for part in range(parts + 1)]
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(kernel, *arrays, edges[part], edges[part + 1]) for part in range(parts)]:
            done.result()


def as_mazes(grids: Any, what: str = "question") -> np.ndarray:
    """`grids` as a contiguous uint8[N, H, W], without a copy where it is one already. Values are not looked at beyond 0..255.

    Raises:
        PuzzleError: not whole numbers, not three axes, or a value outside 0..255.
    """
    array = np.asarray(grids)
    if array.dtype != np.uint8:
        if not np.issubdtype(array.dtype, np.integer):
            raise PuzzleError(f"{what} has dtype {array.dtype}; expected whole numbers 0..4, best uint8")
        if array.size and (array.min() < 0 or array.max() > 255):
            wrong = array.min() if array.min() < 0 else array.max()
            raise PuzzleError(f"{what} holds the value {wrong}; a maze takes 0 wall, 1 open, 2 start, 3 goal, 4 path")
        array = array.astype(np.uint8)
    if array.ndim != 3 or 0 in array.shape[1:]:
        raise PuzzleError(f"{what} has shape {array.shape}; expected [N, height, width], one maze being a batch of one")
    return np.ascontiguousarray(array)


def malformed(question: np.ndarray, row: int) -> PuzzleError:
    """The error that says what is wrong with question `row`, uint8[H, W]."""
    for y, x in np.argwhere(question > GOAL)[:1]:
        return PuzzleError(
            f"question {row} has value {question[y, x]} at row {y}, column {x}; expected 0 wall, 1 open, 2 start or 3 goal"
        )
    starts, goals = int((question == START).sum()), int((question == GOAL).sum())
    return PuzzleError(f"question {row} has {starts} start and {goals} goal cells; expected exactly one 2 and one 3")


# -- public ------------------------------------------------------------------------------------------------------------


def shortest_path_lengths(questions: np.ndarray) -> np.ndarray:
    """The number of moves of a shortest path from start to goal: uint8[N, H, W] -> int32[N], -1 where there is no path.

    Raises:
        PuzzleError: wrong shape or value, or not exactly one start and one goal; names the first bad question.
    """
    questions = as_mazes(questions)
    lengths = np.empty(len(questions), np.int32)
    run_in_threads(_lengths, (questions, lengths), len(questions), least=512)
    _refuse_malformed(questions, lengths)
    return lengths


def solve(questions: np.ndarray, strict: bool = True) -> np.ndarray:
    """A shortest path for each question: uint8[N, H, W] -> answers uint8[N, H, W], its open cells marked 4.

    Where there are several, the one taken goes at each cell up if it can, else left, else right, else down.

    Args:
        questions: mazes with values 0..3.
        strict: False leaves a question without a path unmarked instead of raising.

    Raises:
        PuzzleError: wrong shape or value, not exactly one start and one goal, or (strict) no path; names the first bad
            question.
    """
    questions = as_mazes(questions)
    answers = questions.copy()
    lengths = np.empty(len(questions), np.int32)
    run_in_threads(_solve, (questions, answers, lengths), len(questions), least=512)
    _refuse_malformed(questions, lengths)
    if strict and (lengths == _UNREACHABLE).any():
        row = int(np.argmax(lengths == _UNREACHABLE))
        raise PuzzleError(f"question {row} has no path from start to goal; open a wall between them, or pass strict=False")
    return answers


def count_shortest_paths(questions: np.ndarray) -> np.ndarray:
    """How many different shortest paths there are: uint8[N, H, W] -> int64[N], 0 where there is none.

    1 says that the answer is unique. Counting stops at `MOST_PATHS`, 2^62 - 1.

    Raises:
        PuzzleError: wrong shape or value, or not exactly one start and one goal; names the first bad question.
    """
    questions = as_mazes(questions)
    counts = np.empty(len(questions), np.int64)
    run_in_threads(_count, (questions, counts), len(questions), least=512)
    _refuse_malformed(questions, counts)
    return counts


def _refuse_malformed(questions: np.ndarray, results: np.ndarray) -> None:
    if (results == _MALFORMED).any():
        row = int(np.argmax(results == _MALFORMED))
        raise malformed(questions[row], row)
