"""What makes the agent good? A grid of runs that differ in one thing at a time, each trained, tested on the same puzzles and kept.

    grid = small_grid()
    grid, results = ablate(grid, "ablation")  # Ctrl-C stops; the same call goes on
    Results(grid, results).along("backbone")

Axes that need a training each: the backbone, the outer-loop steps of training, the augmentations, the seed, and the control that writes
its reasoning out. Axes that need none: the steps at test, learned halting and retries; they are measured on every run.
"""

from __future__ import annotations

import dataclasses
import json
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hrm_gym.agents.agent import HRMAgent, write_whole
from hrm_gym.agents.backbones import BACKBONES
from hrm_gym.agents.loading import load_agent
from hrm_gym.agents.outer_loop import judge_attempts
from hrm_gym.agents.retry import Retry
from hrm_gym.agents.trajectories import record
from hrm_gym.envs.errors import CheckpointError, ConfigError, HRMGymError
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.train.config import RANGES, TrainConfig, preset
from hrm_gym.train.data import load_test_puzzles, load_training_data
from hrm_gym.train.loop import AGENT_FOLDER, CHECKPOINT_FILE, CONFIG_FILE, Trainer, train
from hrm_gym.train.statistics import percentile_interval, resampled_means, wilson_interval
from hrm_gym.train.written_out import WRITTEN_OUT_FILE, train_written_out, training_flops

GRID_FILE = "grid.json"
RUNS_FOLDER = "runs"
RESULTS_FOLDER = "results"
ANY = -1  # augmentations: a new symmetry at each showing
EQUAL = ("compute", "steps")
WRITTEN_OUT = ("answer", "trace")  # the control's two forms
ONE_STACK = ("trm", "trm-mixer", "hybrid")  # backbones with a single stack in both roles
DEFAULT_PRESET = "sudoku-4x4"
RESAMPLES = 4000
TIMED_STEPS = 10  # of the optimiser, for an estimate

# few puzzles, so that augmentation has something to add; no validation puzzles, so that nothing but training sees further answers
SMALL = {"train_puzzles": 200, "test_puzzles": 500, "optimiser_steps": 800, "checkpoint_every": 200}
NO_SELECTION = {"validation_puzzles": 0, "evaluate_every": 0, "keep": "last"}


@dataclass(frozen=True)
class Cell:
    """One training run of a grid.

    Attributes:
        backbone: of `agents.backbones.BACKBONES`.
        steps: outer-loop steps of an episode in training.
        augmentations: fixed symmetries per puzzle; 0: none, ANY: a new one at each showing.
        seed: of the run.
        written_out: "" for a network that thinks in hidden states; "answer" or "trace": the control that writes, without or with the
            solver's steps before its answer.
    """

    backbone: str
    steps: int
    augmentations: int
    seed: int
    written_out: str = ""

    @property
    def setting(self) -> str:
        """What it is, seed aside."""
        if self.written_out:
            return "written-out" if self.written_out == "answer" else "written-out-trace"
        return f"{self.backbone}-steps{self.steps}-aug{augmentations_name(self.augmentations)}"

    @property
    def name(self) -> str:
        """Of its run folder."""
        return f"{self.setting}-seed{self.seed}"


def augmentations_name(augmentations: int) -> str:
    return "any" if augmentations == ANY else str(augmentations)


