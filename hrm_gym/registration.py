"""The environments by name. Entry points are strings: registering loads neither numba, torch nor pygame.

A version number rises when the same id, seed and actions would give different results.
"""

from __future__ import annotations

import gymnasium

# id, entry point, vector entry point. Size, difficulty, source and so on are keyword arguments of the class, whose docstring is
# the manual. No max_episode_steps: the step limit is the argument `max_steps`, since the agent sees how many steps are left.
ENVIRONMENTS: tuple[tuple[str, str, str], ...] = (
    # 9 x 9, generated, hard
    ("HRM-Sudoku-v0", "hrm_gym.envs.sudoku.env:SudokuEnv", "hrm_gym.envs.vector_episode:SudokuVectorEnv"),
    # 30 x 30, generated
    ("HRM-Maze-v0", "hrm_gym.envs.maze.env:MazeEnv", "hrm_gym.envs.vector_episode:MazeVectorEnv"),
    # ARC-AGI-1, training tasks, two attempts
    ("HRM-ARC-v0", "hrm_gym.envs.arc.env:ArcEnv", "hrm_gym.envs.vector_episode:ArcVectorEnv"),
    # one cell at a time: 9 x 9, generated, easy
    ("HRM-SudokuEdit-v0", "hrm_gym.envs.sudoku.edit:SudokuEditEnv", "hrm_gym.envs.vector_edit:SudokuEditVectorEnv"),
    # one move at a time: 10 x 10, generated
    ("HRM-MazeWalk-v0", "hrm_gym.envs.maze.walk:MazeWalkEnv", "hrm_gym.envs.vector_edit:MazeWalkVectorEnv"),
    # one operation at a time: ARC-AGI-1, training tasks, two attempts
    ("HRM-ARCEdit-v0", "hrm_gym.envs.arc.edit:ArcEditEnv", "hrm_gym.envs.vector_edit:ArcEditVectorEnv"),
    # only when to halt: the pretrained network of 4 x 4 Sudoku thinks
    ("HRM-Halt-v0", "hrm_gym.agents.halt_env:HaltEnv", "hrm_gym.agents.halt_env:HaltVectorEnv"),
)


def register_environments() -> None:
    """Tells Gymnasium of every environment above; those that are known already are left as they are."""
    for name, entry_point, vector_entry_point in ENVIRONMENTS:
        if name not in gymnasium.registry:
            gymnasium.register(id=name, entry_point=entry_point, vector_entry_point=vector_entry_point)
