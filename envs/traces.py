"""The steps by which a solver comes to an answer, for the families that have a solver that can be followed.

A trace is a row of whole numbers: a cell, 0..cells-1, or a value v as cells + v; -1 after the end. What the rows mean is said in
`envs.sudoku.trace` and `envs.maze.trace`.
"""

from __future__ import annotations

import numpy as np

from hrm_gym.envs.errors import ConfigError
from hrm_gym.envs.family import Family


def trace(family: Family, questions: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """The solver's steps for N puzzles: int32[N, 2 * cells], filled up with -1.

    Args:
        family: of the puzzles.
        questions, answers: uint8[N, H, W] each.

    Raises:
        ConfigError: a family without a solver to follow (ARC).
        PuzzleError: an answer that does not solve its question.
    """
    if family.name == "sudoku":
        from hrm_gym.envs.sudoku.trace import trace as sudoku_trace

        return sudoku_trace(questions, answers)
    if family.name == "maze":
        from hrm_gym.envs.maze.trace import trace as maze_trace

        return maze_trace(questions, answers)
    raise ConfigError(f"{family.name} has no solver whose steps could be written down; traces are for sudoku and maze")


def trace_lengths(traces: np.ndarray) -> np.ndarray:
    """How many entries each row of `trace` has: int64[N]."""
    return (traces >= 0).sum(axis=1)
