"""Recorded trajectories: the network thinks once about every puzzle to the last step, and everything that a halting strategy may look
at is kept. Every strategy is then judged on the same states in milliseconds.

    trajectories = record(agent, puzzles)
    steps = trajectories.halting_steps("stable(2)")
    accuracy = trajectories.right_at(steps).mean()
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_safetensors
from torch import Tensor

from hrm_gym.agents.agent import HRMAgent, write_whole
from hrm_gym.agents.halting import HaltingStrategy, halting_strategy
from hrm_gym.agents.thinking import Carry, think_one_step
from hrm_gym.agents.thought import FEATURES, Thought
from hrm_gym.envs.errors import CheckpointError, ConfigError
from hrm_gym.envs.puzzles import Puzzles

FORMAT = 1
# [T, N] arrays of a recording, with their dtypes. "correct" is not among them: it is "verified" by definition.
RECORDED: dict[str, type[np.generic]] = {
    "q_halt": np.float32,
    "q_continue": np.float32,
    "changed_cells": np.int32,
    "unchanged_steps": np.int32,
    "confidence": np.float32,
    "entropy": np.float32,
    "divergence": np.float32,
    "residual": np.float32,
    "cosine": np.float32,
    "verified": np.bool_,
    "exact": np.bool_,
}


@dataclass(frozen=True)
class Trajectories:
    """What was known at each of T steps about each of N puzzles; row t - 1 holds step t. `agents.thought.Thought` explains the features.

    Attributes:
        q_halt, q_continue: float32[T, N], logits.
        changed_cells, unchanged_steps: int32[T, N].
        confidence, entropy, divergence, residual, cosine: float32[T, N].
        verified: bool[T, N], whether the draft solves the puzzle, by the family's verification (by the rules, where it has rules).
        exact: bool[T, N], whether the draft is equal to the stored answer.
        ratings: float32[N], the puzzles' difficulty.
        ids: N strings, the puzzles' names.
        drafts: uint8[T, N, cells], or None where they were not kept.
        questions: uint8[N, cells], or None where they were not kept.
        description: where the recording comes from: `family`, `size`, `has_rules`, `checkpoint`, `halting` (the agent's own strategy),
            `seconds` that recording took, and what else the caller wrote into it.
    """

    q_halt: np.ndarray
    q_continue: np.ndarray
    changed_cells: np.ndarray
    unchanged_steps: np.ndarray
    confidence: np.ndarray
    entropy: np.ndarray
    divergence: np.ndarray
    residual: np.ndarray
    cosine: np.ndarray
    verified: np.ndarray
    exact: np.ndarray
    ratings: np.ndarray
    ids: Sequence[str]
    drafts: np.ndarray | None = None
    questions: np.ndarray | None = None
    description: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = self.verified.shape
        for name in RECORDED:
            if getattr(self, name).shape != shape or len(shape) != 2:
                found = getattr(self, name).shape
                raise ConfigError(f"trajectories: {name} has shape {found}; expected {shape}, steps by puzzles")
        for name, length in (("ratings", len(self.ratings)), ("ids", len(self.ids))):
            if length != shape[1]:
                raise ConfigError(f"trajectories: {name} has {length} entries for {shape[1]} puzzles; give one for each")

    def __len__(self) -> int:
        """N, the number of puzzles."""
        return self.verified.shape[1]

    @property
    def max_steps(self) -> int:
        """T, the number of steps recorded."""
        return self.verified.shape[0]

    @property
    def correct(self) -> np.ndarray:
        """bool[T, N], whether a draft would be rewarded: the same as `verified`."""
        return self.verified

    @property
    def has_rules(self) -> bool:
        """Whether drafts were verified by rules, without the answer (Sudoku, maze)."""
        return bool(self.description.get("has_rules", True))

    def thought(self, step: int, memory: Tensor | None = None) -> Thought:
        """All puzzles after `step` steps (1..T), as torch tensors on the CPU. They show the recording itself: write to `memory` only.

        Args:
            memory: float32[N, strategy.memory_size], what the strategy wrote in the steps before.
        """
        if not 1 <= step <= self.max_steps:
            raise ConfigError(f"step {step} was not recorded; expected 1 to {self.max_steps}")
        row = step - 1

        def column(values: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(values[row]))

        count = len(self)
        verified = column(self.verified)
        return Thought(
            step=torch.full((count,), step, dtype=torch.int64),
            max_steps=self.max_steps,
            puzzle=torch.arange(count),
            q_halt=column(self.q_halt),
            q_continue=column(self.q_continue),
            changed_cells=column(self.changed_cells).long(),
            unchanged_steps=column(self.unchanged_steps).long(),
            confidence=column(self.confidence),
            entropy=column(self.entropy),
            divergence=column(self.divergence),
            residual=column(self.residual),
            cosine=column(self.cosine),
            verified=verified,
            correct=verified,
            memory=torch.zeros(count, 0) if memory is None else memory,
        )

    def halting_steps(self, strategy: str | HaltingStrategy) -> np.ndarray:
        """When each puzzle halts under `strategy`: the first step at which it says so, T where it never does. int64[N].

        Raises:
            ConfigError: an unknown strategy, or one that needs a feature there is none of.
        """
        strategy = halting_strategy(strategy)
        unknown = sorted(strategy.needs - set(FEATURES))
        if unknown:
            raise ConfigError(f"halting {strategy} needs the feature {unknown[0]!r}; expected one of {', '.join(FEATURES)}")
        count = len(self)
        memory = torch.zeros(count, strategy.memory_size)
        steps = torch.full((count,), self.max_steps, dtype=torch.int64)
        thinking = torch.ones(count, dtype=torch.bool)
        for step in range(1, self.max_steps):
            halts = strategy.halt(self.thought(step, memory)) & thinking
            steps[halts] = step
            thinking &= ~halts
            if not thinking.any():
                break
        return steps.numpy()

    def at(self, values: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Row `steps[n]` (1..T) of column n of `values` [T, N, ...]: [N, ...]."""
        return values[np.asarray(steps) - 1, np.arange(len(self))]

    def right_at(self, steps: np.ndarray) -> np.ndarray:
        """Whether each puzzle's draft is verified at its own step (int64[N], 1..T): bool[N]."""
        return self.at(self.verified, steps)

    def take(self, rows: np.ndarray | slice | Sequence[int]) -> Trajectories:
        """The puzzles at `rows` (integers, a boolean mask or a slice). Their numbers start anew, as in `HRMAgent.solve` of just them."""
        index = np.arange(len(self))[rows]
        return dataclasses.replace(
            self,
            **{name: getattr(self, name)[:, index] for name in RECORDED},
            ratings=self.ratings[index],
            ids=[self.ids[i] for i in index],
            drafts=None if self.drafts is None else self.drafts[:, index],
            questions=None if self.questions is None else self.questions[index],
        )

    def until(self, max_steps: int) -> Trajectories:
        """The same puzzles with fewer steps.

        Raises:
            ConfigError: more steps than were recorded, or none.
        """
        if not 1 <= max_steps <= self.max_steps:
            raise ConfigError(f"max_steps is {max_steps}; this recording has 1 to {self.max_steps}")
        shorter = {name: getattr(self, name)[:max_steps] for name in RECORDED}
        return dataclasses.replace(self, **shorter, drafts=None if self.drafts is None else self.drafts[:max_steps])

    # -- files ---------------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> Path:
        """Write one safetensors file, whole or not at all."""
        path = Path(path)
        arrays = {name: np.ascontiguousarray(getattr(self, name), dtype) for name, dtype in RECORDED.items()}
        arrays["ratings"] = np.ascontiguousarray(self.ratings, np.float32)
        if self.drafts is not None:
            arrays["drafts"] = np.ascontiguousarray(self.drafts, np.uint8)
        if self.questions is not None:
            arrays["questions"] = np.ascontiguousarray(self.questions, np.uint8)
        # ids as an array: a safetensors header may not grow beyond 100 MB
        arrays["ids"] = np.frombuffer(json.dumps(list(self.ids)).encode(), np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        header = json.dumps({"format": FORMAT, "description": self.description})
        write_whole(path, to_safetensors(arrays, metadata={"trajectories": header}))
        return path

    @staticmethod
    def load(path: str | Path) -> Trajectories:
        """What `save` wrote. The arrays are memory-mapped: what is not looked at is not read.

        Raises:
            CheckpointError: no such file, or not one of ours.
        """
        path = Path(path)
        if not path.is_file():
            raise CheckpointError(f"trajectories file {path} does not exist; record one first")
        try:
            # torch's tensors are views of the mapped file, NumPy's would be copies
            with safe_open(path, framework="pt") as file:
                header = json.loads((file.metadata() or {})["trajectories"])
                arrays = {name: file.get_tensor(name).numpy() for name in file.keys()}  # noqa: SIM118 (not a dictionary)
            ids = json.loads(arrays.pop("ids").tobytes())
            return Trajectories(ids=ids, description=header["description"], **arrays)
        except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
            raise CheckpointError(
                f"trajectories file {path} cannot be read ({type(error).__name__}); it is broken or not a recording"
            ) from None


@torch.inference_mode()
def record(
    agent: HRMAgent,
    puzzles: Puzzles,
    max_steps: int | None = None,
    batch_size: int = 256,
    progress: Callable[[int], None] | None = None,
    keep_drafts: bool = True,
    description: dict[str, Any] | None = None,
) -> Trajectories:
    """Let the network think about all `puzzles` to the last step, and keep what it knew at every step.

    Args:
        agent: whose network; its halting strategy is not used.
        max_steps: steps to record; None: the agent's own.
        batch_size: puzzles in thought at once.
        progress: called with the number of finished puzzles.
        keep_drafts: whether to keep the questions and the drafts, a byte for every cell, puzzle and step.
        description: further entries for the recording's description, such as `checkpoint`, the name it goes by in tables.

    Raises:
        ConfigError: max_steps or batch_size below 1.
        PuzzleError: puzzles that do not fit the agent's family.
    """
    steps = agent.max_steps if max_steps is None else max_steps
    for name, value in (("max_steps", steps), ("batch_size", batch_size)):
        if value < 1:
            raise ConfigError(f"{name} is {value}; expected at least 1")
    family = agent.family
    family.check_grids(puzzles.questions)
    started = time.monotonic()
    count = len(puzzles)
    on_device = agent.on_device(puzzles)
    arrays = {name: np.zeros((steps, count), dtype) for name, dtype in RECORDED.items()}
    drafts = np.zeros((steps, count, family.cells), np.uint8) if keep_drafts else None
    everything = frozenset(FEATURES)
    for start in range(0, count, batch_size):
        rows = torch.arange(start, min(start + batch_size, count), device=agent.device)
        carry = Carry.start(agent.network, agent.code, on_device.questions[rows], on_device.puzzle_ids[rows], rows)
        answers = on_device.answers[rows]
        columns = slice(start, start + len(rows))
        # the columns stay on the device until the batch is done, so that the host does not wait at every step
        kept: dict[str, list[Tensor]] = {name: [] for name in RECORDED}
        kept_drafts: list[Tensor] = []
        for _ in range(steps):
            thought = think_one_step(agent.network, agent.code, carry, everything, steps, on_device.solved)
            for name, column in kept.items():
                column.append((carry.draft == answers).all(-1) if name == "exact" else getattr(thought, name))
            if keep_drafts:
                kept_drafts.append(carry.draft)
        for name, column in kept.items():
            arrays[name][:, columns] = torch.stack(column).cpu().numpy()
        if drafts is not None:
            drafts[:, columns] = torch.stack(kept_drafts).cpu().numpy()
        if progress is not None:
            progress(start + len(rows))
    seconds = time.monotonic() - started
    facts = {
        "family": family.name,
        "size": family.shape[0],
        "has_rules": family.has_rules,
        "halting": str(agent.halting),
        "seconds": round(seconds, 3),
    }
    return Trajectories(
        **arrays,
        ratings=np.asarray(puzzles.ratings, np.float32),
        ids=list(puzzles.ids),
        drafts=drafts,
        questions=puzzles.questions.reshape(count, family.cells) if keep_drafts else None,
        description=facts | (description or {}),
    )
