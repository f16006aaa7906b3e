"""Which device to use."""

from __future__ import annotations

import torch

from hrm_gym.envs.errors import DeviceError


def choose_device(name: str = "auto") -> torch.device:
    """The device called `name`: "auto" takes CUDA, then MPS, then the CPU.

    Raises:
        DeviceError: unknown, or not on this machine.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if there[kind]))
    kind = name.partition(":")[0]
    if kind not in there:
        raise DeviceError(f"device {name!r} is unknown; expected auto, cpu, cuda or mps")
    if not there[kind]:
        raise DeviceError(f"device {name!r} was asked for, but this machine or this build of torch has none; use --device cpu")
    try:
        return torch.device(name)
    except RuntimeError:
        raise DeviceError(f"device {name!r} is not understood; write for example cuda:0") from None


def device_name(device: torch.device) -> str:
    """The device in words, for figures: "cpu", or "cuda (NVIDIA H100)"."""
    return f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else device.type
