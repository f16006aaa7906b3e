"""`hrm-gym bench train`: how fast networks train on this device, what memory a step takes, and both beside the published loop.

What the figures mean:

- *examples/s*: slots advanced by one step of thought in a second, that is batch size times optimiser steps a second. Slots begin at depths
  spread over 0 to max_steps - 1, as in the middle of a run. *puzzles/s* counts those that halted in the timed steps; how early an untrained
  network halts is chance, so it says little more than examples/s over max_steps.
- *ms a step*: the median over repeats, with the fastest and the slowest. A repeat is a block of steps; the host waits for the device only
  at its end. Where two loops are compared, their repeats take turns.
- *FLOPs per example*: multiplications and additions of matrix products and attention, forward and backward, in one real training step: the
  increase from a batch of 2 to one of 4, so that work that does not grow with the batch (an optimiser's matrix products) is left out. Also
  left out: everything element by element (norms, activations, softmax, losses, the optimiser's arithmetic), lookups, verification.
  Whatever a loop does counts, thought without gradient and the published loop's second forward pass included.
- *utilisation* (MFU): FLOPs per example times examples/s, over the device's peak in that precision: the maker's dense figure for the GPUs
  in `PEAKS`, elsewhere (a CPU, another GPU) the best rate of a large square matrix product on this machine. It says how busy the
  arithmetic units are; work done in vain counts as well.
- *peak memory*: the most bytes of tensors alive at once during one training step after the first, weights and optimiser state
  included: on CUDA `max_memory_allocated`, on a CPU the sum over the events of torch's allocator, exact and the same in each run. What
  libraries take by themselves (CUDA context, scratch space inside oneDNN and MKL, Python) is in neither. MPS keeps no such record.
"""

from __future__ import annotations

import gc
import json
import math
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import torch
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from hrm_gym.agents.agent import write_whole
from hrm_gym.agents.backbones import BACKBONES
from hrm_gym.agents.devices import choose_device
from hrm_gym.agents.network import PRECISIONS, RecursiveNetwork
from hrm_gym.bench import machine
from hrm_gym.envs.errors import ConfigError
from hrm_gym.published_loop import PublishedLoop
from hrm_gym.train.config import TrainConfig, preset
from hrm_gym.train.data import TrainingData, load_training_data
from hrm_gym.train.loop import Trainer

PRESET = "sudoku-9x9"
CYCLES = (4, 16, 64)
SECONDS = 3.0
REPEATS = 5
PUZZLES = 1_000
LISTED = ("hub:", "csv:", "lines:")  # sources that may not be on this machine
FLOP_BATCHES = (2, 4)
MEASURED = "hrm-gym: measured step"
MEMORY_EVENT = "[memory]"
OURS, PUBLISHED = "hrm-gym", "published"

# Peak rates in 10^12 operations a second, dense: bfloat16 and TF32 on tensor cores, float32 without. From NVIDIA's data sheets "H100 Tensor
# Core GPU", "H200 Tensor Core GPU", "A100 Tensor Core GPU" (figures with sparsity halved) and the white paper "Ada GPU Architecture"
# (GeForce RTX 4090, sums in float32). Names as `torch.cuda.get_device_name` gives them; a card of another name is measured.
_H100_SXM = {"bfloat16": 989.4, "tf32": 494.7, "float32": 66.9}
_A100 = {"bfloat16": 312.0, "tf32": 156.0, "float32": 19.5}
PEAKS: dict[str, dict[str, float]] = {
    "NVIDIA H100 80GB HBM3": _H100_SXM,
    "NVIDIA H200": _H100_SXM,
    "NVIDIA H100 PCIe": {"bfloat16": 756.5, "tf32": 378.2, "float32": 51.2},
    "NVIDIA A100-SXM4-40GB": _A100,
    "NVIDIA A100-SXM4-80GB": _A100,
    "NVIDIA A100-PCIE-40GB": _A100,
    "NVIDIA A100 80GB PCIe": _A100,
    "NVIDIA GeForce RTX 4090": {"bfloat16": 165.2, "tf32": 82.6, "float32": 82.6},
}


class Loop(Protocol):
    """A training loop under measurement."""

    network: RecursiveNetwork

    def step(self) -> None:
        """One optimiser step."""

    def finished(self) -> int:
        """Puzzles that halted since the last call; the host waits for the device."""


