"""The maze as a family: text, figures, wrong cells, symmetries and the puzzles of a file."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrm_gym.envs.errors import ConfigError, PuzzleError
from hrm_gym.envs.maze import MazeFamily, generate
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.symmetries import Symmetries

FAMILY = MazeFamily(4)


def grid(*rows: str) -> np.ndarray:
    return MazeFamily(len(rows)).parse("".join(rows))[None]


QUESTION = grid("S   ", " ## ", "   #", "##G ")  # solved by going down: 5 moves
RIGHT = grid("S   ", "o## ", "ooo#", "##G ")


def puzzle() -> Puzzles:
    return FAMILY.puzzles_from_questions(QUESTION)


def test_the_contract_of_the_class() -> None:
    family = MazeFamily(30)
    assert (family.name, family.shape, family.cells, family.values, family.blank) == ("maze", (30, 30), 900, 5, 1)
    assert family.tokens.dtype == np.uint8 and family.tokens.tolist() == [1, 2, 3, 4, 5] and family.vocabulary == 6
    assert family.has_rules and family.box is None
    assert "".join(style.character for style in family.styles) == "# SGo"
    assert len({style.fill for style in family.styles}) == 5
    assert all(0 <= channel <= 255 for style in family.styles for channel in style.fill)
    for size in (2, 0, -5):
        with pytest.raises(ConfigError, match=f"maze size is {size}"):
            MazeFamily(size)
    assert MazeFamily(3).shape == (3, 3)


# -- text --------------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 4), min_size=16, max_size=16))
@settings(max_examples=50, deadline=None)
def test_format_and_parse_are_inverse(values: list[int]) -> None:
    cells = np.array(values, np.uint8).reshape(4, 4)
    text = FAMILY.format(cells)
    assert text == "".join("# SGo"[value] for value in values)
    parsed = FAMILY.parse(text)
    assert parsed.dtype == np.uint8 and np.array_equal(parsed, cells)
    drawn = "\n".join(text[at : at + 4] for at in range(0, 16, 4)) + "\r\n"
    assert np.array_equal(FAMILY.parse(drawn), cells)


def test_bad_text_is_named() -> None:
    with pytest.raises(PuzzleError, match="has 15 characters; expected 4 x 4 = 16"):
        FAMILY.parse("S" + " " * 13 + "G")
    with pytest.raises(PuzzleError, match="has 's' at character 1; expected only the characters '# SGo'"):
        FAMILY.parse("Ss" + " " * 13 + "G")
    with pytest.raises(PuzzleError, match="grid has shape"):
        FAMILY.format(np.zeros((5, 5), np.uint8))


# -- rules -------------------------------------------------------------------------------------------------------------


def test_verify_and_is_solved_take_any_shortest_path_and_nothing_else() -> None:
    drafts = np.concatenate([RIGHT, QUESTION, grid("Sooo", " ##o", "   #", "##G "), grid("S   ", "o## ", "ooo#", "##Go")])
    puzzles = Puzzles.join([puzzle()] * 4)
    assert FAMILY.verify(puzzles, drafts).tolist() == [True, False, False, False]
    facts = {"optimum": puzzles.facts["optimum"]}
    wide = [array.astype(np.int32) for array in (puzzles.questions, drafts, puzzles.answers)]
    assert FAMILY.is_solved(*wide, facts).tolist() == [True, False, False, False]
    with pytest.raises(PuzzleError, match="draft 0 has value 9"):
        FAMILY.verify(puzzles, np.where(drafts == 4, 9, drafts))

    open_family = MazeFamily(3)
    two_ways = Puzzles.join([open_family.puzzles_from_questions(grid("S  ", " # ", "  G"))] * 2)
    assert open_family.verify(two_ways, np.concatenate([grid("Soo", " #o", "  G"), grid("S  ", "o# ", "ooG")])).all()


def test_is_solved_on_torch() -> None:
    torch = pytest.importorskip("torch")
    family = MazeFamily(9)
    puzzles = generate(20, 9, "braid")
    drafts = puzzles.answers.copy()
    drafts[::2] = puzzles.questions[::2]
    tensors = [torch.from_numpy(array.astype(np.int64)) for array in (puzzles.questions, drafts, puzzles.answers)]
    solved = family.is_solved(*tensors, {"optimum": torch.from_numpy(puzzles.facts["optimum"])})
    assert solved.tolist() == family.verify(puzzles, drafts).tolist() == [False, True] * 10


def test_figures() -> None:
    cases = {
        "right": (RIGHT, 5, True),
        "empty": (QUESTION, 1, False),
        "broken": (grid("S   ", "o## ", "o o#", "##G "), 4, False),
        "spare marks": (grid("Soo ", "o## ", "ooo#", "##G "), 7, True),
        "joined only through a wall": (grid("Sooo", " ##o", "   o", "##Go"), 7, False),
        "start painted over": (grid("    ", "o## ", "ooo#", "##G "), 5, True),
    }
    drafts = np.concatenate([draft for draft, _, _ in cases.values()])
    figures = FAMILY.figures(Puzzles.join([puzzle()] * len(cases)), drafts)
    assert set(figures) == {"path_length", "optimum", "connected"}
    assert dict(zip(cases, figures["path_length"].tolist(), strict=True)) == {name: case[1] for name, case in cases.items()}
    assert dict(zip(cases, figures["connected"].tolist(), strict=True)) == {name: case[2] for name, case in cases.items()}
    assert figures["optimum"].tolist() == [5] * len(cases)
    assert figures["path_length"].dtype == np.int32 and figures["connected"].dtype == bool


def test_wrong_cells() -> None:
    def wrong(*rows: str) -> set[tuple[int, int]]:
        return {(int(y), int(x)) for y, x in np.argwhere(FAMILY.wrong_cells(puzzle(), grid(*rows))[0])}

    assert wrong("S   ", "o## ", "ooo#", "##G ") == set()
    assert wrong("S   ", " ## ", "   #", "##G ") == {(0, 0), (3, 2)}  # neither end has a path cell beside it
    assert wrong("S   ", "o## ", "oo #", "##G ") == {(2, 1), (3, 2)}  # a loose end
    assert wrong("S   ", "o## ", "ooo#", "##Go") == {(3, 2), (3, 3)}  # a spare mark: too many at the goal, a loose end itself
    assert wrong("S   ", "o#o ", "ooo#", "##G ") == {
        (1, 2)
    }  # a marked wall is no path cell, so its neighbours are not at fault
    assert wrong("S   ", "o## ", "oooS", "##G ") == {(2, 3)}
    assert wrong("o   ", "o## ", "ooo#", "## G") == {(0, 0), (3, 2), (3, 3)}


def test_a_draft_with_wrong_cells_is_never_right_and_a_right_one_has_none() -> None:
    family, rng = MazeFamily(7), np.random.default_rng(0)
    puzzles = generate(300, 7, "walls", seed=3)
    drafts = puzzles.answers.copy()
    for draft in drafts[100:]:
        draft.reshape(-1)[rng.integers(49, size=2)] = rng.integers(5, size=2)
    right, wrong = family.verify(puzzles, drafts), family.wrong_cells(puzzles, drafts).any((1, 2))
    assert right[:100].all() and not wrong[right].any() and wrong[100:].mean() > 0.8


# -- puzzles -----------------------------------------------------------------------------------------------------------


def test_puzzles_from_questions() -> None:
    puzzles = FAMILY.puzzles_from_questions(QUESTION[0])  # one grid is a batch of one
    assert np.array_equal(puzzles.answers, RIGHT) and puzzles.facts["optimum"].tolist() == [5]
    assert puzzles.ratings.dtype == np.float32 and puzzles.ratings.tolist() == [5.0] and len(set(puzzles.ids)) == 1
    walled = grid("S#  ", "### ", "   #", "##G ")
    for bad, message in (
        (walled, "question 1 has no path"),
        (RIGHT, "question 1 has value 4"),
        (np.where(QUESTION == 2, 1, QUESTION), "question 1 has 0 start"),
        (np.where(QUESTION == 1, 7, QUESTION), "question 1 has value 7"),
    ):
        with pytest.raises(PuzzleError, match=message):
            FAMILY.puzzles_from_questions(np.concatenate([QUESTION, bad]))
    with pytest.raises(PuzzleError, match="expected 4 x 4 cells of maze"):
        FAMILY.puzzles_from_questions(np.zeros((1, 5, 5), np.uint8))


def test_puzzles_with_answers() -> None:
    open_family = MazeFamily(3)
    question, answer = grid("S  ", " # ", "  G"), grid("S  ", "o# ", "ooG")
    puzzles = open_family.puzzles_with_answers(question, answer, ["mine"], np.array([3.5]))
    assert np.array_equal(puzzles.answers, answer)  # the file's path is kept, though `solve` would take the other one
    assert (list(puzzles.ids), puzzles.ratings.tolist(), puzzles.facts["optimum"].tolist()) == (["mine"], [3.5], [4])
    for bad, message in (
        (question, "answer 1 is no shortest path: it marks 0 cells; expected 3"),
        (grid("Soo", "o#o", "ooG"), "answer 1 is no shortest path: it marks 6 cells"),
        (grid("S  ", "oo ", "  G"), "answer 1 has value 4 where the question has 0, at row 1, column 1"),
    ):
        with pytest.raises(PuzzleError, match=message):
            open_family.puzzles_with_answers(
                np.concatenate([question, question]), np.concatenate([answer, bad]), ["a", "b"], np.zeros(2)
            )
    walled = grid("S# ", "## ", "  G")
    with pytest.raises(PuzzleError, match="answer 0 cannot be right, its question has no path"):
        open_family.puzzles_with_answers(walled, walled, ["a"], np.zeros(1))
    with pytest.raises(PuzzleError, match="there are 2 answers for 1 questions"):
        open_family.puzzles_with_answers(question, np.concatenate([answer, answer]), ["a"], np.zeros(1))


# -- symmetries --------------------------------------------------------------------------------------------------------


def test_symmetries_keep_the_rules_and_are_undone_by_their_inverse() -> None:
    family = MazeFamily(9)
    puzzles = generate(64, 9, "walls", seed=1)
    symmetries = family.sample_symmetries(64, np.random.default_rng(0))
    moved = family.augment(puzzles, symmetries)
    assert family.verify(moved, moved.answers).all()
    assert not np.array_equal(moved.questions, puzzles.questions)
    drafts = puzzles.answers.copy()
    drafts[::2, 4, 4] = np.where(drafts[::2, 4, 4] == 4, 1, 4)  # spoils every second one
    assert (
        family.verify(moved, symmetries.apply(drafts)).tolist() == family.verify(puzzles, drafts).tolist() == [False, True] * 32
    )
    assert np.array_equal(symmetries.inverse().apply(moved.questions), puzzles.questions)
    assert np.array_equal(symmetries.inverse().apply(moved.answers), puzzles.answers)


def test_all_eight_symmetries_come_up_and_a_generator_decides_which() -> None:
    family = MazeFamily(5)
    symmetries = family.sample_symmetries(400, np.random.default_rng(3))
    assert isinstance(symmetries, Symmetries) and symmetries.cells.shape == (400, 25) and symmetries.values.shape == (400, 5)
    _, counts = np.unique(symmetries.cells, axis=0, return_counts=True)
    assert len(counts) == 8 and counts.min() > 20
    assert (symmetries.values == np.arange(5)).all()
    again = family.sample_symmetries(400, np.random.default_rng(3))
    assert np.array_equal(again.cells, symmetries.cells)
