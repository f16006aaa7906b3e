"""TRM, the Tiny Recursive Model (Jolicoeur-Martineau 2025, arXiv 2510.04871): one small network in both roles.

Paper -> here: y (answer) -> `State.z_h`; z (reasoning) -> `State.z_l`; T -> `h_cycles`; n -> `l_cycles`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hrm_gym.agents.layers import Module
from hrm_gym.agents.network import RecursiveNetwork, State


class TRM(RecursiveNetwork):
    """One module for both updates; the gradient flows through the whole last recursion (`l_cycles` + 1 applications)."""

    def build(self, generator: torch.Generator) -> None:
        self.L_level = Module(self.blocks(self.config.l_layers, generator))

    def recurse(
        self, z_h: Tensor, z_l: Tensor, embedded: Tensor, rotary: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        for _ in range(self.config.l_cycles):
            z_l = self.L_level(z_l, z_h + embedded, rotary)
        return self.L_level(z_h, z_l, rotary), z_l

    def think(self, state: State, embedded: Tensor, rotary: tuple[Tensor, Tensor] | None) -> State:
        z_h, z_l = state
        with torch.no_grad():
            for _ in range(self.config.h_cycles - 1):
                z_h, z_l = self.recurse(z_h, z_l, embedded, rotary)
        z_h, z_l = self.recurse(z_h, z_l, embedded, rotary)
        return State(z_h, z_l)


class TRMMixer(TRM):
    """TRM whose blocks mix positions with a SwiGLU over the length instead of attention (`mlp_t` in the published configuration)."""

    def mixing(self, generator: torch.Generator) -> nn.Module:
        return self.swiglu(self.length, generator)
