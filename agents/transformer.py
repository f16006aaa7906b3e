"""The control without hierarchy: a plain recurrent transformer with as many parameters as HRM.

The ARC Prize's audit of HRM (arcprize.org/blog/hrm-analysis, 2025) put a transformer of the same size in its place and lost only
a few points: most of the score came from the outer loop. With this backbone the same question can be asked of any task.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hrm_gym.agents.layers import Module
from hrm_gym.agents.network import RecursiveNetwork, State


class Transformer(RecursiveNetwork):
    """One stack of `h_layers + l_layers` blocks, applied `h_cycles` times in a step to one carried state: z <- f(z + x).

    Embedding, heads, carried state and the one-step gradient (the last application alone) are HRM's, and so is the number of parameters.
    There is no second state, so `l_cycles` has no part in it: with `l_cycles` 1 a step costs what HRM's costs, with more it costs less.
    """

    hierarchy = False

    def build(self, generator: torch.Generator) -> None:
        self.level = Module(self.blocks(self.config.h_layers + self.config.l_layers, generator))

    def think(self, state: State, embedded: Tensor, rotary: tuple[Tensor, Tensor] | None) -> State:
        z = state.z_h
        with torch.no_grad():
            for _ in range(self.config.h_cycles - 1):
                z = self.level(z, embedded, rotary)
        return State(self.level(z, embedded, rotary), state.z_l)
