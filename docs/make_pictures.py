"""Draws the pictures of the gallery: python docs/make_pictures.py"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from PIL import Image

import hrm_gym  # noqa: F401  (registers the environments)

PICTURES = Path(__file__).parent / "pictures"
COLOURS = 64
GALLERY: dict[str, tuple[str, dict[str, Any]]] = {
    "sudoku-9x9": ("HRM-Sudoku-v0", {"difficulty": "medium"}),
    "sudoku-16x16": ("HRM-Sudoku-v0", {"size": 16, "difficulty": "easy"}),
    "maze-30x30": ("HRM-Maze-v0", {}),
    "arc": ("HRM-ARC-v0", {"max_size": 10}),
    "sudoku-edit": ("HRM-SudokuEdit-v0", {"size": 9}),
    "maze-walk": ("HRM-MazeWalk-v0", {}),
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
    else:
        inner.note_values(0.31, 0.94)
        env.step(inner.pack(half_right(inner, np.random.default_rng(seed)), halt=False))
    frame = env.render()
    env.close()
    return np.asarray(frame)


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    for title, (name, settings) in GALLERY.items():
        image = Image.fromarray(picture(name, settings, seed=3)).quantize(COLOURS, dither=Image.Dither.NONE)
        path = PICTURES / f"{title}.png"
        image.save(path, optimize=True)
        print(f"{path.name}: {image.size[0]} x {image.size[1]}, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
