"""The probe: its fit against plain gradient descent and a known answer, its file, and that live and recorded agree."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from hrm_gym.agents.probe import PROBE_FEATURES, Probe, ProbeWeights, fit_logistic, fit_probe, probe_features
from hrm_gym.agents.trajectories import RECORDED, Trajectories, record
from hrm_gym.envs.errors import CheckpointError, ConfigError


def examples(count, features, seed):
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, features))
    truth = np.linspace(-2, 2, features)
    y = (random.random(count) < 1 / (1 + np.exp(-(x @ truth - 0.5)))).astype(float)
    return x, y, truth


def test_fit_against_gradient_descent():
    x, y, _ = examples(300, 3, seed=1)
    weights, bias = fit_logistic(x, y, ridge=0.01)
    slow = np.zeros(4)
    design = np.column_stack([x, np.ones(len(x))])
    for _ in range(20_000):
        chance = 1 / (1 + np.exp(-design @ slow))
        slow -= 0.5 * (design.T @ (chance - y) / len(y) + np.array([0.01, 0.01, 0.01, 1e-6]) * slow)
    np.testing.assert_allclose(np.append(weights, bias), slow, atol=1e-6)


def test_fit_finds_the_truth():
    x, y, truth = examples(200_000, 4, seed=2)
    weights, bias = fit_logistic(x, y, ridge=1e-6)
    np.testing.assert_allclose(weights, truth, atol=0.03)
    assert bias == pytest.approx(-0.5, abs=0.03)


@pytest.mark.parametrize("outcome", [0.0, 1.0])
def test_fit_of_outcomes_that_are_all_alike(outcome):
    weights, bias = fit_logistic(np.random.default_rng(0).normal(size=(50, 3)), np.full(50, outcome), ridge=0.01)
    assert np.isfinite(weights).all()
    assert (bias > 3) == bool(outcome)
    assert abs(bias) > 3


def test_fit_of_separable_outcomes_is_finite():
    x = np.linspace(-1, 1, 40)[:, None]
    weights, _ = fit_logistic(x, (x[:, 0] > 0).astype(float), ridge=1e-3)
    assert 5 < weights[0] < 1000


def made_up(count=400, steps=8, seed=0):
    """Drafts that get right at some step; Q-halt tells, with noise; the other features tell nothing."""
    random = np.random.default_rng(seed)
    verified = np.arange(1, steps + 1)[:, None] >= random.integers(1, steps + 3, count)
    arrays = {name: random.random(verified.shape).astype(dtype) for name, dtype in RECORDED.items()}
    arrays |= {"verified": verified, "exact": verified}
    arrays["q_halt"] = (np.where(verified, 2, -2) + random.normal(0, 1, verified.shape)).astype(np.float32)
    arrays["divergence"][0] = np.inf
    return Trajectories(**arrays, ratings=np.zeros(count, np.float32), ids=[str(n) for n in range(count)])


def test_probe_reads_the_feature_that_tells():
    fitted = fit_probe(made_up())
    assert fitted.features == PROBE_FEATURES
    strongest = np.argsort(-np.abs(fitted.weights))
    assert PROBE_FEATURES[strongest[0]] == "q_halt"
    assert fitted == fit_probe(made_up())  # nothing random
    # on other puzzles: its probability is that of being right, and it knows nearly as well as the best rule
    other = made_up(seed=1)
    probe = Probe(fitted)
    chances = torch.stack([probe.probability(other.thought(step)) for step in range(1, 9)]).numpy()
    sure = (chances > 0.9) & (chances < 0.97)
    assert other.verified[sure].mean() == pytest.approx(chances[sure].mean(), abs=0.05)
    assert ((chances > 0.5) == other.verified).mean() > 0.95


def test_features_are_finite_whatever_the_thought():
    extreme = made_up(count=5)
    for name, value in (
        ("q_halt", 1e9),
        ("q_continue", -1e9),
        ("confidence", 1.0),
        ("entropy", 0.0),
        ("residual", 0.0),
        ("cosine", -1e-7),
    ):
        getattr(extreme, name)[:] = value
    features = probe_features(extreme.thought(1))
    assert features.shape == (5, len(PROBE_FEATURES))
    assert torch.isfinite(features).all()
    assert features[:, PROBE_FEATURES.index("first_step")].tolist() == [1] * 5
    assert probe_features(extreme.thought(4))[:, PROBE_FEATURES.index("step")].tolist() == [0.5] * 5


def test_live_and_recorded_agree(restless):
    agent, puzzles = restless
    recording = record(agent, puzzles)
    fitted = fit_probe(recording)
    probe = Probe(fitted, 0.12)
    steps = recording.halting_steps(probe)
    assert len(set(steps.tolist())) > 2
    assert (agent.solve(puzzles, halting=probe, slots=7).steps == steps).all()


def test_probe_sees_no_answer():
    assert not Probe.needs & {"verified", "correct"}


def test_file(tmp_path):
    fitted = fit_probe(made_up(50))
    path = fitted.save(tmp_path / "new" / "probe.json")
    assert ProbeWeights.load(path) == fitted
    with pytest.raises(CheckpointError, match="does not exist"):
        ProbeWeights.load(tmp_path / "no.json")
    values = json.loads(path.read_text())
    for broken in ("[]", "{", json.dumps(values | {"features": ["mood"]}), json.dumps(values | {"weights": [1.0]})):
        path.write_text(broken)
        with pytest.raises(CheckpointError, match="cannot be read"):
            ProbeWeights.load(path)


def test_errors():
    with pytest.raises(ConfigError, match="no puzzle"):
        fit_probe(made_up().take([]))
    with pytest.raises(ConfigError, match="ridge is 0"):
        fit_probe(made_up(10), ridge=0)
    with pytest.raises(ConfigError, match=r"probe\(1\)"):
        Probe(fit_probe(made_up(10)), 1.0)
