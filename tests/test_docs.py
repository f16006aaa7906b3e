"""The pages in docs/: their code runs, their links and pictures exist, their tables name what there is."""

from __future__ import annotations

import re
from pathlib import Path

import gymnasium
import pytest
from PIL import Image

from hrm_gym.cli import app
from hrm_gym.registration import ENVIRONMENTS

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {page.name: page.read_text() for page in sorted(DOCS.glob("*.md"))}
LINKS = sorted({(name, target) for name, text in PAGES.items() for target in re.findall(r"\]\(([^)#:]+)\)", text)})


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", PAGES[page], flags=re.DOTALL)


@pytest.fixture(autouse=True)
def registry():
    """What a page registers is gone after it."""
    before = set(gymnasium.registry)
    yield
    for name in set(gymnasium.registry) - before:
        del gymnasium.registry[name]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_python_blocks_run_in_order(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    scope: dict[str, object] = {"__name__": f"docs.{page}"}
    for block in blocks(page, "python"):
        exec(compile(block, page, "exec"), scope)


def test_the_tutorial_is_complete(capsys, monkeypatch, tmp_path):
    """The tutorial's text says what its code prints."""
    test_python_blocks_run_in_order("tutorial-new-family.md", monkeypatch, tmp_path)
    out = capsys.readouterr().out
    assert "verified" in out
    (promised,) = re.findall(r"print\(error\)  # (.*)", PAGES["tutorial-new-family.md"])
    assert promised in out


@pytest.mark.parametrize(("page", "target"), LINKS)
def test_links_and_pictures_lead_somewhere(page, target):
    assert (DOCS / target).exists()


def test_every_environment_is_in_the_gallery():
    rows = re.findall(
        r"^\| `(HRM-\w+-v0)` \| !\[.+?\]\((.+?)\) \| .+ \| \[`(\w+)`\]\((.+?)\) \|$", PAGES["environments.md"], re.M
    )
    assert {name for name, *_ in rows} == {name for name, *_ in ENVIRONMENTS}
    entry_points = {name: entry_point for name, entry_point, _ in ENVIRONMENTS}
    for name, _, class_name, source in rows:
        module, entry_class = entry_points[name].split(":")
        assert class_name == entry_class
        assert source == "../" + module.removeprefix("hrm_gym.").replace(".", "/") + ".py"


@pytest.mark.parametrize("picture", sorted({target for _, target in LINKS if target.endswith(".png")}))
def test_pictures_are_small_and_whole(picture):
    path = DOCS / picture
    assert path.stat().st_size < 60_000
    with Image.open(path) as image:
        image.load()
        assert image.width >= 600


def test_commands_exist():
    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    known |= {group.name for group in app.registered_groups}
    named = {name for page in PAGES for name in re.findall(r"^hrm-gym ([\w-]+)", "\n".join(blocks(page, "sh")), flags=re.M)}
    assert "play" in named
    assert named <= known
