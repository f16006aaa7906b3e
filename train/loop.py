"""The training loop: a pool of slots on the device. Each optimiser step advances every slot by one step of thought, supervises its
draft, teaches its Q values what halting and continuing are worth, and gives halted slots new puzzles."""

from __future__ import annotations

import copy
import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from hrm_gym.agents.agent import HRMAgent, write_whole
from hrm_gym.agents.backbones import build_network
from hrm_gym.agents.devices import choose_device
from hrm_gym.agents.network import RecursiveNetwork, State, StepOutput
from hrm_gym.agents.published import load_weights
from hrm_gym.agents.solving import Solutions
from hrm_gym.envs.errors import CheckpointError, ConfigError
from hrm_gym.train.checkpoint import copy_into, load_checkpoint, save_checkpoint
from hrm_gym.train.config import TrainConfig
from hrm_gym.train.data import TrainingData, TrainingPuzzles, load_training_data
from hrm_gym.train.losses import draft_loss, halt_loss
from hrm_gym.train.optimisers import Optimisers, WeightAverage
from hrm_gym.train.progress import Progress
from hrm_gym.train.q_learning import ContinueTargets

CONFIG_FILE = "config.json"
METRICS_FILE = "metrics.jsonl"
CHECKPOINT_FILE = "checkpoint.safetensors"
AGENT_FOLDER = "agent"
TEST_PUZZLES_WHILE_TRAINING = 500  # evaluations during training look at the first few test puzzles only

# what is summed on the device between two readings of the metrics
SUMS = ("steps", "loss", "draft_loss", "halt_loss", "continue_loss", "right_cells", "halted", "halted_verified", "halted_exact",
        "halted_steps", "halted_value", "gradient_norm")  # fmt: skip


