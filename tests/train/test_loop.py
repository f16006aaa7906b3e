"""The training loop: resuming, stopping, refilling, exploration, and that it learns."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pytest
import torch

from hrm_gym.agents.agent import HRMAgent
from hrm_gym.agents.backbones import build_network
from hrm_gym.agents.network import StepOutput
from hrm_gym.envs.errors import CheckpointError, ConfigError
from hrm_gym.train import loop
from hrm_gym.train.config import TrainConfig
from hrm_gym.train.loop import CHECKPOINT_FILE, METRICS_FILE, Trainer, read_config, train
from hrm_gym.train.slots import Draws

SMALL = TrainConfig(
    name="small",
    family="maze",
    puzzles={"size": 5, "recipe": "tree"},
    train_puzzles=64,
    test_puzzles=16,
    hidden_size=16,
    heads=2,
    expansion=1.0,
    max_steps=4,
    batch_size=8,
    optimiser_steps=24,
    warmup_steps=4,
    log_every=4,
    evaluate_every=8,
    checkpoint_every=6,
    device="cpu",
)


def numbers(tree):
    """All leaves of a state, in order."""
    if isinstance(tree, dict):
        return [leaf for key in tree for leaf in numbers(tree[key])]
    if isinstance(tree, list | tuple):
        return [leaf for item in tree for leaf in numbers(item)]
    return [tree]


def same_state(one, other):
    first, second = numbers(one), numbers(other)
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        if isinstance(a, torch.Tensor):
            assert torch.equal(a, b)
        else:
            assert a == b


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimiser": "adam-atan2", "q_target": "lookahead", "exploration_drawn": "step"},
        {"q_loss": "huber", "q_target": "n-step", "q_steps": 2, "target_decay": 0.9, "epsilon": 0.2},
        {"q_target": "episode", "epsilon": 0.2, "precision": "bfloat16"},
        {"q_target": "none", "q_loss": "huber"},
    ],
)
def test_resuming_is_bit_for_bit(tmp_path, changes):
    config = SMALL.replace(**changes)
    unbroken = Trainer(config)
    for _ in range(20):
        unbroken.train_step()

    first = Trainer(config)
    for _ in range(9):
        first.train_step()
    loop.save_checkpoint(tmp_path / "c.safetensors", first.state_dict())
    second = Trainer(config)
    second.load_state_dict(loop.load_checkpoint(tmp_path / "c.safetensors"))
    for _ in range(11):
        second.train_step()
    same_state(second.state_dict(), unbroken.state_dict())


class StopAt:
    """Sends this process SIGINT at an optimiser step, as Ctrl-C would."""

    def __init__(self, step, number=signal.SIGINT):
        self.step, self.number, self.original = step, number, Trainer.train_step

    def __call__(self, trainer):
        self.original(trainer)
        if trainer.optimiser_step == self.step:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_is_kept_and_resumes_to_the_same_numbers(tmp_path, monkeypatch, number):
    whole = train(SMALL, tmp_path / "whole", show_progress=False)
    stop = StopAt(9, number)
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "train_step", lambda trainer: stop(trainer))
        with pytest.raises(KeyboardInterrupt):
            train(SMALL, tmp_path / "broken", show_progress=False)
    assert loop.load_checkpoint(tmp_path / "broken" / CHECKPOINT_FILE)["optimiser_step"] == 9
    broken = train(SMALL, tmp_path / "broken", resume=True, show_progress=False)

    one, other = (loop.load_checkpoint(folder / CHECKPOINT_FILE) for folder in (whole, broken))
    del one["seconds"], other["seconds"]
    same_state(one, other)
    lines = [[json.loads(line) for line in (folder / METRICS_FILE).read_text().splitlines()] for folder in (whole, broken)]
    for pair in zip(*lines, strict=True):
        a, b = ({key: value for key, value in line.items() if key != "puzzles_per_second"} for line in pair)
        assert a == b


def test_metrics_after_the_checkpoint_are_dropped_on_resume(tmp_path):
    folder = train(SMALL, tmp_path / "run", show_progress=False)
    state = loop.load_checkpoint(folder / CHECKPOINT_FILE)
    with (folder / METRICS_FILE).open("a") as file:
        file.write(json.dumps({"step": state["optimiser_step"] + 4, "group": "train"}) + "\n")
    train(SMALL, folder, resume=True, show_progress=False)
    steps = [json.loads(line)["step"] for line in (folder / METRICS_FILE).read_text().splitlines()]
    assert max(steps) == SMALL.optimiser_steps


def test_run_folder(tmp_path):
    folder = train(SMALL, tmp_path / "run", show_progress=False)
    assert read_config(folder) == SMALL
    assert list(folder.glob("events.out.tfevents.*"))
    agent = HRMAgent.from_pretrained(folder)
    assert agent.description["trained"]["optimiser_steps"] == SMALL.optimiser_steps
    assert not list(folder.glob("**/.*.part"))
    with pytest.raises(ConfigError, match="exists already; resume it with --resume"):
        train(SMALL, folder, show_progress=False)


def test_nothing_to_resume(tmp_path):
    with pytest.raises(CheckpointError, match="is not a run folder"):
        train(SMALL, tmp_path / "none", resume=True, show_progress=False)
    folder = train(SMALL, tmp_path / "run", show_progress=False)
    (folder / CHECKPOINT_FILE).write_bytes((folder / CHECKPOINT_FILE).read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cannot be read"):
        train(SMALL, folder, resume=True, show_progress=False)


def test_a_checkpoint_of_another_run_is_refused():
    trainer = Trainer(SMALL)
    with pytest.raises(CheckpointError, match="rows has 9 slots; this run expects batch_size = 8"):
        trainer.load_state_dict(Trainer(SMALL.replace(batch_size=9)).state_dict())
    with pytest.raises(CheckpointError, match="has shape"):
        trainer.load_state_dict(Trainer(SMALL.replace(hidden_size=32)).state_dict())
    with pytest.raises(CheckpointError, match="q_features has shape"):
        trainer.load_state_dict(Trainer(SMALL.replace(q_target="episode")).state_dict())
    averaged = SMALL.replace(target_decay=0.9)
    with pytest.raises(CheckpointError, match="not one of this run"):
        Trainer(averaged).load_state_dict(trainer.state_dict())


def test_no_test_answer_is_ever_trained_on():
    config = TrainConfig(
        puzzles={"size": 4, "difficulty": "hard"}, train_puzzles=500, test_puzzles=200, batch_size=512, hidden_size=16
    )
    trainer = Trainer(config)
    test = {answer.tobytes() for answer in trainer.data.test.answers}
    assert len(test) > 10
    moved = False
    for _ in range(20):
        rows, questions, answers = trainer.puzzles.show(trainer.puzzles.draw_numbers(512))
        assert not test & {answer.tobytes() for answer in answers.numpy()}
        moved |= bool((answers != trainer.puzzles.on_device.answers[rows]).any())
        assert trainer.code.solved(questions, answers, answers, {}).all()
    assert moved


def test_halted_slots_get_new_puzzles_and_others_think_on():
    trainer = Trainer(SMALL.replace(exploration=0.0))
    with torch.no_grad():
        trainer.network.q_head.bias.copy_(torch.tensor([1.0, -1.0]))
    trainer.train_step()
    (slots,) = trainer.parts
    assert (slots.steps == 0).all()
    assert torch.equal(slots.state.z_h, trainer.network.initial_state(SMALL.batch_size).z_h)

    trainer = Trainer(SMALL.replace(exploration=0.0))
    with torch.no_grad():
        trainer.network.q_head.bias.copy_(torch.tensor([-1.0, 1.0]))
    (slots,) = trainer.parts
    questions = slots.questions.clone()
    for step in range(1, SMALL.max_steps):
        trainer.train_step()
        assert (slots.steps == step).all()
        assert torch.equal(slots.questions, questions)
    trainer.train_step()  # the last step halts in any case
    assert (slots.steps == 0).all()
    assert not torch.equal(slots.questions, questions)


def test_exploration_draws_minimum_steps_evenly():
    trainer = Trainer(SMALL.replace(exploration=0.5, batch_size=4096, max_steps=5))
    (slots,) = trainer.parts
    share = np.bincount(slots.minimum_steps.numpy(), minlength=6)[1:] / len(slots)
    assert share == pytest.approx([0.5, 0.125, 0.125, 0.125, 0.125], abs=0.03)


@pytest.mark.parametrize(("q_halt", "q_continue", "halts"), [(1.0, -1.0, False), (-1.0, 1.0, True)])
def test_epsilon_does_the_opposite(q_halt, q_continue, halts):
    trainer = Trainer(SMALL.replace(exploration=0.0, epsilon=1.0))
    with torch.no_grad():
        trainer.network.q_head.bias.copy_(torch.tensor([q_halt, q_continue]))
    trainer.train_step()
    (slots,) = trainer.parts
    assert (slots.steps == (0 if halts else 1)).all()


def test_epsilon_keeps_the_minimum_and_comes_as_often_as_it_says():
    config = SMALL.replace(exploration=0.0, epsilon=0.25, batch_size=4096)
    trainer = Trainer(config)
    (slots,) = trainer.parts
    output = StepOutput(torch.empty(0), torch.full((4096,), -1.0), torch.ones(4096))
    never = torch.zeros(4096, dtype=torch.bool)
    draws = Draws(config, trainer.puzzles, trainer.exploration_stream)
    slots.steps += 1
    assert slots.halts(output, never, draws).float().mean().item() == pytest.approx(0.25, abs=0.03)
    slots.minimum_steps += 1
    assert not slots.halts(output, never, draws).any()
    assert slots.halts(output, ~never, draws).all()


def test_a_network_of_ones_own_is_trained():
    config = SMALL.replace(backbone="trm", l_layers=2)
    family = Trainer(SMALL).data.family
    given = Trainer(SMALL, network=build_network(config.network(family), config.seed))
    built = Trainer(config)
    for trainer in (given, built):
        trainer.train_step()
    one, other = given.state_dict(), built.state_dict()
    same_state(one["network"], other["network"])
    agent = given.agent()
    assert type(agent.network) is type(built.network)
    assert agent.network is not given.network


def test_it_learns_a_few_puzzles_by_heart():
    config = SMALL.replace(
        train_puzzles=4, augment=False, optimiser_steps=400, hidden_size=32, learning_rate=5e-3, batch_size=16, weight_decay=0.0
    )
    trainer = Trainer(config)
    for _ in range(config.optimiser_steps):
        trainer.train_step()
    solutions = trainer.agent().solve(trainer.data.train)
    assert solutions.verified.all()
    assert solutions.mean_steps < config.max_steps
    assert solutions.halt_values.min() > 0.5
