"""The blocks that every backbone is built of: linear maps, attention, SwiGLU, RMS norm, rotary positions.

Weights are kept in float32 and cast to the dtype of the activations, as the published HRM does, so that one state dict
serves float32 and bfloat16. Parameter names are the published ones, so that published checkpoints load by name.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def truncated_normal(shape: tuple[int, ...], std: float, generator: torch.Generator) -> Tensor:
    """float32 normal values cut at two standard deviations and rescaled so that their standard deviation is `std`."""
    # Inverse transform sampling: uniform between the two cut probabilities, through the normal quantile function.
    cut = math.erf(2.0 / math.sqrt(2.0))
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64) * 2.0 - 1.0
    values = math.sqrt(2.0) * torch.erfinv(uniform * cut)
    density = math.exp(-2.0) / math.sqrt(2.0 * math.pi)
    standard_deviation = math.sqrt(1.0 - 4.0 * density / cut)
    return (values * (std / standard_deviation)).float()


def at_least_float32(x: Tensor) -> Tensor:
    """`x`, with the narrow types widened to float32."""
    return x if x.dtype == torch.float64 else x.float()


def rms_norm(x: Tensor, eps: float) -> Tensor:
    """Root mean square norm over the last axis without weights, computed in at least float32."""
    wide = at_least_float32(x)
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).to(x.dtype)


class Linear(nn.Module):
    """A linear map whose float32 weight [out, in] is cast to the input's dtype; LeCun truncated-normal start."""

    def __init__(self, inputs: int, outputs: int, generator: torch.Generator, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(truncated_normal((outputs, inputs), 1.0 / math.sqrt(inputs), generator))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.weight.to(x.dtype), bias)


class Embedding(nn.Module):
    """Rows of a table, cast to `dtype`; the parameter carries the published name `embedding_weight`."""

    def __init__(self, rows: int, size: int, std: float, generator: torch.Generator) -> None:
        super().__init__()
        self.embedding_weight = nn.Parameter(truncated_normal((rows, size), std, generator))

    def forward(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        return F.embedding(index, self.embedding_weight).to(dtype)


class PuzzleEmbedding(nn.Module):
    """One vector per puzzle id (identity information), starting at zero; the published name is `puzzle_emb.weights`."""

    def __init__(self, rows: int, size: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(rows, size))

    def forward(self, puzzle_ids: Tensor) -> Tensor:
        return F.embedding(puzzle_ids, self.weights)


def rotary_tables(length: int, head_size: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines [length, head_size] of rotary positions (Su et al., 2104.09864), both halves alike."""
    frequencies = 1.0 / (theta ** (torch.arange(0, head_size, 2, dtype=torch.float32) / head_size))
    angles = torch.outer(torch.arange(length, dtype=torch.float32), frequencies)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Turn queries or keys [B, heads, length, head_size] by their positions, in float32."""
    first, second = x.chunk(2, dim=-1)
    turned = torch.cat((-second, first), dim=-1)
    return (x * cosines + turned * sines).to(x.dtype)


# Up to this length two batched matrix products beat torch's fused kernel on a CPU (measured: 1.8 times at 16 and 36 positions, even at 81)
SHORT_ON_CPU = 64


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Full (not causal) attention: [B, heads, length, head_size] each -> the same shape."""
    batch, heads, length, head_size = query.shape
    if query.device.type != "cpu" or length > SHORT_ON_CPU:
        return F.scaled_dot_product_attention(query, key, value)
    query, key, value = (x.reshape(batch * heads, length, head_size) for x in (query, key, value))
    scores = torch.bmm(query * head_size**-0.5, key.transpose(1, 2))  # [B * heads, length, length]
    return torch.bmm(scores.softmax(dim=-1), value).view(batch, heads, length, head_size)


class Attention(nn.Module):
    """Full multi-head self-attention."""

    def __init__(self, hidden_size: int, heads: int, generator: torch.Generator) -> None:
        super().__init__()
        self.heads = heads
        self.head_size = hidden_size // heads
        self.qkv_proj = Linear(hidden_size, 3 * hidden_size, generator)
        self.o_proj = Linear(hidden_size, hidden_size, generator)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor] | None) -> Tensor:
        batch, length, hidden = x.shape
        qkv = self.qkv_proj(x).view(batch, length, 3, self.heads, self.head_size).permute(2, 0, 3, 1, 4)
        if x.device.type == "cpu":
            qkv = qkv.contiguous()  # the CPU kernels are slower on a view than the copy costs
        query, key, value = qkv  # each [B, heads, length, head_size]
        if rotary is not None:
            query, key = rotate(query, *rotary), rotate(key, *rotary)
        mixed = attend(query, key, value)
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, length, hidden))


def swiglu_size(size: int, expansion: float, multiple: int) -> int:
    """Inner width of a SwiGLU: two thirds of `expansion * size`, rounded up to a whole number of `multiple`s."""
    return -(round(expansion * size * 2 / 3) // -multiple) * multiple


SWIGLUS = ("plain", "normed")


class SwiGLU(nn.Module):
    """A gated feed-forward layer over the last axis.

    "plain": `down(silu(gate(x)) * up(x))` (Shazeer, 2002.05202).
    "normed": `down(sigmoid(gate(x)) * rms_norm(gate(x) * up(x)))`; the inner values keep their size however the weights grow, as they do
    under Muon, whose updates are all equally large.
    """

    def __init__(
        self, size: int, expansion: float, multiple: int, generator: torch.Generator, kind: str = "plain", eps: float = 1e-5
    ) -> None:
        super().__init__()
        inner = swiglu_size(size, expansion, multiple)
        self.normed = kind == "normed"
        self.eps = eps
        self.gate_up_proj = Linear(size, 2 * inner, generator)
        self.down_proj = Linear(inner, size, generator)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        if self.normed:
            return self.down_proj(torch.sigmoid(gate) * rms_norm(gate * up, self.eps))
        return self.down_proj(F.silu(gate) * up)


class Block(nn.Module):
    """Post-norm transformer block: positions are mixed, then features by a SwiGLU.

    Args:
        mixing: what mixes the positions: attention (x [B, length, size], rotary -> x) or a SwiGLU across the positions.
        mlp: the SwiGLU across the features.
        eps: of the norms.
    """

    def __init__(self, mixing: nn.Module, mlp: SwiGLU, eps: float) -> None:
        super().__init__()
        self.eps = eps
        across = isinstance(mixing, SwiGLU)
        self.self_attn = None if across else mixing
        self.mlp_t = mixing if across else None
        self.mlp = mlp

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor] | None) -> Tensor:
        if self.self_attn is not None:
            x = rms_norm(x + self.self_attn(x, rotary), self.eps)
        else:
            assert self.mlp_t is not None
            across = x.transpose(1, 2)  # [B, size, length]
            x = rms_norm(across + self.mlp_t(across), self.eps).transpose(1, 2)
        return rms_norm(x + self.mlp(x), self.eps)


class Module(nn.Module):
    """A stack of blocks with its input added once in front: the H or the L module."""

    def __init__(self, blocks: list[Block]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(blocks)

    def forward(self, z: Tensor, injection: Tensor, rotary: tuple[Tensor, Tensor] | None) -> Tensor:
        z = z + injection
        for block in self.layers:
            z = block(z, rotary)
        return z
