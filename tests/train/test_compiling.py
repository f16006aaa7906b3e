"""Compiled training is training, a failure of the compiler is told and survived, and no step makes the host wait."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from hrm_gym.agents.backbones import BACKBONES
from hrm_gym.train import compiling, loop
from hrm_gym.train.config import TrainConfig
from hrm_gym.train.loop import Trainer

SMALL = TrainConfig(
    family="sudoku",
    puzzles={"size": 4, "difficulty": "easy"},
    train_puzzles=64,
    test_puzzles=16,
    hidden_size=16,
    heads=2,
    expansion=1.0,
    h_cycles=2,
    max_steps=4,
    batch_size=8,
    optimiser_steps=24,
    warmup_steps=4,
    device="cpu",
)


@pytest.fixture
def backend(monkeypatch):
    """Graphs are captured and differentiated as ever, but not turned into C++, which takes long and is torch's own business."""
    chosen = {"backend": "aot_eager"}
    original = compiling.Thinking

    def thinking(*arguments):
        return original(*arguments, chosen["backend"])

    monkeypatch.setattr(loop, "Thinking", thinking)
    yield chosen
    torch.compiler.reset()


def told_and_numbers(config):
    told = []
    trainer = Trainer(config, report=told.append)
    for _ in range(6):
        trainer.train_step()
    return told, trainer


@pytest.mark.parametrize(("mode", "target"), [("modules", "next-step"), ("step", "lookahead")])
def test_a_compiled_run_gives_the_numbers_of_an_eager_one(backend, mode, target):
    config = SMALL.replace(q_target=target, draft_loss="stablemax" if target == "lookahead" else "softmax")
    told, compiled = told_and_numbers(config.replace(compile=mode))
    _, eager = told_and_numbers(config)
    assert not told
    assert compiled.thinking.mode == mode
    for name, values in eager.network.state_dict().items():
        torch.testing.assert_close(compiled.network.state_dict()[name], values)
    assert compiled.read_metrics() == pytest.approx(eager.read_metrics(), rel=1e-4)
    assert compiled.agent().solve(compiled.data.test).steps.min() >= 1


@pytest.mark.parametrize("backbone", sorted(set(BACKBONES) - {"hrm"}))
def test_every_backbone_is_one_whole_graph(backend, backbone):
    config = SMALL.replace(backbone=backbone, compile="step", precision="bfloat16", h_cycles=1, l_cycles=1)
    told, trainer = told_and_numbers(config)
    assert not told
    assert trainer.thinking.mode == "step"


@pytest.mark.parametrize("mode", ["modules", "step"])
def test_a_failing_compiler_is_told_of_and_survived(backend, mode):
    def broken(graph, inputs):
        raise RuntimeError("no compiler here\nand much more of it\nand a stack")

    backend["backend"] = broken
    told, trainer = told_and_numbers(SMALL.replace(compile=mode))
    assert len(told) == 1
    assert told[0].startswith(f"torch.compile ({mode}) failed, training runs without it: ")
    assert "no compiler here" in told[0] and "\n" not in told[0] and "stack" not in told[0]
    assert trainer.agent().description["trained"]["compile"] == "off"
    _, eager = told_and_numbers(SMALL)
    for name, values in eager.network.state_dict().items():
        assert torch.equal(trainer.network.state_dict()[name], values)


def test_other_failures_are_not_taken_for_the_compilers(backend, monkeypatch):
    trainer = Trainer(SMALL.replace(compile="step"), report=lambda line: pytest.fail(line))
    trainer.train_step()

    def broken(*arguments):
        raise ValueError("something else")

    monkeypatch.setattr(loop, "halt_loss", broken)
    with pytest.raises(ValueError, match="something else"):
        trainer.train_step()


class NoWaiting(TorchDispatchMode):
    """Refuses every operation whose result the host has to wait for."""

    WAITING = ("_local_scalar_dense", "nonzero", "_unique", "unique_", "masked_select", "equal")

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        name = function.overloadpacket.__name__
        if name in self.WAITING or name.startswith("unique"):
            raise AssertionError(f"the host waits for {name}")
        if name == "_to_copy" and (keywords or {}).get("device", torch.device("cpu")) != torch.device("cpu"):
            raise AssertionError("something travels between host and device")
        return function(*arguments, **(keywords or {}))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimiser": "adam-atan2", "q_target": "lookahead", "exploration_drawn": "step", "draft_loss": "stablemax"},
        {"optimiser": "muon", "backbone": "trm-mixer", "q_target": "none", "positions": "none", "registers": 1},
        {"q_target": "episode", "epsilon": 0.2, "target_decay": 0.9, "accumulate": 2, "augmentations": 3},
        {"family": "maze", "puzzles": {"size": 5, "recipe": "tree"}},
    ],
)
def test_no_step_makes_the_host_wait(changes):
    trainer = Trainer(SMALL.replace(**changes))
    trainer.train_step()
    with NoWaiting():
        trainer.train_step()
        trainer.train_step()
        with pytest.raises(AssertionError, match="the host waits"):
            trainer.sums["loss"].item()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("mode", ["off", "modules", "step", "cuda-graphs"])
def test_on_cuda_no_step_synchronises(mode):
    trainer = Trainer(SMALL.replace(device="cuda", compile=mode, precision="bfloat16"), report=lambda line: pytest.fail(line))
    for _ in range(3):
        trainer.train_step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        trainer.train_step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert trainer.thinking.mode == mode
