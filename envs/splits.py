"""Train and test never share a solution: which side a grid falls on is a fixed hash of the grid itself.

A puzzle belongs to the test split if the hash of its *answer* falls into the held-out part. For 9 x 9 Sudoku that only rules
out coincidences; for 4 x 4, where there are just 288 solution grids, it is what makes "unseen" mean something.
The hash is a dot product modulo a prime, in operations that NumPy and torch share, so the training loop can check on the
device that no random symmetry turns a training puzzle into a held-out one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

PRIME = 2_147_483_647  # 2^31 - 1
HELD_OUT_EVERY = 5  # one grid in five is held out
SPLITS = ("train", "test", "all")


def coefficients(cell_count: int) -> np.ndarray:
    """The hash's fixed coefficients, int64[cell_count]."""
    return np.random.default_rng(20_260_101).integers(1, PRIME, size=cell_count, dtype=np.int64)


def held_out(answers: Any, weights: Any) -> Any:
    """Which answers fall into the test split: bool[N].

    `answers`: integer array or tensor [N, cells] of 64 bits with values below 64; `weights`: `coefficients(cells)`, of the same kind.
    """
    # each product is below 2^37 and is reduced before the sum, so nothing overflows 64 bits
    return ((((answers + 1) * weights) % PRIME).sum(-1) % PRIME) % HELD_OUT_EVERY == 0


def in_split(answers: np.ndarray, split: str) -> np.ndarray:
    """Which answers (uint8[N, H, W]) belong to `split`, one of SPLITS: bool[N]."""
    if split == "all":
        return np.ones(len(answers), dtype=bool)
    flat = answers.reshape(len(answers), answers.shape[1] * answers.shape[2]).astype(np.int64)
    test = held_out(flat, coefficients(flat.shape[1]))
    return test if split == "test" else ~test
