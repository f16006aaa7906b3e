"""A part of the batch: its puzzles, steps and states. A run holds one for each piece that its gradient is made of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hrm_gym.agents.network import RecursiveNetwork, State, StepOutput
from hrm_gym.envs.errors import CheckpointError
from hrm_gym.train.checkpoint import copy_into
from hrm_gym.train.config import TrainConfig
from hrm_gym.train.data import TrainingPuzzles
from hrm_gym.train.optimisers import WeightAverage
from hrm_gym.train.q_learning import ContinueTargets


class Draws:
    """The random numbers of one optimiser step, for all slots of all processes; each takes its own part of them.

    Args:
        config: of the run.
        puzzles: whose `draw_numbers` says which puzzle each slot gets if it halts now.
        exploration: the stream of everything that makes the agent halt otherwise than its Q values say.

    Attributes:
        numbers: int64[n, batch_size], for `TrainingPuzzles.show`.
        against: bool[batch_size], slots that do the opposite of what their Q values say; None where none ever does.
        minimum_steps: int64[batch_size], before which a slot does not halt of itself.
    """

    def __init__(self, config: TrainConfig, puzzles: TrainingPuzzles, exploration: torch.Generator) -> None:
        slots, device = config.batch_size, exploration.device
        self.against = None
        if config.epsilon:
            self.against = torch.rand(slots, generator=exploration, device=device) < config.epsilon
        # with probability `exploration` a random minimum of 2..max_steps, else 1
        explores = torch.rand(slots, generator=exploration, device=device) < config.exploration
        low = min(2, config.max_steps)
        minimum = torch.randint(low, config.max_steps + 1, (slots,), generator=exploration, device=device)
        self.minimum_steps = torch.where(explores, minimum, 1)
        self.numbers = puzzles.draw_numbers(slots)


class Slots:
    """The slots `part` of the batch.

    Args:
        config: of the run.
        puzzles: which the slots are filled from.
        network: whose states they carry.
        part: which slots of the whole batch these are.
        draws: the first puzzles.
        target: the target network's Q head, shared by all slots.

    Attributes:
        rows: int64[B], puzzle in the training list. questions, answers: uint8[B, cells].
        steps: int64[B], steps taken. minimum_steps: int64[B].
        state: of the network.
        continue_targets: what continuing was worth at earlier steps.
    """

    TENSORS = ("rows", "questions", "answers", "steps", "minimum_steps")

    def __init__(
        self,
        config: TrainConfig,
        puzzles: TrainingPuzzles,
        network: RecursiveNetwork,
        part: slice,
        draws: Draws,
        target: WeightAverage | None,
    ) -> None:
        self.config = config
        self.puzzles = puzzles
        self.network = network
        self.part = part
        self.rows, self.questions, self.answers = puzzles.show(draws.numbers[:, part])
        self.steps = torch.zeros_like(self.rows)
        self.minimum_steps = draws.minimum_steps[part]
        self.state = network.initial_state(len(self))
        self.continue_targets = ContinueTargets(network, config, self.state, target)

    def __len__(self) -> int:
        return self.part.stop - self.part.start

    def verified(self, drafts: Tensor) -> Tensor:
        """Which drafts, uint8[B, cells], solve their slot's puzzle, by the family's rules: bool[B]."""
        facts = {name: values[self.rows] for name, values in self.puzzles.on_device.facts.items()}
        return self.puzzles.on_device.code.solved(self.questions, drafts, self.answers, facts)

    def halts(self, output: StepOutput, last: Tensor, draws: Draws) -> Tensor:
        """Which slots halt: by the Q values or, with probability `epsilon`, against them; not before the exploration's minimum, and at
        the last step in any case. bool[B]."""
        if self.config.q_target == "none":
            wants = output.q_halt > 0
        else:
            wants = output.q_halt > output.q_continue
        if draws.against is not None:
            wants = wants ^ draws.against[self.part]
        if self.config.exploration_drawn == "step":
            self.minimum_steps = draws.minimum_steps[self.part]
        return (wants & (self.steps >= self.minimum_steps)) | last

    def refill(self, halted: Tensor, draws: Draws) -> None:
        """New puzzles and the initial state for the halted slots."""
        rows, questions, answers = self.puzzles.show(draws.numbers[:, self.part])
        column = halted.unsqueeze(1)
        self.rows = torch.where(halted, rows, self.rows)
        self.questions = torch.where(column, questions, self.questions)
        self.answers = torch.where(column, answers, self.answers)
        self.steps = torch.where(halted, 0, self.steps)
        self.state = self.network.reset_state(self.state, halted)
        if self.config.exploration_drawn == "episode":
            self.minimum_steps = torch.where(halted, draws.minimum_steps[self.part], self.minimum_steps)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that the next step of these slots depends on, with the slot as the first axis."""
        own = {name: getattr(self, name) for name in self.TENSORS}
        return own | {"z_h": self.state.z_h, "z_l": self.state.z_l, "q_features": self.continue_targets.features}

    def load(self, whole: dict[str, Any]) -> None:
        """Take this part out of the `tensors` of all slots.

        Raises:
            CheckpointError: another number of slots, or other shapes.
        """
        own = {name: torch.empty_like(tensor) for name, tensor in self.tensors().items()}
        for name, tensor in own.items():
            if len(whole[name]) != self.config.batch_size:
                raise CheckpointError(
                    f"checkpoint: {name} has {len(whole[name])} slots; this run expects batch_size = {self.config.batch_size}"
                )
            copy_into(tensor, whole[name][self.part], name)
        for name in self.TENSORS:
            setattr(self, name, own[name])
        self.state = State(own["z_h"], own["z_l"])
        self.continue_targets.features = own["q_features"]
