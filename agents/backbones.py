"""The backbones by name."""

from __future__ import annotations

from hrm_gym.agents.hrm import HRM
from hrm_gym.agents.network import NetworkConfig, RecursiveNetwork
from hrm_gym.agents.trm import TRM, TRMMixer
from hrm_gym.envs.errors import ConfigError

BACKBONES: dict[str, type[RecursiveNetwork]] = {"hrm": HRM, "trm": TRM, "trm-mixer": TRMMixer}


def build_network(config: NetworkConfig, seed: int = 0) -> RecursiveNetwork:
    """The network that `config` describes, with initial weights drawn from `seed`.

    Raises:
        ConfigError: unknown backbone.
    """
    if config.backbone not in BACKBONES:
        raise ConfigError(f"backbone {config.backbone!r} is unknown; expected one of {', '.join(BACKBONES)}")
    return BACKBONES[config.backbone](config, seed)
