"""The ARC family: encoding, figures, puzzles from tasks, symmetries."""

from __future__ import annotations

import numpy as np
import pytest

from hrm_gym.envs.arc import ArcFamily, ArcTask, demonstration_puzzles, load_tasks, puzzles_from_tasks, sample_translations
from hrm_gym.envs.arc.rules import OUTSIDE, from_canvas, to_canvas
from hrm_gym.envs.errors import ConfigError, PuzzleError
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.sources import ListSource

SIZE = 12


@pytest.fixture(scope="module")
def tasks() -> list[ArcTask]:
    return load_tasks("arc-agi-1", "training", max_size=SIZE)[:40]


@pytest.fixture(scope="module")
def puzzles(tasks: list[ArcTask]) -> Puzzles:
    return puzzles_from_tasks(tasks, SIZE)


def everything(puzzles: Puzzles) -> np.ndarray:
    """All grids of each puzzle: uint8[N, 2 + 2 D, size, size]."""
    own = np.stack([puzzles.questions, puzzles.answers], axis=1)
    return np.concatenate([own, puzzles.facts["demo_questions"], puzzles.facts["demo_answers"]], axis=1)


def same(left: Puzzles, right: Puzzles) -> bool:
    return (
        np.array_equal(everything(left), everything(right))
        and list(left.ids) == list(right.ids)
        and np.array_equal(left.ratings, right.ratings)
        and all(np.array_equal(left.facts[name], right.facts[name]) for name in ("task", "demo_count"))
    )


# -- encoding -------------------------------------------------------------------------------------------------------


def test_tokens_are_those_of_the_published_data() -> None:
    family = ArcFamily()
    assert family.shape == (30, 30) and family.cells == 900
    assert family.tokens.tolist() == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 1] and family.tokens.dtype == np.uint8
    assert (family.values, family.blank, family.vocabulary, family.has_rules) == (11, 10, 12, False)
    assert len({style.fill for style in family.styles}) == 11 and {style.text for style in family.styles} == {""}
    assert family.styles[1].fill == (0, 116, 217)
    assert "".join(style.character for style in family.styles) == "0123456789."


def test_text_round_trips_and_is_row_by_row(puzzles: Puzzles) -> None:
    family = ArcFamily(SIZE)
    for grid in puzzles.answers:
        assert np.array_equal(family.parse(family.format(grid)), grid)
    assert ArcFamily(3).format(to_canvas([np.array([[1, 2], [3, 4]])], 3)[0]) == "12.34...."
    assert ArcFamily(3).parse(" 12.34....\n").tolist() == [[1, 2, 10], [3, 4, 10], [10, 10, 10]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("12.34...", "has 8 characters; expected 9 for 3 x 3"),
        ("12.3x....", "character 'x' at position 4; expected '0'..'9' or '.'"),
    ],
)
def test_text_messages(text: str, message: str) -> None:
    with pytest.raises(PuzzleError, match=message):
        ArcFamily(3).parse(text)


def test_a_size_out_of_range_is_refused() -> None:
    for size in (0, 31, 5.0, None):
        with pytest.raises(ConfigError, match=r"size is .*; expected a whole number 1\.\.30"):
            ArcFamily(size)  # type: ignore[arg-type]


# -- puzzles from tasks ----------------------------------------------------------------------------------------------


def test_every_test_of_every_task_is_a_puzzle() -> None:
    tasks = load_tasks("arc-agi-2", "evaluation")
    puzzles = puzzles_from_tasks(tasks)
    assert len(puzzles) == 167
    assert puzzles.facts["demo_questions"].shape == (167, 6, 30, 30)
    assert puzzles.facts["task"].dtype == puzzles.facts["demo_count"].dtype == np.int32
    row = 0
    for index, task in enumerate(tasks):
        for number, (question, answer) in enumerate(task.test):
            assert puzzles.ids[row] == f"{task.id}/{number}"
            assert np.array_equal(from_canvas(puzzles.questions[row]), question)
            assert np.array_equal(from_canvas(puzzles.answers[row]), answer)
            assert puzzles.ratings[row] == answer.size
            assert puzzles.facts["task"][row] == index
            assert puzzles.facts["demo_count"][row] == len(task.train)
            for slot in range(6):
                shown = [from_canvas(puzzles.facts[name][row, slot]) for name in ("demo_questions", "demo_answers")]
                if slot < len(task.train):
                    assert all(np.array_equal(*pair) for pair in zip(shown, task.train[slot], strict=True))
                else:
                    assert (puzzles.facts["demo_questions"][row, slot] == OUTSIDE).all() and shown == [None, None]
            row += 1
    assert row == 167
    assert np.array_equal(ListSource(puzzles).find(f"{tasks[3].id}/0").questions[0], to_canvas([tasks[3].test[0][0]], 30)[0])


