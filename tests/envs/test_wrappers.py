"""Gymnasium's own wrappers for pictures work on every environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.wrappers import HumanRendering, RecordVideo

import hrm_gym  # noqa: F401  (registers the environments)

SETTINGS: dict[str, dict[str, Any]] = {
    "HRM-Sudoku-v0": {"size": 4, "max_steps": 4},
    "HRM-Maze-v0": {"size": 9, "recipe": "tree", "max_steps": 4},
    "HRM-SudokuEdit-v0": {"size": 4, "max_steps": 4},
    "HRM-MazeWalk-v0": {"size": 7, "max_steps": 4},
}


def play(env: gym.Env[Any, Any]) -> int:
    """One episode of random actions; its steps."""
    env.action_space.seed(0)
    env.reset(seed=0)
    steps, over = 0, False
    while not over:
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        steps, over = steps + 1, terminated or truncated
    return steps


@pytest.mark.parametrize("name", SETTINGS)
def test_record_video_writes_a_film(name: str, tmp_path: Path) -> None:
    pytest.importorskip("moviepy")
    env = RecordVideo(gym.make(name, render_mode="rgb_array", **SETTINGS[name]), str(tmp_path / "films"))
    assert play(env) > 0
    env.close()
    (film,) = (tmp_path / "films").glob("*.mp4")
    assert film.stat().st_size > 1000


@pytest.mark.parametrize("name", SETTINGS)
def test_human_rendering_shows_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    env = HumanRendering(gym.make(name, render_mode="rgb_array", **SETTINGS[name]))
    env.env.unwrapped.metadata = env.env.unwrapped.metadata | {"render_fps": 1000}
    env.metadata = env.metadata | {"render_fps": 1000}  # no waiting between frames
    assert play(env) > 0
    env.close()
