"""Many environments as one: arrays in, arrays out, no loop over environments in `step`.

`BatchedVectorEnv` is what every vector environment of hrm-gym shares: seeds, puzzles, the three autoreset modes, the form of
`info`, pictures. A kind of episode is a subclass that keeps its state in arrays whose first axis is the environment and
fills five hooks:

    _begin(rows, puzzles)                An episode begins in each of `rows` (int64[K], ascending) with puzzles[k] for rows[k].
                                         Whatever state belongs to the episode is set anew. `self.puzzles` holds them already.
    _advance(actions, playing)           One step wherever `playing` (bool[N]) is True; elsewhere the action is to be ignored,
                                         even if it is nonsense, and whatever is returned is overwritten.
                                         Returns rewards float64[N], terminated bool[N], truncated bool[N], all new arrays.
                                         Raises PuzzleError for a faulty action before anything has changed.
    _observations(rows)                  What `rows` see (None: all N), as the batched observation space says: an array or a dict
                                         of arrays of length K or N. New arrays each time: what a user keeps never changes.
    _infos(rows)                         The same for info: {key: array}, with dtypes bool, int64, float64 or object (strings),
                                         and for what only some of `rows` have, {"_" + key: bool[K]}, zeros or None elsewhere.
                                         New arrays each time.
    _scene(row)                          The picture of one environment, a `hrm_gym.envs.drawing.Scene`.

The base never asks a hook anything before `_begin` has been called for all rows. A subclass that restricts actions adds
`action_masks() -> bool[N, A]`; `hrm_gym.envs.to_sb3` hands it on. Everything that a subclass keeps should survive pickling.

The observations, rewards, flags and infos are those of N single environments in Gymnasium's `SyncVectorEnv`, entry by entry.
"""

from __future__ import annotations

import operator
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from hrm_gym.envs.episode import at_least_one, fact_spaces, puzzle_from
from hrm_gym.envs.errors import ConfigError, PuzzleError
from hrm_gym.envs.family import Family
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.sources import ListSource, Source

if TYPE_CHECKING:
    from hrm_gym.envs.drawing import Scene

Infos = dict[str, Any]  # key -> array [N], "_" + key -> bool[N]

_SEEDS_AHEAD = 32  # episode seeds taken from a generator at a time: one call for 32 costs little more than one for one
_SECONDS_AHEAD = 0.005  # the time that puzzles for episodes to come may add to a step


