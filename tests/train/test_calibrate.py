"""Thresholds: that the chosen one is the best by brute force, and that test puzzles have no part in it."""

from __future__ import annotations

import numpy as np
import pytest

from hrm_gym.agents.halting import Confidence, HaltingStrategy, QHalt, halting_strategy
from hrm_gym.agents.trajectories import RECORDED, Trajectories
from hrm_gym.envs.errors import ConfigError
from hrm_gym.train.calibrate import (
    calibrate,
    calibrated_strategies,
    candidates,
    quantiles,
    rounded,
    split_trajectories,
    strategies_with,
)
from hrm_gym.train.compare import compare


def made_up(count=300, steps=8, seed=0, **description):
    """Drafts that get right at some step and mostly stay so; the features tell, each with noise of its own."""
    random = np.random.default_rng(seed)
    shape = (steps, count)
    verified = (np.arange(1, steps + 1)[:, None] >= random.integers(1, steps + 2, count)) & (random.random(shape) < 0.98)

    def signal(right, wrong, noise):
        return (np.where(verified, right, wrong) + noise * random.random(shape)).astype(np.float32)

    arrays = {
        "q_halt": signal(2, -2, 3) - 1.5,
        "q_continue": signal(0, 1, 1),
        "changed_cells": np.where(verified, 0, 4).astype(np.int32),
        "unchanged_steps": np.where(verified, 2, 0).astype(np.int32),
        "confidence": signal(0.9, 0.7, 0.09),
        "entropy": signal(0.1, 0.3, 0.15),
        "divergence": signal(0.01, 0.1, 0.05),
        "residual": signal(0.01, 0.1, 0.05),
        "cosine": signal(0.001, 0.01, 0.005),
        "verified": verified,
        "exact": verified,
    }
    arrays["divergence"][0] = np.inf
    assert set(arrays) == set(RECORDED)
    return Trajectories(
        **arrays,
        ratings=np.zeros(count, np.float32),
        ids=[f"{seed}-{n}" for n in range(count)],
        description={"has_rules": True},
    )


def outcomes(recording, strategies):
    rows = []
    for strategy in strategies:
        steps = recording.halting_steps(strategy)
        right = [bool(recording.verified[h - 1, n]) for n, h in enumerate(steps)]
        rows.append((sum(right) / len(right), sum(steps.tolist()) / len(right)))
    return rows


def test_cheapest_by_brute_force():
    recording = made_up()
    thresholds = np.linspace(0.05, 0.95, 37)
    found = calibrate(QHalt, thresholds, recording)
    tried = outcomes(recording, [QHalt(t) for t in thresholds])
    needed = recording.verified[-1].mean() - 0.005
    cheapest = min(steps for accuracy, steps in tried if accuracy >= needed - 1e-12)
    assert tried[list(thresholds).index(found.threshold)][1] == cheapest
    np.testing.assert_allclose(found.accuracy, [accuracy for accuracy, _ in tried])
    np.testing.assert_allclose(found.mean_steps, [steps for _, steps in tried])
    assert str(found.strategy) == str(QHalt(found.threshold))
    # it saves steps, and a greater tolerance never costs more
    assert cheapest < 8
    looser = calibrate(QHalt, thresholds, recording, tolerance=0.05)
    assert looser.mean_steps[list(thresholds).index(looser.threshold)] <= cheapest


def test_cheapest_where_nothing_comes_near():
    recording = made_up()
    found = calibrate(lambda t: halting_strategy(f"fixed({int(t)})"), [1, 2, 3], recording)
    assert found.threshold == 3  # the most accurate of three that are all too early


@pytest.mark.parametrize("step_cost", [0.0, 0.01, 0.1, 1.0])
def test_reward_by_brute_force(step_cost):
    recording = made_up()
    thresholds = np.linspace(0.7, 0.99, 30)
    found = calibrate(Confidence, thresholds, recording, objective="reward", step_cost=step_cost)
    rewards = [accuracy - step_cost * steps for accuracy, steps in outcomes(recording, [Confidence(t) for t in thresholds])]
    assert rewards[list(thresholds).index(found.threshold)] == pytest.approx(max(rewards))


