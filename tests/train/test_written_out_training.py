"""Training of the written-out control: equal compute, resuming, stopping, what the run folder holds, and that it learns."""

from __future__ import annotations

import json
import os
import signal

import pytest
import torch

from hrm_gym.agents.flops import counting
from hrm_gym.agents.loading import load_agent
from hrm_gym.agents.written_out import WrittenOutAgent
from hrm_gym.envs.errors import CheckpointError, ConfigError
from hrm_gym.train.checkpoint import load_checkpoint, save_checkpoint
from hrm_gym.train.config import TrainConfig
from hrm_gym.train.data import load_training_data
from hrm_gym.train.evaluate import evaluate
from hrm_gym.train.loop import CHECKPOINT_FILE, METRICS_FILE, Trainer, read_config
from hrm_gym.train.written_out import (
    WrittenOutTrainer,
    longest_trace,
    read_written_out,
    train_written_out,
    training_flops,
    written_out_flops,
)

SMALL = TrainConfig(
    name="small",
    family="maze",
    puzzles={"size": 5, "recipe": "tree"},
    train_puzzles=64,
    validation_puzzles=16,
    test_puzzles=16,
    hidden_size=16,
    heads=2,
    expansion=4.0,
    max_steps=4,
    batch_size=8,
    optimiser_steps=40,
    warmup_steps=4,
    log_every=4,
    evaluate_every=8,
    checkpoint_every=6,
    device="cpu",
)


@pytest.fixture(scope="module")
def data():
    return load_training_data(SMALL)


def tensors(tree):
    """All leaves of a state, in order."""
    if isinstance(tree, dict | list | tuple):
        return [leaf for item in (tree.values() if isinstance(tree, dict) else tree) for leaf in tensors(item)]
    return [tree]


def same(one, other):
    first, second = tensors(one), tensors(other)
    assert len(first) == len(second)
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    "changes",
    [{}, {"q_target": "lookahead", "optimiser": "muon"}],
)
def test_flops_of_a_step_are_those_of_the_whole_batch(data, changes):
    config = SMALL.replace(**changes)
    for trainer, flops in (
        (Trainer(config, data), training_flops(config, data)),
        (WrittenOutTrainer(config, True, data), written_out_flops(config, True, data)),
    ):
        with counting() as counter:
            trainer.train_step()
        assert flops == counter.get_total_flops()


def test_a_look_ahead_now_and_then_costs_its_share(data):
    every, never = (training_flops(SMALL.replace(q_target=target), data) for target in ("lookahead", "next-step"))
    third = training_flops(SMALL.replace(q_target="lookahead", lookahead_every=3), data)
    assert every > 1.3 * never
    assert third == pytest.approx(never + (every - never) / 3, rel=1e-3)  # the Q head on the step before is small


def test_equal_compute_gives_the_number_of_steps(tmp_path, data):
    config = SMALL.replace(evaluate_every=0, optimiser_steps=12)
    budget = config.optimiser_steps * training_flops(config, data)
    for trace in (False, True):
        folder = train_written_out(config, tmp_path / str(trace), trace=trace, show_progress=False, data=data)
        about, steps = read_written_out(folder), read_config(folder).optimiser_steps
        assert about["budget_flops"] == budget
        assert abs(steps * written_out_flops(config, trace, data) - budget) <= about["flops_per_optimiser_step"] / 2
        assert about["trace_length"] == (longest_trace(data) if trace else 0)
        assert load_checkpoint(folder / CHECKPOINT_FILE)["optimiser_step"] == steps
    of_another = train_written_out(
        config.replace(batch_size=4), tmp_path / "other", equal_to=tmp_path / "True", show_progress=False, data=data
    )
    # the run in the folder is read as the HRM run of its settings, with its number of steps
    expected = training_flops(config, data) * read_config(tmp_path / "True").optimiser_steps
    assert read_written_out(of_another)["budget_flops"] == expected


