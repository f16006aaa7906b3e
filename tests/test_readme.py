"""The README's promises: its code runs, its tables name what there is, its pictures exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hrm_gym.cli import app
from hrm_gym.registration import ENVIRONMENTS
from hrm_gym.train import config

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_python_blocks_run_in_order(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    small = config.PRESETS["sudoku-4x4"].replace(
        optimiser_steps=20, warmup_steps=2, train_puzzles=100, test_puzzles=10, hidden_size=16, device="cpu"
    )
    monkeypatch.setitem(config.PRESETS, "sudoku-4x4", small)
    scope: dict[str, object] = {}
    assert len(blocks("python")) >= 3
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), scope)
    assert "1.0" in capsys.readouterr().out  # the first block's agent solves its puzzle


def test_the_table_of_environments_is_the_registry():
    named = re.findall(r"^\| `(HRM-\w+-v0)`", README, flags=re.MULTILINE)
    assert named == [name for name, *_ in ENVIRONMENTS]


def test_commands_exist():
    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    known |= {group.name for group in app.registered_groups}
    named = set(re.findall(r"^hrm-gym ([\w-]+)", "\n".join(blocks("sh")), flags=re.MULTILINE))
    assert named
    assert named <= known


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_links_and_pictures_lead_somewhere(target):
    assert (ROOT / target).exists()
