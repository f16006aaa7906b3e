"""What chance brings into an attempt, on the device: symmetries, latent noise and random starts.

Everything is looked up in tables that are drawn once on the CPU from the seed, at places that a hash of (seed, puzzle, attempt, step)
names. So an attempt is the same whatever the slots, the other puzzles and the device, and a step costs one gather. Noise from one
large shared table at random offsets is how evolution strategies do it (Salimans et al. 2017, 1703.03864).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hrm_gym.agents.device_puzzles import apply_symmetries
from hrm_gym.agents.halting import hashed_integers
from hrm_gym.agents.layers import truncated_normal
from hrm_gym.envs.family import Family
from hrm_gym.envs.symmetries import Symmetries

SYMMETRIES = 4096  # in the table; more than a puzzle has attempts
NOISE_VALUES = 1 << 22  # 16 MB
START_VALUES = 1 << 20
# streams of the hash, so that a puzzle's symmetry tells nothing of its noise
SYMMETRY_STREAM, NOISE_STREAM, START_STREAM = 1, 2, 3


def attempt_keys(seed: int, stream: int, puzzle: Tensor, attempt: Tensor) -> Tensor:
    """A number for each (seed, stream, puzzle, attempt): int64[B] in 0..2^31 - 1."""
    return hashed_integers(stream, hashed_integers(seed, puzzle, attempt), attempt)


def sample_distinct_symmetries(family: Family, seed: int, count: int = SYMMETRIES) -> Symmetries:
    """At most `count` different symmetries of the family without the identity, in random order; a maze has only 7."""
    drawn = family.sample_symmetries(count, np.random.default_rng([seed, 6]))
    tables = np.concatenate([drawn.cells, drawn.values.astype(np.int64)], axis=1)
    _, first = np.unique(tables, axis=0, return_index=True)
    identity = (drawn.cells == np.arange(family.cells)).all(1) & (drawn.values == np.arange(family.values)).all(1)
    return drawn.take(np.array([row for row in np.sort(first) if not identity[row]], dtype=np.intp))


class SymmetryTable:
    """Symmetries on a device.

    Args:
        symmetries: M different ones, none of them the identity.
        seed: decides where in the table a puzzle begins.
    """

    def __init__(self, symmetries: Symmetries, family: Family, seed: int, device: torch.device) -> None:
        self.count, self.seed = len(symmetries), seed
        one = Symmetries.identity(1, family.cells, family.values)  # the last row: nothing changes
        cells = np.concatenate([symmetries.cells, one.cells])
        values = np.concatenate([symmetries.values, one.values])
        back = Symmetries(cells, values).inverse()
        # int16 indices while they rest: the table of a 30 x 30 grid is 7 MB, and not 29
        self.cells, self.back_cells = (torch.from_numpy(table.astype(np.int16)).to(device) for table in (cells, back.cells))
        self.values, self.back_values = (torch.from_numpy(table).to(device) for table in (values, back.values))

    def rows(self, puzzle: Tensor, use: Tensor) -> Tensor:
        """Which row each puzzle takes at its `use`-th symmetry, int64[B]; a `use` of -1 is the identity. The first M uses differ."""
        if self.count == 0:
            return torch.zeros_like(puzzle)
        begin = attempt_keys(self.seed, SYMMETRY_STREAM, puzzle, torch.zeros_like(puzzle))
        return torch.where(use < 0, self.count, (begin + use) % self.count)

    def apply(self, rows: Tensor, grids: Tensor) -> Tensor:
        """The symmetries at `rows`, int64[B], on grids uint8[B, cells]."""
        return apply_symmetries(self.cells[rows].long(), self.values[rows], grids)

    def undo(self, rows: Tensor, grids: Tensor) -> Tensor:
        """The inverse of `apply`."""
        return apply_symmetries(self.back_cells[rows].long(), self.back_values[rows], grids)


class NumberTable:
    """Windows into one long row of random numbers.

    Args:
        values: float32[T].
    """

    def __init__(self, values: Tensor, device: torch.device) -> None:
        self.values = values.to(device)

    def windows(self, keys: Tensor, shape: tuple[int, ...]) -> Tensor:
        """For each key (int64[B], from 0 up) as many numbers in a row as `shape` holds: [B, *shape]."""
        length = int(np.prod(shape))
        places = len(self.values) - length + 1
        # overlapping rows of the table: the gather needs one index a row, not one a number
        rows = self.values.as_strided((places, length), (1, 1))
        return rows[keys % places].view(-1, *shape)


def noise_table(seed: int, longest: int, device: torch.device) -> NumberTable:
    """Standard normal numbers, enough of them for windows of `longest`."""
    generator = torch.Generator().manual_seed(seed)
    return NumberTable(torch.randn(max(NOISE_VALUES, 16 * longest), generator=generator), device)


def start_table(seed: int, device: torch.device) -> NumberTable:
    """Truncated normal numbers of standard deviation 1, as the networks' fixed starts are drawn."""
    return NumberTable(truncated_normal((START_VALUES,), 1.0, torch.Generator().manual_seed(seed)), device)
