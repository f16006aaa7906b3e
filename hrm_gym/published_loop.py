"""The published HRM training loop, stated again plainly, as the measure that ours is held against (`hrm-gym bench train`).

Written from the description of sapientinc/HRM's pretrain.py, hrm_act_v1.py and losses.py, not copied. Each optimiser step:

1. a whole batch is picked on the host and sent to the device; only the rows that halted take their new puzzle from it;
2. one step of thought, and a second one without gradient, whose Q values are the target of continuing;
3. stablemax cross entropy in float64, summed over the batch, and half of both Q losses;
4. AdamATan2 on all parameters;
5. the step's metrics go to the host, one copy of all of them, and the host waits for it.

It runs on our HRM modules, with torch's own attention in place of the shortcut for short sequences, and with our AdamATan2 (the published
one is a CUDA extension): what differs between the columns of the benchmark is the loop. Eager by default; the published code compiles the
forward pass where there is CUDA, which `compiled` does here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hrm_gym.agents.backbones import build_network
from hrm_gym.agents.device_puzzles import DevicePuzzles
from hrm_gym.agents.devices import choose_device
from hrm_gym.agents.layers import Attention, rotate
from hrm_gym.agents.network import RecursiveNetwork, State
from hrm_gym.envs.errors import ConfigError
from hrm_gym.train.config import TrainConfig
from hrm_gym.train.data import TrainingData
from hrm_gym.train.losses import IGNORED_LABEL, stablemax_log_probabilities
from hrm_gym.train.optimisers import AdamATan2, learning_rate_factor


class TorchAttention(Attention):
    """The same weights as `attention`, always through torch's fused attention."""

    def __init__(self, attention: Attention) -> None:
        nn.Module.__init__(self)
        self.heads, self.head_size = attention.heads, attention.head_size
        self.qkv_proj, self.o_proj = attention.qkv_proj, attention.o_proj

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor] | None) -> Tensor:
        batch, length, hidden = x.shape
        qkv = self.qkv_proj(x).view(batch, length, 3, self.heads, self.head_size).permute(2, 0, 3, 1, 4)
        if x.device.type == "cpu":
            qkv = qkv.contiguous()  # as ours: faster there
        query, key, value = qkv  # each [B, heads, length, head_size]
        if rotary is not None:
            query, key = rotate(query, *rotary), rotate(key, *rotary)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, length, hidden))


