"""The hybrid backbone's scan against a loop over the positions."""

from __future__ import annotations

import pytest
import torch

from hrm_gym.agents.backbones import build_network
from hrm_gym.agents.hybrid import scan_both_ways
from hrm_gym.agents.network import NetworkConfig
from hrm_gym.envs.errors import ConfigError


def one_way(query, key, value, logs):
    """The recurrence as written: h_t = exp(log_t) h_(t-1) + key_t value_t^T, read_t = query_t h_t."""
    h = query.new_zeros(*query.shape[:2], query.shape[-1], value.shape[-1])
    read = []
    for t in range(query.shape[2]):
        h = h * logs[:, :, t, None, None].exp() + key[:, :, t, :, None] * value[:, :, t, None, :]
        read.append((query[:, :, t, None, :] @ h).squeeze(2))
    return torch.stack(read, 2)


def both_ways(query, key, value, forward, backward):
    right = one_way(*(x.flip(2) for x in (query, key, value, backward))).flip(2)
    seen_twice = (query * key).sum(-1, keepdim=True) * value
    return one_way(query, key, value, forward) + right - seen_twice


def inputs(length, strength, dtype, seed=0):
    random = torch.Generator().manual_seed(seed)
    query, key, value = torch.randn(3, 2, 2, length, 4, generator=random, dtype=torch.float64)
    forward, backward = -strength * torch.rand(2, 2, 2, length, generator=random, dtype=torch.float64)
    return [x.to(dtype).requires_grad_() for x in (query, key, value, forward, backward)]


@pytest.mark.parametrize(("length", "chunk"), [(1, 128), (7, 128), (7, 3), (8, 4), (9, 1), (300, 128), (900, 128)])
@pytest.mark.parametrize("strength", [0.01, 2.0, 300.0])
def test_scan_equals_a_loop_over_the_positions(length, chunk, strength):
    arguments = inputs(length, strength, torch.float64)
    torch.testing.assert_close(scan_both_ways(*arguments, chunk), both_ways(*arguments), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("strength", [0.01, 300.0])
def test_gradients_of_the_scan_equal_the_loops(strength):
    arguments = inputs(20, strength, torch.float64)
    towards = torch.randn(2, 2, 20, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = torch.autograd.grad((both_ways(*arguments) * towards).sum(), arguments)
    found = torch.autograd.grad((scan_both_ways(*arguments, 6) * towards).sum(), arguments)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_float32_keeps_up_over_the_longest_sequences():
    wide = inputs(900, 0.5, torch.float64)
    exact = scan_both_ways(*wide)
    rounded = scan_both_ways(*(x.float() for x in wide))
    assert (rounded - exact).norm() / exact.norm() < 1e-4


def small(**changes):
    shape = {"cells": 16, "vocabulary": 6, "hidden_size": 16, "heads": 2, "mlp_multiple": 8, "l_layers": 2}
    return NetworkConfig(**{"backbone": "hybrid", **shape, **changes})


def test_a_cell_far_away_is_seen_from_both_sides():
    """With the attending heads silenced, the scan alone carries news from either end of the grid to the other."""
    network = build_network(small(positions="none"))
    mixing = network.L_level.layers[0].self_attn
    with torch.no_grad():
        mixing.o_proj.weight[:, : mixing.attending * mixing.head_size] = 0.0
    x = torch.randn(1, 16, 16, generator=torch.Generator().manual_seed(0))
    base = mixing(x, None)
    for changed, watched in ((0, 15), (15, 0)):
        other = x.clone()
        other[:, changed] += 1.0
        assert (mixing(other, None) - base)[0, watched].abs().max() > 1e-4


def test_positions_matter_without_position_encoding():
    """Attention alone cannot tell permuted cells apart; the scan can."""
    for backbone, same in (("trm", True), ("hybrid", False)):
        network = build_network(small(backbone=backbone, positions="none"))
        tokens = torch.tensor([[1, 2, 3, 4] * 4])
        _, output = network.step(network.initial_state(1), tokens)
        _, turned = network.step(network.initial_state(1), tokens.flip(1))
        assert torch.allclose(output.logits, turned.logits.flip(1), atol=1e-3) is same


def test_one_head_cannot_be_halved():
    with pytest.raises(ConfigError, match="heads is 1; the hybrid backbone needs at least 2"):
        build_network(small(heads=1))