class OurLoop:
    """`train.loop.Trainer` as a `Loop`."""

    def __init__(self, config: TrainConfig, data: TrainingData, report: Callable[[str], None] | None = None) -> None:
        self.trainer = Trainer(config, data, report=report)
        self.network = self.trainer.network
        for slots in self.trainer.parts:
            slots.steps = torch.arange(len(slots), device=self.trainer.device) % config.max_steps

    def step(self) -> None:
        self.trainer.train_step()

    def finished(self) -> int:
        return round(self.trainer.read_metrics()["puzzles"])


@dataclass
class Figures:
    """What was measured of one loop at one batch size and precision; see the module's text. `milliseconds`: per step, one for each repeat.
    `peak_memory`: bytes; None where the device keeps no record. `failed`: why there are no figures, else empty."""

    loop: str
    backbone: str
    precision: str
    batch_size: int
    compile: str
    parameters: int = 0
    milliseconds: list[float] = field(default_factory=list)
    steps_timed: int = 0
    examples_per_second: float = math.nan
    steps_per_second: float = math.nan
    puzzles_per_second: float = math.nan
    flops_per_example: float = math.nan
    flops_per_step_outside_the_batch: float = math.nan
    utilisation: float = math.nan
    peak_memory: int | None = None
    failed: str = ""

    @property
    def step_milliseconds(self) -> float:
        return statistics.median(self.milliseconds) if self.milliseconds else math.nan


@dataclass(frozen=True)
class Gain:
    """Ours against the published loop. examples_per_second: ratio of the medians; lowest, highest: of two neighbouring repeats.
    peak_memory: ratio, ours over the published; None where it is not known."""

    precision: str
    batch_size: int
    compile: str
    published_compile: str
    examples_per_second: float
    lowest: float
    highest: float
    peak_memory: float | None


@dataclass(frozen=True)
class CycleMemory:
    """Bytes at the peak of one training step with `cycles` cycles per step; `resident` of them were there before the step."""

    backbone: str
    cycles: int
    peak_memory: int
    resident: int


# -- single measurements ------------------------------------------------------------------------------------------------------------------


def wait_for(device: torch.device) -> None:
    """Until the device has done all that it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def peak_memory(build: Callable[[], Loop], device: torch.device, warm_up: int = 1) -> tuple[Loop, int | None, int | None]:
    """Build a loop, warm it up, and watch the memory of its next step.

    Args:
        build: makes the loop; what it allocates on the device counts.
        device: where the loop runs.
        warm_up: steps before, in which the optimiser makes its state and compilation happens.

    Returns:
        The loop; the most bytes alive at once during the step; those alive before it. None, None on MPS.
    """
    gc.collect()  # what is left of other loops is not to be freed in between
    if device.type == "cuda":
        wait_for(device)
        outside = torch.cuda.memory_allocated(device)
        loop = build()
        for _ in range(warm_up):
            loop.step()
        wait_for(device)
        resident = torch.cuda.memory_allocated(device) - outside
        torch.cuda.reset_peak_memory_stats(device)
        loop.step()
        wait_for(device)
        return loop, torch.cuda.max_memory_allocated(device) - outside, resident
    if device.type == "mps":
        loop = build()
        for _ in range(warm_up + 1):
            loop.step()
        return loop, None, None
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        loop = build()
        for _ in range(warm_up):
            loop.step()
        with record_function(MEASURED):
            loop.step()
    return loop, *_peak_of_events(profiler)


def _peak_of_events(profiler: profile) -> tuple[int, int]:
    """The most bytes alive at once inside the measured step, and those alive at its beginning."""
    assert profiler.profiler is not None and profiler.profiler.kineto_results is not None
    events = profiler.profiler.kineto_results.events()
    begin, end = next(
        (event.start_ns(), event.start_ns() + event.duration_ns()) for event in events if event.name() == MEASURED
    )
    sizes = [(event.start_ns(), event.nbytes()) for event in events if event.name() == MEMORY_EVENT]  # type: ignore[attr-defined]
    changes = sorted(sizes, key=lambda change: change[0])
    alive = resident = peak = 0
    for when, size in changes:
        if when > end:
            break
        alive += size
        if when < begin:
            resident = peak = alive
        else:
            peak = max(peak, alive)
    return peak, resident


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward_flops(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(gradient, query, key, value)


# torch's counter knows the attention kernels of CUDA only
CPU_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flops,
}


def count_flops(call: Callable[[], Any]) -> int:
    """Multiplications and additions of the matrix products and attentions in `call`."""
    with FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
        call()
    return counter.get_total_flops()


def flops_per_example(build: Callable[[int], Loop]) -> tuple[float, float]:
    """FLOPs of a training step for each slot, and those that the batch size does not change.

    Args:
        build: makes an eager loop of a batch size.
    """
    few, many = (count_flops(build(batch_size).step) for batch_size in FLOP_BATCHES)
    slope = (many - few) / (FLOP_BATCHES[1] - FLOP_BATCHES[0])
    return slope, few - slope * FLOP_BATCHES[0]


def peak_flops(device: torch.device, precision: str) -> tuple[float, str]:
    """Operations a second that the device could do in `precision`, and where the figure is from."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        tensor_cores = torch.get_float32_matmul_precision() != "highest"
        kind = "tf32" if precision == "float32" and tensor_cores else precision
        if kind in PEAKS.get(name, {}):
            return PEAKS[name][kind] * 1e12, f"data sheet of {name}, dense {kind}"
    size = 1024 if device.type == "cpu" else 8192
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(size, size, generator=generator).to(device, PRECISIONS[precision]) for _ in range(2))
    times: list[float] = []
    while len(times) < 3 or sum(times) < 0.5:
        wait_for(device)
        begin = time.perf_counter()
        torch.mm(left, right)
        wait_for(device)
        times.append(time.perf_counter() - begin)
    return 2 * size**3 / min(times), f"measured: the best of many {size} x {size} matrix products in {precision}"


