"""Vector environments against single ones, step by step, and what Gymnasium promises of them."""

from __future__ import annotations

import importlib
import inspect
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from gymnasium.wrappers.vector import RecordEpisodeStatistics

import hrm_gym
from hrm_gym.envs.errors import ConfigError, PuzzleError
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.sources import GeneratedSource, ListSource
from hrm_gym.envs.vector_episode import PuzzleVectorEnv, SudokuVectorEnv
from hrm_gym.registration import ENVIRONMENTS

NAMES = [name for name, *_ in ENVIRONMENTS]
SMALL: dict[str, dict[str, Any]] = {
    "HRM-Sudoku-v0": {"size": 4},
    "HRM-SudokuEdit-v0": {"size": 4},
    "HRM-Maze-v0": {"size": 6},
    "HRM-MazeWalk-v0": {"size": 6},
    "HRM-ARC-v0": {"max_size": 5},
    "HRM-ARCEdit-v0": {"max_size": 5},
    # a recording of the pretrained network on 32 puzzles: alone it is the same to the last bit in every batch
    "HRM-Halt-v0": {"trajectories": str(Path(__file__).parents[1] / "data" / "sudoku_4x4_trajectories.safetensors")},
}
EPISODES = ["HRM-Sudoku-v0", "HRM-Maze-v0", "HRM-ARC-v0"]  # those with draft and halt
MODES = ["NextStep", "SameStep", "Disabled"]
SETTINGS: list[dict[str, Any]] = [
    {"max_steps": 5, "attempts": 1},
    {"max_steps": 5, "attempts": 2, "step_cost": 0.125, "reveal_answer": True},
]


def make(name: str, count: int, **settings: Any) -> Any:
    env = gym.make_vec(name, num_envs=count, **(SMALL[name] | settings))
    assert isinstance(env, VectorEnv)
    return env


def make_singles(name: str, count: int, **settings: Any) -> list[Any]:
    return [gym.make(name, **(SMALL[name] | settings)).unwrapped for _ in range(count)]


def some_actions(env: Any, rng: np.random.Generator) -> np.ndarray:
    """Random drafts and answers, some of them handed in; random moves for the environments one cell at a time."""
    env.action_space.seed(int(rng.integers(2**31)))
    actions = env.action_space.sample()
    if isinstance(env.unwrapped, PuzzleVectorEnv):
        puzzles = env.unwrapped.puzzles
        right = rng.random(env.num_envs) < 0.4
        actions[right, :-1] = puzzles.answers.reshape(env.num_envs, -1)[right]
        actions[:, -1] = rng.random(env.num_envs) < 0.3
    return actions


def same(one: Any, other: Any) -> bool:
    """Equal in value, type of number and shape."""
    if isinstance(one, dict):
        return isinstance(other, dict) and set(one) == set(other) and all(same(one[key], other[key]) for key in one)
    one, other = np.asarray(one), np.asarray(other)
    return one.shape == other.shape and one.dtype.kind == other.dtype.kind and np.array_equal(one, other)


def row_of(batch: Any, row: int) -> Any:
    """What one environment sees."""
    return {key: values[row] for key, values in batch.items()} if isinstance(batch, dict) else batch[row]


def info_of(infos: dict[str, Any], row: int) -> dict[str, Any]:
    """What the infos say of one environment; checks that there is a mask to each key."""
    found = {}
    keys = {key for key in infos if not key.startswith("_")}
    assert set(infos) == keys | {"_" + key for key in keys}
    for key in keys:
        mask = infos["_" + key]
        assert mask.dtype == np.bool_ and mask.any()
        if mask[row]:
            value = infos[key]
            found[key] = info_of(value, row) if isinstance(value, dict) else value[row]
        elif not isinstance(infos[key], dict):
            assert infos[key][row] is None or not np.any(infos[key][row])
    return found


