"""The control: a decoder-only transformer that writes its answer cell by cell, with or without a solver's steps in front.

HRM thinks in a hidden state and gives the whole grid at once. `WrittenOutNetwork` has about as many parameters, built of the same blocks
with causal attention, and thinks by writing:

    slot      0 .. C-1      C .. C+T-1             C+T      C+T+1 .. 2C+T-1
    token     question      trace (may be short)   marker   answer, all cells but the last
    predicts  from the last question cell on: the trace, its end (the marker), and from the marker on the C answer cells

C cells, room T for the trace (0: none is written). The marker always stands in slot C + T, so that an answer cell has the same position
whatever the trace's length; unused slots are seen by nobody. The tokens are the family's for values, then the marker, then one for
each cell.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn

from hrm_gym.agents.agent import DESCRIPTION_FILE, FORMAT, WEIGHTS_FILE, find_agent, write_whole
from hrm_gym.agents.backbones import build_network
from hrm_gym.agents.device_puzzles import DevicePuzzles, GridCode
from hrm_gym.agents.devices import choose_device
from hrm_gym.agents.halting import Fixed, HaltingStrategy, halting_strategy
from hrm_gym.agents.layers import SWIGLUS, Attention, Block, Embedding, Linear, SwiGLU, rms_norm, rotary_tables, rotate
from hrm_gym.agents.network import POSITIONS, PRECISIONS, NetworkConfig
from hrm_gym.agents.published import load_weights, read_state_dict
from hrm_gym.agents.solving import Solutions, as_tensor
from hrm_gym.envs.errors import CheckpointError, ConfigError, PuzzleError
from hrm_gym.envs.family import Family
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.registry import make_family
from hrm_gym.envs.traces import trace_lengths

KIND = "written-out"  # in agent.json
NO_LABEL = -100
CLOSEST_MATCH = 0.02  # share by which the number of parameters may differ from the matched network's


@dataclass(frozen=True)
class WrittenOutConfig:
    """The shape of a network that writes.

    Attributes:
        cells: number of grid cells, C.
        vocabulary: number of the family's tokens.
        trace_length: most trace tokens, T; 0: the answer is written at once.
        hidden_size: width of a position's vector.
        heads: attention heads; divides hidden_size.
        layers: blocks.
        inner_size: inner width of their SwiGLUs.
        positions: "learned", "rope", or "none" (then only the causal order tells positions apart).
        swiglu, norm_eps, rope_theta, precision: as in `agents.network.NetworkConfig`.
    """

    cells: int
    vocabulary: int
    trace_length: int
    hidden_size: int
    heads: int
    layers: int
    inner_size: int
    positions: str = "learned"
    swiglu: str = "plain"
    norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    precision: str = "float32"

    def __post_init__(self) -> None:
        for name, choices in (("positions", POSITIONS), ("swiglu", SWIGLUS), ("precision", tuple(PRECISIONS))):
            if getattr(self, name) not in choices:
                raise ConfigError(f"{name} {getattr(self, name)!r} is unknown; expected one of {', '.join(choices)}")
        for name, least in (
            ("cells", 1),
            ("vocabulary", 1),
            ("trace_length", 0),
            ("heads", 1),
            ("layers", 1),
            ("inner_size", 1),
        ):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected at least {least}")
        if self.hidden_size < 1 or self.hidden_size % self.heads or (self.hidden_size // self.heads) % 2:
            raise ConfigError(
                f"hidden_size {self.hidden_size} over {self.heads} heads is not an even whole number; choose another pair"
            )

    @property
    def length(self) -> int:
        """Slots: question, trace, marker, and all answer cells but the last."""
        return 2 * self.cells + self.trace_length

    @property
    def marker(self) -> int:
        """The token that ends the trace and starts the answer."""
        return self.vocabulary

    @property
    def tokens(self) -> int:
        """Number of tokens: values, marker and, where a trace is written, cells."""
        return self.vocabulary + 1 + (self.cells if self.trace_length else 0)

    @property
    def parameters(self) -> int:
        """Number of parameters of the network."""
        tables = 2 * self.tokens + (self.length if self.positions == "learned" else 0)
        return self.hidden_size * (tables + self.layers * (4 * self.hidden_size + 3 * self.inner_size))

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def matched_config(network: NetworkConfig, trace_length: int) -> WrittenOutConfig:
    """The writing network with as many parameters as `network`, 2 % more or less.

    It has the same hidden size, heads and number of blocks (HRM: those of H and L together). The inner width of the SwiGLUs makes the
    numbers equal, since the longer position table and the tokens of the trace take parameters that a hidden-state network has not.
    Where that would leave less than half the hidden size, there is a block less. A network without positions (a mixer knows them without)
    is matched by one with rotary positions.

    Args:
        network: of the agent that is compared with.
        trace_length: most trace tokens; 0: no trace.

    Raises:
        ConfigError: a network with a puzzle embedding, or so small that the tables alone take more.
    """
    if network.puzzle_embedding_size:
        raise ConfigError("a network with a puzzle embedding (ARC) has no written-out control; take sudoku or maze")
    other = build_network(network)
    wanted = sum(parameter.numel() for parameter in other.parameters())
    blocks = sum(isinstance(module, Block) for module in other.modules())
    for layers in range(blocks, 0, -1):
        config = WrittenOutConfig(
            cells=network.cells,
            vocabulary=network.vocabulary,
            trace_length=trace_length,
            hidden_size=network.hidden_size,
            heads=network.heads,
            layers=layers,
            inner_size=1,
            positions="rope" if network.positions == "none" else network.positions,
            swiglu=network.swiglu,
            norm_eps=network.norm_eps,
            rope_theta=network.rope_theta,
            precision=network.precision,
        )
        inner = 1 + round((wanted - config.parameters) / (3 * layers * network.hidden_size))
        if inner < max(1, network.hidden_size // 2):
            continue
        config = dataclasses.replace(config, inner_size=inner)
        if abs(config.parameters - wanted) <= CLOSEST_MATCH * wanted:
            return config
    raise ConfigError(
        f"no writing network has the {wanted:,} parameters of this {network.backbone}: its tables for {network.cells} cells and "
        f"{trace_length} trace tokens are too large; choose a larger hidden_size, or positions=rope"
    )


# -- the network -----------------------------------------------------------------------------------------------------------

Cache = tuple[Tensor, Tensor]  # keys and values of all slots, [B, heads, length, head_size] each


class CausalBlock(Block):
    """A `Block` in which each position attends to itself and those before it."""

    def read(
        self, x: Tensor, rotary: tuple[Tensor, Tensor] | None, seen: Tensor | None, cache: Cache | None, first: int
    ) -> Tensor:
        """Positions `first` and on, [B, n, hidden_size] -> the same shape; arguments as for `WrittenOutNetwork.read`."""
        batch, length, hidden = x.shape
        attention = self.self_attn
        assert isinstance(attention, Attention)
        heads, head_size = attention.heads, attention.head_size
        qkv = attention.qkv_proj(x).view(batch, length, 3, heads, head_size).permute(2, 0, 3, 1, 4)
        query, key, value = qkv  # each [B, heads, n, head_size]
        if rotary is not None:
            query, key = rotate(query, *rotary), rotate(key, *rotary)
        if cache is not None:
            cache[0][:, :, first : first + length] = key
            cache[1][:, :, first : first + length] = value
            key, value = (kept[:, :, : first + length] for kept in cache)
        # one position alone may see all that is there; without `seen` nothing is hidden but what comes later
        causal = seen is None and length > 1
        mixed = F.scaled_dot_product_attention(query, key, value, seen, is_causal=causal)
        x = rms_norm(x + attention.o_proj(mixed.transpose(1, 2).reshape(batch, length, hidden)), self.eps)
        return rms_norm(x + self.mlp(x), self.eps)


class Decoder(nn.Module):
    """A stack of causal blocks."""

    def __init__(self, blocks: list[CausalBlock]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(blocks)


class WrittenOutNetwork(nn.Module):
    """A decoder-only transformer over question, trace and answer.

    Args:
        config: the shape.
        seed: of the initial weights; the global generator is not touched.
    """

    def __init__(self, config: WrittenOutConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        generator = torch.Generator().manual_seed(seed)
        size = config.hidden_size
        self.dtype = PRECISIONS[config.precision]
        self.embed_scale = math.sqrt(size)
        self.embed_tokens = Embedding(config.tokens, size, 1.0 / self.embed_scale, generator)
        self.lm_head = Linear(size, config.tokens, generator)
        self.embed_pos = None
        if config.positions == "learned":
            self.embed_pos = Embedding(config.length, size, 1.0 / self.embed_scale, generator)
        if config.positions == "rope":
            cosines, sines = rotary_tables(config.length, size // config.heads, config.rope_theta)
            self.register_buffer("rotary_cosines", cosines, persistent=False)
            self.register_buffer("rotary_sines", sines, persistent=False)
        expansion = 1.5 * config.inner_size / size  # `swiglu_size` takes it back: the inner width is exactly `inner_size`
        self.decoder = Decoder(
            [
                CausalBlock(
                    Attention(size, config.heads, generator),
                    SwiGLU(size, expansion, 1, generator, config.swiglu, config.norm_eps),
                    config.norm_eps,
                )
                for _ in range(config.layers)
            ]
        )

    def forward(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        """Hidden vectors of whole sequences.

        Args:
            tokens: int64[B, length].
            valid: bool[B, length], False in unused slots; None where there is none.

        Returns:
            [B, length, hidden_size]; `lm_head` makes the next token's logits of them.
        """
        seen = None
        if valid is not None:
            length = tokens.shape[1]
            causal = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril()
            seen = causal & valid[:, None, None, :]  # [B, 1, length, length]
        return self.read(tokens, 0, seen)

    def read(self, tokens: Tensor, first: int, seen: Tensor | None = None, caches: list[Cache] | None = None) -> Tensor:
        """Hidden vectors of the slots from `first` on.

        Args:
            tokens: int64[B, n], those of slots first..first+n-1.
            seen: bool[B, 1, n, first + n] (or broadcast), which slots each of them sees; None: all up to its own.
            caches: for each block; they hold the slots before `first` and get these. Needed where first is not 0.

        Returns:
            [B, n, hidden_size].
        """
        count = tokens.shape[1]
        x = self.embed_tokens(tokens, self.dtype)
        if self.embed_pos is not None:
            positions = self.embed_pos.embedding_weight[first : first + count].to(self.dtype)
            x = math.sqrt(0.5) * (x + positions)  # halves keep the variance of the sum of two embeddings at that of one
        x = self.embed_scale * x
        rotary = None
        if self.config.positions == "rope":
            cosines, sines = self.rotary_cosines, self.rotary_sines
            rotary = (cosines[first : first + count], sines[first : first + count])  # type: ignore[index]
        for index, block in enumerate(self.decoder.layers):
            x = block.read(x, rotary, seen, None if caches is None else caches[index], first)  # type: ignore[operator]
        return x

    def empty_caches(self, batch: int) -> list[Cache]:
        """Room for the keys and values of all slots of all blocks."""
        config, device = self.config, self.lm_head.weight.device
        shape = (batch, config.heads, config.length, config.hidden_size // config.heads)
        return [
            (torch.zeros(shape, dtype=self.dtype, device=device), torch.zeros(shape, dtype=self.dtype, device=device))
            for _ in range(config.layers)
        ]


# -- sequences ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sequences:
    """B puzzles written out, for teacher forcing.

    Attributes:
        tokens: int64[B, length].
        valid: bool[B, length], False in unused slots; None without a trace.
        labels: int64[B, length], the token to predict at each slot, or -100.
    """

    tokens: Tensor
    valid: Tensor | None
    labels: Tensor


def write_sequences(
    config: WrittenOutConfig, code: GridCode, questions: Tensor, answers: Tensor, traces: np.ndarray | None = None
) -> Sequences:
    """Question, trace and answer as the network reads and writes them.

    Args:
        config: the network's shape.
        code: the family's tokens, on the device of the grids.
        questions, answers: uint8[B, C].
        traces: int32[B, n] of `envs.traces.trace`; None without a trace.

    Raises:
        PuzzleError: a trace longer than the network has room for.
    """
    cells, room, device = config.cells, config.trace_length, questions.device
    asked, answered = code.tokens(questions), code.tokens(answers)
    batch = len(asked)
    tokens = torch.full((batch, config.length), config.marker, dtype=torch.int64, device=device)
    labels = torch.full_like(tokens, NO_LABEL)
    tokens[:, :cells] = asked
    tokens[:, cells + room + 1 :] = answered[:, :-1]
    labels[:, cells + room :] = answered
    if not room:
        return Sequences(tokens, None, labels)
    if traces is None:
        raise PuzzleError("this network writes traces; give those of the puzzles, from hrm_gym.envs.traces.trace")
    lengths = trace_lengths(traces)
    if lengths.size and lengths.max() > room:
        raise PuzzleError(f"trace {int(lengths.argmax())} has {lengths.max()} entries; the network has room for {room}")
    entries = torch.full((batch, room), -1, dtype=torch.int64, device=device)
    given = as_tensor(np.ascontiguousarray(traces[:, :room]).astype(np.int64), device)
    entries[:, : given.shape[1]] = given
    valid = torch.ones_like(tokens, dtype=torch.bool)
    valid[:, cells : cells + room] = entries >= 0
    written = trace_tokens(config, code, entries)
    tokens[:, cells : cells + room] = written
    labels[:, cells - 1 : cells - 1 + room] = torch.where(entries >= 0, written, NO_LABEL)
    end = as_tensor(lengths, device).unsqueeze(1) + cells - 1  # the slot of the last entry predicts the marker
    labels.scatter_(1, end, config.marker)
    return Sequences(tokens, valid, labels)


def trace_tokens(config: WrittenOutConfig, code: GridCode, entries: Tensor) -> Tensor:
    """Tokens of trace entries int64[...] (cell, cells + value, or -1, which becomes the marker)."""
    values = code.token_of_value[(entries - config.cells).clamp(min=0)]
    cells = torch.where(entries < 0, config.marker, config.vocabulary + 1 + entries)
    return torch.where(entries >= config.cells, values, cells)


@dataclass(frozen=True)
class Written:
    """What a network wrote for B puzzles.

    Attributes:
        drafts: uint8[B, C].
        trace: int64[B, T], the tokens of the trace; the marker after its end.
        trace_lengths: int64[B]; T where it did not end within the room and the answer was made to begin.
        ended: bool[B], whether it wrote the end itself (True without a trace).
        probabilities: float32[B], of the whole answer given the trace: the product of the softmax probabilities of its tokens.
    """

    drafts: Tensor
    trace: Tensor
    trace_lengths: Tensor
    ended: Tensor
    probabilities: Tensor


@torch.no_grad()
def write(network: WrittenOutNetwork, code: GridCode, questions: Tensor) -> Written:
    """Write trace and answer for `questions`, uint8[B, C], token by token, always the likeliest.

    Keys and values of what is written are kept, so that each token costs one position. A trace takes tokens that can stand in one (values,
    cells, its end); an answer takes values.
    """
    config, device, batch = network.config, questions.device, len(questions)
    cells, room = config.cells, config.trace_length
    caches = network.empty_caches(batch)
    valid = torch.zeros(batch, config.length, dtype=torch.bool, device=device)
    valid[:, :cells] = True
    hidden = network.read(code.tokens(questions), 0, caches=caches)[:, -1]

    def advance(tokens: Tensor, slot: int) -> Tensor:
        """The hidden vector [B, hidden_size] after `tokens`, int64[B], in `slot`."""
        return network.read(tokens.unsqueeze(1), slot, valid[:, None, None, : slot + 1], caches)[:, -1]

    trace = torch.full((batch, room), config.marker, dtype=torch.int64, device=device)
    writing = torch.ones(batch, dtype=torch.bool, device=device)
    in_a_trace = torch.zeros(config.tokens, dtype=torch.bool, device=device)
    in_a_trace[code.token_of_value] = True
    in_a_trace[config.vocabulary :] = True

    def likeliest(hidden: Tensor) -> Tensor:
        """The next token of a trace, int64[B]."""
        return network.lm_head(hidden).masked_fill(~in_a_trace, -math.inf).argmax(-1)

    for place in range(room):
        token = likeliest(hidden)
        writing = writing & (token != config.marker)
        if not writing.any():
            break
        trace[:, place] = torch.where(writing, token, config.marker)
        valid[:, cells + place] = writing
        hidden = advance(trace[:, place], cells + place)
    ended = ~writing
    if room and bool(writing.any()):  # a full trace may still be followed by its end
        ended = ended | (likeliest(hidden) == config.marker)

    if not room:
        ended = torch.ones_like(ended)

    drafts = torch.empty(batch, cells, dtype=torch.uint8, device=device)
    log_probability = torch.zeros(batch, device=device)
    token = torch.full((batch,), config.marker, dtype=torch.int64, device=device)
    for cell in range(cells):
        valid[:, cells + room + cell] = True
        logits = network.lm_head(advance(token, cells + room + cell))
        drafts[:, cell] = code.draft(logits.unsqueeze(1))[:, 0]
        token = code.token_of_value[drafts[:, cell].long()]
        log_probability += F.log_softmax(logits.float(), dim=-1).gather(1, token.unsqueeze(1)).squeeze(1)
    return Written(drafts, trace, valid[:, cells : cells + room].sum(1), ended, log_probability.exp())


def writing_flops(config: WrittenOutConfig, trace_lengths: np.ndarray) -> np.ndarray:
    """Forward FLOPs that one puzzle alone takes to be written, a multiplication and an addition counted as two: float64[N].

    Only matrix products are counted, as `torch.utils.flop_counter` does; the question is attended to in full, causal or not. In a batch a
    puzzle whose trace has ended waits for the others; that is not counted.

    Args:
        trace_lengths: int64[N], trace tokens written.
    """
    size, cells = config.hidden_size, config.cells
    traced = np.asarray(trace_lengths, np.float64)
    positions = 2 * cells + traced  # question, trace, marker, answer but the last cell
    alone = cells + traced  # those written one at a time, each of which sees itself and all before
    keys = cells * cells + alone * cells + alone * (alone + 1) / 2
    heads = cells + (traced + 1 if config.trace_length else 0)  # the trace's end is looked for once more than it has tokens
    linear = 2.0 * config.layers * (4 * size * size + 3 * size * config.inner_size) * positions
    return linear + 4.0 * config.layers * size * keys + 2.0 * size * config.tokens * heads


# -- the agent ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WrittenSolutions(Solutions):
    """The answers to N puzzles that were written out. `steps` are 1: the draft is handed in at the first step. `halt_values` are the
    network's probability of the whole answer that it wrote, `continue_values` 0.

    Attributes:
        tokens: int64[N], tokens written: the trace, its end and the answer.
        trace_ended: bool[N], whether the trace ended within the room for it.
        flops: float64[N], forward FLOPs spent on each puzzle, see `writing_flops`.
    """

    tokens: np.ndarray
    trace_ended: np.ndarray
    flops: np.ndarray

    @property
    def mean_tokens(self) -> float:
        return float(self.tokens.mean()) if len(self) else float("nan")


@dataclass
class LastWritten:
    """What `WrittenOutAgent.predict` hands back as state. It carries nothing from step to step.

    Attributes:
        values: float32[B, 2]: the probability of the answer, and 0 for thinking on.
    """

    values: np.ndarray


class WrittenOutAgent:
    """An agent that writes its answer out and hands it in at the first step.

    Args:
        network: is moved to `device` and set to evaluation.
        family: the puzzles it knows, with rules of their own (Sudoku, maze).
        device: "auto", "cpu", "cuda" or "mps".
        description: what `save` writes beside the weights.

    Raises:
        ConfigError: a network of another size than the family's grids.
        DeviceError: the device is not there.
    """

    max_steps = 1

    def __init__(
        self,
        network: WrittenOutNetwork,
        family: Family,
        device: str | torch.device = "auto",
        description: Mapping[str, Any] | None = None,
    ) -> None:
        if network.config.cells != family.cells or network.config.vocabulary != family.vocabulary:
            raise ConfigError(
                f"the network is for {network.config.cells} cells and {network.config.vocabulary} tokens; "
                f"{family.name} {family.shape[0]} x {family.shape[1]} has {family.cells} and {family.vocabulary}"
            )
        self.device = choose_device(device) if isinstance(device, str) else device
        self.network = network.to(self.device).eval()
        self.family = family
        self.halting: HaltingStrategy = Fixed(1)
        self.description = dict(description or {})
        self.code = GridCode(family, self.device)

    def predict(
        self,
        observation: Mapping[str, Any],
        state: LastWritten | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = True,
    ) -> tuple[np.ndarray, LastWritten]:
        """The written answer, with halt, in the signature of a recurrent policy of Stable-Baselines3.

        Args:
            observation: of one environment (`question` uint8[H, W]) or of B (`question` uint8[B, H, W]).
            state, episode_start: not needed; every question is answered anew.
            deterministic: the agent always is; the argument stands for the signature's sake.

        Returns:
            Actions int64[cells + 1] (or [B, cells + 1]), and a state whose `values` are for `env.unwrapped.note_values`.

        Raises:
            PuzzleError: questions that do not fit the family.
        """
        question = np.asarray(observation["question"])
        questions = self.family.check_grids(question)
        written = write(self.network, self.code, as_tensor(questions.reshape(len(questions), -1), self.device))
        halt = torch.ones(len(questions), 1, dtype=torch.int64, device=self.device)
        actions = torch.cat((written.drafts.long(), halt), dim=1).cpu().numpy()
        values = torch.stack((written.probabilities, torch.zeros_like(written.probabilities)), dim=1).cpu().numpy()
        return (actions[0] if question.ndim == 2 else actions), LastWritten(values)

    def solve(
        self,
        questions: np.ndarray | Puzzles,
        halting: str | HaltingStrategy | None = None,
        max_steps: int | None = None,
        slots: int = 256,
        progress: Callable[[int], None] | None = None,
    ) -> WrittenSolutions:
        """Solve many puzzles, `slots` at a time.

        Args:
            questions: uint8[N, H, W], or `Puzzles` (which saves solving them again for their facts).
            halting: None or "fixed(1)": there is nothing to decide.
            max_steps: one step is taken, whatever more is allowed.
            slots: puzzles written at once.
            progress: called with the number of finished puzzles.

        Raises:
            PuzzleError: questions that do not fit the family, or that have no or several solutions.
            ConfigError: another halting strategy, or a number below 1.
        """
        if halting is not None and str(halting_strategy(halting)) != str(self.halting):
            raise ConfigError(
                f"halting {str(halting)!r} was asked for, but an agent that writes halts after its one step; "
                f"leave it out, or give {self.halting}"
            )
        for name, value in (("max_steps", max_steps), ("slots", slots)):
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; expected at least 1")
        if not isinstance(questions, Puzzles):
            questions = self.family.puzzles_from_questions(self.family.check_grids(questions))
        self.family.check_grids(questions.questions)
        puzzles = DevicePuzzles(self.family, questions, self.device)
        count, cells = len(questions), self.family.cells
        drafts = np.zeros((count, cells), np.uint8)
        probabilities = np.zeros(count, np.float32)
        lengths, ended = np.zeros(count, np.int64), np.ones(count, bool)
        verified = np.zeros(count, bool)
        for first in range(0, count, slots):
            part = slice(first, min(first + slots, count))
            written = write(self.network, self.code, puzzles.questions[part])
            rows = torch.arange(part.start, part.stop, device=self.device)
            verified[part] = puzzles.solved(rows, written.drafts).cpu().numpy()
            drafts[part] = written.drafts.cpu().numpy()
            probabilities[part] = written.probabilities.cpu().numpy()
            lengths[part] = written.trace_lengths.cpu().numpy()
            ended[part] = written.ended.cpu().numpy()
            if progress is not None:
                progress(part.stop)
        config = self.network.config
        return WrittenSolutions(
            drafts=drafts.reshape(questions.questions.shape),
            verified=verified,
            steps=np.ones(count, np.int64),
            halt_values=probabilities,
            continue_values=np.zeros(count, np.float32),
            finished=np.ones(count, bool),
            tokens=lengths + cells + (ended if config.trace_length else 0),
            trace_ended=ended,
            flops=writing_flops(config, lengths),
        )

    # -- files ---------------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> Path:
        """Write `agent.json` and `weights.safetensors` into `folder`, each whole or not at all."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        description = {**self.description, "format": FORMAT, "kind": KIND, "network": self.network.config.to_dict()}
        description |= {"max_steps": self.max_steps, "family": self.family.name, "size": self.family.shape[0]}
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.network.state_dict().items()}
        write_whole(folder / WEIGHTS_FILE, save(weights))
        write_whole(folder / DESCRIPTION_FILE, json.dumps(description, indent=2).encode())
        return folder

    @staticmethod
    def from_pretrained(name_or_path: str | Path, device: str = "auto") -> WrittenOutAgent:
        """An agent from a folder that `save` or a training run wrote, or from the hub, as `HRMAgent.from_pretrained` finds it.

        Raises:
            CheckpointError: no such agent, one of another kind, or a broken file.
            DeviceError: the device is not there.
        """
        folder = find_agent(name_or_path)
        file = folder / DESCRIPTION_FILE
        try:
            description = json.loads(file.read_text())
            if description.get("kind") != KIND:
                raise CheckpointError(f"{file} describes no agent that writes; load it with hrm_gym.agents.load_agent")
            network = WrittenOutNetwork(WrittenOutConfig(**description["network"]))
            family = make_family(description["family"], int(description["size"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, CheckpointError):
                raise
            if isinstance(error, ConfigError):
                raise CheckpointError(f"{file}: {error}") from None
            raise CheckpointError(f"{file} is not an agent's description ({type(error).__name__}: {error})") from None
        load_weights(network, read_state_dict(folder / WEIGHTS_FILE), str(folder / WEIGHTS_FILE))
        extra = {key: value for key, value in description.items() if key not in ("format", "kind", "max_steps", "network")}
        return WrittenOutAgent(network, family, device, extra)
