"""AdamW (torch's), AdamATan2, sign descent for puzzle embeddings, the learning-rate schedule, the average of the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from hrm_gym.train.config import TrainConfig


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


class SignDescent(torch.optim.Optimizer):
    """`p <- (1 - lr * decay) p - lr * sign(g)` on the rows that have a gradient; HRM's optimiser of puzzle embeddings."""

    def __init__(self, params: Iterable[Tensor], lr: float, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                touched = parameter.grad.abs().sum(-1, keepdim=True) > 0
                decayed = parameter * (1.0 - group["lr"] * group["weight_decay"]) - group["lr"] * parameter.grad.sign()
                parameter.copy_(torch.where(touched, decayed, parameter))
        return loss


class Optimisers:
    """The optimisers of one network, stepped together.

    Args:
        network: its parameters; those named `puzzle_emb` go to sign descent, all others to the configured optimiser.
    """

    def __init__(self, network: nn.Module, config: TrainConfig) -> None:
        self.config = config
        named = dict(network.named_parameters())
        embedding = [parameter for name, parameter in named.items() if name.startswith("puzzle_emb")]
        self.parameters = [parameter for name, parameter in named.items() if not name.startswith("puzzle_emb")]
        betas = (config.beta1, config.beta2)
        if config.optimiser == "adamw":
            fused = self.parameters[0].device.type in ("cpu", "cuda")
            main: torch.optim.Optimizer = torch.optim.AdamW(
                self.parameters, config.learning_rate, betas, weight_decay=config.weight_decay, fused=fused
            )
        else:
            main = AdamATan2(self.parameters, config.learning_rate, betas, config.weight_decay)
        self.all = [main]
        self.peaks = [config.learning_rate]
        if embedding:
            self.all.append(SignDescent(embedding, config.puzzle_embedding_learning_rate, config.weight_decay))
            self.peaks.append(config.puzzle_embedding_learning_rate)

    def step(self, optimiser_step: int) -> Tensor | None:
        """Clip, move all parameters at the learning rate of `optimiser_step` (from 0), forget the gradients.

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
    """The exponential moving average of a network's parameters, which starts as a plain mean of the first steps."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.source = [parameter.detach() for parameter in network.parameters()]
        self.average = [parameter.clone() for parameter in self.source]

    @torch.no_grad()
    def update(self, optimiser_step: int) -> None:
        """Take in the parameters after optimiser step `optimiser_step` (from 0)."""
        decay = min(self.decay, (optimiser_step + 1) / (optimiser_step + 10))
        torch._foreach_lerp_(self.average, self.source, 1.0 - decay)

    @torch.no_grad()
    def copy_to(self, network: nn.Module) -> None:
        """Put the average into `network`."""
        for parameter, average in zip(network.parameters(), self.average, strict=True):
            parameter.copy_(average)
