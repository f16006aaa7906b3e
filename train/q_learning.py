"""What continuing is worth: the targets of Q-continue, and the loss against them. All on the device; the host waits for nothing.

The episode of a puzzle: a state is what the network holds after a step of thought. The action halt pays 1 for a verified draft and ends the
episode; continue pays -step_cost and leads to the next state; at `max_steps` there is only halt. Q-halt has a target at once, the
verification. The return of continuing at step t is known later, when the slot has gone on thinking (c step cost, g discount):

    n steps on, not yet halted      G_t = -c (1 + g + ... + g^(n-1)) + g^n max(Q_halt, Q_continue)(t + n)
    halted at step T < t + n        G_t = -c (1 + g + ... + g^(T-t-1)) + g^(T-t) verified(T)

"next-step" is n = 1 (Q-learning, Watkins 1989); "n-step" n = `q_steps`, where exploring steps between are not corrected for, as in Rainbow
(1710.02298); "episode" n = `max_steps`, so that only the halt itself is waited for (Monte Carlo). One mechanism serves all three: each slot
keeps what its Q head read at the last n steps, and its Q-continue there is read again, by today's Q head, when the return is known.
"lookahead" thinks one step ahead instead, at the price of a second forward pass (as published).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import functional_call

from hrm_gym.agents.network import RecursiveNetwork, State, StepOutput, q_features, read_q_values
from hrm_gym.train.config import TrainConfig
from hrm_gym.train.losses import best_value, continue_loss, continue_target
from hrm_gym.train.optimisers import WeightAverage


class ContinueTargets:
    """Pays the slots' earlier steps the return of having continued.

    Args:
        network: whose Q head is taught.
        config: q_target, q_steps, q_loss, target_decay, step_cost, discount and max_steps of it.
        state: the slots' initial state.
        target: the average of the Q head that reads the values in targets, which its owner updates; None: the Q head itself does.

    Attributes:
        horizon: steps n after which a step is paid at the latest; 0 where nothing is kept ("lookahead", "none").
        features: [slots, horizon, hidden_size], what the Q head read at the last steps; step t is at (t - 1) mod horizon.
        target: as given.
    """

    def __init__(
        self, network: RecursiveNetwork, config: TrainConfig, state: State, target: WeightAverage | None = None
    ) -> None:
        self.network = network
        self.config = config
        self.horizon = {"next-step": 1, "n-step": min(config.q_steps, config.max_steps), "episode": config.max_steps}.get(
            config.q_target, 0
        )
        slots, size = q_features(state).shape
        self.features = q_features(state).new_zeros(slots, self.horizon, size)
        device = self.features.device
        self.places = torch.arange(self.horizon, device=device)
        self.slots = torch.arange(slots, device=device)
        # by the number of steps between a state and what it is paid with
        powers = [config.discount**steps for steps in range(self.horizon + 1)]
        costs = [config.step_cost * sum(powers[:steps]) for steps in range(self.horizon + 1)]
        self.discounts, self.costs = torch.tensor(powers, device=device), torch.tensor(costs, device=device)
        self.target = target

    def losses(
        self,
        output: StepOutput,
        state: State,
        steps: Tensor,
        last: Tensor,
        halted: Tensor,
        verified: Tensor,
        look_ahead: Callable[[State], tuple[State, StepOutput]] | None,
    ) -> Tensor:
        """The loss of Q-continue for every slot, float32[B]: summed over the steps whose return is known now.

        Args:
            output, state: of the step just taken.
            steps: int64[B], steps taken, it included.
            last: bool[B], slots at `max_steps`.
            halted, verified: bool[B], slots that halt now, and whose draft is right now.
            look_ahead: one more step from a state; called by "lookahead" only. None: not at this optimiser step, and no loss then.
        """
        config = self.config
        if config.q_target == "none" or (config.q_target == "lookahead" and look_ahead is None):
            return torch.zeros_like(output.q_halt)
        if config.q_target == "lookahead":
            assert look_ahead is not None
            with torch.no_grad():
                q_halt, q_continue = self.target_q_values(*look_ahead(state))
                target = continue_target(q_halt, q_continue, last, config.step_cost, config.discount, config.q_loss)
            return continue_loss(output.q_continue, target, config.q_loss)

        with torch.no_grad():
            value = best_value(*self.target_q_values(state, output), last, config.q_loss).unsqueeze(1)
            now = steps.unsqueeze(1)
            ago = (now - 2 - self.places) % self.horizon + 1  # how many steps ago each kept feature was read: 1..horizon
            old = ago == self.horizon
            # a feature from before this puzzle's first step is another puzzle's
            known = (ago < now) & (old | halted.unsqueeze(1))
            end = torch.where(old, value, verified.unsqueeze(1).to(value.dtype))
            returns = self.discounts[ago] * end - self.costs[ago]
        _, q_continue = read_q_values(self.network.q_head, self.features)
        return torch.where(known, continue_loss(q_continue, returns, config.q_loss), 0.0).sum(1)

    def target_q_values(self, state: State, output: StepOutput) -> tuple[Tensor, Tensor]:
        """Q-halt and Q-continue of a state as targets see them: float32[B] each."""
        if self.target is None:
            return output.q_halt, output.q_continue
        head = self.network.q_head
        names = [name for name, _ in head.named_parameters()]
        averaged = dict(zip(names, self.target.average, strict=True))
        return read_q_values(lambda features: functional_call(head, averaged, (features,)), q_features(state))

    @torch.no_grad()
    def after_step(self, state: State, steps: Tensor) -> None:
        """Keep what the Q head read at this step. After the gradient: it needs the features as they were."""
        if self.horizon:
            self.features[self.slots, (steps - 1) % self.horizon] = q_features(state)
