"""The fast road: many puzzles through a pool of slots. A step advances every slot; a halted puzzle leaves and the next enters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hrm_gym.agents.device_puzzles import DevicePuzzles
from hrm_gym.agents.halting import HaltingStrategy
from hrm_gym.agents.network import RecursiveNetwork
from hrm_gym.agents.thinking import Carry, think_one_step
from hrm_gym.envs.puzzles import Puzzles

# On a device the host looks at the pool only every so many steps; between looks idle slots think in vain.
STEPS_BETWEEN_LOOKS = {"cpu": 1}
STEPS_BETWEEN_LOOKS_ELSEWHERE = 8


@dataclass(frozen=True)
class Solutions:
    """The answers to N puzzles, in the puzzles' order.

    Attributes:
        drafts: uint8[N, H, W], the drafts handed in.
        verified: bool[N], whether they are right by the family's verification (Sudoku, mazes: by the rules).
        steps: int64[N], steps of thought spent.
        halt_values, continue_values: float32[N], sigmoid of the Q values at the halt.
    """

    drafts: np.ndarray
    verified: np.ndarray
    steps: np.ndarray
    halt_values: np.ndarray
    continue_values: np.ndarray

    def __len__(self) -> int:
        return len(self.drafts)

    @property
    def accuracy(self) -> float:
        """Share of verified drafts, 0..1."""
        return float(self.verified.mean()) if len(self) else float("nan")

    @property
    def mean_steps(self) -> float:
        return float(self.steps.mean()) if len(self) else float("nan")


@torch.inference_mode()
def solve_in_slots(
    network: RecursiveNetwork,
    puzzles: Puzzles,
    on_device: DevicePuzzles,
    strategy: HaltingStrategy,
    max_steps: int,
    slots: int,
    progress: Callable[[int], None] | None = None,
) -> Solutions:
    """Solve all `puzzles`.

    Args:
        on_device: the same puzzles on the network's device.
        slots: puzzles in thought at once.
        progress: called with the number of finished puzzles now and then.
    """
    family, code, count = on_device.code.family, on_device.code, len(puzzles)
    device = on_device.questions.device
    if count == 0:
        nothing = np.zeros(0, np.float32)
        return Solutions(puzzles.questions.copy(), nothing.astype(bool), nothing.astype(np.int64), nothing, nothing)
    slots = min(slots, count)

    # One row more than puzzles: what idle and thinking slots write goes to row `count`, which is thrown away.
    drafts = torch.zeros(count + 1, family.cells, dtype=torch.uint8, device=device)
    steps = torch.zeros(count + 1, dtype=torch.int64, device=device)
    q_values = torch.zeros(count + 1, 2, device=device)

    puzzle = torch.arange(slots, device=device)
    busy = torch.ones(slots, dtype=torch.bool, device=device)
    waiting = torch.tensor(slots, device=device)  # the next puzzle to enter
    carry = Carry.start(network, code, on_device.questions[puzzle], on_device.puzzle_ids[puzzle], puzzle, strategy.memory_size)
    between_looks = STEPS_BETWEEN_LOOKS.get(device.type, STEPS_BETWEEN_LOOKS_ELSEWHERE)
    taken = 0
    while True:
        thought = think_one_step(network, code, carry, strategy.needs, max_steps, on_device.solved)
        halted = (strategy.halt(thought) | (carry.step >= max_steps)) & busy
        target = torch.where(halted, carry.puzzle, count)
        drafts[target] = carry.draft
        steps[target] = carry.step
        q_values[target] = torch.stack((thought.q_halt, thought.q_continue), dim=1)

        # the k-th halted slot takes the k-th waiting puzzle; slots beyond the last puzzle fall idle
        entering = waiting + torch.cumsum(halted, 0) - 1
        waiting = waiting + halted.sum()
        busy = busy & ~(halted & (entering >= count))
        following = entering.clamp(0, count - 1)
        carry.restart(network, code, halted, on_device.questions[following], on_device.puzzle_ids[following], following)

        taken += 1
        if taken % between_looks == 0:
            active = int(busy.sum())
            if progress is not None:
                progress(min(int(waiting), count) - active)
            if active == 0:
                break
            if active <= len(busy) // 2:  # drain: no puzzle waits any more, so idle slots are left behind
                rows = torch.nonzero(busy).squeeze(1)
                carry, busy = carry.take(rows), busy[rows]

    every = torch.arange(count, device=device)
    verified = torch.cat([on_device.solved(rows, drafts[rows]) for rows in every.split(4096)])
    q_values = torch.sigmoid(q_values[:count]).cpu()
    return Solutions(
        drafts=drafts[:count].cpu().numpy().reshape(count, *family.shape),
        verified=verified.cpu().numpy(),
        steps=steps[:count].cpu().numpy(),
        halt_values=q_values[:, 0].numpy(),
        continue_values=q_values[:, 1].numpy(),
    )


def as_tensor(values: np.ndarray, device: torch.device) -> Tensor:
    """A copy of `values` on `device`."""
    return torch.from_numpy(np.array(values)).to(device)
