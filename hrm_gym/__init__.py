"""hrm-gym: reasoning puzzles as Gymnasium environments, and an agent that thinks in cycles and learns when to stop."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

_HERE = Path(__file__).resolve().parent
if not (_HERE / "envs").is_dir():
    # In a checkout envs/, agents/ and train/ lie beside this folder; an installed package holds them inside.
    __path__.append(str(_HERE.parent))

from hrm_gym.registration import register_environments  # noqa: E402  (needs the path above)

__version__ = "0.1.0"

register_environments()


def __getattr__(name: str) -> ModuleType:
    """`hrm_gym.envs`, `hrm_gym.agents` and `hrm_gym.train` load when they are first used: only the last two need torch."""
    if name in ("envs", "agents", "train"):
        return importlib.import_module(f"hrm_gym.{name}")
    raise AttributeError(f"module 'hrm_gym' has no attribute {name!r}")
