"""The episode, written once for all families: hand in a draft of the whole answer at every step, and say when to halt.

`PuzzleEnv` is the Gymnasium environment; `hrm_gym.envs.{sudoku,maze,arc}.env` only choose a family and a source for it. Which
puzzle is played and how it is shown is `BasePuzzleEnv`, which the environments one cell at a time (`hrm_gym.envs.edit`) share.
The functions before it (`observation_space`, `action_space`, `draw_seeds`, `pack_actions`, `unpack_actions`, `puzzle_from`,
`scene_of`) are shared with the vector environments, so that both play the same episode from the same seed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium import spaces

from hrm_gym.envs.errors import ConfigError, PuzzleError
from hrm_gym.envs.family import Family
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.sources import ListSource, Source

if TYPE_CHECKING:
    from hrm_gym.envs.drawing import Scene
    from hrm_gym.envs.window import Window

# Facts of a puzzle that an agent may see. Only ARC has them: its question means nothing without the demonstrations.
OBSERVED_FACTS = ("demo_questions", "demo_answers", "task")


# -- shared with the vector environment ------------------------------------------------------------------------------


def observation_space(family: Family, source: Source, max_steps: int) -> spaces.Dict:
    """The space of one observation: `question`, `draft`, `step`, and for ARC `demo_questions`, `demo_answers`, `task`.

    The ARC entries take their sizes from the source's puzzles: Box(0, V-1, (D, H, W), uint8) and Discrete(number of tasks).
    """
    parts: dict[str, spaces.Space[Any]] = {
        "question": _grid_space(family, family.shape),
        "draft": _grid_space(family, family.shape),
        "step": spaces.Discrete(max_steps + 1),
    }
    return spaces.Dict(parts | fact_spaces(family, source))


def fact_spaces(family: Family, source: Source) -> dict[str, spaces.Space[Any]]:
    """The part of the observation that is facts of the puzzle: for ARC `demo_questions`, `demo_answers` and `task`, else none."""
    facts = source.puzzles.facts if isinstance(source, ListSource) else {}
    found: dict[str, spaces.Space[Any]] = {}
    for name in OBSERVED_FACTS:
        if name in facts:
            values = facts[name]
            if values.ndim == 1:
                found[name] = spaces.Discrete(int(values.max()) + 1)
            else:
                found[name] = _grid_space(family, values.shape[1:])
    return found


def _grid_space(family: Family, shape: tuple[int, ...]) -> spaces.Box:
    return spaces.Box(0, family.values - 1, shape, np.uint8)


def action_space(family: Family) -> spaces.MultiDiscrete:
    """The space of one action, MultiDiscrete([V] * cells + [2]): the draft row by row, then halt (1) or continue (0)."""
    return spaces.MultiDiscrete([family.values] * family.cells + [2])


def draw_seeds(np_random: np.random.Generator) -> np.ndarray:
    """The one number, uint64[1], that an episode takes from its environment's generator; it decides the puzzle."""
    return np_random.integers(0, 2**64 - 1, size=1, dtype=np.uint64, endpoint=True)


def pack_actions(drafts: np.ndarray, halts: np.ndarray) -> np.ndarray:
    """Drafts (integers [N, H, W]) and halts ([N], 0 or 1) -> actions int64[N, cells + 1]."""
    flat = np.asarray(drafts).reshape(len(drafts), -1)
    return np.concatenate([flat, np.asarray(halts).reshape(-1, 1)], axis=1).astype(np.int64)