class BatchedVectorEnv(VectorEnv[Any, Any, np.ndarray], ABC):
    """N environments that step together. See the top of this file for what a subclass brings.

    Args:
        num_envs: N, 1 or more.
        family: rules, values and shape of the puzzles.
        source: where the puzzles come from.
        single_observation_space, single_action_space: the spaces of one environment.
        autoreset_mode: an `AutoresetMode` or its value. "NextStep": the step after an episode's end begins the next one,
            ignores the action and rewards 0. "SameStep": the step that ends an episode returns the first observation of the next,
            the last one is in `info["final_obs"]` and its info in `info["final_info"]`. "Disabled": the user calls
            `reset(options={"reset_mask": mask})`.
        render_mode: None, "rgb_array" or "ansi".

    Attributes:
        puzzles: the N puzzles being played with their answers: for solvers and teachers, not for agents. None before `reset`.

    Raises:
        ConfigError: a setting outside its range.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "ansi"], "render_fps": 4}  # noqa: RUF012 (as Gymnasium types it)

    def __init__(
        self,
        num_envs: int,
        family: Family,
        source: Source,
        single_observation_space: spaces.Space[Any],
        single_action_space: spaces.Space[Any],
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
    ) -> None:
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ConfigError(
                f"render_mode is {render_mode!r}; expected None, 'rgb_array' or 'ansi' of a vector environment (a window shows "
                "one environment: make a single one for 'human')"
            )
        try:
            self.autoreset_mode = AutoresetMode(autoreset_mode)
        except ValueError:
            modes = ", ".join(repr(mode.value) for mode in AutoresetMode)
            raise ConfigError(f"autoreset_mode is {autoreset_mode!r}; expected one of {modes}") from None
        self.num_envs = at_least_one("num_envs", num_envs)
        self.family = family
        self.source = source
        self.render_mode = render_mode
        self.metadata = self.metadata | {"autoreset_mode": self.autoreset_mode}
        self.single_observation_space = single_observation_space
        self.single_action_space = single_action_space
        self.observation_space = batch_space(single_observation_space, self.num_envs)
        self.action_space = batch_space(single_action_space, self.num_envs)

        self.puzzles: Puzzles | None = None
        self._supply = _Supply(source, self.num_envs)
        self._finished = np.zeros(self.num_envs, dtype=bool)  # whether the episode has ended and the next has not begun

    # -- hooks -------------------------------------------------------------------------------------------------------

    @abstractmethod
    def _begin(self, rows: np.ndarray, puzzles: Puzzles) -> None: ...

    @abstractmethod
    def _advance(self, actions: Any, playing: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...

    @abstractmethod
    def _observations(self, rows: np.ndarray | None) -> Any: ...

    @abstractmethod
    def _infos(self, rows: np.ndarray | None) -> Infos: ...

    @abstractmethod
    def _scene(self, row: int) -> Scene: ...

    # -- the episodes ------------------------------------------------------------------------------------------------

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,  # type: ignore[override]
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, Infos]:
        """Begins an episode in every environment, or in those of a mask.

        Args:
            seed: s starts the generator of environment i anew from s + i, and so gives it the episodes of a single environment
                seeded s + i. A sequence of N numbers seeds each for itself; None leaves a generator as it is.
            options: `{"reset_mask": bool[N]}`: only there, at least one True. `{"puzzle": ...}`: the same puzzle of your own in
                each environment that is reset, given as for a single environment. `{"puzzles": ...}`: one for each of
                them, a list of such or a `Puzzles`. Given puzzles take nothing from the generators.

        Returns:
            Observations of all N environments, and the infos of those that were reset.

        Raises:
            PuzzleError: a given puzzle does not fit the family, has no or several solutions, or is not in the source.
            ConfigError: an unknown option, or a mask or seeds of the wrong length or kind.
            gymnasium.error.ResetNeeded: a mask before all environments have been reset once.
        """
        options = options or {}
        unknown = set(options) - {"reset_mask", "puzzle", "puzzles"}
        if unknown:
            name = min(unknown, key=str)
            raise ConfigError(f"reset option {name!r} is unknown; expected 'reset_mask', 'puzzle' or 'puzzles'")
        seeds = self._seeds_from(seed)
        rows: np.ndarray = np.arange(self.num_envs)
        partly = options.get("reset_mask") is not None
        if partly:
            rows = np.flatnonzero(self._mask_from(options["reset_mask"]))
            if self.puzzles is None and len(rows) < self.num_envs:
                raise gymnasium.error.ResetNeeded("no episode has begun; call reset() once without reset_mask")
        given = self._puzzles_from(options, len(rows))  # may be faulty: before anything changes

        self._supply.seed(rows, [seeds[row] for row in rows])
        self._start(rows, self._supply.take(rows) if given is None else given)
        if partly:
            return self._observations(None), self._spread(self._infos(rows), rows)
        return self._observations(None), _with_masks(self._infos(None), self.num_envs)

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, Infos]:
        """One step of every environment.

        Args:
            actions: as the batched action space says; any integer dtype will do.

        Returns:
            Observations, rewards float64[N], terminated bool[N], truncated bool[N], infos.

        Raises:
            gymnasium.error.ResetNeeded: no episode has begun, or ("Disabled") one is over.
            PuzzleError: an action has a wrong shape, dtype or value. Every environment is left as it was.
        """
        if self.puzzles is None:
            raise gymnasium.error.ResetNeeded("no episode has begun; call reset() before step()")
        over = self._finished
        if self.autoreset_mode is AutoresetMode.DISABLED and over.any():
            raise gymnasium.error.ResetNeeded(
                f"the episode of environment {int(over.argmax())} is over; call reset(options={{'reset_mask': mask}}) before step()"
            )
        rewards, terminated, truncated = self._advance(actions, ~over)
        begin = np.flatnonzero(over)  # empty but for NEXT_STEP
        if len(begin):
            rewards[begin] = 0.0
            terminated[begin] = False
            truncated[begin] = False
        self._finished = terminated | truncated

        final: Infos = {}
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            begin = np.flatnonzero(self._finished)
            if len(begin):
                final = self._final(begin)
        if len(begin):
            self._start(begin, self._supply.take(begin))
        infos = _with_masks(self._infos(None), self.num_envs) | final
        return self._observations(None), rewards, terminated, truncated, infos

    def _start(self, rows: np.ndarray, puzzles: Puzzles) -> None:
        self._store(rows, puzzles)
        self._finished[rows] = False
        self._begin(rows, puzzles)

    def _final(self, rows: np.ndarray) -> Infos:
        """`final_obs` and `final_info` of the episodes that have ended in `rows`, with their masks."""
        mask = np.zeros(self.num_envs, dtype=bool)
        mask[rows] = True
        observations = np.full(self.num_envs, None, dtype=object)
        last = self._observations(rows)
        for place, row in enumerate(rows.tolist()):  # Gymnasium asks for one object an environment
            observations[row] = _one_of(last, place)
        infos = self._spread(self._infos(rows), rows)
        return {"final_obs": observations, "_final_obs": mask, "final_info": infos, "_final_info": mask.copy()}

    def _spread(self, infos: Infos, rows: np.ndarray) -> Infos:
        """Infos of `rows` as infos of all environments, zero or None and masked out elsewhere."""
        spread: Infos = {}
        for key, values in _with_masks(infos, len(rows)).items():
            shape = (self.num_envs, *values.shape[1:])
            spread[key] = np.full(shape, None, dtype=object) if values.dtype == object else np.zeros(shape, values.dtype)
            spread[key][rows] = values
        return spread

    @property
    def np_random_seed(self) -> tuple[int | None, ...]:  # type: ignore[override]
        """The seed of each environment, None where it has not been seeded."""
        return tuple(self._supply.seeds)

    # -- what the user gives -----------------------------------------------------------------------------------------

    def _seeds_from(self, seed: Any) -> list[int | None]:
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, (int, np.integer)) and not isinstance(seed, bool):
            seed = range(int(seed), int(seed) + self.num_envs)
        try:
            seeds = [None if one is None else operator.index(one) for one in seed]
        except TypeError:
            raise ConfigError(
                f"seed is {seed!r}; expected a whole number from 0 up, or {self.num_envs} of them (or None) in a list"
            ) from None
        if len(seeds) != self.num_envs:
            raise ConfigError(f"seed has {len(seeds)} entries; expected one for each of {self.num_envs} environments")
        lowest = min((one for one in seeds if one is not None), default=0)
        if lowest < 0:
            raise ConfigError(f"seed is {lowest}; expected a whole number from 0 up")
        return seeds

    def _mask_from(self, mask: Any) -> np.ndarray:
        shape, kind = getattr(mask, "shape", None), getattr(mask, "dtype", type(mask).__name__)
        if shape != (self.num_envs,) or kind != np.bool_:
            raise ConfigError(f"reset_mask has shape {shape} and dtype {kind}; expected a bool array [{self.num_envs}]")
        if not mask.any():
            raise ConfigError("reset_mask is False everywhere; expected at least one environment to reset")
        return np.asarray(mask)

    def _puzzles_from(self, options: dict[str, Any], count: int) -> Puzzles | None:
        """The puzzles given in reset options, one for each of `count` rows; None: there are none."""
        one, many = options.get("puzzle"), options.get("puzzles")
        if one is None and many is None:
            return None
        if one is not None and many is not None:
            raise ConfigError("reset options 'puzzle' and 'puzzles' are both given; give one of them")
        observed = fact_spaces(self.family, self.source)
        if many is None:
            return puzzle_from(one, self.family, self.source, observed).take(np.zeros(count, np.intp))
        if len(many) != count:
            raise PuzzleError(f"{len(many)} puzzles were given for {count} environments to reset; give one for each")
        if isinstance(many, Puzzles):
            many = [many.take([row]) for row in range(count)]
        return Puzzles.join([puzzle_from(given, self.family, self.source, observed) for given in many])

    def _store(self, rows: np.ndarray, puzzles: Puzzles) -> None:
        """Writes the puzzles at `rows` of `self.puzzles`, in place: it is read at every step and hardly changes."""
        if self.puzzles is None:
            self.puzzles = _own_arrays(puzzles)
        elif set(puzzles.facts) != set(self.puzzles.facts):
            expected = ", ".join(sorted(self.puzzles.facts)) or "none"
            raise PuzzleError(
                f"the puzzle's facts are {', '.join(sorted(puzzles.facts)) or 'none'}; expected those of the others: {expected}"
            )
        else:
            _write(self.puzzles, rows, puzzles)

    # -- pictures ----------------------------------------------------------------------------------------------------

    def render(self) -> tuple[Any, ...] | None:
        """The pictures of the N environments: uint8[h, w, 3] each for "rgb_array", strings for "ansi".

        Raises:
            gymnasium.error.ResetNeeded: no episode has begun.
        """
        if self.render_mode is None:
            gymnasium.logger.warn(
                "render() was called without a render mode; give one to gymnasium.make_vec, such as render_mode='rgb_array'."
            )
            return None
        if self.puzzles is None:
            raise gymnasium.error.ResetNeeded("no episode has begun; call reset() before render()")
        from hrm_gym.envs import drawing  # here, so that training and evaluation never load the drawing

        picture = drawing.text if self.render_mode == "ansi" else drawing.draw
        return tuple(picture(self._scene(row)) for row in range(self.num_envs))


# -- puzzles of the episodes to come ---------------------------------------------------------------------------------------


class _Supply:
    """The next puzzle of each environment: that of the next number from the environment's own generator.

    Sources are asked for many puzzles at a time, some of them for episodes to come; which puzzle an environment gets is
    decided by its generator alone.
    """

    def __init__(self, source: Source, num_envs: int) -> None:
        self._source = source
        self.seeds: list[int | None] = [None] * num_envs
        self._generators: list[np.random.Generator | None] = [None] * num_envs
        self._numbers = np.empty((num_envs, _SEEDS_AHEAD), np.uint64)
        self._used = np.full(num_envs, _SEEDS_AHEAD)  # how many of an environment's numbers have been used
        self._stock: Puzzles | None = None
        self._in_stock = np.zeros(num_envs, dtype=bool)
        self._ahead = 0  # how many puzzles may be drawn for later

    def seed(self, rows: np.ndarray, seeds: Sequence[int | None]) -> None:
        """Starts the generators of `rows` anew where a seed is given."""
        for row, seed in zip(rows.tolist(), seeds, strict=True):
            if seed is not None:
                self._generators[row], _ = seeding.np_random(seed)
                self.seeds[row] = seed
                self._used[row] = _SEEDS_AHEAD
                self._in_stock[row] = False

    def take(self, rows: np.ndarray) -> Puzzles:
        """The next puzzle of each of `rows`."""
        if isinstance(self._source, ListSource):  # drawing is looking up: nothing is gained by doing it ahead
            return self._source.draw(self._next_numbers(rows))
        missing = rows[~self._in_stock[rows]]
        if len(missing) == 0:
            assert self._stock is not None
            self._in_stock[rows] = False
            return self._stock.take(rows)
        later: np.ndarray = np.empty(0, np.intp)
        if self._ahead > 0:
            wanted = ~self._in_stock
            wanted[rows] = False
            later = np.flatnonzero(wanted)[: self._ahead]
        began = time.perf_counter()
        drawn = self._source.draw(self._next_numbers(np.concatenate([missing, later])))
        seconds = time.perf_counter() - began
        # only how early a puzzle is drawn depends on the clock, never which
        self._ahead = int(_SECONDS_AHEAD * (len(missing) + len(later)) / max(seconds, 1e-9))
        if len(missing) == len(rows) == len(drawn):
            return drawn
        if self._stock is None:
            self._stock = _own_arrays(drawn.take(np.zeros(len(self._in_stock), np.intp)))
        _write(self._stock, missing, drawn.take(slice(0, len(missing))))
        _write(self._stock, later, drawn.take(slice(len(missing), None)))
        self._in_stock[rows] = False
        self._in_stock[later] = True
        return self._stock.take(rows)

    def _next_numbers(self, rows: np.ndarray) -> np.ndarray:
        """The next number of each generator of `rows`, the one that `hrm_gym.envs.episode.draw_seeds` draws: uint64[K]."""
        for row in rows[self._used[rows] == _SEEDS_AHEAD].tolist():
            generator = self._generators[row]
            if generator is None:
                generator = self._generators[row] = seeding.np_random()[0]
            # the numbers of one call are those of as many calls for one
            self._numbers[row] = generator.integers(0, 2**64 - 1, size=_SEEDS_AHEAD, dtype=np.uint64, endpoint=True)
            self._used[row] = 0
        numbers = self._numbers[rows, self._used[rows]]
        self._used[rows] += 1
        return numbers


# -- helpers ---------------------------------------------------------------------------------------------------------------


def _own_arrays(puzzles: Puzzles) -> Puzzles:
    """A copy that may be written to by `_write`; its ids are an object array."""
    ids = np.empty(len(puzzles), dtype=object)
    ids[:] = list(puzzles.ids)
    facts = {name: values.copy() for name, values in puzzles.facts.items()}
    return Puzzles(puzzles.questions.copy(), puzzles.answers.copy(), ids, puzzles.ratings.copy(), facts)  # type: ignore[arg-type]


def _write(target: Puzzles, rows: np.ndarray, puzzles: Puzzles) -> None:
    """Puts `puzzles` at `rows` of a batch made by `_own_arrays`."""
    target.questions[rows] = puzzles.questions
    target.answers[rows] = puzzles.answers
    target.ids[rows] = list(puzzles.ids)  # type: ignore[index, call-overload]
    target.ratings[rows] = puzzles.ratings
    for name, values in target.facts.items():
        values[rows] = puzzles.facts[name]


def _with_masks(infos: Infos, count: int) -> Infos:
    """Adds the masks that say "all", and leaves out what no environment has."""
    masked: Infos = {}
    for key, values in infos.items():
        if key.startswith("_"):
            continue
        mask = infos.get("_" + key)
        if mask is None:
            mask = np.ones(count, dtype=bool)
        elif not mask.any():
            continue
        masked[key], masked["_" + key] = values, mask
    return masked


def _one_of(batch: Any, place: int) -> Any:
    """One entry of a batch of observations."""
    if isinstance(batch, dict):
        return {key: values[place] for key, values in batch.items()}
    return batch[place]
