"""The backbones by name.

| name        | modules                                              | gradient of a step                      |
| ----------- | ---------------------------------------------------- | --------------------------------------- |
| hrm         | slow H and fast L stack, attention                   | last L update, last H update            |
| hrm-full    | the same                                             | whole last cycle                        |
| trm         | one stack in both roles, attention                   | whole last recursion, l_cycles + 1 uses |
| trm-mixer   | the same, SwiGLU across positions for attention      | as trm                                  |
| hybrid      | the same, half of the heads a state-space scan       | as trm                                  |
| transformer | one stack of h_layers + l_layers, one state, control | last of h_cycles applications           |
"""

from __future__ import annotations

from hrm_gym.agents.hrm import HRM, FullCycleHRM
from hrm_gym.agents.hybrid import Hybrid
from hrm_gym.agents.network import NetworkConfig, RecursiveNetwork
from hrm_gym.agents.transformer import Transformer
from hrm_gym.agents.trm import TRM, TRMMixer
from hrm_gym.envs.errors import ConfigError

BACKBONES: dict[str, type[RecursiveNetwork]] = {
    "hrm": HRM,
    "hrm-full": FullCycleHRM,
    "trm": TRM,
    "trm-mixer": TRMMixer,
    "hybrid": Hybrid,
    "transformer": Transformer,
}


def build_network(config: NetworkConfig, seed: int = 0) -> RecursiveNetwork:
    """The network that `config` describes, with initial weights drawn from `seed`.

    Raises:
        ConfigError: unknown backbone.
    """
    if config.backbone not in BACKBONES:
        raise ConfigError(f"backbone {config.backbone!r} is unknown; expected one of {', '.join(BACKBONES)}")
    return BACKBONES[config.backbone](config, seed)
