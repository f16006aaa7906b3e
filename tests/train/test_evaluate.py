"""The evaluation's figures against plain loops, and episodes in the environment against `HRMAgent.solve`."""

from __future__ import annotations

import json
import math

import gymnasium
import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from hrm_gym.agents.agent import HRMAgent
from hrm_gym.agents.backbones import build_network
from hrm_gym.agents.halting import halting_strategy
from hrm_gym.agents.network import NetworkConfig
from hrm_gym.agents.retry import Retry
from hrm_gym.cli import app
from hrm_gym.envs import sudoku
from hrm_gym.envs.episode import PuzzleEnv
from hrm_gym.envs.errors import ConfigError
from hrm_gym.envs.registry import family_and_source
from hrm_gym.envs.sources import ListSource
from hrm_gym.train.evaluate import evaluate, kind_of_accuracy, measure_outer_loop, plain, play, retry_for
from hrm_gym.train.plots import accuracy_against_budget
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


# -- the three accuracies --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weak():
    """The agent that comes along with two steps only, 100 puzzles, and its report with six attempts at each."""
    trained = HRMAgent.from_pretrained("sudoku-4x4", "cpu")
    agent = HRMAgent(trained.network, trained.family, max_steps=2, device="cpu")
    puzzles = sudoku.generate(100, size=4, difficulty="hard", seed=3)
    return agent, puzzles, evaluate(agent, puzzles, checkpoint="weak", retry=Retry(6))


def test_three_accuracies_are_those_of_solve(weak):
    agent, puzzles, report = weak
    outer_loop = report.outer_loop
    assert [(row.kind, row.rule, row.attempts) for row in outer_loop.rows] == [
        ("single pass", "first attempt", 1), ("selected", "vote", 6), ("selected", "best-q", 6), ("selected", "residual", 6),
        ("accepted by the verifier", "verifier", 6),
    ]  # fmt: skip
    for row in outer_loop.rows:
        retry = None if row.attempts == 1 else Retry(6, accept=row.rule)
        solutions = agent.solve(puzzles, retry=retry)
        right = int(solutions.verified.sum())
        assert row.accuracy == right / 100
        assert row.accuracy_interval == wilson_interval(right, 100)
        assert row.mean_steps == solutions.mean_steps
        assert row.mean_attempts == (1 if retry is None else solutions.mean_attempts)
        assert row.abstained == pytest.approx(1 - right / 100 if row.rule == "verifier" else 0)
    assert outer_loop.rows[0].accuracy == report.learned.accuracy < outer_loop.rows[-1].accuracy
    assert sum(outer_loop.winners.values()) == round(100 * outer_loop.rows[-1].accuracy)
    assert outer_loop.winners["single pass"] == round(100 * outer_loop.rows[0].accuracy)


def test_curves_against_plain_counts_and_never_falling(weak):
    agent, puzzles, report = weak
    curve = report.outer_loop.curve
    assert curve.attempts == [1, 2, 4, 6]
    for k, accepted in zip(curve.attempts, curve.accepted, strict=True):
        assert accepted == agent.solve(puzzles, retry=Retry(k)).acceptance
    solutions = agent.solve(puzzles, retry=Retry(6))
    for budget, accepted in zip(curve.steps, curve.accepted_by_steps, strict=True):
        assert accepted == sum(bool(0 < spent <= budget) for spent in solutions.accepted_steps) / 100
    for shares in (curve.accepted, curve.accepted_by_steps):
        assert shares == sorted(shares) and shares[0] < shares[-1] == report.outer_loop.rows[-1].accuracy
    assert curve.steps == sorted(set(curve.steps))
    for row in report.outer_loop.rows[1:4]:
        assert curve.selected[row.rule][0] == report.outer_loop.rows[0].accuracy
        assert curve.selected[row.rule][-1] == row.accuracy


def test_table_file_and_figure_name_the_kinds(weak, tmp_path):
    _, _, report = weak
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(report.outer_loop.table())
    shown = console.export_text()
    for words in (
        "single pass",
        "selected",
        "accepted by the verifier within 6 attempts",
        "best-q",
        "vote",
        "residual",
        "abstained",
    ):
        assert words in shown
    written = json.loads(report.save(tmp_path / "report.json").read_text())["outer_loop"]
    assert written["curve"]["accepted"] == report.outer_loop.curve.accepted
    assert written["retry"]["perturb"] == ["symmetry"]
    left, right = accuracy_against_budget(report.outer_loop, "weak").axes
    labels = [line.get_label() for line in left.get_lines()]
    assert "accepted by the verifier" in labels and "selected by vote, without labels or rules" in labels
    (drawn,) = [line for line in left.get_lines() if line.get_label() == "accepted by the verifier"]
    assert np.allclose(drawn.get_ydata(), 100 * np.array(report.outer_loop.curve.accepted))
    assert list(right.get_lines()[0].get_xdata()) == report.outer_loop.curve.steps


def test_without_rules_there_is_no_verifier(restless):
    agent, puzzles = restless
    outer_loop = evaluate(agent, puzzles, retry=Retry(3)).outer_loop
    assert [row.rule for row in outer_loop.rows] == ["first attempt", "vote", "best-q", "residual"]
    assert outer_loop.curve.accepted == [] and outer_loop.winners == {}
    assert len(accuracy_against_budget(outer_loop).axes) == 1
    assert retry_for(agent, "oracle") is None and retry_for(agent, "q") == Retry(8)
    assert retry_for(agent, None, 1) is None
    assert retry_for(agent, None, 3, ["noise"], 0.5, 2) == Retry(3, perturb=("noise",), sigma=0.5, seed=2)


def test_ctrl_c_leaves_a_report_on_what_is_finished(weak):
    agent, puzzles, _ = weak

    def stop(finished):
        if finished >= 40:
            raise KeyboardInterrupt

    outer_loop = measure_outer_loop(agent, puzzles, Retry(3), slots=16, progress=stop)
    assert outer_loop.interrupted and 40 <= outer_loop.test_puzzles < 100
    assert math.isfinite(outer_loop.rows[-1].accuracy)
    empty = measure_outer_loop(agent, puzzles.take([]), Retry(3))
    assert empty.test_puzzles == 0 and math.isnan(empty.rows[0].accuracy)


def test_the_command_prints_writes_and_draws(tmp_path):
    base = ["evaluate", "sudoku-4x4", "--puzzles", "30", "--episodes", "0", "--device", "cpu"]
    files = ["--json", str(tmp_path / "r.json"), "--out", str(tmp_path / "figures")]
    result = CliRunner().invoke(app, [*base, "--attempts", "3", "--perturb", "symmetry+noise", "--perturb", "deeper", *files])
    assert result.exit_code == 0, result.output
    assert "verifier" in result.output and "symmetry+noise, deeper" in result.output
    assert json.loads((tmp_path / "r.json").read_text())["outer_loop"]["planned"] == 3
    assert (tmp_path / "figures" / "accuracy-against-budget.png").read_bytes()[:4] == b"\x89PNG"
    plain_run = CliRunner().invoke(app, [*base, "--attempts", "1"])
    assert plain_run.exit_code == 0 and "selected" not in plain_run.output
    refused = CliRunner().invoke(app, [*base, "--attempts", "1", "--perturb", "noise"])
    assert isinstance(refused.exception, ConfigError) and "belong to retries" in str(refused.exception)