class Singles:
    """N single environments in a loop, with an autoreset as plain as can be."""

    def __init__(self, envs: list[Any], mode: str) -> None:
        self.envs, self.mode = envs, mode
        self.done = [False] * len(envs)

    def reset(self, seeds: list[int | None]) -> list[Any]:
        self.done = [False] * len(self.envs)
        return [env.reset(seed=seed) for env, seed in zip(self.envs, seeds, strict=True)]

    def step(self, actions: np.ndarray) -> list[tuple[Any, float, bool, bool, dict[str, Any]]]:
        steps: list[Any] = []
        for row, env in enumerate(self.envs):
            if self.mode == "NextStep" and self.done[row]:
                observation, info = env.reset()
                steps.append((observation, 0.0, False, False, info))
            else:
                observation, reward, terminated, truncated, info = env.step(actions[row])
                if self.mode == "SameStep" and (terminated or truncated):
                    last = {"final_obs": observation, "final_info": info}
                    observation, info = env.reset()
                    info |= last
                steps.append((observation, reward, terminated, truncated, info))
            self.done[row] = bool(steps[-1][2] or steps[-1][3])
        return steps


def assert_same_step(vector: tuple[Any, ...], singles: list[tuple[Any, ...]]) -> None:
    for row, single in enumerate(singles):
        assert same(row_of(vector[0], row), single[0])
        assert same(info_of(vector[-1], row), single[-1])
        for batch, value in zip(vector[1:-1], single[1:-1], strict=True):
            assert batch[row] == value


# -- a vector is its single environments -----------------------------------------------------------------------------


