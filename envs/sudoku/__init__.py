"""Sudoku of sizes 4, 6, 9 and 16: rules, solver, generator and family."""

from __future__ import annotations

from hrm_gym.envs.sudoku.family import SudokuFamily
from hrm_gym.envs.sudoku.generator import generate
from hrm_gym.envs.sudoku.rules import verify
from hrm_gym.envs.sudoku.solver import count_solutions, rate, solve

__all__ = ["SudokuFamily", "count_solutions", "generate", "rate", "solve", "verify"]
