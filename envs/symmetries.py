"""Symmetries of a grid puzzle, written once for all families.

A symmetry moves cells and renames values: `new[c] = values[old[cells[c]]]`. Both parts are plain index tables, so the
same numbers drive NumPy here and torch on a device (`torch.gather`), and the inverse is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Symmetries:
    """N symmetries.

    Attributes:
        cells: int64[N, H * W]; cell c of the new grid shows cell `cells[:, c]` of the old one. Each row is a permutation.
        values: uint8[N, V]; value v of the old grid is written as `values[:, v]`. Each row is a permutation.
    """

    cells: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.cells)

    @staticmethod
    def identity(count: int, cell_count: int, value_count: int) -> Symmetries:
        """`count` symmetries that change nothing."""
        cells = np.tile(np.arange(cell_count, dtype=np.int64), (count, 1))
        values = np.tile(np.arange(value_count, dtype=np.uint8), (count, 1))
        return Symmetries(cells, values)

    def apply(self, grids: np.ndarray) -> np.ndarray:
        """Symmetry i on grid i: uint8[N, H, W] -> uint8[N, H, W] (a new array)."""
        flat = grids.reshape(len(grids), -1)
        moved = np.take_along_axis(flat, self.cells, axis=1)
        renamed = np.take_along_axis(self.values, moved.astype(np.intp), axis=1)
        return renamed.reshape(grids.shape)

    def inverse(self) -> Symmetries:
        """The symmetries that undo these: `s.inverse().apply(s.apply(g)) == g`."""
        return Symmetries(np.argsort(self.cells, axis=1), np.argsort(self.values, axis=1).astype(np.uint8))

    def take(self, rows: np.ndarray) -> Symmetries:
        """The symmetries at `rows`."""
        return Symmetries(self.cells[rows], self.values[rows])


def dihedral_cells(size: int) -> np.ndarray:
    """The 8 rotations and reflections of a size x size grid as cell tables, int64[8, size * size]; the first is the identity."""
    cells = np.arange(size * size, dtype=np.int64).reshape(size, size)
    turned = [np.rot90(cells, k) for k in range(4)] + [np.rot90(cells.T, k) for k in range(4)]
    return np.stack([grid.reshape(-1) for grid in turned])
