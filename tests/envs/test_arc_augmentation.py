"""Versions of ARC tasks: all different, invertible, and made without a look at the tests' outputs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hrm_gym.envs.arc import (
    OUTSIDE,
    ArcTask,
    crop,
    demonstration_puzzles,
    from_canvas,
    hidden_tests,
    hide_answers,
    load_tasks,
    puzzles_from_tasks,
    task_versions,
    training_puzzles,
)
from hrm_gym.envs.arc.augmentation import turn_grid
from hrm_gym.envs.errors import ConfigError, PuzzleError
from hrm_gym.envs.symmetries import dihedral_cells

IDS = ["25ff71a9", "a85d4709", "d037b0a7", "3c9b0459"]


@pytest.fixture(scope="module")
def tasks():
    return load_tasks("arc-agi-1", "training", [*IDS, "7fe24cdd"])


def content(task: ArcTask, turn: int, values: np.ndarray) -> str:
    """The task's demonstrations and test inputs under a symmetry, written out: the plain form of what the digests stand for."""
    grids = [grid for pair in task.train for grid in pair] + [question for question, _ in task.test]
    return repr([values[turn_grid(grid, turn)].tolist() for grid in grids])


def test_versions_differ_and_the_first_is_the_task(tasks):
    versions = task_versions(tasks, 6, 60, np.random.default_rng(0))
    assert versions.per_task == 61 and len(versions.used) == 61 * len(tasks)
    for number, task in enumerate(tasks):
        rows = np.flatnonzero(versions.used[number * 61 : (number + 1) * 61]) + number * 61
        assert rows[0] == number * 61 and versions.turns[rows[0]] == 0 and (versions.values[rows[0]] == np.arange(11)).all()
        contents = {content(task, versions.turns[row], versions.values[row]) for row in rows}
        assert len(contents) == len(rows) > 20
    assert (versions.values[:, [0, 10]] == [0, 10]).all() and (np.sort(versions.values, axis=1) == np.arange(11)).all()


def test_a_task_with_few_versions_has_exactly_those():
    """One colour on a symmetric grid: 9 colours and nothing else; two colours side by side: 72 pairs in 4 directions."""
    one = ArcTask("one", (([[3]], [[3]]),), (([[3]], None),))
    two = ArcTask("two", (([[1, 2]], [[2, 1]]),), (([[1, 2]], None),))
    versions = task_versions([one, two], 2, 1000, np.random.default_rng(0))
    assert versions.used[:1001].sum() == 9
    pairs = len(list(itertools.permutations(range(1, 10), 2)))
    assert versions.used[1001:].sum() == 2 * pairs  # lying and standing; mirrored is the other order of the colours
    assert not versions.used[9:1001].any()


def test_versions_do_not_depend_on_outputs_or_other_tasks(tasks):
    changed = [
        ArcTask(task.id, task.train, tuple((question, np.full((5, 5), 7, np.uint8)) for question, _ in task.test))
        for task in tasks
    ]
    one = task_versions(tasks, 6, 30, np.random.default_rng(3))
    for others in (changed, hide_answers(tasks), tasks[:2]):
        other = task_versions(others, 6, 30, np.random.default_rng(3))
        for name in ("turns", "values", "used"):
            theirs = getattr(other, name)
            assert np.array_equal(getattr(one, name)[: len(theirs)], theirs)
    assert all(answer is None for task in hide_answers(tasks) for _, answer in task.test)
    assert (hidden_tests(tasks, 6).answers == OUTSIDE).all()
    assert np.array_equal(hidden_tests(tasks, 6).questions, puzzles_from_tasks(tasks, 6).questions)


