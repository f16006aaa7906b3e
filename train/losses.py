"""Deep supervision of the draft and Q-learning of the halting action, one step at a time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hrm_gym.envs.errors import ConfigError

IGNORED_LABEL = -100
DRAFT_LOSSES = ("softmax", "stablemax")
Q_LOSSES = ("cross-entropy", "huber")


def stablemax_log_probabilities(logits: Tensor) -> Tensor:
    """Logarithms of stablemax over the last axis: s(x) / sum s(x), s(x) = x + 1 for x >= 0 and 1 / (1 - x) below.

    Prieto et al. 2025 (2501.04697), as used by HRM. Computed in float64, or in float32 where the device has no float64 (MPS).
    """
    x = logits.float() if logits.device.type == "mps" else logits.double()
    # both branches of `where` are evaluated, so each gets an argument it is safe for
    scores = torch.where(x < 0, 1.0 / (1.0 - x.clamp(max=0)), x.clamp(min=0) + 1.0)
    return torch.log(scores / scores.sum(-1, keepdim=True))


def draft_loss(logits: Tensor, labels: Tensor, kind: str = "stablemax", label_smoothing: float = 0.0) -> Tensor:
    """Cross entropy of each draft, averaged over its labelled cells.

    Args:
        logits: [B, cells, vocabulary].
        labels: int64[B, cells], tokens; -100 is not counted.
        kind: "stablemax" or "softmax".
        label_smoothing: 0..1, share of the target spread over all tokens.

    Returns:
        float[B].
    """
    if kind not in DRAFT_LOSSES:
        raise ConfigError(f"loss {kind!r} is unknown; expected one of {', '.join(DRAFT_LOSSES)}")
    counted = labels != IGNORED_LABEL
    if kind == "stablemax":
        log_probabilities = stablemax_log_probabilities(logits)
    else:
        log_probabilities = F.log_softmax(logits.float(), dim=-1)
    picked = log_probabilities.gather(-1, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    if label_smoothing:
        picked = (1.0 - label_smoothing) * picked + label_smoothing * log_probabilities.mean(-1)
    per_cell = torch.where(counted, -picked, 0.0)
    return per_cell.sum(-1) / counted.sum(-1).clamp(min=1)


def q_loss(q: Tensor, returns: Tensor, kind: str = "cross-entropy") -> Tensor:
    """How far Q values are from the returns that they should foresee, one number for each.

    Both kinds read a Q value in the same way, sigmoid(q) is the expected return, so that agents and strategies need not know by which
    of them it was taught. Both are smallest where sigmoid(q) is the mean of the returns.

    Args:
        q: logits, any shape.
        returns: of the same shape. A sigmoid cannot say less than 0 or more than 1: nearest to what is outside are 0 and 1.
        kind: "cross-entropy", binary, with the returns cut to 0..1 (HRM's); or "huber", of the difference between return and sigmoid(q),
            quadratic up to 1 and linear beyond, the loss of DQN (Mnih et al. 2015). A difference above 1 needs a return below 0.
    """
    if kind not in Q_LOSSES:
        raise ConfigError(f"Q loss {kind!r} is unknown; expected one of {', '.join(Q_LOSSES)}")
    if kind == "huber":
        return F.huber_loss(torch.sigmoid(q), returns, reduction="none")
    return F.binary_cross_entropy_with_logits(q, returns.clamp(0.0, 1.0), reduction="none")


def halt_loss(q_halt: Tensor, verified: Tensor, kind: str = "cross-entropy") -> Tensor:
    """Loss of Q-halt against the reward of halting now, 1 for a verified draft (HRM eq. for Q-halt): float32[B]."""
    return q_loss(q_halt, verified.to(q_halt.dtype), kind)


def best_value(q_halt: Tensor, q_continue: Tensor, must_halt: Tensor) -> Tensor:
    """The value of a state under the greedy policy: of the better action, or of halting where that is the only one. float32[B], detached."""
    return torch.sigmoid(torch.where(must_halt, q_halt, torch.maximum(q_halt, q_continue)).detach())


def continue_target(
    next_q_halt: Tensor, next_q_continue: Tensor, must_halt: Tensor, step_cost: float = 0.0, discount: float = 1.0
) -> Tensor:
    """The return of thinking on: discounted best value at the next step, minus the step's cost. float32[B], at least -step_cost.

    HRM (2506.21734, Q-learning): max of both Q values, and Q-halt alone where the next step has to halt; the published objective
    has no cost and no discount. With neither, halting and continuing tie once an answer stays right, and their order is noise.
    """
    return discount * best_value(next_q_halt, next_q_continue, must_halt) - step_cost


def continue_loss(q_continue: Tensor, target: Tensor, kind: str = "cross-entropy") -> Tensor:
    """Loss of Q-continue against the return of thinking on (`continue_target`, or a longer one): float32, of the arguments' shape."""
    return q_loss(q_continue, target, kind)
