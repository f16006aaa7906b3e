"""The training loop: a pool of slots on the device. Each optimiser step advances every slot by one step of thought, supervises its
draft, teaches its Q values what halting and continuing are worth, and gives halted slots new puzzles."""

from __future__ import annotations

import copy
import json
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from hrm_gym.agents.agent import HRMAgent, write_whole
from hrm_gym.agents.backbones import build_network
from hrm_gym.agents.devices import device_name
from hrm_gym.agents.network import RecursiveNetwork, StepOutput
from hrm_gym.agents.published import load_weights
from hrm_gym.envs.errors import CheckpointError, ConfigError
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.train.checkpoint import copy_into, load_checkpoint, save_checkpoint
from hrm_gym.train.compiling import Thinking
from hrm_gym.train.config import TrainConfig
from hrm_gym.train.data import TrainingData, TrainingPuzzles, load_training_data
from hrm_gym.train.losses import halt_loss
from hrm_gym.train.optimisers import Optimisers, WeightAverage
from hrm_gym.train.processes import join_processes, leave_processes, shares
from hrm_gym.train.progress import Progress
from hrm_gym.train.slots import Draws, Slots

CONFIG_FILE = "config.json"
METRICS_FILE = "metrics.jsonl"
CHECKPOINT_FILE = "checkpoint.safetensors"
AGENT_FOLDER = "agent"
BEST_FOLDER = "best"
TEST_PUZZLES_WHILE_TRAINING = 500  # evaluations during training look at the first few test puzzles only

# what is summed on the device between two readings of the metrics, over slots
SUMS = ("slot_steps", "loss", "draft_loss", "halt_loss", "continue_loss", "right_cells", "halted", "halted_verified", "halted_exact",
        "halted_steps", "halted_value", "gradient_norm")  # fmt: skip


