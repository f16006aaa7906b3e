"""Model cards against the evaluation that they are written from; the commands of `hrm-gym model`; the published layout and back."""

from __future__ import annotations

import json
import shlex
import shutil

import huggingface_hub
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from hrm_gym.agents.agent import HRMAgent, find_agent
from hrm_gym.agents.backbones import build_network
from hrm_gym.agents.exchange import export_published, import_published, read_published_config
from hrm_gym.agents.network import NetworkConfig
from hrm_gym.agents.published import load_published
from hrm_gym.agents.retry import Retry
from hrm_gym.envs.errors import CheckpointError, ConfigError
from hrm_gym.envs.registry import make_family
from hrm_gym.model_command import model_app
from hrm_gym.train.config import PRESETS, TrainConfig, preset
from hrm_gym.train.model_card import card_text, command_of, reliability


def run(*arguments):
    return CliRunner().invoke(model_app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A copy of the 4 x 4 agent with weights disturbed so that it is wrong now and then, and the card that the command writes of it."""
    folder = tmp_path_factory.mktemp("cards") / "four"
    agent = HRMAgent.from_pretrained("sudoku-4x4", "cpu")
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in agent.network.parameters():
            weights.add_(0.25 * weights.std() * torch.randn(weights.shape, generator=random))
    agent.save(folder)
    result = run("card", folder, "--puzzles", 60, "--attempts", 4, "--device", "cpu")
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def evaluation(folder):
    return json.loads((folder / "evaluation.json").read_text())


@pytest.fixture(scope="module")
def card(folder):
    return (folder / "README.md").read_text()


def test_the_figures_are_the_agents(folder, evaluation, card):
    from hrm_gym.comparing import agent_and_puzzles

    agent, puzzles = agent_and_puzzles(str(folder), 60, None, "cpu")
    single = agent.solve(puzzles)
    retried = agent.solve(puzzles, retry=Retry(attempts=4))
    voted = agent.solve(puzzles, retry=Retry(attempts=4, accept="vote"))
    assert 0 < single.verified.sum() < retried.verified.sum(), (
        "an agent that is wrong now and then, and less often with retries"
    )
    for kind, solutions in (
        ("| single pass | halting q", single),
        ("| accepted by the verifier | verifier, 4 attempts", retried),
        ("| selected | vote, 4 attempts", voted),
    ):
        line = next(line for line in card.splitlines() if line.startswith(kind))
        assert f"| {100 * solutions.accuracy:.1f} % (" in line
        assert line.endswith(f"| {solutions.mean_steps:.2f} |")
    assert "on 60 test puzzles" in card and "71,554 parameters" in card
    assert f"Expected calibration error over 10 bins: {evaluation['report']['learned']['calibration_error']:.3f}" in card


def test_every_figure_comes_from_the_evaluation(folder, evaluation, card):
    """Another evaluation, another card: no accuracy, step or calibration figure is written anywhere else."""
    changed = json.loads(json.dumps(evaluation))
    changed["report"]["test_puzzles"] = 4321
    changed["report"]["device"] = "abacus"
    for row in [changed["report"]["learned"], changed["report"]["all_steps"], *changed["report"]["outer_loop"]["rows"]]:
        row |= {"accuracy": 0.125, "accuracy_interval": [0.0625, 0.25], "mean_steps": 7.75}
    changed["report"]["learned"]["calibration_error"] = 0.4567
    changed["reliability"] = [{"low": 0.2, "high": 0.3, "count": 4321, "predicted": 0.25, "observed": 0.75}]
    curve = changed["report"]["outer_loop"]["curve"]
    curve["accepted"] = [0.125] * len(curve["accepted"])
    curve["selected"] = {rule: [0.125] * len(values) for rule, values in curve["selected"].items()}
    text = card_text("four", json.loads((folder / "agent.json").read_text()), 71_554, changed)
    assert text.count("12.5 % (6.2 to 25.0) | 7.75 |") == 6
    assert "on abacus" in text and "0.457" in text and "| 0.2 to 0.3 | 4,321 | 0.250 | 0.750 |" in text
    for section in ("Accuracy on", "Calibration"):  # of these sections nothing is left of the real figures
        lines = text.partition(f"## {section}")[2].partition("\n## ")[0].splitlines()
        percents = [word for line in lines if line.startswith("|") for word in line.split("|") if "%" in word]
        assert all("12.5 %" in word for word in percents if "95 %" not in word)


def test_the_hub_understands_the_metadata(card, evaluation):
    data = huggingface_hub.ModelCard(card).data
    assert (data.license, data.library_name) == ("mit", "hrm-gym")
    assert {"hrm-gym", "sudoku", "hrm"} <= set(data.tags)
    results = {result.metric_name: result.metric_value for result in data.eval_results}
    assert len(results) == 6
    assert results["halting q: single pass"] == evaluation["report"]["learned"]["accuracy"]
    accepted = [row for row in evaluation["report"]["outer_loop"]["rows"] if row["rule"] == "verifier"]
    assert results["verifier, 4 attempts: accepted by the verifier"] == accepted[0]["accuracy"]


def test_the_card_says_how_it_was_trained(card):
    for words in (
        "- command: `hrm-gym train sudoku-4x4 --seed 0 --device cpu --set backbone=hrm --set optimiser_steps=5000`",
        "- data: 20,000 puzzles (sudoku, generate, size 4, difficulty hard; split train), each shown under random symmetries",
        "- seed: 0",
        "- device: cpu",
        "- time: 250 s for 5,000 optimiser steps of 128 slots",
        "- licence: MIT",
        "no answer is in both train and test",
        "easier than collections such as Sudoku-Extreme",
    ):
        assert words in card


def test_reliability_against_a_loop(folder, evaluation):
    agent = HRMAgent.from_pretrained(folder, "cpu")
    puzzles = make_family("sudoku", 4).puzzles_from_questions(
        np.array([[[0, 2, 3, 4], [3, 4, 1, 2], [2, 1, 4, 3], [4, 3, 2, 1]]], np.uint8)
    )
    solutions = agent.solve(puzzles.take([0, 0, 0, 0]))
    object.__setattr__(solutions, "halt_values", np.array([0.05, 0.93, 0.97, 1.0], np.float32))
    object.__setattr__(solutions, "verified", np.array([True, False, True, True]))
    rows = reliability(solutions)
    assert [(row["low"], row["count"]) for row in rows] == [(0.0, 1), (pytest.approx(0.9), 3)]
    assert rows[0]["observed"] == 1 and rows[1]["observed"] == pytest.approx(2 / 3)
    assert rows[1]["predicted"] == pytest.approx((0.93 + 0.97 + 1) / 3)
    measured = evaluation["reliability"]
    assert sum(row["count"] for row in measured) == 60
    error = sum(row["count"] * abs(row["predicted"] - row["observed"]) for row in measured) / 60
    assert error == pytest.approx(evaluation["report"]["learned"]["calibration_error"])


@pytest.mark.parametrize(
    "config",
    [
        *PRESETS.values(),
        preset("sudoku-9x9").replace(seed=7, learning_rate=3e-4, name="mine", augment=False),
        preset("sudoku-4x4").with_settings(["puzzles.size=6", "puzzles.source=generate:50", "test_source=csv:a b.csv"]),
        TrainConfig(name="walls", family="maze", puzzles={"size": 7, "recipe": "walls", "min_path": 9}),
    ],
    ids=lambda config: config.name,
)
def test_the_command_gives_the_configuration_back(config):
    words = shlex.split(command_of(config, "cpu"))
    assert words[:2] == ["hrm-gym", "train"]
    options = list(zip(words[3::2], words[4::2], strict=True))
    settings = [value for key, value in options if key == "--set"]
    again = preset(words[2]).with_settings(settings).replace(seed=int(dict(options)["--seed"]), device=config.device)
    assert again == config
    assert dict(options)["--device"] == "cpu"


def test_an_agent_of_unknown_origin_gets_no_card(folder, evaluation):
    description = json.loads((folder / "agent.json").read_text())
    del description["trained"]
    with pytest.raises(CheckpointError, match="four does not say how it was trained"):
        card_text("four", description, 1, evaluation)


# -- export, import, push ------------------------------------------------------------------------------------------------


def published_agent(backbone: str) -> HRMAgent:
    """An untrained agent of a shape that the published code has too."""
    family = make_family("sudoku", 4)
    mixer = backbone == "trm-mixer"
    config = NetworkConfig(
        backbone=backbone, cells=16, vocabulary=family.vocabulary, hidden_size=64, heads=4, h_layers=0 if mixer else 1, l_layers=1,
        positions="none" if mixer else "rope", puzzle_ids=1, puzzle_embedding_size=64, puzzle_embedding_length=1,
    )  # fmt: skip
    network = build_network(config, seed=5)
    with torch.no_grad():
        network.q_head.weight.normal_(0, 1, generator=torch.Generator().manual_seed(0))
    return HRMAgent(network, family, max_steps=5, device="cpu")


@pytest.mark.parametrize("backbone", ["hrm", "trm-mixer"])
def test_published_layout_and_back(backbone, tmp_path):
    agent = published_agent(backbone)
    agent.save(tmp_path / "own")
    result = run("export", tmp_path / "own", "--out", tmp_path / "published")
    assert result.exit_code == 0, result.output
    weights, config = tmp_path / "published" / "model.safetensors", tmp_path / "published" / "config.json"
    assert {name.split(".")[0] + "." + name.split(".")[1] for name in load_file(weights)} == {"model.inner"}
    keys = json.loads(config.read_text())
    assert keys["halt_max_steps"] == 5 and keys["seq_len"] == 16 and keys["hidden_size"] == 64

    result = run("import", weights, "--config", config, "--size", 4, "--out", tmp_path / "again")
    assert result.exit_code == 0, result.output
    again = HRMAgent.from_pretrained(tmp_path / "again", "cpu")
    assert again.max_steps == 5
    assert str(again.halting) == ("q" if backbone == "hrm" else "q-halt(0.5)")
    for name, tensor in agent.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], tensor), name
    questions = np.array([[[0, 2, 3, 4], [3, 4, 1, 2], [2, 1, 4, 3], [4, 3, 2, 1]]], np.uint8)
    drafts = [one.solve(questions, halting="fixed(4)").drafts for one in (agent, again)]
    assert np.array_equal(*drafts)


def test_an_all_config_as_the_published_code_writes_it(tmp_path):
    """Sequence length and vocabulary are not in it, and the network stands in its section `arch`; weights of a compiled model."""
    agent = published_agent("hrm")
    export_published(agent, tmp_path)
    weights = {f"_orig_mod.{name}": tensor for name, tensor in load_file(tmp_path / "model.safetensors").items()}
    torch.save(weights, tmp_path / "step_100")
    (tmp_path / "all_config.yaml").write_text(
        "arch:\n  name: hrm.hrm_act_v1@HierarchicalReasoningModel_ACTV1\n  loss:\n    name: losses@ACTLossHead\n"
        "    loss_type: stablemax_cross_entropy\n  halt_exploration_prob: 0.1\n  halt_max_steps: 16\n  H_cycles: 2\n  L_cycles: 2\n"
        "  H_layers: 1\n  L_layers: 1\n  hidden_size: 64\n  num_heads: 4\n  expansion: 4\n  puzzle_emb_ndim: 64\n  pos_encodings: rope\n"
        "data_path: data/sudoku\nlr: 0.0001\n"
    )
    loaded = import_published(tmp_path / "step_100", tmp_path / "all_config.yaml", "sudoku", 4, device="cpu")
    assert loaded.max_steps == 16
    for name, tensor in agent.network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], tensor), name
    keys = read_published_config(tmp_path / "all_config.yaml") | {"seq_len": 16, "vocab_size": 6}
    assert load_published(tmp_path / "step_100", keys).config == loaded.network.config
    computed = import_published(tmp_path / "step_100", keys, "sudoku", 4, "stable(2)", "bfloat16", "cpu")
    assert computed.network.config.precision == "bfloat16" and str(computed.halting) == "stable(2)"
    with pytest.raises(ConfigError, match=r"the checkpoint has seq_len 16; sudoku 9 x 9 has 81"):
        import_published(tmp_path / "step_100", keys, "sudoku", 9)
    with pytest.raises(ConfigError, match="which task has which puzzle embedding is not in a published checkpoint"):
        import_published(tmp_path / "step_100", keys, "arc", 4)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", None, "cannot be read"),
        ("a.json", "{", "is not JSON"),
        ("a.yaml", "a: [", "is not YAML"),
        ("a.yaml", "", "holds no keys"),
        ("a.json", '{"arch": 3}', "holds no keys"),
    ],
)
def test_broken_configurations(tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_published_config(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_export_in_our_own_format_takes_the_card_where_it_still_holds(folder, tmp_path):
    assert run("export", folder, "--out", tmp_path / "same", "--format", "hrm-gym").exit_code == 0
    assert (tmp_path / "same" / "README.md").read_text() == (folder / "README.md").read_text()
    assert run("export", folder, "--out", tmp_path / "small", "--format", "hrm-gym", "--dtype", "bfloat16").exit_code == 0
    assert not (tmp_path / "small" / "README.md").exists()  # its figures are of other weights
    assert isinstance(run("export", folder, "--out", folder).exception, ConfigError)


def test_push_takes_card_and_weights_as_they_are(folder, tmp_path, monkeypatch):
    pushed = {}

    class Api:
        def __init__(self, token=None):
            pass

        def create_repo(self, repo_id, private, exist_ok):
            pushed["private"] = private
            return type("Made", (), {"repo_id": repo_id})

        def upload_folder(self, repo_id, folder_path, allow_patterns, commit_message):
            shutil.copytree(folder_path, tmp_path / "hub")
            return type("Commit", (), {"commit_url": f"https://hub/{repo_id}"})

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    assert run("export", folder, "--out", tmp_path / "small", "--format", "hrm-gym", "--dtype", "bfloat16").exit_code == 0
    shutil.copyfile(folder / "README.md", tmp_path / "small" / "README.md")
    result = run("push", tmp_path / "small", "me/four", "--private")
    assert result.exit_code == 0, result.output
    assert "Pushed: https://hub/me/four" in result.output and pushed == {"private": True}
    for name in ("README.md", "agent.json", "weights.safetensors"):
        assert (tmp_path / "hub" / name).read_bytes() == (find_agent(tmp_path / "small") / name).read_bytes()
