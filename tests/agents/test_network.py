"""The interface of the backbones: states, gradients, precision, randomness."""

from __future__ import annotations

import pytest
import torch

from hrm_gym.agents.backbones import BACKBONES, build_network
from hrm_gym.agents.layers import SwiGLU, truncated_normal
from hrm_gym.agents.network import NetworkConfig
from hrm_gym.envs.errors import ConfigError


def config(**changes):
    values = {
        "cells": 9, "vocabulary": 6, "hidden_size": 16, "heads": 2, "expansion": 2.0, "mlp_multiple": 8, "h_layers": 1, "l_layers": 2,
        "h_cycles": 2, "l_cycles": 2, "positions": "none", **changes,
    }  # fmt: skip
    return NetworkConfig(**values)


def tokens(count=3, seed=0):
    return torch.randint(6, (count, 9), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=list(BACKBONES))
def backbone(request):
    return request.param


@pytest.mark.parametrize("positions", ["rope", "learned", "none"])
def test_shapes_and_dtypes(backbone, positions):
    network = build_network(config(backbone=backbone, positions=positions, puzzle_ids=4, puzzle_embedding_size=20))
    state, output = network.step(network.initial_state(3), tokens(), torch.tensor([0, 3, 1]))
    assert state.z_h.shape == (3, 2 + 9, 16)  # 20 numbers take two positions of 16
    assert state.z_l.shape == (3, 2 + 9 if network.hierarchy else 0, 16)
    assert output.logits.shape == (3, 9, 6)
    assert output.q_halt.shape == output.q_continue.shape == (3,)
    assert output.q_halt.dtype == torch.float32


def test_old_configurations_keep_their_weights():
    """Sum of absolute weights and three logits of networks made before registers and the normed SwiGLU were there."""
    known = {
        ("hrm", "rope"): (1377.957049, [-0.30219, -0.47066, 1.27812]),
        ("hrm", "learned"): (1417.360854, [0.59453, -1.07804, 0.2164]),
        ("trm", "rope"): (945.70416, [-1.01354, 0.31253, 1.35564]),
        ("trm-mixer", "learned"): (807.181447, [0.99781, 0.65703, 0.39278]),
    }
    for (name, positions), (weights, logits) in known.items():
        network = build_network(config(backbone=name, positions=positions, puzzle_ids=4, puzzle_embedding_size=20), 3)
        _, output = network.step(network.initial_state(2), torch.arange(18).view(2, 9) % 6, torch.tensor([1, 2]))
        assert sum(values.double().abs().sum().item() for values in network.state_dict().values()) == pytest.approx(weights)
        assert output.logits[1, -1, :3].tolist() == pytest.approx(logits, abs=2e-3)


@pytest.mark.parametrize("swiglu", ["plain", "normed"])
@pytest.mark.parametrize("registers", [0, 2])
@pytest.mark.parametrize("embedding", [0, 20])
def test_every_combination_steps(backbone, swiglu, registers, embedding):
    network = build_network(
        config(backbone=backbone, swiglu=swiglu, registers=registers, puzzle_ids=4, puzzle_embedding_size=embedding)
    )
    state = network.initial_state(3)
    for _ in range(2):
        state, output = network.step(state, tokens(), torch.tensor([0, 3, 1]))
    assert state.z_h.shape == (3, registers + 2 * (embedding > 0) + 9, 16)
    assert output.logits.shape == (3, 9, 6) and output.logits.isfinite().all()


def test_registers_stand_in_front_and_the_q_head_reads_the_first(backbone):
    network = build_network(config(backbone=backbone, registers=2, puzzle_ids=4, puzzle_embedding_size=20))
    embedded = network.embed(tokens(), network.puzzle_rows(torch.tensor([0, 1, 2])))
    assert embedded.shape == (3, 2 + 2 + 9, 16) and network.config.prefix == 4
    assert torch.allclose(embedded[1, :2] / 4, network.registers.embedding_weight)  # times the root of the hidden size
    assert torch.equal(embedded[:, 2:4], torch.zeros(3, 2, 16))  # the puzzle embedding starts at zero
    with torch.no_grad():
        network.q_head.weight.fill_(0.1)
    state, output = network.step(network.initial_state(3), tokens(), torch.tensor([0, 1, 2]))
    assert output.logits.shape == (3, 9, 6)
    assert torch.allclose(output.q_halt, state.z_h[:, 0].sum(-1) * 0.1 - 5, atol=1e-5)


def test_normed_swiglu():
    layer = SwiGLU(4, 3.0, 2, torch.Generator().manual_seed(0), "normed", 1e-5)
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    gate, up = (x @ layer.gate_up_proj.weight.T).chunk(2, dim=-1)
    product = gate * up
    inner = product / (product.square().mean(-1, keepdim=True) + 1e-5).sqrt() / (1 + torch.exp(-gate))
    assert torch.allclose(layer(x), inner @ layer.down_proj.weight.T, atol=1e-6)


