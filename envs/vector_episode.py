"""The episode with draft and halt for N environments at once: `gymnasium.make_vec("HRM-Sudoku-v0", num_envs=N)` and its like.

Environment i of a vector environment seeded s plays exactly the episodes of a single environment seeded s + i; rules, spaces,
rewards and info are those of `hrm_gym.envs.episode.PuzzleEnv`, in the form of Gymnasium's vector environments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.vector import AutoresetMode

from hrm_gym.envs.episode import (
    action_space,
    at_least_one,
    fact_spaces,
    observation_space,
    pack_actions,
    scene_of,
    unpack_actions,
)
from hrm_gym.envs.errors import ConfigError, PuzzleError
from hrm_gym.envs.family import Family
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.registry import arc, maze, sudoku
from hrm_gym.envs.sources import Source
from hrm_gym.envs.vector import BatchedVectorEnv, Infos

if TYPE_CHECKING:
    from hrm_gym.envs.drawing import Scene


class PuzzleVectorEnv(BatchedVectorEnv):
    """N puzzles at a time. The classes below choose family and source as the single environments do, argument by argument.

    Observations and actions are batched along the first axis: `question` and `draft` uint8[N, H, W], `step` int64[N], for ARC
    `demo_questions`, `demo_answers` uint8[N, D, H, W] and `task` int64[N]; actions integers [N, cells + 1], best uint8 (they
    need not be converted). `pack(drafts, halts)` and `unpack(actions)` convert.

    Args:
        num_envs: N, 1 or more.
        family: rules, values and shape of the puzzles.
        source: where the puzzles come from.
        max_steps, attempts, step_cost, reveal_answer: as for `hrm_gym.envs.episode.PuzzleEnv`.
        autoreset_mode, render_mode: as for `hrm_gym.envs.vector.BatchedVectorEnv`.

    Raises:
        ConfigError: a setting outside its range.
    """

    def __init__(
        self,
        num_envs: int,
        family: Family,
        source: Source,
        max_steps: int = 16,
        attempts: int = 1,
        step_cost: float = 0.0,
        reveal_answer: bool = False,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
    ) -> None:
        if not 0 <= step_cost < float("inf"):
            raise ConfigError(f"step_cost is {step_cost}; expected a number from 0 up")
        self.max_steps = at_least_one("max_steps", max_steps)
        self.attempts = at_least_one("attempts", attempts)
        self.step_cost = float(step_cost)
        self.reveal_answer = bool(reveal_answer)
        single_observations = observation_space(family, source, self.max_steps)
        super().__init__(num_envs, family, source, single_observations, action_space(family), autoreset_mode, render_mode)

        self._observed_facts = tuple(fact_spaces(family, source))
        self._drafts = np.zeros((self.num_envs, *family.shape), np.uint8)
        self._previous: np.ndarray | None = None  # the drafts one step earlier, for pictures only
        self._step_counts = np.zeros(self.num_envs, np.int64)
        self._attempts_left = np.zeros(self.num_envs, np.int64)
        self._halted = np.zeros(self.num_envs, dtype=bool)  # at the last step
        self._verified = np.zeros(self.num_envs, dtype=bool)
        self._over = np.zeros(self.num_envs, dtype=bool)

    # -- the episode -------------------------------------------------------------------------------------------------

    def _begin(self, rows: np.ndarray, puzzles: Puzzles) -> None:
        self._drafts[rows] = puzzles.questions
        if self._previous is not None:
            self._previous[rows] = puzzles.questions
        self._step_counts[rows] = 0
        self._attempts_left[rows] = self.attempts
        self._halted[rows] = False
        self._verified[rows] = False
        self._over[rows] = False

    def _advance(self, actions: Any, playing: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        drafts, halts = self._unpack(actions, playing)
        if self.render_mode is not None:
            self._previous = self._drafts
        self._drafts = drafts
        self._step_counts += 1  # where an episode is over it begins anew within this step
        self._halted = halts & playing
        self._verified = np.zeros(self.num_envs, dtype=bool)
        rows = np.flatnonzero(self._halted)
        if len(rows):
            verified = self.family.verify(self._without_demonstrations(rows), drafts[rows])
            self._verified[rows] = verified
            self._attempts_left[rows] -= ~verified
        terminated = self._verified | (self._attempts_left == 0)
        truncated = ~terminated & (self._step_counts >= self.max_steps)
        self._over = terminated | truncated
        return self._verified - self.step_cost, terminated, truncated

    def _unpack(self, actions: Any, playing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Drafts and halts of actions that are valid wherever an environment is playing."""
        try:
            actions = np.asarray(actions)
        except ValueError:  # rows of different lengths
            raise PuzzleError("actions are not an array; expected whole numbers, as pack() makes them") from None
        if actions.ndim != 2 or len(actions) != self.num_envs:
            raise PuzzleError(f"actions have shape {actions.shape}; expected ({self.num_envs}, {self.family.cells + 1})")
        try:
            return unpack_actions(self.family, actions)
        except PuzzleError:
            if playing.all() or not np.issubdtype(actions.dtype, np.integer):
                raise
        return unpack_actions(self.family, np.where(playing[:, None], actions, 0))

    def pack(self, drafts: Any, halts: Any) -> np.ndarray:
        """Drafts (integers [N, H, W]) and whether to halt ([N], 0 or 1) -> actions, int64[N, cells + 1].

        Raises:
            PuzzleError: the drafts' shape or values do not fit the family.
        """
        return pack_actions(self.family.check_grids(drafts, "draft"), np.asarray(halts, dtype=bool))

    def unpack(self, actions: Any) -> tuple[np.ndarray, np.ndarray]:
        """The inverse of `pack`: actions [N, cells + 1] -> the drafts, uint8[N, H, W], and which halt, bool[N].

        Raises:
            PuzzleError: wrong shape, dtype or value.
        """
        return unpack_actions(self.family, actions)

    # -- what the agents see -----------------------------------------------------------------------------------------

    def _observations(self, rows: np.ndarray | None) -> dict[str, np.ndarray]:
        assert self.puzzles is not None
        pick = slice(None) if rows is None else rows
        observations = {
            "question": self.puzzles.questions[pick],
            "draft": self._drafts[pick],
            "step": self._step_counts[pick],
        }
        for name in self._observed_facts:
            values = self.puzzles.facts[name][pick]
            observations[name] = values.astype(np.int64) if values.ndim == 1 else values
        if rows is None:  # a slice is a view
            observations = {name: values.copy() for name, values in observations.items()}
        return observations

    def _infos(self, rows: np.ndarray | None) -> Infos:
        assert self.puzzles is not None
        everyone = rows is None
        pick = np.arange(self.num_envs) if rows is None else rows
        ids: Any = self.puzzles.ids
        infos: Infos = {
            "verified": self._verified[pick],
            "attempts_left": self._attempts_left[pick],
            "puzzle_id": ids[pick],
        }
        # without rules the rating and the figures come from the answer: told at every step, they would lead to it
        if self.family.has_rules:
            puzzles = self.puzzles if everyone else self._without_demonstrations(pick)
            infos |= self._judged(puzzles, self._drafts if everyone else self._drafts[pick])
        else:
            halted = self._halted[pick]
            told = pick[halted]
            if len(told):
                for key, values in self._judged(self._without_demonstrations(told), self._drafts[told]).items():
                    infos[key] = np.zeros(len(pick), values.dtype)
                    infos[key][halted] = values
                    infos["_" + key] = halted.copy()
        if self.reveal_answer:
            over = self._over[pick]
            if over.any():
                infos["answer"] = np.where(over[:, None, None], self.puzzles.answers[pick], np.uint8(0))
                infos["_answer"] = over
        return infos

    def _judged(self, puzzles: Puzzles, drafts: np.ndarray) -> Infos:
        """The rating and the family's figures, as int64, float64 or bool."""
        infos: Infos = {"rating": puzzles.ratings.astype(np.float64)}
        for key, values in self.family.figures(puzzles, drafts).items():
            kind = {"i": np.int64, "u": np.int64, "f": np.float64}.get(values.dtype.kind, values.dtype.type)
            infos[key] = values.astype(kind)
        return infos

    def _without_demonstrations(self, rows: np.ndarray) -> Puzzles:
        """The puzzles of `rows` for the rules, which have no use for what only the agent looks at: 18 KB a puzzle in ARC."""
        assert self.puzzles is not None
        everything = self.puzzles
        facts = {name: values[rows] for name, values in everything.facts.items() if values.ndim == 1}
        ids: Any = everything.ids
        return Puzzles(everything.questions[rows], everything.answers[rows], ids[rows], everything.ratings[rows], facts)

    # -- the picture -------------------------------------------------------------------------------------------------

    def _scene(self, row: int) -> Scene:
        assert self.puzzles is not None
        verdict = None
        if self._halted[row]:
            verdict = "verified" if self._verified[row] else "wrong"
        elif self._over[row]:
            verdict = "out of steps"
        return scene_of(
            self.family,
            self.puzzles.take([row]),
            self._drafts[row],
            verdict,
            previous=None if self._previous is None or self._step_counts[row] == 0 else self._previous[row],
            step=int(self._step_counts[row]),
            max_steps=self.max_steps,
            attempts_left=int(self._attempts_left[row]),
        )


