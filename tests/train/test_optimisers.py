"""Optimisers against their formulas written out for a single number."""

from __future__ import annotations

import math

import pytest
import torch

from hrm_gym.train.config import TrainConfig
from hrm_gym.train.optimisers import AdamATan2, Optimisers, SignDescent, WeightAverage, learning_rate_factor


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


def test_sign_descent_leaves_rows_without_gradient_alone():
    table = torch.ones(3, 2, requires_grad=True)
    table.grad = torch.tensor([[0.0, 0.0], [2.0, -3.0], [0.0, 1.0]])
    SignDescent([table], lr=0.1, weight_decay=0.5).step()
    assert torch.allclose(table, torch.tensor([[1.0, 1.0], [0.85, 1.05], [0.95, 0.85]]))


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


@pytest.mark.parametrize("optimiser", ["adamw", "adam-atan2"])
def test_clipping_bounds_the_step_and_gradients_are_forgotten(optimiser):
    config = TrainConfig(optimiser=optimiser, gradient_clip=1.0, warmup_steps=0)
    layer = torch.nn.Linear(4, 4)
    optimisers = Optimisers(layer, config)
    (1e6 * layer(torch.ones(1, 4)).sum()).backward()
    norm = optimisers.step(0)
    assert norm > 1e5
    assert all(parameter.grad is None for parameter in layer.parameters())