def time_in_turns(
    loops: Sequence[Loop], device: torch.device, seconds: float, repeats: int
) -> list[tuple[list[float], int, int]]:
    """Time loops by turns, so that what else happens on the machine meets them alike.

    Args:
        seconds: of each loop, over all repeats; a repeat has one step at least.

    Returns:
        For each loop the seconds per step of each repeat, all steps timed and the puzzles that halted in them.
    """

    def block(loop: Loop, steps: int) -> tuple[float, int]:
        wait_for(device)
        begin = time.perf_counter()
        for _ in range(steps):
            loop.step()
        finished = loop.finished()
        wait_for(device)
        return time.perf_counter() - begin, finished

    steps = []
    for loop in loops:
        once, _ = block(loop, 1)
        if once < seconds / repeats:  # many steps to a block, so their number had better be exact
            once = min(once, block(loop, 1)[0])
        steps.append(max(1, math.ceil(seconds / repeats / once)))
    times: list[list[float]] = [[] for _ in loops]
    halted = [0] * len(loops)
    for _ in range(repeats):
        for number, loop in enumerate(loops):
            passed, finished = block(loop, steps[number])
            times[number].append(passed / steps[number])
            halted[number] += finished
    return [(times[number], steps[number] * repeats, halted[number]) for number in range(len(loops))]


# -- the whole benchmark ------------------------------------------------------------------------------------------------------------------


