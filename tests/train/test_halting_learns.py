"""Halting is learned where the best halting step is known: every objective finds it.

The world stands in for the network: its drafts are wrong until they become right at steps that the task sets, and what its Q head reads is
which puzzle it is and which step, one place for each pair. Only the Q head learns.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hrm_gym.agents.network import NetworkConfig, RecursiveNetwork, State, read_q_values
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.registry import make_family
from hrm_gym.train.config import TrainConfig
from hrm_gym.train.data import TrainingData
from hrm_gym.train.loop import Trainer

MAX_STEPS = 8
FAMILY = make_family("arc", 3)  # a draft is right if it equals the answer

# name -> (the puzzles' kinds, is the draft of kind k right at this step). (a), (b), (c) and (d) of docs/halting.md.
TASKS = {
    "right at once": ([1], lambda step, kind: step >= kind),
    "right from step 4 on": ([4], lambda step, kind: step >= kind),
    "right at step 4 only": ([4], lambda step, kind: step == kind),
    "right from the puzzle's own step on": ([1, 2, 3, 4, 5, 6, 7, 8], lambda step, kind: step >= kind),
}

BASE = TrainConfig(
    family="arc",
    augment=False,
    max_steps=MAX_STEPS,
    batch_size=64,
    optimiser_steps=250,
    learning_rate=0.2,
    final_learning_rate=0.1,
    warmup_steps=1,
    weight_decay=0.0,
    gradient_clip=0.0,
    average_decay=0.0,
    q_steps=3,
    step_cost=0.05,
    exploration=0.3,
    device="cpu",
)


class World(RecursiveNetwork):
    """The interface of a network without anything to think with. The puzzle's kind is the value of the question's first cell; the right
    answer is the question itself. `z_l` counts the steps, `z_h` says kind and step."""

    def __init__(self, right):
        shape = NetworkConfig(
            cells=FAMILY.cells, vocabulary=FAMILY.vocabulary, hidden_size=MAX_STEPS**2, heads=1, positions="none"
        )
        super().__init__(shape)
        self.right = right
        # a table of Q values: nothing is shared between places
        nn.init.zeros_(self.q_head.bias).requires_grad_(False)

    def build(self, generator):
        self.L_init.zero_()

    def advance(self, state, tokens, puzzle_rows=None):
        kind = tokens[:, 0] - int(FAMILY.tokens[0])
        step = state.z_l[:, 0, 0].long() + 1
        place = (kind - 1) * MAX_STEPS + (step - 1).clamp(max=MAX_STEPS - 1)
        seen = nn.functional.one_hot(place, MAX_STEPS**2).float()
        state = State(seen.unsqueeze(1).expand_as(state.z_h), state.z_l + 1)
        # away from the question in every cell where it is not right yet
        sign = torch.where(self.right(step, kind), 1.0, -1.0).view(-1, 1, 1)
        logits = sign * nn.functional.one_hot(tokens, FAMILY.vocabulary)
        return state, self.read(state)._replace(logits=logits)


def puzzles_of(kinds):
    random = np.random.default_rng(0)
    questions = random.integers(0, 10, (len(kinds), 3, 3)).astype(np.uint8)
    questions[:, 0, 0] = kinds
    ids = [f"puzzle-{n}" for n in range(len(kinds))]
    facts = {"task": np.zeros(len(kinds), np.int32)}
    return Puzzles(questions, questions, ids, np.zeros(len(kinds), np.float32), facts)


def best_halting_steps(config, kinds, right):
    """By trying all of them."""
    best = []
    for kind in kinds:
        returns = [
            config.discount ** (halt - 1) * bool(right(halt, kind))
            - sum(config.step_cost * config.discount**before for before in range(halt - 1))
            for halt in range(1, config.max_steps + 1)
        ]
        assert sorted(returns)[-1] > sorted(returns)[-2] + 1e-6, "the task has no single best step"
        best.append(1 + int(np.argmax(returns)))
    return best


def trained(task, **changes):
    kinds, right = TASKS[task]
    config = BASE.replace(**changes)
    puzzles = puzzles_of(kinds)
    trainer = Trainer(config, TrainingData(FAMILY, puzzles, puzzles), World(right))
    for _ in range(config.optimiser_steps):
        trainer.train_step()
    return trainer


def check_finds_the_best_steps(task, **changes):
    kinds, right = TASKS[task]
    trainer = trained(task, **changes)
    solutions = trainer.agent().solve(trainer.data.test)
    assert solutions.steps.tolist() == best_halting_steps(trainer.config, kinds, right)
    assert solutions.verified.all()


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("q_target", ["next-step", "lookahead", "n-step", "episode", "none"])
@pytest.mark.parametrize("q_loss", ["cross-entropy", "huber"])
def test_every_objective_finds_the_best_step(task, q_loss, q_target):
    check_finds_the_best_steps(task, q_loss=q_loss, q_target=q_target)


@pytest.mark.parametrize("q_target", ["next-step", "lookahead", "n-step"])
@pytest.mark.parametrize("q_loss", ["cross-entropy", "huber"])
def test_with_a_target_network(q_loss, q_target):
    check_finds_the_best_steps("right from the puzzle's own step on", q_loss=q_loss, q_target=q_target, target_decay=0.9)


@pytest.mark.parametrize("q_target", ["next-step", "lookahead", "n-step", "episode", "none"])
def test_with_epsilon_in_place_of_minimum_steps(q_target):
    check_finds_the_best_steps("right at step 4 only", q_target=q_target, exploration=0.0, epsilon=0.2)


def test_a_discount_in_place_of_the_cost():
    check_finds_the_best_steps("right from the puzzle's own step on", step_cost=0.0, discount=0.9)


def q_values(trainer, kind):
    """Expected returns of halting and continuing at every step of a kind of puzzle."""
    places = torch.eye(MAX_STEPS**2)[(kind - 1) * MAX_STEPS : kind * MAX_STEPS]
    return [torch.sigmoid(q).tolist() for q in read_q_values(trainer.network.q_head, places)]


@pytest.mark.parametrize("q_target", ["next-step", "lookahead"])
@pytest.mark.parametrize("q_loss", ["cross-entropy", "huber"])
def test_q_values_are_the_returns_of_the_best_policy(q_loss, q_target):
    trainer = trained("right from step 4 on", q_loss=q_loss, q_target=q_target)
    halting, continuing = q_values(trainer, 4)
    assert halting[:5] == pytest.approx([0, 0, 0, 1, 1], abs=0.03)
    assert continuing[:4] == pytest.approx([0.85, 0.9, 0.95, 0.95], abs=0.03)


@pytest.mark.parametrize("q_loss", ["cross-entropy", "huber"])
def test_without_cost_and_discount_halting_and_continuing_tie(q_loss):
    """Why the default has a step cost."""
    tied, costly = (
        trained("right from step 4 on", q_loss=q_loss, step_cost=cost, exploration=0.8, optimiser_steps=400)
        for cost in (0.0, 0.1)
    )
    halting, continuing = q_values(tied, 4)
    assert halting[3:7] == pytest.approx([1] * 4, abs=0.03)
    assert continuing[3:7] == pytest.approx([1] * 4, abs=0.03)
    halting, continuing = q_values(costly, 4)
    assert halting[3:7] == pytest.approx([1] * 4, abs=0.03)
    assert continuing[3:7] == pytest.approx([0.9] * 4, abs=0.03)
