"""Losses and Q targets against plain restatements and values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from hrm_gym.envs.errors import ConfigError
from hrm_gym.train.losses import best_value, continue_loss, continue_target, draft_loss, expected_return, halt_loss, q_loss


def plain_stablemax_loss(logits, labels):
    """One sequence, one cell at a time."""
    total, count = 0.0, 0
    for cell, label in zip(logits.tolist(), labels.tolist(), strict=True):
        if label == -100:
            continue
        scores = [x + 1 if x >= 0 else 1 / (1 - x) for x in cell]
        total -= math.log(scores[label] / sum(scores))
        count += 1
    return total / max(count, 1)


def plain_softmax_loss(logits, labels, smoothing):
    total, count = 0.0, 0
    for cell, label in zip(logits.tolist(), labels.tolist(), strict=True):
        if label == -100:
            continue
        scale = sum(math.exp(x) for x in cell)
        for token, x in enumerate(cell):
            target = smoothing / len(cell) + (1 - smoothing) * (token == label)
            total -= target * math.log(math.exp(x) / scale)
        count += 1
    return total / max(count, 1)


@pytest.fixture
def logits_and_labels():
    generator = torch.Generator().manual_seed(3)
    logits = 4 * torch.randn(5, 7, 6, generator=generator)
    labels = torch.randint(0, 6, (5, 7), generator=generator)
    labels[1, 2:] = -100
    labels[2] = -100
    return logits, labels


def test_draft_losses_equal_the_plain_ones(logits_and_labels):
    logits, labels = logits_and_labels
    stable = draft_loss(logits, labels, "stablemax")
    smooth = draft_loss(logits, labels, "softmax", 0.2)
    for row in range(len(logits)):
        assert stable[row].item() == pytest.approx(plain_stablemax_loss(logits[row], labels[row]), rel=1e-6)
        assert smooth[row].item() == pytest.approx(plain_softmax_loss(logits[row], labels[row], 0.2), rel=1e-5)


def test_stablemax_has_a_finite_gradient_at_extreme_logits():
    logits = torch.tensor([[[0.0, 1.0, 1e8, -1e8]]], requires_grad=True)
    draft_loss(logits, torch.tensor([[1]]), "stablemax").sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_unknown_loss_is_named(logits_and_labels):
    with pytest.raises(ConfigError, match="'hinge' is unknown; expected one of softmax, stablemax"):
        draft_loss(*logits_and_labels, "hinge")


def test_continue_target_is_the_discounted_best_value_less_the_cost():
    def logit(p):
        return math.log(p / (1 - p))

    halt = torch.tensor([logit(0.9), logit(0.2), logit(0.2), logit(0.01)])
    on = torch.tensor([logit(0.3), logit(0.6), logit(0.6), logit(0.02)])
    must = torch.tensor([False, False, True, False])
    plain = continue_target(halt, on, must)
    assert plain.tolist() == pytest.approx([0.9, 0.6, 0.2, 0.02], rel=1e-5)
    costly = continue_target(halt, on, must, step_cost=0.1, discount=0.5)
    assert costly.tolist() == pytest.approx([0.35, 0.2, 0.0, -0.09], abs=1e-6)
    assert best_value(halt, on, must).tolist() == pytest.approx([0.9, 0.6, 0.2, 0.02], rel=1e-5)


def test_continue_target_carries_no_gradient():
    q = torch.zeros(3, requires_grad=True)
    assert not continue_target(q, q, torch.zeros(3, dtype=torch.bool)).requires_grad


def test_q_losses_are_smallest_at_their_targets():
    verified = torch.tensor([True, False])
    assert halt_loss(torch.tensor([9.0, -9.0]), verified).max() < 1e-3 < halt_loss(torch.tensor([-9.0, 9.0]), verified).min()
    target = torch.tensor([0.3])
    losses = [continue_loss(torch.tensor([math.log(p / (1 - p))]), target).item() for p in (0.2, 0.3, 0.4)]
    assert losses[1] == min(losses)


def plain_q_loss(q, target, kind):
    p = 1 / (1 + math.exp(-q))
    if kind == "huber":
        end = math.log(99)  # where the sigmoid is 0.01 or 0.99
        value = p if abs(q) <= end else 0.99 + 0.0099 * (q - end) if q > 0 else 0.01 + 0.0099 * (q + end)
        error = abs(value - target)
        return error**2 / 2 if error <= 1 else error - 0.5
    target = min(max(target, 0), 1)
    return -target * math.log(p) - (1 - target) * math.log(1 - p)


@pytest.mark.parametrize("kind", ["cross-entropy", "huber"])
def test_q_losses_equal_the_plain_ones(kind):
    qs = torch.tensor([-3.0, -1.0, 0.0, 2.0, 5.0, 1.0, 9.0, -20.0])
    targets = torch.tensor([0.0, 0.3, 1.0, -0.2, -2.0, 0.8, 0.5, 0.5])
    losses = continue_loss(qs, targets, kind)
    for q, target, loss in zip(qs.tolist(), targets.tolist(), losses.tolist(), strict=True):
        assert loss == pytest.approx(plain_q_loss(q, target, kind), rel=1e-5)
    verified = torch.tensor([True, False] * 4)
    assert torch.equal(halt_loss(qs, verified, kind), q_loss(qs, verified.float(), kind))


@pytest.mark.parametrize("kind", ["cross-entropy", "huber"])
def test_the_best_q_value_is_the_mean_return(kind):
    """Not the median, and the same for both kinds: what a Q value means does not depend on how it was taught."""
    returns = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.2])
    tried = torch.linspace(0.01, 0.99, 99)
    losses = torch.stack([q_loss(torch.logit(p).expand(5), returns, kind).mean() for p in tried])
    assert tried[losses.argmin()].item() == pytest.approx(returns.mean().item(), abs=1e-6)


def test_huber_values_reach_beyond_0_and_1_and_keep_their_gradient():
    q = torch.linspace(-200, 200, 401, requires_grad=True)
    values = expected_return(q, "huber")
    values.sum().backward()
    assert (q.grad > 0.0098).all()
    assert values.min() < -1.5
    assert values.max() > 1.5
    inside = (torch.sigmoid(q) > 0.01) & (torch.sigmoid(q) < 0.99)
    assert torch.equal(values[inside], torch.sigmoid(q)[inside])
    # agents read the sigmoid: never further off than an end is from its limit
    assert (values.clamp(0, 1) - torch.sigmoid(q)).abs().max() < 0.01


def test_unknown_q_loss_is_named():
    with pytest.raises(ConfigError, match="'hinge' is unknown"):
        expected_return(torch.zeros(1), "hinge")
    with pytest.raises(ConfigError, match="'hinge' is unknown; expected one of cross-entropy, huber"):
        q_loss(torch.zeros(1), torch.zeros(1), "hinge")