class TrainingBenchmark:
    """Measures one network's training on one device.

    Args:
        config: the network and how it is trained.
        data: the puzzles of all loops.
        seconds: of timing for each loop.
        repeats: into how many blocks they are cut.
        report: told what the user should know (torch.compile failed).
    """

    def __init__(
        self, config: TrainConfig, data: TrainingData, seconds: float, repeats: int, report: Callable[[str], None]
    ) -> None:
        self.config = config
        self.data = data
        self.device = choose_device(config.device)
        self.seconds = seconds
        self.repeats = repeats
        self.report = report
        self.peaks: dict[str, tuple[float, str]] = {}
        self.flops: dict[tuple[str, str, str], tuple[float, float]] = {}  # by loop, backbone and precision

    def peak(self, precision: str) -> tuple[float, str]:
        """`peak_flops` of this device, measured once."""
        if precision not in self.peaks:
            self.peaks[precision] = peak_flops(self.device, precision)
        return self.peaks[precision]

    def cell(self, backbone: str, precision: str, batch_size: int, modes: Sequence[str], published: bool) -> list[Figures]:
        """One backbone at one batch size and precision.

        Args:
            modes: values of `TrainConfig.compile`, each a loop of ours.
            published: measure the published loop beside them; with torch.compile too if one of ours has it.
        """
        config = self.config.replace(backbone=backbone, precision=precision, batch_size=batch_size)
        loops: list[tuple[Figures, Loop]] = []
        rows: list[Figures] = []
        wanted = [(OURS, mode) for mode in modes]
        if published:
            wanted += [(PUBLISHED, "off")] + ([(PUBLISHED, "forward")] if any(mode != "off" for mode in modes) else [])
        for loop, mode in wanted:
            figures = Figures(loop, backbone, precision, batch_size, mode)
            rows.append(figures)
            try:
                loops.append((figures, self.prepare(figures, config)))
            except torch.OutOfMemoryError:
                figures.failed = "out of memory"
        try:
            timed = time_in_turns([loop for _, loop in loops], self.device, self.seconds, self.repeats)
        except torch.OutOfMemoryError:
            for figures, _ in loops:
                figures.failed = "out of memory, all of them together"
            return rows
        peak, _ = self.peak(precision)
        for (figures, _), (times, steps, halted) in zip(loops, timed, strict=True):
            figures.milliseconds = [1000.0 * seconds for seconds in times]
            figures.steps_timed = steps
            figures.steps_per_second = 1000.0 / figures.step_milliseconds
            figures.examples_per_second = batch_size * figures.steps_per_second
            figures.puzzles_per_second = halted / steps * figures.steps_per_second
            figures.utilisation = figures.flops_per_example * figures.examples_per_second / peak
        return rows

    def prepare(self, figures: Figures, config: TrainConfig) -> Loop:
        """A loop that is ready to be timed; its FLOPs and memory are written into `figures`."""
        kind = (figures.loop, figures.backbone, figures.precision)
        if kind not in self.flops:
            eager = config.replace(compile="off", accumulate=1)
            self.flops[kind] = flops_per_example(
                lambda batch_size: self.build(figures.loop, eager.replace(batch_size=batch_size), "off")
            )
        figures.flops_per_example, figures.flops_per_step_outside_the_batch = self.flops[kind]
        loop, figures.peak_memory, _ = peak_memory(
            lambda: self.build(figures.loop, config, figures.compile), self.device, warm_up=1 if figures.compile == "off" else 4
        )
        figures.parameters = sum(parameter.numel() for parameter in loop.network.parameters())
        if isinstance(loop, OurLoop) and loop.trainer.thinking.mode != figures.compile:
            figures.compile = f"{loop.trainer.thinking.mode} ({figures.compile} failed)"
        return loop

    def build(self, loop: str, config: TrainConfig, mode: str) -> Loop:
        """Ours or the published loop, its slots at all depths."""
        if loop == OURS:
            return OurLoop(config.replace(compile=mode), self.data, self.report)
        rows = PublishedLoop.on(self.data, config, compiled=mode != "off")
        rows.spread_steps()
        return rows

    def cycle_memory(self, cycles: int, backbone: str, precision: str, batch_size: int) -> CycleMemory | None:
        """Peak memory of a step of `cycles` cycles; None where the device keeps no record."""
        config = self.config.replace(
            backbone=backbone, precision=precision, batch_size=batch_size, h_cycles=cycles, compile="off", accumulate=1
        )
        _, peak, resident = peak_memory(lambda: OurLoop(config, self.data, self.report), self.device)
        return None if peak is None or resident is None else CycleMemory(backbone, cycles, peak, resident)


def gains(rows: Sequence[Figures]) -> list[Gain]:
    """Each of our loops among `rows` against each published loop of the same backbone, batch size and precision."""
    found = []
    for ours, theirs in product(rows, rows):
        alike = (ours.backbone, ours.precision, ours.batch_size) == (theirs.backbone, theirs.precision, theirs.batch_size)
        if (ours.loop, theirs.loop) != (OURS, PUBLISHED) or not alike or ours.failed or theirs.failed:
            continue
        ratios = [slow / fast for fast, slow in zip(ours.milliseconds, theirs.milliseconds, strict=True)]
        known = ours.peak_memory is not None and theirs.peak_memory is not None
        found.append(
            Gain(
                precision=ours.precision,
                batch_size=ours.batch_size,
                compile=ours.compile,
                published_compile=theirs.compile,
                examples_per_second=theirs.step_milliseconds / ours.step_milliseconds,
                lowest=min(ratios),
                highest=max(ratios),
                peak_memory=ours.peak_memory / theirs.peak_memory if known else None,  # type: ignore[operator]
            )
        )
    return found


def benchmark_config(name: str, device: str, seed: int, q_target: str | None = None) -> TrainConfig:
    """The preset `name` as it is measured: on puzzles that are generated, where its own may not be on this machine.

    Args:
        q_target: None: the preset's, but "next-step" in place of "lookahead", whose second forward pass is what our loop does without.

    Raises:
        ConfigError: unknown preset or Q target.
    """
    config = preset(name).replace(device=choose_device(device).type, seed=seed, evaluate_every=0)
    if q_target is None:
        q_target = "next-step" if config.q_target == "lookahead" else config.q_target
    config = config.replace(q_target=q_target)
    if config.family != "arc":
        generated = {key: value for key, value in config.puzzles.items() if key in ("size", "difficulty", "recipe")}
        listed = str(config.puzzles.get("source", "")).startswith(LISTED)
        config = config.replace(
            puzzles=generated if listed else config.puzzles,
            test_source="",
            train_puzzles=min(config.train_puzzles, PUZZLES),
            test_puzzles=1,
            validation_puzzles=0,
        )
    return config


