"""HRM-Halt-v0 against the recorded states written out plainly, the live network against its recording, and SB3 on tasks whose best
halting time is known."""

from __future__ import annotations

import base64
import io
import json
import math
import pickle
import re
import warnings
import zipfile

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import hrm_gym  # noqa: F401
from hrm_gym.agents.agent import HRMAgent
from hrm_gym.agents.halt_env import HALT_FEATURES, HaltEnv, HaltVectorEnv, halt_features, puzzle_source
from hrm_gym.agents.halting import halting_strategy
from hrm_gym.agents.sb3_halting import SB3Halting
from hrm_gym.agents.trajectories import RECORDED, Trajectories, record
from hrm_gym.envs import to_sb3
from hrm_gym.envs.errors import CheckpointError, ConfigError, PuzzleError
from hrm_gym.envs.splits import in_split
from hrm_gym.train.compare import compare

COST = 0.1
MODES = ["NextStep", "SameStep", "Disabled"]


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def hand_made(verified, **columns):
    """Trajectories with this verification, bool[T, N], and these columns; whatever is not given is the same at every step."""
    verified = np.asarray(verified, bool)
    arrays = {name: np.full(verified.shape, 0.5).astype(dtype) for name, dtype in RECORDED.items()}
    arrays |= {name: np.broadcast_to(values, verified.shape).astype(RECORDED[name]) for name, values in columns.items()}
    arrays |= {"verified": verified, "exact": verified}
    count = verified.shape[1]
    ids = [f"puzzle-{n}" for n in range(count)]
    return Trajectories(
        **arrays, ratings=np.arange(count, dtype=np.float32), ids=ids, description={"family": "sudoku", "size": 4}
    )


@pytest.fixture(scope="module")
def scattered():
    """40 puzzles of 7 steps with random numbers of a likely size, and some of an unlikely one."""
    random = np.random.default_rng(0)
    shape = (7, 40)
    arrays = {name: random.random(shape) for name in ("confidence", "entropy", "residual", "cosine", "divergence")}
    arrays["divergence"][0] = np.inf
    arrays["residual"][2, 3], arrays["cosine"][2, 3], arrays["entropy"][1, 1] = np.nan, -1e-7, 1e9
    arrays["q_halt"], arrays["q_continue"] = random.normal(0, 3, (2, *shape))
    arrays["q_halt"][3, 5], arrays["q_continue"][3, 5] = 1e30, -1e30
    arrays["changed_cells"] = random.integers(0, 17, shape)
    arrays["unchanged_steps"] = random.integers(0, 7, shape)
    return hand_made(random.random(shape) < 0.4, **arrays)


@pytest.fixture(scope="module")
def pretrained():
    agent = HRMAgent.from_pretrained("sudoku-4x4", device="cpu")
    puzzles = puzzle_source(agent, 60, "train").puzzles
    return agent, puzzles, record(agent, puzzles)


def play(env, seeds, decide):
    """Episodes one after another: [(observations, rewards, infos)], with decide(observation, random) for the action."""
    random = np.random.default_rng(0)
    episodes = []
    for seed in seeds:
        observation, info = env.reset(seed=seed)
        observations, rewards, infos, over = [observation], [], [info], False
        while not over:
            observation, reward, over, truncated, info = env.step(decide(observation, random))
            assert not truncated
            observations.append(observation)
            rewards.append(reward)
            infos.append(info)
        episodes.append((observations, rewards, infos))
    return episodes


# -- the features --------------------------------------------------------------------------------------------------------


