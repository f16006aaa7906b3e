"""Where puzzles come from. Every source answers `draw(seeds)`: the puzzle is a pure function of the seed, so that the same
seed gives the same puzzle in a single environment, in a vector environment and in training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

from hrm_gym.envs.errors import PuzzleError
from hrm_gym.envs.puzzles import Puzzles


class Source(ABC):
    """A supply of puzzles."""

    @abstractmethod
    def draw(self, seeds: np.ndarray) -> Puzzles:
        """One puzzle per seed: uint64[N] -> N puzzles. Equal seeds give equal puzzles, whatever else is in the batch."""

    def find(self, key: int | str) -> Puzzles:
        """The one puzzle with this index or id.

        Raises:
            PuzzleError: there is none, or the source is endless.
        """
        raise PuzzleError(
            f"puzzle {key!r} cannot be looked up in an endless source; give the grid itself, or use a file source"
        )


class GeneratedSource(Source):
    """Puzzles made on demand by `generate(seeds) -> Puzzles`."""

    def __init__(self, generate: Callable[[np.ndarray], Puzzles]) -> None:
        self._generate = generate

    def draw(self, seeds: np.ndarray) -> Puzzles:
        return self._generate(np.asarray(seeds, dtype=np.uint64))


class ListSource(Source):
    """A fixed list of puzzles; a seed picks one with equal chance."""

    def __init__(self, puzzles: Puzzles) -> None:
        if len(puzzles) == 0:
            raise PuzzleError("the source holds no puzzle; expected at least one")
        self.puzzles = puzzles

    def __len__(self) -> int:
        return len(self.puzzles)

    def draw(self, seeds: np.ndarray) -> Puzzles:
        rows = np.asarray(seeds, dtype=np.uint64) % np.uint64(len(self.puzzles))
        return self.puzzles.take(rows.astype(np.intp))

    def find(self, key: int | str) -> Puzzles:
        if isinstance(key, str):
            try:
                row = self.puzzles.ids.index(key)  # no table of ids: for millions of puzzles it would outweigh the puzzles
            except ValueError:
                example = self.puzzles.ids[0]
                raise PuzzleError(f"no puzzle has id {key!r}; this source holds {len(self)} ids such as {example!r}") from None
        else:
            row = int(key)
            if not 0 <= row < len(self):
                raise PuzzleError(f"puzzle index {row} is out of range; this source holds puzzles 0..{len(self) - 1}")
        return self.puzzles.take([row])
