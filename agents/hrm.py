"""HRM, the Hierarchical Reasoning Model (Wang et al. 2025, arXiv 2506.21734).

Paper -> here: x~ -> `embedded`; z_H, z_L -> `State.z_h`, `State.z_l`; N cycles of T steps -> `h_cycles`, `l_cycles`;
f_L, f_H -> `L_level`, `H_level`; segment m -> one `step`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hrm_gym.agents.layers import Module
from hrm_gym.agents.network import RecursiveNetwork, State


class HRM(RecursiveNetwork):
    """A slow H module and a fast L module with the one-step gradient.

    All updates but the last L and the last H update run without gradient, so that memory does not grow with the number of cycles
    (paper section 2, "approximate gradient").
    """

    def build(self, generator: torch.Generator) -> None:
        self.H_level = Module(self.blocks(self.config.h_layers, generator))
        self.L_level = Module(self.blocks(self.config.l_layers, generator))

    def updates_with_gradient(self) -> int:
        """Of the L updates of the last cycle, how many (the last ones) carry the gradient."""
        return 1

    def think(self, state: State, embedded: Tensor, rotary: tuple[Tensor, Tensor] | None) -> State:
        z_h, z_l = state
        with_gradient = self.updates_with_gradient()
        with torch.no_grad():
            for cycle in range(self.config.h_cycles):
                last = cycle == self.config.h_cycles - 1
                for _ in range(self.config.l_cycles - (with_gradient if last else 0)):
                    z_l = self.L_level(z_l, z_h + embedded, rotary)
                if not last:
                    z_h = self.H_level(z_h, z_l, rotary)
        for _ in range(with_gradient):
            z_l = self.L_level(z_l, z_h + embedded, rotary)
        z_h = self.H_level(z_h, z_l, rotary)
        return State(z_h, z_l)


class FullCycleHRM(HRM):
    """HRM with the gradient through the whole last cycle: all of its `l_cycles` L updates and its H update. The outputs are HRM's."""

    def updates_with_gradient(self) -> int:
        return self.config.l_cycles