def test_features_are_what_the_manual_says(scattered):
    def tens(value):
        return (math.log10(min(max(value, 1e-5), 10.0)) + 5) / 6

    def sigmoid(x):
        return 1 / (1 + math.exp(-x)) if x > -100 else 0.0

    ours = np.stack([halt_features(scattered.thought(step)).numpy() for step in range(1, 8)])
    assert ours.dtype == np.float32 and ours.shape == (7, 40, len(HALT_FEATURES))
    for t in range(7):
        for n in range(40):
            r = {name: float(getattr(scattered, name)[t, n]) for name in RECORDED}
            expected = [
                sigmoid(r["q_halt"]), sigmoid(r["q_continue"]), min(max((r["q_halt"] - r["q_continue"]) / 10, -1), 1),
                r["confidence"], tens(1 - r["confidence"]), tens(r["entropy"]), tens(r["divergence"]),
                0.0 if math.isnan(r["residual"]) else tens(r["residual"]), tens(r["cosine"]),
                math.log(1 + r["changed_cells"]) / math.log(1025), r["unchanged_steps"] / 7, (t + 1) / 7,
            ]  # fmt: skip
            assert ours[t, n] == pytest.approx(expected, abs=2e-5)


def test_the_table_of_the_manual_names_the_features():
    named = re.findall(r"^\s+\| (\d+) \| `(\w+)` \| (\S+) to (\S+) \|", HaltEnv.__doc__, flags=re.MULTILINE)
    assert [int(index) for index, *_ in named] == list(range(len(HALT_FEATURES)))
    assert tuple(name for _, name, *_ in named) == HALT_FEATURES
    space = gym.make("HRM-Halt-v0", puzzles=1, device="cpu").observation_space
    assert [float(low) for *_, low, _ in named] == space.low.tolist()
    assert [float(high) for *_, high in named] == space.high.tolist()


# -- an episode ----------------------------------------------------------------------------------------------------------


def test_episodes_are_the_recording_paid_as_documented(scattered):
    env = gym.make("HRM-Halt-v0", trajectories=scattered, step_cost=COST).unwrapped
    features = np.stack([halt_features(scattered.thought(step)).numpy() for step in range(1, 8)])
    lengths, outcomes = set(), set()
    for observations, rewards, infos in play(env, range(200), lambda _, random: int(random.random() < 0.25)):
        n = int(infos[0]["puzzle_id"].removeprefix("puzzle-"))
        h = len(rewards)  # each action but the last has thought one step more
        right = scattered.verified[h - 1, n]
        assert np.array_equal(observations[:-1], features[:h, n]) and np.array_equal(observations[-1], features[h - 1, n])
        assert all(env.observation_space.contains(observation) for observation in observations)
        assert rewards[:-1] == [-COST] * (h - 1) and rewards[-1] == right - COST
        assert sum(rewards) == pytest.approx(right - COST * h)
        assert [info["step"] for info in infos] == [*range(1, h + 1), h]
        assert [info["verified"] for info in infos] == [False] * h + [right]
        assert {info["rating"] for info in infos} == {float(n)}
        lengths.add(h)
        outcomes.add((bool(right), h == 7))
    assert lengths == set(range(1, 8)) and len(outcomes) == 4


def test_the_last_step_halts_whatever_the_action(scattered):
    for action in (0, 1):
        env = gym.make("HRM-Halt-v0", trajectories=scattered, step_cost=0.0, max_steps=3).unwrapped
        for row in range(20):
            env.reset(options={"puzzle": row})
            steps = [env.step(0), env.step(0), env.step(action)]
            assert [step[2] for step in steps] == [False, False, True]
            assert steps[-1][1] == scattered.verified[2, row]
            with pytest.raises(gym.error.ResetNeeded, match="the episode is over"):
                env.step(0)
    assert 0 < scattered.verified[2, :20].sum() < 20


