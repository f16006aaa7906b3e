"""One door for all kinds of trained agents: `load_agent` reads the description and builds what it describes."""

from __future__ import annotations

import json
from pathlib import Path

from hrm_gym.agents.agent import DESCRIPTION_FILE, HRMAgent, find_agent
from hrm_gym.agents.written_out import KIND, WrittenOutAgent
from hrm_gym.envs.errors import CheckpointError


def load_agent(name_or_path: str | Path, device: str = "auto") -> HRMAgent | WrittenOutAgent:
    """The agent at a folder, a run folder, of a name in the package, or on the hub: an `HRMAgent`, or a `WrittenOutAgent` where
    `agent.json` says so.

    Args:
        name_or_path: as `find_agent` takes it.
        device: "auto", "cpu", "cuda" or "mps".

    Raises:
        CheckpointError: no such agent, or a broken file.
        DeviceError: the device is not there.
    """
    folder = find_agent(name_or_path)
    file = folder / DESCRIPTION_FILE
    try:
        description = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} is not an agent's description ({type(error).__name__}: {error})") from None
    kind = description.get("kind") if isinstance(description, dict) else None
    if kind is None:
        return HRMAgent.from_pretrained(folder, device)
    if kind == KIND:
        return WrittenOutAgent.from_pretrained(folder, device)
    raise CheckpointError(f"{file} describes an agent of kind {kind!r}, which this version does not know")