def test_rows_handed_in_are_the_rows_looked_up(backbone):
    network = build_network(config(backbone=backbone, puzzle_ids=4, puzzle_embedding_size=20))
    with torch.no_grad():
        network.puzzle_emb.weights.normal_(generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([3, 0, 3])
    rows = network.puzzle_rows(ids).detach().requires_grad_()
    _, looked_up = network.step(network.initial_state(3), tokens(), ids)
    _, handed_in = network.advance(network.initial_state(3), tokens(), rows)
    assert torch.equal(looked_up.logits, handed_in.logits)
    looked_up.logits[..., 0].sum().backward()
    expected, network.puzzle_emb.weights.grad = network.puzzle_emb.weights.grad, None
    handed_in.logits[..., 0].sum().backward()
    assert network.puzzle_emb.weights.grad is None
    assert torch.allclose(torch.zeros(4, 20).index_add(0, ids, rows.grad), expected, atol=1e-5)
    assert expected[3].abs().sum() > 0
    assert build_network(config(backbone=backbone)).puzzle_rows(ids) is None


def test_rows_do_not_see_each_other(backbone):
    network = build_network(config(backbone=backbone))
    both, _ = network.step(network.initial_state(3), tokens())
    alone, _ = network.step(network.initial_state(1), tokens()[1:2])
    assert torch.allclose(both.z_h[1], alone.z_h[0], atol=1e-5)


def test_the_state_carries_no_graph_and_the_output_does(backbone):
    network = build_network(config(backbone=backbone))
    with torch.no_grad():
        network.q_head.weight.fill_(0.1)  # it starts at zero, where the gradient ends at the head
    state, output = network.step(network.initial_state(3), tokens())
    assert not state.z_h.requires_grad and not state.z_l.requires_grad
    (output.logits.sum() + output.q_halt.sum() + output.q_continue.sum()).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def saved_bytes(network):
    """Bytes that autograd keeps for the backward pass of one step."""
    total = 0

    def pack(tensor):
        nonlocal total
        total += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network.step(network.initial_state(3), tokens())
    return total


def test_memory_does_not_grow_with_the_h_cycles(backbone):
    few, many = (saved_bytes(build_network(config(backbone=backbone, h_cycles=cycles))) for cycles in (1, 8))
    assert few == many > 0


@pytest.mark.parametrize(
    ("backbone", "grows"),
    [("hrm", False), ("transformer", False), ("hrm-full", True), ("trm", True), ("trm-mixer", True), ("hybrid", True)],
)
def test_memory_grows_with_the_l_cycles_where_the_gradient_flows_through_all(backbone, grows):
    few, many = (saved_bytes(build_network(config(backbone=backbone, l_cycles=cycles))) for cycles in (2, 8))
    assert (many > few) is grows
    assert grows or many == few


def test_full_cycle_differs_from_hrm_in_its_gradient_only():
    """The same numbers forward; backward those of a loop that detaches before the last cycle."""
    networks = [build_network(config(backbone=name, h_cycles=3, l_cycles=3), 5) for name in ("hrm", "hrm-full")]
    outputs = [network.step(network.initial_state(3), tokens())[1].logits for network in networks]
    assert torch.equal(*outputs)
    for output in outputs:
        output.square().sum().backward()
    one_step, full = networks
    embedded, rotary = full.embed(tokens(), None), full.rotary()
    z_h, z_l = full.initial_state(3)
    for cycle in range(3):
        if cycle == 2:
            z_h, z_l = z_h.detach(), z_l.detach()
        for _ in range(3):
            z_l = full.L_level(z_l, z_h + embedded, rotary)
        z_h = full.H_level(z_h, z_l, rotary)
    expected = torch.autograd.grad(full.lm_head(z_h).square().sum(), list(full.parameters()), allow_unused=True)
    for parameter, gradient in zip(full.parameters(), expected, strict=True):
        assert gradient is None or torch.allclose(parameter.grad, gradient, rtol=1e-3, atol=1e-4)
    name = "L_level.layers.0.mlp.down_proj.weight"
    assert not torch.allclose(one_step.get_parameter(name).grad, full.get_parameter(name).grad, rtol=0.1)


@pytest.mark.parametrize(
    "changes", [{}, {"positions": "learned", "puzzle_ids": 4, "puzzle_embedding_size": 20, "registers": 2}, {"h_layers": 3}]
)
def test_the_control_has_as_many_parameters_as_hrm(changes):
    counts = {
        sum(parameter.numel() for parameter in build_network(config(backbone=name, **changes)).parameters())
        for name in ("hrm", "hrm-full", "transformer")
    }
    assert len(counts) == 1


def test_the_control_applies_one_stack_h_cycles_times():
    network = build_network(config(backbone="transformer", h_cycles=3, h_layers=2, l_layers=3))
    assert len(network.level.layers) == 5
    state, _ = network.step(network.initial_state(3), tokens())
    z, embedded = network.initial_state(3).z_h, network.embed(tokens(), None)
    for _ in range(3):
        z = z + embedded
        for block in network.level.layers:
            z = block(z, None)
    assert torch.allclose(state.z_h, z, atol=1e-5)


def test_float64_agrees_with_float32(backbone):
    wide, narrow = (build_network(config(backbone=backbone, precision=name), 2) for name in ("float64", "float32"))
    state, exact = wide.step(wide.initial_state(3), tokens())
    _, rounded = narrow.step(narrow.initial_state(3), tokens())
    assert state.z_h.dtype == torch.float64
    assert (rounded.logits - exact.logits).norm() / exact.logits.norm() < 1e-4


def test_reset_puts_back_chosen_rows_only(backbone):
    network = build_network(config(backbone=backbone))
    state, _ = network.step(network.initial_state(3), tokens())
    reset = network.reset_state(state, torch.tensor([True, False, True]))
    start = network.initial_state(3)
    for part in ("z_h", "z_l"):
        assert torch.equal(getattr(reset, part)[0], getattr(start, part)[0])
        assert torch.equal(getattr(reset, part)[1], getattr(state, part)[1])


def test_nothing_halts_at_the_start(backbone):
    network = build_network(config(backbone=backbone))
    _, output = network.step(network.initial_state(3), tokens())
    assert output.q_halt.tolist() == output.q_continue.tolist() == [-5.0] * 3


def test_bfloat16_is_close_to_float32(backbone):
    if backbone == "trm-mixer":
        pytest.skip("its random start amplifies rounding")
    wide, narrow = (build_network(config(backbone=backbone, precision=name)) for name in ("float32", "bfloat16"))
    narrow.load_state_dict(wide.state_dict())
    _, exact = wide.step(wide.initial_state(3), tokens())
    state, rounded = narrow.step(narrow.initial_state(3), tokens())
    assert state.z_h.dtype == torch.bfloat16
    assert (rounded.logits.float() - exact.logits).norm() / exact.logits.norm() < 0.1
    assert next(narrow.parameters()).dtype == torch.float32


def test_the_seed_decides_the_weights_and_the_global_generator_is_left_alone(backbone):
    before = torch.get_rng_state()
    one, same, other = (build_network(config(backbone=backbone), seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), same.state_dict().values(), strict=True))
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)


