"""Intervals and tests for comparisons: Wilson, bootstrap, McNemar, calibration error. Random numbers come from a generator passed in."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Z95 = 1.959963984540054  # the normal distribution's 97.5 % quantile
CALIBRATION_BINS = 10
RESAMPLES = 2000
# index numbers drawn at once in a bootstrap: bounds its memory
CHUNK = 4_000_000


def wilson_interval(successes: int, trials: int, z: float = Z95) -> tuple[float, float]:
    """The Wilson score interval of a share (E. B. Wilson 1927), 95 % by default; (nan, nan) without trials.

    Unlike the plain normal interval it stays within 0..1 and has a width where all or none succeed.
    """
    if trials == 0:
        return math.nan, math.nan
    share = successes / trials
    centre = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    low = (centre - half) / scale if successes else 0.0  # exact where rounding would miss them
    high = (centre + half) / scale if successes < trials else 1.0
    return low, high


def resampled_means(values: np.ndarray, samples: int, random: np.random.Generator) -> np.ndarray:
    """Means of `values` [N, K] over `samples` draws of N rows with replacement: float64[samples, K].

    All K columns are resampled alike, so that differences between columns are paired.
    """
    count = len(values)
    columns = np.asarray(values, np.float64)
    means = np.empty((samples, columns.shape[1]))
    at_once = max(1, CHUNK // max(1, count))
    for start in range(0, samples, at_once):
        size = min(at_once, samples - start)
        drawn = random.integers(0, count, size=(size, count))
        drawn += np.arange(size)[:, None] * count
        # how often each row was drawn; the mean is then one matrix product for all columns
        weights = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        means[start : start + size] = weights @ columns / count
    return means


def percentile_interval(means: np.ndarray, level: float = 0.95) -> np.ndarray:
    """The percentile bootstrap interval (Efron 1979) of each column of [samples, K]: float64[K, 2]."""
    tail = (1 - level) / 2
    return np.quantile(means, [tail, 1 - tail], axis=0).T


def bootstrap_p_value(differences: np.ndarray) -> float:
    """Two-sided p-value of "the mean difference is zero" from resampled mean differences [samples].

    Twice the smaller share of resamples on either side of zero, itself counted once (Davison and Hinkley 1997, 4.2.3): never 0.
    """
    samples = len(differences)
    below = (1 + int((differences <= 0).sum())) / (samples + 1)
    above = (1 + int((differences >= 0).sum())) / (samples + 1)
    return min(1.0, 2 * min(below, above))


def mcnemar_p_value(first: np.ndarray, second: np.ndarray) -> float:
    """The exact McNemar test (McNemar 1947) that two strategies are right equally often on the same puzzles, bool[N] each; two-sided.

    Puzzles that only one of them solves are tosses of a fair coin if they are equally good.
    """
    only_first = int((first & ~second).sum())
    only_second = int((~first & second).sum())
    return sign_test(only_first, only_second)


def sign_test(one: int, other: int) -> float:
    """Two-sided exact binomial test of `one` against `other` tosses of a fair coin; 1 without any."""
    tosses = one + other
    if tosses == 0:
        return 1.0
    fewer = np.arange(min(one, other) + 1)
    # log of "tosses over k" by sums of logarithms, which do not overflow
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, tosses + 1)))])
    log_terms = logs[tosses] - logs[fewer] - logs[tosses - fewer] - tosses * math.log(2)
    return min(1.0, 2 * float(np.exp(log_terms).sum()))


def holm(p_values: list[float]) -> list[float]:
    """p-values adjusted for that many tests (Holm 1979), in their order."""
    order = np.argsort(p_values, kind="stable")
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


@dataclass(frozen=True)
class Calibration:
    """How well a predicted probability agrees with what happened, in equal-width bins over 0..1.

    Attributes:
        edges: float64[bins + 1].
        counts: int64[bins]; a probability on an edge belongs to the bin above it, 1 to the last.
        predicted, observed: float64[bins], mean probability and share of successes; nan in empty bins.
        error: the expected calibration error (Naeini et al. 2015; Guo et al. 2017, 1706.04599): the mean over all predictions of
            |predicted - observed| of their bin; nan without predictions.
    """

    edges: np.ndarray
    counts: np.ndarray
    predicted: np.ndarray
    observed: np.ndarray
    error: float


def calibration(probabilities: np.ndarray, outcomes: np.ndarray, bins: int = CALIBRATION_BINS) -> Calibration:
    """Calibration of probabilities float[N] against outcomes bool[N]."""
    probabilities = np.asarray(probabilities, np.float64)
    edges = np.linspace(0, 1, bins + 1)
    index = np.clip(np.searchsorted(edges, probabilities, side="right") - 1, 0, bins - 1)
    counts = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):
        predicted = np.bincount(index, probabilities, minlength=bins) / counts
        observed = np.bincount(index, np.asarray(outcomes, np.float64), minlength=bins) / counts
    filled = counts > 0
    gaps = np.abs(predicted - observed)[filled]
    error = float((counts[filled] * gaps).sum() / counts.sum()) if len(probabilities) else math.nan
    return Calibration(edges, counts, predicted, observed, error)
