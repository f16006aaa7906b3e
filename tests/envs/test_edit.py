"""The environments one cell at a time: what all of them keep, single and N at once, and that RL libraries train on them."""

from __future__ import annotations

import runpy
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import hrm_gym  # noqa: F401  (registers the ids)
from hrm_gym.envs.edit import EditEnv
from hrm_gym.envs.vector_edit import EditVectorEnv

NAMES = ["HRM-SudokuEdit-v0", "HRM-MazeWalk-v0", "HRM-ARCEdit-v0"]
SETTINGS: list[tuple[str, dict[str, Any]]] = [
    (
        "HRM-SudokuEdit-v0",
        {"size": 4, "blanks": 4, "mask": "consistent", "auto_submit": True, "reward": "dense", "max_steps": 9},
    ),
    ("HRM-SudokuEdit-v0", {"size": 6, "attempts": 2, "step_cost": 0.25, "max_steps": 30}),
    ("HRM-MazeWalk-v0", {"size": 4, "recipe": "walls", "reward": "dense", "max_steps": 20}),
    ("HRM-MazeWalk-v0", {"size": 7, "reward": "verified", "step_cost": 0.25, "max_steps": 30}),
    ("HRM-ARCEdit-v0", {"max_size": 5, "reward": "dense", "max_steps": 12}),
    ("HRM-ARCEdit-v0", {"max_size": 3, "attempts": 3, "step_cost": 0.25, "max_steps": 20}),
]
SMALL = {"HRM-SudokuEdit-v0": {"size": 4, "blanks": 4}, "HRM-MazeWalk-v0": {"size": 5}, "HRM-ARCEdit-v0": {"max_size": 3}}


def make(name: str, **settings: Any) -> EditEnv:
    env = gym.make(name, **settings).unwrapped
    assert isinstance(env, EditEnv)
    return env


def parts_of(mask: np.ndarray, space: gym.Space[Any]) -> list[np.ndarray]:
    """A mask as one array for each part of an action."""
    if isinstance(space, gym.spaces.Discrete):
        return [mask]
    assert isinstance(space, gym.spaces.MultiDiscrete)
    return np.split(mask, np.cumsum(space.nvec)[:-1])


def draw(mask: np.ndarray, space: gym.Space[Any], rng: np.random.Generator) -> Any:
    """A random action that the mask allows."""
    action = [rng.choice(np.flatnonzero(part)) for part in parts_of(mask, space)]
    return np.int64(action[0]) if isinstance(space, gym.spaces.Discrete) else np.array(action)


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_there_is_always_something_to_do(name: str, settings: dict[str, Any]) -> None:
    env = make(name, **settings)
    rng = np.random.default_rng(0)
    for seed in range(20):
        env.reset(seed=seed)
        over = False
        while not over:
            masks = env.action_masks()
            parts = parts_of(masks, env.action_space)
            assert sum(map(len, parts)) == len(masks) and all(part.any() for part in parts)
            before = env.boards.drafts.copy()
            observation, _, terminated, truncated, info = env.step(draw(masks, env.action_space, rng))
            over = terminated or truncated
            assert info["action_mask"].tolist() == env.action_masks().tolist()
            if "Sudoku" in name and not env.boards.submitted[0]:  # there a mask leaves only what changes the grid
                assert (observation["draft"] != before[0]).sum() == 1


def test_what_action_masks_gives_is_the_users_own() -> None:
    env = make("HRM-MazeWalk-v0", size=5)
    _, info = env.reset(seed=0)
    expected = env.action_masks().tolist()
    env.action_masks()[:] = False
    info["action_mask"][:] = False
    assert env.action_masks().tolist() == expected


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_the_vector_equals_single_environments_step_by_step(name: str, settings: dict[str, Any], mode: str) -> None:
    count = 5
    vector: Any = gym.make_vec(name, num_envs=count, autoreset_mode=mode, **settings)
    assert isinstance(vector, EditVectorEnv)
    singles = [make(name, **settings) for _ in range(count)]
    rng = np.random.default_rng(0)
    observations, infos = vector.reset(seed=100)
    answers = [single.reset(seed=100 + row) for row, single in enumerate(singles)]
    ended = np.zeros(count, bool)
    episodes = 0
    for _ in range(60):
        masks = vector.action_masks()
        for row, (observation, info) in enumerate(answers):
            assert all(np.array_equal(observations[key][row], value) for key, value in observation.items())
            assert set(observation) == set(observations)
            told = {key for key in infos if not key.startswith(("_", "final")) and infos["_" + key][row]}
            assert told == set(info)
            assert all(np.array_equal(infos[key][row], info[key]) for key in info)
            assert masks[row].tolist() == singles[row].action_masks().tolist() == infos["action_mask"][row].tolist()
        actions = np.stack([draw(mask, vector.single_action_space, rng) for mask in masks])
        for row in np.flatnonzero(rng.random(count) < 0.3):  # unless the solution is followed
            actions[row] = singles[row].solution()[0] if not ended[row] else actions[row]
        observations, rewards, terminated, truncated, infos = vector.step(actions)
        for row, single in enumerate(singles):
            if ended[row]:
                answers[row] = single.reset()
                assert rewards[row] == 0.0 and not terminated[row] and not truncated[row]
                ended[row] = False
                continue
            observation, *outcome, info = single.step(actions[row])
            assert [rewards[row], terminated[row], truncated[row]] == outcome
            answers[row] = (observation, info)
            if terminated[row] or truncated[row]:
                episodes += 1
                if mode == "NextStep":
                    ended[row] = True
                else:
                    assert all(np.array_equal(infos["final_obs"][row][key], value) for key, value in observation.items())
                    assert all(np.array_equal(infos["final_info"][key][row], info[key]) for key in info)
                    answers[row] = single.reset()
    assert episodes >= 5


