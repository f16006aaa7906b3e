"""AdamW (torch's), AdamATan2, Muon, sign descent for puzzle embeddings, the learning-rate schedule, the average of the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from hrm_gym.train.config import TrainConfig

PUZZLE_EMBEDDING = "puzzle_emb."  # how the names of its parameters begin


class AdamATan2(torch.optim.Optimizer):
    """Adam with `atan2(m, sqrt(v))` in place of `m / (sqrt(v) + eps)`: no epsilon, invariant to the gradient's scale.

    Everett et al. 2024 (2407.05872); as HRM's: `p <- (1 - lr * decay) p - lr / (1 - b1^t) * atan2(m, sqrt(v / (1 - b2^t)))`.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float, betas: tuple[float, float] = (0.9, 0.95), weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            beta1, beta2 = group["betas"]
            for parameter in parameters:
                state = self.state[parameter]
                if not state:
                    state["step"] = 0
                    state["exp_avg"] = torch.zeros_like(parameter)
                    state["exp_avg_sq"] = torch.zeros_like(parameter)
                state["step"] += 1
            gradients = [parameter.grad for parameter in parameters]
            means = [self.state[parameter]["exp_avg"] for parameter in parameters]
            squares = [self.state[parameter]["exp_avg_sq"] for parameter in parameters]
            count = self.state[parameters[0]]["step"]
            torch._foreach_lerp_(means, gradients, 1.0 - beta1)
            torch._foreach_mul_(squares, beta2)
            torch._foreach_addcmul_(squares, gradients, gradients, 1.0 - beta2)
            torch._foreach_mul_(parameters, 1.0 - group["lr"] * group["weight_decay"])
            scales = torch._foreach_div(squares, 1.0 - beta2**count)
            torch._foreach_sqrt_(scales)
            moves = [torch.atan2(mean, scale) for mean, scale in zip(means, scales, strict=True)]
            torch._foreach_add_(parameters, moves, alpha=-group["lr"] / (1.0 - beta1**count))
        return loss


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalised, for matrices (Jordan et al. 2024, "Muon"; used for recursive networks by SIC, 2601.19085).

    `m <- momentum m + (1 - momentum) g`; `u = orthogonalise(g + momentum (m - g))` (Nesterov);
    `p <- (1 - lr * decay) p - lr * sqrt(max(1, rows / columns)) u`. Matrices of one shape are orthogonalised together.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            for parameter in parameters:
                if not self.state[parameter]:
                    self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
            if not parameters:
                continue
            gradients = [parameter.grad for parameter in parameters]
            means = [self.state[parameter]["momentum_buffer"] for parameter in parameters]
            torch._foreach_lerp_(means, gradients, 1.0 - group["momentum"])
            ahead = torch._foreach_lerp(gradients, means, group["momentum"])
            torch._foreach_mul_(parameters, 1.0 - group["lr"] * group["weight_decay"])
            by_shape: dict[torch.Size, list[int]] = {}
            for index, parameter in enumerate(parameters):
                by_shape.setdefault(parameter.shape, []).append(index)
            for shape, indices in by_shape.items():
                moves = orthogonalise(torch.stack([ahead[index] for index in indices]))
                scale = math.sqrt(max(1.0, shape[0] / shape[1]))
                for index, move in zip(indices, moves.unbind(), strict=True):
                    parameters[index].add_(move, alpha=-group["lr"] * scale)
        return loss


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """The matrices with singular values near 1 (about 0.7 to 1.2) and their own singular vectors: float[N, rows, columns], the same shape.

    Newton-Schulz iteration with the quintic coefficients of Muon; in bfloat16 on CUDA, where that is faster and exact enough.
    """
    x = matrices.bfloat16() if matrices.device.type == "cuda" else matrices
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    a, b, c = 3.4445, -4.7750, 2.0315
    for _ in range(steps):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return (x.mT if tall else x).to(matrices.dtype)


class PuzzleTable:
    """Sign descent on the puzzle embedding: `p <- p (1 - lr * decay) - lr * sign(g)` on the rows in use, HRM's optimiser of it.

    Only looked-up rows are ever read or written, so that a table of millions of rows costs no more than one of ten: the gradient is
    taken with respect to the rows that a batch looked up, and rows that were looked up several times add theirs.

    Args:
        weights: [ids, size], the table.
        learning_rate: peak.
        weight_decay: times the learning rate.
    """

    def __init__(self, weights: Tensor, learning_rate: float, weight_decay: float) -> None:
        self.weights = weights.detach()
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay

    def look_up(self, puzzle_ids: Tensor) -> Tensor:
        """The rows of int64[B] ids, [B, size], as a leaf that collects their gradient."""
        return self.weights[puzzle_ids].requires_grad_()

    @torch.no_grad()
    def step(self, puzzle_ids: Tensor, gradients: Tensor, factor: float) -> None:
        """Move the rows of int64[B] ids by their gradients [B, size] at `factor` times the peak rate; the host waits for nothing."""
        order = puzzle_ids.argsort()
        ids = puzzle_ids[order]
        new = torch.cat((torch.zeros_like(ids[:1]), (ids[1:] != ids[:-1]).long()))
        group = torch.cumsum(new, 0)  # equal ids have equal groups
        summed = torch.zeros_like(gradients).index_add_(0, group, gradients[order])
        rate = self.learning_rate * factor
        # an id that stands there twice is written twice with the same numbers
        self.weights[ids] = self.weights[ids] * (1.0 - rate * self.weight_decay) - rate * summed[group].sign()


