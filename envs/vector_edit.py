"""The environments one cell at a time, N at once: `gymnasium.make_vec("HRM-SudokuEdit-v0", num_envs=N)` and its like.

Environment i of a vector environment seeded s plays exactly the episodes of a single environment seeded s + i: both run the
same boards (`hrm_gym.envs.edit.Boards`), there one, here N.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.vector import AutoresetMode

from hrm_gym.envs.arc.edit import arc_boards
from hrm_gym.envs.edit import Boards
from hrm_gym.envs.maze.walk import maze_boards
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.sources import Source
from hrm_gym.envs.sudoku.edit import sudoku_boards
from hrm_gym.envs.vector import BatchedVectorEnv, Infos

if TYPE_CHECKING:
    from hrm_gym.envs.drawing import Scene


class EditVectorEnv(BatchedVectorEnv):
    """N boards at a time. The classes below choose them as the single environments do, argument by argument.

    Args:
        boards: N boards, with their rules and settings.
        source: where the puzzles come from.
        autoreset_mode, render_mode: as for `hrm_gym.envs.vector.BatchedVectorEnv`.

    Raises:
        ConfigError: a setting outside its range.
    """

    def __init__(self, boards: Boards, source: Source, autoreset_mode: AutoresetMode | str, render_mode: str | None) -> None:
        observations, actions = boards.single_observation_space, boards.single_action_space
        super().__init__(boards.count, boards.family, source, observations, actions, autoreset_mode, render_mode)
        self.boards = boards
        self._previous: np.ndarray | None = None  # the drafts one step earlier, for the picture

    def _begin(self, rows: np.ndarray, puzzles: Puzzles) -> None:
        assert self.puzzles is not None
        self.boards.begin(rows, self.puzzles)
        if self._previous is not None:
            self._previous[rows] = self.boards.drafts[rows]

    def _advance(self, actions: Any, playing: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        boards = self.boards
        before = None if self.render_mode is None else boards.drafts.copy()
        boards.step(actions, playing)
        self._previous = before
        return boards.rewards.copy(), boards.terminated.copy(), boards.truncated.copy()

    @property
    def max_steps(self) -> int:
        """The steps after which an episode is truncated."""
        return self.boards.max_steps

    def action_masks(self) -> np.ndarray:
        """The actions worth taking now, bool[N, A], as sb3-contrib's MaskablePPO asks for it."""
        return self.boards.masks.copy()

    def _observations(self, rows: np.ndarray | None) -> dict[str, np.ndarray]:
        return {name: _copied(values, rows) for name, values in self.boards.observations().items()}

    def _infos(self, rows: np.ndarray | None) -> Infos:
        assert self.puzzles is not None
        infos: Infos = {"puzzle_id": _copied(np.asarray(self.puzzles.ids), rows)}
        for name, (values, always) in self.boards.infos().items():
            infos[name] = _copied(values, rows)
            if not always:
                told = _copied(self.boards.submitted, rows)
                infos["_" + name] = told
                infos[name][~told] = 0
        return infos

    def _scene(self, row: int) -> Scene:
        started = self.boards.steps[row] > 0
        return self.boards.scene(row, self._previous[row] if self._previous is not None and started else None)


def _copied(values: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
    """New arrays of all rows or of some, in the dtypes of Gymnasium's vector environments: int64 and float64 for numbers."""
    picked = values.copy() if rows is None else values[rows]
    if values.ndim == 1 and values.dtype.kind in "iuf":
        return picked.astype(np.float64 if values.dtype.kind == "f" else np.int64, copy=False)
    return picked


class SudokuEditVectorEnv(EditVectorEnv):
    """`HRM-SudokuEdit-v0`, N at a time: the arguments of `hrm_gym.envs.sudoku.edit.SudokuEditEnv`, `num_envs` and
    `autoreset_mode`."""

    def __init__(
        self,
        num_envs: int = 1,
        size: int = 9,
        source: str = "generate",
        difficulty: str = "easy",
        split: str = "all",
        blanks: int | None = None,
        max_steps: int | None = None,
        attempts: int = 1,
        step_cost: float = 0.0,
        reward: str = "verified",
        mask: str = "legal",
        auto_submit: bool = False,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ) -> None:
        boards, puzzles = sudoku_boards(
            num_envs, size, source, difficulty, split, blanks, max_steps, attempts, step_cost, reward, mask, auto_submit
        )
        super().__init__(boards, puzzles, autoreset_mode, render_mode)


class MazeWalkVectorEnv(EditVectorEnv):
    """`HRM-MazeWalk-v0`, N at a time: the arguments of `hrm_gym.envs.maze.walk.MazeWalkEnv`, `num_envs` and `autoreset_mode`."""

    def __init__(
        self,
        num_envs: int = 1,
        size: int = 10,
        source: str = "generate",
        recipe: str = "tree",
        min_path: int | None = None,
        split: str = "all",
        max_steps: int | None = None,
        step_cost: float = 0.0,
        reward: str = "goal",
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ) -> None:
        boards, puzzles = maze_boards(num_envs, size, source, recipe, min_path, split, max_steps, step_cost, reward)
        super().__init__(boards, puzzles, autoreset_mode, render_mode)


class ArcEditVectorEnv(EditVectorEnv):
    """`HRM-ARCEdit-v0`, N at a time: the arguments of `hrm_gym.envs.arc.edit.ArcEditEnv`, `num_envs` and `autoreset_mode`.

    An ARC observation is mostly demonstrations, about 18 KB an environment on the full canvas; they are copied at each step.
    """

    def __init__(
        self,
        num_envs: int = 1,
        dataset: str = "arc-agi-1",
        split: str = "training",
        max_size: int = 30,
        task_ids: Sequence[str] | None = None,
        max_steps: int | None = None,
        attempts: int = 2,
        step_cost: float = 0.0,
        reward: str = "verified",
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ) -> None:
        boards, puzzles = arc_boards(num_envs, dataset, split, max_size, task_ids, max_steps, attempts, step_cost, reward)
        super().__init__(boards, puzzles, autoreset_mode, render_mode)
