"""Choosing one of several drafts without labels or rules: from drafts, Q values and residuals, with nothing of the answers in sight."""

from __future__ import annotations

import numpy as np

from hrm_gym.agents.retry import LABEL_FREE_RULES
from hrm_gym.envs.errors import ConfigError

BLOCK = 1 << 24  # comparisons of drafts made at once


def select(rule: str, drafts: np.ndarray, made: np.ndarray, halt_values: np.ndarray, residuals: np.ndarray) -> np.ndarray:
    """The attempt whose draft `rule` chooses, int64[N]; of equals the earliest.

    Args:
        rule: "vote": the draft that most attempts handed in, then the one with the highest mean of sigmoid(Q-halt). "best-q": the
            attempt with the highest sigmoid(Q-halt). "residual": the one whose latent state changed least in its last step.
        drafts: uint8[N, K, cells], symmetries undone.
        made: bool[N, K], attempts that were made, at least the first; the others do not count.
        halt_values: float[N, K], sigmoid(Q-halt) at the halt.
        residuals: float[N, K].

    Raises:
        ConfigError: an unknown rule.
    """
    if rule == "vote":
        return vote(drafts, made, halt_values)
    if rule == "best-q":
        return np.where(made, _numbers(halt_values), -np.inf).argmax(axis=1)
    if rule == "residual":
        return np.where(made, _numbers(residuals, np.inf), np.inf).argmin(axis=1)
    raise ConfigError(f"selection {rule!r} is unknown; expected one of {', '.join(LABEL_FREE_RULES)}")


def vote(drafts: np.ndarray, made: np.ndarray, halt_values: np.ndarray) -> np.ndarray:
    """The first attempt that handed in the winning draft, int64[N]: most attempts, then the highest mean sigmoid(Q-halt)."""
    count, attempts = made.shape
    codes = draft_codes(drafts)
    q = np.where(made, _numbers(halt_values), 0.0)
    winners = np.empty(count, np.int64)
    rows_at_once = max(1, BLOCK // (attempts * attempts))
    for start in range(0, count, rows_at_once):
        part = slice(start, start + rows_at_once)
        same = (codes[part, :, None] == codes[part, None, :]) & made[part, None, :]  # [n, K, K]
        votes = same.sum(axis=2)
        mean_q = (same @ q[part, :, None])[..., 0] / np.maximum(votes, 1)
        votes = np.where(made[part], votes, 0)
        leading = votes == votes.max(axis=1, keepdims=True)
        # equal drafts have equal means but for rounding, which must not pick among them
        winners[part] = np.where(leading, np.round(mean_q, 6), -np.inf).argmax(axis=1)
    return winners


def draft_codes(drafts: np.ndarray) -> np.ndarray:
    """A number for each draft, uint64[...] from uint8[..., cells]: equal for equal drafts, and for others with a chance below 2^-56."""
    factors = np.random.default_rng(20_260_101).integers(0, 2**64, size=drafts.shape[-1], dtype=np.uint64)
    codes = np.zeros(drafts.shape[:-1], np.uint64)
    for cell, factor in enumerate(factors):  # a cell at a time: no copy of the drafts eight times their size
        codes += drafts[..., cell] * factor
    return codes


def _numbers(values: np.ndarray, instead: float = -np.inf) -> np.ndarray:
    """`values` with nan, which no comparison finds, replaced."""
    return np.where(np.isnan(values), instead, values)