def test_demonstrations_are_puzzles_too(tasks: list[ArcTask]) -> None:
    training = demonstration_puzzles(tasks, SIZE)
    pairs = [(task.id, number, pair) for task in tasks for number, pair in enumerate(task.train)]
    assert len(training) == len(pairs)
    for row, (name, number, (question, answer)) in enumerate(pairs):
        assert training.ids[row] == f"{name}/demo{number}"
        assert np.array_equal(from_canvas(training.questions[row]), question)
        assert np.array_equal(from_canvas(training.answers[row]), answer)
        assert tasks[training.facts["task"][row]].id == name
        assert np.array_equal(training.facts["demo_questions"][row, number], training.questions[row])
    joined = Puzzles.join([training, puzzles_from_tasks(tasks, SIZE)])  # one batch: the facts have the same shapes
    assert len(joined) == len(training) + sum(len(task.test) for task in tasks)


def test_demonstration_slots_can_be_limited_or_widened(tasks: list[ArcTask], puzzles: Puzzles) -> None:
    two = puzzles_from_tasks(tasks, SIZE, demonstrations=2)
    assert np.array_equal(two.facts["demo_answers"], puzzles.facts["demo_answers"][:, :2])
    assert two.facts["demo_count"].max() == 2
    wide = puzzles_from_tasks(tasks, SIZE, demonstrations=12)
    assert wide.facts["demo_answers"].shape[1] == 12 and (wide.facts["demo_answers"][:, 10:] == OUTSIDE).all()
    assert np.array_equal(wide.facts["demo_count"], puzzles.facts["demo_count"])


def test_unknown_answers_are_refused_where_they_are_needed() -> None:
    task = ArcTask("t", (([[1]], [[2]]),), (([[3]], [[4]]), ([[5]], None)))
    with pytest.raises(PuzzleError, match="task 't', test 1 has no known output .* need_answers=False"):
        puzzles_from_tasks([task], 3)
    puzzles = puzzles_from_tasks([task], 3, need_answers=False)
    assert puzzles.ratings.tolist() == [1, 0]
    drafts = np.full((2, 3, 3), OUTSIDE, np.uint8)
    drafts[0, 0, 0] = 4
    family = ArcFamily(3)
    assert family.verify(puzzles, drafts).tolist() == [True, False]
    figures = family.figures(puzzles, drafts)
    assert figures["cell_accuracy"].tolist() == [1, 0] and figures["size_right"].tolist() == [True, False]


def test_messages_about_tasks(tasks: list[ArcTask]) -> None:
    for make in (puzzles_from_tasks, demonstration_puzzles):
        with pytest.raises(PuzzleError, match="no ARC tasks"):
            make([], SIZE)
        with pytest.raises(PuzzleError, match=f"task '{tasks[0].id}' is given twice"):
            make([tasks[0], tasks[0]], SIZE)
        with pytest.raises(PuzzleError, match=r"needs size 9, more than 5; load_tasks\(max_size=5\) leaves it out"):
            make(load_tasks(task_ids="007bbfb7"), 5)
        with pytest.raises(PuzzleError, match="demonstrations is 0; expected at least 1"):
            make(tasks, SIZE, demonstrations=0)
        with pytest.raises(ConfigError, match="size is 40"):
            make(tasks, 40)


def test_a_bare_question_is_refused() -> None:
    with pytest.raises(PuzzleError, match="an ARC question alone has no known answer; name a puzzle by its id"):
        ArcFamily(3).puzzles_from_questions(np.zeros((1, 3, 3), np.uint8))


