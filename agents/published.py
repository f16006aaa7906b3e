"""Networks from the published HRM and TRM checkpoints and back: their weight names and configuration keys (sapientinc/HRM,
SamsungSAILMontreal/TinyRecursiveModels) and ours.

Our parameter names are the published ones without `model.inner.`, so conversion only strips or adds prefixes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from hrm_gym.agents.backbones import build_network
from hrm_gym.agents.layers import swiglu_size
from hrm_gym.agents.network import NetworkConfig, RecursiveNetwork
from hrm_gym.envs.errors import CheckpointError, ConfigError

PREFIXES = ("_orig_mod.", "model.", "inner.")

# published key -> ours
CONFIG_KEYS = {
    "seq_len": "cells",
    "vocab_size": "vocabulary",
    "hidden_size": "hidden_size",
    "num_heads": "heads",
    "expansion": "expansion",
    "H_layers": "h_layers",
    "L_layers": "l_layers",
    "H_cycles": "h_cycles",
    "L_cycles": "l_cycles",
    "pos_encodings": "positions",
    "puzzle_emb_ndim": "puzzle_embedding_size",
    "puzzle_emb_len": "puzzle_embedding_length",
    "num_puzzle_identifiers": "puzzle_ids",
    "rms_norm_eps": "norm_eps",
    "rope_theta": "rope_theta",
    "forward_dtype": "precision",
}
# keys of training, not of the network, and names of classes
IGNORED_KEYS = {"batch_size", "halt_max_steps", "halt_exploration_prob", "mlp_t", "no_ACT_continue", "name", "loss", "causal"}

PUBLISHED_BACKBONES = ("hrm", "hrm-full", "trm", "trm-mixer")
PUBLISHED_MULTIPLE = 256  # of a SwiGLU's inner width
TRM_PUZZLE_POSITIONS = 16  # of TRM's puzzle embedding, where its configuration does not say


def strip_prefixes(name: str) -> str:
    """`_orig_mod.model.inner.lm_head.weight` -> `lm_head.weight`, in whatever order and number the prefixes stand."""
    while name.startswith(PREFIXES):
        name = name.split(".", 1)[1]
    return name


def published_config(config: Mapping[str, Any]) -> NetworkConfig:
    """Our configuration from the published keys.

    TRM is recognised by its keys: `mlp_t` or `no_ACT_continue` present, or no H layers.

    Raises:
        ConfigError: an unknown key, or one of the needed ones missing.
    """
    unknown = sorted(set(config) - set(CONFIG_KEYS) - IGNORED_KEYS)
    if unknown:
        raise ConfigError(f"published configuration has unknown keys {', '.join(unknown)}; known are {', '.join(CONFIG_KEYS)}")
    missing = sorted({"seq_len", "vocab_size", "hidden_size", "num_heads", "H_cycles", "L_cycles", "L_layers"} - set(config))
    if missing:
        raise ConfigError(
            f"published configuration lacks {', '.join(missing)}; give the checkpoint's own all_config arch section"
        )
    values = {ours: config[theirs] for theirs, ours in CONFIG_KEYS.items() if theirs in config}
    tiny = "mlp_t" in config or "no_ACT_continue" in config or not config.get("H_layers", 0)
    backbone = "hrm" if not tiny else ("trm-mixer" if config.get("mlp_t") else "trm")
    values["expansion"] = float(values.get("expansion", 4))
    if tiny and values.get("puzzle_embedding_size", 0):
        values.setdefault("puzzle_embedding_length", TRM_PUZZLE_POSITIONS)
    return NetworkConfig(backbone=backbone, **values)


def config_as_published(config: NetworkConfig) -> dict[str, Any]:
    """The published configuration keys of a network: the inverse of `published_config`.

    The published code also asks for `batch_size`, `halt_max_steps` and `halt_exploration_prob`, which are of the training and not of the
    network; `no_ACT_continue` is as TRM has it, true. "hrm-full" differs from "hrm" in its gradient only and comes back as "hrm".

    Raises:
        ConfigError: the network has no published form.
    """
    if config.backbone not in PUBLISHED_BACKBONES:
        raise ConfigError(
            f"backbone {config.backbone!r} has no published form; expected one of {', '.join(PUBLISHED_BACKBONES)}. "
            "Keep it in this project's own format (HRMAgent.save)"
        )
    if config.registers:
        raise ConfigError(f"registers is {config.registers}; published networks have none, so this one has no published form")
    if config.swiglu != "plain":
        raise ConfigError(f"swiglu is {config.swiglu!r}; published networks are 'plain', so this one has no published form")
    tiny = config.backbone in ("trm", "trm-mixer")
    mixer = config.backbone == "trm-mixer"
    for size in (config.hidden_size, *([config.prefix + config.cells] if mixer else [])):
        ours, theirs = (swiglu_size(size, config.expansion, multiple) for multiple in (config.mlp_multiple, PUBLISHED_MULTIPLE))
        if ours != theirs:
            raise ConfigError(
                f"mlp_multiple is {config.mlp_multiple}: a SwiGLU over {size} has {ours} inner values; the published {theirs} "
                f"(mlp_multiple {PUBLISHED_MULTIPLE}), so this network has no published form"
            )
    needed = dataclasses.replace(config, puzzle_embedding_length=0).puzzle_positions
    if not tiny and config.puzzle_positions != needed:
        raise ConfigError(
            f"puzzle_embedding_length is {config.puzzle_embedding_length}; the published HRM has {needed} for "
            f"puzzle_embedding_size {config.puzzle_embedding_size}, so this network has no published form"
        )
    published = {theirs: getattr(config, ours) for theirs, ours in CONFIG_KEYS.items()}
    if tiny:
        published |= {"mlp_t": mixer, "no_ACT_continue": True}
    else:
        del published["puzzle_emb_len"]
    return published


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Weights from a safetensors or torch file, on the CPU; a torch file is read with `weights_only`, which runs no code of it.

    Raises:
        CheckpointError: missing or broken file.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} does not exist; give a .safetensors file or a torch state dict")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:
        raise CheckpointError(
            f"checkpoint {path} cannot be read ({type(error).__name__}); expected safetensors or a torch state dict"
        ) from None


def load_published(state_dict_or_file: Mapping[str, Tensor] | str | Path, config: Mapping[str, Any]) -> RecursiveNetwork:
    """A network with published weights.

    Args:
        state_dict_or_file: names as published (`model.inner....`, with or without `_orig_mod.`), or a file with them.
        config: the published configuration keys (`hidden_size`, `H_cycles`, ...). Without `num_puzzle_identifiers` the puzzle
            embedding has as many rows as the weights.

    Raises:
        CheckpointError: names or shapes that do not fit.
        ConfigError: a configuration that is not understood.
    """
    named = read_state_dict(state_dict_or_file) if isinstance(state_dict_or_file, str | Path) else state_dict_or_file
    weights = {strip_prefixes(name): tensor for name, tensor in named.items()}
    shape = published_config(config)
    if "puzzle_emb.weights" in weights and shape.puzzle_embedding_size:
        rows = len(weights["puzzle_emb.weights"])
        if "num_puzzle_identifiers" not in config:
            shape = dataclasses.replace(shape, puzzle_ids=rows)
        elif rows != shape.puzzle_ids:
            raise CheckpointError(
                f"published checkpoint has {rows} rows of puzzle embedding; its configuration says num_puzzle_identifiers "
                f"{shape.puzzle_ids}; give the checkpoint's own configuration, or leave num_puzzle_identifiers out"
            )
    network = build_network(shape)
    load_weights(network, weights, "published checkpoint")
    return network


def published_state_dict(network: RecursiveNetwork) -> dict[str, Tensor]:
    """The network's weights under the published names (`model.inner....`).

    Raises:
        ConfigError: the network has no published form.
    """
    config_as_published(network.config)
    return {f"model.inner.{name}": tensor for name, tensor in network.state_dict().items()}


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], what: str) -> None:
    """Load `weights` into `network`; every name and shape has to fit.

    Raises:
        CheckpointError: names the first misfit.
    """
    own = network.state_dict()
    missing, extra = sorted(set(own) - set(weights)), sorted(set(weights) - set(own))
    if missing or extra:
        raise CheckpointError(
            f"{what} does not fit the network: missing {', '.join(missing[:3]) or 'nothing'}; not known {', '.join(extra[:3]) or 'nothing'}"
        )
    for name, tensor in weights.items():
        if tensor.shape != own[name].shape:
            raise CheckpointError(
                f"{what}: {name} has shape {tuple(tensor.shape)}; the network expects {tuple(own[name].shape)}"
            )
    network.load_state_dict({name: tensor.to(own[name].dtype) for name, tensor in weights.items()})
