"""The training benchmark: the published loop is right, memory and FLOPs are counted exactly, memory is flat, the command works."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from rich.console import Console

from hrm_gym.agents.layers import Attention
from hrm_gym.agents.published import load_published
from hrm_gym.bench_train import (
    OURS,
    PUBLISHED,
    Figures,
    TrainingBenchmark,
    bench_training,
    benchmark_config,
    count_flops,
    flops_per_example,
    gains,
    peak_flops,
    peak_memory,
    time_in_turns,
)
from hrm_gym.bench_train_command import split_names, split_numbers
from hrm_gym.envs.errors import ConfigError
from hrm_gym.published_loop import Batch, PublishedLoop, TorchAttention
from hrm_gym.train.config import PRESETS, TrainConfig
from hrm_gym.train.data import load_training_data
from hrm_gym.train.loop import Trainer

CPU = torch.device("cpu")
SMALL = TrainConfig(
    name="small",
    family="sudoku",
    puzzles={"size": 4},
    train_puzzles=64,
    test_puzzles=1,
    validation_puzzles=0,
    augment=False,
    hidden_size=16,
    heads=2,
    expansion=1.0,
    l_cycles=1,
    max_steps=3,
    batch_size=6,
    optimiser_steps=50,
    warmup_steps=2,
    exploration=0.0,
    average_decay=0.0,
    gradient_clip=0.0,
    device="cpu",
)
# as the published loop learns, whatever its configuration says
FAITHFUL = {"optimiser": "adam-atan2", "draft_loss": "stablemax", "q_target": "lookahead", "step_cost": 0.0}


@pytest.fixture(scope="module")
def data():
    return load_training_data(SMALL)


# -- the published loop -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((Path(__file__).parent / "data").glob("hrm_*.npz")), ids=lambda path: path.stem)
def test_published_losses_and_gradients(path):
    """The first step's losses and the norm of every gradient, as the published code computes them."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    weights = {
        name.removeprefix("weights/"): torch.from_numpy(array) for name, array in arrays.items() if name.startswith("weights/")
    }
    published = json.loads(str(arrays["config"]))
    network = load_published(weights, published)
    puzzles = Batch(*(torch.from_numpy(arrays[name]).int() for name in ("inputs", "labels", "puzzle_identifiers")))
    rows = len(puzzles.inputs)
    config = SMALL.replace(batch_size=rows, max_steps=published["halt_max_steps"])
    if network.puzzle_emb is not None:
        with pytest.raises(ConfigError, match="without puzzle embedding"):
            PublishedLoop(config, network, puzzles)
        return
    loop = PublishedLoop(config, network, puzzles)
    carry, loss, metrics = loop.losses(loop.carry, puzzles, torch.ones(2, rows))
    loss.backward()

    for ours, theirs in (
        (loss, "train/total_loss"),
        (metrics["draft_loss"], "train/metric/lm_loss"),
        (metrics["halt_loss"], "train/metric/q_halt_loss"),
        (metrics["continue_loss"], "train/metric/q_continue_loss"),
    ):
        np.testing.assert_allclose(ours.item(), arrays[theirs], rtol=1e-4)
    np.testing.assert_array_equal(carry.halted.numpy(), arrays["train/halted"].astype(bool))
    gradients = {name: parameter.grad.norm().item() for name, parameter in network.named_parameters()}
    expected = {name: norm for name, norm in arrays.items() if name.startswith("train/grad_norm/")}
    assert len(expected) == len(gradients)
    for name, norm in expected.items():
        own = name.removeprefix("train/grad_norm/").removeprefix("model.inner.")
        np.testing.assert_allclose(gradients[own], norm, rtol=1e-4, atol=1e-5)


