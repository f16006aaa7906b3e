"""The Sudoku generator: one solution, the promised difficulty, the promised split, and nothing but the seed matters."""

from __future__ import annotations

import numpy as np
import pytest

from hrm_gym.envs import splits
from hrm_gym.envs.errors import ConfigError
from hrm_gym.envs.sudoku import count_solutions, generate, rate, solve, verify
from hrm_gym.envs.sudoku.generator import DIFFICULTIES, RECIPES, generate_from_seeds

CASES = [(size, difficulty) for size in RECIPES for difficulty in DIFFICULTIES]


@pytest.mark.parametrize(("size", "difficulty"), CASES)
def test_puzzles_keep_their_promises(size: int, difficulty: str) -> None:
    count = 2 if (size, difficulty) in ((9, "extreme"), (16, "extreme")) else 20
    puzzles = generate(count, size, difficulty, seed=3)
    recipe = RECIPES[size][difficulty]
    assert (count_solutions(puzzles.questions) == 1).all()
    np.testing.assert_array_equal(solve(puzzles.questions), puzzles.answers)
    assert verify(puzzles.questions, puzzles.answers).all()
    np.testing.assert_array_equal(puzzles.ratings, rate(puzzles.questions))
    assert (puzzles.ratings >= recipe.rating[0]).all() and (puzzles.ratings <= recipe.rating[1]).all()
    clues = (puzzles.questions != 0).sum((1, 2))
    assert (clues >= recipe.clues[0]).all() and (clues <= recipe.clues[1]).all()
    assert len({question.tobytes() for question in puzzles.questions}) > count // 2
    assert puzzles.ratings.dtype == np.float32 and puzzles.facts == {}


@pytest.mark.parametrize("size", [4, 6, 9])
def test_hard_puzzles_are_minimal(size: int) -> None:
    puzzles = generate(3, size, "hard", seed=1)
    for question in puzzles.questions:
        cells = np.argwhere(question)
        fewer = np.repeat(question[None], len(cells), axis=0)
        fewer[np.arange(len(cells)), cells[:, 0], cells[:, 1]] = 0
        assert (count_solutions(fewer) == 2).all()


@pytest.mark.parametrize("size", [4, 9])
def test_a_puzzle_depends_on_its_seed_only(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    seeds = np.arange(300, dtype=np.uint64)
    seeds[5] = 2**64 - 1
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 2)
    batch = generate_from_seeds(seeds, size, "hard")
    alone = generate_from_seeds(seeds[[5]], size, "hard")
    shuffled = generate_from_seeds(seeds[::-1], size, "hard")
    np.testing.assert_array_equal(batch.questions[[5]], alone.questions)
    np.testing.assert_array_equal(batch.questions, shuffled.questions[::-1])
    np.testing.assert_array_equal(batch.answers, shuffled.answers[::-1])
    assert alone.ids == [f"sudoku-{size}x{size}-hard-18446744073709551615"]
    assert len(set(batch.ids)) == 300


def test_counts_share_their_beginning_and_seeds_differ() -> None:
    few, many, other = generate(5, 6, "easy", seed=2), generate(9, 6, "easy", seed=2), generate(5, 6, "easy", seed=4)
    np.testing.assert_array_equal(few.questions, many.questions[:5])
    assert not np.array_equal(few.questions, other.questions)
    assert len(generate(0, 6)) == 0


@pytest.mark.parametrize("size", [4, 6, 9])
def test_splits_share_no_solution(size: int) -> None:
    train = generate(200, size, "easy", seed=0, split="train")
    test = generate(200, size, "easy", seed=0, split="test")
    assert splits.in_split(train.answers, "train").all() and splits.in_split(test.answers, "test").all()
    assert not {answer.tobytes() for answer in train.answers} & {answer.tobytes() for answer in test.answers}
    assert not set(train.ids) & set(test.ids)
    every = splits.in_split(generate(200, size, "easy", seed=0).answers, "test")
    assert 0 < every.sum() < 200  # "all" draws from both sides


def test_4_x_4_grids_come_about_equally_often() -> None:
    count = 28_800
    answers = generate(count, 4, "easy", seed=0).answers.reshape(count, -1)
    grids, times = np.unique(answers, axis=0, return_counts=True)
    assert len(grids) == 288
    chi_squared = ((times - count / 288) ** 2 / (count / 288)).sum()
    assert chi_squared < 287 + 5 * np.sqrt(2 * 287)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 5}, "size 5"),
        ({"difficulty": "mild"}, "'mild'.*easy, medium, hard, extreme"),
        ({"split": "validation"}, "'validation'.*train, test, all"),
        ({"count": -1}, "count -1"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_unknown_settings_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        generate(**{"count": 1, **arguments})
    with pytest.raises(ConfigError, match="whole numbers"):
        generate_from_seeds(np.array([-1]), 4)