def test_truncated_normal_has_the_asked_deviation_and_is_cut():
    values = truncated_normal((200_000,), 0.5, torch.Generator().manual_seed(0))
    assert values.std().item() == pytest.approx(0.5, rel=0.01)
    assert values.mean().item() == pytest.approx(0.0, abs=0.01)
    assert values.abs().max().item() < 0.5 * 2 / 0.879  # two deviations, stretched


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": "gpt"}, "backbone 'gpt' is unknown; expected one of hrm"),
        ({"precision": "int4"}, "precision 'int4' is unknown"),
        ({"positions": "sines"}, "positions 'sines' is unknown"),
        ({"heads": 5}, "hidden_size 16 over 5 heads"),
        ({"l_cycles": 0}, "l_cycles is 0; expected at least 1"),
        ({"registers": -1}, "registers is -1; expected 0 or more"),
        ({"swiglu": "wide"}, "swiglu 'wide' is unknown; expected one of plain, normed"),
        ({"puzzle_embedding_length": 2}, "puzzle_embedding_size 0 does not fit puzzle_embedding_length 2; expected 1 to 32"),
    ],
)
def test_bad_shapes_are_named(change, message):
    with pytest.raises(ConfigError, match=message):
        build_network(config(**change))


def test_puzzle_ids_are_asked_for():
    network = build_network(config(puzzle_ids=4, puzzle_embedding_size=16))
    with pytest.raises(ConfigError, match="give step\\(\\) the puzzle_ids"):
        network.step(network.initial_state(3), tokens())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_cuda_agrees_with_the_cpu(backbone, precision):
    if backbone == "trm-mixer":
        pytest.skip("its random start amplifies rounding")
    network = build_network(config(backbone=backbone))
    _, expected = network.step(network.initial_state(3), tokens())
    there = build_network(config(backbone=backbone, precision=precision)).cuda()
    there.load_state_dict(network.state_dict())
    _, output = there.step(there.initial_state(3), tokens().cuda())
    error = (output.logits.float().cpu() - expected.logits).norm() / expected.logits.norm()
    assert error < (1e-3 if precision == "float32" else 0.1)
