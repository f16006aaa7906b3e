"""The whole state of a run in one safetensors file: tensors by name, everything else as JSON in its header.

Written whole or not at all; reading it executes nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from hrm_gym.agents.agent import write_whole
from hrm_gym.envs.errors import CheckpointError

TENSOR = "__tensor__"
INTEGER_KEYS = "__integer_keys__"  # optimiser states are dictionaries by number, which JSON would turn into text


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state`, nested dictionaries and lists of tensors, numbers, strings, booleans and None."""
    tensors: dict[str, Tensor] = {}

    def describe(value: Any, name: str) -> Any:
        if isinstance(value, Tensor):
            tensors[name] = value.detach().cpu().contiguous().clone()
            return {TENSOR: name}
        if isinstance(value, dict):
            described = {str(key): describe(item, f"{name}/{key}") for key, item in value.items()}
            if value and all(isinstance(key, int) for key in value):
                return {INTEGER_KEYS: described}
            return described
        if isinstance(value, list | tuple):
            return [describe(item, f"{name}/{index}") for index, item in enumerate(value)]
        return value

    description = json.dumps(describe(state, ""))
    write_whole(path, save(tensors, metadata={"state": description}))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The state that `save_checkpoint` wrote, with tensors on the CPU.

    Raises:
        CheckpointError: no such file, or not one of ours.
    """
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} does not exist; nothing to resume from")
    try:
        with safe_open(path, framework="pt") as file:
            description = json.loads((file.metadata() or {})["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise CheckpointError(
            f"checkpoint {path} cannot be read ({type(error).__name__}); it is broken or not a training checkpoint"
        ) from None

    def restore(value: Any) -> Any:
        if isinstance(value, dict):
            if TENSOR in value:
                return tensors[value[TENSOR]]
            if INTEGER_KEYS in value:
                return {int(key): restore(item) for key, item in value[INTEGER_KEYS].items()}
            return {key: restore(item) for key, item in value.items()}
        if isinstance(value, list):
            return [restore(item) for item in value]
        return value

    state: dict[str, Any] = restore(description)
    return state


def copy_into(target: Tensor, source: Tensor, what: str) -> None:
    """Copy a restored tensor into one that exists.

    Raises:
        CheckpointError: another shape.
    """
    if target.shape != source.shape:
        raise CheckpointError(f"checkpoint: {what} has shape {tuple(source.shape)}; this run expects {tuple(target.shape)}")
    with torch.no_grad():
        target.copy_(source)
