"""A family and a source for it, by name and plain settings: what an environment id, the command line and a training run share.

    family, source = family_and_source("sudoku", size=9, source="csv:sudoku-extreme/test.csv")
    puzzles = source.draw(np.arange(100, dtype=np.uint64))

Each family's code is loaded when it is asked for: importing this module compiles nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from hrm_gym.envs.errors import ConfigError
from hrm_gym.envs.family import Family
from hrm_gym.envs.readers import open_source
from hrm_gym.envs.sources import ListSource, Source
from hrm_gym.envs.splits import SPLITS

# ARC puzzles in use, so that the environments of a vector share one copy; gone when the last environment is
_ARC_IN_USE: WeakValueDictionary[tuple[Any, ...], ListSource] = WeakValueDictionary()


def sudoku(size: int = 9, source: str = "generate", difficulty: str = "hard", split: str = "all") -> tuple[Family, Source]:
    """Sudoku of one size; see `hrm_gym.envs.sudoku.env.SudokuEnv` for the arguments.

    Raises:
        ConfigError: an unknown size, difficulty or split.
        SourceError: an unknown source or a faulty file.
    """
    from hrm_gym.envs.sudoku.family import SudokuFamily
    from hrm_gym.envs.sudoku.generator import DIFFICULTIES, generate_from_seeds
    from hrm_gym.envs.sudoku.rules import BOXES

    if _whole("size", size) not in BOXES:
        raise ConfigError(f"Sudoku size {size} is unknown; expected one of {', '.join(map(str, BOXES))}")
    family = SudokuFamily(int(size))
    _check_choice("difficulty", difficulty, DIFFICULTIES)
    _check_choice("split", split, SPLITS)
    generate = partial(generate_from_seeds, size=size, difficulty=difficulty, split=split)
    generate(np.empty(0, np.uint64))  # no puzzle, but its settings are checked
    return family, open_source(source, family, split, generate)


def maze(
    size: int = 30, source: str = "generate", recipe: str = "walls", min_path: int | None = None, split: str = "all"
) -> tuple[Family, Source]:
    """Mazes of one size; see `hrm_gym.envs.maze.env.MazeEnv` for the arguments.

    Raises:
        ConfigError: an unknown size, recipe or split, or a path that long does not fit.
        SourceError: an unknown source or a faulty file.
    """
    from hrm_gym.envs.maze.family import MazeFamily
    from hrm_gym.envs.maze.generator import RECIPES, generate_from_seeds

    family = MazeFamily(_whole("size", size))
    if min_path is not None:
        min_path = _whole("min_path", min_path)
    _check_choice("recipe", recipe, RECIPES)
    _check_choice("split", split, SPLITS)
    generate = partial(generate_from_seeds, size=size, recipe=recipe, min_path=min_path, split=split)
    generate(np.empty(0, np.uint64))  # no puzzle, but its settings are checked
    return family, open_source(source, family, split, generate)


def arc(
    dataset: str = "arc-agi-1", split: str = "training", max_size: int = 30, task_ids: Sequence[str] | None = None
) -> tuple[Family, Source]:
    """ARC tasks; see `hrm_gym.envs.arc.env.ArcEnv` for the arguments.

    Raises:
        ConfigError: a size out of range.
        SourceError: an unknown dataset, split or task, or a faulty file.
    """
    from hrm_gym.envs.arc.family import ArcFamily, puzzles_from_tasks
    from hrm_gym.envs.arc.tasks import load_tasks

    family = ArcFamily(_whole("max_size", max_size))
    wanted = (task_ids,) if isinstance(task_ids, str) else None if task_ids is None else tuple(task_ids)
    key = (str(dataset), split, max_size, wanted)
    source = _ARC_IN_USE.get(key)
    if source is None:
        source = ListSource(puzzles_from_tasks(load_tasks(dataset, split, wanted, max_size), max_size))
        _ARC_IN_USE[key] = source
    return family, source


FAMILIES: dict[str, Callable[..., tuple[Family, Source]]] = {"sudoku": sudoku, "maze": maze, "arc": arc}


def family_and_source(name: str, **settings: Any) -> tuple[Family, Source]:
    """The family called `name` and a source of its puzzles.

    Args:
        name: "sudoku", "maze" or "arc".
        settings: the family's settings, as the functions of that name above take them.

    Raises:
        ConfigError: an unknown family or setting, or a value outside its range.
        SourceError: puzzles that cannot be read.
    """
    _check_choice("family", name, FAMILIES)
    make = FAMILIES[name]
    known = inspect.signature(make).parameters
    for setting in settings:
        if setting not in known:
            raise ConfigError(f"setting {setting!r} is unknown to {name}; expected one of {', '.join(known)}")
    return make(**settings)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise ConfigError(f"{name} is {value!r}; expected a whole number")
    return int(value)


def make_family(name: str, size: int) -> Family:
    """The family called `name` for `size` x `size` grids, without any puzzles.

    Raises:
        ConfigError: an unknown family or size.
    """
    _check_choice("family", name, FAMILIES)
    if name == "sudoku":
        from hrm_gym.envs.sudoku.family import SudokuFamily

        return SudokuFamily(size)
    if name == "maze":
        from hrm_gym.envs.maze.family import MazeFamily

        return MazeFamily(size)
    from hrm_gym.envs.arc.family import ArcFamily

    return ArcFamily(size)


def _check_choice(what: str, value: Any, choices: Any) -> None:
    if not isinstance(value, str) or value not in choices:
        raise ConfigError(f"{what} {value!r} is unknown; expected one of {', '.join(choices)}")
