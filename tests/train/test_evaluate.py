"""The evaluation's figures against plain loops, and episodes in the environment against `HRMAgent.solve`."""

from __future__ import annotations

import json
import math

import gymnasium
import numpy as np
import pytest
import torch
from rich.console import Console

from hrm_gym.agents.agent import HRMAgent
from hrm_gym.agents.backbones import build_network
from hrm_gym.agents.halting import halting_strategy
from hrm_gym.agents.network import NetworkConfig
from hrm_gym.envs.episode import PuzzleEnv
from hrm_gym.envs.errors import ConfigError
from hrm_gym.envs.registry import family_and_source
from hrm_gym.envs.sources import ListSource
from hrm_gym.train.evaluate import evaluate, kind_of_accuracy, plain, play
from hrm_gym.train.statistics import wilson_interval


@pytest.fixture(scope="module")
def report(restless):
    agent, puzzles = restless
    return evaluate(agent, puzzles, checkpoint="restless", slots=9)


def test_figures_against_a_loop(report, restless):
    agent, puzzles = restless
    for measured, halting in ((report.learned, "q"), (report.all_steps, "fixed(8)")):
        solutions = agent.solve(puzzles, halting=halting)
        right = sum(bool((draft == answer).all()) for draft, answer in zip(solutions.drafts, puzzles.answers, strict=True))
        cells = sum(int((draft == answer).sum()) for draft, answer in zip(solutions.drafts, puzzles.answers, strict=True))
        steps = sorted(solutions.steps.tolist())
        assert measured.halting == halting
        assert measured.kind == "single pass"
        assert measured.accuracy == measured.exact_accuracy == right / 50
        assert measured.accuracy_interval == wilson_interval(right, 50)
        assert measured.cell_accuracy == pytest.approx(cells / 450)
        assert measured.mean_steps == sum(steps) / 50
        assert measured.median_steps == (steps[24] + steps[25]) / 2
        assert steps[46] <= measured.p95_steps <= steps[48]
        gaps = 0.0
        for number in range(10):
            inside = [n for n in range(50) if number / 10 <= solutions.halt_values[n] < (number + 1) / 10]
            gaps += abs(sum(float(solutions.halt_values[n]) - float(solutions.verified[n]) for n in inside))
        assert measured.calibration_error == pytest.approx(gaps / 50)
        assert measured.puzzles_per_second == pytest.approx(50 / measured.seconds)
    assert report.all_steps.mean_steps == 8
    assert 1 < report.learned.mean_steps < 8
    assert report.all_steps.accuracy >= 0.1  # five of the answers are the drafts of step 8


def test_agents_own_halting_is_the_default(restless):
    agent, puzzles = restless
    own = HRMAgent(agent.network, agent.family, max_steps=6, halting="stable(1)", device="cpu")
    report = evaluate(own, puzzles)
    assert report.learned.halting == "stable(1)"
    assert report.all_steps.halting == "fixed(6)"
    assert evaluate(own, puzzles, halting="fixed(2)", max_steps=4).to_dict()["max_steps"] == 4
    with pytest.raises(ConfigError, match="nothing"):
        evaluate(own, puzzles, halting="nothing")


def test_json_and_table(report, tmp_path):
    path = report.save(tmp_path / "new" / "report.json")
    assert json.loads(path.read_text()) == plain(report.to_dict())
    assert [file.name for file in path.parent.iterdir()] == ["report.json"]
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(report.table())
    shown = console.export_text()
    for words in ("restless", "50 test puzzles", "arc 3 x 3", "single pass", "halting q", "halting fixed(8)", "verified"):
        assert words in shown
    assert f"{100 * report.learned.accuracy:.1f} %" in shown


def test_progress_counts_both_runs(restless):
    agent, puzzles = restless
    seen = []
    evaluate(agent, puzzles, slots=16, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 100


def test_no_puzzles(restless):
    agent, puzzles = restless
    report = evaluate(agent, puzzles.take([]))
    assert report.test_puzzles == 0
    assert math.isnan(report.learned.accuracy)
    assert plain(report.to_dict())["learned"]["accuracy"] is None


def test_kind_of_accuracy():
    kinds = {name: kind_of_accuracy(halting_strategy(name)) for name in ("q", "stable(2)", "verifier", "oracle")}
    assert kinds["q"] == kinds["stable(2)"] == "single pass"
    assert "verifier" in kinds["verifier"]
    assert "oracle" in kinds["oracle"]


@pytest.mark.parametrize("halting", ["q", "fixed(3)", "stable(1)", "random(0.3)"])
def test_episodes_agree_with_solve(restless, halting):
    agent, puzzles = restless
    player = HRMAgent(agent.network, agent.family, max_steps=8, halting=halting, device="cpu")
    step_cost = 0.125
    env = PuzzleEnv(agent.family, ListSource(puzzles), max_steps=8, step_cost=step_cost)
    records = play(player, env, puzzles)
    solutions = player.solve(puzzles)
    assert [record.puzzle_id for record in records] == list(puzzles.ids)
    assert [record.steps for record in records] == solutions.steps.tolist()
    assert [record.verified for record in records] == solutions.verified.tolist()
    assert all((record.draft == draft).all() for record, draft in zip(records, solutions.drafts, strict=True))
    rewards = solutions.verified - step_cost * solutions.steps
    assert [record.reward for record in records] == pytest.approx(rewards.tolist())


def test_the_test_above_has_right_and_wrong_answers(restless):
    agent, puzzles = restless
    assert 0 < agent.solve(puzzles, halting="fixed(3)").verified.sum() < 50


@pytest.mark.parametrize("halting", ["q", "verifier", "oracle"])
def test_episodes_of_a_wrapped_environment_with_rules(halting):
    """Mazes, which are verified by rules, from bare questions in the environment and from puzzles with answers in `solve`."""
    family, source = family_and_source("maze", size=5)
    config = NetworkConfig(
        cells=25, vocabulary=family.vocabulary, hidden_size=16, heads=2, expansion=2, mlp_multiple=16, h_layers=1, l_layers=1
    )
    network = build_network(config, seed=0)
    with torch.no_grad():
        network.q_head.weight.normal_(0, 1, generator=torch.Generator().manual_seed(0))
    agent = HRMAgent(network, family, max_steps=4, halting=halting, device="cpu")
    puzzles = source.draw(np.arange(12, dtype=np.uint64))
    env = gymnasium.wrappers.RecordEpisodeStatistics(PuzzleEnv(family, source, max_steps=4))
    records = play(agent, env, puzzles)
    solutions = agent.solve(puzzles)
    assert [record.steps for record in records] == solutions.steps.tolist()
    assert [record.verified for record in records] == solutions.verified.tolist()
