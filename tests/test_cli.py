"""The command line: what it prints, what it writes, and one clear line with exit code 2 for every mistake."""

from __future__ import annotations

import json
import shutil
import sys

import pytest
import torch

from hrm_gym.agents.agent import find_agent
from hrm_gym.cli import main

PRETRAINED = "sudoku-4x4"


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Runs a command in an empty folder; its exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["hrm-gym", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return command


MISTAKES = {
    "shape": (["watch", PRETRAINED, "--gif", "a.gif", "--puzzle", "1234"], "neither a grid"),
    "value": (["watch", PRETRAINED, "--gif", "a.gif", "--puzzle", "9" + "." * 15], "9"),
    "unsolvable": (["watch", PRETRAINED, "--gif", "a.gif", "--puzzle", "11" + "." * 14], "solution"),
    "size": (["train", "sudoku-4x4", "--set", "puzzles.size=5"], "5"),
    "task id": (["train", "arc-small", "--set", 'puzzles.task_ids=["nope"]'], "nope"),
    "preset": (["train", "sudoku-5x5"], "preset 'sudoku-5x5' is unknown; expected one of sudoku-4x4"),
    "no preset": (["train"], "which preset?"),
    "setting": (["train", "sudoku-4x4", "--set", "speed=9"], "setting 'speed' is unknown"),
    "agent": (["evaluate", "nobody"], "no agent at 'nobody'"),
    "resume": (["train", "--resume", "nowhere"], "nowhere is not a run folder"),
    "strategy": (["compare", PRETRAINED, "--strategy", "often", "--puzzles", "5"], "halting strategy 'often' is unknown"),
    "source": (["evaluate", PRETRAINED, "--source", "csv:none.csv"], "none.csv"),
    "device": (["info", "--help-me"], "No such option"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_give_one_line_and_exit_code_2(run, mistake):
    arguments, message = MISTAKES[mistake]
    code, out, err = run(*arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    if not err.startswith("Usage"):
        assert err.startswith("hrm-gym: ")
        assert err.count("\n") == 1
    assert out == ""


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has what is asked for")
def test_a_device_that_is_not_there(run):
    code, _, err = run("evaluate", PRETRAINED, "--device", "cuda")
    assert code == 2
    assert "device 'cuda' was asked for" in err and err.count("\n") == 1


def test_a_broken_checkpoint(run, tmp_path):
    folder = tmp_path / "agent"
    folder.mkdir()
    (folder / "agent.json").write_text('{"format": 1}')
    code, _, err = run("evaluate", folder)
    assert code == 2
    assert "is not an agent's description" in err and err.count("\n") == 1


def test_no_display(run, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    code, _, err = run("watch", PRETRAINED)
    assert code == 2
    assert "there is no display on this machine; write a film instead, with --gif out.gif" in err


def test_train_evaluate_compare_watch(run, tmp_path):
    small = [
        "optimiser_steps=20",
        "warmup_steps=2",
        "log_every=5",
        "train_puzzles=100",
        "hidden_size=16",
        "test_puzzles=20",
        "batch_size=8",
    ]
    settings = [part for setting in small for part in ("--set", setting)]
    code, out, err = run("train", "sudoku-4x4", "--out", "run", "--device", "cpu", *settings)
    assert code == 0, err
    assert "hrm-gym evaluate run" in out

    code, _, err = run("train", "sudoku-4x4", "--out", "run", *settings)
    assert code == 2
    assert "exists already" in err
    code, out, err = run("train", "--resume", "run")
    assert code == 0, err

    code, out, err = run("evaluate", "run", "--puzzles", 30, "--episodes", 3, "--json", "report.json")
    assert code == 0, err
    assert "single pass" in out and "the same answers and steps as in slots" in out
    assert json.loads((tmp_path / "report.json").read_text())["test_puzzles"] == 30

    code, out, err = run("compare", "run", "--puzzles", 30, "--out", "figures", "--strategy", "q", "--strategy", "fixed(3)")
    assert code == 0, err
    assert "fixed(3)" in out
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        "comparison.json", "comparison.csv", "accuracy-against-steps.png", "report.html", "trajectories.safetensors",
        "tensorboard",
    }  # fmt: skip

    code, out, err = run(
        "watch", "run", "--gif", "film.gif", "--puzzle", "1..4..3.....2...".replace("1..4", "..3."), "--seed", 3
    )
    if code == 0:
        assert (tmp_path / "film.gif").read_bytes()[:3] == b"GIF"
    code, out, err = run("watch", "run", "--gif", "film.gif")
    assert code == 0, err
    assert (tmp_path / "film.gif").read_bytes()[:3] == b"GIF"


def test_compare_takes_several_agents_and_strategies_from_outside(run, tmp_path, monkeypatch):
    (tmp_path / "own_strategies.py").write_text(
        "from hrm_gym.agents import HaltingStrategy\n"
        "class AtStep(HaltingStrategy):\n"
        "    def __init__(self, step):\n"
        "        self.step, self.name = step, f'at({step})'\n"
        "    def halt(self, thought):\n"
        "        return thought.step >= self.step\n"
    )
    folder = tmp_path / "other"
    shutil.copytree(find_agent(PRETRAINED), folder)
    own = ["--strategy", "own_strategies:AtStep(3)", "--strategy", "fixed(3)"]
    code, out, err = run("compare", PRETRAINED, "other", "--puzzles", 40, *own, "--out", "both")
    assert code == 0, err
    assert "2 checkpoints: mean (least to most)" in out
    both = json.loads((tmp_path / "both" / "comparison.json").read_text())
    assert [one["checkpoint"] for one in both] == [PRETRAINED, "other"]
    for one in both:
        rows = {row["strategy"]: row for row in one["rows"]}
        assert rows["at(3)"]["accuracy"] == rows["fixed(3)"]["accuracy"]
        assert rows["at(3)"]["mean_steps"] == 3
    code, _, err = run("compare", PRETRAINED, "--strategy", "own_strategies:Nothing", "--puzzles", 5)
    assert code == 2
    assert "cannot be imported" in err and err.count("\n") == 1


def test_info(run):
    code, out, _ = run("info")
    assert code == 0
    described = json.loads(out)
    assert "HRM-Sudoku-v0" in described["environments"]
    assert PRETRAINED in described["pretrained agents"]
    code, out, _ = run("info", PRETRAINED)
    assert code == 0
    assert "parameters" in out


@pytest.mark.parametrize("command", ["demo", "train", "evaluate", "compare", "watch", "play", "data", "bench", "info"])
def test_every_command_has_help(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0
    assert "Usage" in out