def test_a_policy_earns_what_compare_says_of_it_as_a_strategy(scattered):
    strategy = halting_strategy("q-margin(1)")
    margin = HALT_FEATURES.index("margin")
    env = HaltEnv(trajectories=scattered, step_cost=COST)
    returns, steps = [], []
    for row in range(len(scattered)):
        observation, info = env.reset(options={"puzzle": row})
        total, over = 0.0, False
        while not over:
            observation, reward, over, _, info = env.step(int(observation[margin] > 0.1))
            total += reward
        returns.append(total)
        steps.append(info["step"])
    assert steps == scattered.halting_steps(strategy).tolist() and len(set(steps)) > 3
    (row,) = compare(scattered, [strategy], step_cost=COST).rows
    assert np.mean(returns) == pytest.approx(row.reward)
    assert np.mean(steps) == pytest.approx(row.mean_steps)


@pytest.mark.parametrize("world", ["scattered", "live", "latent"])
def test_both_checkers_have_nothing_to_say(world, scattered):
    settings = (
        {"trajectories": scattered} if world == "scattered" else {"puzzles": 20, "latent": world == "latent", "device": "cpu"}
    )
    env = gym.make("HRM-Halt-v0", **settings).unwrapped
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env, skip_render_check=world == "scattered")  # it holds no drafts
        sb3_check_env(env)


# -- one is many, live is recorded -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("live", [False, True])
def test_single_equals_vector(live, mode, scattered):
    """The recording to the last bit; the live network up to the rounding of a batch of another size."""
    settings = {"puzzles": 20, "device": "cpu"} if live else {"trajectories": scattered}
    settings |= {"max_steps": 5}
    envs = [gym.make("HRM-Halt-v0", **settings).unwrapped for _ in range(6)]
    vector = gym.make_vec("HRM-Halt-v0", num_envs=6, autoreset_mode=mode, **settings)
    firsts = [env.reset(seed=9 + row) for row, env in enumerate(envs)]
    observations, infos = vector.reset(seed=9)
    close = 2e-3 if live else 0
    assert np.allclose(observations, [first[0] for first in firsts], rtol=0, atol=close)
    random, done, ends = np.random.default_rng(1), np.zeros(6, bool), 0
    for _ in range(40):
        actions = random.integers(0, 3, 6) // 2
        expected, begun = [], np.zeros(6, bool)
        for row, env in enumerate(envs):
            if mode == "NextStep" and done[row]:
                expected.append((env.reset()[0], 0.0, False, False))
                begun[row] = True
            else:
                expected.append(env.step(int(actions[row]))[:4])
        done = np.array([one[2] for one in expected])
        ends += int(done.sum())
        observations, rewards, terminated, truncated, infos = vector.step(actions)
        assert rewards.tolist() == [one[1] for one in expected]
        assert terminated.tolist() == done.tolist() and not truncated.any()
        last = [one[0] for one in expected]
        if mode == "SameStep" and done.any():
            assert np.allclose(np.stack(infos["final_obs"][done]), np.stack(last)[done], rtol=0, atol=close)
            last = [envs[row].reset()[0] if done[row] else last[row] for row in range(6)]
        assert np.allclose(observations, last, rtol=0, atol=close)
        if mode == "Disabled" and done.any():
            observations, _ = vector.reset(options={"reset_mask": done})
            last = [envs[row].reset()[0] if done[row] else last[row] for row in range(6)]
            assert np.allclose(observations, last, rtol=0, atol=close)
    assert ends > 40


def test_the_network_thinks_once_a_step_for_all(monkeypatch, pretrained):
    agent, puzzles, _ = pretrained
    calls = []
    step = agent.network.step
    monkeypatch.setattr(agent.network, "step", lambda *given: calls.append(len(given[1])) or step(*given))
    env = HaltVectorEnv(8, agent=agent, puzzles=puzzles, autoreset_mode="SameStep")
    env.reset(seed=0)
    for _ in range(20):
        env.step(np.random.default_rng(0).integers(0, 2, 8))  # some halt at every step
    assert calls == [8] * 21


