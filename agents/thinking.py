"""One step of thought for a batch, shared by `predict`, `solve` and the recording of trajectories, so that all three agree."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from hrm_gym.agents.device_puzzles import GridCode
from hrm_gym.agents.network import RecursiveNetwork, State, StepOutput
from hrm_gym.agents.thought import Thought, latent_and_output_features


@dataclass
class Carry:
    """What is carried from step to step for B puzzles.

    Attributes:
        state: the network's latent state.
        tokens: int64[B, cells], the questions.
        puzzle_ids: int64[B], rows of the puzzle embedding.
        puzzle: int64[B], index of each puzzle in what is being solved.
        draft: uint8[B, cells], the latest draft; before the first step the question.
        step: int64[B], steps taken.
        unchanged_steps: int64[B].
        memory: float32[B, m], of the halting strategy.
        log_probabilities: float32[B, cells, vocabulary] of the last step, where the strategy needs them.
        values: float32[B, 2], sigmoid of Q-halt and Q-continue at the last `predict`.
    """

    state: State
    tokens: Tensor
    puzzle_ids: Tensor
    puzzle: Tensor
    draft: Tensor
    step: Tensor
    unchanged_steps: Tensor
    memory: Tensor
    log_probabilities: Tensor | None = None
    values: np.ndarray | None = None

    @staticmethod
    def start(
        network: RecursiveNetwork, code: GridCode, questions: Tensor, puzzle_ids: Tensor, puzzle: Tensor, memory_size: int = 0
    ) -> Carry:
        """Before the first thought about `questions`, uint8[B, cells]."""
        count, device = len(questions), questions.device
        return Carry(
            state=network.initial_state(count),
            tokens=code.tokens(questions),
            puzzle_ids=puzzle_ids,
            puzzle=puzzle,
            draft=questions.clone(),
            step=torch.zeros(count, dtype=torch.int64, device=device),
            unchanged_steps=torch.zeros(count, dtype=torch.int64, device=device),
            memory=torch.zeros(count, memory_size, device=device),
        )

    def restart(
        self, network: RecursiveNetwork, code: GridCode, rows: Tensor, questions: Tensor, puzzle_ids: Tensor, puzzle: Tensor
    ) -> None:
        """Give the rows of the mask bool[B] new puzzles, in place; the other rows of the arguments are ignored. No host synchronisation."""
        column = rows.unsqueeze(1)
        self.state = network.reset_state(self.state, rows)
        self.tokens = torch.where(column, code.tokens(questions), self.tokens)
        self.draft = torch.where(column, questions, self.draft)
        self.puzzle_ids = torch.where(rows, puzzle_ids, self.puzzle_ids)
        self.puzzle = torch.where(rows, puzzle, self.puzzle)
        self.step = torch.where(rows, 0, self.step)
        self.unchanged_steps = torch.where(rows, 0, self.unchanged_steps)
        self.memory = torch.where(column, 0.0, self.memory)

    def take(self, rows: Tensor) -> Carry:
        """The rows at the index tensor `rows`."""
        return Carry(
            state=State(self.state.z_h[rows], self.state.z_l[rows]),
            tokens=self.tokens[rows],
            puzzle_ids=self.puzzle_ids[rows],
            puzzle=self.puzzle[rows],
            draft=self.draft[rows],
            step=self.step[rows],
            unchanged_steps=self.unchanged_steps[rows],
            memory=self.memory[rows],
            log_probabilities=None if self.log_probabilities is None else self.log_probabilities[rows],
        )


class Thinks(Protocol):
    """What takes a step of thought: a network, or several behind one face."""

    def step(self, state: State, tokens: Tensor, puzzle_ids: Tensor | None = None) -> tuple[State, StepOutput]: ...


@torch.no_grad()
def think_one_step(
    network: Thinks,
    code: GridCode,
    carry: Carry,
    wanted: Set[str],
    max_steps: int,
    solved: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Thought:
    """Advance `carry` by one step, in place.

    Args:
        wanted: features to compute, names of `agents.thought.FEATURES`.
        solved: (puzzle int64[B], drafts uint8[B, cells]) -> bool[B]; needed where `wanted` has "verified" or "correct".
    """
    before = carry.state
    first = carry.step == 0
    carry.state, output = network.step(before, carry.tokens, carry.puzzle_ids)
    draft = code.draft(output.logits)
    changed_cells = (draft != carry.draft).sum(-1)
    carry.unchanged_steps = torch.where(changed_cells == 0, carry.unchanged_steps + 1, 0)
    carry.draft = draft
    carry.step = carry.step + 1
    features, carry.log_probabilities = latent_and_output_features(
        wanted, before, carry.state, output, carry.log_probabilities, first
    )
    if wanted & {"verified", "correct"}:
        assert solved is not None
        verdict = solved(carry.puzzle, draft)
        features |= {name: verdict for name in ("verified", "correct") if name in wanted}
    return Thought(
        step=carry.step,
        max_steps=max_steps,
        puzzle=carry.puzzle,
        q_halt=output.q_halt,
        q_continue=output.q_continue,
        changed_cells=changed_cells,
        unchanged_steps=carry.unchanged_steps,
        memory=carry.memory,
        **features,
    )