@pytest.mark.parametrize("name", NAMES)
def test_the_pictures_of_the_vector_are_those_of_single_environments(name: str) -> None:
    vector: Any = gym.make_vec(name, num_envs=2, render_mode="ansi", **SMALL[name])
    singles = [make(name, render_mode="ansi", **SMALL[name]) for _ in range(2)]
    vector.reset(seed=3)
    for row, single in enumerate(singles):
        single.reset(seed=3 + row)
    for _ in range(3):
        assert vector.render() == tuple(single.render() for single in singles)
        actions = np.zeros_like(vector.action_space.sample())
        vector.step(actions)
        for single, action in zip(singles, actions, strict=True):
            single.step(action)
    assert vector.render() == tuple(single.render() for single in singles)


@pytest.mark.parametrize("name", NAMES)
def test_maskable_ppo_trains(name: str) -> None:
    from sb3_contrib import MaskablePPO
    from sb3_contrib.common.maskable.utils import is_masking_supported

    from hrm_gym.envs import to_sb3

    env = to_sb3(gym.make_vec(name, num_envs=4, max_steps=8, **SMALL[name]))
    assert is_masking_supported(env)
    model = MaskablePPO("MultiInputPolicy", env, n_steps=32, batch_size=64, n_epochs=1, seed=0, device="cpu")
    before = [weights.clone() for weights in model.policy.parameters()]
    model.learn(256)
    assert model.num_timesteps == 256
    assert any(not weights.equal(old) for weights, old in zip(model.policy.parameters(), before, strict=True))
    # what it then does is what the mask allows, also in a single environment behind Gymnasium's wrappers
    single = gym.make(name, **SMALL[name])
    assert is_masking_supported(single)
    observation, _ = single.reset(seed=0)
    for _ in range(5):
        masks = single.get_wrapper_attr("action_masks")()
        action, _ = model.predict(observation, action_masks=masks)
        chosen = np.atleast_1d(action)
        parts = parts_of(masks, single.action_space)
        assert all(part[one] for part, one in zip(parts, chosen, strict=True))
        observation, _, terminated, truncated, _ = single.step(action)
        if terminated or truncated:
            break


@pytest.mark.parametrize("name", ["HRM-SudokuEdit-v0", "HRM-MazeWalk-v0"])
def test_dqn_trains(name: str) -> None:
    from stable_baselines3 import DQN

    env = gym.make(name, max_steps=8, **SMALL[name])
    model = DQN("MultiInputPolicy", env, learning_starts=64, buffer_size=256, batch_size=16, seed=0, device="cpu")
    before = [weights.clone() for weights in model.q_net.parameters()]
    model.learn(300)
    assert any(not weights.equal(old) for weights, old in zip(model.q_net.parameters(), before, strict=True))


def test_the_example_trains_and_saves_its_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = Path(__file__).parents[2] / "examples" / "maskable_ppo_sudoku.py"
    arguments = ["--steps", "256", "--envs", "4", "--every", "128", "--puzzles", "10", "--out", str(tmp_path / "run")]
    monkeypatch.setattr("sys.argv", [str(example), *arguments])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You have specified a mini-batch size")
        runpy.run_path(str(example), run_name="__main__")
    lines = (tmp_path / "run" / "learning_curve.csv").read_text().split()
    assert lines[0] == "steps,solved" and [line.split(",")[0] for line in lines[1:]] == ["0", "128", "256"]
    assert (tmp_path / "run" / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
