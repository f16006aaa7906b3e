"""The networks against the published implementations: outputs of four steps, every loss, the Q target, every gradient norm."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hrm_gym.agents.published import load_published, published_state_dict
from hrm_gym.envs.errors import CheckpointError, ConfigError
from hrm_gym.train.losses import IGNORED_LABEL, continue_loss, continue_target, draft_loss, halt_loss

FILES = sorted((Path(__file__).parents[1] / "data").glob("hrm_*.npz"))
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def parity(request):
    with np.load(request.param) as file:
        arrays = {name: file[name] for name in file.files}
    config = json.loads(str(arrays["config"]))
    weights = {
        name.removeprefix("weights/"): torch.from_numpy(array) for name, array in arrays.items() if name.startswith("weights/")
    }
    return arrays, config, weights


def inputs_of(arrays):
    return torch.from_numpy(arrays["inputs"]).long(), torch.from_numpy(arrays["puzzle_identifiers"]).long()


def test_there_are_two_parity_files():
    assert [path.stem for path in FILES] == ["hrm_learned", "hrm_rope"]


@pytest.mark.parametrize("prefix", ["", "_orig_mod."])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_four_steps_match(parity, prefix, precision):
    """In float64 every number meets the tolerance; in float32 the order of sums differs between machines, so that a number near
    zero is measured against the largest of its array."""
    arrays, config, weights = parity
    config = {**config, "forward_dtype": precision}
    network = load_published({prefix + name: tensor for name, tensor in weights.items()}, config)
    tokens, puzzle_ids = inputs_of(arrays)
    state = network.initial_state(len(tokens))
    for step in range(1, 5):
        state, output = network.step(state, tokens, puzzle_ids)
        for ours, theirs in (
            (output.logits, "logits"),
            (output.q_halt, "q_halt_logits"),
            (output.q_continue, "q_continue_logits"),
        ):
            expected = arrays[f"eval/step{step}/{theirs}"]
            floor = 1e-5 if precision == "float64" else 1e-5 * np.abs(expected).max()
            np.testing.assert_allclose(ours.detach().numpy(), expected, rtol=1e-4, atol=floor)


def test_losses_target_and_gradients_match(parity):
    arrays, config, weights = parity
    network = load_published(weights, config)
    tokens, puzzle_ids = inputs_of(arrays)
    labels = torch.from_numpy(arrays["labels"]).long()

    state, output = network.step(network.initial_state(len(tokens)), tokens, puzzle_ids)
    with torch.no_grad():
        _, following = network.step(state, tokens, puzzle_ids)
    last = torch.full((len(tokens),), config["halt_max_steps"] <= 1)
    target = continue_target(following.q_halt, following.q_continue, last)
    right = ((output.logits.argmax(-1) == labels) | (labels == IGNORED_LABEL)).all(-1)
    supervised = draft_loss(output.logits, labels, "stablemax").sum()
    halting = halt_loss(output.q_halt, right).sum()
    continuing = continue_loss(output.q_continue, target).sum()
    total = supervised + 0.5 * (halting + continuing)
    total.backward()

    np.testing.assert_allclose(target.numpy(), arrays["train/target_q_continue"], **TOLERANCE)
    for ours, theirs in (
        (supervised, "train/metric/lm_loss"),
        (halting, "train/metric/q_halt_loss"),
        (continuing, "train/metric/q_continue_loss"),
        (total, "train/total_loss"),
    ):
        np.testing.assert_allclose(ours.item(), arrays[theirs], **TOLERANCE)

    gradients = dict(network.named_parameters())
    checked = 0
    for name, norm in arrays.items():
        if name.startswith("train/grad_norm/"):
            own = name.removeprefix("train/grad_norm/").removeprefix("model.inner.")
            if own == "puzzle_embedding_rows":
                # published norm is over the B looked-up rows; rows looked up twice would add up in the table's gradient
                assert len(set(puzzle_ids.tolist())) == len(puzzle_ids)
                own = "puzzle_emb.weights"
            np.testing.assert_allclose(gradients.pop(own).grad.norm().item(), norm, **TOLERANCE)
            checked += 1
    assert checked and not gradients


def test_names_go_back_to_the_published_ones(parity):
    _, config, weights = parity
    back = published_state_dict(load_published(weights, config))
    assert set(back) == set(weights)
    assert all(torch.equal(back[name], weights[name]) for name in weights)


def test_misfits_are_named(parity):
    _, config, weights = parity
    some = dict(weights)
    del some["model.inner.lm_head.weight"]
    with pytest.raises(CheckpointError, match=r"missing lm_head.weight"):
        load_published(some, config)
    with pytest.raises(CheckpointError, match=r"lm_head.weight has shape"):
        load_published({**weights, "model.inner.lm_head.weight": torch.zeros(2, 2)}, config)
    with pytest.raises(ConfigError, match="unknown keys hidden_sise"):
        load_published(weights, {**config, "hidden_sise": 3})


def test_missing_or_broken_file(tmp_path, parity):
    _, config, _ = parity
    with pytest.raises(CheckpointError, match="does not exist"):
        load_published(tmp_path / "none.safetensors", config)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_published(broken, config)
