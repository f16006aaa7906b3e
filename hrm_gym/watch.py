"""Watching an agent solve a puzzle: in a window, or as a film."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from hrm_gym.agents.agent import HRMAgent
from hrm_gym.agents.written_out import WrittenOutAgent
from hrm_gym.envs import drawing
from hrm_gym.envs.episode import PuzzleEnv
from hrm_gym.envs.errors import ConfigError
from hrm_gym.envs.film import write_gif
from hrm_gym.envs.window import Window, has_display
from hrm_gym.train.config import TrainConfig

ENVIRONMENT_OF_FAMILY = {"sudoku": "HRM-Sudoku-v0", "maze": "HRM-Maze-v0", "arc": "HRM-ARC-v0"}


def puzzle_settings(agent: HRMAgent | WrittenOutAgent) -> dict[str, Any]:
    """The settings, as in `gymnasium.make`, of the puzzles that `agent` was trained for, on the test split."""
    trained = agent.description.get("trained", {}).get("config")
    puzzles: dict[str, Any] = dict(TrainConfig.from_dict(trained).puzzles) if trained else {}
    if not trained:
        puzzles = {"max_size" if agent.family.name == "arc" else "size": agent.family.shape[0]}
    if agent.family.name != "arc":
        puzzles["split"] = "test" if puzzles.get("source", "generate") == "generate" else "all"
    return puzzles


def environment_of(agent: HRMAgent | WrittenOutAgent, **settings: Any) -> PuzzleEnv:
    """The environment of the puzzles that `agent` was trained for, on the test split; `settings` as in `gymnasium.make`."""
    settings = {**puzzle_settings(agent), "max_steps": agent.max_steps, **settings}
    env = gymnasium.make(ENVIRONMENT_OF_FAMILY[agent.family.name], **settings).unwrapped
    assert isinstance(env, PuzzleEnv)
    return env


def play_episode(
    agent: HRMAgent, env: PuzzleEnv, puzzle: Any = None, seed: int | None = None
) -> tuple[list[np.ndarray], dict[str, Any]]:
    """One episode: its frames, uint8[h, w, 3], from the bare question to the verdict, and the last info.

    Args:
        puzzle: as in `reset(options={"puzzle": ...})`; None: one of the environment's own.
        seed: of the environment; None: its generator goes on.
    """
    observation, info = env.reset(seed=seed, options=None if puzzle is None else {"puzzle": puzzle})
    frames = [drawing.draw(env.scene())]
    state, over = None, False
    while not over:
        action, state = agent.predict(observation, state)
        assert state.values is not None
        env.note_values(*state.values[0])
        observation, _, terminated, truncated, info = env.step(action)
        over = terminated or truncated
        frames.append(drawing.draw(env.scene()))
    return frames, info


def film_episodes(
    agent: HRMAgent, path: str | Path, puzzle: Any = None, seed: int = 0, episodes: int = 1, fps: float = 2
) -> list[dict[str, Any]]:
    """Write a GIF of `episodes` puzzles being solved, one after the other; the last info of each."""
    env = environment_of(agent)
    frames: list[np.ndarray] = []
    infos = []
    for episode in range(episodes):
        shown, info = play_episode(agent, env, puzzle, seed if episode == 0 else None)
        frames += shown + [shown[-1]] * int(fps * 2 * (episode < episodes - 1))  # two seconds of verdict between two puzzles
        infos.append(info)
    write_gif(path, frames, fps)
    return infos


def watch_in_window(agent: HRMAgent, puzzle: Any = None, seed: int = 0, episodes: int = 0, fps: float = 2) -> None:
    """Show puzzle after puzzle in a window until it is closed.

    Args:
        puzzle: one to show again and again; None: the environment's own, one after the other.
        episodes: stop after so many; 0: go on until the window is closed.

    Raises:
        ConfigError: this machine has no display.
    """
    if not has_display():
        raise ConfigError("there is no display on this machine; write a film instead, with --gif out.gif")
    env = environment_of(agent)
    shown = 0
    with Window() as window:
        while not window.closed and (episodes == 0 or shown < episodes):
            frames, _ = play_episode(agent, env, puzzle, seed if shown == 0 else None)
            shown += 1
            for frame in frames + [frames[-1]] * int(2 * fps):
                window.show(frame)
                time.sleep(1 / fps)
                if window.closed:
                    break
