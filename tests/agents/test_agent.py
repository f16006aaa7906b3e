"""The agent: both roads give the same answers; files; errors."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from stable_baselines3.common.evaluation import evaluate_policy

from hrm_gym.agents.agent import HRMAgent, find_agent
from hrm_gym.agents.backbones import BACKBONES, build_network
from hrm_gym.agents.halting import HaltingStrategy
from hrm_gym.agents.network import NetworkConfig
from hrm_gym.envs.episode import PuzzleEnv
from hrm_gym.envs.errors import CheckpointError, ConfigError, DeviceError, PuzzleError
from hrm_gym.envs.maze import MazeFamily, generate
from hrm_gym.envs.sources import ListSource

SIZE = 5
STRATEGIES = ("q", "fixed(3)", "stable(1)", "verifier", "q-halt(0.5)")


class AnswersAfterSomeSteps(torch.nn.Module):
    """Wraps a network so that its draft is the right one from some step on, a step that depends on the puzzle: then every strategy
    has something to decide. The state counts steps in its first number."""

    def __init__(self, network, family, puzzles):
        super().__init__()
        self.network, self.config = network, network.config
        tokens = torch.from_numpy(family.tokens.astype(np.int64))
        self.questions = tokens[torch.from_numpy(puzzles.questions.reshape(len(puzzles), -1)).long()]
        self.answers = tokens[torch.from_numpy(puzzles.answers.reshape(len(puzzles), -1)).long()]

    def initial_state(self, count):
        return self.network.initial_state(count)

    def reset_state(self, state, rows):
        return self.network.reset_state(state, rows)

    def step(self, state, tokens, puzzle_ids=None):
        new, output = self.network.step(state, tokens, puzzle_ids)
        start = self.network.initial_state(1)
        count = (state.z_l[:, 0, 0] - start.z_l[0, 0, 0]) / 8 + 1  # steps so far, hidden in one number of z_L
        new.z_l[:, 0, 0] = start.z_l[0, 0, 0] + 8 * count
        rows = (tokens[:, None] == self.questions[None]).all(-1).float().argmax(1)
        right = count.round().long() > rows % 7
        logits = output.logits.clone()
        logits[right] += 100.0 * torch.nn.functional.one_hot(self.answers[rows[right]], logits.shape[-1])
        q_halt = torch.where(count.round().long() > rows % 5 + 1, 3.0, -3.0)
        return new, output._replace(logits=logits, q_halt=q_halt, q_continue=torch.zeros_like(q_halt))


@pytest.fixture(scope="module")
def puzzles():
    return generate(40, size=SIZE, recipe="tree", seed=1)


def network_for(family, backbone="hrm"):
    config = NetworkConfig(
        backbone=backbone, cells=family.cells, vocabulary=family.vocabulary, hidden_size=16, heads=2, expansion=1.0, mlp_multiple=8,
        h_layers=1, l_layers=1, h_cycles=1, l_cycles=2, positions="none" if backbone == "trm-mixer" else "learned",
    )  # fmt: skip
    return build_network(config, seed=3)


@pytest.fixture(scope="module")
def agent(puzzles):
    family = MazeFamily(SIZE)
    return HRMAgent(AnswersAfterSomeSteps(network_for(family), family, puzzles), family, max_steps=6, device="cpu")


def played_in_environment(agent, puzzles, max_steps=6):
    """One puzzle after the other through the Gymnasium environment."""
    env = PuzzleEnv(agent.family, ListSource(puzzles), max_steps=max_steps, step_cost=0.01)
    drafts, steps, rewards, verified = [], [], [], []
    for row in range(len(puzzles)):
        observation, _ = env.reset(options={"puzzle": row})
        state, over, total = None, False, 0.0
        while not over:
            action, state = agent.predict(observation, state)
            observation, reward, terminated, truncated, info = env.step(action)
            over, total = terminated or truncated, total + reward
        drafts.append(observation["draft"])
        steps.append(int(observation["step"]))
        rewards.append(total)
        verified.append(info["verified"])
    return np.array(drafts), np.array(steps), np.array(rewards), np.array(verified)


@pytest.mark.parametrize("halting", STRATEGIES)
@pytest.mark.parametrize("slots", [1, 7, 64])
def test_both_roads_agree(agent, puzzles, halting, slots):
    agent = HRMAgent(agent.network, agent.family, 6, halting, "cpu")
    drafts, steps, rewards, verified = played_in_environment(agent, puzzles)
    solutions = agent.solve(puzzles, slots=slots)
    assert np.array_equal(solutions.drafts, drafts)
    assert np.array_equal(solutions.steps, steps)
    assert np.array_equal(solutions.verified, verified)
    assert rewards == pytest.approx(solutions.verified - 0.01 * solutions.steps)
    assert verified.sum() > 0  # there is something to get right ...
    if halting != "verifier":
        assert verified.sum() < len(puzzles) or halting == "stable(1)"  # ... and something to get wrong
    if halting != "fixed(3)":
        assert len(set(steps)) > 2


def test_bare_questions_give_the_same_as_puzzles(agent, puzzles):
    one, other = agent.solve(puzzles.questions), agent.solve(puzzles)
    assert np.array_equal(one.drafts, other.drafts)
    assert np.array_equal(one.verified, other.verified)


def test_no_puzzle_and_one_puzzle(agent, puzzles):
    assert len(agent.solve(puzzles.take(slice(0)))) == 0
    one = agent.solve(puzzles.questions[3])
    assert np.array_equal(one.drafts[0], agent.solve(puzzles).drafts[3])


def test_stable_baselines_evaluates_it(agent, puzzles):
    env = PuzzleEnv(agent.family, ListSource(puzzles), max_steps=6)
    env.reset(seed=0)
    seen = []

    def note(scope, _):
        if scope["dones"][0]:
            seen.append(scope["info"]["puzzle_id"])

    rewards, lengths = evaluate_policy(agent, env, n_eval_episodes=20, return_episode_rewards=True, warn=False, callback=note)
    solutions = agent.solve(puzzles)
    row_of = {name: row for row, name in enumerate(puzzles.ids)}
    rows = [row_of[name] for name in seen]
    assert len(rows) == 20
    assert rewards == [float(solutions.verified[row]) for row in rows]
    assert lengths == [int(solutions.steps[row]) for row in rows]


def test_a_batch_of_environments_resets_only_what_has_ended(agent, puzzles):
    def observation(rows, steps):
        return {"question": puzzles.questions[rows], "draft": puzzles.questions[rows], "step": np.array(steps)}

    _, state = agent.predict(observation([0, 1], [0, 0]), None, np.array([True, True]))
    first, state = agent.predict(observation([0, 1], [1, 1]), state, np.array([False, False]))
    second, state = agent.predict(observation([2, 1], [0, 2]), state, np.array([True, False]))
    assert state.step.tolist() == [1, 3]
    alone, _ = agent.predict({"question": puzzles.questions[2], "draft": puzzles.questions[2], "step": np.int64(0)})
    assert np.array_equal(second[0], alone)
    assert first.shape == (2, SIZE * SIZE + 1)


def test_a_strategy_of_ones_own(agent, puzzles):
    class AtTwo(HaltingStrategy):
        memory_size = 1

        def halt(self, thought):
            thought.memory[:, 0] += 1
            return thought.memory[:, 0] == 2

    assert (agent.solve(puzzles, halting=AtTwo(), slots=4).steps == 2).all()


def test_the_random_strategy_does_not_depend_on_the_slots(agent, puzzles):
    few, many = (agent.solve(puzzles, halting="random(0.3)", slots=slots) for slots in (3, 40))
    assert np.array_equal(few.steps, many.steps)
    assert len(set(few.steps.tolist())) > 3


@pytest.mark.parametrize("backbone", list(BACKBONES))
def test_saved_agents_come_back_the_same(tmp_path, puzzles, backbone):
    family = MazeFamily(SIZE)
    agent = HRMAgent(network_for(family, backbone), family, 4, device="cpu")
    agent.save(tmp_path / "agent")
    back = HRMAgent.from_pretrained(tmp_path / "agent", device="cpu")
    assert back.max_steps == 4
    one, other = agent.solve(puzzles), back.solve(puzzles)
    assert np.array_equal(one.drafts, other.drafts)
    assert np.array_equal(one.halt_values, other.halt_values)


def test_errors_of_files(tmp_path, puzzles):
    with pytest.raises(CheckpointError, match="no agent at 'nobody'; expected a run folder"):
        find_agent("nobody")
    family = MazeFamily(SIZE)
    folder = HRMAgent(network_for(family), family, 4, device="cpu").save(tmp_path / "agent")
    description = json.loads((folder / "agent.json").read_text())
    (folder / "agent.json").write_text(json.dumps(description | {"size": 6}))
    with pytest.raises(ConfigError, match=r"the network is for 25 cells and 6 tokens; maze 6 x 6 has 36 and 6"):
        HRMAgent.from_pretrained(folder)
    (folder / "agent.json").write_text("{")
    with pytest.raises(CheckpointError, match="not an agent's description"):
        HRMAgent.from_pretrained(folder)
    (folder / "agent.json").write_text(json.dumps(description))
    (folder / "weights.safetensors").write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="cannot be read"):
        HRMAgent.from_pretrained(folder)


def test_errors_of_arguments(agent, puzzles):
    with pytest.raises(ConfigError, match="halting strategy 'often' is unknown; expected one of fixed, q"):
        agent.solve(puzzles, halting="often")
    with pytest.raises(ConfigError, match="arguments that do not fit"):
        agent.solve(puzzles, halting="fixed(1,2,3)")
    with pytest.raises(ConfigError, match="expected at least 1"):
        agent.solve(puzzles, halting="fixed(0)")
    with pytest.raises(PuzzleError, match=r"shape \(3, 3\); expected 5 x 5"):
        agent.solve(np.zeros((3, 3), np.uint8))
    with pytest.raises(PuzzleError, match="takes 0..4"):
        agent.solve(np.full((1, 5, 5), 9))
    with pytest.raises(DeviceError, match="device 'abacus' is unknown"):
        HRMAgent(agent.network, agent.family, device="abacus")
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="this machine or this build of torch has none"):
            HRMAgent(agent.network, agent.family, device="cuda")
