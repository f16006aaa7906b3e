"""The Sudoku solver against a plain backtracking search, known counts and published answers."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from hrm_gym.envs.errors import PuzzleError
from hrm_gym.envs.sudoku import count_solutions, generate, rate, solve, verify
from hrm_gym.envs.sudoku.rules import BOXES

PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "sudoku-hard" / "test.csv"

EASY = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
EASY_ANSWER = "534678912672195348198342567859761423426853791713924856961537284287419635345286179"
PLATINUM = "8..........36......7..9.2...5...7.......457.....1...3...1....68..85...1..9....4.."  # Inkala 2012


def grid(text: str) -> np.ndarray:
    return np.array([int(c) for c in text.replace(".", "0")], dtype=np.uint8).reshape(9, 9)


def plain_solutions(question: np.ndarray, limit: int) -> list[np.ndarray]:
    """Up to `limit` solutions by trying every value in the open cell with the fewest."""
    size = len(question)
    height, width = BOXES[size]
    found: list[np.ndarray] = []
    draft = question.copy()

    def options(row: int, column: int) -> set[int]:
        top, left = row - row % height, column - column % width
        near = set(draft[row]) | set(draft[:, column]) | set(draft[top : top + height, left : left + width].reshape(-1))
        return set(range(1, size + 1)) - {int(value) for value in near}

    def descend() -> None:
        blanks = [(len(options(r, c)), r, c) for r, c in np.argwhere(draft == 0).tolist()]
        if not blanks:
            found.append(draft.copy())
            return
        _, row, column = min(blanks)
        for value in sorted(options(row, column)):
            draft[row, column] = value
            descend()
            draft[row, column] = 0
            if len(found) >= limit:
                return

    # two clues that clash leave no solution, which the search above does not look at
    for row, column in np.argwhere(question != 0).tolist():
        value, draft[row, column] = draft[row, column], 0
        fits = value in options(row, column)
        draft[row, column] = value
        if not fits:
            return []
    descend()
    return found


def random_questions(size: int, count: int, seed: int) -> np.ndarray:
    """Questions with none, one or several solutions: clues of a solved grid, in part with one clue changed."""
    rng = np.random.default_rng(seed)
    answers = np.stack([plain_solutions(np.zeros((size, size), np.uint8), 1)[0]] * count)
    for answer in answers:
        answer[:] = np.concatenate([[0], rng.permutation(size) + 1])[answer]
    clues = {4: 0.35, 6: 0.4, 9: 0.38}[size]
    questions = np.where(rng.random(answers.shape) < clues, answers, 0).astype(np.uint8)
    for i in range(0, count, 4):
        row, column = rng.integers(size, size=2)
        questions[i, row, column] = rng.integers(1, size + 1)
    return questions


@pytest.mark.parametrize(("size", "count", "limit"), [(4, 300, 50), (6, 100, 20), (9, 40, 5)])
def test_counts_and_answers_agree_with_plain_search(size: int, count: int, limit: int) -> None:
    questions = random_questions(size, count, seed=size)
    expected = [plain_solutions(question, limit) for question in questions]
    numbers = np.array([len(found) for found in expected])
    assert {0, 1} <= set(numbers.tolist()) and numbers.max() > 1  # all kinds occur
    np.testing.assert_array_equal(count_solutions(questions, limit), numbers)
    np.testing.assert_array_equal(count_solutions(questions), np.minimum(numbers, 2))
    answers = solve(questions, strict=False)
    for found, answer in zip(expected, answers, strict=True):
        np.testing.assert_array_equal(answer, found[0] if len(found) == 1 else np.zeros_like(answer))


def test_known_numbers_of_solutions() -> None:
    assert count_solutions(np.zeros((4, 4), np.uint8), limit=1000).tolist() == [288]
    assert count_solutions(np.zeros((6, 6), np.uint8), limit=30_000).tolist() == [30_000]
    # a rectangle a b / b a over two boxes that is taken out can be put back in exactly two ways
    question = grid(EASY_ANSWER)
    rows, columns = [], []
    for top in range(9):
        for other in range(top + 1, 9):
            for left in range(9):
                for right in range(left + 1, 9):
                    a, b, c, d = question[top, left], question[top, right], question[other, left], question[other, right]
                    same_boxes = (top // 3 == other // 3) != (left // 3 == right // 3)
                    if a == d and b == c and same_boxes:
                        rows, columns = [top, top, other, other], [left, right, left, right]
    assert rows, "the grid holds a swappable rectangle"
    question[rows, columns] = 0
    assert count_solutions(question, limit=10).tolist() == [2]
    # clues that clash, in a row over two boxes and in a column over two bands
    clash = np.zeros((9, 9), np.uint8)
    clash[0, 0] = clash[0, 8] = 5
    column_clash = np.zeros((9, 9), np.uint8)
    column_clash[0, 0] = column_clash[8, 0] = 5
    assert count_solutions(np.stack([clash, column_clash]), limit=3).tolist() == [0, 0]


def test_an_empty_16_x_16_grid_has_solutions() -> None:
    assert count_solutions(np.zeros((16, 16), np.uint8), limit=3).tolist() == [3]


def test_known_puzzles() -> None:
    answers = solve(np.stack([grid(EASY), grid(PLATINUM)]))
    np.testing.assert_array_equal(answers[0], grid(EASY_ANSWER))
    assert verify(grid(PLATINUM), answers[1]).all()
    easy, platinum = rate(np.stack([grid(EASY), grid(PLATINUM)]))
    assert easy == 0 and platinum > 10


def test_the_rating_of_a_puzzle_does_not_depend_on_the_batch() -> None:
    questions = np.stack([grid(PLATINUM), grid(EASY)] * 200)
    ratings = rate(questions)
    assert set(ratings[::2].tolist()) == {int(rate(grid(PLATINUM))[0])} and set(ratings[1::2].tolist()) == {0}


def test_the_question_is_not_changed() -> None:
    question = grid(EASY)
    solve(question)
    np.testing.assert_array_equal(question, grid(EASY))


def test_strict_names_the_first_bad_puzzle() -> None:
    several = grid(EASY).copy()
    several[several == 5] = 0
    several[several == 9] = 0
    none = grid(EASY).copy()
    none[0, 2] = 5
    good = grid(EASY)
    with pytest.raises(PuzzleError, match="puzzle 1 has more than one solution"):
        solve(np.stack([good, several, none]))
    with pytest.raises(PuzzleError, match="puzzle 2 has no solution"):
        solve(np.stack([good, good, none]))
    answers = solve(np.stack([several, good, none]), strict=False)
    assert answers[0].max() == 0 and answers[2].max() == 0 and verify(good, answers[1]).all()
    with pytest.raises(PuzzleError, match="limit 0"):
        count_solutions(good, limit=0)
    with pytest.raises(PuzzleError, match=r"shape \(5, 5\)"):
        rate(np.zeros((5, 5), np.uint8))


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the Sudoku-Extreme sample is not beside the repository")
def test_published_answers_and_ratings() -> None:
    with PUBLISHED.open() as file:
        rows = list(csv.DictReader(file))[:1000]
    questions = np.stack([grid(row["question"]) for row in rows])
    np.testing.assert_array_equal(solve(questions), np.stack([grid(row["answer"]) for row in rows]))
    published = np.array([float(row["rating"]) for row in rows])
    ratings = rate(questions)
    assert np.corrcoef(np.log1p(ratings), np.log1p(published))[0, 1] > 0.85
    assert 0.7 < ratings.mean() / published.mean() < 1.5


def test_the_first_solution_is_enough_where_uniqueness_is_known() -> None:
    puzzles = generate(50, size=9, difficulty="hard", seed=3)
    assert np.array_equal(solve(puzzles.questions, prove_unique=False), puzzles.answers)
    empty = np.zeros((1, 4, 4), np.uint8)
    assert verify(empty, solve(empty, prove_unique=False)).all()  # any of the 288
    impossible = np.zeros((2, 4, 4), np.uint8)
    impossible[1, 0, :2] = 1
    with pytest.raises(PuzzleError, match="puzzle 1 has no solution"):
        solve(impossible, prove_unique=False)
    assert not solve(impossible, strict=False, prove_unique=False)[1].any()
