"""Gymnasium's own wrappers for pictures work on every environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import HumanRendering, RecordVideo

import hrm_gym  # noqa: F401  (registers the environments)
from hrm_gym.registration import ENVIRONMENTS

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


@pytest.mark.parametrize("name", [name for name, *_ in ENVIRONMENTS])
def test_human_rendering_shows_what_rgb_array_returns(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pygame = pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    settings: dict[str, Any] = {"max_size": 6} if "ARC" in name else SETTINGS.get(name, {})
    env = gym.make(name, render_mode="rgb_array", **settings)
    shown = HumanRendering(env)
    shown.reset(seed=3)
    shown.step(shown.action_space.sample())
    picture = env.render()
    assert isinstance(picture, np.ndarray)
    assert (np.asarray(pygame.surfarray.array3d(shown.window)).transpose(1, 0, 2) == picture).all()
    shown.close()
