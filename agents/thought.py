"""`Thought`: what is known about each puzzle in a batch after one step of thinking. Halting strategies decide by it."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hrm_gym.agents.network import State, StepOutput

# features that cost something to compute; a strategy names the ones it needs
FEATURES = ("confidence", "entropy", "divergence", "residual", "cosine", "verified", "correct")


@dataclass
class Thought:
    """One step of B puzzles. Every tensor is [B], on the network's device.

    Attributes:
        step: int64, steps taken so far, from 1.
        max_steps: steps after which the agent halts in any case.
        puzzle: int64, the puzzle's index in what is being solved; randomness is drawn from it, so that it does not depend on the batch.
        q_halt, q_continue: float32 logits.
        changed_cells: int64, cells in which the draft differs from the one before (in step 1: from the question).
        unchanged_steps: int64, for how many steps in a row the draft has not changed.
        confidence: float32, mean over the cells of the largest token probability; None unless asked for, like all below.
        entropy: float32, mean entropy of the cells' token probabilities, in nats.
        divergence: float32, mean Kullback-Leibler divergence of these probabilities from the step before's, in nats (step 1: infinite).
        residual: float32, |z_H - z_H before| / |z_H|.
        cosine: float32, 1 - cosine of z_H and z_H before.
        verified: bool, whether the rules accept the draft (uses no answer for Sudoku and mazes).
        correct: bool, whether the draft would be rewarded; the oracle's view, never an agent's.
        latent: float32[B, hidden_size], the mean of z_H over the positions; only where the network runs, recordings have none.
        memory: float32[B, strategy.memory_size], zero at a puzzle's first step; a strategy may write to it.
    """

    step: Tensor
    max_steps: int
    puzzle: Tensor
    q_halt: Tensor
    q_continue: Tensor
    changed_cells: Tensor
    unchanged_steps: Tensor
    confidence: Tensor | None = None
    entropy: Tensor | None = None
    divergence: Tensor | None = None
    residual: Tensor | None = None
    cosine: Tensor | None = None
    verified: Tensor | None = None
    correct: Tensor | None = None
    latent: Tensor | None = None
    memory: Tensor = field(default_factory=lambda: torch.zeros(0))


def latent_and_output_features(
    wanted: Set[str], before: State, after: State, output: StepOutput, previous_log_probabilities: Tensor | None, first: Tensor
) -> tuple[dict[str, Tensor], Tensor | None]:
    """The wanted ones of confidence, entropy, divergence, residual and cosine, float32[B] each, and of latent, float32[B, hidden_size].

    Args:
        wanted: names from FEATURES, or "latent".
        before, after: the states around the step.
        output: the step's output.
        previous_log_probabilities: float32[B, cells, vocabulary] of the step before; what this function returned then.
        first: bool[B], rows at their first step.

    Returns:
        The features, and the log probabilities for the next call (None unless divergence is wanted).
    """
    features: dict[str, Tensor] = {}
    log_probabilities = None
    if wanted & {"confidence", "entropy", "divergence"}:
        log_probabilities = torch.log_softmax(output.logits.float(), dim=-1)  # [B, cells, vocabulary]
        probabilities = log_probabilities.exp()
        if "confidence" in wanted:
            features["confidence"] = probabilities.amax(-1).mean(-1)
        if "entropy" in wanted:
            features["entropy"] = -(probabilities * log_probabilities).sum(-1).mean(-1)
        if "divergence" in wanted:
            if previous_log_probabilities is None:
                divergence = torch.full_like(output.q_halt, torch.inf)
            else:
                divergence = (probabilities * (log_probabilities - previous_log_probabilities)).sum(-1).mean(-1)
            features["divergence"] = torch.where(first, torch.inf, divergence)
    if wanted & {"residual", "cosine"}:
        new, old = after.z_h.float().flatten(1), before.z_h.float().flatten(1)
        if "residual" in wanted:
            features["residual"] = (new - old).norm(dim=1) / new.norm(dim=1)
        if "cosine" in wanted:
            features["cosine"] = 1.0 - torch.cosine_similarity(new, old, dim=1)
    if "latent" in wanted:
        features["latent"] = after.z_h.float().mean(1)
    return features, log_probabilities if "divergence" in wanted else None
