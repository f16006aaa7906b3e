"""Intervals and tests against plain slow computations and known values."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from hrm_gym.train.statistics import (
    Z95,
    bootstrap_p_value,
    calibration,
    holm,
    mcnemar_p_value,
    percentile_interval,
    resampled_means,
    sign_test,
    wilson_interval,
)


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (1, 10), (5, 10), (10, 10), (873, 1000), (1, 1)])
def test_wilson_limits_solve_their_equation(successes, trials):
    """The limits are the shares p at which |observed - p| is z standard errors of p."""
    low, high = wilson_interval(successes, trials)
    share = successes / trials
    assert 0 <= low <= share <= high <= 1
    for limit in (low, high):
        if 0 < limit < 1:
            assert abs(share - limit) == pytest.approx(Z95 * math.sqrt(limit * (1 - limit) / trials))


def test_wilson_known_value():
    # Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert all(math.isnan(limit) for limit in wilson_interval(0, 0))


def test_resampled_means_against_a_loop():
    values = np.random.default_rng(1).normal(size=(7, 3))
    means = resampled_means(values, 20, np.random.default_rng(5))
    drawn = np.random.default_rng(5).integers(0, 7, size=(20, 7))
    expected = [values[rows].mean(axis=0) for rows in drawn]
    np.testing.assert_allclose(means, expected)


def test_resampling_in_chunks_is_paired(monkeypatch):
    monkeypatch.setattr("hrm_gym.train.statistics.CHUNK", 30)
    values = np.arange(10.0)[:, None] * np.array([1.0, 2.0])
    means = resampled_means(values, 11, np.random.default_rng(0))
    assert means.shape == (11, 2)
    np.testing.assert_allclose(means[:, 1], 2 * means[:, 0])
    assert len(np.unique(means[:, 0])) > 5


def test_bootstrap_interval_covers():
    """About 95 of 100 intervals hold the true mean."""
    random = np.random.default_rng(3)
    inside = 0
    for _ in range(200):
        values = random.random((150, 1)) < 0.7
        ((low, high),) = percentile_interval(resampled_means(values, 300, random))
        inside += low <= 0.7 <= high
    assert 0.88 <= inside / 200 <= 0.99


def test_bootstrap_interval_of_a_mean_is_the_normal_one_for_many_puzzles():
    values = np.random.default_rng(0).normal(size=(4000, 1))
    ((low, high),) = percentile_interval(resampled_means(values, 4000, np.random.default_rng(1)))
    error = values.std() / math.sqrt(4000)
    assert low == pytest.approx(values.mean() - Z95 * error, abs=0.1 * error)
    assert high == pytest.approx(values.mean() + Z95 * error, abs=0.1 * error)


def test_bootstrap_p_value():
    assert bootstrap_p_value(np.full(99, 0.5)) == pytest.approx(2 / 100)
    assert bootstrap_p_value(np.full(99, -0.5)) == pytest.approx(2 / 100)
    assert bootstrap_p_value(np.zeros(50)) == 1
    assert bootstrap_p_value(np.linspace(-1, 1, 51)) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("one", "other"), [(0, 0), (1, 0), (5, 5), (3, 9), (12, 1), (40, 25)])
def test_sign_test_against_exact_fractions(one, other):
    tosses = one + other
    tail = sum(Fraction(math.comb(tosses, k), 2**tosses) for k in range(min(one, other) + 1))
    assert sign_test(one, other) == pytest.approx(float(min(Fraction(1), 2 * tail)))
    assert sign_test(other, one) == sign_test(one, other)


def test_sign_test_of_many_does_not_overflow():
    assert 0 <= sign_test(200_000, 199_000) < 1
    assert sign_test(100_000, 0) == 0


def test_mcnemar_counts_only_what_differs():
    first = np.array([True] * 50 + [True] * 9 + [False] * 3 + [False] * 20)
    second = np.array([True] * 50 + [False] * 9 + [True] * 3 + [False] * 20)
    assert mcnemar_p_value(first, second) == pytest.approx(sign_test(9, 3))
    assert mcnemar_p_value(first, first) == 1


def test_holm():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


def test_calibration_by_hand():
    result = calibration(np.array([0.05, 0.95, 1.0, 0.1, 0.0]), np.array([False, True, False, True, False]))
    assert result.counts.tolist() == [2, 1, 0, 0, 0, 0, 0, 0, 0, 2]
    assert result.predicted[[0, 1, 9]] == pytest.approx([0.025, 0.1, 0.975])
    assert result.observed[[0, 1, 9]] == pytest.approx([0, 1, 0.5])
    assert np.isnan(result.observed[5])
    assert result.error == pytest.approx((2 * 0.025 + 1 * 0.9 + 2 * 0.475) / 5)


def test_calibration_of_a_calibrated_prediction_is_small():
    random = np.random.default_rng(0)
    probabilities = random.random(50_000)
    assert calibration(probabilities, random.random(50_000) < probabilities).error < 0.01
    assert calibration(probabilities, random.random(50_000) < probabilities**3).error > 0.1
    assert math.isnan(calibration(np.zeros(0), np.zeros(0, bool)).error)