def test_live_and_recorded_are_the_same_episodes(pretrained):
    agent, puzzles, recording = pretrained
    live, replay = HaltEnv(agent=agent, puzzles=puzzles), HaltEnv(trajectories=recording)
    assert live.observation_space == replay.observation_space and live.max_steps == replay.max_steps == 16
    by_chance = [play(env, range(25), lambda _, random: int(random.random() < 0.2)) for env in (live, replay)]
    right = set()
    for mine, its in zip(*by_chance, strict=True):
        assert np.allclose(mine[0], its[0], rtol=0, atol=2e-3)
        assert mine[1:] == its[1:]
        right.add(mine[2][-1]["verified"])
    assert right == {True, False}


def test_puzzles_without_rules_and_with_facts(restless):
    """ARC: a draft is verified by the answer, of which a replay knows only the verdict."""
    agent, puzzles = restless
    recording = record(agent, puzzles)
    envs = [HaltEnv(agent=agent, puzzles=puzzles, render_mode="ansi"), HaltEnv(trajectories=recording, render_mode="ansi")]
    for row in range(20):
        firsts = [env.reset(options={"puzzle": row})[0] for env in envs]
        assert np.allclose(*firsts, rtol=0, atol=2e-3)
        for step in range(1, 9):
            halt = int(step == min(row % 10 + 1, 8))  # where the answer is right, or at the end
            mine, its = (env.step(halt) for env in envs)
            assert np.allclose(mine[0], its[0], rtol=0, atol=2e-3) and mine[1:] == its[1:]
            if halt:
                assert mine[1] == (row % 10 < 8) - 0.01 and mine[2]
                assert envs[0].scene().verdict == envs[1].scene().verdict == ("verified" if row % 10 < 8 else "wrong")
                assert envs[1].scene().wrong is None and envs[0].scene().wrong.any() == (row % 10 >= 8)
                break


def test_the_default_draws_from_the_training_split(pretrained):
    agent, *_ = pretrained
    for split in ("train", "test"):
        answers = puzzle_source(agent, 200, split).puzzles.answers
        assert in_split(answers, split).all() and answers.shape == (200, 4, 4)
    endless = puzzle_source(agent, None, "test", {"difficulty": "easy"})
    assert in_split(endless.draw(np.arange(50, dtype=np.uint64)).answers, "test").all()
    env = HaltEnv(agent=agent, puzzles=None)
    assert len({env.reset(seed=seed)[1]["puzzle_id"] for seed in range(9)}) == 9


def test_the_latent_state_is_observed_and_moves(pretrained):
    agent, puzzles, _ = pretrained
    env = HaltEnv(agent=agent, puzzles=puzzles, latent=True)
    plain = HaltEnv(agent=agent, puzzles=puzzles)
    first, second = env.reset(seed=3)[0], env.step(0)[0]
    assert first.shape == (12 + 64,)
    assert np.array_equal(first[:12], plain.reset(seed=3)[0]) and np.array_equal(second[:12], plain.step(0)[0])
    state = agent.network.initial_state(1)
    tokens = agent.code.tokens(torch.from_numpy(env.puzzle.questions.reshape(1, 16)))
    with torch.no_grad():
        state, _ = agent.network.step(state, tokens)
        assert np.allclose(first[12:], state.z_h[0].mean(0).numpy(), atol=1e-5)
        state, _ = agent.network.step(state, tokens)
        assert np.allclose(second[12:], state.z_h[0].mean(0).numpy(), atol=1e-5)
    assert np.abs(first[12:] - second[12:]).max() > 1e-3


# -- puzzles, pictures, faults ---------------------------------------------------------------------------------------------


def test_puzzles_of_ones_own(pretrained):
    agent, puzzles, recording = pretrained
    live, replay = HaltEnv(agent=agent, puzzles=puzzles), HaltEnv(trajectories=recording)
    for row in (0, 7):
        text = agent.family.format(puzzles.questions[row])
        seen = [live.reset(options={"puzzle": given})[0] for given in (row, puzzles.ids[row], text, puzzles.questions[row])]
        seen += [replay.reset(options={"puzzle": given})[0] for given in (row, puzzles.ids[row])]
        assert np.allclose(seen, seen[0], rtol=0, atol=2e-3)
        with pytest.raises(PuzzleError, match="not one of the recording's"):
            replay.reset(options={"puzzle": text})
    many = HaltVectorEnv(3, agent=agent, puzzles=puzzles)
    assert many.reset(options={"puzzles": [4, 5, 4]})[1]["puzzle_id"].tolist() == [puzzles.ids[row] for row in (4, 5, 4)]