def unpack_actions(family: Family, actions: Any) -> tuple[np.ndarray, np.ndarray]:
    """Actions, integers [N, cells + 1], -> drafts uint8[N, H, W] and halts bool[N] (new arrays).

    Raises:
        PuzzleError: wrong shape, not whole numbers, or a value out of range; names the first bad one.
    """
    array = np.asarray(actions)
    width = family.cells + 1
    if array.ndim != 2 or array.shape[1] != width:
        raise PuzzleError(
            f"action has shape {array.shape[1:]}; expected ({width},): {family.cells} cells of the draft, then halt (see pack)"
        )
    if not np.issubdtype(array.dtype, np.integer):
        raise PuzzleError(f"action has dtype {array.dtype}; expected whole numbers, as pack() makes them")
    drafts, halts = array[:, :-1], array[:, -1]
    # seen as unsigned, a negative number is a large one: the usual case takes one pass over the actions, and that without gaps
    unsigned = array.view(array.dtype.str.replace("i", "u"))
    if array.size and unsigned.max() >= family.values and (drafts.min() < 0 or drafts.max() >= family.values):
        row, cell = np.argwhere((drafts < 0) | (drafts >= family.values))[0]
        raise PuzzleError(
            f"action has value {drafts[row, cell]} for the draft's cell {cell}; {family.name} takes 0..{family.values - 1}"
        )
    if array.size and (halts.min() < 0 or halts.max() > 1):
        bad = halts[(halts < 0) | (halts > 1)][0]
        raise PuzzleError(f"action ends with {bad}; expected 1 to halt or 0 to continue")
    return drafts.astype(np.uint8).reshape(-1, *family.shape), halts == 1


def puzzle_from(given: Any, family: Family, source: Source, observed: Mapping[str, spaces.Space[Any]]) -> Puzzles:
    """The puzzle that a user names or gives in `reset(options={"puzzle": given})`, as a batch of one.

    Args:
        given: a grid (integers [H, W]), the grid's text, an index or id of the source, or a `Puzzles` of length one.
        observed: the facts that the puzzle must have, and their spaces (see `fact_spaces`).

    Raises:
        PuzzleError: the puzzle does not fit the family, has no or several solutions, or is not in the source.
    """
    if isinstance(given, Puzzles):
        puzzle = given
    elif isinstance(given, str):
        puzzle = _puzzle_from_text(given, family, source)
    elif isinstance(given, (int, np.integer)) and not isinstance(given, bool):
        puzzle = source.find(int(given))
    else:
        puzzle = family.puzzles_from_questions(family.check_grids(given))
    if len(puzzle) != 1:
        raise PuzzleError(f"{len(puzzle)} puzzles were given; an episode plays one, so give one")
    family.check_grids(puzzle.questions)
    for name, space in observed.items():
        if name not in puzzle.facts:
            raise PuzzleError(f"the puzzle has no {name}, which a {family.name} puzzle needs; take one from the source")
        value = puzzle.facts[name][0]
        if not space.contains(value if value.ndim else np.int64(value)):
            raise PuzzleError(f"the puzzle's {name} does not fit this environment's {space}; take a puzzle from the source")
    return puzzle


def _puzzle_from_text(text: str, family: Family, source: Source) -> Puzzles:
    """A string is a grid if it reads as one, else an id."""
    try:
        grid = family.parse(text)
    except PuzzleError as not_a_grid:
        try:
            return source.find(text)
        except PuzzleError as not_an_id:
            short = text if len(text) <= 24 else text[:21] + "..."
            raise PuzzleError(f"{short!r} is neither a grid ({not_a_grid}) nor an id ({not_an_id})") from None
    return family.puzzles_from_questions(grid[None])


