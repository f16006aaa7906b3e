"""The maze generator: what it promises of every maze, and that a maze is a function of its seed alone."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from hrm_gym.envs.errors import ConfigError
from hrm_gym.envs.maze import (
    count_shortest_paths,
    generate,
    generate_from_seeds,
    generator,
    shortest_path_lengths,
    solve,
    solver,
    verify,
)
from hrm_gym.envs.maze.generator import RECIPES, default_min_path
from hrm_gym.envs.splits import in_split


def passages(question: np.ndarray) -> int:
    """Pairs of open cells that touch."""
    is_open = question > 0
    return int((is_open[1:] & is_open[:-1]).sum() + (is_open[:, 1:] & is_open[:, :-1]).sum())


def reached(question: np.ndarray) -> int:
    """Cells that can be reached from the start: plain spreading."""
    spread = question == 2
    while True:
        wider = spread.copy()
        wider[1:] |= spread[:-1]
        wider[:-1] |= spread[1:]
        wider[:, 1:] |= spread[:, :-1]
        wider[:, :-1] |= spread[:, 1:]
        wider &= question > 0
        if np.array_equal(wider, spread):
            return int(spread.sum())
        spread = wider


def dead_ends(question: np.ndarray) -> int:
    padded = np.pad(question > 0, 1).astype(int)
    ways = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    return int(((question > 0) & (ways == 1)).sum())


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("size", [3, 4, 5, 8, 9, 14, 30])
def test_every_maze_keeps_the_promises(recipe: str, size: int) -> None:
    puzzles = generate(12, size, recipe, seed=7)
    assert puzzles.questions.shape == puzzles.answers.shape == (12, size, size)
    assert puzzles.questions.dtype == puzzles.answers.dtype == np.uint8
    assert puzzles.questions.max() == 3
    assert ((puzzles.questions == 2).sum((1, 2)) == 1).all() and ((puzzles.questions == 3).sum((1, 2)) == 1).all()
    optimum = puzzles.facts["optimum"]
    assert optimum.dtype == np.int32 and puzzles.ratings.dtype == np.float32
    assert np.array_equal(optimum, shortest_path_lengths(puzzles.questions)) and np.array_equal(puzzles.ratings, optimum)
    assert (optimum >= default_min_path(size)).all()
    assert np.array_equal(puzzles.answers, solve(puzzles.questions))
    assert verify(puzzles.questions, puzzles.answers).all()


def test_the_benchmark_is_longer_than_110_and_other_sizes_scale() -> None:
    assert default_min_path(30) == 111
    assert [default_min_path(size) for size in (3, 4, 5, 10, 20)] == [3, 5, 8, 31, 71]


def test_walls_are_about_as_dense_as_said_and_differ_in_density() -> None:
    puzzles = generate(400, 20, "walls", min_path=1, seed=1)
    density = (puzzles.questions == 0).mean((1, 2))
    assert 0.35 < density.mean() < 0.40  # 92/256 to 102/256; start and goal fall on larger islands, with a little fewer walls
    assert (count_shortest_paths(puzzles.questions) > 1).mean() > 0.3


@pytest.mark.parametrize("size", [3, 4, 9, 12, 21])
def test_a_tree_has_one_path_between_any_two_cells(size: int) -> None:
    puzzles = generate(30, size, "tree", seed=2)
    for question in puzzles.questions:
        cells = int((question > 0).sum())
        rooms = ((size + 1) // 2) ** 2
        assert cells == 2 * rooms - 1  # the rooms and a passage for each but the first
        assert passages(question) == cells - 1 and reached(question) == cells
    assert (count_shortest_paths(puzzles.questions) == 1).all()


def test_an_even_tree_has_its_closed_side_on_any_side() -> None:
    is_open = generate(60, 6, "tree", seed=3).questions > 0
    for side in (is_open[:, 0], is_open[:, -1], is_open[:, :, 0], is_open[:, :, -1]):
        closed = ~side.any(1)
        assert 5 < closed.sum() < 55


def test_a_braid_is_a_tree_with_dead_ends_opened() -> None:
    trees, braids = generate(40, 15, "tree", min_path=30, seed=4), generate(40, 15, "braid", min_path=30, seed=4)
    loops = []
    for question in braids.questions:
        cells = int((question > 0).sum())
        assert reached(question) == cells
        loops.append(passages(question) - (cells - 1))
    assert min(loops) >= 0 and np.mean(loops) > 1
    assert sum(map(dead_ends, braids.questions)) < 0.8 * sum(map(dead_ends, trees.questions))


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("split", ["all", "test"])
def test_a_maze_depends_on_its_seed_alone(recipe: str, split: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = np.array([0, 1, 2, 2**63, 2**64 - 1, *range(100, 135)], np.uint64)
    whole = generate_from_seeds(seeds, 9, recipe, split=split)
    order = np.random.default_rng(0).permutation(len(seeds))
    monkeypatch.setattr(solver.config, "NUMBA_NUM_THREADS", 3)
    mixed = generate_from_seeds(seeds[order], 9, recipe, split=split)
    assert np.array_equal(mixed.questions, whole.questions[order]) and np.array_equal(mixed.answers, whole.answers[order])
    assert mixed.ids == [whole.ids[row] for row in order]
    for row in (0, 4, 20):
        alone = generate_from_seeds(seeds[row : row + 1], 9, recipe, split=split)
        assert np.array_equal(alone.questions[0], whole.questions[row])
    assert whole.ids[4] == f"maze-9x9-{recipe}-{2**64 - 1}"
    assert len({question.tobytes() for question in whole.questions}) == len(seeds)


def test_a_longer_list_begins_with_the_shorter_and_seeds_differ() -> None:
    few, many, other = generate(3, 9, "tree", seed=5), generate(50, 9, "tree", seed=5), generate(3, 9, "tree", seed=6)
    assert np.array_equal(few.questions, many.questions[:3]) and list(few.ids) == list(many.ids[:3])
    assert not np.array_equal(few.questions, other.questions)
    assert len(generate(0, 9)) == 0


@pytest.mark.parametrize(("recipe", "checksum"), [("walls", 0xEDF5FE3C), ("tree", 0x7AE3F2FA), ("braid", 0x920E8B1D)])
def test_the_mazes_of_a_seed_never_change(recipe: str, checksum: int) -> None:
    """Published seeds must mean the same mazes on every machine and in every release."""
    questions = generate_from_seeds(np.arange(8, dtype=np.uint64), 10, recipe).questions
    assert zlib.crc32(questions.tobytes()) == checksum


def test_splits_are_respected_and_disjoint() -> None:
    for recipe, size in (("walls", 5), ("tree", 3), ("braid", 9)):
        train, test = generate(150, size, recipe, seed=8, split="train"), generate(150, size, recipe, seed=8, split="test")
        assert in_split(train.answers, "train").all() and in_split(test.answers, "test").all()
        assert verify(test.questions, test.answers, test.facts["optimum"]).all()
        assert not {answer.tobytes() for answer in train.answers} & {answer.tobytes() for answer in test.answers}
    everything = generate(150, 9, "braid", seed=8)
    kept = in_split(everything.answers, "train")
    assert 0 < kept.sum() < 150  # a maze that is in the split already stays as it is
    assert np.array_equal(generate(150, 9, "braid", seed=8, split="train").questions[kept], everything.questions[kept])


def test_min_path_is_kept() -> None:
    for recipe, size, min_path in (("walls", 9, 30), ("tree", 15, 90), ("braid", 15, 70), ("walls", 5, 1), ("walls", 3, 6)):
        assert (generate(10, size, recipe, min_path=min_path).facts["optimum"] >= min_path).all()
    assert generate(200, 9, "walls", min_path=1).facts["optimum"].min() < default_min_path(9)


def test_start_and_goal_are_fairly_spread() -> None:
    """Neither end prefers a side: the search order must not show."""
    questions = generate(2000, 9, "tree", min_path=1, seed=9).questions
    for value in (2, 3):
        y, x = np.argwhere(questions == value)[:, 1:].T
        for coordinate in (y, x):
            assert abs(coordinate.mean() - 4) < 0.35  # standard error 0.08


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 2}, "maze size is 2; expected 3 or more"),
        ({"recipe": "hedge"}, "maze recipe 'hedge' is unknown; choose one of walls, tree, braid"),
        ({"split": "dev"}, "split 'dev' is unknown; choose one of train, test, all"),
        ({"size": 5, "min_path": 0}, r"min_path is 0; expected 1\.\.24"),
        ({"size": 5, "min_path": 25}, r"min_path is 25; expected 1\.\.24"),
        ({"count": -1}, "count is -1"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        generate(**{"count": 1, **arguments})  # type: ignore[arg-type]


def test_mazes_that_cannot_be_found_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "_CELLS_TRIED", 1000)
    with pytest.raises(
        ConfigError, match="no tree maze of 5 x 5 with a shortest path of 17 moves or more came up in 1000 tries"
    ):
        generate(100, 5, "tree", min_path=17)
    with pytest.raises(ConfigError, match=r"seeds have shape \(1, 2\)"):
        generate_from_seeds(np.zeros((1, 2), np.uint64), 5)


def test_the_global_random_generator_is_left_alone() -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[index, union-attr]  # noqa: NPY002
    generate(5, 9, "walls", seed=1)
    assert np.array_equal(before, np.random.get_state()[1])  # type: ignore[index]  # noqa: NPY002