def test_puzzles_as_a_file_gives_them(puzzles: Puzzles) -> None:
    family = ArcFamily(SIZE)
    again = family.puzzles_with_answers(puzzles.questions, puzzles.answers, list(puzzles.ids), puzzles.ratings)
    assert np.array_equal(again.questions, puzzles.questions) and np.array_equal(again.answers, puzzles.answers)
    assert np.array_equal(again.facts["task"], puzzles.facts["task"])  # ids name the tasks
    assert again.facts["demo_questions"].shape == (len(puzzles), 1, SIZE, SIZE) and not again.facts["demo_count"].any()
    holed = puzzles.answers.copy()
    holed[3] = OUTSIDE
    with pytest.raises(PuzzleError, match="answer 3 is not one full rectangle"):
        family.puzzles_with_answers(puzzles.questions, holed, list(puzzles.ids), puzzles.ratings)
    with pytest.raises(PuzzleError, match="question 3 is not one full rectangle"):
        family.puzzles_with_answers(holed, puzzles.answers, list(puzzles.ids), puzzles.ratings)
    with pytest.raises(PuzzleError, match="question has shape"):
        ArcFamily(SIZE + 1).puzzles_with_answers(puzzles.questions, puzzles.answers, list(puzzles.ids), puzzles.ratings)


# -- verdicts and figures --------------------------------------------------------------------------------------------


def test_verdicts_figures_and_wrong_cells(puzzles: Puzzles) -> None:
    family = ArcFamily(SIZE)
    rng = np.random.default_rng(0)
    drafts = puzzles.answers.copy()
    drafts[1::3] = puzzles.questions[1::3]
    noisy = rng.random(drafts[2::3].shape) < 0.1
    drafts[2::3][noisy] = rng.integers(0, 11, int(noisy.sum()))
    figures, verdicts, wrong = (
        family.figures(puzzles, drafts),
        family.verify(puzzles, drafts),
        family.wrong_cells(puzzles, drafts),
    )
    for row, (draft, answer) in enumerate(zip(drafts.tolist(), puzzles.answers.tolist(), strict=True)):
        cells = [(y, x) for y in range(SIZE) for x in range(SIZE)]
        grid = [(y, x) for y, x in cells if answer[y][x] != 10]
        matches = sum(draft[y][x] == answer[y][x] for y, x in grid)
        assert figures["cell_accuracy"][row] == pytest.approx(matches / len(grid))
        assert figures["size_right"][row] == (sorted((y, x) for y, x in cells if draft[y][x] != 10) == grid)
        assert verdicts[row] == (draft == answer)
        assert [(y, x) for y, x in cells if wrong[row, y, x]] == [(y, x) for y, x in cells if draft[y][x] != answer[y][x]]
    assert verdicts[::3].all() and not verdicts.all()
    assert 0 < figures["size_right"].sum() < len(puzzles) and figures["cell_accuracy"].min() < 0.9


def test_verify_checks_its_drafts(puzzles: Puzzles) -> None:
    family = ArcFamily(SIZE)
    with pytest.raises(PuzzleError, match="draft has shape"):
        family.verify(puzzles, puzzles.answers[:, :-1])
    with pytest.raises(PuzzleError, match="draft 0 has value 11"):
        family.verify(puzzles, np.full_like(puzzles.answers, 11))
    with pytest.raises(PuzzleError, match="drafts have shape"):
        family.verify(puzzles, puzzles.answers[:2])


# -- symmetries ------------------------------------------------------------------------------------------------------


def test_symmetries_are_dihedral_with_colours_permuted() -> None:
    family = ArcFamily(4)
    symmetries = family.sample_symmetries(2000, np.random.default_rng(3))
    assert len(symmetries) == 2000
    assert symmetries.cells.dtype == np.int64 and symmetries.values.dtype == np.uint8
    grid = np.arange(16, dtype=np.uint8).reshape(4, 4)
    turned = [np.rot90(start, k) for start in (grid, grid.T) for k in range(4)]
    kinds = {tuple(view.ravel().tolist()) for view in turned}
    assert {tuple(row) for row in symmetries.cells.tolist()} == kinds and len(kinds) == 8
    assert (symmetries.values[:, 0] == 0).all() and (symmetries.values[:, 10] == 10).all()
    assert (np.sort(symmetries.values, axis=1) == np.arange(11)).all()
    assert len(np.unique(symmetries.values, axis=0)) > 1950
    # every colour goes everywhere about equally often: 222 expected, the standard deviation is 14
    counts = np.array([[(symmetries.values[:, old] == new).sum() for new in range(1, 10)] for old in range(1, 10)])
    assert counts.min() > 150 and counts.max() < 300
    again = family.sample_symmetries(2000, np.random.default_rng(3))
    assert np.array_equal(again.cells, symmetries.cells) and np.array_equal(again.values, symmetries.values)


