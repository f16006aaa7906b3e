"""Per-task training on ARC: an agent learns the demonstrations of a few tasks, answers their tests by vote and hands in two attempts.

    tasks = load_tasks("arc-agi-1", "training", ["25ff71a9"])
    adapted = adapt(tasks, minutes=1)
    score(adapted.ballots, tasks)

The use of the demonstrations is transductive: they belong to the very tasks that are answered. The outputs of the tests are taken away
before anything else happens (`hide_answers`), and only `train.arc_scoring` sees them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hrm_gym.agents.agent import HRMAgent, write_whole
from hrm_gym.agents.arc_voting import Ballot, answer_tests
from hrm_gym.agents.backbones import build_network
from hrm_gym.agents.network import NetworkConfig, RecursiveNetwork
from hrm_gym.envs.arc.augmentation import Versions, hidden_tests, hide_answers, task_versions, training_puzzles
from hrm_gym.envs.arc.family import ArcFamily
from hrm_gym.envs.arc.submission import TRANSDUCTIVE
from hrm_gym.envs.arc.tasks import ArcTask, load_tasks
from hrm_gym.envs.errors import ConfigError, PuzzleError
from hrm_gym.train.config import TrainConfig, preset
from hrm_gym.train.data import TrainingData
from hrm_gym.train.loop import AGENT_FOLDER, CONFIG_FILE, Trainer
from hrm_gym.train.progress import Progress

STEPS_TO_TIME = 8  # optimiser steps whose speed tells how many fit into the time
UNTIMED_STEPS = 3  # before them: the first are slow
SHARE_TO_TRAIN = 0.97  # of the time; the rest is for the answers
FEWEST_STEPS = 20

# Learns small tasks fast on a CPU; docs/arc.md says how it was chosen. The mixer learns where a cell's answer comes from, a shift or a
# rotation say, far sooner than attention does.
ADAPTATION = preset("arc-small").replace(name="arc-adapt", device="cpu", evaluate_every=0)


@dataclass(frozen=True)
class Adaptation:
    """What came of adapting to tasks.

    Attributes:
        agent: trained on the tasks' demonstrations.
        config: of the training, with the number of optimiser steps that were taken.
        tasks: without their tests' outputs.
        versions: of the tasks; the agent knows each by its row.
        ballots: one for each test, in the tasks' order.
        seconds: wall clock, for all of it.
    """

    agent: HRMAgent
    config: TrainConfig
    tasks: list[ArcTask]
    versions: Versions
    ballots: list[Ballot]
    seconds: float


def adapt(
    tasks: Sequence[ArcTask],
    minutes: float = 2.0,
    config: TrainConfig = ADAPTATION,
    start: HRMAgent | None = None,
    steps: int | None = None,
    translate: bool = False,
    folder: str | Path | None = None,
    show_progress: bool = False,
) -> Adaptation:
    """Train one agent on the demonstrations of `tasks`, and let it answer their tests.

    Args:
        tasks: one or more; their tests' outputs are not looked at. The canvas is as large as the largest grid that may be seen.
        minutes: of wall clock, the answers included. A few steps are timed first, and the learning rate falls to its end within as many
            steps as fit; a machine that turns slow meanwhile is stopped in time all the same.
        config: of the training. `optimiser_steps` is replaced.
        start: an agent to go on from: it keeps its weights, and the tasks get new rows of the puzzle embedding, each the mean of its old
            ones. The network's shape and the canvas are then the agent's. None: from scratch.
        steps: exactly so many optimiser steps, in place of what fits into `minutes`; the same seed then gives the same agent.
        translate: shift the demonstrations on the canvas (all but one of each version); of use where the canvas is larger than the grids.
        folder: where to write `config.json` and `agent/`, a run folder that `hrm-gym arc solve` takes. None: nowhere.

    Raises:
        ConfigError: no time, another family's agent, or a folder that holds a run.
        PuzzleError: no tasks, or one that does not fit the agent's canvas.
    """
    if steps is None and not minutes > 0:
        raise ConfigError(f"minutes is {minutes}; expected more than 0")
    if folder is not None and (Path(folder) / CONFIG_FILE).exists():
        raise ConfigError(f"run folder {folder} exists already; choose another")
    started = time.monotonic()
    deadline = started + 60 * SHARE_TO_TRAIN * minutes
    tasks = hide_answers(tasks)
    if not tasks:
        raise PuzzleError("there are no ARC tasks to adapt to; expected at least one")
    if start is not None and start.family.name != "arc":
        raise ConfigError(f"the agent to start from plays {start.family.name}; expected one that was trained on ARC")
    size = max(task.size for task in tasks) if start is None else start.family.shape[0]
    random = np.random.default_rng([config.seed, 1])
    versions = task_versions(tasks, size, config.augmentations, random)
    train = training_puzzles(tasks, versions, random if translate else None)
    data = TrainingData(ArcFamily(size), train, hidden_tests(tasks, size), len(versions.used), versions.per_task)
    config = config.replace(family="arc", augment=False, puzzles={**config.puzzles, "max_size": size})
    if start is not None:
        config = config.replace(**_shape(start.network.config), max_steps=start.max_steps)

    def network() -> RecursiveNetwork | None:
        return None if start is None else with_new_rows(start.network, len(versions.used), config.seed)

    timed = steps is None
    if steps is None:
        steps = _steps_that_fit(Trainer(config, data, network()), deadline)
    config = config.replace(optimiser_steps=steps)
    trainer = Trainer(config, data, network())
    title = tasks[0].id if len(tasks) == 1 else f"{len(tasks)} tasks"
    with Progress(title, steps, 0, show_progress) as bar:
        logged = time.monotonic()
        while trainer.optimiser_step < steps and (not timed or time.monotonic() < deadline):
            trainer.train_step()
            if trainer.optimiser_step % config.log_every == 0:
                metrics, now = trainer.read_metrics(), time.monotonic()
                bar.update(trainer.optimiser_step, {**metrics, "puzzles_per_second": metrics["puzzles"] / (now - logged)})
                logged = now
    config = config.replace(optimiser_steps=max(1, trainer.optimiser_step))
    trainer.seconds = time.monotonic() - started
    agent = trainer.agent()
    agent.description["note"] = TRANSDUCTIVE
    ballots = answer_tests(agent, data.test, versions)
    if folder is not None:
        agent.save(Path(folder) / AGENT_FOLDER)
        write_whole(Path(folder) / CONFIG_FILE, json.dumps(config.to_dict(), indent=2).encode())
    return Adaptation(agent, config, tasks, versions, ballots, time.monotonic() - started)


def _steps_that_fit(trial: Trainer, deadline: float) -> int:
    """How many optimiser steps there is time for until `deadline`, by the speed of a few on `trial`, which is thrown away."""
    for _ in range(UNTIMED_STEPS):
        trial.train_step()
    started = time.monotonic()
    for _ in range(STEPS_TO_TIME):
        trial.train_step()
    trial.read_metrics()  # waits for the device
    now = time.monotonic()
    return max(FEWEST_STEPS, int((deadline - now) / (now - started) * STEPS_TO_TIME))


SHAPE = ("backbone", "hidden_size", "heads", "expansion", "mlp_multiple", "h_layers", "l_layers", "h_cycles", "l_cycles", "positions",
         "precision", "registers", "swiglu", "puzzle_embedding_size")  # fmt: skip


def _shape(network: NetworkConfig) -> dict[str, object]:
    """The settings of a training run that make a network of this shape."""
    return {name: getattr(network, name) for name in SHAPE}


def with_new_rows(network: RecursiveNetwork, puzzle_ids: int, seed: int) -> RecursiveNetwork:
    """A copy of `network` whose puzzle embedding has `puzzle_ids` rows, each the mean of the rows that were trained."""
    values = {**network.config.to_dict(), "puzzle_ids": puzzle_ids}
    new = build_network(NetworkConfig.from_dict(values), seed)
    weights = dict(network.state_dict())
    for name, tensor in weights.items():
        if name.startswith("puzzle_emb"):
            trained = tensor[(tensor != 0).any(dim=1)]  # rows start at zero, and unused ones stay there
            mean = trained.mean(dim=0) if len(trained) else torch.zeros_like(tensor[0])
            weights[name] = mean.expand(puzzle_ids, -1).clone()
    new.load_state_dict(weights)
    return new


def tasks_of_run(config: TrainConfig) -> list[ArcTask]:
    """The tasks that an ARC run with `config` was trained on, without their tests' outputs.

    Raises:
        ConfigError: a run of another family.
        SourceError: tasks that are not there any more.
    """
    if config.family != "arc":
        raise ConfigError(f"this is a run of the family {config.family!r}; expected one that was trained on ARC")
    settings = config.puzzles
    wanted = settings.get("task_ids")
    # named tasks fit the canvas by what may be seen of them; where none are named, the run took all that fit, outputs included
    largest = {} if wanted is not None else {"max_size": settings.get("max_size", 30)}
    return hide_answers(load_tasks(settings.get("dataset", "arc-agi-1"), settings.get("split", "training"), wanted, **largest))


def versions_of_run(config: TrainConfig, tasks: Sequence[ArcTask], size: int) -> Versions:
    """The versions of its `tasks`, `tasks_of_run(config)`, that a run on a `size` x `size` canvas was trained on."""
    return task_versions(tasks, size, config.augmentations, np.random.default_rng([config.seed, 1]))


def solve_tests(
    agent: HRMAgent,
    config: TrainConfig,
    wanted: Sequence[str],
    slots: int = 256,
    progress: Callable[[int], None] | None = None,
) -> list[Ballot]:
    """The ballots for all tests of the tasks named in `wanted`, whose demonstrations the agent's run was trained on; in the run's order.

    Raises:
        PuzzleError: a task that it was not trained on.
    """
    size = agent.family.shape[0]
    trained = tasks_of_run(config)
    number = {task.id: index for index, task in enumerate(trained)}
    for name in wanted:
        if name not in number:
            raise PuzzleError(
                f"task {name!r} is not among the {len(trained)} that this run was trained on; "
                "adapt to it first: hrm-gym arc adapt --from RUN --task ID"
            )
    versions = versions_of_run(config, trained, size)
    tests = hidden_tests(trained, size)
    tests = tests.take(np.isin(tests.facts["task"], [number[name] for name in wanted]))
    return answer_tests(agent, tests, versions, slots=slots, progress=progress)
