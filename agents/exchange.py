"""Whole agents to and from the published layout of HRM and TRM (sapientinc/HRM, SamsungSAILMontreal/TinyRecursiveModels): the weights
under their names, and their configuration keys. `agents.published` translates; here are the files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save

from hrm_gym.agents.agent import HRMAgent, weights_as, write_whole
from hrm_gym.agents.published import config_as_published, load_published, published_state_dict
from hrm_gym.envs.errors import CheckpointError, ConfigError
from hrm_gym.envs.registry import make_family

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
MAX_STEPS = 16  # where a published configuration has no halt_max_steps


def export_published(agent: HRMAgent, folder: str | Path, weights_type: str = "float32") -> Path:
    """Write `model.safetensors`, the weights under the published names, and `config.json`, the published configuration keys.

    The published code reads such weights with `model.load_state_dict(safetensors.torch.load_file("model.safetensors"))`.

    Args:
        weights_type: as in `HRMAgent.save`.

    Raises:
        ConfigError: the network has no published form, or an unknown weights type.
    """
    config = config_as_published(agent.network.config) | {"halt_max_steps": agent.max_steps}
    weights = weights_as(published_state_dict(agent.network), weights_type)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / WEIGHTS_FILE, save(weights))
    write_whole(folder / CONFIG_FILE, (json.dumps(config, indent=2) + "\n").encode())
    return folder


def import_published(
    file: str | Path,
    config: str | Path | Mapping[str, Any],
    family: str,
    size: int,
    halting: str | None = None,
    precision: str | None = None,
    device: str = "auto",
) -> HRMAgent:
    """An agent from published weights.

    Args:
        file: the weights, in safetensors or as a torch state dict.
        config: the published keys, or a file of them (see `read_published_config`). Sequence length and vocabulary, which the published
            code takes from its data set, may be left out.
        family: "sudoku" or "maze". ARC networks know their tasks by numbers that are not in the checkpoint; take `load_published`.
        size: of the grids.
        halting: None: "q", or "q-halt(0.5)" for a network that was trained without a value of continuing.
        precision: of the forward pass; None: as published, often bfloat16, which many CPUs compute slowly.
        device: "auto", "cpu", "cuda" or "mps".

    Raises:
        CheckpointError: a missing or broken file, or weights that do not fit the configuration.
        ConfigError: a configuration that is not understood, or that is for other grids.
    """
    if family == "arc":
        raise ConfigError(
            "family 'arc' cannot be imported: which task has which puzzle embedding is not in a published checkpoint; "
            "load the network with hrm_gym.agents.load_published and give step() the puzzle_ids"
        )
    made = make_family(family, size)
    keys = dict(config) if isinstance(config, Mapping) else read_published_config(config)
    for key, needed in (("seq_len", made.cells), ("vocab_size", made.vocabulary)):
        if keys.setdefault(key, needed) != needed:
            raise ConfigError(
                f"the checkpoint has {key} {keys[key]}; {family} {size} x {size} has {needed}; give its own family and size"
            )
    if precision is not None:
        keys["forward_dtype"] = precision
    max_steps = int(keys.get("halt_max_steps", MAX_STEPS))
    network = load_published(file, keys)
    halting = halting or ("q-halt(0.5)" if keys.get("no_ACT_continue") else "q")
    description = {"halting": halting, "imported": {"file": Path(file).name, "config": keys}}
    return HRMAgent(network, made, max_steps, halting, device, description)


def read_published_config(path: str | Path) -> dict[str, Any]:
    """The network's keys from a JSON or YAML file: the file's `arch` section where it has one (all_config.yaml), else all of it.

    Raises:
        CheckpointError: a missing or broken file, or YAML without a YAML reader.
    """
    path = Path(path)
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"configuration {path} cannot be read ({type(error).__name__}); give the checkpoint's all_config.yaml, or its keys as JSON"
        ) from None
    if path.suffix in (".yaml", ".yml"):
        try:
            import yaml  # type: ignore[import-untyped]  # comes with huggingface_hub
        except ImportError:
            raise CheckpointError(
                f'configuration {path} is YAML, which needs a package: pip install "hrm-gym[hub]"; or write its keys as JSON'
            ) from None
        try:
            values = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise CheckpointError(f"configuration {path} is not YAML ({type(error).__name__})") from None
    else:
        try:
            values = json.loads(text)
        except ValueError as error:
            raise CheckpointError(f"configuration {path} is not JSON ({error}); a YAML file's name ends in .yaml") from None
    if not isinstance(values, dict) or not isinstance(values.get("arch", {}), dict):
        raise CheckpointError(
            f"configuration {path} holds no keys; expected hidden_size, H_cycles and so on, or a section arch"
        )
    return dict(values.get("arch", values))