@pytest.mark.parametrize("live", [False, True])
def test_the_picture_shows_draft_values_and_verdict(live, pretrained):
    agent, puzzles, recording = pretrained
    settings = {"agent": agent, "puzzles": puzzles} if live else {"trajectories": recording}
    env = HaltEnv(**settings, render_mode="ansi")
    right = int(np.flatnonzero(recording.verified[2])[0])
    observation, _ = env.reset(options={"puzzle": right})
    for step in (1, 2, 3):
        scene = env.scene()
        assert np.array_equal(scene.draft.ravel(), recording.drafts[step - 1, right])
        before = recording.questions[right] if step == 1 else recording.drafts[step - 2, right]
        assert np.array_equal(scene.previous.ravel(), before)
        assert (scene.step, scene.max_steps, scene.verdict) == (step, 16, None)
        assert (scene.halt_value, scene.continue_value) == tuple(observation[:2].tolist())
        assert "thinking" in env.render()
        if step < 3:
            observation, *_ = env.step(0)
    env.step(1)
    assert env.scene().verdict == "verified" and "verified" in env.render()
    assert HaltEnv(**settings, render_mode="rgb_array").metadata["render_modes"] == ["human", "rgb_array", "ansi"]


def test_faults_are_named(scattered, pretrained, tmp_path):
    agent, *_ = pretrained
    for settings, error, message in [
        ({"agent": "nobody"}, CheckpointError, "no agent at 'nobody'"),
        ({"trajectories": "none.safetensors"}, CheckpointError, "none.safetensors does not exist"),
        ({"trajectories": scattered, "latent": True}, ConfigError, "hold no latent state"),
        ({"trajectories": scattered, "max_steps": 8}, ConfigError, "max_steps is 8; this recording has 1 to 7"),
        ({"trajectories": scattered, "max_steps": 0}, ConfigError, "max_steps is 0"),
        ({"trajectories": scattered, "step_cost": -1.0}, ConfigError, "step_cost is -1.0"),
        ({"trajectories": scattered, "render_mode": "ansi"}, ConfigError, "hold no drafts to draw"),
        ({"trajectories": scattered.take([])}, ConfigError, "hold no puzzle"),
        ({"agent": agent, "puzzles": 0}, ConfigError, "puzzles is 0"),
        ({"agent": agent, "split": "dev"}, ConfigError, "split 'dev' is unknown"),
        ({"agent": agent, "settings": {"size": 6}}, ConfigError, "the agent knows sudoku of"),
        ({"agent": agent, "settings": {"colour": 1}}, ConfigError, "'colour' is unknown"),
    ]:
        with pytest.raises(error, match=message) as caught:
            HaltEnv(**settings)
        assert "\n" not in str(caught.value)
    env = HaltEnv(trajectories=scattered)
    with pytest.raises(gym.error.ResetNeeded, match="no episode has begun"):
        env.step(0)
    env.reset(seed=0)
    before = pickle.dumps(env)
    for action in (2, -1, 0.5, "halt", [0], None):
        with pytest.raises(PuzzleError, match="1 to halt or 0 to continue"):
            env.step(action)
    assert pickle.dumps(env) == before


# -- Stable-Baselines3 -----------------------------------------------------------------------------------------------------


def at_once():
    """Every draft is right: each further step only costs."""
    return hand_made(np.ones((6, 30), bool)), 1