def scene_of(family: Family, puzzle: Puzzles, draft: np.ndarray, verdict: str | None, **shown: Any) -> Scene:
    """The picture of one moment of an episode.

    Args:
        puzzle: a batch of one.
        draft: uint8[H, W].
        verdict: None while thinking, else "verified", "wrong" or "out of steps".
        shown: the other attributes of `hrm_gym.envs.drawing.Scene`, such as `step`, `max_steps` and `attempts_left`.
    """
    from hrm_gym.envs.drawing import Scene  # here, so that training and evaluation never load the drawing

    # without rules a wrong cell is one that differs from the answer: not shown until the draft is judged
    judged = verdict in ("verified", "wrong")
    wrong = family.wrong_cells(puzzle, draft[None])[0] if family.has_rules or judged else None
    demonstrations: tuple[tuple[np.ndarray, np.ndarray], ...] = ()
    if "demo_questions" in puzzle.facts:
        count = int(puzzle.facts["demo_count"][0])
        pairs = zip(puzzle.facts["demo_questions"][0], puzzle.facts["demo_answers"][0], strict=True)
        demonstrations = tuple(pairs)[:count]
    return Scene(
        family=family,
        question=puzzle.questions[0],
        draft=draft,
        wrong=wrong,
        verdict=verdict,
        demonstrations=demonstrations,
        title=puzzle.ids[0],
        **shown,
    )


# -- the environment -------------------------------------------------------------------------------------------------


class BasePuzzleEnv(gymnasium.Env[dict[str, Any], Any], ABC):
    """One puzzle an episode: where it comes from and how it is shown. What a step does is up to the subclass.

    A subclass sets the spaces, begins its `reset` with `_next_puzzle`, and says in `scene` what is to be seen.

    Args:
        family: rules, values and shape of the puzzles.
        source: where the puzzles come from.
        render_mode: None, "human", "rgb_array" or "ansi".

    Attributes:
        puzzle: the puzzle being played, a batch of one with its answer: for solvers and teachers, not for agents.

    Raises:
        ConfigError: an unknown render mode.
    """

    metadata: dict[str, Any] = {"render_modes": ["human", "rgb_array", "ansi"], "render_fps": 4}  # noqa: RUF012 (as Gymnasium types it)

    def __init__(self, family: Family, source: Source, render_mode: str | None) -> None:
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ConfigError(f"render_mode is {render_mode!r}; expected None, 'human', 'rgb_array' or 'ansi'")
        self.family = family
        self.source = source
        self.render_mode = render_mode
        self.puzzle: Puzzles | None = None
        self._observed_facts = fact_spaces(family, source)
        self._window: Window | None = None

    def _next_puzzle(self, seed: int | None, options: dict[str, Any] | None) -> Puzzles:
        """The puzzle of the episode that begins, a batch of one; the arguments are those of `reset`.

        Raises:
            PuzzleError: the puzzle does not fit the family, has no or several solutions, or is not in the source.
            ConfigError: an unknown option.
        """
        super().reset(seed=seed)
        options = options or {}
        unknown = set(options) - {"puzzle"}
        if unknown:
            raise ConfigError(f"reset option {min(unknown, key=str)!r} is unknown; expected 'puzzle'")
        if options.get("puzzle") is None:
            return self.source.draw(draw_seeds(self.np_random))
        return puzzle_from(options["puzzle"], self.family, self.source, self._observed_facts)

    @abstractmethod
    def scene(self) -> Scene:
        """What the picture shows now.

        Raises:
            gymnasium.error.ResetNeeded: no episode has begun.
        """

    def render(self) -> Any:
        """The picture: uint8[h, w, 3] for "rgb_array", a string for "ansi", None for "human" (the window shows it).

        Raises:
            gymnasium.error.ResetNeeded: no episode has begun.
        """
        if self.render_mode is None:
            gymnasium.logger.warn(
                "render() was called without a render mode; give one to gymnasium.make, such as render_mode='rgb_array'."
            )
            return None
        from hrm_gym.envs import drawing  # here, so that training and evaluation never load the drawing

        scene = self.scene()
        if self.render_mode == "ansi":
            return drawing.text(scene)
        if self.render_mode == "rgb_array":
            return drawing.draw(scene)
        if self._window is None:
            from hrm_gym.envs.window import Window

            self._window = Window(fps=self.metadata["render_fps"])
        if not self._window.closed:  # once the user has closed the window the episode goes on unseen
            self._window.show(drawing.draw(scene))
        return None

    def close(self) -> None:
        """Closes the window, if there is one. May be called again."""
        if self._window is not None:
            self._window.close()
            self._window = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_window": None}  # a window belongs to its process; a copy opens its own