# -- the ids -----------------------------------------------------------------------------------------------------------------


class SudokuVectorEnv(PuzzleVectorEnv):
    """`HRM-Sudoku-v0`, N at a time: the arguments of `hrm_gym.envs.sudoku.env.SudokuEnv`, `num_envs` and `autoreset_mode`."""

    def __init__(
        self,
        num_envs: int = 1,
        size: int = 9,
        source: str = "generate",
        difficulty: str = "hard",
        split: str = "all",
        max_steps: int = 16,
        attempts: int = 1,
        step_cost: float = 0.0,
        reveal_answer: bool = False,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ) -> None:
        family, puzzles = sudoku(size, source, difficulty, split)
        super().__init__(num_envs, family, puzzles, max_steps, attempts, step_cost, reveal_answer, autoreset_mode, render_mode)


class MazeVectorEnv(PuzzleVectorEnv):
    """`HRM-Maze-v0`, N at a time: the arguments of `hrm_gym.envs.maze.env.MazeEnv`, `num_envs` and `autoreset_mode`."""

    def __init__(
        self,
        num_envs: int = 1,
        size: int = 30,
        source: str = "generate",
        recipe: str = "walls",
        min_path: int | None = None,
        split: str = "all",
        max_steps: int = 16,
        attempts: int = 1,
        step_cost: float = 0.0,
        reveal_answer: bool = False,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ) -> None:
        family, puzzles = maze(size, source, recipe, min_path, split)
        super().__init__(num_envs, family, puzzles, max_steps, attempts, step_cost, reveal_answer, autoreset_mode, render_mode)


class ArcVectorEnv(PuzzleVectorEnv):
    """`HRM-ARC-v0`, N at a time: the arguments of `hrm_gym.envs.arc.env.ArcEnv`, `num_envs` and `autoreset_mode`.

    An ARC observation is mostly demonstrations, about 18 KB an environment on the full canvas; they are copied at each step.
    """

    def __init__(
        self,
        num_envs: int = 1,
        dataset: str = "arc-agi-1",
        split: str = "training",
        max_size: int = 30,
        task_ids: Sequence[str] | None = None,
        max_steps: int = 16,
        attempts: int = 2,
        step_cost: float = 0.0,
        reveal_answer: bool = False,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ) -> None:
        family, puzzles = arc(dataset, split, max_size, task_ids)
        super().__init__(num_envs, family, puzzles, max_steps, attempts, step_cost, reveal_answer, autoreset_mode, render_mode)