def test_every_version_is_undone_by_its_inverse(tasks):
    versions = task_versions(tasks, 6, 20, np.random.default_rng(1))
    puzzles = puzzles_from_tasks(tasks, 6)
    copies = versions.of(puzzles)
    rows = copies.facts["puzzle_id"]
    assert np.array_equal(rows // versions.per_task, copies.facts["task"])
    back = versions.symmetries(rows).inverse()
    place = {name: row for row, name in enumerate(puzzles.ids)}
    order = [place[name] for name in copies.ids]
    assert np.array_equal(back.apply(copies.questions), puzzles.questions[order])
    assert np.array_equal(back.apply(copies.answers), puzzles.answers[order])
    assert len(copies) == sum(len(task.test) * versions.used[n * 21 : (n + 1) * 21].sum() for n, task in enumerate(tasks))
    # what the digests count as different are the grids of the canvases
    for row in range(0, len(copies), 17):
        task = tasks[copies.facts["task"][row]]
        question = task.test[int(copies.ids[row].split("/")[1])][0]
        expected = versions.values[rows[row]][turn_grid(question, versions.turns[rows[row]])]
        assert np.array_equal(from_canvas(copies.questions[row]), expected)


def test_turns_of_grids_are_those_of_canvases():
    square = np.arange(9, dtype=np.uint8).reshape(3, 3)
    for turn, cells in enumerate(dihedral_cells(3)):
        assert np.array_equal(square.ravel()[cells].reshape(3, 3), turn_grid(square, turn))


def test_training_puzzles_are_the_demonstrations_shifted_but_for_one(tasks):
    versions = task_versions(tasks, 6, 12, np.random.default_rng(1))
    still = training_puzzles(tasks, versions, None)
    moved = training_puzzles(tasks, versions, np.random.default_rng(5))
    plain = demonstration_puzzles(tasks, 6)
    first = still.take(still.facts["puzzle_id"] % versions.per_task == 0)
    assert np.array_equal(first.questions, plain.questions) and np.array_equal(first.answers, plain.answers)
    assert all("/demo" in name for name in still.ids) and moved.ids == still.ids
    shifted = ((moved.questions != still.questions) | (moved.answers != still.answers)).any(axis=(1, 2))
    for row in np.unique(moved.facts["puzzle_id"]):
        assert (~shifted[moved.facts["puzzle_id"] == row]).any()
    assert shifted.mean() > 0.3
    for row in range(len(moved)):
        before, after = still.take([row]), moved.take([row])
        for one, other in ((before.questions, after.questions), (before.answers, after.answers)):
            assert np.array_equal(from_canvas(one[0]), from_canvas(other[0]))
        # question and answer go together: the same roll of both
        where = [np.argwhere(grids[0] != OUTSIDE).min(axis=0) for grids in (before.questions, after.questions)]
        roll = where[1] - where[0]
        assert np.array_equal(np.roll(before.answers[0], roll, axis=(0, 1)), after.answers[0])


def largest_rectangle(canvas: np.ndarray) -> np.ndarray | None:
    """By trying them all."""
    best, area = None, 0
    for height, width in itertools.product(range(1, canvas.shape[0] + 1), range(1, canvas.shape[1] + 1)):
        if height * width > area and (canvas[:height, :width] != OUTSIDE).all():
            best, area = canvas[:height, :width], height * width
    return best


def test_crop_finds_the_largest_rectangle():
    random = np.random.default_rng(0)
    canvases = random.integers(0, 10, (300, 5, 4)).astype(np.uint8)
    canvases[random.random(canvases.shape) < 0.25] = OUTSIDE
    for canvas, found in zip(canvases, crop(canvases), strict=True):
        expected = largest_rectangle(canvas)
        if expected is None:
            assert (found == OUTSIDE).all()
        else:
            assert np.array_equal(from_canvas(found), expected) and found[0, 0] != OUTSIDE
    whole = puzzles_from_tasks(load_tasks("arc-agi-1", "training", IDS), 6).answers
    assert np.array_equal(crop(whole), whole)


def test_both_splits_together():
    both = load_tasks("arc-agi-1", "all", max_size=5)
    parts = [load_tasks("arc-agi-1", split, max_size=5) for split in ("training", "evaluation")]
    assert [task.id for task in both] == sorted(task.id for part in parts for task in part)


def test_messages(tasks):
    with pytest.raises(ConfigError, match="augmentations is 1001; expected 0 to 1000"):
        task_versions(tasks, 6, 1001, np.random.default_rng(0))
    with pytest.raises(PuzzleError, match="no ARC tasks to make versions of"):
        task_versions([], 6, 10, np.random.default_rng(0))
