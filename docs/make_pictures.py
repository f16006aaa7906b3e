"""Draws the pictures of the gallery: python docs/make_pictures.py"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from PIL import Image

import hrm_gym  # noqa: F401  (registers the environments)
from hrm_gym.play import View, open_game

PICTURES = Path(__file__).parent / "pictures"
COLOURS = 256  # fewer would shift the colours of the bars
GALLERY: dict[str, tuple[str, dict[str, Any]]] = {
    "sudoku-4x4": ("HRM-Sudoku-v0", {"size": 4}),
    "sudoku-9x9": ("HRM-Sudoku-v0", {"difficulty": "medium"}),
    "sudoku-16x16": ("HRM-Sudoku-v0", {"size": 16, "difficulty": "easy"}),
    "maze-9x9": ("HRM-Maze-v0", {"size": 9, "recipe": "braid"}),
    "maze-30x30": ("HRM-Maze-v0", {}),
    "arc": ("HRM-ARC-v0", {"max_size": 10}),
    "sudoku-edit": ("HRM-SudokuEdit-v0", {"size": 9}),
    "maze-walk": ("HRM-MazeWalk-v0", {}),
    "arc-edit": ("HRM-ARCEdit-v0", {"max_size": 10}),
    "halt": ("HRM-Halt-v0", {}),
}


def half_right(env: Any, random: np.random.Generator) -> np.ndarray:
    """The answer with a few cells taken back and a few of them wrong: a draft in the middle of thinking."""
    puzzle = env.puzzle
    draft = puzzle.answers[0].copy()
    open_cells = np.argwhere(puzzle.questions[0] != puzzle.answers[0])
    random.shuffle(open_cells)
    for row, column in open_cells[: len(open_cells) // 3]:
        draft[row, column] = puzzle.questions[0][row, column]
    if env.family.name == "sudoku":
        for row, column in open_cells[-3:]:
            draft[row, column] = draft[row, column] % env.family.shape[0] + 1
    return draft


def picture(name: str, settings: dict[str, Any], seed: int) -> np.ndarray:
    """One environment after a few actions."""
    env = gym.make(name, render_mode="rgb_array", **settings)
    env.reset(seed=seed)
    inner: Any = env.unwrapped
    if hasattr(inner, "solution"):  # one cell at a time: the first half of a solution
        actions = inner.solution()
        for action in actions[: len(actions) // 2]:
            env.step(action)
    elif name == "HRM-Halt-v0":
        for _ in range(2):
            env.step(0)
    else:
        inner.note_values(0.31, 0.94)
        env.step(inner.pack(half_right(inner, np.random.default_rng(seed)), halt=False))
    frame = env.render()
    env.close()
    return np.asarray(frame)


def played() -> np.ndarray:
    """The player's window after a few digits, a hint and a look at what breaks a rule."""
    game = open_game("HRM-Sudoku-v0", difficulty="easy", seed=3)
    for _ in range(8):
        game.hint()
    for key in ("down", "5", "down", "7", "right", "7", "tab"):
        game.press(key)
    return View(game).frame()


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    pictures = {title: picture(name, settings, seed=3) for title, (name, settings) in GALLERY.items()}
    for title, frame in {**pictures, "play": played()}.items():
        image = Image.fromarray(frame).quantize(COLOURS, dither=Image.Dither.NONE)
        path = PICTURES / f"{title}.png"
        image.save(path, optimize=True)
        print(f"{path.name}: {image.size[0]} x {image.size[1]}, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