class Optimisers:
    """The optimisers of one network, stepped together.

    Args:
        network: its parameters. Those named `puzzle_emb` belong to `table`; with "muon" the matrices of the blocks go to Muon and the
            others to AdamW; else all go to the configured optimiser.

    Attributes:
        parameters: all but the puzzle embedding's.
        table: of the puzzle embedding; None where the network has none.
    """

    def __init__(self, network: nn.Module, config: TrainConfig) -> None:
        self.config = config
        named = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
        self.table = None
        for name in [name for name in named if name.startswith(PUZZLE_EMBEDDING)]:
            self.table = PuzzleTable(named.pop(name), config.puzzle_embedding_learning_rate, config.weight_decay)
        self.parameters = list(named.values())
        betas = (config.beta1, config.beta2)
        self.all: list[torch.optim.Optimizer] = []
        self.peaks: list[float] = []
        others = self.parameters
        if config.optimiser == "muon":
            inside = {name for name, parameter in named.items() if ".layers." in name and parameter.ndim == 2}
            matrices = [parameter for name, parameter in named.items() if name in inside]
            others = [parameter for name, parameter in named.items() if name not in inside]
            self.all.append(Muon(matrices, config.muon_learning_rate, config.muon_momentum, config.muon_weight_decay))
            self.peaks.append(config.muon_learning_rate)
        if config.optimiser == "adam-atan2":
            self.all.append(AdamATan2(others, config.learning_rate, betas, config.weight_decay))
        else:
            fused = others[0].device.type in ("cpu", "cuda")
            self.all.append(
                torch.optim.AdamW(others, config.learning_rate, betas, weight_decay=config.weight_decay, fused=fused)
            )
        self.peaks.append(config.learning_rate)

    def step(self, optimiser_step: int, looked_up: tuple[Tensor, Tensor] | None = None) -> Tensor | None:
        """Clip, move all parameters at the learning rate of `optimiser_step` (from 0), forget the gradients.

        Args:
            looked_up: puzzle ids int64[B] and the gradients [B, size] of their rows, where the network has a puzzle embedding.

        Returns:
            The gradient's norm before clipping, a scalar tensor on the device; None without clipping.
        """
        norm = None
        if self.config.gradient_clip:
            norm = nn.utils.clip_grad_norm_(self.parameters, self.config.gradient_clip)
        factor = learning_rate_factor(optimiser_step, self.config)
        for optimiser, peak in zip(self.all, self.peaks, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = peak * factor
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        if self.table is not None and looked_up is not None:
            self.table.step(*looked_up, factor)
        return norm

    def state_dicts(self) -> list[dict[str, Any]]:
        return [optimiser.state_dict() for optimiser in self.all]

    def load_state_dicts(self, states: list[dict[str, Any]]) -> None:
        for optimiser, state in zip(self.all, states, strict=True):
            optimiser.load_state_dict(state)


def learning_rate_factor(optimiser_step: int, config: TrainConfig) -> float:
    """Linear warm-up to 1, then a cosine to `final_learning_rate` at the end of training."""
    if optimiser_step < config.warmup_steps:
        return (optimiser_step + 1) / config.warmup_steps
    length = max(1, config.optimiser_steps - config.warmup_steps)
    progress = min(1.0, (optimiser_step - config.warmup_steps) / length)
    cosine = 0.5 * (1.0 + math.cos(math.pi * progress))
    return config.final_learning_rate + (1.0 - config.final_learning_rate) * cosine


class WeightAverage:
    """The exponential moving average of a network's parameters, which starts as a plain mean of the first steps.

    The puzzle embedding is left out, as published: its rows move only when they are in use, and it may have millions of them.

    Args:
        start: optimiser step at which averaging begins; before it the average equals the parameters.
    """

    def __init__(self, network: nn.Module, decay: float, start: int = 0) -> None:
        self.decay = decay
        self.start = start
        self.source = averaged_parameters(network)
        self.average = [parameter.clone() for parameter in self.source]

    @torch.no_grad()
    def update(self, optimiser_step: int) -> None:
        """Take in the parameters after optimiser step `optimiser_step` (from 0)."""
        since = optimiser_step - self.start
        decay = min(self.decay, (since + 1) / (since + 10)) if since >= 0 else 0.0
        torch._foreach_lerp_(self.average, self.source, 1.0 - decay)

    @torch.no_grad()
    def copy_to(self, network: nn.Module) -> None:
        """Put the average into `network`."""
        for parameter, average in zip(averaged_parameters(network), self.average, strict=True):
            parameter.copy_(average)


def averaged_parameters(network: nn.Module) -> list[Tensor]:
    """The parameters that `WeightAverage` follows, detached."""
    return [parameter.detach() for name, parameter in network.named_parameters() if not name.startswith(PUZZLE_EMBEDDING)]
