"""What is installed and what there is: versions, devices, environments, presets, agents."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Any

import torch

from hrm_gym.agents.agent import DESCRIPTION_FILE, PRETRAINED
from hrm_gym.agents.halting import STRATEGIES
from hrm_gym.registration import ENVIRONMENTS
from hrm_gym.train.config import PRESETS

PACKAGES = ("hrm-gym", "torch", "gymnasium", "stable-baselines3", "numpy", "numba", "pygame-ce")


def describe_installation() -> dict[str, Any]:
    """The figures that `hrm-gym info` prints, as plain values."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    devices = [f"cpu ({torch.get_num_threads()} threads)"]
    devices += [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "versions": versions,
        "devices": devices,
        "environments": [name for name, *_ in ENVIRONMENTS],
        "presets": list(PRESETS),
        "halting strategies": list(STRATEGIES),
        "pretrained agents": sorted(path.parent.name for path in PRETRAINED.glob(f"*/{DESCRIPTION_FILE}")),
    }
