"""Environments one cell at a time, written once for all families: a step changes a little of the draft, or hands it in.

`Boards` plays many puzzles at once, arrays in and arrays out: a family brings its moves, its action masks and what else is to
be seen, in `hrm_gym.envs.sudoku.edit`, `hrm_gym.envs.maze.walk` and `hrm_gym.envs.arc.edit`. `EditEnv` is the Gymnasium
environment around one board, `hrm_gym.envs.vector_edit` the vector environment around many: both run the same compiled moves.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numba import njit

from hrm_gym.envs.episode import BasePuzzleEnv, at_least_one, fact_spaces, observation_space, scene_of
from hrm_gym.envs.errors import ConfigError, PuzzleError
from hrm_gym.envs.family import Family
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.sources import Source

if TYPE_CHECKING:
    from hrm_gym.envs.drawing import Scene


@njit(cache=True, nogil=True)
def _settle(
    active: np.ndarray,
    submitted: np.ndarray,
    verified: np.ndarray,
    rewards: np.ndarray,
    steps: np.ndarray,
    attempts_left: np.ndarray,
    terminated: np.ndarray,
    truncated: np.ndarray,
    max_steps: int,
    step_cost: float,
) -> None:
    """What follows from the moves: steps and attempts are counted, episodes end, the step is paid for."""
    for i in range(len(active)):
        terminated[i] = truncated[i] = False
        if not active[i]:
            continue
        steps[i] += 1
        if submitted[i]:
            attempts_left[i] -= not verified[i]
            terminated[i] = verified[i] or attempts_left[i] == 0
        truncated[i] = not terminated[i] and steps[i] >= max_steps
        rewards[i] -= step_cost


class Boards(ABC):
    """`count` puzzles of one family, each being edited; a single environment is `count` 1.

    A subclass adds arrays of its own, sets `single_action_space` and `masks`, and fills in `_begin`, `_move` and `figures`.

    Args:
        family: rules, values and shape of the puzzles.
        source: where the puzzles come from; looked at for the facts that an agent sees.
        count: number of boards, N.
        max_steps: an episode is truncated after this many steps (1 or more).
        attempts: how many submitted drafts are judged before an episode ends (1 or more).
        step_cost: taken from the reward at every step (0 or more).

    Attributes:
        single_observation_space, single_action_space: the spaces of one board.
        puzzles: the N puzzles being played; None before `begin`.
        drafts: uint8[N, H, W].
        steps, attempts_left: int64[N].
        masks: bool[N, A], the actions worth taking; for a MultiDiscrete action its parts one behind the other.
        submitted: bool[N], whether the last step handed the draft in.
        verified: bool[N], whether it was right.
        rewards: float64[N], terminated, truncated: bool[N], of the last step.

    Raises:
        ConfigError: a setting outside its range.
    """

    single_action_space: spaces.Space[Any]
    masks: np.ndarray
    _other_verdict = "wrong"  # what the picture calls a submission that is not verified

    def __init__(
        self, family: Family, source: Source, count: int, max_steps: int, attempts: int = 1, step_cost: float = 0.0
    ) -> None:
        if not 0 <= step_cost < float("inf"):
            raise ConfigError(f"step_cost is {step_cost}; expected a number from 0 up")
        self.family = family
        self.count = count = at_least_one("num_envs", count)
        self.max_steps = at_least_one("max_steps", max_steps)
        self.attempts = at_least_one("attempts", attempts)
        self.step_cost = float(step_cost)
        self.puzzles: Puzzles | None = None
        self.questions = np.zeros((0, *family.shape), np.uint8)
        self.drafts = np.zeros((count, *family.shape), np.uint8)
        self.steps = np.zeros(count, np.int64)
        self.attempts_left = np.zeros(count, np.int64)
        self.submitted, self.verified, self.terminated, self.truncated = np.zeros((4, count), bool)
        self.rewards = np.zeros(count, np.float64)
        self.single_observation_space = observation_space(family, source, self.max_steps)
        self._facts = tuple(fact_spaces(family, source))

    # -- what a family brings ----------------------------------------------------------------------------------------

    @abstractmethod
    def _begin(self, rows: np.ndarray) -> None:
        """Sets the family's own arrays at `rows`; puzzles, drafts (the questions) and the counters are set already."""

    @abstractmethod
    def _move(self, actions: np.ndarray, active: np.ndarray) -> int:
        """Carries out `actions` on the active boards; sets `submitted`, `verified` and `rewards` (before the step's cost), on
        inactive boards to False and 0. Returns -1, or the row of the first action out of range and then changes nothing."""

    @abstractmethod
    def figures(self) -> dict[str, tuple[np.ndarray, bool]]:
        """The family's figures for `info`: name -> (array [N], whether it is told at every step or, False, only of boards that
        have just been submitted)."""

    @abstractmethod
    def solution(self, row: int) -> np.ndarray:
        """Actions that solve board `row` from where it stands, int64[M] or int64[M, parts of an action]; for teachers and tests."""

    @abstractmethod
    def cursor(self, row: int) -> tuple[int, int] | None:
        """The (row, column) of the cell that the last step was about, or None."""

    def extras(self) -> dict[str, np.ndarray]:
        """What is observed beside question, draft, step and the puzzle's facts: name -> array [N, ...] in place."""
        return {}

    # -- playing -----------------------------------------------------------------------------------------------------

    def begin(self, rows: np.ndarray, puzzles: Puzzles) -> None:
        """Starts an episode on each of the boards `rows`.

        Args:
            rows: int64[K], different boards.
            puzzles: the puzzles of all N boards, new ones at `rows`. They are kept, not copied, until the next call.
        """
        self.puzzles = puzzles
        self.questions = np.ascontiguousarray(puzzles.questions)
        self.drafts[rows] = self.questions[rows]
        self.steps[rows] = 0
        self.attempts_left[rows] = self.attempts
        for flags in (self.submitted, self.verified, self.truncated):
            flags[rows] = False
        self._begin(rows)

    def step(self, actions: Any, active: np.ndarray) -> None:
        """One step on every active board; the results are in the attributes.

        Args:
            actions: integers [N] or [N, parts]; those of inactive boards are not looked at.
            active: bool[N].

        Raises:
            PuzzleError: an action of a wrong shape, dtype or value. The boards are left as they were.
        """
        shape = (self.count, *(self.single_action_space.shape or ()))
        try:
            array = np.asarray(actions)
        except ValueError:  # rows of different lengths
            raise PuzzleError(f"action is not an array; expected whole numbers of {self.single_action_space}") from None
        if array.shape != shape or array.dtype.kind not in "iu":
            raise PuzzleError(
                f"action is {array.dtype}{list(array.shape[1:])}; expected whole numbers of {self.single_action_space}"
            )
        bad = self._move(np.ascontiguousarray(array, np.int64), active)
        if bad >= 0:
            raise PuzzleError(f"action is {array[bad].tolist()}; expected one of {self.single_action_space}")
        _settle(
            active,
            self.submitted,
            self.verified,
            self.rewards,
            self.steps,
            self.attempts_left,
            self.terminated,
            self.truncated,
            self.max_steps,
            self.step_cost,
        )

    def observations(self) -> dict[str, np.ndarray]:
        """What the agents see: name -> array [N, ...]; these are the boards' own arrays: copy what is kept."""
        assert self.puzzles is not None
        facts = {name: self.puzzles.facts[name] for name in self._facts}
        return {"question": self.questions, "draft": self.drafts, "step": self.steps, **self.extras(), **facts}

    def infos(self) -> dict[str, tuple[np.ndarray, bool]]:
        """`info` but for the puzzle's id, in the form of `figures`; these are the boards' own arrays: copy what is kept."""
        assert self.puzzles is not None
        return {
            "verified": (self.verified, True),
            # without rules the rating comes from the answer, see hrm_gym.envs.episode
            "rating": (self.puzzles.ratings, self.family.has_rules),
            "action_mask": (self.masks, True),
            **self.figures(),
        }

    # -- the picture -------------------------------------------------------------------------------------------------

    def scene(self, row: int, previous: np.ndarray | None) -> Scene:
        """What the picture of board `row` shows; `previous` is the draft one step earlier, uint8[H, W]."""
        assert self.puzzles is not None
        verdict: str | None = None
        if self.submitted[row]:
            verdict = "verified" if self.verified[row] else self._other_verdict
        elif self.truncated[row]:
            verdict = "out of steps"
        return scene_of(
            self.family,
            self.puzzles.take([row]),
            self.drafts[row].copy(),
            verdict,
            previous=previous,
            step=int(self.steps[row]),
            max_steps=self.max_steps,
            attempts_left=int(self.attempts_left[row]),
            cursor=self.cursor(row),
        )


