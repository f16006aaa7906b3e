"""Floating-point operations, so that agents that think in different ways can be compared at equal compute.

A multiplication and an addition count as two. Only matrix products are counted (norms, softmax and the like are small beside them),
attention in full, whatever is masked.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hrm_gym.agents.agent import HRMAgent
from hrm_gym.agents.network import RecursiveNetwork
from hrm_gym.agents.solving import Solutions
from hrm_gym.agents.written_out import WrittenOutAgent, WrittenSolutions


@contextmanager
def counting() -> Iterator[FlopCounterMode]:
    """While inside, all matrix products are counted; `get_total_flops()` of what it yields is their sum.

    Attention runs as plain products here: the counter does not know the CPU's fused kernel.
    """
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        yield counter


@torch.no_grad()
def step_flops(network: RecursiveNetwork) -> int:
    """Forward FLOPs of one step of thought about one puzzle."""
    device = network.H_init.device
    tokens = torch.zeros(1, network.config.cells, dtype=torch.int64, device=device)
    puzzle_ids = torch.zeros(1, dtype=torch.int64, device=device) if network.config.puzzle_embedding_size else None
    with counting() as counter:
        network.step(network.initial_state(1), tokens, puzzle_ids)
    return int(counter.get_total_flops())


def forward_flops(agent: HRMAgent | WrittenOutAgent, solutions: Solutions) -> np.ndarray:
    """Forward FLOPs spent on each puzzle: float64[N].

    Args:
        agent: which gave the solutions.
        solutions: of its `solve`; with retries, the steps of all attempts count.
    """
    if isinstance(solutions, WrittenSolutions):
        return solutions.flops
    assert isinstance(agent, HRMAgent)
    return step_flops(agent.network) * solutions.steps.astype(np.float64)