def use_torch_attention(network: nn.Module) -> None:
    """Put `TorchAttention` in the place of every attention of `network`."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is Attention:
                setattr(module, name, TorchAttention(child))


class Batch(NamedTuple):
    """Puzzles as the network reads them. inputs, labels: int32[B, cells], tokens (label -100: not counted); puzzle_ids: int32[B]."""

    inputs: Tensor
    labels: Tensor
    puzzle_ids: Tensor


class Carry(NamedTuple):
    """What a row takes along from step to step. steps: int32[B]; halted: bool[B], rows that get a new puzzle at the next step."""

    state: State
    steps: Tensor
    halted: Tensor
    puzzles: Batch


class PublishedLoop:
    """One training run by the published loop.

    Args:
        config: batch_size, max_steps, exploration, learning rate and its schedule, weight_decay, beta1, beta2, seed and device are used;
            loss, Q target and optimiser are the published ones whatever it says.
        network: an HRM without puzzle embedding; its attention is replaced by torch's.
        puzzles: all training puzzles, on the host.
        compiled: compile the forward pass with its losses.

    Attributes:
        optimiser_step: optimiser steps done.
        metrics: of the last step, on the host.

    Raises:
        ConfigError: the network has a puzzle embedding.
    """

    def __init__(self, config: TrainConfig, network: RecursiveNetwork, puzzles: Batch, compiled: bool = False) -> None:
        if network.puzzle_emb is not None:
            raise ConfigError(
                "the published loop is stated here for networks without puzzle embedding; choose a Sudoku or maze preset"
            )
        self.config = config
        self.device = choose_device(config.device)
        use_torch_attention(network)
        self.network = network.to(self.device).train()
        self.puzzles = puzzles
        self.host_random = np.random.default_rng([config.seed, 11])
        self.exploration_stream = torch.Generator(self.device).manual_seed(config.seed)
        self.optimiser = AdamATan2(
            self.network.parameters(), config.learning_rate, (config.beta1, config.beta2), config.weight_decay
        )
        self.optimiser_step = 0
        self.metrics: dict[str, float] = {}
        self._halted_so_far = 0
        self._forward = torch.compile(self.losses, dynamic=False) if compiled else self.losses
        rows = config.batch_size
        # empty: every row counts as halted, so that the first step fills it
        self.carry = Carry(
            self.network.initial_state(rows),
            torch.zeros(rows, dtype=torch.int32, device=self.device),
            torch.ones(rows, dtype=torch.bool, device=self.device),
            Batch(*(torch.zeros((rows, *tensor.shape[1:]), dtype=tensor.dtype, device=self.device) for tensor in puzzles)),
        )

    @staticmethod
    def on(data: TrainingData, config: TrainConfig, compiled: bool = False) -> PublishedLoop:
        """The loop on the training puzzles of `data`, as they are in the list, with the network that `config` describes."""
        listed = DevicePuzzles(data.family, data.train, torch.device("cpu"))
        puzzles = Batch(
            listed.code.tokens(listed.questions).int(), listed.code.tokens(listed.answers).int(), listed.puzzle_ids.int()
        )
        network = build_network(config.network(data.family, data.puzzle_ids), config.seed)
        return PublishedLoop(config, network, puzzles, compiled)

    def step(self) -> None:
        """One optimiser step on puzzles drawn at random."""
        self.train_batch(self.draw())

    def draw(self) -> Batch:
        """A batch of puzzles, on the host."""
        rows = torch.from_numpy(self.host_random.integers(len(self.puzzles.inputs), size=self.config.batch_size))
        return Batch(*(tensor[rows] for tensor in self.puzzles))

    def finished(self) -> int:
        """Puzzles that halted since the last call."""
        count, self._halted_so_far = self._halted_so_far, 0
        return count

    def spread_steps(self) -> None:
        """Give the rows puzzles at all the depths that there are in the middle of a run, 0 to max_steps - 1."""
        self.carry = self.carry._replace(
            steps=torch.arange(self.config.batch_size, dtype=torch.int32, device=self.device) % self.config.max_steps,
            halted=torch.zeros_like(self.carry.halted),
            puzzles=Batch(*(tensor.to(self.device) for tensor in self.draw())),
        )

    def train_batch(self, batch: Batch) -> None:
        """One optimiser step; the rows that halted before take their puzzle from `batch`."""
        batch = Batch(*(tensor.to(self.device) for tensor in batch))
        random = torch.rand((2, len(batch.inputs)), generator=self.exploration_stream, device=self.device)
        self.carry, loss, metrics = self._forward(self.carry, batch, random)
        (loss / self.config.batch_size).backward()
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * learning_rate_factor(self.optimiser_step, self.config)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.optimiser_step += 1

        values = torch.stack([value.to(torch.float32) for value in metrics.values()]).cpu().tolist()  # here the host waits
        sums = dict(zip(metrics, values, strict=True))
        count = sums.pop("count")
        self._halted_so_far += int(count)
        self.metrics = {
            name: value / (self.config.batch_size if name.endswith("loss") else max(count, 1.0)) for name, value in sums.items()
        }

    def losses(self, carry: Carry, batch: Batch, random: Tensor) -> tuple[Carry, Tensor, dict[str, Tensor]]:
        """One step of thought of every row, and what it costs.

        Args:
            carry: of the step before.
            batch: puzzles for the rows that halted there.
            random: float32[2, B], 0..1, whether a row explores and how long it then has to think at least.

        Returns:
            The next carry; the loss, summed over the batch; and the step's sums, scalar tensors on the device.
        """
        config, network = self.config, self.network
        state = network.reset_state(carry.state, carry.halted)
        steps = torch.where(carry.halted, 0, carry.steps)
        puzzles = Batch(
            *(
                torch.where(carry.halted.view(-1, *(1,) * (new.ndim - 1)), new, old)
                for new, old in zip(batch, carry.puzzles, strict=True)
            )
        )
        state, output = network.step(state, puzzles.inputs, puzzles.puzzle_ids)
        steps = steps + 1

        with torch.no_grad():
            last = steps >= config.max_steps
            # with probability `exploration` a random minimum of 2..max_steps, drawn anew at each step
            minimum = (random[0] < config.exploration) * (2 + (random[1] * (config.max_steps - 1)).int())
            halted = last | ((output.q_halt > output.q_continue) & (steps >= minimum))
            _, following = network.step(state, puzzles.inputs, puzzles.puzzle_ids)
            best = torch.maximum(following.q_halt, following.q_continue)
            target = torch.sigmoid(torch.where(last, following.q_halt, best))

            labels = puzzles.labels.long()
            counted = labels != IGNORED_LABEL
            cells = counted.sum(-1)
            right_cells = counted & (output.logits.argmax(-1) == labels)
            right = right_cells.sum(-1) == cells

        log_probabilities = stablemax_log_probabilities(output.logits)
        picked = log_probabilities.gather(-1, torch.where(counted, labels, 0).unsqueeze(-1)).squeeze(-1)
        draft_loss = (-torch.where(counted, picked, 0.0) / cells.clamp(min=1).unsqueeze(-1)).sum()
        halt_loss = F.binary_cross_entropy_with_logits(output.q_halt, right.to(output.q_halt.dtype), reduction="sum")
        continue_loss = F.binary_cross_entropy_with_logits(output.q_continue, target, reduction="sum")
        loss = draft_loss + 0.5 * (halt_loss + continue_loss)

        with torch.no_grad():
            metrics = {
                "count": halted.sum(),
                "accuracy": torch.where(halted, right_cells.sum(-1) / cells.clamp(min=1), 0.0).sum(),
                "exact_accuracy": (halted & right).sum(),
                "halt_accuracy": (halted & ((output.q_halt >= 0) == right)).sum(),
                "steps": torch.where(halted, steps, 0).sum(),
                "loss": loss.detach(),
                "draft_loss": draft_loss.detach(),
                "halt_loss": halt_loss.detach(),
                "continue_loss": continue_loss.detach(),
            }
        return Carry(state, steps, halted, puzzles), loss, metrics