class EditEnv(BasePuzzleEnv):
    """One puzzle an episode, changed one action at a time. The subclasses are its manual, family by family.

    Args:
        boards: one board, with its rules and settings.
        source: where the puzzles come from.
        render_mode: None, "human", "rgb_array" or "ansi".

    Raises:
        ConfigError: an unknown render mode.
    """

    _active = np.ones(1, bool)
    _row = np.zeros(1, np.int64)

    def __init__(self, boards: Boards, source: Source, render_mode: str | None = None) -> None:
        super().__init__(boards.family, source, render_mode)
        self.boards = boards
        self.observation_space = boards.single_observation_space
        self.action_space = boards.single_action_space
        self._previous: np.ndarray | None = None  # the draft one step earlier, for the picture
        self._over = True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Starts an episode; the draft is the question itself.

        Args:
            seed: starts the environment's generator anew; each episode takes exactly one number from it.
            options: `{"puzzle": ...}` plays a puzzle of your own, and takes no number from the generator. It may be a grid
                (integers [H, W]), the grid's text, an index or an id of the source, or a `Puzzles` of length one.

        Raises:
            PuzzleError: the puzzle does not fit the family, has no or several solutions, or is not in the source.
            ConfigError: an unknown option.
        """
        puzzle = self._next_puzzle(seed, options)
        self._over = True  # should the boards refuse the puzzle
        self.boards.begin(self._row, puzzle)
        self.puzzle = puzzle
        self._previous = None
        self._over = False
        if self.render_mode == "human":
            self.render()
        return self._observation(), self._info()

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Carries out one action.

        Returns:
            Observation, reward (float), terminated (bool), truncated (bool), info.

        Raises:
            gymnasium.error.ResetNeeded: the episode is over, or none has begun.
            PuzzleError: the action has a wrong shape, dtype or value. The episode is left as it was.
        """
        if self._over:
            reason = "no episode has begun" if self.puzzle is None else "the episode is over"
            raise gymnasium.error.ResetNeeded(f"{reason}; call reset() before step()")
        boards = self.boards
        before = None if self.render_mode is None else boards.drafts[0].copy()
        boards.step((action,), self._active)
        self._previous = before
        terminated, truncated = bool(boards.terminated[0]), bool(boards.truncated[0])
        self._over = terminated or truncated
        if self.render_mode == "human":
            self.render()
        return self._observation(), float(boards.rewards[0]), terminated, truncated, self._info()

    @property
    def max_steps(self) -> int:
        """The steps after which an episode is truncated."""
        return self.boards.max_steps

    def action_masks(self) -> np.ndarray:
        """The actions worth taking now, bool[A], as sb3-contrib's MaskablePPO asks for it; at least one of each part is True."""
        return self.boards.masks[0].copy()

    def solution(self) -> np.ndarray:
        """Actions that solve the puzzle from where it stands, one a row; for teachers and tests, not for agents.

        Raises:
            gymnasium.error.ResetNeeded: no episode has begun.
        """
        if self.puzzle is None:
            raise gymnasium.error.ResetNeeded("no episode has begun; call reset() before solution()")
        return self.boards.solution(0)

    def scene(self) -> Scene:
        """What the picture shows now.

        Raises:
            gymnasium.error.ResetNeeded: no episode has begun.
        """
        if self.puzzle is None:
            raise gymnasium.error.ResetNeeded("no episode has begun; call reset() before render()")
        return self.boards.scene(0, self._previous)

    def _observation(self) -> dict[str, Any]:
        """New arrays every time: an observation that is kept never changes."""
        return {
            name: values[0].copy() if values.ndim > 1 else np.int64(values[0])
            for name, values in self.boards.observations().items()
        }

    def _info(self) -> dict[str, Any]:
        submitted = self.boards.submitted[0]
        info: dict[str, Any] = {"puzzle_id": self.boards.puzzles.ids[0]}  # type: ignore[union-attr]
        for name, (values, always) in self.boards.infos().items():
            if always or submitted:
                info[name] = values[0].copy() if values.ndim > 1 else values.item(0)
        return info


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """`value`; raises ConfigError unless it is one of `choices`."""
    if value not in choices:
        raise ConfigError(f"{name} is {value!r}; expected {', '.join(map(repr, choices[:-1]))} or {choices[-1]!r}")
    return str(value)