def bench_training(
    console: Console,
    out: Path | None = None,
    preset_name: str = PRESET,
    backbones: Sequence[str] | None = None,
    batch_sizes: Sequence[int] | None = None,
    precisions: Sequence[str] | None = None,
    compile_modes: Sequence[str] = ("off",),
    cycles: Sequence[int] = CYCLES,
    seconds: float = SECONDS,
    repeats: int = REPEATS,
    device: str = "auto",
    q_target: str | None = None,
    published: bool = True,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure training, print it, and with `out` save it as JSON.

    Args:
        preset_name: whose network and training settings are measured; its puzzles are generated where they would be read from a list.
        backbones: names of `BACKBONES`; None: all.
        batch_sizes: None: the preset's.
        precisions: names of `PRECISIONS`; None: float32, and on CUDA bfloat16 too.
        compile_modes: values of `TrainConfig.compile`.
        cycles: cycles per step at which the memory of a step is measured; empty: not measured.
        seconds: of timing for each loop, after warming up.
        repeats: blocks that they are cut into, the source of the spread.
        q_target: of our loop, as in `benchmark_config`; the published one always thinks ahead.
        published: measure the published loop beside our HRM.

    Raises:
        ConfigError: an unknown name or a number out of range.
        DeviceError: the device is not there.
    """
    place = choose_device(device)
    config = benchmark_config(preset_name, device, seed, q_target)
    backbones = list(backbones or BACKBONES)
    batch_sizes = list(batch_sizes or [config.batch_size])
    precisions = list(precisions or (["bfloat16", "float32"] if place.type == "cuda" else ["float32"]))
    _check(backbones, batch_sizes, precisions, compile_modes, cycles, repeats, config)

    with console.status("puzzles"):
        data = load_training_data(config)
    published = published and not config.network(data.family, data.puzzle_ids).puzzle_embedding_size
    benchmark = TrainingBenchmark(config, data, seconds, repeats, console.print)
    about = training_machine(place)
    rows: list[Figures] = []
    for precision in precisions:
        with console.status(f"peak in {precision}"):
            benchmark.peak(precision)
        for batch_size in batch_sizes:
            for backbone in backbones:
                with console.status(f"{backbone}, batch {batch_size}, {precision}"):
                    rows += benchmark.cell(backbone, precision, batch_size, compile_modes, published and backbone == "hrm")
                gc.collect()
    memories = []
    for count in cycles:
        with console.status(f"memory at {count} cycles"):
            memory = benchmark.cycle_memory(count, "hrm", precisions[0], batch_sizes[0])
            memories += [] if memory is None else [memory]

    found = gains(rows)
    _print(console, preset_name, config, about, rows, found, memories, benchmark.peaks)
    report = {
        "machine": about,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join(["hrm-gym", *sys.argv[1:]]),
        "seed": seed,
        "preset": preset_name,
        "config": config.to_dict(),
        "seconds": seconds,
        "peaks": {
            precision: {"flops_per_second": rate, "source": source} for precision, (rate, source) in benchmark.peaks.items()
        },
        "memory": _memory_source(place),
        "figures": [asdict(row) for row in rows],
        "gains": [asdict(gain) for gain in found],
        "cycles": [asdict(memory) for memory in memories],
    }
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, (json.dumps(_without_nan(report), indent=2) + "\n").encode())
        console.print(f"Written: {out}")
    return report


def _check(
    backbones: Sequence[str],
    batch_sizes: Sequence[int],
    precisions: Sequence[str],
    compile_modes: Sequence[str],
    cycles: Sequence[int],
    repeats: int,
    config: TrainConfig,
) -> None:
    for what, names, known in (("backbone", backbones, BACKBONES), ("precision", precisions, PRECISIONS)):
        for name in names:
            if name not in known:
                raise ConfigError(f"{what} {name!r} is unknown; expected one of {', '.join(known)}")
    for mode in compile_modes:
        config.replace(compile=mode)
    for what, numbers in (("batch", batch_sizes), ("cycles", cycles), ("repeats", [repeats])):
        for number in numbers:
            if number < 1:
                raise ConfigError(f"{what} is {number}; expected at least 1")
    if batch_sizes and min(batch_sizes) < config.accumulate:
        raise ConfigError(f"batch is {min(batch_sizes)}; expected at least the preset's accumulate, {config.accumulate}")


def training_machine(device: torch.device) -> dict[str, Any]:
    """What the figures were measured on."""
    return machine() | {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "float32 products": torch.get_float32_matmul_precision(),
    }


def _memory_source(device: torch.device) -> str:
    return {
        "cuda": "torch.cuda.max_memory_allocated",
        "cpu": "events of torch's CPU allocator: tensors, without scratch space of libraries",
    }.get(device.type, "not recorded on this device")


def _without_nan(tree: Any) -> Any:
    """JSON has no NaN: None stands for what was not measured."""
    if isinstance(tree, dict):
        return {key: _without_nan(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_without_nan(value) for value in tree]
    return None if isinstance(tree, float) and math.isnan(tree) else tree


def _number(value: float) -> str:
    """Three significant digits, thousands set apart."""
    if math.isnan(value):
        return "-"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _bytes(value: int | None) -> str:
    return "-" if value is None else f"{value / 2**20:,.1f} MiB"


def _print(
    console: Console,
    name: str,
    config: TrainConfig,
    about: dict[str, Any],
    rows: Sequence[Figures],
    found: Sequence[Gain],
    memories: Sequence[CycleMemory],
    peaks: dict[str, tuple[float, str]],
) -> None:
    where = about["device"] if about["device"] != "cpu" else f"{about['processor']}, {about['threads']} threads"
    table = Table(title=f"Training {name}: {where}, torch {about['torch']}", title_style="bold")
    # what follows from the rest, or is the same in many rows, gives way on a narrow terminal; the file has everything
    wide = console.width >= 140
    for heading in ("loop", "backbone", "precision, batch, compile"):
        table.add_column(heading)
    headings = ("examples/s", "ms a step", "GFLOP/example", "utilisation", "peak memory")
    for heading in (*headings, "steps/s", "puzzles/s", "parameters") if wide else headings:
        table.add_column(heading, justify="right")
    for row in rows:
        labels = (row.loop, row.backbone, f"{row.precision}, {row.batch_size}, {row.compile}")
        if row.failed:
            table.add_row(*labels, row.failed)
            continue
        figures = (
            _number(row.examples_per_second),
            f"{_number(row.step_milliseconds)} ({_number(min(row.milliseconds))} to {_number(max(row.milliseconds))})",
            _number(row.flops_per_example / 1e9),
            f"{100 * row.utilisation:.1f} %",
            _bytes(row.peak_memory),
        )
        more = (_number(row.steps_per_second), _number(row.puzzles_per_second), f"{row.parameters:,}")
        table.add_row(*labels, *figures, *(more if wide else ()))
    console.print(table)
    for precision, (rate, source) in peaks.items():
        console.print(f"utilisation in {precision} is of {rate / 1e12:.3g} TFLOP/s ({source})", highlight=False)

    if found:
        table = Table(title="HRM: hrm-gym over the published loop, in turns in this run", title_style="bold")
        for heading in ("precision", "batch", "compile", "published compile"):
            table.add_column(heading)
        table.add_column("examples/s", justify="right")
        table.add_column("peak memory", justify="right")
        for gain in found:
            memory = "-" if gain.peak_memory is None else f"{gain.peak_memory:.3f} times"
            speed = f"{gain.examples_per_second:.2f} times ({gain.lowest:.2f} to {gain.highest:.2f})"
            table.add_row(gain.precision, str(gain.batch_size), gain.compile, gain.published_compile, speed, memory)
        console.print(table)
        console.print(
            f"hrm-gym: {config.optimiser}, {config.draft_loss}, Q target {config.q_target}; published: adam-atan2, stablemax in "
            "float64, a second forward pass, metrics on the host at each step",
            highlight=False,
        )
    if memories:
        table = Table(title="Memory of one step, one-step gradient (hrm)", title_style="bold")
        for heading in ("cycles a step", "peak memory", "of it for the step", "against the first"):
            table.add_column(heading, justify="right")
        for at in memories:
            change = at.peak_memory / memories[0].peak_memory - 1
            extra = at.peak_memory - at.resident
            table.add_row(str(at.cycles), _bytes(at.peak_memory), _bytes(extra), f"{100 * change:+.2f} %")
        console.print(table)
