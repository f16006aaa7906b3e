"""Puzzles as tensors on a device, with the family's token code and its verification."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hrm_gym.envs.family import Family
from hrm_gym.envs.puzzles import Puzzles


def apply_symmetries(cells: Tensor, values: Tensor, grids: Tensor) -> Tensor:
    """`envs.symmetries.Symmetries.apply` on a device: symmetry i on grid i.

    Args:
        cells: int64[B, cells], values: uint8[B, V], the tables of the symmetries.
        grids: uint8[B, cells].

    Returns:
        uint8[B, cells].
    """
    return values.gather(1, grids.gather(1, cells).long())


class GridCode:
    """Grid values to tokens and logits back to grid values, on a device.

    Attributes:
        family: whose values.
        token_of_value: int64[V].
    """

    def __init__(self, family: Family, device: torch.device) -> None:
        self.family = family
        self.token_of_value = torch.from_numpy(np.asarray(family.tokens, dtype=np.int64)).to(device)

    def tokens(self, grids: Tensor) -> Tensor:
        """Values [B, cells] (any integers) -> tokens int64[B, cells]."""
        return self.token_of_value[grids.long()]

    def draft(self, logits: Tensor) -> Tensor:
        """Logits [B, cells, vocabulary] -> the likeliest values, uint8[B, cells]; tokens that stand for no value are left out."""
        return logits.detach().index_select(-1, self.token_of_value).argmax(-1).to(torch.uint8)

    def solved(self, questions: Tensor, drafts: Tensor, answers: Tensor, facts: dict[str, Tensor]) -> Tensor:
        """The family's verification of uint8[B, cells] grids on the device: bool[B]."""
        height, width = self.family.shape
        grids = [grid.view(-1, height, width).to(torch.int32) for grid in (questions, drafts, answers)]
        return self.family.is_solved(grids[0], grids[1], grids[2], facts)


class DevicePuzzles:
    """N puzzles on a device.

    Args:
        ids_per_task: rows of the puzzle embedding that each task has (ARC: one for each of its augmentations); the first is used.

    Attributes:
        questions, answers: uint8[N, cells].
        facts: the puzzles' one-number facts, tensors [N].
        puzzle_ids: int64[N], rows of the puzzle embedding: the fact `puzzle_id` where there is one (training), else task times
            `ids_per_task` (ARC), else 0.
    """

    def __init__(self, family: Family, puzzles: Puzzles, device: torch.device, ids_per_task: int = 1) -> None:
        self.code = GridCode(family, device)
        self.questions = torch.from_numpy(puzzles.questions.reshape(len(puzzles), family.cells)).to(device)
        self.answers = torch.from_numpy(puzzles.answers.reshape(len(puzzles), family.cells)).to(device)
        self.facts = {
            name: torch.from_numpy(np.ascontiguousarray(values)).to(device)
            for name, values in puzzles.facts.items()
            if values.ndim == 1
        }
        if "puzzle_id" in self.facts:
            self.puzzle_ids = self.facts["puzzle_id"].long()
        elif "task" in self.facts:
            self.puzzle_ids = self.facts["task"].long() * ids_per_task
        else:
            self.puzzle_ids = torch.zeros(len(puzzles), dtype=torch.int64, device=device)

    def __len__(self) -> int:
        return len(self.questions)

    def solved(self, rows: Tensor, drafts: Tensor) -> Tensor:
        """Which drafts, uint8[B, cells], solve the puzzles at `rows`, int64[B]: bool[B]."""
        facts = {name: values[rows] for name, values in self.facts.items()}
        return self.code.solved(self.questions[rows], drafts, self.answers[rows], facts)
