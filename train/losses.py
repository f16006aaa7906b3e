"""Deep supervision of the draft and Q-learning of the halting action, one step at a time."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from hrm_gym.envs.errors import ConfigError

IGNORED_LABEL = -100
DRAFT_LOSSES = ("softmax", "stablemax")
Q_LOSSES = ("cross-entropy", "huber")
END = 0.01  # distance from 0 and 1 at which a Huber value leaves the sigmoid
LOGIT_OF_END = math.log((1.0 - END) / END)


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


def expected_return(q: Tensor, kind: str = "cross-entropy") -> Tensor:
    """The return that Q values stand for, of the shape of `q`.

    "cross-entropy": sigmoid(q). "huber": the same from 0.01 to 0.99, and beyond it goes on as a straight line. So the gradient of a squared
    error does not vanish where a value has run into an end, a return of 1 is reached by a finite logit (5.6, of which agents read
    sigmoid(5.6) = 0.996), and returns below 0 have a place.
    """
    if kind not in Q_LOSSES:
        raise ConfigError(f"Q loss {kind!r} is unknown; expected one of {', '.join(Q_LOSSES)}")
    if kind == "cross-entropy":
        return torch.sigmoid(q)
    inside = q.clamp(-LOGIT_OF_END, LOGIT_OF_END)
    return torch.sigmoid(inside) + END * (1.0 - END) * (q - inside)


def q_loss(q: Tensor, returns: Tensor, kind: str = "cross-entropy") -> Tensor:
    """How far Q values are from the returns that they should foresee, one number for each; smallest at the mean of the returns.

    Agents and strategies need not know by which kind a Q value was taught: sigmoid(q) is the expected return, within 0.01 and cut to 0..1.

    Args:
        q: logits, any shape.
        returns: of the same shape.
        kind: "cross-entropy", binary, with the returns cut to 0..1 (HRM's); or "huber", of the difference between return and
            `expected_return`, quadratic up to 1 and linear beyond, the loss of DQN (Mnih et al. 2015).
    """
    if kind == "huber":
        return F.huber_loss(expected_return(q, kind), returns, reduction="none")
    if kind not in Q_LOSSES:
        raise ConfigError(f"Q loss {kind!r} is unknown; expected one of {', '.join(Q_LOSSES)}")
    return F.binary_cross_entropy_with_logits(q, returns.clamp(0.0, 1.0), reduction="none")


def halt_loss(q_halt: Tensor, verified: Tensor, kind: str = "cross-entropy") -> Tensor:
    """Loss of Q-halt against the reward of halting now, 1 for a verified draft (HRM eq. for Q-halt): float32[B]."""
    return q_loss(q_halt, verified.to(q_halt.dtype), kind)


def best_value(q_halt: Tensor, q_continue: Tensor, must_halt: Tensor, kind: str = "cross-entropy") -> Tensor:
    """The value of a state under the greedy policy: the better action's, or that of halting where nothing else is left. float32[B],
    detached."""
    return expected_return(torch.where(must_halt, q_halt, torch.maximum(q_halt, q_continue)).detach(), kind)


def continue_target(
    next_q_halt: Tensor,
    next_q_continue: Tensor,
    must_halt: Tensor,
    step_cost: float = 0.0,
    discount: float = 1.0,
    kind: str = "cross-entropy",
) -> Tensor:
    """The return of thinking on: discounted best value at the next step, minus the step's cost. float32[B].

    HRM (2506.21734, Q-learning): max of both Q values, and Q-halt alone where the next step has to halt; the published objective
    has no cost and no discount. With neither, halting and continuing tie once an answer stays right, and their order is noise.
    """
    return discount * best_value(next_q_halt, next_q_continue, must_halt, kind) - step_cost


def continue_loss(q_continue: Tensor, target: Tensor, kind: str = "cross-entropy") -> Tensor:
    """Loss of Q-continue against the return of thinking on (`continue_target`, or a longer one): float32, of the arguments' shape."""
    return q_loss(q_continue, target, kind)
