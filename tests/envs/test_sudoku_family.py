"""The Sudoku family: text, styles, figures and symmetries."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hrm_gym.envs.errors import ConfigError, PuzzleError
from hrm_gym.envs.sudoku import SudokuFamily, generate, rate, verify

SIZES = (4, 6, 9, 16)
QUESTION = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"


@pytest.mark.parametrize("size", SIZES)
def test_the_contract(size: int) -> None:
    family = SudokuFamily(size)
    assert (family.shape, family.cells, family.values) == ((size, size), size * size, size + 1)
    assert family.vocabulary == size + 2 and family.tokens.tolist() == list(range(1, size + 2))
    assert len(family.styles) == size + 1 and family.styles[0].text == "" and family.blank == 0
    assert len({style.character for style in family.styles}) == size + 1
    assert family.box is not None and family.box[0] * family.box[1] == size
    with pytest.raises(ConfigError, match="size 8"):
        SudokuFamily(8)


@pytest.mark.parametrize("size", SIZES)
def test_text_and_back(size: int) -> None:
    family = SudokuFamily(size)
    grid = np.random.default_rng(size).integers(0, size + 1, size=(size, size)).astype(np.uint8)
    text = family.format(grid)
    assert len(text) == size * size
    for written in (
        text,
        text.lower(),
        text.replace(".", "0"),
        text.replace(".", "_"),
        text.replace(".", "*"),
        f" {text[:5]}\n{text[5:]}\n",
    ):
        np.testing.assert_array_equal(family.parse(written), grid)


def test_text_that_does_not_fit_is_named() -> None:
    family = SudokuFamily(9)
    assert family.format(family.parse(QUESTION)) == QUESTION
    with pytest.raises(PuzzleError, match="81 characters, this text has 80"):
        family.parse(QUESTION[1:])
    with pytest.raises(PuzzleError, match="'A' at place 80"):
        family.parse(QUESTION[:-1] + "A")
    assert SudokuFamily(16).parse("G" * 256).max() == 16


def test_puzzles_from_questions() -> None:
    family = SudokuFamily(9)
    question = family.parse(QUESTION)
    puzzles = family.puzzles_from_questions(question)
    assert len(puzzles) == 1 and verify(question, puzzles.answers).all()
    assert puzzles.ratings.tolist() == rate(question).tolist() and puzzles.ids == [QUESTION]
    with pytest.raises(PuzzleError, match="puzzle 1 has more than one solution"):
        family.puzzles_from_questions(np.stack([question, np.zeros_like(question)]))
    with pytest.raises(PuzzleError, match="shape"):
        family.puzzles_from_questions(np.zeros((4, 4), np.uint8))


def test_puzzles_with_answers() -> None:
    family = SudokuFamily(9)
    made = generate(3, seed=1)
    puzzles = family.puzzles_with_answers(made.questions, made.answers, ["a", "b", "c"], np.array([1, 2, 3]))
    assert puzzles.ids == ["a", "b", "c"] and puzzles.ratings.dtype == np.float32
    wrong = made.answers.copy()
    wrong[1] = wrong[2]
    with pytest.raises(PuzzleError, match="answer 1 does not solve question 1"):
        family.puzzles_with_answers(made.questions, wrong, ["a", "b", "c"], np.zeros(3))
    with pytest.raises(PuzzleError, match="2 answers for 3 questions"):
        family.puzzles_with_answers(made.questions, made.answers[:2], ["a", "b", "c"], np.zeros(3))


def test_figures_and_wrong_cells() -> None:
    family = SudokuFamily(9)
    puzzles = generate(2, difficulty="easy", seed=0)
    drafts = puzzles.answers.copy()
    row, column = np.argwhere(puzzles.questions[1])[0]
    drafts[1, row, column] = drafts[1, row, column] % 9 + 1
    figures = family.figures(puzzles, drafts)
    assert figures["broken_rules"].tolist() == [0, 3] and figures["wrong_clues"].tolist() == [0, 1]
    assert figures["filled_cells"].tolist() == [81, 81]
    assert family.figures(puzzles, puzzles.questions)["filled_cells"].tolist() == (puzzles.questions != 0).sum((1, 2)).tolist()
    wrong = family.wrong_cells(puzzles, drafts)
    assert not wrong[0].any() and wrong[1, row, column] and 2 <= wrong[1].sum() <= 4
    assert family.verify(puzzles, drafts).tolist() == [True, False]
    tensors = [torch.from_numpy(grids).int() for grids in (puzzles.questions, drafts, puzzles.answers)]
    assert family.is_solved(*tensors, {}).tolist() == [True, False]


@pytest.mark.parametrize("size", SIZES)
def test_symmetries_keep_the_rules_and_can_be_undone(size: int) -> None:
    family = SudokuFamily(size)
    puzzles = generate(50, size, "easy", seed=0)
    symmetries = family.sample_symmetries(50, np.random.default_rng(0))
    images = family.augment(puzzles, symmetries)
    assert verify(images.questions, images.answers).all()
    assert not np.array_equal(images.answers, puzzles.answers)
    for before, after in ((puzzles.questions, images.questions), (puzzles.answers, images.answers)):
        np.testing.assert_array_equal(symmetries.inverse().apply(after), before)
    assert (symmetries.values[:, 0] == 0).all()  # a blank stays a blank
    mixed = symmetries.take(np.roll(np.arange(50), 1))  # any cell table goes with any value table
    mixed.values[:] = symmetries.values
    assert verify(mixed.apply(puzzles.questions), mixed.apply(puzzles.answers)).all()


def test_symmetries_are_all_there_and_about_equally_likely() -> None:
    # 4 x 4: (2 orders of bands x 2 x 2 of rows) squared x transposition = 128 cell tables, 4! value tables
    symmetries = SudokuFamily(4).sample_symmetries(12_800, np.random.default_rng(1))
    tables, times = np.unique(symmetries.cells, axis=0, return_counts=True)
    assert len(tables) == 128 and ((times - 100) ** 2 / 100).sum() < 127 + 5 * np.sqrt(2 * 127)
    assert len(np.unique(symmetries.values, axis=0)) == 24
    # 6 x 6, boxes of 2 x 3: rows 3! x 2^3, columns 2! x 6^2, no transposition
    symmetries = SudokuFamily(6).sample_symmetries(40_000, np.random.default_rng(2))
    assert len(np.unique(symmetries.cells, axis=0)) == 48 * 72
    again = SudokuFamily(6).sample_symmetries(40_000, np.random.default_rng(2))
    np.testing.assert_array_equal(symmetries.cells, again.cells)
