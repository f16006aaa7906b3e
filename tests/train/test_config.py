"""Settings: they round-trip, refuse what they do not know, and every one of them changes something."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from hrm_gym.envs.errors import ConfigError
from hrm_gym.train.config import CHOICES, PRESETS, TrainConfig, preset
from hrm_gym.train.loop import Trainer

SMALL = TrainConfig(
    family="maze",
    puzzles={"size": 5, "recipe": "tree"},
    train_puzzles=32,
    test_puzzles=8,
    hidden_size=16,
    heads=2,
    expansion=1.0,
    max_steps=3,
    batch_size=8,
    optimiser_steps=40,
    warmup_steps=2,
    device="cpu",
)


def test_configurations_round_trip():
    for config in PRESETS.values():
        assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_settings_that_were_renamed_are_still_read():
    assert TrainConfig.from_dict({"continue_target": "lookahead"}) == TrainConfig(q_target="lookahead")


def test_unknown_preset_and_settings_are_named():
    with pytest.raises(ConfigError, match="preset 'sudoku-5x5' is unknown; expected one of sudoku-4x4"):
        preset("sudoku-5x5")
    with pytest.raises(ConfigError, match="setting 'learning' is unknown; expected one of"):
        SMALL.replace(learning=1)
    with pytest.raises(ConfigError, match="has no value; write key=value"):
        SMALL.with_settings(["seed"])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("batch_size=0", "batch_size is 0; expected 1 to inf"),
        ("batch_size=many", "batch_size is 'many'; expected a whole number"),
        ("learning_rate=fast", "learning_rate is 'fast'; expected a number"),
        ("augment=perhaps", "augment is 'perhaps'; expected bool"),
        ("optimiser=sgd", "optimiser 'sgd' is unknown; expected one of adamw, adam-atan2, muon"),
        ("puzzles=3", "set its entries one by one"),
        ("exploration=2", "exploration is 2.0; expected 0 to 1"),
        ("epsilon=-0.1", "epsilon is -0.1; expected 0 to 1"),
        ("q_steps=0", "q_steps is 0; expected 1 to inf"),
        ("q_loss=squared", "q_loss 'squared' is unknown; expected one of cross-entropy, huber"),
        ("q_target=replay", "q_target 'replay' is unknown; expected one of next-step, lookahead, n-step, episode, none"),
    ],
)
def test_bad_values_are_named(setting, message):
    with pytest.raises(ConfigError, match=message):
        SMALL.with_settings([setting])


def test_settings_from_text():
    config = SMALL.with_settings(["learning_rate=3e-4", "augment=false", "puzzles.size=7", "seed=5", "name=mine"])
    assert config.learning_rate == 3e-4
    assert config.augment is False
    assert config.puzzles == {"size": 7, "recipe": "tree"}
    assert config.seed == 5
    assert config.name == "mine"


def test_bad_network_shapes_are_named():
    config = SMALL.replace(hidden_size=10, heads=4)
    with pytest.raises(ConfigError, match="hidden_size 10 over 4 heads is not an even whole number"):
        Trainer(config)


def after_some_steps(config):
    """All numbers of a run after a few optimiser steps, evaluation weights included."""
    trainer = Trainer(config)
    with torch.no_grad():  # a Q head that wants to halt, so that the settings of halting matter from the first step
        trainer.network.q_head.bias.copy_(torch.tensor([0.0, -1.0]))
    for _ in range(8):
        trainer.train_step()
    weights = [parameter.detach().flatten() for parameter in trainer.network.parameters()]
    weights += [parameter.detach().flatten() for parameter in trainer.agent().network.parameters()]
    (slots,) = trainer.parts
    return torch.cat([*weights, slots.questions.flatten().float(), slots.steps.float()])


# a value for every setting that leaves the network's shape and the folder's contents alone, unlike SMALL's
OTHER_VALUES = {
    "train_puzzles": 16,
    "augment": False,
    "augmentations": 1,
    "registers": 2,
    "swiglu": "normed",
    "precision": "bfloat16",
    "max_steps": 5,
    "optimiser": "adam-atan2",
    "muon_learning_rate": 0.1,
    "muon_weight_decay": 0.9,
    "muon_momentum": 0.5,
    "learning_rate": 2e-3,
    "warmup_steps": 5,
    "final_learning_rate": 0.9,
    "weight_decay": 0.9,
    "beta1": 0.5,
    "beta2": 0.5,
    "gradient_clip": 1e-3,
    "average_decay": 0.01,
    "average_from": 100,
    "draft_loss": "stablemax",
    "label_smoothing": 0.3,
    "q_weight": 2.0,
    "q_loss": "huber",
    "q_target": "lookahead",
    "q_steps": 2,
    "lookahead_every": 2,
    "target_decay": 0.9,
    "step_cost": 0.5,
    "discount": 0.1,
    "exploration": 0.0,
    "epsilon": 0.5,
    "seed": 1,
    "h_cycles": 2,
    "l_cycles": 3,
    "optimiser_steps": 12,
    "positions": "rope",
    "backbone": "trm",
    "batch_size": 9,
    "hidden_size": 32,
    "heads": 4,
    "expansion": 2.0,
    "mlp_multiple": 32,
    "h_layers": 2,
    "l_layers": 2,
    "family": "sudoku",
    "puzzles": {"size": 7, "recipe": "tree"},
}
# settings that only matter beside others
MUON = {"optimiser": "muon"}
BESIDE = {
    "q_steps": {"q_target": "n-step"},
    "lookahead_every": {"q_target": "lookahead"},
    "muon_learning_rate": MUON,
    "muon_weight_decay": MUON,
    "muon_momentum": MUON,
}
# what changes no number of the first steps: names, where and in which pieces to compute, when to look, what is tested on, ARC's
ELSEWHERE = {
    "name", "device", "compile", "accumulate", "log_every", "evaluate_every", "checkpoint_every", "keep", "validation_puzzles",
    "test_puzzles", "test_source", "puzzle_embedding_size", "puzzle_embedding_learning_rate", "exploration_drawn",
}  # fmt: skip


def test_every_setting_is_covered():
    assert set(OTHER_VALUES) | ELSEWHERE == {field.name for field in dataclasses.fields(TrainConfig)}


@pytest.fixture(scope="module")
def reference():
    return after_some_steps(SMALL)


@pytest.mark.parametrize("setting", [name for name in OTHER_VALUES if name != "family"])
def test_every_setting_changes_something(setting, reference):
    if setting in BESIDE:
        reference = after_some_steps(SMALL.replace(**BESIDE[setting]))
    changed = after_some_steps(SMALL.replace(**BESIDE.get(setting, {}), **{setting: OTHER_VALUES[setting]}))
    assert changed.shape != reference.shape or not torch.equal(changed, reference)


@pytest.mark.parametrize("target", CHOICES["q_target"])
def test_q_targets_differ_from_each_other(target, reference):
    numbers = after_some_steps(SMALL.replace(q_target=target))
    assert torch.equal(numbers, reference) == (target == SMALL.q_target)


def test_same_settings_give_the_same_numbers(reference):
    assert torch.equal(after_some_steps(SMALL), reference)