def test_augmentation_transforms_every_grid_alike_and_is_undone_by_the_inverse(puzzles: Puzzles) -> None:
    family = ArcFamily(SIZE)
    symmetries = family.sample_symmetries(len(puzzles), np.random.default_rng(4))
    before = everything(puzzles).copy()
    augmented = family.augment(puzzles, symmetries)
    assert np.array_equal(everything(puzzles), before)  # the given puzzles are left alone
    assert not np.array_equal(everything(augmented), before)
    for row in range(len(puzzles)):
        one = symmetries.take(np.array([row]))
        grids = everything(puzzles)[row]
        assert np.array_equal(everything(augmented)[row], np.stack([one.apply(grid[None])[0] for grid in grids]))
    assert same(family.augment(augmented, symmetries.inverse()), puzzles)
    assert np.array_equal(augmented.facts["task"], puzzles.facts["task"])


def test_verdicts_do_not_change_under_symmetry(puzzles: Puzzles) -> None:
    family = ArcFamily(SIZE)
    rng = np.random.default_rng(5)
    drafts = puzzles.answers.copy()
    drafts[::3, 0, 0] = OUTSIDE
    drafts[1::3] = np.roll(drafts[1::3], 1, axis=2)
    expected = family.verify(puzzles, drafts)
    assert 0 < expected.sum() < len(puzzles)
    for _ in range(8):
        symmetries = family.sample_symmetries(len(puzzles), rng)
        augmented, moved = family.augment(puzzles, symmetries), symmetries.apply(drafts)
        assert np.array_equal(family.verify(augmented, moved), expected)
        solved = family.is_solved(augmented.questions, moved, augmented.answers, augmented.facts)
        assert np.array_equal(solved, expected)
        assert np.array_equal(family.verify(puzzles, symmetries.inverse().apply(moved)), expected)


def test_augment_without_demonstrations() -> None:
    family = ArcFamily(3)
    bare = Puzzles(np.zeros((2, 3, 3), np.uint8), np.ones((2, 3, 3), np.uint8), ["a", "b"], np.ones(2, np.float32))
    augmented = family.augment(bare, family.sample_symmetries(2, np.random.default_rng(0)))
    assert augmented.facts == {} and (augmented.answers != 0).all()


def test_translations_keep_every_grid_whole(puzzles: Puzzles) -> None:
    family = ArcFamily(SIZE)
    rng = np.random.default_rng(6)
    # from any corner: other symmetries come first
    start = family.augment(puzzles, family.sample_symmetries(len(puzzles), rng))
    offsets = set()
    for _ in range(30):
        shifts = sample_translations(start, rng)
        moved = family.augment(start, shifts)
        assert same(family.augment(moved, shifts.inverse()), start)
        for row in range(len(puzzles)):
            place, shift = np.argwhere(start.questions[row] != OUTSIDE)[0], np.argwhere(moved.questions[row] != OUTSIDE)[0]
            offset = tuple((shift - place).tolist())
            offsets.add(offset)
            for old, new in zip(everything(start)[row], everything(moved)[row], strict=True):
                # cell by cell, and nothing wraps: old cell (y, x) is new cell (y + dy, x + dx), all of them on the canvas
                cells = np.argwhere(old != OUTSIDE)
                there = cells + np.array(offset)
                assert there.size == 0 or (there.min() >= 0 and there.max() < SIZE)
                assert np.array_equal(new[tuple(there.T)], old[tuple(cells.T)])
                assert (new != OUTSIDE).sum() == len(cells)
    assert len(offsets) > 20


def test_translations_reach_every_place_and_no_further() -> None:
    task = ArcTask("t", (([[1, 1]], [[2]]),), (([[3], [3]], [[4]]),))  # together 2 x 2 at the top left of 4 x 4
    puzzles = puzzles_from_tasks([task], 4).take([0] * 300)
    moved = ArcFamily(4).augment(puzzles, sample_translations(puzzles, np.random.default_rng(7)))
    places = {tuple(np.argwhere(grid == 4)[0].tolist()) for grid in moved.answers}
    assert places == {(y, x) for y in range(3) for x in range(3)}
    full = ArcFamily(3).puzzles_with_answers(np.ones((5, 3, 3), int), np.ones((5, 3, 3), int), list("abcde"), np.ones(5))
    assert (sample_translations(full, np.random.default_rng(8)).cells == np.arange(9)).all()
