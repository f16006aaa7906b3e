"""The example that sweeps the step cost: its verdict, and that it runs, goes on where it was, and refuses other settings."""

from __future__ import annotations

import csv
import importlib.util
import sys
from pathlib import Path

import pytest

from hrm_gym.envs.errors import ConfigError

PATH = Path(__file__).parents[2] / "examples" / "step_cost_sweep.py"
SMALL = [
    "--set",
    "optimiser_steps=4",
    "--set",
    "train_puzzles=64",
    "--set",
    "batch_size=8",
    "--set",
    "device=cpu",
    "--puzzles",
    "20",
]


@pytest.fixture(scope="module")
def sweep():
    specification = importlib.util.spec_from_file_location("step_cost_sweep", PATH)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def rows(*runs):
    return [
        {"step_cost": cost, "seed": 0, "accuracy": 0.9, "mean_steps": steps, "all_steps_accuracy": 1.0} for cost, steps in runs
    ]


def test_verdict(sweep):
    assert sweep.falls(rows((0.01, 4.0), (0.1, 2.0), (0.05, 3.0)))
    assert not sweep.falls(rows((0.01, 4.0), (0.1, 3.5), (0.05, 3.0)))
    # of the mean over seeds; a cost of 0 is a tie and is not judged
    assert sweep.falls(rows((0.01, 4.0), (0.01, 2.0), (0.1, 2.5), (0.1, 2.9), (0.0, 1.0)))
    assert sweep.means(rows((0.1, 4.0), (0.1, 2.0), (0.0, 1.0))) == [(0.0, 1.0, 0.9), (0.1, 3.0, 0.9)]


def test_it_runs_and_goes_on_where_it_was(sweep, tmp_path, monkeypatch, capsys):
    command = ["sweep", "--costs", "0.1", "0", "0.01", "--seeds", "3", "--out", str(tmp_path / "out"), *SMALL]
    monkeypatch.setattr(sys, "argv", command)
    assert sweep.main() in (0, 1)
    first = (tmp_path / "out" / "step_costs.csv").read_text()
    with open(tmp_path / "out" / "step_costs.csv", newline="") as file:
        assert [(line["step_cost"], line["seed"]) for line in csv.DictReader(file)] == [
            ("0.0", "3"),
            ("0.01", "3"),
            ("0.1", "3"),
        ]
    assert (tmp_path / "out" / "step_costs.png").read_bytes().startswith(b"\x89PNG")
    assert "step cost 0.01:" in capsys.readouterr().out

    monkeypatch.setattr(sweep, "train", lambda *arguments, **settings: pytest.fail("trained again"))
    sweep.main()
    assert (tmp_path / "out" / "step_costs.csv").read_text() == first
    monkeypatch.setattr(sys, "argv", [*command, "--set", "learning_rate=0.1"])
    with pytest.raises(ConfigError, match="holds a run with other settings"):
        sweep.main()
