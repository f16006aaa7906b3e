"""Optimisers against their formulas written out for a single number."""

from __future__ import annotations

import math

import pytest
import torch

from hrm_gym.agents.backbones import build_network
from hrm_gym.agents.network import NetworkConfig
from hrm_gym.train.config import TrainConfig
from hrm_gym.train.optimisers import (
    AdamATan2,
    Muon,
    Optimisers,
    PuzzleTable,
    WeightAverage,
    learning_rate_factor,
    orthogonalise,
)


def test_adam_atan2_equals_its_formula():
    gradients = [0.5, -2.0, 1e-9, 1e9]
    parameter = torch.tensor([1.5, 1.5], dtype=torch.float64, requires_grad=True)
    optimiser = AdamATan2([parameter], lr=0.01, betas=(0.9, 0.95), weight_decay=0.3)
    p, m, v = 1.5, 0.0, 0.0
    for t, g in enumerate(gradients, start=1):
        parameter.grad = torch.tensor([g, g], dtype=torch.float64)
        optimiser.step()
        m, v = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g * g
        p = p * (1 - 0.01 * 0.3) - 0.01 / (1 - 0.9**t) * math.atan2(m, math.sqrt(v / (1 - 0.95**t)))
        assert parameter.tolist() == pytest.approx([p, p], rel=1e-12)


def test_the_puzzle_table_moves_the_rows_in_use_and_no_others():
    table = PuzzleTable(torch.nn.Parameter(torch.ones(4, 2)), learning_rate=0.2, weight_decay=0.5)
    ids = torch.tensor([3, 1, 3, 1])
    rows = table.look_up(ids)
    # the gradients of a row that is looked up twice add up: row 3 gets (1 - 2, 1 + 1), row 1 gets (0, 2 - 2)
    (rows * torch.tensor([[1.0, 1.0], [0.0, 2.0], [-2.0, 1.0], [0.0, -2.0]])).sum().backward()
    table.step(ids, rows.grad, factor=0.5)
    assert torch.allclose(table.weights, torch.tensor([[1.0, 1.0], [0.95, 0.95], [1.0, 1.0], [1.05, 0.85]]))


def test_a_step_of_a_large_puzzle_table_touches_few_rows():
    """A million rows: a dense gradient, or one pass over the table, would be seen in what is allocated."""
    table = PuzzleTable(torch.zeros(1_000_000, 8), learning_rate=0.1, weight_decay=0.1)
    ids = torch.tensor([5, 999_999, 5])
    with torch.profiler.profile(profile_memory=True) as profile:
        rows = table.look_up(ids)
        (rows * 1.0).sum().backward()
        table.step(ids, rows.grad, 1.0)
    assert sum(max(event.self_cpu_memory_usage, 0) for event in profile.key_averages()) < 10_000  # bytes
    assert table.weights.count_nonzero(dim=1).nonzero().squeeze(1).tolist() == [5, 999_999]


def test_orthogonalise_keeps_singular_vectors_and_brings_singular_values_near_one():
    matrices = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for matrix, result in zip(matrices, orthogonalise(matrices), strict=True):
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        inside = u.mT @ result @ v.mT
        assert torch.allclose(inside - inside.diag().diag(), torch.zeros(4, 4, dtype=torch.float64), atol=1e-9)
        assert (inside.diag() > 0.6).all() and (inside.diag() < 1.3).all()
    assert torch.allclose(orthogonalise(matrices.mT), orthogonalise(matrices).mT)


def test_muon_equals_torchs():
    """torch has its own since 2.9; it orthogonalises in bfloat16, so the moves agree to about a hundredth."""
    theirs_class = getattr(torch.optim, "Muon", None)
    if theirs_class is None:
        pytest.skip("this torch has no Muon")
    stream = torch.Generator().manual_seed(1)
    ours, theirs = (torch.nn.Parameter(torch.zeros(8, 4)) for _ in range(2))
    own = Muon([ours], lr=0.1, momentum=0.9, weight_decay=0.2)
    other = theirs_class([theirs], lr=0.1, momentum=0.9, weight_decay=0.2)
    for _ in range(5):
        ours.grad = torch.randn(8, 4, generator=stream)
        theirs.grad = ours.grad.clone()
        own.step()
        other.step()
    assert (ours - theirs).norm() < 0.03 * theirs.norm()


def test_muon_takes_the_matrices_of_the_blocks():
    network = build_network(
        NetworkConfig(hidden_size=16, heads=2, mlp_multiple=8, cells=9, puzzle_ids=3, puzzle_embedding_size=16)
    )
    optimisers = Optimisers(network, TrainConfig(optimiser="muon"))
    names = {parameter: name for name, parameter in network.named_parameters()}
    muon, others = ({names[p] for group in o.param_groups for p in group["params"]} for o in optimisers.all)
    assert muon == {name for name in names.values() if name.startswith(("H_level", "L_level"))}
    assert others == set(names.values()) - muon - {"puzzle_emb.weights"}


def test_learning_rate_rises_and_falls():
    config = TrainConfig(warmup_steps=10, optimiser_steps=110, final_learning_rate=0.1)
    factors = [learning_rate_factor(step, config) for step in range(110)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == pytest.approx(1.0)
    assert factors[60] == pytest.approx(0.55)
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert learning_rate_factor(110, config) == pytest.approx(0.1)


def test_average_starts_as_a_plain_mean_and_ends_as_an_exponential_one():
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(layer.weight, 0.0)
    average = WeightAverage(layer, 0.9)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    average.update(0)
    assert average.average[0].item() == pytest.approx(0.9)  # decay 1 / 10
    average.update(10_000)
    assert average.average[0].item() == pytest.approx(0.9 + 0.1 * 0.1)


def test_average_begins_when_it_is_told_to():
    layer = torch.nn.Linear(1, 1, bias=False)
    average = WeightAverage(layer, 0.9, start=3)
    for step, value in enumerate((1.0, 2.0, 3.0, 4.0)):
        with torch.no_grad():
            layer.weight.fill_(value)
        average.update(step)
        assert average.average[0].item() == pytest.approx(value if step < 3 else 0.9 * 4.0 + 0.1 * 3.0)


@pytest.mark.parametrize("optimiser", ["adamw", "adam-atan2"])
def test_clipping_bounds_the_step_and_gradients_are_forgotten(optimiser):
    config = TrainConfig(optimiser=optimiser, gradient_clip=1.0, warmup_steps=0)
    layer = torch.nn.Linear(4, 4)
    optimisers = Optimisers(layer, config)
    (1e6 * layer(torch.ones(1, 4)).sum()).backward()
    norm = optimisers.step(0)
    assert norm > 1e5
    assert all(parameter.grad is None for parameter in layer.parameters())