class Trainer:
    """One training run in memory: network, optimisers, slots and random streams; under torchrun this process's part of it.

    Args:
        config: the run's settings.
        data: its puzzles; None: loaded as the configuration says.
        network: what is trained, for grids of the data's family; it is moved to the device. None: built as the configuration says.
        report: told, in one line each, what the user should know (torch.compile failed); None: standard error.

    Attributes:
        optimiser_step: optimiser steps done.
        processes: this one and its fellows.
        parts: the slots of this process, in the pieces that its gradient is added up from.
        best_reward, best_step: mean episode reward on the validation puzzles, and when it was reached.

    Raises:
        ConfigError: more processes or pieces than slots.
        DeviceError: the device is not there.
    """

    def __init__(
        self,
        config: TrainConfig,
        data: TrainingData | None = None,
        network: RecursiveNetwork | None = None,
        report: Callable[[str], None] | None = None,
    ) -> None:
        self.config = config
        self.processes, self.device = join_processes(config.device)
        self.data = load_training_data(config) if data is None else data
        self.optimiser_step = 0
        self.seconds = 0.0  # of training so far, over all resumptions
        self.best_reward, self.best_step = -math.inf, 0

        # independent streams: how often one is used changes nothing in the others
        self.puzzle_stream = torch.Generator(self.device).manual_seed(config.seed * 4 + 1)
        self.exploration_stream = torch.Generator(self.device).manual_seed(config.seed * 4 + 2)
        self.puzzles = TrainingPuzzles(
            self.data, config.augment, config.augmentations, config.seed, self.device, self.puzzle_stream
        )
        self.code = self.puzzles.on_device.code

        if network is None:
            network = build_network(config.network(self.data.family, self.data.puzzle_ids), config.seed)
        self.network = network.to(self.device).train()
        self.thinking = Thinking(self.network, self.code, config, report or Console(stderr=True, soft_wrap=True).print)
        self.optimisers = Optimisers(self.network, config)
        self.average = None
        if config.average_decay:
            self.average = WeightAverage(self.network, config.average_decay, config.average_from)
        self.target = WeightAverage(self.network.q_head, config.target_decay) if config.target_decay else None
        self.sums = {name: torch.zeros((), device=self.device) for name in SUMS}

        share = self.processes.share(config.batch_size)
        own = share.stop - share.start
        if own < config.accumulate:
            raise ConfigError(
                f"batch_size {config.batch_size} over {self.processes.count} processes leaves {own} slots to process "
                f"{self.processes.rank}; expected at least accumulate = {config.accumulate} for each"
            )
        draws = Draws(config, self.puzzles, self.exploration_stream)
        self.parts = [
            Slots(
                config,
                self.puzzles,
                self.network,
                slice(share.start + piece.start, share.start + piece.stop),
                draws,
                self.target,
            )
            for piece in shares(own, config.accumulate)
        ]

    # -- one optimiser step ---------------------------------------------------------------------------------------------

    def train_step(self) -> None:
        """Advance all slots by one step of thought and all parameters by one step of the optimiser; the host waits for nothing."""
        draws = Draws(self.config, self.puzzles, self.exploration_stream)
        looked_up = [self.learn_from(slots, draws) for slots in self.parts]
        rows = self.share_gradients([pair for pair in looked_up if pair is not None])
        norm = self.optimisers.step(self.optimiser_step, rows)
        if self.average is not None:
            self.average.update(self.optimiser_step)
        if self.target is not None:
            self.target.update(self.optimiser_step)
        if norm is not None:
            self.sums["gradient_norm"] += norm.detach() * sum(map(len, self.parts))
        self.optimiser_step += 1

    def learn_from(self, slots: Slots, draws: Draws) -> tuple[Tensor, Tensor] | None:
        """Advance some slots by one step and add the gradient of their losses, over the whole batch's size, to the parameters'.

        Returns:
            The puzzle ids, int64[B], and the gradients of their rows of the puzzle embedding, [B, size]; None for a network without one.
        """
        config = self.config
        tokens, labels = self.code.tokens(slots.questions), self.code.tokens(slots.answers)
        table, ids = self.optimisers.table, self.puzzles.on_device.puzzle_ids[slots.rows]
        steps = slots.steps + 1
        last = steps >= config.max_steps
        ahead = config.q_target == "lookahead" and self.optimiser_step % config.lookahead_every == 0
        while True:
            try:
                rows = None if table is None else table.look_up(ids)
                state, output, drafts, supervised = self.thinking.judge(slots.state, tokens, labels, rows)
                slots.steps = steps
                verified = slots.verified(drafts)
                halted = slots.halts(output, last, draws)
                halting = halt_loss(output.q_halt, verified, config.q_loss)
                look_ahead = partial(self.thinking.advance, tokens=tokens, puzzle_rows=rows) if ahead else None
                continuing = slots.continue_targets.losses(output, state, steps, last, halted, verified, look_ahead)
                loss = (supervised + config.q_weight * (halting + continuing)).sum() / config.batch_size
                loss.backward()
                break
            except Exception as error:
                if not self.thinking.fall_back(error):
                    raise
                self.network.zero_grad(set_to_none=True)  # it was the first part of the first step: no other's are lost
        self.thinking.works = True
        with torch.no_grad():
            slots.state = state
            slots.continue_targets.after_step(state, steps)
            self.add_metrics(slots, output, drafts, verified, halted, supervised, halting, continuing)
            slots.refill(halted, draws)
        if rows is None:
            return None
        assert rows.grad is not None
        return ids, rows.grad

    def share_gradients(self, looked_up: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor] | None:
        """Add up the gradients of all processes; the puzzle ids and row gradients of all slots of all of them are returned."""
        self.processes.sum([parameter.grad for parameter in self.optimisers.parameters if parameter.grad is not None])
        if not looked_up:
            return None
        ids, gradients = (torch.cat(tensors) for tensors in zip(*looked_up, strict=True))
        batch = self.config.batch_size
        return self.processes.join(ids, batch), self.processes.join(gradients, batch)

    # -- metrics --------------------------------------------------------------------------------------------------------

    def add_metrics(
        self,
        slots: Slots,
        output: StepOutput,
        drafts: Tensor,
        verified: Tensor,
        halted: Tensor,
        supervised: Tensor,
        halting: Tensor,
        continuing: Tensor,
    ) -> None:
        right = drafts == slots.answers
        values = {
            "slot_steps": torch.full((), float(len(slots)), device=self.device),
            "loss": (supervised + self.config.q_weight * (halting + continuing)).sum(),
            "draft_loss": supervised.sum(),
            "halt_loss": halting.sum(),
            "continue_loss": continuing.sum(),
            "right_cells": right.float().mean(-1).sum(),
            "halted": halted.sum(),
            "halted_verified": (halted & verified).sum(),
            "halted_exact": (halted & right.all(-1)).sum(),
            "halted_steps": (halted * slots.steps).sum(),
            "halted_value": (halted * torch.sigmoid(output.q_halt)).sum(),
        }
        for name, value in values.items():
            self.sums[name] += value

    def summed(self) -> Tensor:
        """The sums so far over all processes, float32[len(SUMS)]."""
        sums = torch.stack([self.sums[name] for name in SUMS])
        self.processes.sum([sums])
        return sums

    def read_metrics(self) -> dict[str, float]:
        """Means since the last reading; here the host waits for the device."""
        sums = dict(zip(SUMS, self.summed().tolist(), strict=True))
        for total in self.sums.values():
            total.zero_()
        slot_steps, halted = max(sums["slot_steps"], 1.0), max(sums["halted"], 1.0)
        return {
            "loss": sums["loss"] / slot_steps,
            "draft_loss": sums["draft_loss"] / slot_steps,
            "halt_loss": sums["halt_loss"] / slot_steps,
            "continue_loss": sums["continue_loss"] / slot_steps,
            "gradient_norm": sums["gradient_norm"] / slot_steps,
            "cell_accuracy": sums["right_cells"] / slot_steps,
            "accuracy": sums["halted_verified"] / halted,
            "exact_accuracy": sums["halted_exact"] / halted,
            "mean_steps": sums["halted_steps"] / halted,
            "halt_value": sums["halted_value"] / halted,
            "puzzles": sums["halted"],
        }

    def evaluate(self, puzzles: Puzzles) -> dict[str, float]:
        """What the agent of now makes of `puzzles`, each process solving its share of them: accuracy, mean steps, mean value at the halt,
        and mean episode reward (accuracy less the cost of the steps)."""
        solutions = self.agent().solve(puzzles.take(self.processes.share(len(puzzles))))
        totals = torch.tensor(
            [float(values.sum()) for values in (solutions.verified, solutions.steps, solutions.halt_values)], device=self.device
        )
        self.processes.sum([totals])
        accuracy, mean_steps, halt_value = (totals / len(puzzles)).tolist()
        reward = accuracy - self.config.step_cost * mean_steps
        return {"accuracy": accuracy, "mean_steps": mean_steps, "halt_value": halt_value, "reward": reward}

    # -- the trained agent ------------------------------------------------------------------------------------------------

    def agent(self) -> HRMAgent:
        """An agent with the averaged weights (or, without an average, a copy of the weights)."""
        network = copy.deepcopy(self.network)
        if self.average is not None:
            self.average.copy_to(network)
        halting = "q-halt(0.5)" if self.config.q_target == "none" else "q"
        description = {
            "family": self.data.family.name,
            "size": self.data.family.shape[0],
            "halting": halting,
            "ids_per_task": self.data.ids_per_task,
            "trained": {
                "optimiser_steps": self.optimiser_step,
                "seconds": round(self.seconds, 1),
                "device": device_name(self.device),
                "processes": self.processes.count,
                "compile": self.thinking.mode,
                "config": self.config.to_dict(),
            },
        }
        return HRMAgent(network, self.data.family, self.config.max_steps, halting, self.device, description)

    # -- the whole state ----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next optimiser step depends on, for any number of processes. All processes have to ask for it together."""
        parts = [slots.tensors() for slots in self.parts]
        whole = {
            name: self.processes.join(torch.cat([tensors[name] for tensors in parts]), self.config.batch_size)
            for name in parts[0]
        }
        return {
            "optimiser_step": self.optimiser_step,
            "seconds": self.seconds,
            "best": [self.best_reward, self.best_step],
            "network": dict(self.network.state_dict()),
            "average": None if self.average is None else list(self.average.average),
            "target": None if self.target is None else list(self.target.average),
            "optimisers": self.optimisers.state_dicts(),
            "streams": [self.puzzle_stream.get_state(), self.exploration_stream.get_state()],
            "slots": whole,
            "sums": self.summed(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` gave.

        Raises:
            CheckpointError: it is another run's.
        """
        try:
            load_weights(self.network, state["network"], "checkpoint")
            for average, name in ((self.average, "average"), (self.target, "target")):
                if average is not None:
                    for own, source in zip(average.average, state[name], strict=True):
                        copy_into(own, source, f"{name} of the weights")
            self.optimisers.load_state_dicts(state["optimisers"])
            self.puzzle_stream.set_state(state["streams"][0])
            self.exploration_stream.set_state(state["streams"][1])
            for slots in self.parts:
                slots.load(state["slots"])
            # they are added up over the processes, so one alone takes the old ones
            for name, value in zip(SUMS, state["sums"].tolist(), strict=True):
                self.sums[name].fill_(value if self.processes.first else 0.0)
            self.optimiser_step, self.seconds = int(state["optimiser_step"]), float(state["seconds"])
            self.best_reward, self.best_step = float(state["best"][0]), int(state["best"][1])
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(f"checkpoint is not one of this run ({type(error).__name__}: {error})") from None


def train(
    config: TrainConfig,
    folder: str | Path | None = None,
    resume: bool = False,
    show_progress: bool = True,
    data: TrainingData | None = None,
) -> Path:
    """Train, and return the run folder: `config.json`, `metrics.jsonl`, `checkpoint.safetensors`, `best/`, `agent/`, TensorBoard events.

    Ctrl-C and SIGTERM save a checkpoint and raise KeyboardInterrupt; `resume` continues from it to the same numbers. Under torchrun every
    process calls this with the same arguments.

    Args:
        config: the settings. With `resume` the folder's own are used, and `config` is not.
        folder: the run folder; None: `runs/<name>-seed<seed>`.
        resume: continue the run in `folder`.
        show_progress: a progress bar on standard error.
        data: puzzles to use in place of those the configuration names.

    Raises:
        ConfigError: the folder holds another run already.
        CheckpointError: nothing to resume from.
        KeyboardInterrupt: stopped by a signal; everything is saved.
    """
    folder = Path(folder) if folder is not None else Path("runs") / f"{config.name}-seed{config.seed}"
    checkpoint = folder / CHECKPOINT_FILE
    processes, _ = join_processes(config.device)
    try:
        if resume:
            config = read_config(folder)
            state = load_checkpoint(checkpoint)
        elif processes.first and (folder / CONFIG_FILE).exists():
            raise ConfigError(f"run folder {folder} exists already; resume it with --resume, or choose another with --out")
        trainer = Trainer(config, data)
        if resume:
            trainer.load_state_dict(state)
        elif processes.first:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / CONFIG_FILE, json.dumps(config.to_dict(), indent=2).encode())
        _run(trainer, folder, show_progress and processes.first)
    finally:
        leave_processes()
    return folder


def read_config(folder: str | Path) -> TrainConfig:
    """The configuration of the run in `folder`.

    Raises:
        CheckpointError: no run there, or a broken file.
    """
    path = Path(folder) / CONFIG_FILE
    if not path.is_file():
        raise CheckpointError(f"{folder} is not a run folder: it has no {CONFIG_FILE}")
    return read_config_file(path)


def read_config_file(path: str | Path) -> TrainConfig:
    """The configuration in a JSON file, as runs write it; what is not in it has its default.

    Raises:
        CheckpointError: no such file, or one that is not JSON.
        ConfigError: an unknown setting, or a value that does not fit.
    """
    try:
        values = json.loads(Path(path).read_text())
        if not isinstance(values, dict):
            raise ValueError(f"expected an object of settings, found {type(values).__name__}")
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}; give a JSON file of settings") from None
    except ValueError as error:
        raise CheckpointError(f"{path} is broken: {error}") from None
    return TrainConfig.from_dict(values)


def _run(trainer: Trainer, folder: Path, show_progress: bool) -> None:
    config, processes = trainer.config, trainer.processes
    log = MetricsLog(folder, trainer.optimiser_step) if processes.first else None
    started, seconds_before = time.monotonic(), trainer.seconds

    def keep() -> None:
        trainer.seconds = seconds_before + time.monotonic() - started
        state = trainer.state_dict()
        if processes.first:
            save_checkpoint(folder / CHECKPOINT_FILE, state)

    def evaluate() -> None:
        chosen_by = trainer.data.validation
        few = trainer.data.test.take(slice(TEST_PUZZLES_WHILE_TRAINING)) if chosen_by is None else chosen_by
        metrics = trainer.evaluate(few)
        if log is not None:
            log.write(trainer.optimiser_step, "test" if chosen_by is None else "validation", metrics)
        # the test puzzles choose nothing; of equals the later one has thought better about when to halt
        if chosen_by is not None and metrics["reward"] >= trainer.best_reward:
            trainer.best_reward, trainer.best_step = metrics["reward"], trainer.optimiser_step
            trainer.seconds = seconds_before + time.monotonic() - started
            if processes.first:
                trainer.agent().save(folder / BEST_FOLDER)

    with Progress(config.name, config.optimiser_steps, trainer.optimiser_step, show_progress) as bar, stop_signals() as asked:
        logged = time.monotonic()
        stop = False
        while trainer.optimiser_step < config.optimiser_steps and not stop:
            trainer.train_step()
            step = trainer.optimiser_step
            finished = step == config.optimiser_steps
            reading = step % config.log_every == 0 or finished
            if reading:
                metrics = trainer.read_metrics()
                now = time.monotonic()
                metrics["puzzles_per_second"] = metrics.pop("puzzles") / (now - logged)
                logged = now
                if log is not None:
                    log.write(step, "train", metrics)
                bar.update(step, metrics)
            if config.evaluate_every and (step % config.evaluate_every == 0 or finished):
                pause = time.monotonic()
                evaluate()
                logged += time.monotonic() - pause
            if processes.count == 1:
                stop = asked()
            elif reading:  # a stop has to be agreed upon, and asking at every step would make the host wait
                stop = processes.any(asked(), trainer.device)
            if step % config.checkpoint_every == 0:
                keep()
        keep()
        if processes.first:
            kept_agent(trainer, folder).save(folder / AGENT_FOLDER)
        if log is not None:
            log.close()
        if trainer.optimiser_step < config.optimiser_steps:
            raise KeyboardInterrupt


def kept_agent(trainer: Trainer, folder: Path) -> HRMAgent:
    """The agent that the run in `folder` is left with: the best so far on the validation puzzles, or the last."""
    if trainer.config.keep == "best" and trainer.best_step:
        return HRMAgent.from_pretrained(folder / BEST_FOLDER, trainer.device.type)
    return trainer.agent()


class MetricsLog:
    """Metrics as JSON lines and as TensorBoard scalars. A resumed run drops what was logged after its checkpoint."""

    def __init__(self, folder: Path, optimiser_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and only a run needs it

        self.path = folder / METRICS_FILE
        if self.path.exists():
            lines = [line for line in self.path.read_text().splitlines() if json.loads(line)["step"] <= optimiser_step]
            write_whole(self.path, "".join(line + "\n" for line in lines).encode())
        self.board = SummaryWriter(str(folder), purge_step=optimiser_step + 1 if optimiser_step else None)

    def write(self, step: int, group: str, metrics: dict[str, float]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, "group": group, **metrics}) + "\n")
        for name, value in metrics.items():
            self.board.add_scalar(f"{group}/{name}", value, step)

    def close(self) -> None:
        self.board.close()


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """While inside, Ctrl-C and SIGTERM only set a flag, so that an optimiser step is never cut in half; a second Ctrl-C ends at once."""
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    previous: dict[signal.Signals, Any] = {}
    for stopping in (signal.SIGINT, signal.SIGTERM):
        try:
            previous[stopping] = signal.signal(stopping, ask)
        except ValueError:  # not in the main thread: the owner of the thread decides when to stop
            break
    try:
        yield lambda: asked
    finally:
        for stopping, handler in previous.items():
            signal.signal(stopping, handler)
