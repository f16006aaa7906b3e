"""Mazes: rules, solver, generator and family. Batches are uint8[N, n, n] of 0 wall, 1 open, 2 start, 3 goal, 4 path."""

from __future__ import annotations

from hrm_gym.envs.maze.family import MazeFamily
from hrm_gym.envs.maze.generator import generate, generate_from_seeds
from hrm_gym.envs.maze.rules import verify
from hrm_gym.envs.maze.solver import count_shortest_paths, shortest_path_lengths, solve

__all__ = [
    "MazeFamily",
    "count_shortest_paths",
    "generate",
    "generate_from_seeds",
    "shortest_path_lengths",
    "solve",
    "verify",
]