def exactly_third():
    """Only the third draft is right, of every puzzle; nothing but the number of the step shows it."""
    verified = np.zeros((6, 30), bool)
    verified[2] = True
    return hand_made(verified), 3


def when_verified():
    """Drafts are right from a step on that differs from puzzle to puzzle, and the confidence shows it, with noise."""
    random = np.random.default_rng(0)
    first = np.arange(60) % 6 + 1
    verified = np.arange(1, 7)[:, None] >= first
    confidence = np.where(verified, 0.9, 0.4) + random.uniform(-0.1, 0.1, verified.shape)
    return hand_made(verified, confidence=confidence), first


def trained_dqn(trajectories, steps=10_000):
    env = to_sb3(gym.make_vec("HRM-Halt-v0", num_envs=16, trajectories=trajectories, step_cost=COST))
    model = DQN(
        "MlpPolicy", env, learning_rate=lambda left: 3e-3 * left, buffer_size=20_000, learning_starts=500, batch_size=128, train_freq=1,
        gradient_steps=4, target_update_interval=400, exploration_fraction=0.6, exploration_final_eps=0.05, gamma=1.0, seed=0,
        device="cpu",
    )  # fmt: skip
    return model.learn(steps)


@pytest.fixture(scope="module")
def dqn():
    return trained_dqn(when_verified()[0])


@pytest.mark.parametrize("task", [at_once, exactly_third])
def test_dqn_finds_the_best_halting_time(task):
    trajectories, best = task()
    steps = trajectories.halting_steps(SB3Halting(trained_dqn(trajectories)))
    assert (steps == best).all()


def test_dqn_halts_as_soon_as_the_verifier_would_accept_and_never_before(dqn):
    trajectories, best = when_verified()
    assert trajectories.halting_steps(SB3Halting(dqn)).tolist() == best.tolist()


@pytest.mark.parametrize(
    ("algorithm", "steps", "settings"),
    [
        (PPO, 16_000, {"n_steps": 16, "batch_size": 256, "n_epochs": 8}),
        (A2C, 50_000, {"n_steps": 5, "ent_coef": 0.01, "normalize_advantage": True}),
    ],
)
def test_ppo_and_a2c_learn_too(algorithm, steps, settings):
    trajectories, best = when_verified()
    env = to_sb3(gym.make_vec("HRM-Halt-v0", num_envs=16, trajectories=trajectories, step_cost=COST))
    before = SB3Halting(algorithm("MlpPolicy", env, seed=0, device="cpu"))
    untrained = compare(trajectories, [before], step_cost=COST).rows[0].reward
    model = algorithm("MlpPolicy", env, learning_rate=3e-3, gamma=1.0, seed=0, device="cpu", **settings).learn(steps)
    trained = compare(trajectories, [SB3Halting(model)], step_cost=COST).rows[0].reward
    best_reward = 1 - COST * best.mean()
    assert untrained < best_reward - 0.1 and trained > best_reward - 0.03


def test_a_strategy_decides_as_its_model_does_in_the_environment(pretrained):
    agent, puzzles, recording = pretrained
    dqn = trained_dqn(recording, 4_000)
    env = HaltEnv(trajectories=recording)
    steps = []
    for row in range(len(recording)):
        observation, info = env.reset(options={"puzzle": row})
        over = False
        while not over:
            observation, _, over, _, info = env.step(int(dqn.predict(observation, deterministic=True)[0]))
        steps.append(info["step"])
    strategy = SB3Halting(dqn)
    assert recording.halting_steps(strategy).tolist() == steps
    assert len(set(steps)) > 1
    solutions = agent.solve(puzzles, halting=strategy, slots=16)
    assert (solutions.steps == steps).mean() > 0.95  # a threshold may be met within the rounding of another batch


