"""The solvers' steps against plainer solvers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from hrm_gym.envs import maze, sudoku
from hrm_gym.envs.errors import ConfigError, PuzzleError
from hrm_gym.envs.registry import make_family
from hrm_gym.envs.sudoku.rules import box_shape
from hrm_gym.envs.traces import trace, trace_lengths


def next_filling(grid, answer):
    """What the solver does next in `grid`, in sets and loops: (cell, value, by which rule)."""
    size = len(grid)
    rows, columns = box_shape(size)
    blank = [(y, x) for y in range(size) for x in range(size) if grid[y, x] == 0]

    def units(y, x):
        top, left = y // rows * rows, x // columns * columns
        yield [(y, other) for other in range(size)]
        yield [(other, x) for other in range(size)]
        yield [(top + i, left + j) for i in range(rows) for j in range(columns)]

    candidates = {
        cell: set(range(1, size + 1)) - {int(grid[other]) for unit in units(*cell) for other in unit} for cell in blank
    }
    for cell in blank:
        if len(candidates[cell]) == 1:
            return cell, next(iter(candidates[cell])), "naked"
    for cell in blank:
        for value in candidates[cell]:
            for unit in units(*cell):
                if not any(value in candidates.get(other, ()) for other in unit if other != cell):
                    return cell, value, "hidden"
    cell = min(blank, key=lambda cell: len(candidates[cell]))
    return cell, int(answer[cell]), "guess"


@pytest.mark.parametrize(("size", "difficulty"), [(4, "hard"), (6, "hard"), (9, "hard"), (9, "easy")])
def test_a_sudoku_trace_is_what_a_plain_solver_does(size, difficulty):
    puzzles = sudoku.generate(6, size=size, difficulty=difficulty, seed=3)
    traces = trace(make_family("sudoku", size), puzzles.questions, puzzles.answers)
    assert (trace_lengths(traces) == 2 * (puzzles.questions == 0).sum(axis=(1, 2))).all()
    rules = set()
    for question, answer, written in zip(puzzles.questions, puzzles.answers, traces, strict=True):
        grid = question.copy()
        for cell, value in written[written >= 0].reshape(-1, 2):
            (y, x), expected, rule = next_filling(grid, answer)
            assert (cell, value) == (y * size + x, size * size + expected)
            grid[y, x] = expected
            rules.add(rule)
        assert (grid == answer).all()
    assert rules >= ({"naked", "hidden", "guess"} if (size, difficulty) == (9, "hard") else {"naked"})


def distances_to_goal(question):
    """By relaxation until nothing changes: no queue."""
    height, width = question.shape
    distance = np.where(question == 3, 0, 10**6)
    while True:
        before = distance.copy()
        for y in range(height):
            for x in range(width):
                if question[y, x] == 0:
                    continue
                for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
                    if 0 <= y + dy < height and 0 <= x + dx < width and question[y + dy, x + dx] != 0:
                        distance[y, x] = min(distance[y, x], distance[y + dy, x + dx] + 1)
        if (distance == before).all():
            return distance


@pytest.mark.parametrize("recipe", ["tree", "walls"])
def test_a_maze_trace_is_a_breadth_first_search_and_then_the_answers_path(recipe):
    puzzles = maze.generate(8, size=8, recipe=recipe, min_path=8, seed=2)
    family = make_family("maze", 8)
    flipped = puzzles.questions[:, :, ::-1].copy(), puzzles.answers[:, :, ::-1].copy()  # whose answers `solve` need not give
    traces = np.concatenate((trace(family, puzzles.questions, puzzles.answers), trace(family, *flipped)))
    questions, answers = np.concatenate((puzzles.questions, flipped[0])), np.concatenate((puzzles.answers, flipped[1]))
    lengths = trace_lengths(traces)
    assert (lengths[:8] == lengths[8:]).all()
    for question, answer, written in zip(questions, answers, traces, strict=True):
        distance = distances_to_goal(question).reshape(-1)
        start = int(np.flatnonzero(question == 2)[0])
        length = distance[start]
        visited, path = np.split(written[written >= 0], [-(length + 1)])
        assert sorted(visited) == np.flatnonzero(distance < length).tolist()
        assert (np.diff(distance[visited]) >= 0).all()
        assert distance[path].tolist() == list(range(length, -1, -1))
        assert sorted(path) == np.flatnonzero(answer.reshape(-1) >= 2).tolist()
        assert all(abs(a // 8 - b // 8) + abs(a % 8 - b % 8) == 1 for a, b in pairwise(path))


def test_what_cannot_be_traced_is_refused():
    puzzles = sudoku.generate(2, size=4, seed=1)
    wrong = puzzles.answers.copy()
    wrong[1, 0, :2] = wrong[1, 0, 1::-1]
    with pytest.raises(PuzzleError, match="answer 1 does not solve"):
        trace(make_family("sudoku", 4), puzzles.questions, wrong)
    mazes = maze.generate(2, size=5, recipe="tree", seed=1)
    with pytest.raises(PuzzleError, match="answer 0 marks no shortest path"):
        trace(make_family("maze", 5), mazes.questions, mazes.questions)
    with pytest.raises(ConfigError, match="arc has no solver"):
        trace(make_family("arc", 3), np.zeros((1, 3, 3), np.uint8), np.zeros((1, 3, 3), np.uint8))
    for name, size in (("sudoku", 4), ("maze", 5)):
        nothing = np.zeros((0, size, size), np.uint8)
        assert len(trace(make_family(name, size), nothing, nothing)) == 0
