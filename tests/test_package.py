"""The wheel and the sdist: built, installed elsewhere, and every module imported from outside the tree."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("hrm_gym", "envs", "agents", "train")


def run(command, cwd, **environment):
    result = subprocess.run(command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    return result.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist of the tree, and the wheel that is made from that sdist."""
    out = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)], out)
    return next(out.glob("*.tar.gz")), next(out.glob("*.whl"))


def modules_of_the_tree():
    names = set()
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            parts = list(path.relative_to(ROOT).with_suffix("").parts)
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            names.add(".".join(parts if room == "hrm_gym" else ["hrm_gym", *parts]))
    return names


def test_every_module_imports_from_the_installed_wheel(built, tmp_path):
    _, wheel = built
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    run([*pip, "--target", str(target), str(wheel)], tmp_path)
    code = (
        "import importlib, pathlib, pkgutil, sys\n"
        "import hrm_gym\n"
        f"assert pathlib.Path(hrm_gym.__file__).is_relative_to({str(target)!r}), hrm_gym.__file__\n"
        "for module in pkgutil.walk_packages(hrm_gym.__path__, 'hrm_gym.'):\n"
        "    if not module.name.endswith('__main__'): importlib.import_module(module.name)\n"
        "    print(module.name)\n"
        "import gymnasium\n"
        "env = gymnasium.make('HRM-Sudoku-v0', size=4)\n"
        "env.reset(seed=0)\n"
    )
    seen = set(run([sys.executable, "-c", code], tmp_path, PYTHONPATH=str(target), PYTHONSAFEPATH="1").split())
    assert seen | {"hrm_gym"} == modules_of_the_tree()


def test_the_wheel_holds_types_licence_and_the_pretrained_agent(built):
    sdist, wheel = built
    names = zipfile.ZipFile(wheel).namelist()
    assert "hrm_gym/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "hrm_gym/agents/pretrained/sudoku-4x4/weights.safetensors" in names
    assert not [name for name in names if name.startswith(("tests/", "envs/", "agents/", "train/"))]
    with tarfile.open(sdist) as archive:
        assert any(name.endswith("/envs/sudoku/rules.py") for name in archive.getnames())