@pytest.mark.parametrize("algorithm", [DQN, PPO, A2C])
def test_a_saved_model_is_the_same_strategy(algorithm, tmp_path, scattered):
    env = HaltEnv(trajectories=scattered)
    path = tmp_path / "model.zip"
    steps = set()
    for number, kwargs in enumerate([{}, {"net_arch": [16, 8], "activation_fn": torch.nn.ELU}]):
        for seed in range(3):
            model = algorithm("MlpPolicy", env, policy_kwargs=dict(kwargs), seed=seed, device="cpu")
            model.save(path)
            strategy = halting_strategy(f"sb3({path})")
            assert str(strategy) == f"sb3({path})"
            mine, its = scattered.halting_steps(SB3Halting(model)), scattered.halting_steps(strategy)
            assert mine.tolist() == its.tolist()
            steps.add((number, *mine.tolist()))
    assert len(steps) > 2  # the models differ
    assert SB3Halting(model).name == f"sb3({algorithm.__name__})"


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_a_file_is_never_executed(tmp_path, scattered):
    """With a pickle in each place where SB3's own load would unpickle one."""
    path, mark = tmp_path / "model.zip", tmp_path / "executed"
    DQN("MlpPolicy", HaltEnv(trajectories=scattered), device="cpu").save(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    bomb = pickle.dumps(Bomb(mark))
    data = json.loads(parts["data"])
    for value in data.values():
        if isinstance(value, dict) and ":serialized:" in value:
            value[":serialized:"] = base64.b64encode(bomb).decode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (parts | {"data": json.dumps(data).encode()}).items():
            archive.writestr(name, content)
    SB3Halting(path)
    assert not mark.exists()
    buffer = io.BytesIO()
    torch.save({"q_net": Bomb(mark)}, buffer)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (parts | {"policy.pth": buffer.getvalue()}).items():
            archive.writestr(name, content)
    with pytest.raises(CheckpointError, match="cannot be read"):
        SB3Halting(path)
    assert not mark.exists()
    pickle.loads(bomb).close()
    assert mark.exists()  # it would have gone off


def test_models_that_do_not_fit_are_refused(tmp_path, scattered):
    (tmp_path / "text.zip").write_text("not a zip file")
    DQN("MlpPolicy", gym.make("CartPole-v1"), device="cpu").save(tmp_path / "cart.zip")
    custom = PPO("MlpPolicy", HaltEnv(trajectories=scattered), policy_kwargs={"share_features_extractor": False}, device="cpu")
    custom.save(tmp_path / "custom.zip")
    for name, message in [
        ("none.zip", "does not exist"),
        ("text.zip", "not a zip file"),
        ("cart.zip", "4 observed numbers"),
        ("custom.zip", "'share_features_extractor'"),
    ]:
        with pytest.raises(CheckpointError, match=message) as caught:
            halting_strategy(f"sb3({tmp_path / name})")
        assert "\n" not in str(caught.value)
    assert SB3Halting(custom).halt(scattered.thought(1)).dtype == torch.bool  # the model itself will do
    with pytest.raises(ConfigError, match="expected one trained in HRM-Halt-v0"):
        SB3Halting(DQN("MlpPolicy", gym.make("CartPole-v1"), device="cpu"))


def test_a_model_of_the_latent_state_runs_live_and_not_on_recordings(pretrained):
    agent, puzzles, recording = pretrained
    model = PPO("MlpPolicy", HaltEnv(agent=agent, puzzles=puzzles, latent=True), seed=1, device="cpu")
    strategy = SB3Halting(model)
    env = HaltEnv(agent=agent, puzzles=puzzles, latent=True)
    steps = []
    for row in range(20):
        observation, info = env.reset(options={"puzzle": row})
        over = False
        while not over:
            observation, _, over, _, info = env.step(int(model.predict(observation, deterministic=True)[0]))
        steps.append(info["step"])
    assert (agent.solve(puzzles.take(slice(0, 20)), halting=strategy, slots=4).steps == steps).mean() > 0.9
    with pytest.raises(ConfigError, match="needs the feature 'latent'"):
        recording.halting_steps(strategy)
