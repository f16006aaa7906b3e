"""Training of the control that writes its reasoning out: next-token prediction with teacher forcing, at a budget of FLOPs.

The puzzles, their symmetries, the optimisers and the average of the weights are those of the HRM run that it is compared with. What differs
is the network, of as many parameters, and the loss: cross entropy of the trace's tokens and of the answer's cells, each given those before.
"""

from __future__ import annotations

import copy
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from hrm_gym.agents.agent import write_whole
from hrm_gym.agents.devices import choose_device, device_name
from hrm_gym.agents.flops import counting
from hrm_gym.agents.published import load_weights
from hrm_gym.agents.written_out import NO_LABEL, WrittenOutAgent, WrittenOutNetwork, matched_config, write_sequences
from hrm_gym.envs.errors import CheckpointError, ConfigError
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.traces import trace, trace_lengths
from hrm_gym.train.checkpoint import copy_into, load_checkpoint, save_checkpoint
from hrm_gym.train.config import TrainConfig
from hrm_gym.train.data import TrainingData, TrainingPuzzles, load_training_data
from hrm_gym.train.loop import (
    AGENT_FOLDER,
    BEST_FOLDER,
    CHECKPOINT_FILE,
    CONFIG_FILE,
    TEST_PUZZLES_WHILE_TRAINING,
    MetricsLog,
    Trainer,
    read_config,
    stop_signals,
)
from hrm_gym.train.losses import draft_loss
from hrm_gym.train.optimisers import Optimisers, WeightAverage
from hrm_gym.train.processes import shares
from hrm_gym.train.progress import Progress

WRITTEN_OUT_FILE = "written_out.json"  # what a run is beyond its TrainConfig
SUMS = ("puzzles", "loss", "right_trace", "trace", "right_cells", "right_answers", "gradient_norm")
COUNTED_PUZZLES = 16  # of the training puzzles are enough to count FLOPs with


