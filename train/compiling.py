"""One step of thought with its supervised loss, as it is or through torch.compile."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hrm_gym.agents.device_puzzles import GridCode
from hrm_gym.agents.layers import Module
from hrm_gym.agents.network import RecursiveNetwork, State, StepOutput
from hrm_gym.train.config import TrainConfig
from hrm_gym.train.losses import draft_loss

Judged = tuple[State, StepOutput, Tensor, Tensor]


class Thinking:
    """Advances states by a step, reads the drafts and says how far they are from the labels.

    `compile` of the configuration says how: "off"; "modules", each H and L module compiled on its own, which is called many times in a
    step and so is quick to compile; "step", all of it as one graph, the fastest to run and minutes to compile where cycles are many;
    "cuda-graphs", the same with the launches recorded and replayed. A graph has to be whole: what would silently run in pieces counts
    as a failure.

    Args:
        network, code, config: of the run.
        report: told in one line when compilation fails.
        backend: of torch.compile.

    Attributes:
        mode: what is really done now, a value of `TrainConfig.compile`.
    """

    def __init__(
        self,
        network: RecursiveNetwork,
        code: GridCode,
        config: TrainConfig,
        report: Callable[[str], None],
        backend: str = "inductor",
    ) -> None:
        self.network = network
        self.code = code
        self.config = config
        self.report = report
        self.mode = config.compile
        self.works = False  # nothing has failed once a whole optimiser step has gone through
        self.judge_step: Callable[..., Judged] = self._judge
        self.advance_step: Callable[..., tuple[State, StepOutput]] = network.advance
        if self.mode == "modules":
            for module in self._modules():
                module.compile(fullgraph=True, backend=backend)
        elif self.mode != "off":
            kind = "reduce-overhead" if self.mode == "cuda-graphs" else None
            self.judge_step = torch.compile(self._judge, fullgraph=True, backend=backend, mode=kind)
            self.advance_step = torch.compile(network.advance, fullgraph=True, backend=backend, mode=kind)

    def judge(self, state: State, tokens: Tensor, labels: Tensor, puzzle_rows: Tensor | None) -> Judged:
        """One step: the next state and the output, as `RecursiveNetwork.advance`; the drafts uint8[B, cells]; their losses float[B]."""
        self._mark()
        state, output, drafts, supervised = self.judge_step(state, tokens, labels, puzzle_rows)
        return self._kept(state), output, drafts, supervised

    @torch.no_grad()
    def advance(self, state: State, tokens: Tensor, puzzle_rows: Tensor | None) -> tuple[State, StepOutput]:
        """One step without gradient and without loss."""
        self._mark()
        state, output = self.advance_step(state, tokens, puzzle_rows)
        return self._kept(state), output

    def fall_back(self, error: Exception) -> bool:
        """Do without torch.compile from now on if it can be what failed with `error`: True; False where it cannot."""
        if self.mode == "off" or self.works:
            return False
        # torch's own first line names the backend only, the cause comes second
        cause = " ".join(line.strip() for line in str(error).strip().splitlines()[:2])
        self.report(f"torch.compile ({self.mode}) failed, training runs without it: {type(error).__name__}: {cause[:200]}")
        self.mode = "off"
        self.judge_step, self.advance_step = self._judge, self.network.advance
        for module in self._modules():
            module._compiled_call_impl = None  # undoes Module.compile, for which torch has no public way
        return True

    def _judge(self, state: State, tokens: Tensor, labels: Tensor, puzzle_rows: Tensor | None) -> Judged:
        state, output = self.network.advance(state, tokens, puzzle_rows)
        supervised = draft_loss(output.logits, labels, self.config.draft_loss, self.config.label_smoothing)
        return state, output, self.code.draft(output.logits), supervised

    def _modules(self) -> list[Module]:
        return [module for module in self.network.modules() if isinstance(module, Module)]

    def _mark(self) -> None:
        if self.mode == "cuda-graphs":
            torch.compiler.cudagraph_mark_step_begin()

    def _kept(self, state: State) -> State:
        """A replayed graph writes its results to the same place each time; what lives on is copied out."""
        return State(state.z_h.clone(), state.z_l.clone()) if self.mode == "cuda-graphs" else state
