"""`HRM-MazeWalk-v0` against the same rules in plain Python."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import hrm_gym  # noqa: F401  (registers the ids)
from hrm_gym.envs.errors import ConfigError, PuzzleError
from hrm_gym.envs.maze.walk import MazeWalkEnv

UP, RIGHT, DOWN, LEFT = range(4)
# S at the upper left, G at the upper right; straight on is two moves, round the wall six
ROUND = "S G   # #"  # S.G / ... / #.#
WALL_BETWEEN = "S#G   # #"  # S#G / ... / #.#: down, right, right, up


def make(**settings: Any) -> MazeWalkEnv:
    env = gym.make("HRM-MazeWalk-v0", **({"size": 6} | settings)).unwrapped
    assert isinstance(env, MazeWalkEnv)
    return env


def neighbours(maze: list[list[int]], cell: tuple[int, int]) -> dict[int, tuple[int, int]]:
    """Move -> cell, for the moves that are no wall."""
    found = {}
    for move, (dy, dx) in enumerate([(-1, 0), (0, 1), (1, 0), (0, -1)]):
        y, x = cell[0] + dy, cell[1] + dx
        if 0 <= y < len(maze) and 0 <= x < len(maze) and maze[y][x] != 0:
            found[move] = (y, x)
    return found


def distances_to_goal(maze: list[list[int]]) -> dict[tuple[int, int], int]:
    edge = {(y, x) for y, row in enumerate(maze) for x, value in enumerate(row) if value == 3}
    distance, found = 0, {}
    while edge:
        found |= dict.fromkeys(edge, distance)
        edge = {cell for at in edge for cell in neighbours(maze, at).values()} - set(found)
        distance += 1
    return found


@pytest.mark.parametrize("recipe", ["walls", "tree", "braid"])
@pytest.mark.parametrize(("reward", "step_cost"), [("goal", 0.0), ("verified", 0.25), ("dense", 0.0)])
@pytest.mark.parametrize("size", [3, 6, 11])
def test_every_step_is_that_of_the_plain_rules(size: int, recipe: str, reward: str, step_cost: float) -> None:
    env = make(size=size, recipe=recipe, reward=reward, step_cost=step_cost, max_steps=4 * size)
    rng = np.random.default_rng(size)
    seen = set()
    for seed in range(12):
        observation, info = env.reset(seed=seed)
        maze = observation["question"].tolist()
        draft = observation["question"].copy()
        distances = distances_to_goal(maze)
        position = next((y, x) for y, row in enumerate(maze) for x, value in enumerate(row) if value == 2)
        optimum, length, steps = distances[position], 0, 0
        assert info["optimum"] == optimum and not info["arrived"]
        while True:
            ways = neighbours(maze, position)
            mask = env.action_masks()
            assert mask.dtype == bool and mask.any()
            assert np.flatnonzero(mask).tolist() == sorted(ways) and mask.tolist() == info["action_mask"].tolist()
            assert observation["position"].tolist() == list(position)
            nearer = [move for move, cell in ways.items() if distances[cell] < distances[position]]
            action = int(rng.choice(nearer)) if seed % 2 or rng.random() < 0.6 else int(rng.integers(4))
            before = distances[position]
            if action in ways:
                position = ways[action]
                length += 1
                if maze[position[0]][position[1]] == 1:
                    draft[position] = 4
            steps += 1
            observation, earned, terminated, truncated, info = env.step(action)
            arrived = maze[position[0]][position[1]] == 3
            verified = arrived and length == optimum
            expected = float(verified if reward == "verified" else arrived) - step_cost
            if reward == "dense":
                expected += (before - distances[position]) / optimum
            assert earned == pytest.approx(expected, abs=1e-12)
            assert observation["draft"].tolist() == draft.tolist() and observation["question"].tolist() == maze
            assert (info["verified"], info["arrived"], info["path_length"]) == (verified, arrived, length)
            assert terminated is arrived and truncated is (not arrived and steps == 4 * size)
            assert observation["step"] == steps
            if terminated or truncated:
                break
        seen.add("verified" if verified else "arrived" if arrived else "lost")
        # the cells walked on are a right answer in the sense of HRM-Maze-v0 exactly if no move was lost
        assert env.puzzle is not None
        if verified:
            assert env.family.verify(env.puzzle, draft[None])[0]
    assert "verified" in seen and len(seen) > 1


@pytest.mark.parametrize("reward", ["goal", "verified", "dense"])
def test_walks_by_hand(reward: str) -> None:
    env = make(size=3, reward=reward)
    _, info = env.reset(options={"puzzle": ROUND})
    assert info["optimum"] == 2
    rewards = [env.step(action)[1] for action in (UP, LEFT, RIGHT)]  # two bumps, one step
    assert rewards == [0.0, 0.0, 0.5 if reward == "dense" else 0.0]
    observation, earned, terminated, _, info = env.step(RIGHT)
    assert terminated and info["verified"] and info["path_length"] == 2 and observation["step"] == 4
    assert earned == (1.5 if reward == "dense" else 1.0)
    assert env.family.format(observation["draft"]) == "SoG   # #"

    env.reset(options={"puzzle": ROUND})
    results = [env.step(action) for action in (DOWN, RIGHT, RIGHT, UP)]
    assert [result[1] for result in results[:3]] == ([-0.5, 0.5, 0.5] if reward == "dense" else [0.0] * 3)
    observation, earned, terminated, _, info = results[-1]
    assert terminated and info["arrived"] and not info["verified"] and info["path_length"] == 4
    assert earned == {"goal": 1.0, "verified": 0.0, "dense": 1.5}[reward]
    assert env.family.format(observation["draft"]) == "S Gooo# #"
    with pytest.raises(gym.error.ResetNeeded, match="the episode is over"):
        env.step(UP)


@pytest.mark.parametrize("size", [3, 10, 30])
@pytest.mark.parametrize(("reward", "top"), [("goal", 1.0), ("verified", 1.0), ("dense", 2.0)])
def test_the_solution_earns_the_top_reward(size: int, reward: str, top: float) -> None:
    env = make(size=size, reward=reward, recipe="walls")
    for seed in range(5):
        env.reset(seed=seed)
        results = [env.step(action) for action in env.solution()]
        assert len(results) == results[-1][4]["optimum"]
        assert results[-1][2] and results[-1][4]["verified"]
        assert sum(result[1] for result in results) == pytest.approx(top)


def test_the_solution_starts_from_where_one_stands() -> None:
    env = make(size=3)
    env.reset(options={"puzzle": WALL_BETWEEN})
    assert env.solution().tolist() == [DOWN, RIGHT, RIGHT, UP]
    env.step(DOWN)
    env.step(RIGHT)
    env.step(DOWN)
    assert env.solution().tolist() == [UP, RIGHT, UP]


def test_max_steps_is_twice_the_cells_by_default() -> None:
    assert make(size=10).max_steps == 200 and make(max_steps=5).max_steps == 5
    env = make(size=3)
    env.reset(options={"puzzle": ROUND})
    assert [env.step(UP)[2:4] for _ in range(18)] == [(False, False)] * 17 + [(False, True)]


def test_the_picture_shows_where_one_stands() -> None:
    env = make(size=3, render_mode="rgb_array")
    env.reset(options={"puzzle": ROUND})
    assert env.scene().cursor == (0, 0)
    env.step(DOWN)
    scene = env.scene()
    assert scene.cursor == (1, 0) and scene.verdict is None and scene.previous is not None
    assert scene.wrong is None  # a path that is not finished is not wrong
    for action in (RIGHT, RIGHT, UP):
        env.step(action)
    assert env.scene().verdict == "arrived" and env.render().shape[2] == 3
    env.reset(options={"puzzle": WALL_BETWEEN})
    for action in env.solution():
        env.step(action)
    assert env.scene().verdict == "verified"


@pytest.mark.parametrize("action", [-1, 4, 1.0, "up", [1]])
def test_faulty_actions_are_named_and_change_nothing(action: Any) -> None:
    env = make(size=3)
    env.reset(options={"puzzle": ROUND})
    with pytest.raises(PuzzleError, match=r"^action is .*; expected .*Discrete\(4\)"):
        env.step(action)
    assert env.step(DOWN)[0]["step"] == 1


def test_faulty_settings_are_named() -> None:
    with pytest.raises(ConfigError, match="reward is 'sparse'; expected 'goal', 'verified' or 'dense'"):
        make(reward="sparse")
    with pytest.raises(ConfigError, match="max_steps is 0"):
        make(max_steps=0)
    with pytest.raises(PuzzleError, match="start"):
        make(size=3).reset(options={"puzzle": "         "})