class WrittenOutTrainer:
    """One training run in memory.

    Args:
        config: the settings of the run that it is compared with: its network is what the parameters are matched to; data, optimiser, batch
            and schedule are used as they are, all that is about steps of thought and halting is not.
        with_trace: whether the solver's steps are written before the answer.
        data: its puzzles; None: loaded as the configuration says.
        trace_length: room for the trace; None: the longest trace of a training puzzle.

    Attributes:
        optimiser_step: optimiser steps done.
        best_accuracy, best_step: on the validation puzzles, and when it was reached.

    Raises:
        ConfigError: ARC; or settings for several processes or torch.compile, which this loop does not have.
        DeviceError: the device is not there.
    """

    def __init__(
        self, config: TrainConfig, with_trace: bool, data: TrainingData | None = None, trace_length: int | None = None
    ) -> None:
        if config.family == "arc":
            raise ConfigError("ARC tasks have no written-out control (no solver, and identity by task); take sudoku or maze")
        if config.compile != "off":
            raise ConfigError(f"compile is {config.compile!r}; written-out training is not compiled, set compile=off")
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ConfigError("written-out training runs in one process; start it without torchrun")
        if config.batch_size < config.accumulate:
            raise ConfigError(f"batch_size is {config.batch_size}; expected at least accumulate = {config.accumulate}")
        self.config = config
        self.with_trace = with_trace
        self.device = choose_device(config.device)
        self.data = load_training_data(config) if data is None else data
        self.optimiser_step = 0
        self.seconds = 0.0
        self.best_accuracy, self.best_step = -1.0, 0

        family = self.data.family
        if not with_trace:
            trace_length = 0
        elif trace_length is None:
            trace_length = longest_trace(self.data)
        self.puzzle_stream = torch.Generator(self.device).manual_seed(config.seed * 4 + 1)
        self.puzzles = TrainingPuzzles(
            self.data, config.augment, config.augmentations, config.seed, self.device, self.puzzle_stream
        )
        self.code = self.puzzles.on_device.code
        shape = matched_config(config.network(family), trace_length)
        self.network = WrittenOutNetwork(shape, config.seed).to(self.device).train()
        self.optimisers = Optimisers(self.network, config)
        self.average = None
        if config.average_decay:
            self.average = WeightAverage(self.network, config.average_decay, config.average_from)
        self.sums = {name: torch.zeros((), device=self.device) for name in SUMS}

    # -- one optimiser step ---------------------------------------------------------------------------------------------

    def train_step(self) -> None:
        """A new batch of puzzles, and one step of the optimiser. The traces of the puzzles as shown are written by the host."""
        config = self.config
        numbers = self.puzzles.draw_numbers(config.batch_size)
        for piece in shares(config.batch_size, config.accumulate):
            self.learn_from(numbers[:, piece])
        norm = self.optimisers.step(self.optimiser_step)
        if self.average is not None:
            self.average.update(self.optimiser_step)
        if norm is not None:
            self.sums["gradient_norm"] += norm.detach() * config.batch_size
        self.optimiser_step += 1

    def learn_from(self, numbers: torch.Tensor) -> None:
        """Add the gradient of some puzzles' losses, over the whole batch's size, to the parameters'."""
        config, shape, family = self.config, self.network.config, self.data.family
        _, questions, answers = self.puzzles.show(numbers)
        traces = None
        if self.with_trace:
            grids = [grid.cpu().numpy().reshape(-1, *family.shape) for grid in (questions, answers)]
            traces = trace(family, grids[0], grids[1])
        sequences = write_sequences(shape, self.code, questions, answers, traces)
        first = shape.cells - 1 if self.with_trace else shape.cells  # the first slot that predicts something
        logits = self.network.lm_head(self.network(sequences.tokens, sequences.valid)[:, first:])
        labels = sequences.labels[:, first:]  # [B, n]
        losses = draft_loss(logits, labels, config.draft_loss, config.label_smoothing)
        (losses.sum() / config.batch_size).backward()
        with torch.no_grad():
            right, counted = logits.argmax(-1) == labels, labels != NO_LABEL
            right_cells = right[:, -shape.cells :]
            for name, value in {
                "puzzles": torch.full((), float(len(labels)), device=self.device),
                "loss": losses.sum(),
                "right_trace": right[:, : -shape.cells].sum(),
                "trace": counted[:, : -shape.cells].sum(),
                "right_cells": right_cells.float().mean(-1).sum(),
                "right_answers": right_cells.all(-1).sum(),
            }.items():
                self.sums[name] += value

    # -- metrics --------------------------------------------------------------------------------------------------------

    def read_metrics(self) -> dict[str, float]:
        """Means since the last reading; here the host waits for the device. All but the loss and the gradient's norm are shares of
        predictions that are right when all before them are given, which is easier than writing them oneself."""
        sums = dict(zip(SUMS, torch.stack([self.sums[name] for name in SUMS]).tolist(), strict=True))
        for total in self.sums.values():
            total.zero_()
        puzzles = max(sums["puzzles"], 1.0)
        metrics = {
            "loss": sums["loss"] / puzzles,
            "gradient_norm": sums["gradient_norm"] / puzzles,
            "forced_cell_accuracy": sums["right_cells"] / puzzles,
            "forced_accuracy": sums["right_answers"] / puzzles,
            "puzzles": sums["puzzles"],
        }
        if self.with_trace:
            metrics["forced_trace_accuracy"] = sums["right_trace"] / max(sums["trace"], 1.0)
        return metrics

    def evaluate(self, puzzles: Puzzles) -> dict[str, float]:
        """What the agent of now writes for `puzzles`: accuracy, mean tokens, its mean probability of its answers, traces that ended."""
        solutions = self.agent().solve(puzzles)
        return {
            "accuracy": solutions.accuracy,
            "mean_tokens": solutions.mean_tokens,
            "halt_value": float(solutions.halt_values.mean()),
            "trace_ended": float(solutions.trace_ended.mean()),
        }

    # -- the trained agent ------------------------------------------------------------------------------------------------

    def agent(self) -> WrittenOutAgent:
        """An agent with the averaged weights (or, without an average, a copy of the weights)."""
        network = copy.deepcopy(self.network)
        if self.average is not None:
            self.average.copy_to(network)
        description = {
            "trained": {
                "optimiser_steps": self.optimiser_step,
                "seconds": round(self.seconds, 1),
                "device": device_name(self.device),
                "trace": self.with_trace,
                "config": self.config.to_dict(),
            }
        }
        return WrittenOutAgent(network, self.data.family, self.device, description)

    # -- the whole state ----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next optimiser step depends on."""
        return {
            "optimiser_step": self.optimiser_step,
            "seconds": self.seconds,
            "best": [self.best_accuracy, self.best_step],
            "network": dict(self.network.state_dict()),
            "average": None if self.average is None else list(self.average.average),
            "optimisers": self.optimisers.state_dicts(),
            "stream": self.puzzle_stream.get_state(),
            "sums": self.sums,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` gave.

        Raises:
            CheckpointError: it is another run's.
        """
        try:
            load_weights(self.network, state["network"], "checkpoint")
            if self.average is not None:
                for own, source in zip(self.average.average, state["average"], strict=True):
                    copy_into(own, source, "average of the weights")
            self.optimisers.load_state_dicts(state["optimisers"])
            self.puzzle_stream.set_state(state["stream"])
            for name in SUMS:
                copy_into(self.sums[name], state["sums"][name], name)
            self.optimiser_step, self.seconds = int(state["optimiser_step"]), float(state["seconds"])
            self.best_accuracy, self.best_step = float(state["best"][0]), int(state["best"][1])
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(f"checkpoint is not one of this run ({type(error).__name__}: {error})") from None


def longest_trace(data: TrainingData) -> int:
    """The most entries that the trace of a training puzzle has, under any of its symmetries."""
    return int(trace_lengths(trace(data.family, data.train.questions, data.train.answers)).max())


# -- compute -----------------------------------------------------------------------------------------------------------------


def training_flops(config: TrainConfig, data: TrainingData | None = None) -> float:
    """FLOPs of one optimiser step of the run that `config` describes (`train`), forward and backward, for the whole batch.

    Counted, not estimated: steps are taken with one and with two slots on the CPU, and what they differ by is a slot's share; the rest
    (Muon's products) does not grow with the batch. Of "lookahead" it is the mean over `lookahead_every` steps.
    """
    data = load_training_data(config) if data is None else data
    few = replace(data, train=data.train.take(slice(COUNTED_PUZZLES)))
    return _step_flops(config, lambda small: Trainer(small, few))


def written_out_flops(config: TrainConfig, with_trace: bool, data: TrainingData | None = None) -> float:
    """FLOPs of one optimiser step of `WrittenOutTrainer`, counted like `training_flops`; unused slots of short traces count, as they are
    computed."""
    data = load_training_data(config) if data is None else data
    room = longest_trace(data) if with_trace else 0
    few = replace(data, train=data.train.take(slice(COUNTED_PUZZLES)))
    return _step_flops(config, lambda small: WrittenOutTrainer(small, with_trace, few, room))


def _step_flops(config: TrainConfig, make: Callable[[TrainConfig], Trainer | WrittenOutTrainer]) -> float:
    def counted(slots: int) -> float:
        trainer = make(config.replace(batch_size=slots, accumulate=1, device="cpu", compile="off", precision="float32"))
        counts = []
        for _ in range(2):
            with counting() as counter:
                trainer.train_step()
            counts.append(counter.get_total_flops())
        ahead = 1 / config.lookahead_every  # the share of steps that look ahead; the first does, the second where all do
        return ahead * counts[0] + (1 - ahead) * counts[1]

    one, two = counted(1), counted(2)
    return one + (config.batch_size - 1) * (two - one)


# -- the run -----------------------------------------------------------------------------------------------------------------


def train_written_out(
    config: TrainConfig,
    folder: str | Path | None = None,
    trace: bool = True,
    equal_to: TrainConfig | str | Path | float | None = None,
    resume: bool = False,
    show_progress: bool = True,
    data: TrainingData | None = None,
) -> Path:
    """Train the written-out control, and return the run folder: `config.json`, `written_out.json`, `metrics.jsonl`,
    `checkpoint.safetensors`, `best/`, `agent/`, TensorBoard events.

    Ctrl-C and SIGTERM save a checkpoint and raise KeyboardInterrupt; `resume` continues from it to the same numbers.

    Args:
        config: the settings, those of the HRM that it is compared with; `optimiser_steps` is replaced by what the budget allows. With
            `resume` the folder's own are used, and neither `config` nor `trace` nor `equal_to` is.
        folder: the run folder; None: `runs/<name>-written-out[-trace]-seed<seed>`.
        trace: whether the solver's steps are written before the answer.
        equal_to: the compute to spend: a number of FLOPs, or another run, as its configuration or its folder; None: the HRM run of
            `config`.
        resume: continue the run in `folder`.
        show_progress: a progress bar on standard error.
        data: puzzles to use in place of those the configuration names.

    Raises:
        ConfigError: the folder holds another run already, `equal_to` is a run on other puzzles, or less than one step's compute.
        CheckpointError: nothing to resume from.
        KeyboardInterrupt: stopped by a signal; everything is saved.
    """
    folder = Path(folder) if folder is not None else default_folder(config, trace)
    if resume:
        config = read_config(folder)
        trace = bool(read_written_out(folder)["trace"])
        state = load_checkpoint(folder / CHECKPOINT_FILE)
        trainer = WrittenOutTrainer(config, trace, data)
        trainer.load_state_dict(state)
    else:
        if (folder / CONFIG_FILE).exists():
            raise ConfigError(f"run folder {folder} exists already; resume it, or choose another")
        data = load_training_data(config) if data is None else data
        budget = _budget(config, equal_to, data)
        each = written_out_flops(config, trace, data)
        if budget < each:
            raise ConfigError(f"a budget of {budget:.3g} FLOPs is less than one optimiser step's {each:.3g}; give more")
        config = config.replace(optimiser_steps=round(budget / each))
        trainer = WrittenOutTrainer(config, trace, data)
        about = {
            "trace": trace,
            "trace_length": trainer.network.config.trace_length,
            "parameters": trainer.network.config.parameters,
            "budget_flops": budget,
            "flops_per_optimiser_step": each,
        }
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / WRITTEN_OUT_FILE, json.dumps(about, indent=2).encode())
        write_whole(folder / CONFIG_FILE, json.dumps(config.to_dict(), indent=2).encode())
    _run(trainer, folder, show_progress)
    return folder


def default_folder(config: TrainConfig, with_trace: bool) -> Path:
    """The run folder where none is given: `runs/<name>-written-out[-trace]-seed<seed>`."""
    return Path("runs") / f"{config.name}-written-out{'-trace' if with_trace else ''}-seed{config.seed}"


def read_written_out(folder: str | Path) -> dict[str, Any]:
    """What the written-out run in `folder` is beyond its configuration: "trace", "trace_length", "parameters", "budget_flops",
    "flops_per_optimiser_step".

    Raises:
        CheckpointError: not such a run, or a broken file.
    """
    path = Path(folder) / WRITTEN_OUT_FILE
    try:
        values: dict[str, Any] = json.loads(path.read_text())
        values["trace"]
    except FileNotFoundError:
        raise CheckpointError(f"{folder} is not the folder of a written-out run: it has no {WRITTEN_OUT_FILE}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is broken ({type(error).__name__}: {error})") from None
    return values


def _budget(config: TrainConfig, equal_to: TrainConfig | str | Path | float | None, data: TrainingData) -> float:
    """The FLOPs to spend, see `train_written_out`."""
    if isinstance(equal_to, int | float):
        return float(equal_to)
    if isinstance(equal_to, str | Path):
        equal_to = read_config(equal_to)
    run = config if equal_to is None else equal_to
    if (run.family, run.puzzles) != (config.family, config.puzzles):
        raise ConfigError(
            f"equal_to trains on {run.family} {run.puzzles}, this run on {config.family} {config.puzzles}; "
            "equal compute says something only on the same puzzles"
        )
    return training_flops(run, data) * run.optimiser_steps


def _run(trainer: WrittenOutTrainer, folder: Path, show_progress: bool) -> None:
    config = trainer.config
    log = MetricsLog(folder, trainer.optimiser_step)
    started, seconds_before = time.monotonic(), trainer.seconds

    def keep() -> None:
        trainer.seconds = seconds_before + time.monotonic() - started
        save_checkpoint(folder / CHECKPOINT_FILE, trainer.state_dict())

    def evaluate() -> None:
        chosen_by = trainer.data.validation
        few = trainer.data.test.take(slice(TEST_PUZZLES_WHILE_TRAINING)) if chosen_by is None else chosen_by
        metrics = trainer.evaluate(few)
        log.write(trainer.optimiser_step, "test" if chosen_by is None else "validation", metrics)
        if chosen_by is not None and metrics["accuracy"] >= trainer.best_accuracy:  # the test puzzles choose nothing
            trainer.best_accuracy, trainer.best_step = metrics["accuracy"], trainer.optimiser_step
            trainer.seconds = seconds_before + time.monotonic() - started
            trainer.agent().save(folder / BEST_FOLDER)

    with Progress(config.name, config.optimiser_steps, trainer.optimiser_step, show_progress) as bar, stop_signals() as stop:
        logged = time.monotonic()
        while trainer.optimiser_step < config.optimiser_steps and not stop():
            trainer.train_step()
            step = trainer.optimiser_step
            finished = step == config.optimiser_steps
            if step % config.log_every == 0 or finished:
                metrics = trainer.read_metrics()
                now = time.monotonic()
                metrics["puzzles_per_second"] = metrics.pop("puzzles") / (now - logged)
                logged = now
                log.write(step, "train", metrics)
                bar.update(step, metrics | {"accuracy": metrics["forced_accuracy"], "mean_steps": 1.0})
            if config.evaluate_every and (step % config.evaluate_every == 0 or finished):
                pause = time.monotonic()
                evaluate()
                logged += time.monotonic() - pause
            if step % config.checkpoint_every == 0:
                keep()
        keep()
        agent = trainer.agent()
        if config.keep == "best" and trainer.best_step:
            agent = WrittenOutAgent.from_pretrained(folder / BEST_FOLDER, trainer.device.type)
        agent.save(folder / AGENT_FOLDER)
        log.close()
        if trainer.optimiser_step < config.optimiser_steps:
            raise KeyboardInterrupt