@pytest.mark.parametrize("changes", [{}, {"optimiser": "muon", "accumulate": 3, "augment": False, "average_decay": 0.0}])
def test_resuming_is_bit_for_bit(tmp_path, data, changes):
    config = SMALL.replace(**changes)
    unbroken, first, second = (WrittenOutTrainer(config, True, data) for _ in range(3))
    for _ in range(8):
        unbroken.train_step()
    for _ in range(3):
        first.train_step()
    save_checkpoint(tmp_path / "c.safetensors", first.state_dict())
    second.load_state_dict(load_checkpoint(tmp_path / "c.safetensors"))
    for _ in range(5):
        second.train_step()
    assert same(second.state_dict(), unbroken.state_dict())
    with pytest.raises(CheckpointError):
        WrittenOutTrainer(config, False, data).load_state_dict(first.state_dict())


def test_pieces_add_up_to_the_whole_gradient(data):
    trainers = [WrittenOutTrainer(SMALL.replace(accumulate=pieces), True, data) for pieces in (1, 3)]
    for trainer in trainers:
        trainer.optimisers.step = lambda *_: None  # keep the gradients
        trainer.train_step()
    for one, other in zip(*(trainer.network.parameters() for trainer in trainers), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_a_stopped_run_is_kept_and_resumes_to_the_same_numbers(tmp_path, monkeypatch, data):
    budget = 20 * written_out_flops(SMALL, True, data)
    whole = train_written_out(SMALL, tmp_path / "whole", equal_to=budget, show_progress=False, data=data)
    original = WrittenOutTrainer.train_step

    def stopping(trainer):
        original(trainer)
        if trainer.optimiser_step == 9:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(WrittenOutTrainer, "train_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            train_written_out(SMALL, tmp_path / "broken", equal_to=budget, show_progress=False, data=data)
    broken = train_written_out(TrainConfig(), tmp_path / "broken", resume=True, show_progress=False, data=data)

    one, other = (load_checkpoint(folder / CHECKPOINT_FILE) for folder in (whole, broken))
    del one["seconds"], other["seconds"]
    assert same(one, other)
    assert one["optimiser_step"] == 20
    logs = [[json.loads(line) for line in (folder / METRICS_FILE).read_text().splitlines()] for folder in (whole, broken)]
    for lines in logs:
        for line in lines:
            line.pop("puzzles_per_second", None)
    assert logs[0] == logs[1]
    assert {line["group"] for line in logs[0]} == {"train", "validation"}
    with pytest.raises(ConfigError, match="exists already"):
        train_written_out(SMALL, whole, equal_to=budget, data=data)

    agent = load_agent(whole, "cpu")
    assert isinstance(agent, WrittenOutAgent)
    assert agent.description["trained"]["trace"] is True
    report = evaluate(agent, data.test)
    assert report.learned.accuracy == agent.solve(data.test).accuracy
    assert report.learned.kind == "single pass"


@pytest.mark.parametrize("trace", [False, True])
def test_it_learns_a_few_mazes_by_heart(data, trace):
    config = SMALL.replace(
        learning_rate=1e-2, augment=False, hidden_size=32, batch_size=16, average_decay=0.0, weight_decay=0.0
    )
    few = type(data)(data.family, data.train.take(slice(8)), data.test)
    trainer = WrittenOutTrainer(config.replace(final_learning_rate=1.0), trace, few)
    before = trainer.agent().solve(few.train).accuracy
    for _ in range(120):
        trainer.train_step()
    solutions = trainer.agent().solve(few.train)
    assert before == 0.0
    assert solutions.accuracy >= 0.75
    assert solutions.trace_ended.all()
    assert trainer.read_metrics()["loss"] > 0


def test_what_it_cannot_train_is_refused(tmp_path, data):
    arc = TrainConfig(family="arc", puzzles={"max_size": 3})
    for config, message in (
        (arc, "ARC tasks have no written-out control"),
        (SMALL.replace(compile="step"), "set compile=off"),
        (SMALL.replace(accumulate=9), "at least accumulate"),
    ):
        with pytest.raises(ConfigError, match=message):
            WrittenOutTrainer(config, True, data)
    with pytest.raises(ConfigError, match="less than one optimiser step"):
        train_written_out(SMALL, tmp_path / "a", equal_to=10.0, data=data)
    with pytest.raises(ConfigError, match="same puzzles"):
        train_written_out(SMALL, tmp_path / "a", equal_to=SMALL.replace(puzzles={"size": 7}), data=data)
    with pytest.raises(CheckpointError, match="not the folder of a written-out run"):
        read_written_out(tmp_path)
    assert not (tmp_path / "a").exists()