@dataclass(frozen=True)
class Grid:
    """A grid of runs around a centre: the first backbone, the most steps, the most augmentations.

    Attributes:
        base: settings that all runs share; backbone, steps, augmentations and seed are replaced, and with equal="compute" so are the
            optimiser steps of a backbone whose steps cost more or less than the centre's.
        backbones, steps, augmentations: the axes.
        seeds: every run is trained under each.
        attempts: K of the retries, which change a random symmetry; 1: no retries.
        full: all combinations of the axes; else a star, in which one axis at a time leaves the centre.
        written_out: also train the control that writes its reasoning out, without and with a trace, at the centre's training FLOPs.
        equal: what backbones have in common: the training's "compute" (FLOPs) or its optimiser "steps".

    Raises:
        ConfigError: an empty or unknown entry, or ARC, which has no verifier.
    """

    base: TrainConfig
    backbones: tuple[str, ...] = ("hrm", "transformer", "trm-mixer")
    steps: tuple[int, ...] = (1, 2, 4, 8, 16)
    augmentations: tuple[int, ...] = (0, 10, 100, 1000)
    seeds: tuple[int, ...] = (0, 1)
    attempts: int = 8
    full: bool = False
    written_out: bool = True
    equal: str = "compute"

    def __post_init__(self) -> None:
        for axis in ("backbones", "steps", "augmentations", "seeds"):
            values = tuple(getattr(self, axis))
            object.__setattr__(self, axis, values)
            if not values or len(set(values)) < len(values):
                raise ConfigError(f"{axis} are {list(values)}; give at least one, and each once")
        for name in self.backbones:
            if name not in BACKBONES:
                raise ConfigError(f"backbone {name!r} is unknown; expected one of {', '.join(BACKBONES)}")
        most = RANGES["augmentations"][1]
        for axis, least, highest in (("steps", 1, math.inf), ("augmentations", ANY, most), ("seeds", 0, math.inf)):
            for value in getattr(self, axis):
                if not least <= value <= highest:
                    raise ConfigError(f"{axis} contain {value}; expected {max(0, least)} to {highest:g}")
        if self.attempts < 1:
            raise ConfigError(f"attempts is {self.attempts}; expected at least 1 (no retries)")
        if self.equal not in EQUAL:
            raise ConfigError(f"equal is {self.equal!r}; expected one of {', '.join(EQUAL)}")
        if self.base.family == "arc":
            raise ConfigError(
                "ARC has neither a verifier nor the written-out control, which the ablations need; take sudoku or maze"
            )

    @property
    def centre(self) -> Cell:
        """The run that the others are compared with, under the first seed."""
        most = ANY if ANY in self.augmentations else max(self.augmentations)
        return Cell(self.backbones[0], max(self.steps), most, self.seeds[0])

    def cells(self) -> list[Cell]:
        """The runs, seed by seed, so that a grid that is stopped early has whole comparisons."""
        centre = self.centre
        settings: list[Cell] = [centre]
        if self.full:
            settings += [Cell(b, s, a, centre.seed) for b in self.backbones for s in self.steps for a in self.augmentations]
        else:
            settings += [dataclasses.replace(centre, backbone=name) for name in self.backbones]
            settings += [dataclasses.replace(centre, steps=number) for number in self.steps]
            settings += [dataclasses.replace(centre, augmentations=number) for number in self.augmentations]
        if self.written_out:
            settings += [dataclasses.replace(centre, written_out=form) for form in WRITTEN_OUT]
        return [dataclasses.replace(cell, seed=seed) for seed in self.seeds for cell in dict.fromkeys(settings)]

    def config(self, cell: Cell, optimiser_steps: int | None = None) -> TrainConfig:
        """The settings of a run; backbones have as many blocks as the base, so that they have about as many parameters.

        A mixer knows places by itself, so it gets no positions.

        Args:
            optimiser_steps: None: the base's.
        """
        base = self.base
        blocks = base.l_layers if base.backbone in ONE_STACK else base.h_layers + base.l_layers
        layers = {"h_layers": base.h_layers, "l_layers": base.l_layers}
        if cell.backbone in ONE_STACK:
            layers["l_layers"] = blocks
        elif base.backbone in ONE_STACK:
            layers = {"h_layers": max(1, blocks // 2), "l_layers": max(1, blocks - blocks // 2)}
        return base.replace(
            name=cell.name,
            backbone=cell.backbone,
            positions="none" if cell.backbone == "trm-mixer" else base.positions,
            max_steps=cell.steps,
            augment=cell.augmentations != 0,
            augmentations=max(0, cell.augmentations),
            seed=cell.seed,
            optimiser_steps=optimiser_steps or base.optimiser_steps,
            **layers,
        )

    def to_dict(self) -> dict[str, Any]:
        return json.loads(json.dumps(dataclasses.asdict(self)))  # tuples become lists, as a file has them

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Grid:
        """The inverse of `to_dict`.

        Raises:
            ConfigError: an unknown key or a value that does not fit.
        """
        known = {field.name for field in dataclasses.fields(Grid)}
        for name in values:
            if name not in known:
                raise ConfigError(f"grid entry {name!r} is unknown; expected one of {', '.join(sorted(known))}")
        if "base" not in values:
            raise ConfigError("the grid has no base, the settings that its runs share; add it")
        return Grid(**{**values, "base": TrainConfig.from_dict(values["base"])})


def base_config(name: str = DEFAULT_PRESET, settings: Sequence[str] = ()) -> TrainConfig:
    """The shared settings of a grid's runs: a preset, for 4 x 4 Sudoku with few puzzles and a short training, and without a choice by
    validation puzzles; then `key=value` settings.

    Raises:
        ConfigError: an unknown preset or setting.
    """
    config = preset(name).replace(**NO_SELECTION)
    if name == DEFAULT_PRESET:
        config = config.replace(**SMALL)
    return config.with_settings(list(settings))


def small_grid() -> Grid:
    """The grid of `hrm-gym ablate` without options: under fifteen minutes on two cores."""
    return Grid(base_config())


# -- the plan: equal compute, and where it is kept ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """What equal compute means for each backbone.

    Attributes:
        flops: of one optimiser step, by backbone.
        optimiser_steps: of a whole run, by backbone.
        budget: training FLOPs of the centre, which the written-out control spends as well.
    """

    flops: dict[str, float]
    optimiser_steps: dict[str, int]
    budget: float


def make_plan(grid: Grid) -> Plan:
    """Count what a step of each backbone costs, and give each its number of steps."""
    centre = grid.centre
    data = load_training_data(grid.config(centre))
    flops = {name: training_flops(grid.config(dataclasses.replace(centre, backbone=name)), data) for name in grid.backbones}
    whole = grid.base.optimiser_steps
    budget = flops[centre.backbone] * whole
    steps = {name: whole if grid.equal == "steps" else max(1, round(budget / each)) for name, each in flops.items()}
    return Plan(flops, steps, budget)


def open_grid(grid: Grid | None, folder: str | Path) -> tuple[Grid, Plan]:
    """The grid of `folder` and its plan; a folder without one gets `grid`.

    Args:
        grid: None: the one that the folder has.

    Raises:
        ConfigError: the folder has another grid, or none and `grid` is None.
        CheckpointError: its file is broken.
    """
    folder = Path(folder)
    file = folder / GRID_FILE
    if not file.exists():
        if grid is None:
            raise ConfigError(f"{folder} holds no grid ({GRID_FILE}) to go on with; give one")
        plan = make_plan(grid)
        folder.mkdir(parents=True, exist_ok=True)
        kept = {"grid": grid.to_dict(), "plan": dataclasses.asdict(plan)}
        write_whole(file, (json.dumps(kept, indent=2) + "\n").encode())
        return grid, plan
    try:
        kept = json.loads(file.read_text())
        there, plan = Grid.from_dict(kept["grid"]), Plan(**kept["plan"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{file} is broken ({type(error).__name__}: {error})") from None
    if grid is not None and grid != there:
        old, new = _flat(there.to_dict()), _flat(grid.to_dict())
        changed = [f"{name} ({old.get(name)!r}, asked for {new.get(name)!r})" for name in new if new[name] != old.get(name)]
        raise ConfigError(
            f"{folder} holds another grid; it differs in {', '.join(changed)}. Choose another folder, or leave the grid's options out "
            "to go on with the one there"
        )
    return there, plan


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    return {**{name: value for name, value in values.items() if name != "base"}, **values["base"]}


# -- one run ---------------------------------------------------------------------------------------------------------------


def run_cell(grid: Grid, plan: Plan, cell: Cell, folder: str | Path, show_progress: bool = False) -> dict[str, Any]:
    """Train and measure one run, or go on with it, and return its result; one that is finished is only read.

    Raises:
        KeyboardInterrupt: stopped; what was trained is saved.
    """
    file = result_file(folder, cell)
    if file.exists():
        return read_result(file)
    run = Path(folder) / RUNS_FOLDER / cell.name
    if cell.written_out:
        config = grid.config(cell)
        _start_or_resume(run, lambda resume: train_written_out(
            config, run, trace=cell.written_out == "trace", equal_to=plan.budget, resume=resume, show_progress=show_progress,
            data=load_training_data(config),
        ))  # fmt: skip
    else:
        config = grid.config(cell, plan.optimiser_steps[cell.backbone])
        _start_or_resume(run, lambda resume: train(config, run, resume=resume, show_progress=show_progress))
    started = time.monotonic()
    agent = load_agent(run / AGENT_FOLDER, config.device)
    measured = measure(agent, load_test_puzzles(config), max(grid.steps), cell.steps, grid.attempts)
    trained = agent.description["trained"]
    if cell.written_out:
        about = json.loads((run / WRITTEN_OUT_FILE).read_text())
        flops = about["flops_per_optimiser_step"] * trained["optimiser_steps"]
    else:
        flops = plan.flops[cell.backbone] * trained["optimiser_steps"]
    result = {
        "cell": dataclasses.asdict(cell),
        "parameters": sum(parameter.numel() for parameter in agent.network.parameters()),
        "optimiser_steps": trained["optimiser_steps"],
        "training_flops": flops,
        "training_seconds": trained["seconds"],
        "testing_seconds": round(time.monotonic() - started, 1),
        "device": trained["device"],
        **measured,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, (json.dumps(result) + "\n").encode())
    return result


def _start_or_resume(run: Path, training: Callable[[bool], object]) -> None:
    if (run / CHECKPOINT_FILE).exists():
        training(True)
        return
    (run / CONFIG_FILE).unlink(missing_ok=True)  # it ended before its first checkpoint
    training(False)


def measure(agent: Any, puzzles: Puzzles, steps: int, trained_steps: int, attempts: int) -> dict[str, Any]:
    """What `agent` makes of `puzzles`; whether it is right is a digit for each puzzle, in their order.

    Returns:
        "right_by_step": after each of 1..`steps` steps of one pass. "learned_right", "learned_steps": where the agent halts by itself,
        at most at `trained_steps`. "halting": its strategy. "retry": for each rule its digits, "accepted_attempts" and "accepted_steps"
        (0: never), None without retries. A network that writes has one step, no halting and no retries.
    """
    if not isinstance(agent, HRMAgent):
        right = digits(agent.solve(puzzles).verified)
        return {"right_by_step": [right], "learned_right": None, "learned_steps": None, "halting": None, "retry": None}
    trajectories = record(agent, puzzles, max(steps, trained_steps), keep_drafts=False)
    halts = trajectories.until(trained_steps).halting_steps(agent.halting)
    retry: dict[str, Any] | None = None
    if attempts > 1:
        judged = judge_attempts(agent, puzzles, Retry(attempts=attempts))
        if judged.interrupted:
            raise KeyboardInterrupt
        verifier = judged.solutions["verifier"]
        retry = {rule: digits(solutions.verified) for rule, solutions in judged.solutions.items() if rule != "verifier"}
        retry |= {
            "verifier": digits(verifier.accepted),
            "accepted_attempts": verifier.accepted_attempts.tolist(),
            "accepted_steps": verifier.accepted_steps.tolist(),
            "planned": len(judged.plan),
        }
    return {
        "right_by_step": [digits(row) for row in trajectories.verified],
        "learned_right": digits(trajectories.right_at(halts)),
        "learned_steps": halts.tolist(),
        "halting": str(agent.halting),
        "retry": retry,
    }


def digits(right: np.ndarray) -> str:
    """bool[N] as "0110...". `from_digits` is the inverse, as float64[N]."""
    return "".join("1" if each else "0" for each in right)


def from_digits(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8) - float(ord("0"))


def result_file(folder: str | Path, cell: Cell) -> Path:
    return Path(folder) / RESULTS_FOLDER / f"{cell.name}.json"


def read_result(file: Path) -> dict[str, Any]:
    """A result that `run_cell` wrote.

    Raises:
        CheckpointError: none, or a broken one.
    """
    try:
        result: dict[str, Any] = json.loads(file.read_text())
        result["right_by_step"], result["cell"]["seed"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"result {file} cannot be read ({type(error).__name__}: {error}); delete it to measure again"
        ) from None
    return result


def read_results(grid: Grid, folder: str | Path) -> dict[Cell, dict[str, Any]]:
    """The results of all runs of a finished grid.

    Raises:
        CheckpointError: one is not there.
    """
    return {cell: read_result(result_file(folder, cell)) for cell in grid.cells()}


# -- all runs ----------------------------------------------------------------------------------------------------------------


def ablate(
    grid: Grid | None,
    folder: str | Path,
    jobs: int = 1,
    report: Callable[[str], None] | None = None,
    show_progress: bool = False,
) -> tuple[Grid, dict[Cell, dict[str, Any]]]:
    """Train and measure all runs of a grid that are not finished yet.

    Args:
        grid: None: the one that `folder` has.
        folder: `grid.json`, `runs/<name>/`, `results/<name>.json`.
        jobs: processes; with several each has its share of the cores, and trains one run after the other.
        report: told of each run, in one line.
        show_progress: bars of the trainings, with one process.

    Returns:
        The grid, and its runs' results.

    Raises:
        ConfigError: the folder has another grid.
        KeyboardInterrupt: Ctrl-C; finished runs stay, the others go on from their last state next time.
    """
    if jobs < 1:
        raise ConfigError(f"jobs is {jobs}; expected at least 1")
    tell = report or (lambda line: None)
    grid, plan = open_grid(grid, folder)
    cells = grid.cells()
    left = [cell for cell in cells if not result_file(folder, cell).exists()]
    if len(left) < len(cells):
        tell(f"{len(cells) - len(left)} of {len(cells)} runs are finished already")
    done = len(cells) - len(left)
    if jobs == 1 or len(left) < 2:
        for cell in left:
            result = run_cell(grid, plan, cell, folder, show_progress)
            done += 1
            tell(f"[{done}/{len(cells)}] {one_line(result)}")
    else:
        for cell in _in_processes(grid, plan, left, Path(folder), min(jobs, len(left))):
            done += 1
            tell(f"[{done}/{len(cells)}] {one_line(read_result(result_file(folder, cell)))}")
    return grid, read_results(grid, folder)


def one_line(result: dict[str, Any]) -> str:
    cell = Cell(**result["cell"])
    right = from_digits(all_steps(result))
    seconds = result["training_seconds"] + result["testing_seconds"]
    return f"{cell.name}: {100 * right.mean():.1f} % in a single pass, {seconds:.0f} s"


def all_steps(result: dict[str, Any]) -> str:
    """The digits of a single pass of all the steps that the run was trained with: the accuracy that runs are compared by."""
    rows = result["right_by_step"]
    return str(rows[min(result["cell"]["steps"], len(rows)) - 1])


def _in_processes(grid: Grid, plan: Plan, cells: list[Cell], folder: Path, jobs: int) -> Iterator[Cell]:
    """Run `cells` in `jobs` processes; each is given when it is finished."""
    context = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // jobs)
    waiting = list(reversed(cells))
    doing: dict[Any, Cell] = {}
    processes = []
    try:
        for _ in range(jobs):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, grid.to_dict(), plan, str(folder), threads), daemon=True)
            process.start()
            theirs.close()
            processes.append(process)
            doing[ours] = waiting.pop()
            ours.send(doing[ours])
        while doing:
            for ready in wait(list(doing)):
                assert isinstance(ready, Connection)
                cell = doing.pop(ready)
                try:
                    problem = ready.recv()
                except EOFError:
                    raise HRMGymError(
                        f"the process that trained {cell.name} has ended; was memory short? Go on with fewer processes (--jobs 1)"
                    ) from None
                if problem is not None:
                    raise HRMGymError(f"run {cell.name}: {problem}")
                if waiting:
                    doing[ready] = waiting.pop()
                    ready.send(doing[ready])
                else:
                    ready.send(None)
                yield cell
    finally:
        for process in processes:
            process.terminate()  # a training takes SIGTERM as a request to save; one that has nothing to do ends at once
        for process in processes:
            process.join()


def _work(connection: Connection, grid_values: dict[str, Any], plan: Plan, folder: str, threads: int) -> None:
    """A process of `_in_processes`: runs the cells that it is sent, until None, or until the sender is gone."""
    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C in the terminal reaches the sender alone, which then asks for a stop once
    torch.set_num_threads(threads)
    grid = Grid.from_dict(grid_values)
    try:
        while (cell := connection.recv()) is not None:
            problem = None
            try:
                run_cell(grid, plan, cell, folder)
            except (HRMGymError, OSError, RuntimeError) as error:
                problem = f"{type(error).__name__}: {error}"
            connection.send(problem)
    except (EOFError, KeyboardInterrupt, BrokenPipeError):
        pass


def estimate_seconds(grid: Grid, plan: Plan, jobs: int = 1) -> float:
    """How long the grid should take, from a few optimiser steps of each backbone; rough."""
    puzzles = grid.base.test_puzzles
    per_step: dict[str, float] = {}
    for name in grid.backbones:
        config = grid.config(dataclasses.replace(grid.centre, backbone=name)).replace(train_puzzles=64, test_puzzles=1)
        trainer = Trainer(config, load_training_data(config))
        trainer.train_step()
        started = time.perf_counter()
        for _ in range(TIMED_STEPS):
            trainer.train_step()
        trainer.read_metrics()  # waits for the device
        per_step[name] = (time.perf_counter() - started) / TIMED_STEPS
    total = 0.0
    for cell in grid.cells():
        training = plan.optimiser_steps[cell.backbone] * per_step[cell.backbone]
        thoughts = 0 if cell.written_out else puzzles * (max(grid.steps) + cell.steps * grid.attempts)
        # a step of thought without gradient costs about a third of one with
        total += training + thoughts / grid.base.batch_size * per_step[cell.backbone] / 3
    return total / min(jobs, len(grid.cells()))


# -- what the results say ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Accuracy:
    """Share of right puzzles, over seeds (and settings) that belong together.

    Attributes:
        kind: of accuracy.
        value: mean, 0..1.
        low, high: 95 % Wilson interval over puzzles, taken as if the seeds' mean were one run's: on the wide side.
        seeds: the mean under each seed.
    """

    kind: str
    value: float
    low: float
    high: float
    seeds: tuple[float, ...]


@dataclass(frozen=True)
class Difference:
    """One accuracy minus another on the same puzzles and under the same seeds.

    Attributes:
        value: mean, -1..1.
        low, high: 95 % bootstrap interval over puzzles, paired.
        seeds: the difference under each seed.
        only_first, only_second, both: mean number of puzzles that only the one, only the other, and both solve.
        puzzles: N.
    """

    value: float
    low: float
    high: float
    seeds: tuple[float, ...]
    only_first: float
    only_second: float
    both: float
    puzzles: int

    @property
    def verdict(self) -> str:
        """ "higher", "lower", "mixed" (the interval leaves 0 out, but seeds disagree), "equal" (on every puzzle) or "unclear"."""
        if self.only_first == self.only_second == 0:
            return "equal"
        if self.low <= 0 <= self.high:
            return "unclear"
        if min(self.seeds) * max(self.seeds) <= 0 and len(self.seeds) > 1:
            return "mixed"
        return "higher" if self.value > 0 else "lower"


def accuracy(kind: str, right: np.ndarray) -> Accuracy:
    """Of float64[seeds, N], 0..1."""
    value, count = float(right.mean()), right.shape[1]
    low, high = wilson_interval(round(value * count), count)
    return Accuracy(kind, value, min(low, value), max(high, value), tuple(right.mean(axis=1).tolist()))


def difference(first: np.ndarray, second: np.ndarray, random: np.random.Generator) -> Difference:
    """Of float64[seeds, N] minus float64[seeds, N], row by row and column by column."""
    both = first - second
    low, high = percentile_interval(resampled_means(both.mean(axis=0)[:, None], RESAMPLES, random))[0]
    return Difference(
        value=float(both.mean()),
        low=float(low),
        high=float(high),
        seeds=tuple(both.mean(axis=1).tolist()),
        only_first=float(np.clip(both, 0, None).sum(axis=1).mean()),
        only_second=float(np.clip(-both, 0, None).sum(axis=1).mean()),
        both=float(np.minimum(first, second).sum(axis=1).mean()),
        puzzles=first.shape[1],
    )


class Results:
    """Per-puzzle results of a finished grid, put together for comparisons.

    Args:
        grid, results: as `ablate` returns them.
    """

    def __init__(self, grid: Grid, results: dict[Cell, dict[str, Any]]) -> None:
        self.grid = grid
        self.results = results
        self.settings = [cell for cell in grid.cells() if cell.seed == grid.seeds[0]]

    def of(self, cell: Cell) -> list[dict[str, Any]]:
        """The results of a setting, seed by seed."""
        return [self.results[dataclasses.replace(cell, seed=seed)] for seed in self.grid.seeds]

    def right(self, cell: Cell, which: Callable[[dict[str, Any]], str] = all_steps) -> np.ndarray:
        """Whether each puzzle is right: float64[seeds, N]; by default in a single pass of all steps."""
        return np.stack([from_digits(which(result)) for result in self.of(cell)])

    def at_step(self, cell: Cell, step: int) -> np.ndarray:
        """After `step` steps of one pass, float64[seeds, N]; its network may have been trained with fewer."""
        return self.right(cell, lambda result: str(result["right_by_step"][step - 1]))

    def learned(self, cell: Cell) -> np.ndarray:
        """Where the agent halts by itself, float64[seeds, N]."""
        return self.right(cell, lambda result: str(result["learned_right"]))

    def learned_steps(self, cell: Cell) -> np.ndarray:
        """Float64[seeds, N]."""
        return np.array([result["learned_steps"] for result in self.of(cell)], np.float64)

    def blind(self, cell: Cell) -> np.ndarray:
        """With as many steps as learned halting takes on average, but for every puzzle alike: the mean of the two whole numbers around
        it, weighted so that their mean is that number; float64[seeds, N], 0..1."""
        rows = []
        for result, mean in zip(self.of(cell), self.learned_steps(cell).mean(axis=1), strict=True):
            below = math.floor(mean)
            above = min(below + 1, len(result["right_by_step"]))
            low, high = (from_digits(result["right_by_step"][step - 1]) for step in (below, above))
            rows.append(low + (mean - below) * (high - low))
        return np.stack(rows)

    def retried(self, cell: Cell, rule: str) -> np.ndarray:
        """By a rule of `judge_attempts`, float64[seeds, N]."""
        return self.right(cell, lambda result: str(result["retry"][rule]))

    def accepted_within(self, cell: Cell, attempts: int) -> np.ndarray:
        """By the verifier within so many attempts, float64[seeds, N]."""
        made = np.array([result["retry"]["accepted_attempts"] for result in self.of(cell)])
        return ((made > 0) & (made <= attempts)).astype(np.float64)

    def along(self, axis: str) -> list[tuple[Any, np.ndarray]]:
        """For each value of an axis ("backbone", "steps", "augmentations") the mean over the settings of the other axes that occur with
        every value of this one (a star has one: the centre), in a single pass of all steps: float64[seeds, N]."""
        values: tuple[Any, ...] = {
            "backbone": self.grid.backbones,
            "steps": self.grid.steps,
            "augmentations": self.grid.augmentations,
        }[axis]

        def at(cell: Cell, value: Any) -> Cell:
            changes: dict[str, Any] = {axis: value}
            return dataclasses.replace(cell, **changes)

        shared = [
            cell
            for cell in self.latent
            if getattr(cell, axis) == values[0] and all(at(cell, value) in self.latent for value in values)
        ]
        return [(value, np.mean([self.right(at(cell, value)) for cell in shared], axis=0)) for value in values]

    @property
    def latent(self) -> list[Cell]:
        """The settings that think in hidden states, under the first seed."""
        return [cell for cell in self.settings if not cell.written_out]

    @property
    def test_puzzles(self) -> int:
        return len(all_steps(self.results[self.grid.centre]))

    @property
    def device(self) -> str:
        return ", ".join(sorted({result["device"] for result in self.results.values()}))

    @property
    def run_seconds(self) -> float:
        """Of all runs, one after the other."""
        return float(sum(result["training_seconds"] + result["testing_seconds"] for result in self.results.values()))
