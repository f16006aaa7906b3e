"""Networks from the published HRM and TRM checkpoints: their weight names and configuration keys (sapientinc/HRM,
SamsungSAILMontreal/TinyRecursiveModels) to ours.

Our parameter names are the published ones without `model.inner.`, so conversion only strips prefixes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from hrm_gym.agents.backbones import build_network
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
    return NetworkConfig(backbone=backbone, **values)


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
        config: the published configuration keys (`hidden_size`, `H_cycles`, ...).

    Raises:
        CheckpointError: names or shapes that do not fit.
        ConfigError: a configuration that is not understood.
    """
    weights = read_state_dict(state_dict_or_file) if isinstance(state_dict_or_file, str | Path) else state_dict_or_file
    network = build_network(published_config(config))
    load_weights(network, {strip_prefixes(name): tensor for name, tensor in weights.items()}, "published checkpoint")
    return network


def published_state_dict(network: RecursiveNetwork) -> dict[str, Tensor]:
    """The network's weights under the published names (`model.inner....`)."""
    return {f"model.inner.{name}": tensor for name, tensor in network.state_dict().items()}


def load_weights(network: RecursiveNetwork, weights: Mapping[str, Tensor], what: str) -> None:
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