def test_ties_take_fewer_steps_then_the_lower_threshold():
    recording = made_up()
    recording.verified[:] = True  # all are equally right
    found = calibrate(lambda t: halting_strategy(f"fixed({int(t)})"), [5, 2, 7], recording, objective="reward", step_cost=0.0)
    assert found.threshold == 2

    class Same(HaltingStrategy):
        def __init__(self, threshold):
            self.name = f"same({threshold:g})"

        def halt(self, thought):
            return thought.step >= 2

    assert calibrate(Same, [0.3, 0.1, 0.2], recording).threshold == 0.1


def test_higher_step_costs_never_take_more_steps():
    recording = made_up()
    for name, (make, thresholds) in candidates(recording).items():
        spent = []
        for cost in (0.0, 0.003, 0.01, 0.03, 0.1, 0.3):
            found = calibrate(make, thresholds, recording, objective="reward", step_cost=cost)
            spent.append(float(found.mean_steps[found.thresholds == found.threshold][0]))
        assert spent == sorted(spent, reverse=True), name


def test_split_is_disjoint_whole_and_seeded():
    recording = made_up(100)
    validation, test = split_trajectories(recording, 0.3)
    assert len(validation) == 30
    assert sorted([*validation.ids, *test.ids]) == sorted(recording.ids)
    assert split_trajectories(recording, 0.3)[0].ids == validation.ids
    assert split_trajectories(recording, 0.3, np.random.default_rng(5))[0].ids != validation.ids


def test_the_same_puzzle_twice_is_on_one_side():
    recording = made_up(200)
    object.__setattr__(recording, "ids", [f"puzzle-{n % 40}" for n in range(200)])
    validation, test = split_trajectories(recording, 0.5)
    assert not set(validation.ids) & set(test.ids)
    assert len(set(validation.ids)) == 20
    # ids differ, questions do not
    object.__setattr__(recording, "ids", [str(n) for n in range(200)])
    object.__setattr__(recording, "questions", (np.arange(200) % 40).astype(np.uint8)[:, None])
    validation, test = split_trajectories(recording, 0.5)
    assert len(validation) == len(test) == 100
    assert not set(validation.questions[:, 0]) & set(test.questions[:, 0])


def test_every_strategy_is_calibrated_and_saves_steps():
    validation, test = made_up(400, seed=1), made_up(400, seed=2)
    found = calibrated_strategies(validation)
    assert set(found) == {
        "q-margin", "q-halt", "act", "pondernet", "confidence", "entropy", "entropy-change", "kl", "residual", "cosine", "stable", "probe",
    }  # fmt: skip
    everything = compare(test, strategies_with(test, found), resamples=20)
    assert len(everything.rows) >= 14
    full = everything.row("fixed(8)")
    for name in ("q-margin", "q-halt", "confidence", "entropy", "kl", "residual", "cosine", "probe"):
        row = everything.row(str(found[name].strategy))
        assert row.accuracy > full.accuracy - 0.03, name
        assert row.mean_steps < 0.8 * full.mean_steps, name
    assert [row.strategy for row in everything.rows][-2:] == ["verifier", "oracle"]
    # names say exactly which strategy it is
    for name, each in found.items():
        if name != "probe":
            assert (test.halting_steps(halting_strategy(str(each.strategy))) == test.halting_steps(each.strategy)).all()


def test_tiny_validation():
    assert len(calibrated_strategies(made_up(2))) > 5


def test_rounded_and_quantiles():
    assert rounded(np.array([0.123456, 0.12349, 1234.5, np.nan, np.inf])).tolist() == [0.123, 1230]
    values = np.linspace(0, 1, 1001)
    tried = quantiles(values)
    assert tried.min() == 0
    assert tried.max() == 1
    assert (tried < 0.1).sum() > 5  # dense at the ends
    assert len(quantiles(np.full(3, np.inf))) == 0


def test_errors():
    recording = made_up(20)
    with pytest.raises(ConfigError, match="'best' is unknown"):
        calibrate(QHalt, [0.5], recording, objective="best")
    with pytest.raises(ConfigError, match="no threshold"):
        calibrate(QHalt, [], recording)
    with pytest.raises(ConfigError, match="no puzzle"):
        calibrate(QHalt, [0.5], recording.take([]))
    with pytest.raises(ConfigError, match="validation_share is 1"):
        split_trajectories(recording, 1.0)
    with pytest.raises(ConfigError, match="cannot be split"):
        split_trajectories(recording.take([0]), 0.5)
