"""The interface of all backbones: `initial_state`, `step`, and the values that a step gives.

One `step` is what one environment step costs: `h_cycles` cycles, each `l_cycles` updates of the L module and one of the H module.
"""

from __future__ import annotations

import dataclasses
import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hrm_gym.agents.layers import (
    SWIGLUS,
    Attention,
    Block,
    Embedding,
    Linear,
    PuzzleEmbedding,
    SwiGLU,
    at_least_float32,
    rotary_tables,
    truncated_normal,
)
from hrm_gym.envs.errors import ConfigError

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}
POSITIONS = ("rope", "learned", "none")


class State(NamedTuple):
    """What the network carries from step to step, both [B, prefix + cells, hidden_size]; without hierarchy z_l is [B, 0, hidden_size]."""

    z_h: Tensor
    z_l: Tensor


class StepOutput(NamedTuple):
    """What one step gives.

    logits: [B, cells, vocabulary], the draft. q_halt, q_continue: float32[B], logits; their sigmoids are the estimated returns
    of handing the draft in now and of thinking on.
    """

    logits: Tensor
    q_halt: Tensor
    q_continue: Tensor


@dataclass(frozen=True)
class NetworkConfig:
    """The shape of a network.

    Attributes:
        backbone: a name of `agents.backbones.BACKBONES`; its module has a table of what each one is.
        cells: number of grid cells, the sequence length without puzzle embedding.
        vocabulary: number of tokens.
        hidden_size: width of a position's vector.
        heads: attention heads; divides hidden_size.
        expansion: width of the SwiGLU relative to hidden_size (before its factor 2/3).
        mlp_multiple: the SwiGLU's inner width is rounded up to a multiple of this (published: 256).
        h_layers, l_layers: blocks in the H and L module; TRM's kin have an L module only, the transformer one stack of both.
        h_cycles: cycles per step (1: each H cycle is a step; 2: the paper's segment).
        l_cycles: L updates per cycle; no part of the transformer.
        positions: "rope", "learned" or "none".
        puzzle_ids: number of rows of the puzzle embedding (ARC); 0 for none.
        puzzle_embedding_size: numbers per puzzle id; 0 for no puzzle embedding.
        puzzle_embedding_length: positions in front of the grid that it fills; 0 means as many as it needs.
        registers: learned vectors in front of everything, the same for all puzzles; the Q head reads the first. With 0 it reads the first
            position of the puzzle embedding or, without one, the first cell (as published).
        swiglu: "plain", or "normed", with a norm inside, for Muon.
        norm_eps, rope_theta: as published.
        precision: dtype of the forward pass, "float32", "bfloat16" or (for reference) "float64"; weights stay float32.
    """

    backbone: str = "hrm"
    cells: int = 81
    vocabulary: int = 11
    hidden_size: int = 512
    heads: int = 8
    expansion: float = 4.0
    mlp_multiple: int = 256
    h_layers: int = 4
    l_layers: int = 4
    h_cycles: int = 2
    l_cycles: int = 2
    positions: str = "rope"
    puzzle_ids: int = 0
    puzzle_embedding_size: int = 0
    puzzle_embedding_length: int = 0
    norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    precision: str = "float32"
    registers: int = 0
    swiglu: str = "plain"

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ConfigError(f"precision {self.precision!r} is unknown; expected one of {', '.join(PRECISIONS)}")
        if self.positions not in POSITIONS:
            raise ConfigError(f"positions {self.positions!r} is unknown; expected one of {', '.join(POSITIONS)}")
        if self.swiglu not in SWIGLUS:
            raise ConfigError(f"swiglu {self.swiglu!r} is unknown; expected one of {', '.join(SWIGLUS)}")
        if self.registers < 0:
            raise ConfigError(f"registers is {self.registers}; expected 0 or more")
        for name in ("cells", "vocabulary", "hidden_size", "heads", "h_cycles", "l_cycles", "l_layers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected at least 1")
        if self.hidden_size % self.heads or (self.hidden_size // self.heads) % 2:
            raise ConfigError(
                f"hidden_size {self.hidden_size} over {self.heads} heads is not an even whole number; choose another pair"
            )
        if self.puzzle_embedding_length and not 0 < self.puzzle_embedding_size <= self.puzzle_positions * self.hidden_size:
            raise ConfigError(
                f"puzzle_embedding_size {self.puzzle_embedding_size} does not fit puzzle_embedding_length {self.puzzle_embedding_length}; "
                f"expected 1 to {self.puzzle_positions * self.hidden_size} numbers, or length 0"
            )

    @property
    def puzzle_positions(self) -> int:
        """Positions that the puzzle embedding fills."""
        return self.puzzle_embedding_length or math.ceil(self.puzzle_embedding_size / self.hidden_size)

    @property
    def prefix(self) -> int:
        """Positions in front of the grid: the registers, then the puzzle embedding's."""
        return self.registers + self.puzzle_positions

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> NetworkConfig:
        """The inverse of `to_dict`.

        Raises:
            ConfigError: an unknown key.
        """
        known = {field.name for field in dataclasses.fields(NetworkConfig)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ConfigError(
                f"network configuration has unknown keys {', '.join(unknown)}; known are {', '.join(sorted(known))}"
            )
        return NetworkConfig(**values)


def q_features(state: State) -> Tensor:
    """What the Q head reads of a state: z_H at the first position, [B, hidden_size]."""
    return state.z_h[:, 0]


def read_q_values(head: Callable[[Tensor], Tensor], features: Tensor) -> tuple[Tensor, Tensor]:
    """Q-halt and Q-continue that a Q head gives for `features`, [..., hidden_size]: logits float32[...] each."""
    q = at_least_float32(head(features))
    return q[..., 0], q[..., 1]


class RecursiveNetwork(nn.Module):
    """Embedding, output head and Q head, shared by all backbones. A backbone adds its modules and `think`.

    Args:
        config: the shape.
        seed: of the initial weights and of the fixed initial state; the global generator is not touched.
    """

    # Starts of the latent state; buffers, never trained (published: fixed truncated normals of standard deviation 1).
    H_init: Tensor
    L_init: Tensor

    hierarchy = True  # whether there is a z_L beside z_H

    def __init__(self, config: NetworkConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        generator = torch.Generator().manual_seed(seed)
        size = config.hidden_size
        self.length = config.prefix + config.cells
        self.dtype = PRECISIONS[config.precision]
        self.embed_scale = math.sqrt(size)
        self.embed_tokens = Embedding(config.vocabulary, size, 1.0 / self.embed_scale, generator)
        self.lm_head = Linear(size, config.vocabulary, generator)
        self.q_head = Linear(size, 2, generator, bias=True)
        with torch.no_grad():  # pessimistic, equal start: nothing halts before it has learned to (published: bias -5)
            self.q_head.weight.zero_()
            self.q_head.bias.fill_(-5.0)  # type: ignore[union-attr]
        self.puzzle_emb = (
            PuzzleEmbedding(config.puzzle_ids, config.puzzle_embedding_size) if config.puzzle_embedding_size else None
        )
        self.embed_pos = (
            Embedding(self.length, size, 1.0 / self.embed_scale, generator) if config.positions == "learned" else None
        )
        if config.positions == "rope":
            cosines, sines = rotary_tables(self.length, size // config.heads, config.rope_theta)
            self.register_buffer("rotary_cosines", cosines, persistent=False)
            self.register_buffer("rotary_sines", sines, persistent=False)
        self.registers = Embedding(config.registers, size, 1.0 / self.embed_scale, generator) if config.registers else None
        self.register_buffer("H_init", truncated_normal((size,), 1.0, generator))
        self.register_buffer("L_init", truncated_normal((size,), 1.0, generator))
        self.build(generator)

    # -- what a backbone brings --------------------------------------------------------------------------------------

    @abstractmethod
    def build(self, generator: torch.Generator) -> None:
        """Create the backbone's modules, drawing their weights from `generator`."""

    @abstractmethod
    def think(self, state: State, embedded: Tensor, rotary: tuple[Tensor, Tensor] | None) -> State:
        """One step's cycles; gradient flows as the backbone's recipe says."""

    def mixing(self, generator: torch.Generator) -> nn.Module:
        """A new layer that mixes positions, as `Block` takes it."""
        return Attention(self.config.hidden_size, self.config.heads, generator)

    def swiglu(self, size: int, generator: torch.Generator) -> SwiGLU:
        """A new SwiGLU of this network's shape over an axis of `size`."""
        c = self.config
        return SwiGLU(size, c.expansion, c.mlp_multiple, generator, c.swiglu, c.norm_eps)

    def blocks(self, count: int, generator: torch.Generator) -> list[Block]:
        """`count` new blocks of this network's shape."""
        return [
            Block(self.mixing(generator), self.swiglu(self.config.hidden_size, generator), self.config.norm_eps)
            for _ in range(count)
        ]

    # -- the interface -------------------------------------------------------------------------------------------------

    def initial_state(self, batch_size: int) -> State:
        """The state before the first thought: the same fixed vector at every position."""

        def start(vector: Tensor, length: int) -> Tensor:
            return vector.to(self.dtype).expand(batch_size, length, self.config.hidden_size).clone()

        return State(start(self.H_init, self.length), start(self.L_init, self.length if self.hierarchy else 0))

    def reset_state(self, state: State, rows: Tensor) -> State:
        """`state` with the rows of the mask bool[B] put back to the initial state; no host synchronisation."""
        mask = rows.view(-1, 1, 1)
        return State(
            torch.where(mask, self.H_init.to(self.dtype), state.z_h),
            torch.where(mask, self.L_init.to(self.dtype), state.z_l),
        )

    def step(self, state: State, tokens: Tensor, puzzle_ids: Tensor | None = None) -> tuple[State, StepOutput]:
        """One step of thought.

        Args:
            state: from `initial_state` or an earlier step.
            tokens: integers [B, cells].
            puzzle_ids: integers [B], needed where the network has a puzzle embedding.

        Returns:
            The next state, detached from the graph (memory does not grow with depth), and the step's output, which carries
            the gradient.
        """
        return self.advance(state, tokens, None if puzzle_ids is None else self.puzzle_rows(puzzle_ids))

    def puzzle_rows(self, puzzle_ids: Tensor) -> Tensor | None:
        """The puzzle embedding of integers [B]: float32[B, puzzle_embedding_size]; None for a network without one."""
        return None if self.puzzle_emb is None else self.puzzle_emb(puzzle_ids)

    def advance(self, state: State, tokens: Tensor, puzzle_rows: Tensor | None = None) -> tuple[State, StepOutput]:
        """`step` with the rows of the puzzle embedding handed in.

        A trainer hands in rows that it has looked up itself, so that a table of a million rows never has a dense gradient.

        Args:
            puzzle_rows: float32[B, puzzle_embedding_size], from `puzzle_rows`; needed where the network has a puzzle embedding.
        """
        embedded = self.embed(tokens, puzzle_rows)
        state = self.think(state, embedded, self.rotary())
        output = self.read(state)
        return State(state.z_h.detach(), state.z_l.detach()), output

    def read(self, state: State) -> StepOutput:
        """Draft and Q values of a state."""
        logits = self.lm_head(state.z_h[:, self.config.prefix :])  # [B, cells, vocabulary]
        q_halt, q_continue = self.q_values(state)
        return StepOutput(logits, q_halt, q_continue)

    def q_values(self, state: State) -> tuple[Tensor, Tensor]:
        """Q-halt and Q-continue of a state, float32[B] each, read off the first position."""
        return read_q_values(self.q_head, q_features(state))

    # -- inside --------------------------------------------------------------------------------------------------------

    def rotary(self) -> tuple[Tensor, Tensor] | None:
        if self.config.positions != "rope":
            return None
        return self.rotary_cosines, self.rotary_sines  # type: ignore[return-value]

    def embed(self, tokens: Tensor, puzzle_rows: Tensor | None) -> Tensor:
        """Input embedding [B, prefix + cells, hidden_size]: registers, puzzle embedding, cells."""
        config, count = self.config, len(tokens)
        parts = [self.embed_tokens(tokens, self.dtype)]
        if self.puzzle_emb is not None:
            if puzzle_rows is None:
                raise ConfigError("this network has a puzzle embedding: give step() the puzzle_ids, integers [B]")
            missing = config.puzzle_positions * config.hidden_size - config.puzzle_embedding_size
            rows = nn.functional.pad(puzzle_rows.to(self.dtype), (0, missing))
            parts.insert(0, rows.view(count, config.puzzle_positions, config.hidden_size))
        if self.registers is not None:
            parts.insert(0, self.registers.embedding_weight.to(self.dtype).expand(count, -1, -1))
        embedded = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        if self.embed_pos is not None:
            # halves keep the variance of the sum of two embeddings at that of one
            embedded = math.sqrt(0.5) * (embedded + self.embed_pos.embedding_weight.to(self.dtype))
        return self.embed_scale * embedded