@pytest.mark.parametrize("settings", SETTINGS, ids=["plain", "costly"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", EPISODES)
def test_the_vector_equals_single_environments_step_by_step(name: str, mode: str, settings: dict[str, Any]) -> None:
    count, rng = 7, np.random.default_rng(1)
    env = make(name, count, autoreset_mode=mode, **settings)
    singles = Singles(make_singles(name, count, **settings), mode)
    assert_same_step(env.reset(seed=30), singles.reset([30 + row for row in range(count)]))
    seen = {"verified": 0, "wrong": 0, "truncated": 0}
    for _ in range(40):
        actions = some_actions(env, rng)
        step = env.step(actions)
        assert_same_step(step, singles.step(actions))
        assert step[1].dtype == np.float64 and step[2].dtype == step[3].dtype == np.bool_
        assert env.observation_space.contains(step[0])
        seen["verified"] += int((step[1] > 0).sum())
        seen["wrong"] += int((step[2] & (step[1] <= 0)).sum())
        seen["truncated"] += int(step[3].sum())
        done = step[2] | step[3]
        if mode == "Disabled" and done.any():
            observations, infos = env.reset(options={"reset_mask": done})
            for row in range(count):
                if done[row]:
                    observation, info = singles.envs[row].reset()
                    assert same(observation, row_of(observations, row))
                    assert same(info, info_of(infos, row))
                else:
                    assert same(row_of(step[0], row), row_of(observations, row))
                    assert info_of(infos, row) == {}
    assert min(seen.values()) > 3  # every way of ending was there


@pytest.mark.parametrize("mode", MODES[:2])
@pytest.mark.parametrize("name", NAMES)
def test_the_vector_equals_gymnasiums_own_loop_entry_by_entry(name: str, mode: str) -> None:
    env = make(name, 5, autoreset_mode=mode, max_steps=7)
    loop: Any = gym.make_vec(
        name, num_envs=5, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}, max_steps=7, **SMALL[name]
    )
    assert type(env.unwrapped) is not type(loop)
    assert env.single_observation_space == loop.single_observation_space and env.action_space == loop.action_space
    assert env.observation_space == loop.observation_space
    rng = np.random.default_rng(0)
    pairs = [(env.reset(seed=4), loop.reset(seed=4))]
    for _ in range(40):
        actions = some_actions(env, rng)
        pairs.append((env.step(actions), loop.step(actions)))
    for mine, its in pairs:
        for one, other in zip(mine[:-1], its[:-1], strict=True):
            assert same(one, other) and (isinstance(one, dict) or one.dtype == other.dtype)
        assert set(mine[-1]) == set(its[-1])
        for key, values in mine[-1].items():
            if key == "final_obs":
                for one, other in zip(values, its[-1][key], strict=True):
                    assert same(one, other)
            elif key == "final_info":
                assert same(values, its[-1][key])
            else:
                assert values.dtype == its[-1][key].dtype and same(values, its[-1][key])


@pytest.mark.parametrize("name", NAMES)
def test_the_arguments_are_those_of_the_single_environment(name: str) -> None:
    entry, vector_entry = next(points for known, *points in ENVIRONMENTS if known == name)

    def arguments(point: str) -> dict[str, Any]:
        module, _, attribute = point.partition(":")
        parameters = inspect.signature(getattr(importlib.import_module(module), attribute)).parameters.values()
        return {parameter.name: parameter.default for parameter in parameters}

    more = {"num_envs": 1, "autoreset_mode": AutoresetMode.NEXT_STEP}
    assert arguments(vector_entry) == arguments(entry) | more


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("name", NAMES)
def test_make_vec_takes_the_native_one_and_has_nothing_to_warn_of(name: str, mode: AutoresetMode) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = make(name, 3, autoreset_mode=mode)
        assert make(name, 3).metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert env.metadata["autoreset_mode"] is mode
    assert "autoreset_mode" not in type(env.unwrapped).metadata
    assert not hasattr(env.unwrapped, "envs")
    assert env.num_envs == 3
    assert env.observation_space == batch_space(env.single_observation_space, 3)
    assert env.action_space == batch_space(env.single_action_space, 3)
    again = gym.make_vec(env.spec)
    assert same(again.reset(seed=1)[0], env.reset(seed=1)[0])
    env.close()
    env.close()


# -- seeds -----------------------------------------------------------------------------------------------------------------


def identities(env: Any, count: int) -> list[list[str]]:
    """The ids of the puzzles of `count` episodes; needs max_steps=1."""
    nothing = np.zeros(env.action_space.shape, np.int64)
    found = []
    for _ in range(count):
        assert env.step(nothing)[3].all()
        found.append(env.step(nothing)[-1]["puzzle_id"].tolist())
    return found


def test_episodes_far_on_are_still_those_of_single_environments() -> None:
    env = make("HRM-Maze-v0", 3, max_steps=1)  # 70 episodes: more than are seeded in one go
    env.reset(seed=100)
    singles = make_singles("HRM-Maze-v0", 3)
    for row, single in enumerate(singles):
        single.reset(seed=100 + row)
    expected = [[single.reset()[1]["puzzle_id"] for single in singles] for _ in range(70)]
    assert identities(env, 70) == expected


def test_a_list_of_seeds_seeds_each_and_none_goes_on() -> None:
    env = make("HRM-Maze-v0", 3, max_steps=1)
    first = env.reset(seed=[5, 8, 5])[1]["puzzle_id"]
    assert first[0] == first[2] != first[1]
    assert env.unwrapped.np_random_seed == (5, 8, 5)
    going_on = [episode[1] for episode in identities(env, 3)]
    env.reset(seed=[1, 8, 2])
    mixed = [env.reset(seed=[7, None, 7])[1]["puzzle_id"] for _ in range(3)]
    assert [ids[1] for ids in mixed] == going_on  # None: the generator goes on
    assert len({ids[0] for ids in mixed}) == 1
    assert make("HRM-Maze-v0", 3).reset(seed=np.array([5, 8, 5]))[1]["puzzle_id"].tolist() == first.tolist()


def test_unseeded_environments_differ() -> None:
    ids = [make("HRM-Maze-v0", 4).reset()[1]["puzzle_id"].tolist() for _ in range(2)]
    assert len({name for names in ids for name in names}) == 8


class Slow:
    """A generator of puzzles that takes time (by its own clock) and counts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.calls: list[int] = []
        self.now, self.seconds = 0.0, seconds
        monkeypatch.setattr("hrm_gym.envs.vector.time.perf_counter", lambda: self.now)

    def __call__(self, seeds: np.ndarray) -> Puzzles:
        self.now += self.seconds * len(seeds)
        self.calls.append(len(seeds))
        grids = np.zeros((len(seeds), 4, 4), np.uint8)
        return Puzzles(grids, grids, [str(seed) for seed in seeds.tolist()], np.zeros(len(seeds), np.float32))


@pytest.mark.parametrize("seconds", [0.0, 0.0004, 0.002, 1.0])
def test_puzzles_drawn_ahead_are_the_same_puzzles(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    from hrm_gym.envs.episode import draw_seeds
    from hrm_gym.envs.sudoku.family import SudokuFamily

    slow = Slow(monkeypatch, seconds)
    env = PuzzleVectorEnv(10, SudokuFamily(4), GeneratedSource(slow), attempts=1, max_steps=99)
    generators = [np.random.Generator(np.random.PCG64(np.random.SeedSequence(20 + row))) for row in range(10)]
    shown = env.reset(seed=20)[1]["puzzle_id"].tolist()
    assert shown == [str(draw_seeds(generator)[0]) for generator in generators]
    rng, episodes = np.random.default_rng(0), 0
    for k in range(300):
        over = env._finished.copy()
        if 150 <= k < 160:  # what is in stock of a seeded environment is no longer its next puzzle
            generators[3] = np.random.Generator(np.random.PCG64(np.random.SeedSequence(k)))
            mask = np.arange(10) == 3
            shown = env.reset(seed=[k if row == 3 else None for row in range(10)], options={"reset_mask": mask})[1]["puzzle_id"]
            assert shown.tolist() == [None] * 3 + [str(draw_seeds(generators[3])[0])] + [None] * 6
            over[3] = False
        actions = np.zeros((10, 17), np.uint8)
        actions[:, -1] = rng.random(10) < 0.2  # a wrong halt ends the episode
        info = env.step(actions)[-1]
        episodes += int(over.sum())
        for row in np.flatnonzero(over):
            assert info["puzzle_id"][row] == str(draw_seeds(generators[row])[0])
    assert episodes > 300
    waits = len(slow.calls) - 1  # the first call serves the reset
    if seconds == 1.0:
        assert sum(slow.calls) == 20 + episodes  # too slow to draw any that may not be needed
    elif seconds == 0.0:
        assert waits < episodes / 4 and sum(slow.calls) <= 20 + episodes + 20
    else:
        assert waits < episodes / 1.2 and max(slow.calls[1:]) * seconds < 0.03


def test_a_list_of_puzzles_is_not_drawn_ahead() -> None:
    from hrm_gym.envs.sudoku.family import SudokuFamily

    class Watched(ListSource):
        rows = 0

        def draw(self, seeds: np.ndarray) -> Puzzles:
            self.rows += len(seeds)
            return super().draw(seeds)

    grids = np.zeros((50, 4, 4), np.uint8)
    source = Watched(Puzzles(grids, grids, [str(row) for row in range(50)], np.zeros(50, np.float32)))
    env = PuzzleVectorEnv(4, SudokuFamily(4), source)
    env.reset(seed=0)
    for row in (2, 1):
        env.reset(options={"reset_mask": np.arange(4) == row})
    assert source.rows == 4 + 2


# -- resets -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_reset_by_mask_leaves_the_others_alone(mode: str) -> None:
    env = make("HRM-Sudoku-v0", 4, autoreset_mode=mode)
    first, _ = env.reset(seed=0)
    env.step(env.unwrapped.pack(first["question"], np.zeros(4)))
    mask = np.array([True, False, True, False])
    options = {"reset_mask": mask}
    observations, infos = env.reset(seed=50, options=options)
    assert options["reset_mask"] is mask
    assert observations["step"].tolist() == [0, 1, 0, 1]
    assert infos["_puzzle_id"].tolist() == mask.tolist() and infos["puzzle_id"][1] is None
    fresh, _ = make("HRM-Sudoku-v0", 4).reset(seed=50)
    for row in range(4):
        assert same(observations["question"][row], (fresh if mask[row] else first)["question"][row])
    # an episode that was over goes on as a new one, without a step that only resets
    wrong = env.unwrapped.pack(np.zeros((4, 4, 4), int), [1, 0, 0, 0])
    if mode != "SameStep":
        assert env.step(wrong)[2].tolist() == [True, False, False, False]
        env.reset(options={"reset_mask": np.array([True, False, False, False])})
        assert env.step(wrong)[0]["step"].tolist() == [1, 3, 2, 3]


def test_without_autoreset_a_step_after_the_end_is_refused() -> None:
    env = make("HRM-Sudoku-v0", 3, autoreset_mode="Disabled")
    env.reset(seed=0)
    env.step(env.unwrapped.pack(np.zeros((3, 4, 4), int), [0, 1, 0]))
    with pytest.raises(ResetNeeded, match=r"environment 1 is over.*reset_mask"):
        env.step(env.unwrapped.pack(np.zeros((3, 4, 4), int), [0, 0, 0]))


def test_given_puzzles_are_played_and_take_nothing_from_the_generators() -> None:
    env = make("HRM-Sudoku-v0", 3)
    question = "1234341221434321"
    observations, infos = env.reset(seed=1, options={"puzzle": question})
    assert (observations["question"] == observations["question"][0]).all()
    assert "".join(map(str, observations["question"][0].ravel())) == question
    assert len(set(infos["puzzle_id"])) == 1
    after = env.reset()[1]["puzzle_id"].tolist()
    assert after == env.reset(seed=1)[1]["puzzle_id"].tolist()

    playing = env.unwrapped.puzzles.take([2, 0])
    mask = np.array([False, True, True])
    kept = env.unwrapped.puzzles.ids[0]
    infos = env.reset(options={"reset_mask": mask, "puzzles": playing})[1]
    assert env.unwrapped.puzzles.ids.tolist() == [kept, *playing.ids]
    assert infos["puzzle_id"].tolist() == [None, *playing.ids]
    grids = list(playing.questions)
    assert same(env.reset(options={"reset_mask": mask, "puzzles": grids})[0]["question"][1:], playing.questions)


# -- nothing is shared ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES[:2])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_returned_is_the_users_own(name: str, mode: str) -> None:
    env = make(name, 4, max_steps=3, autoreset_mode=mode)
    twin = make(name, 4, max_steps=3, autoreset_mode=mode)
    rng, kept = np.random.default_rng(0), [env.reset(seed=0)]
    frozen = [pickle.dumps(kept[0])]
    for _ in range(12):
        kept.append(env.step(some_actions(env, rng)))
        frozen.append(pickle.dumps(kept[-1]))
    for one, before in zip(kept, frozen, strict=True):
        assert all(same_deep(a, b) for a, b in zip(one, pickle.loads(before), strict=True))

    def scribble(data: Any) -> None:
        if isinstance(data, dict):
            for value in data.values():
                scribble(value)
        elif isinstance(data, np.ndarray) and data.dtype != object:
            data[...] = 1

    rng = np.random.default_rng(0)
    scribble(twin.reset(seed=0))
    for expected in frozen[1:]:
        actions = some_actions(twin, rng)
        step = twin.step(actions)
        actions[...] = 0
        assert all(same_deep(a, b) for a, b in zip(step, pickle.loads(expected), strict=True))
        for part in step:
            scribble(part)


def same_deep(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return set(one) == set(other) and all(same_deep(one[key], other[key]) for key in one)
    if isinstance(one, np.ndarray) and one.dtype == object:
        return all(same_deep(a, b) for a, b in zip(one, other, strict=True))
    return bool(np.array_equal(one, other))


@pytest.mark.parametrize("name", NAMES)
def test_a_pickled_copy_goes_on_alike(name: str) -> None:
    env = make(name, 4, max_steps=3)
    rng = np.random.default_rng(0)
    env.reset(seed=2)
    for _ in range(5):
        env.step(some_actions(env, rng))
    copy = pickle.loads(pickle.dumps(env))
    for _ in range(20):
        actions = some_actions(env, rng)
        for one, other in zip(env.step(actions), copy.step(actions), strict=True):
            assert same_deep(one, other)


# -- wrappers and pictures ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES[:2])
def test_gymnasiums_episode_statistics_add_up(mode: str) -> None:
    env = RecordEpisodeStatistics(make("HRM-Sudoku-v0", 6, max_steps=5, step_cost=0.25, autoreset_mode=mode))
    env.reset(seed=0)
    rng, returns, lengths, checked = np.random.default_rng(0), np.zeros(6), np.zeros(6, int), 0
    over = np.zeros(6, bool)
    for _ in range(60):
        _, rewards, terminated, truncated, infos = env.step(some_actions(env, rng))
        returns += rewards
        lengths += ~over
        over = terminated | truncated
        if over.any():
            assert (infos["episode"]["r"][over] == returns[over]).all() and (infos["episode"]["l"][over] == lengths[over]).all()
            checked += int(over.sum())
        returns[over], lengths[over] = 0.0, 0
        if mode == "SameStep":
            over = np.zeros(6, bool)
    assert checked > 30


@pytest.mark.parametrize("mode", ["rgb_array", "ansi"])
@pytest.mark.parametrize("name", EPISODES)
def test_the_pictures_are_those_of_single_environments(name: str, mode: str) -> None:
    env = make(name, 2, render_mode=mode, max_steps=3)
    singles = Singles(make_singles(name, 2, render_mode=mode, max_steps=3), "NextStep")
    env.reset(seed=3)
    singles.reset([3, 4])
    rng = np.random.default_rng(0)
    for _ in range(8):
        pictures = env.render()
        assert isinstance(pictures, tuple) and len(pictures) == 2
        for picture, single in zip(pictures, singles.envs, strict=True):
            assert np.array_equal(picture, single.render())
        actions = some_actions(env, rng)
        env.step(actions)
        singles.step(actions)


# -- faults ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64", "uint64"])
def test_actions_of_any_integer_type_do_and_are_checked(dtype: str) -> None:
    env = make("HRM-Sudoku-v0", 3, step_cost=0.5)
    env.reset(seed=0)
    answers = env.unwrapped.pack(env.unwrapped.puzzles.answers, [1, 1, 0]).astype(dtype)
    before = pickle.dumps(env)
    for place, value, message in ((5, 5, "value 5 for the draft's cell 5"), (-1, 2, "ends with 2"), (-1, 100, "ends with 100")):
        bad = answers.copy()
        bad[1, place] = value
        with pytest.raises(PuzzleError, match=message):
            env.step(bad)
    if not dtype.startswith("u"):
        bad = answers.copy()
        bad[2, 3] = -1
        with pytest.raises(PuzzleError, match="value -1 for the draft's cell 3"):
            env.step(bad)
    assert pickle.dumps(env) == before  # left as it was
    assert env.step(answers)[1].tolist() == [0.5, 0.5, -0.5]


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros((3, 16), int), r"shape \(16,\); expected \(17,\)"),
        (np.zeros((2, 17), int), r"shape \(2, 17\); expected \(3, 17\)"),
        (np.zeros(17, int), r"shape \(17,\); expected \(3, 17\)"),
        (np.zeros((3, 17)), "float64; expected whole numbers"),
        ([[0] * 17, [0] * 17, [0]], "not an array"),
    ],
)
def test_faulty_actions_are_named(actions: Any, message: str) -> None:
    env = make("HRM-Sudoku-v0", 3)
    env.reset(seed=0)
    with pytest.raises(PuzzleError, match=message):
        env.step(actions)


def test_the_action_of_a_step_that_resets_is_ignored_even_if_it_is_nonsense() -> None:
    env = make("HRM-Sudoku-v0", 2)
    env.reset(seed=0)
    env.step(env.unwrapped.pack(np.zeros((2, 4, 4), int), [1, 0]))
    actions = np.zeros((2, 17), int)
    actions[0] = -7
    observations, rewards, *_ = env.step(actions)
    assert observations["step"].tolist() == [0, 2] and rewards.tolist() == [0.0, 0.0]
    with pytest.raises(PuzzleError, match="value -7"):
        env.step(actions)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_envs": 0}, "num_envs is 0; expected a whole number from 1"),
        ({"autoreset_mode": "Sometimes"}, "'Sometimes'; expected one of 'NextStep', 'SameStep', 'Disabled'"),
        ({"render_mode": "human"}, "'human'; expected None, 'rgb_array' or 'ansi'"),
        ({"max_steps": 0}, "max_steps is 0"),
        ({"attempts": 0}, "attempts is 0"),
        ({"step_cost": -1}, "step_cost is -1"),
        ({"size": 5}, "5"),
    ],
)
def test_faulty_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SudokuVectorEnv(**({"num_envs": 2, "size": 4} | settings))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"seed": [1, 2]}, ConfigError, "seed has 2 entries; expected one for each of 3"),
        ({"seed": -1}, ConfigError, "seed is -1; expected a whole number from 0"),
        ({"seed": "one"}, ConfigError, "seed is 'one'"),
        ({"seed": 1.5}, ConfigError, "seed is 1.5"),
        ({"options": {"speed": 1}}, ConfigError, "'speed' is unknown"),
        ({"options": {"reset_mask": [True] * 3}}, ConfigError, "expected a bool array"),
        ({"options": {"reset_mask": np.ones(3)}}, ConfigError, "float64; expected a bool array"),
        ({"options": {"reset_mask": np.ones(2, bool)}}, ConfigError, r"shape \(2,\)"),
        ({"options": {"reset_mask": np.zeros(3, bool)}}, ConfigError, "False everywhere"),
        ({"options": {"puzzles": [0, 1]}}, PuzzleError, "2 puzzles were given for 3"),
        ({"options": {"puzzle": 0, "puzzles": [0, 1, 2]}}, ConfigError, "both given"),
        ({"options": {"puzzle": "1111............"}}, PuzzleError, "solution"),
    ],
)
def test_faulty_resets_are_named_and_change_nothing(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    env = make("HRM-Sudoku-v0", 3)
    env.reset(seed=0)
    before = pickle.dumps(env)
    with pytest.raises(error, match=message) as caught:
        env.reset(**arguments)
    assert "\n" not in str(caught.value)
    assert pickle.dumps(env) == before


def test_a_first_reset_is_needed() -> None:
    env = make("HRM-Sudoku-v0", 2, render_mode="ansi")
    for call in (
        lambda: env.step(np.zeros((2, 17), int)),
        lambda: env.render(),
        lambda: env.reset(options={"reset_mask": np.array([True, False])}),
    ):
        with pytest.raises(ResetNeeded, match=re.escape("reset()")):
            call()
    env.reset(options={"reset_mask": np.ones(2, bool)})  # all of them: as good as none


# -- Stable-Baselines3 ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", NAMES)
def test_the_adapter_equals_stable_baselines_own_loop(name: str, mode: str) -> None:
    from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

    from hrm_gym.envs import to_sb3

    settings = SMALL[name] | {"max_steps": 4}
    env = to_sb3(gym.make_vec(name, num_envs=3, autoreset_mode=mode, **settings))
    loop = DummyVecEnv([lambda: gym.make(name, **settings)] * 3)
    assert isinstance(env, VecEnv)
    assert env.observation_space == loop.observation_space and env.action_space == loop.action_space
    assert env.seed(11) == loop.seed(11) == [11, 12, 13]
    assert same(env.reset(), loop.reset())
    assert all(same(one, other) for one, other in zip(env.reset_infos, loop.reset_infos, strict=True))
    rng = np.random.default_rng(0)
    for _ in range(30):
        actions = some_actions(env.vector_env, rng)
        mine, its = env.step(actions), loop.step(actions)
        assert same(mine[0], its[0])
        assert mine[1].dtype == np.float32 and same(mine[1], its[1]) and same(mine[2], its[2])
        for one, other in zip([*mine[3], *env.reset_infos], [*its[3], *loop.reset_infos], strict=True):
            assert same(one, other)
    assert same(env.reset(), loop.reset())  # without a seed the generators go on
    env.close()


def test_the_adapter_hands_attributes_methods_and_options_on() -> None:
    from hrm_gym.envs import to_sb3

    vector = make("HRM-Sudoku-v0", 3, render_mode="rgb_array")
    env = to_sb3(RecordEpisodeStatistics(vector))
    first = env.seed()
    assert len(set(first)) == 3 and first != env.seed()
    assert env.get_attr("max_steps") == [16] * 3 and env.get_attr("max_steps", indices=1) == [16]
    assert not env.has_attr("action_masks") and env.has_attr("pack")
    with pytest.raises(AttributeError, match="nonsense"):
        env.env_method("nonsense")
    with pytest.raises(ConfigError, match="share their attributes"):
        env.set_attr("max_steps", 3, indices=[0, 2])
    env.set_attr("max_steps", 1)
    assert vector.unwrapped.max_steps == 1
    vector.unwrapped.action_masks = lambda: np.arange(6).reshape(3, 2)  # as the environments one cell at a time have it
    assert np.stack(env.env_method("action_masks", indices=[2, 0])).tolist() == [[4, 5], [0, 1]]
    with pytest.raises(ConfigError, match="not one result for each of 3"):
        env.env_method("__repr__")
    assert env.env_is_wrapped(object) == [False] * 3
    env.set_options({"puzzle": "1234341221434321"})
    question = env.reset()["question"]
    assert (question == question[0]).all() and question.all()
    assert len(env.reset_infos) == 3 and not (env.reset()["question"] == question).all()  # used once
    env.set_options([{"puzzle": "1234341221434321"}, {}, {}])
    with pytest.raises(ConfigError, match="differ between environments"):
        env.reset()
    image = env.render()
    assert image is not None and image.ndim == 3 and image.dtype == np.uint8
    with pytest.raises(ConfigError, match="expected a vector environment"):
        to_sb3(make_singles("HRM-Sudoku-v0", 1)[0])


def test_ppo_trains_through_the_adapter() -> None:
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import VecMonitor

    from hrm_gym.envs import to_sb3

    env = VecMonitor(to_sb3(make("HRM-Sudoku-v0", 8, difficulty="easy", max_steps=4)))
    model = PPO("MultiInputPolicy", env, n_steps=16, batch_size=64, n_epochs=1, seed=0, device="cpu")
    before = [weights.clone() for weights in model.policy.parameters()]
    model.learn(256)
    assert model.num_timesteps == 256
    assert len(model.ep_info_buffer or ()) > 20  # episodes were seen to end
    assert any(not weights.equal(old) for weights, old in zip(model.policy.parameters(), before, strict=True))


def test_the_adapter_is_loaded_only_when_it_is_asked_for() -> None:
    import os
    import subprocess
    import sys

    root = os.path.dirname(os.path.dirname(os.path.abspath(hrm_gym.__file__)))
    code = (
        "import sys, gymnasium, hrm_gym, hrm_gym.envs\n"
        "gymnasium.make_vec('HRM-Sudoku-v0', num_envs=2, size=4).reset(seed=0)\n"
        "assert not {'torch', 'stable_baselines3', 'pygame'} & set(sys.modules)\n"
        "hrm_gym.envs.to_sb3\n"
        "assert 'stable_baselines3' in sys.modules\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
