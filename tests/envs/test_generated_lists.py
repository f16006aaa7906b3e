"""Generated lists on disk: kept when slow, the same puzzles, and never read half-written."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from hrm_gym.envs.generated_lists import cache_folder, generated_list
from hrm_gym.envs.maze.generator import generate_from_seeds as generate_mazes
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.registry import family_and_source
from hrm_gym.envs.sources import ListSource

CALLS = []


def counted(seeds: np.ndarray, size: int) -> Puzzles:
    CALLS.append(len(seeds))
    return generate_mazes(seeds, size, "tree")


@pytest.fixture(autouse=True)
def folder(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    CALLS.clear()
    monkeypatch.setenv("HRM_GYM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def same(one: Puzzles, other: Puzzles) -> bool:
    arrays = [(one.questions, other.questions), (one.answers, other.answers), (one.ratings, other.ratings)]
    arrays += [(one.facts[name], other.facts[name]) for name in one.facts | other.facts]
    return list(one.ids) == list(other.ids) and all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in arrays)


def test_a_slow_list_is_made_once(folder: Any) -> None:
    first = generated_list(partial(counted, size=7), 5, slow=0)
    again = generated_list(partial(counted, size=7), 5, slow=0)
    assert CALLS == [5]
    assert same(first, again)
    assert same(first, counted(np.arange(5, dtype=np.uint64), 7))
    generated_list(partial(counted, size=9), 5, slow=0)
    generated_list(partial(counted, size=7), 6, slow=0)
    assert len(list(folder.iterdir())) == 3  # other settings, other files


def test_a_quick_list_is_not_kept(folder: Any) -> None:
    generated_list(partial(counted, size=7), 5, slow=60)
    assert not folder.exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_half_written_file_is_never_read(folder: Any, share: float) -> None:
    first = generated_list(partial(counted, size=7), 5, slow=0)
    (file,) = folder.iterdir()
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    assert same(generated_list(partial(counted, size=7), 5, slow=0), first)
    assert CALLS == [5, 5]
    assert file.read_bytes()[:2] == b"PK" and len(list(folder.iterdir())) == 1  # made anew


def test_a_file_of_other_settings_is_not_taken(folder: Any) -> None:
    generated_list(partial(counted, size=7), 5, slow=0)
    (seven,) = folder.iterdir()
    generated_list(partial(counted, size=9), 5, slow=0)
    nine = next(path for path in folder.iterdir() if path != seven)
    nine.write_bytes(seven.read_bytes())
    assert generated_list(partial(counted, size=9), 5, slow=0).questions.shape == (5, 9, 9)


def test_it_can_be_switched_off(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HRM_GYM_CACHE", "off")
    assert cache_folder() is None
    generated_list(partial(counted, size=7), 5, slow=0)
    assert not folder.exists()


def test_a_folder_that_cannot_be_written_is_no_error(folder: Any) -> None:
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("a file, not a folder")
    assert len(generated_list(partial(counted, size=7), 5, slow=0)) == 5


def test_sources_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _, source = family_and_source("sudoku", size=4, source="generate:6")
    assert isinstance(source, ListSource) and len(source) == 6