class PuzzleEnv(BasePuzzleEnv):
    """One puzzle an episode. The classes in `hrm_gym.envs.{sudoku,maze,arc}.env` are its manual, family by family.

    Args:
        family: rules, values and shape of the puzzles.
        source: where the puzzles come from.
        max_steps: the episode is truncated after this many steps (1 or more).
        attempts: how many halted drafts are judged before the episode ends (1 or more).
        step_cost: taken from the reward at every step (0 or more).
        reveal_answer: whether `info["answer"]` holds the stored answer, uint8[H, W], once the episode is over.
        render_mode: None, "human", "rgb_array" or "ansi".

    Attributes:
        puzzle: the puzzle being played, a batch of one with its answer: for solvers and teachers, not for agents.

    Raises:
        ConfigError: a setting outside its range.
    """

    def __init__(
        self,
        family: Family,
        source: Source,
        max_steps: int = 16,
        attempts: int = 1,
        step_cost: float = 0.0,
        reveal_answer: bool = False,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(family, source, render_mode)
        if not 0 <= step_cost < float("inf"):
            raise ConfigError(f"step_cost is {step_cost}; expected a number from 0 up")
        self.max_steps = at_least_one("max_steps", max_steps)
        self.attempts = at_least_one("attempts", attempts)
        self.step_cost = float(step_cost)
        self.reveal_answer = bool(reveal_answer)
        self.observation_space = observation_space(family, source, self.max_steps)
        self.action_space = action_space(family)

        self._draft = np.zeros(family.shape, np.uint8)
        self._previous: np.ndarray | None = None  # the draft one step earlier, for the picture
        self._step_count = 0
        self._attempts_left = 0
        self._over = True
        self._verdict: str | None = None
        self._noted: tuple[float | None, float | None] = (None, None)  # halt values of the step to come
        self._shown: tuple[float | None, float | None] = (None, None)  # halt values of the step in the picture

    # -- the episode -------------------------------------------------------------------------------------------------

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Starts an episode. Before the first step the draft is the question itself.

        Args:
            seed: starts the environment's generator anew; each episode takes exactly one number from it.
            options: `{"puzzle": ...}` plays a puzzle of your own, and takes no number from the generator. It may be a grid
                (integers [H, W]), the grid's text, an index or an id of the source, or a `Puzzles` of length one.

        Raises:
            PuzzleError: the puzzle does not fit the family, has no or several solutions, or is not in the source.
            ConfigError: an unknown option.
        """
        puzzle = self._next_puzzle(seed, options)
        self.puzzle = puzzle
        self._draft = puzzle.questions[0].copy()
        self._previous = None
        self._step_count = 0
        self._attempts_left = self.attempts
        self._over = False
        self._verdict = None
        self._noted = self._shown = (None, None)
        if self.render_mode == "human":
            self.render()
        return self._observation(puzzle), self._info(puzzle, halted=False, verified=False)

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Takes the draft; if the action halts, judges it.

        Args:
            action: integers [cells + 1], the draft row by row and then 1 to halt or 0 to continue (see `pack`).

        Returns:
            Observation, reward (float), terminated (bool), truncated (bool), info.

        Raises:
            gymnasium.error.ResetNeeded: the episode is over, or none has begun.
            PuzzleError: the action has a wrong shape, dtype or value. The episode is left as it was.
        """
        puzzle = self.puzzle
        if puzzle is None or self._over:
            reason = "no episode has begun" if puzzle is None else "the episode is over"
            raise gymnasium.error.ResetNeeded(f"{reason}; call reset() before step()")
        drafts, halts = unpack_actions(self.family, _as_batch(action))
        halted = bool(halts[0])

        self._previous, self._draft = self._draft, drafts[0]
        self._step_count += 1
        self._shown, self._noted = self._noted, (None, None)
        verified = halted and bool(self.family.verify(puzzle, drafts)[0])
        if halted and not verified:
            self._attempts_left -= 1
        terminated = verified or self._attempts_left == 0
        truncated = not terminated and self._step_count >= self.max_steps
        self._over = terminated or truncated
        if halted:
            self._verdict = "verified" if verified else "wrong"
        else:
            self._verdict = "out of steps" if truncated else None
        reward = float(verified) - self.step_cost

        if self.render_mode == "human":
            self.render()
        return self._observation(puzzle), reward, terminated, truncated, self._info(puzzle, halted, verified)

    def pack(self, draft: Any, halt: bool | int) -> np.ndarray:
        """A draft (integers [H, W]) and whether to halt -> an action, int64[cells + 1].

        Raises:
            PuzzleError: the draft's shape or values do not fit the family.
        """
        return pack_actions(self.family.check_grids(draft, "draft"), np.array([bool(halt)]))[0]

    def unpack(self, action: Any) -> tuple[np.ndarray, bool]:
        """The inverse of `pack`: an action -> the draft, uint8[H, W], and whether it halts.

        Raises:
            PuzzleError: wrong shape, dtype or value.
        """
        drafts, halts = unpack_actions(self.family, _as_batch(action))
        return drafts[0], bool(halts[0])

    # -- what the agent sees -----------------------------------------------------------------------------------------

    def _observation(self, puzzle: Puzzles) -> dict[str, Any]:
        """New arrays every time: an observation that is kept never changes."""
        observation: dict[str, Any] = {
            "question": puzzle.questions[0].copy(),
            "draft": self._draft.copy(),
            "step": np.int64(self._step_count),
        }
        for name in self._observed_facts:
            value = puzzle.facts[name][0]
            observation[name] = value.copy() if value.ndim else np.int64(value)
        return observation

    def _info(self, puzzle: Puzzles, halted: bool, verified: bool) -> dict[str, Any]:
        info: dict[str, Any] = {
            "verified": verified,
            "attempts_left": self._attempts_left,
            "puzzle_id": puzzle.ids[0],
        }
        # without rules the rating and the figures come from the answer: told at every step, they would lead to it
        if self.family.has_rules or halted:
            info["rating"] = float(puzzle.ratings[0])
            figures = self.family.figures(puzzle, self._draft[None])
            info |= {name: values[0].item() for name, values in figures.items()}
        if self.reveal_answer and self._over:
            info["answer"] = puzzle.answers[0].copy()
        return info

    # -- the picture -------------------------------------------------------------------------------------------------

    def note_values(self, halt_value: float | None, continue_value: float | None) -> None:
        """Shows the agent's values of halting and of continuing in the picture of the next step; changes nothing else."""
        self._noted = (
            None if halt_value is None else float(halt_value),
            None if continue_value is None else float(continue_value),
        )

    def scene(self) -> Scene:
        """What the picture shows now.

        Raises:
            gymnasium.error.ResetNeeded: no episode has begun.
        """
        if self.puzzle is None:
            raise gymnasium.error.ResetNeeded("no episode has begun; call reset() before render()")
        return scene_of(
            self.family,
            self.puzzle,
            self._draft,
            self._verdict,
            previous=self._previous,
            step=self._step_count,
            max_steps=self.max_steps,
            attempts_left=self._attempts_left,
            halt_value=self._shown[0],
            continue_value=self._shown[1],
        )


def at_least_one(name: str, value: Any) -> int:
    """`value` as an int; raises ConfigError unless it is a whole number from 1 up."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ConfigError(f"{name} is {value!r}; expected a whole number from 1 up")
    return int(value)


def _as_batch(action: Any) -> np.ndarray:
    """One action as a batch of one."""
    try:
        return np.asarray(action)[None]
    except ValueError:  # rows of different lengths
        raise PuzzleError("action is not an array; expected whole numbers, as pack() makes them") from None
