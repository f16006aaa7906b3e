"""The returns that Q-continue is taught, against plain Python over whole episodes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from hrm_gym.agents.network import State, StepOutput
from hrm_gym.train.config import TrainConfig
from hrm_gym.train.loop import Trainer
from hrm_gym.train.losses import expected_return, q_loss
from hrm_gym.train.optimisers import WeightAverage
from hrm_gym.train.q_learning import ContinueTargets

SLOTS, SIZE, MAX_STEPS, TICKS = 6, 4, 5, 60


def head(seed):
    torch.manual_seed(seed)
    return torch.nn.Linear(SIZE, 2)


def value(layer, features, must_halt, kind):
    q_halt, q_continue = expected_return(layer(features), kind).tolist()
    return q_halt if must_halt else max(q_halt, q_continue)


def plain_loss(config, q_head, target_head, episode, halted, verified):
    """Of a slot whose episode so far has these features: what becomes known with the last of them."""
    n = {"next-step": 1, "n-step": config.q_steps, "episode": 10**9}[config.q_target]
    total = 0.0
    for t, features in enumerate(episode[:-1], start=1):
        steps = len(episode) - t
        if steps == n:
            end = value(target_head, episode[-1], len(episode) == MAX_STEPS, config.q_loss)
        elif steps < n and halted:
            end = float(verified)
        else:
            continue
        returned = sum(config.discount**i * -config.step_cost for i in range(steps)) + config.discount**steps * end
        total += q_loss(q_head(features)[1], torch.tensor(returned), config.q_loss).item()
    return total


@pytest.fixture
def kept_generator():
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)


@pytest.mark.usefixtures("kept_generator")
@pytest.mark.parametrize("kind", ["cross-entropy", "huber"])
@pytest.mark.parametrize(("target", "n"), [("next-step", 1), ("n-step", 1), ("n-step", 3), ("n-step", 9), ("episode", 1)])
@pytest.mark.parametrize("target_decay", [0.0, 0.9])
def test_losses_equal_those_of_plain_episodes(kind, target, n, target_decay):
    config = TrainConfig(
        q_loss=kind, q_target=target, q_steps=n, target_decay=target_decay, discount=0.8, step_cost=0.07, max_steps=MAX_STEPS
    )
    q_head, other = head(1), head(2)
    target_network = WeightAverage(other, target_decay) if target_decay else None
    targets = ContinueTargets(
        SimpleNamespace(q_head=q_head), config, State(torch.zeros(SLOTS, 2, SIZE), torch.zeros(0)), target_network
    )
    random = torch.Generator().manual_seed(5)
    episodes = [[] for _ in range(SLOTS)]
    steps = torch.zeros(SLOTS, dtype=torch.int64)
    seen = 0
    for _ in range(TICKS):
        z_h = 2 * torch.randn(SLOTS, 2, SIZE, generator=random)
        state, steps = State(z_h, torch.zeros(0)), steps + 1
        last = steps == MAX_STEPS
        halted = (torch.rand(SLOTS, generator=random) < 0.3) | last
        verified = torch.rand(SLOTS, generator=random) < 0.5
        q = q_head(z_h[:, 0])
        output = StepOutput(torch.zeros(0), q[:, 0], q[:, 1])
        losses = targets.losses(output, state, steps, last, halted, verified, lambda state: pytest.fail("looks ahead"))
        for slot in range(SLOTS):
            episodes[slot].append(z_h[slot, 0])
            expected = plain_loss(
                config, q_head, other if target_decay else q_head, episodes[slot], bool(halted[slot]), bool(verified[slot])
            )
            assert losses[slot].item() == pytest.approx(expected, rel=1e-4, abs=1e-6)
            seen += expected > 0
            if halted[slot]:
                episodes[slot] = []
        targets.after_step(state, steps)
        steps = torch.where(halted, 0, steps)
    assert seen > 50


SMALL = TrainConfig(
    family="maze",
    puzzles={"size": 5, "recipe": "tree"},
    train_puzzles=32,
    test_puzzles=8,
    hidden_size=16,
    heads=2,
    expansion=1.0,
    max_steps=4,
    batch_size=8,
    optimiser_steps=40,
    warmup_steps=2,
    device="cpu",
)


def weights_after(config):
    trainer = Trainer(config)
    for _ in range(12):
        trainer.train_step()
    return trainer.network.state_dict()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"q_target": "n-step", "q_steps": 1}, {"q_target": "next-step"}),
        ({"q_target": "n-step", "q_steps": 4}, {"q_target": "episode"}),
        ({"q_target": "n-step", "q_steps": 99}, {"q_target": "episode"}),
        ({"q_target": "episode", "target_decay": 0.9}, {"q_target": "episode"}),  # no value in its targets
    ],
)
def test_targets_that_are_the_same(one, other):
    first, second = weights_after(SMALL.replace(**one)), weights_after(SMALL.replace(**other))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_only_the_q_head_learns_from_earlier_steps():
    """The latent states of earlier steps are kept without their graph, as the published gradient stops at a step."""
    trainer = Trainer(SMALL.replace(q_target="episode", exploration=1.0))
    (slots,) = trainer.parts
    targets = slots.continue_targets
    for _ in range(3):
        trainer.train_step()
    assert not targets.features.requires_grad
    state, steps = slots.state, torch.full((8,), 4)
    everyone = torch.ones(8, dtype=torch.bool)
    q = torch.zeros(8)
    loss = targets.losses(
        StepOutput(q, q, q), state, steps, everyone, everyone, everyone, lambda state: pytest.fail("looks ahead")
    )
    loss.sum().backward()
    touched = {name for name, parameter in trainer.network.named_parameters() if parameter.grad is not None}
    assert touched == {"q_head.weight", "q_head.bias"}


def test_the_target_network_follows_slowly():
    trainer = Trainer(SMALL.replace(target_decay=0.95))
    for _ in range(20):
        trainer.train_step()
    online = torch.cat([parameter.detach().flatten() for parameter in trainer.network.q_head.parameters()])
    behind = torch.cat([average.flatten() for average in trainer.target.average])
    start = torch.cat([torch.zeros(32), torch.full((2,), -5.0)])
    assert 0 < (behind - start).norm() < (online - start).norm()
