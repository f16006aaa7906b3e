"""Every halting strategy against its definition, written out in plain Python for one puzzle at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hrm_gym.agents.halting import STRATEGIES, HaltingStrategy, halting_strategy, hashed_uniform, register_strategy
from hrm_gym.agents.trajectories import RECORDED, Trajectories, record
from hrm_gym.envs.errors import ConfigError

STEPS, COUNT = 9, 40


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


@pytest.fixture(scope="module")
def recording():
    """Random numbers of a likely size; at some puzzles nothing ever passes a threshold."""
    random = np.random.default_rng(0)
    shape = (STEPS, COUNT)
    arrays = {name: random.random(shape).astype(dtype) for name, dtype in RECORDED.items()}
    arrays["q_halt"] = random.normal(-1.5, 1.5, shape).astype(np.float32)
    arrays["q_continue"] = random.normal(0, 1, shape).astype(np.float32)
    arrays["changed_cells"] = random.integers(0, 3, shape).astype(np.int32)
    arrays["unchanged_steps"] = random.integers(0, 4, shape).astype(np.int32)
    arrays["divergence"][0] = np.inf
    for name in ("verified", "exact"):
        arrays[name] = random.random(shape) < 0.2
    return Trajectories(**arrays, ratings=np.zeros(COUNT, np.float32), ids=[str(n) for n in range(COUNT)])


# strategy -> does it halt at step t (from 0), given one puzzle's lists of features up to there?
RULES = {
    "fixed(4)": lambda p, t: t + 1 == 4,
    "q": lambda p, t: p.q_halt[t] > p.q_continue[t],
    "q-margin(1.5)": lambda p, t: p.q_halt[t] - p.q_continue[t] > 1.5,
    "q-margin(-1)": lambda p, t: p.q_halt[t] - p.q_continue[t] > -1,
    "q-halt(0.7)": lambda p, t: sigmoid(p.q_halt[t]) > 0.7,
    "act(0.01)": lambda p, t: sum(sigmoid(q) for q in p.q_halt[: t + 1]) >= 0.99,
    "act(0.5)": lambda p, t: sum(sigmoid(q) for q in p.q_halt[: t + 1]) >= 0.5,
    "pondernet(0.5)": lambda p, t: pondernet(p.q_halt[: t + 1]) >= 0.5,
    "pondernet(0.9)": lambda p, t: pondernet(p.q_halt[: t + 1]) >= 0.9,
    "confidence(0.8)": lambda p, t: p.confidence[t] > 0.8,
    "entropy(0.2)": lambda p, t: p.entropy[t] < 0.2,
    "entropy-change(0.1)": lambda p, t: t > 0 and abs(p.entropy[t] - p.entropy[t - 1]) < 0.1,
    "kl(0.3)": lambda p, t: t > 0 and p.divergence[t] < 0.3,
    "residual(0.15)": lambda p, t: p.residual[t] < 0.15,
    "cosine(0.15)": lambda p, t: p.cosine[t] < 0.15,
    "stable(2)": lambda p, t: p.unchanged_steps[t] >= 2,
    "patience(3)": lambda p, t: p.unchanged_steps[t] >= 3,
    "verifier": lambda p, t: p.verified[t],
    "oracle": lambda p, t: p.verified[t],
}


def pondernet(q_halts):
    """The sum of p_1 .. p_n, as the paper defines them."""
    halted, not_yet = 0.0, 1.0
    for q in q_halts:
        halted += sigmoid(q) * not_yet
        not_yet *= 1 - sigmoid(q)
    return halted


class OnePuzzle:
    def __init__(self, recording, n):
        for name in RECORDED:
            setattr(self, name, getattr(recording, name)[:, n].tolist())


@pytest.mark.parametrize("text", RULES)
def test_definition(recording, text):
    expected = []
    for n in range(COUNT):
        puzzle = OnePuzzle(recording, n)
        expected.append(next((t + 1 for t in range(STEPS) if RULES[text](puzzle, t)), STEPS))
    assert recording.halting_steps(text).tolist() == expected
    assert len(set(expected)) > 1 or text.startswith("fixed")


def test_every_strategy_is_tested():
    # sb3: tests/agents/test_halt_env.py
    assert {name.partition("(")[0] for name in RULES} | {"random", "sb3"} >= {
        name for name, make in STRATEGIES.items() if make.__module__.startswith("hrm_gym")
    }


def test_random_halts_with_its_probability_and_by_puzzle_and_step_alone():
    puzzles, steps = torch.arange(20_000), torch.full((20_000,), 3)
    uniform = hashed_uniform(7, puzzles, steps)
    assert ((uniform >= 0) & (uniform < 1)).all()
    assert torch.histc(uniform, 10, 0, 1).sub(2000).abs().max() < 200
    assert torch.equal(uniform[1234:1235], hashed_uniform(7, puzzles[1234:1235], steps[:1]))
    # neighbours, steps and seeds are unrelated
    for other in (
        hashed_uniform(7, puzzles + 1, steps),
        hashed_uniform(7, puzzles, steps + 1),
        hashed_uniform(8, puzzles, steps),
    ):
        assert abs(np.corrcoef(uniform, other)[0, 1]) < 0.03


def test_random_of_zero_and_one(recording):
    assert (recording.halting_steps("random(0)") == STEPS).all()
    assert (recording.halting_steps("random(1)") == 1).all()
    assert 2 < recording.halting_steps("random(0.25)").mean() < 6


@pytest.mark.parametrize("text", [*RULES, "random(0.3)"])
def test_name_says_which_strategy_it_is(text):
    assert str(halting_strategy(text)) == text.replace("patience", "stable")


def test_defaults_are_the_published_ones():
    names = {
        name: str(STRATEGIES[name]()) for name in ("act", "pondernet", "entropy-change", "kl", "residual", "cosine", "q-halt")
    }
    assert list(names.values()) == [
        "act(0.01)", "pondernet(0.5)", "entropy-change(0.001)", "kl(0.001)", "residual(0.03)", "cosine(0.001)", "q-halt(0.5)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text", ["act(0.3)", "pondernet(0.7)", "entropy-change(0.02)", "kl(0.05)", "residual(0.3)", "confidence(0.2)"]
)
def test_live_and_recorded_agree(restless, text):
    """Strategies with a memory in slots that are refilled at different times."""
    agent, puzzles = restless
    steps = record(agent, puzzles).halting_steps(text)
    assert (agent.solve(puzzles, halting=text, slots=7).steps == steps).all()
    assert (agent.solve(puzzles, halting=text, slots=50).steps == steps).all()


def test_pondernet_keeps_small_chances_apart():
    """A network that hardly ever halts: the chance of having halted grows by 1e-9 a step, which a product in float32 would lose."""
    arrays = {name: np.zeros((4, 1), dtype) for name, dtype in RECORDED.items()}
    arrays["q_halt"] = np.full((4, 1), math.log(1e-9), np.float32)
    recording = Trajectories(**arrays, ratings=np.zeros(1, np.float32), ids=["a"])
    assert recording.halting_steps("pondernet(2.5e-9)").tolist() == [3]


@pytest.mark.parametrize(
    "text",
    ["fixed(0)", "q-halt(1)", "q-halt(0)", "act(0)", "act(1)", "pondernet(1)", "confidence(1.5)", "entropy(0)", "entropy-change(-1)",
     "kl(0)", "residual(0)", "cosine(-2)", "stable(0)", "random(2)", "nothing", "fixed(", "fixed(a)", "fixed(1,2)", "confidence(nan)"],
)  # fmt: skip
def test_bad_strategies_are_named(text):
    with pytest.raises(ConfigError) as caught:
        halting_strategy(text)
    assert text.partition("(")[0] in str(caught.value)
    assert "expected" in str(caught.value) or "fixed(8)" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_strategy_of_ones_own_by_name(recording):
    class Doubtless(HaltingStrategy):
        needs = frozenset({"confidence"})

        def __init__(self, threshold=0.5):
            self.threshold = threshold
            self.name = f"doubtless({threshold:g})"

        def halt(self, thought):
            return thought.confidence > self.threshold

    register_strategy("doubtless", Doubtless)
    try:
        assert (recording.halting_steps("doubtless(0.8)") == recording.halting_steps("confidence(0.8)")).all()
        assert str(halting_strategy("doubtless")) == "doubtless(0.5)"
    finally:
        del STRATEGIES["doubtless"]
