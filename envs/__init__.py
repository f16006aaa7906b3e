"""The puzzles as environments: families, sources, episodes and pictures. Everything is loaded when it is first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hrm_gym.envs.sb3 import to_sb3

__all__ = ["to_sb3"]


def __getattr__(name: str) -> Any:
    """`to_sb3`, which loads Stable-Baselines3 and with it torch, and the families `sudoku`, `maze` and `arc`."""
    if name == "to_sb3":
        return importlib.import_module("hrm_gym.envs.sb3").to_sb3
    if name in ("sudoku", "maze", "arc"):
        return importlib.import_module(f"hrm_gym.envs.{name}")
    raise AttributeError(f"module 'hrm_gym.envs' has no attribute {name!r}")