def test_published_loop_learns_as_the_trainer_with_lookahead(data):
    """On the same puzzles both take the same steps: halted rows are replaced at the start of the next step or at the end of this one."""
    trainer = Trainer(SMALL.replace(**FAITHFUL), data)
    loop = PublishedLoop.on(data, SMALL)
    (slots,) = trainer.parts
    for step in range(8):
        loop.train_batch(
            Batch(trainer.code.tokens(slots.questions).int(), trainer.code.tokens(slots.answers).int(), slots.rows.int())
        )
        trainer.train_step()
        metrics = trainer.read_metrics()
        for name in ("loss", "draft_loss", "halt_loss", "continue_loss"):
            assert loop.metrics[name] == pytest.approx(metrics[name], rel=1e-4), (step, name)
        assert loop.finished() == metrics["puzzles"] == (SMALL.batch_size if step % SMALL.max_steps == 2 else 0)
    for ours, theirs in zip(trainer.network.parameters(), loop.network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_published_exploration_keeps_a_row_thinking(data):
    loop = PublishedLoop.on(data, SMALL.replace(exploration=0.5, max_steps=5))
    with torch.no_grad():
        loop.network.q_head.bias[0] = 1.0  # always wants to halt
    random = torch.tensor([[0.6, 0.4, 0.4, 0.4, 0.6, 0.4], [0.9, 0.0, 0.3, 0.9, 0.0, 0.99]])
    carry, first = loop.carry, torch.zeros(6, dtype=torch.int32)
    for step in range(1, 6):
        carry = carry._replace(halted=torch.full((6,), step == 1))
        carry, _, _ = loop.losses(carry, loop.draw(), random)
        first = torch.where((first == 0) & carry.halted, step, first)
    assert first.tolist() == [1, 2, 3, 5, 1, 5]


def test_torch_attention_is_the_same_function():
    generator = torch.Generator().manual_seed(0)
    attention = Attention(16, 2, generator)
    x = torch.randn(3, 20, 16, generator=generator)
    torch.testing.assert_close(TorchAttention(attention)(x, None), attention(x, None))


def test_spread_steps_finish_evenly(data):
    loop = PublishedLoop.on(data, SMALL)
    loop.spread_steps()
    for _ in range(6):
        loop.step()
        assert loop.finished() == 2  # 6 rows, 3 steps


# -- counting -----------------------------------------------------------------------------------------------------------------------------


class Allocating:
    """Holds 4 MB; its second step has another 2 MB and 1 MB alive at once, after 2.5 MB that are gone again."""

    def __init__(self):
        self.held = [torch.zeros(1_000_000)]
        self.count = 0

    def step(self):
        self.count += 1
        if self.count == 2:
            scratch = torch.zeros(625_000)
            del scratch
            more = torch.zeros(500_000), torch.zeros(250_000)
            del more

    def finished(self):
        return 0


def test_peak_memory_of_known_tensors():
    _, peak, resident = peak_memory(Allocating, CPU)
    assert (peak, resident) == (7_000_000, 4_000_000)


def test_peak_memory_is_the_same_each_time(data):
    benchmark = TrainingBenchmark(SMALL, data, 0.01, 1, print)
    one, other = (peak_memory(lambda: benchmark.build(OURS, SMALL, "off"), CPU)[1:] for _ in range(2))
    assert one == other


def test_flops_of_attention_and_products():
    query = torch.randn(2, 4, 81, 8, requires_grad=True)

    def forward():
        return F.scaled_dot_product_attention(query, query, query)

    product = 2 * 2 * 4 * 81 * 81 * 8
    assert count_flops(forward) == 2 * product
    # torch's convention: the backward kernel computes the scores anew, five products in all
    assert count_flops(lambda: forward().sum().backward()) == 7 * product
    assert count_flops(lambda: torch.ones(3, 5) @ torch.ones(5, 7)) == 2 * 3 * 5 * 7


@pytest.mark.parametrize("cycles", [1, 3])
def test_flops_per_example_are_those_of_the_formula(data, cycles):
    config = SMALL.replace(h_cycles=cycles, l_cycles=2, **FAITHFUL)
    benchmark = TrainingBenchmark(config, data, 0.01, 1, print)
    cells, size, inner = 16, config.hidden_size, 16  # the SwiGLU: 2/3 of 16, rounded up to 16
    attention = 2 * 2 * cells * cells * size
    module = 2 * cells * (4 * size * size + 3 * size * inner) + attention
    heads = 2 * cells * size * data.family.vocabulary + 2 * size * 2
    thought = 3 * cycles * module + heads
    backward = 2 * (2 * module + heads)  # of the last L and H update; two products for each of the forward's

    def count(loop, config):
        return flops_per_example(lambda size: benchmark.build(loop, config.replace(batch_size=size), "off"))

    assert count(OURS, config) == (2 * thought + backward, 0)
    # the backward kernel of torch's attention computes the scores anew
    assert count(PUBLISHED, config) == (2 * thought + backward + 2 * attention / 2, 0)
    once, _ = count(OURS, config.replace(q_target="next-step"))
    assert once == pytest.approx(thought + backward, rel=0.001)


def test_memory_does_not_grow_with_cycles(data):
    """The one-step gradient keeps nothing of earlier cycles; TRM, whose gradient goes through all of them, shows that it would be seen."""
    benchmark = TrainingBenchmark(SMALL.replace(batch_size=16), data, 0.01, 1, print)
    few, more, many = (benchmark.cycle_memory(cycles, "hrm", "float32", 16) for cycles in (4, 16, 64))
    assert few.peak_memory == pytest.approx(many.peak_memory, rel=0.001)
    assert few.peak_memory == pytest.approx(more.peak_memory, rel=0.001)
    assert few.peak_memory - few.resident == pytest.approx(many.peak_memory - many.resident, rel=0.05)

    grown = [
        TrainingBenchmark(SMALL.replace(l_cycles=l_cycles), data, 0.01, 1, print)
        .cycle_memory(1, "trm", "float32", 16)
        .peak_memory
        for l_cycles in (4, 16)
    ]
    assert grown[1] > 2 * grown[0]


def test_measured_peak_is_named_as_such():
    rate, source = peak_flops(CPU, "float32")
    assert rate > 1e8
    assert source.startswith("measured: ")


class Counting:
    def __init__(self, name, log):
        self.name, self.log, self.steps = name, log, 0

    def step(self):
        self.steps += 1
        self.log.append(self.name)

    def finished(self):
        finished, self.steps = self.steps, 0
        return finished


def test_loops_are_timed_in_turns():
    log: list[str] = []
    timed = time_in_turns([Counting("a", log), Counting("b", log)], CPU, seconds=1e-9, repeats=3)
    assert log == ["a", "b"] + ["a", "b"] * 3
    for times, steps, halted in timed:
        assert len(times) == 3
        assert steps == halted == 3


def test_gains_pair_what_is_alike():
    def row(loop, batch_size, milliseconds, memory, mode="off"):
        return Figures(loop, "hrm", "float32", batch_size, mode, milliseconds=milliseconds, peak_memory=memory)

    rows = [
        row(OURS, 8, [10.0, 20.0, 12.0], 90),
        row(PUBLISHED, 8, [20.0, 30.0, 18.0], 100),
        row(OURS, 16, [1.0, 1.0, 1.0], 90),
        Figures(OURS, "hrm", "float32", 8, "step", failed="out of memory"),
    ]
    (gain,) = gains(rows)
    assert (gain.batch_size, gain.examples_per_second, gain.peak_memory) == (8, 20 / 12, 0.9)
    assert (gain.lowest, gain.highest) == (1.5, 2.0)


# -- the command --------------------------------------------------------------------------------------------------------------------------


def test_every_preset_can_be_measured_without_files():
    for name in PRESETS:
        config = benchmark_config(name, "cpu", 0)
        assert not str(config.puzzles.get("source", "")).startswith(("hub:", "csv:"))
        assert config.q_target != "lookahead"
        assert config.hidden_size == PRESETS[name].hidden_size
    assert benchmark_config("hrm-paper", "cpu", 0, "lookahead").q_target == "lookahead"


def test_table_and_file(tmp_path, monkeypatch):
    monkeypatch.setitem(PRESETS, "small", SMALL)
    console = Console(record=True, width=200)
    out = tmp_path / "figures" / "train.json"
    bench_training(
        console, out, "small", ["hrm", "trm-mixer"], [4], cycles=[1, 3], seconds=0.01, repeats=2, device="cpu", seed=3
    )
    text = console.export_text()
    report = json.loads(out.read_text())
    assert [(row["loop"], row["backbone"]) for row in report["figures"]] == [
        (OURS, "hrm"),
        (PUBLISHED, "hrm"),
        (OURS, "trm-mixer"),
    ]
    for row in report["figures"]:
        assert len(row["milliseconds"]) == 2
        assert row["parameters"] > 1000
        assert row["peak_memory"] > 4 * 4 * row["parameters"]  # weights, gradients, two averages
        assert row["examples_per_second"] == pytest.approx(4 * row["steps_per_second"])
        peak = report["peaks"]["float32"]["flops_per_second"]
        assert row["utilisation"] == pytest.approx(row["flops_per_example"] * row["examples_per_second"] / peak)
    assert [memory["cycles"] for memory in report["cycles"]] == [1, 3]
    assert len(report["gains"]) == 1
    assert report["seed"] == report["config"]["seed"] == 3
    for part in ("published", "trm-mixer", "times", "MiB", "measured: the best of", "cycles a step"):
        assert part in text
    assert not math.isnan(report["gains"][0]["examples_per_second"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset_name": "nope"}, "preset 'nope' is unknown"),
        ({"backbones": ["lstm"]}, "backbone 'lstm' is unknown; expected one of hrm"),
        ({"precisions": ["float8"]}, "precision 'float8' is unknown"),
        ({"compile_modes": ["fast"]}, "compile 'fast' is unknown"),
        ({"batch_sizes": [0]}, "batch is 0; expected at least 1"),
        ({"cycles": [0]}, "cycles is 0; expected at least 1"),
        ({"q_target": "later"}, "q_target 'later' is unknown"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        bench_training(Console(quiet=True), device="cpu", **arguments)


def test_lists_on_the_command_line():
    assert split_names("hrm, trm") == ["hrm", "trm"]
    assert split_names("") == split_names("none") == []
    assert split_numbers("batch", "4,16") == [4, 16]
    with pytest.raises(ConfigError, match="batch is '4;16'; expected whole numbers"):
        split_numbers("batch", "4;16")
