"""A second family of latent reasoners: TRM's recursion over blocks in which attention stands beside a state-space scan.

Half of each block's heads attend, as in TRM; the other half run a selective state-space scan (Mamba-2, Dao and Gu, 2405.21060)
in both directions over the positions, cells row by row. Heads of both kinds side by side are Hymba's idea (2411.13676);
Mamba-2 and attention in TRM's recursion were tried on ARC by Wang and Reid (2602.12078).

Each scanning head keeps a matrix h, [head_size, head_size], and reads it at every position t (forward direction):

    h_t = exp(-step_t * rate) h_(t-1) + step_t * key_t value_t^T        read_t = query_t h_t

`step_t` > 0 depends on the input: a large one forgets what came before and takes the position in, a small one passes over it.
Keys and queries are Mamba-2's B and C, one pair for each head. Left out of Mamba-2 is its short convolution along the sequence,
which in a grid would only see neighbours in the row.

No loop over positions: within a chunk of positions the recurrence is a matrix product masked with decays (the paper's dual
form), from chunk to chunk a small one between summed-up chunks. Decays are differences of cumulated logarithms that are never
above 0, so nothing overflows.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hrm_gym.agents.layers import Linear, at_least_float32, attend, rms_norm, rotate
from hrm_gym.agents.network import NetworkConfig
from hrm_gym.agents.trm import TRM
from hrm_gym.envs.errors import ConfigError

LONGEST_CHUNK = 128  # positions; up to this length the scan is one masked matrix product


def scan_both_ways(
    query: Tensor, key: Tensor, value: Tensor, forward: Tensor, backward: Tensor, longest_chunk: int = LONGEST_CHUNK
) -> Tensor:
    """A gated linear recurrence over the positions in both directions, every position seen once.

    Position i reads, from every j, `(query_i . key_j) value_j` times the decay between them: for j < i the product of exp(forward) over
    j+1..i, for j > i that of exp(backward) over i..j-1, for j = i one.

    Args:
        query, key, value: [B, heads, length, head_size].
        forward, backward: [B, heads, length], logarithms of the decays at each position, at most 0, float32 or wider.
        longest_chunk: positions in a chunk at most.

    Returns:
        [B, heads, length, head_size].
    """
    batch, heads, length, size = query.shape
    chunks = -(length // -longest_chunk)
    chunk = -(length // -chunks)
    missing = chunks * chunk - length
    if missing:  # positions behind the end: their keys are zero, so nobody sees them
        query, key, value = (F.pad(x, (0, 0, 0, missing)) for x in (query, key, value))
        forward, backward = (F.pad(x, (0, missing)) for x in (forward, backward))
    query, key, value = (x.reshape(batch, heads, chunks, chunk, size) for x in (query, key, value))
    forward, backward = (x.reshape(batch, heads, chunks, chunk) for x in (forward, backward))

    # inside a chunk
    upto = forward.cumsum(-1)  # of the positions up to and with this one
    before = backward.cumsum(-1) - backward  # of the positions before this one
    row = torch.arange(chunk, device=query.device)
    earlier = row.unsqueeze(1) >= row  # [i, j]: j is not behind i
    logs = torch.where(earlier, upto.unsqueeze(-1) - upto.unsqueeze(-2), before.unsqueeze(-2) - before.unsqueeze(-1))
    scores = (query @ key.transpose(-1, -2)) * logs.exp().to(query.dtype)
    read = scores @ value  # [B, heads, chunks, chunk, head_size]
    if chunks > 1:
        # what each chunk hands on, at its last (forward) and at its first position (backward): [B, heads, chunks, head_size, head_size]
        all_forward, all_backward = upto[..., -1], backward.sum(-1)
        left = (key * (all_forward.unsqueeze(-1) - upto).exp().unsqueeze(-1).to(key.dtype)).transpose(-1, -2) @ value
        right = (key * before.exp().unsqueeze(-1).to(key.dtype)).transpose(-1, -2) @ value
        # what each chunk receives: all earlier (later) ones, decayed by the chunks between
        row = torch.arange(chunks, device=query.device)
        from_left = decays_between(all_forward, row.unsqueeze(1) > row)
        from_right = decays_between(all_backward, row > row.unsqueeze(1), reverse=True)
        left = torch.einsum("bhcd,bhdkv->bhckv", from_left.to(left.dtype), left)
        right = torch.einsum("bhcd,bhdkv->bhckv", from_right.to(right.dtype), right)
        read = read + (query * upto.exp().unsqueeze(-1).to(query.dtype)) @ left
        read = read + (query * (all_backward.unsqueeze(-1) - before).exp().unsqueeze(-1).to(query.dtype)) @ right
    return read.reshape(batch, heads, chunks * chunk, size)[:, :, :length]


def decays_between(logs: Tensor, seen: Tensor, reverse: bool = False) -> Tensor:
    """exp of the sum of `logs` [..., chunks] over the chunks strictly between c and d, [..., c, d]; 0 where not `seen`."""
    upto = logs.cumsum(-1)
    before = upto - logs
    if reverse:
        between = before.unsqueeze(-2) - upto.unsqueeze(-1)
    else:
        between = before.unsqueeze(-1) - upto.unsqueeze(-2)
    return between.masked_fill(~seen, -math.inf).exp()


class HybridMixing(nn.Module):
    """Multi-head mixing of positions: the first half of the heads attend, the rest scan.

    Args:
        hidden_size, heads: as of attention.
        length: positions.
        eps: of the norm of what the scanning heads read.
    """

    forward_start: Tensor
    backward_start: Tensor

    def __init__(self, hidden_size: int, heads: int, length: int, eps: float, generator: torch.Generator) -> None:
        super().__init__()
        self.heads = heads
        self.head_size = hidden_size // heads
        self.attending = heads // 2
        self.eps = eps
        scanning = heads - self.attending
        self.qkv_proj = Linear(hidden_size, 3 * hidden_size, generator)
        self.gate_proj = Linear(hidden_size, scanning * self.head_size, generator)
        self.step_proj = Linear(hidden_size, scanning, generator)
        self.o_proj = Linear(hidden_size, hidden_size, generator)
        # Memories of about a row to the whole grid, no two alike: a head that looks far one way looks nearer the other way, as equal rates
        # would make a grid and its reflection the same. What is learned are differences from this start, so that weight decay pulls to it.
        rates = torch.logspace(-math.log10(length), -math.log10(length) / 2, 2 * scanning)
        self.register_buffer("forward_start", rates[0::2], persistent=False)
        self.register_buffer("backward_start", rates[1::2].flip(0), persistent=False)
        self.step_bias = nn.Parameter(torch.zeros(scanning))
        self.forward_rate = nn.Parameter(torch.zeros(scanning))
        self.backward_rate = nn.Parameter(torch.zeros(scanning))
        self.skip = nn.Parameter(torch.zeros(scanning))

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor] | None) -> Tensor:
        batch, length, _ = x.shape
        qkv = self.qkv_proj(x).view(batch, length, 3, self.heads, self.head_size).permute(2, 0, 3, 1, 4)
        attending, scanning = (part.contiguous() for part in qkv.split((self.attending, self.heads - self.attending), dim=2))
        query, key, value = attending  # each [B, attending heads, length, head_size]
        if rotary is not None:
            query, key = rotate(query, *rotary), rotate(key, *rotary)
        attended = attend(query, key, value).transpose(1, 2).reshape(batch, length, -1)
        return self.o_proj(torch.cat((attended, self.scan(x, scanning)), dim=-1))

    def scan(self, x: Tensor, qkv: Tensor) -> Tensor:
        """What the scanning heads read, gated: [B, length, scanning heads * head_size]."""
        query, key, value = F.silu(qkv)  # each [B, scanning heads, length, head_size]; SiLU as in Mamba-2
        wide = at_least_float32(self.step_proj(x)) + self.step_bias  # [B, length, scanning heads]
        step = (F.softplus(wide) / math.log(2.0)).transpose(1, 2)  # 1 at the start
        forward = -step * (self.forward_start * self.forward_rate.exp()).unsqueeze(-1)
        backward = -step * (self.backward_start * self.backward_rate.exp()).unsqueeze(-1)
        taken = key * (step * self.head_size**-0.5).unsqueeze(-1).to(key.dtype)
        read = scan_both_ways(query, taken, value, forward, backward)
        read = read + value * (1.0 + self.skip).view(-1, 1, 1).to(value.dtype)
        read = rms_norm(read, self.eps).transpose(1, 2).flatten(2)  # a norm for each head: the sums are as long as the memory
        return read * F.silu(self.gate_proj(x))


class Hybrid(TRM):
    """TRM's recursion and gradient, with `HybridMixing` in place of attention."""

    def __init__(self, config: NetworkConfig, seed: int = 0) -> None:
        if config.heads < 2:
            raise ConfigError(f"heads is {config.heads}; the hybrid backbone needs at least 2, one to attend and one to scan")
        super().__init__(config, seed)

    def mixing(self, generator: torch.Generator) -> nn.Module:
        c = self.config
        return HybridMixing(c.hidden_size, c.heads, self.length, c.norm_eps, generator)