class Trainer:
    """One training run in memory: network, optimisers, slots and random streams.

    Args:
        config: the run's settings.
        data: its puzzles; None: loaded as the configuration says.
        network: what is trained, for grids of the data's family; it is moved to the device. None: built as the configuration says.

    Attributes:
        optimiser_step: optimiser steps done.
    """

    def __init__(self, config: TrainConfig, data: TrainingData | None = None, network: RecursiveNetwork | None = None) -> None:
        self.config = config
        self.device = choose_device(config.device)
        self.data = load_training_data(config) if data is None else data
        self.optimiser_step = 0
        self.seconds = 0.0  # of training so far, over all resumptions

        # independent streams: how often one is used changes nothing in the others
        self.puzzle_stream = torch.Generator(self.device).manual_seed(config.seed * 4 + 1)
        self.exploration_stream = torch.Generator(self.device).manual_seed(config.seed * 4 + 2)
        self.puzzles = TrainingPuzzles(self.data, config.augment, config.seed, self.device, self.puzzle_stream)
        self.code = self.puzzles.on_device.code

        if network is None:
            network = build_network(config.network(self.data.family, self.data.puzzle_ids), config.seed)
        self.network = network.to(self.device).train()
        self.optimisers = Optimisers(self.network, config)
        self.average = WeightAverage(self.network, config.average_decay) if config.average_decay else None
        self.sums = {name: torch.zeros((), device=self.device) for name in SUMS}

        slots = config.batch_size
        self.rows, self.questions, self.answers = self.puzzles.draw(slots)
        self.steps = torch.zeros(slots, dtype=torch.int64, device=self.device)
        self.minimum_steps = self.draw_minimum_steps()
        self.state = self.network.initial_state(slots)
        self.continue_targets = ContinueTargets(self.network, config, self.state)

    # -- one optimiser step ---------------------------------------------------------------------------------------------

    def train_step(self) -> None:
        """Advance all slots by one step of thought and all parameters by one step of the optimiser; the host waits for nothing."""
        config = self.config
        tokens, labels = self.code.tokens(self.questions), self.code.tokens(self.answers)
        puzzle_ids = self.puzzles.on_device.puzzle_ids[self.rows]

        self.state, output = self.network.step(self.state, tokens, puzzle_ids)
        self.steps = self.steps + 1
        last = self.steps >= config.max_steps
        drafts = self.code.draft(output.logits)
        verified = self.verified(drafts)
        halted = self.halts(output, last)

        supervised = draft_loss(output.logits, labels, config.draft_loss, config.label_smoothing)
        halting = halt_loss(output.q_halt, verified, config.q_loss)
        continuing = self.continue_targets.losses(
            output, self.state, self.steps, last, halted, verified, lambda state: self.network.step(state, tokens, puzzle_ids)
        )
        loss = (supervised + config.q_weight * (halting + continuing)).mean()
        loss.backward()
        norm = self.optimisers.step(self.optimiser_step)
        if self.average is not None:
            self.average.update(self.optimiser_step)
        self.continue_targets.after_step(self.optimiser_step, self.state, self.steps)
        self.optimiser_step += 1

        with torch.no_grad():
            self.add_metrics(output, drafts, verified, halted, loss, supervised, halting, continuing, norm)
            self.refill(halted)

    def verified(self, drafts: Tensor) -> Tensor:
        """Which slots' drafts solve their puzzle, by the family's rules: bool[B]."""
        facts = {name: values[self.rows] for name, values in self.puzzles.on_device.facts.items()}
        return self.code.solved(self.questions, drafts, self.answers, facts)

    def halts(self, output: StepOutput, last: Tensor) -> Tensor:
        """Which slots halt: by the Q values or, with probability `epsilon`, against them; not before the exploration's minimum, and at
        the last step in any case. bool[B]."""
        if self.config.q_target == "none":
            wants = output.q_halt > 0
        else:
            wants = output.q_halt > output.q_continue
        if self.config.epsilon:
            wants = wants ^ (
                torch.rand(len(wants), generator=self.exploration_stream, device=self.device) < self.config.epsilon
            )
        if self.config.exploration_drawn == "step":
            self.minimum_steps = self.draw_minimum_steps()
        return (wants & (self.steps >= self.minimum_steps)) | last

    def draw_minimum_steps(self) -> Tensor:
        """Exploration: with probability `exploration` a random minimum of 2..max_steps, else 1; int64[B]."""
        config, stream = self.config, self.exploration_stream
        slots = config.batch_size
        explores = torch.rand(slots, generator=stream, device=self.device) < config.exploration
        minimum = torch.randint(min(2, config.max_steps), config.max_steps + 1, (slots,), generator=stream, device=self.device)
        return torch.where(explores, minimum, 1)

    def refill(self, halted: Tensor) -> None:
        """New puzzles and the initial state for the halted slots."""
        rows, questions, answers = self.puzzles.draw(self.config.batch_size)
        column = halted.unsqueeze(1)
        self.rows = torch.where(halted, rows, self.rows)
        self.questions = torch.where(column, questions, self.questions)
        self.answers = torch.where(column, answers, self.answers)
        self.steps = torch.where(halted, 0, self.steps)
        self.state = self.network.reset_state(self.state, halted)
        if self.config.exploration_drawn == "episode":
            self.minimum_steps = torch.where(halted, self.draw_minimum_steps(), self.minimum_steps)

    # -- metrics --------------------------------------------------------------------------------------------------------

    def add_metrics(
        self,
        output: StepOutput,
        drafts: Tensor,
        verified: Tensor,
        halted: Tensor,
        loss: Tensor,
        supervised: Tensor,
        halting: Tensor,
        continuing: Tensor,
        norm: Tensor | None,
    ) -> None:
        right = drafts == self.answers
        values = {
            "steps": torch.ones((), device=self.device),
            "loss": loss.detach(),
            "draft_loss": supervised.detach().mean(),
            "halt_loss": halting.detach().mean(),
            "continue_loss": continuing.detach().mean(),
            "right_cells": right.float().mean(),
            "halted": halted.sum(),
            "halted_verified": (halted & verified).sum(),
            "halted_exact": (halted & right.all(-1)).sum(),
            "halted_steps": (halted * self.steps).sum(),
            "halted_value": (halted * torch.sigmoid(output.q_halt)).sum(),
        }
        if norm is not None:
            values["gradient_norm"] = norm.detach()
        for name, value in values.items():
            self.sums[name] += value

    def read_metrics(self) -> dict[str, float]:
        """Means since the last reading; here the host waits for the device."""
        sums = dict(zip(SUMS, torch.stack([self.sums[name] for name in SUMS]).tolist(), strict=True))
        for total in self.sums.values():
            total.zero_()
        steps, halted = max(sums["steps"], 1.0), max(sums["halted"], 1.0)
        return {
            "loss": sums["loss"] / steps,
            "draft_loss": sums["draft_loss"] / steps,
            "halt_loss": sums["halt_loss"] / steps,
            "continue_loss": sums["continue_loss"] / steps,
            "gradient_norm": sums["gradient_norm"] / steps,
            "cell_accuracy": sums["right_cells"] / steps,
            "accuracy": sums["halted_verified"] / halted,
            "exact_accuracy": sums["halted_exact"] / halted,
            "mean_steps": sums["halted_steps"] / halted,
            "halt_value": sums["halted_value"] / halted,
            "puzzles": sums["halted"],
        }

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
                "device": str(self.device),
                "config": self.config.to_dict(),
            },
        }
        return HRMAgent(network, self.data.family, self.config.max_steps, halting, self.device, description)

    # -- the whole state ----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next optimiser step depends on."""
        return {
            "optimiser_step": self.optimiser_step,
            "seconds": self.seconds,
            "network": dict(self.network.state_dict()),
            "average": None if self.average is None else list(self.average.average),
            "optimisers": self.optimisers.state_dicts(),
            "streams": [self.puzzle_stream.get_state(), self.exploration_stream.get_state()],
            "slots": {
                "rows": self.rows,
                "questions": self.questions,
                "answers": self.answers,
                "steps": self.steps,
                "minimum_steps": self.minimum_steps,
                "z_h": self.state.z_h,
                "z_l": self.state.z_l,
            },
            "continue_targets": self.continue_targets.state_dict(),
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
                for target, source in zip(self.average.average, state["average"], strict=True):
                    copy_into(target, source, "the average of the weights")
            self.optimisers.load_state_dicts(state["optimisers"])
            self.puzzle_stream.set_state(state["streams"][0])
            self.exploration_stream.set_state(state["streams"][1])
            slots = state["slots"]
            for name in ("rows", "questions", "answers", "steps", "minimum_steps"):
                copy_into(getattr(self, name), slots[name], name)
            self.state = State(*(slots[name].to(self.device) for name in ("z_h", "z_l")))
            self.continue_targets.load_state_dict(state["continue_targets"])
            for name in SUMS:
                copy_into(self.sums[name], state["sums"][name], name)
            self.optimiser_step, self.seconds = int(state["optimiser_step"]), float(state["seconds"])
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
    """Train, and return the run folder: `config.json`, `metrics.jsonl`, `checkpoint.safetensors`, `agent/`, TensorBoard events.

    Ctrl-C and SIGTERM save a checkpoint and raise KeyboardInterrupt; `resume` continues from it to the same numbers.

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
    if resume:
        config = read_config(folder)
        state = load_checkpoint(checkpoint)
    elif (folder / CONFIG_FILE).exists():
        raise ConfigError(f"run folder {folder} exists already; resume it with --resume, or choose another with --out")
    trainer = Trainer(config, data)
    if resume:
        trainer.load_state_dict(state)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / CONFIG_FILE, json.dumps(config.to_dict(), indent=2).encode())
    _run(trainer, folder, show_progress)
    return folder


def read_config(folder: str | Path) -> TrainConfig:
    """The configuration of the run in `folder`.

    Raises:
        CheckpointError: no run there, or a broken file.
    """
    path = Path(folder) / CONFIG_FILE
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        raise CheckpointError(f"{folder} is not a run folder: it has no {CONFIG_FILE}") from None
    except ValueError as error:
        raise CheckpointError(f"{path} is broken: {error}") from None
    return TrainConfig.from_dict(values)


def _run(trainer: Trainer, folder: Path, show_progress: bool) -> None:
    config = trainer.config
    log = MetricsLog(folder, trainer.optimiser_step)
    started, seconds_before = time.monotonic(), trainer.seconds

    def keep() -> None:
        trainer.seconds = seconds_before + time.monotonic() - started
        save_checkpoint(folder / CHECKPOINT_FILE, trainer.state_dict())

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
                bar.update(step, metrics)
            if config.evaluate_every and step % config.evaluate_every == 0 and not finished:
                pause = time.monotonic()
                few = trainer.data.test.take(slice(TEST_PUZZLES_WHILE_TRAINING))
                log.write(step, "test", test_metrics(trainer.agent().solve(few)))
                logged += time.monotonic() - pause
            if step % config.checkpoint_every == 0:
                keep()
        keep()
        trainer.agent().save(folder / AGENT_FOLDER)
        log.close()
        if trainer.optimiser_step < config.optimiser_steps:
            raise KeyboardInterrupt


def test_metrics(solutions: Solutions) -> dict[str, float]:
    """What is logged of an evaluation during training."""
    return {
        "accuracy": solutions.accuracy,
        "mean_steps": solutions.mean_steps,
        "halt_value": float(solutions.halt_values.mean()),
    }


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
