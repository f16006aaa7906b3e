"""The environments by name. Entry points are strings: registering loads neither numba, torch nor pygame.

A version number rises when the same id, seed and actions would give different results.
"""

from __future__ import annotations

import gymnasium

# id, entry point. Size, difficulty, source and so on are keyword arguments of the class, whose docstring is the manual.
# No max_episode_steps: the step limit is the argument `max_steps`, since the agent sees how many steps are left.
ENVIRONMENTS: tuple[tuple[str, str], ...] = (
    ("HRM-Sudoku-v0", "hrm_gym.envs.sudoku.env:SudokuEnv"),  # 9 x 9, generated, hard
    ("HRM-Maze-v0", "hrm_gym.envs.maze.env:MazeEnv"),  # 30 x 30, generated
    ("HRM-ARC-v0", "hrm_gym.envs.arc.env:ArcEnv"),  # ARC-AGI-1, training tasks, two attempts
)


def register_environments() -> None:
    """Tells Gymnasium of every environment above; those that are known already are left as they are."""
    for name, entry_point in ENVIRONMENTS:
        if name not in gymnasium.registry:
            gymnasium.register(id=name, entry_point=entry_point)
