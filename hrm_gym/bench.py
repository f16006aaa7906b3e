"""`hrm-gym bench envs`: how fast environments, rules, solvers, generators and drawing are on this machine.

Every figure is the best of several repeats of at least a fraction of a second, wall clock, after a warm-up that compiles.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numba
import numpy as np
from rich.console import Console
from rich.table import Table

import hrm_gym
from hrm_gym.agents.agent import write_whole
from hrm_gym.envs import drawing
from hrm_gym.envs.errors import ConfigError
from hrm_gym.envs.maze import generator as maze_generator
from hrm_gym.envs.maze import rules as maze_rules
from hrm_gym.envs.maze import solver as maze_solver
from hrm_gym.envs.registry import family_and_source
from hrm_gym.envs.sudoku import generator as sudoku_generator
from hrm_gym.envs.sudoku import rules as sudoku_rules
from hrm_gym.envs.sudoku import solver as sudoku_solver
from hrm_gym.registration import ENVIRONMENTS

SIZES = (64, 1024, 4096)
# Generating a puzzle costs far more than a step: the draft environments are timed on lists, and generation by itself below.
SETTINGS: dict[str, dict[str, Any]] = {
    "HRM-Sudoku-v0": {"source": "generate:2000"},
    "HRM-Maze-v0": {"source": "generate:500"},
    "HRM-SudokuEdit-v0": {"source": "generate:2000"},
    "HRM-ARC-v0": {"max_size": 10},
    "HRM-ARCEdit-v0": {"max_size": 10},
}
REPEATS = 3
SECONDS = 0.5  # of one repeat, at least
HALTING_SHARE = 0.1  # of the drafts of a step that are halted, and so verified


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:  # not Linux
        pass
    return {
        "processor": name,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "solver threads": getattr(numba.config, "NUMBA_NUM_THREADS", 1),
        "hrm-gym": hrm_gym.__version__,
        "gymnasium": gymnasium.__version__,
        "numpy": np.__version__,
    }


def rate(call: Callable[[], Any], items: int, seconds: float = SECONDS, repeats: int = REPEATS) -> float:
    """Items per second of `call`, which does `items` of them: the best of `repeats`, after one call that is not timed."""
    call()
    best = 0.0
    for _ in range(repeats):
        calls, started = 0, time.perf_counter()
        while (passed := time.perf_counter() - started) < seconds:
            call()
            calls += 1
        best = max(best, calls * items / passed)
    return best


def draft_actions(env: Any, random: np.random.Generator, rows: int, halting: float) -> list[np.ndarray]:
    """A few batches of random drafts for a draft environment, a share of which halts."""
    high = np.asarray(env.single_action_space.nvec if hasattr(env, "single_action_space") else env.action_space.nvec)
    batches = []
    for _ in range(4):
        actions = random.integers(0, high, size=(rows, len(high)))
        actions[:, -1] = random.random(rows) < halting
        batches.append(actions)
    return batches


def any_actions(space: Any, random: np.random.Generator, rows: int) -> list[np.ndarray]:
    """A few batches of random actions of any environment."""
    if hasattr(space, "nvec"):
        return [random.integers(0, np.asarray(space.nvec), size=(rows, len(space.nvec))) for _ in range(16)]
    return [random.integers(0, space.n, size=rows) for _ in range(16)]


def bench_single(name: str, seconds: float) -> float:
    """Steps per second of one environment through `gymnasium.make`, resets included."""
    env = gymnasium.make(name, **SETTINGS.get(name, {}))
    random = np.random.default_rng(0)
    env.reset(seed=0)
    drafts = name.removesuffix("-v0").endswith(("Sudoku", "Maze", "ARC"))
    actions = draft_actions(env, random, 256, HALTING_SHARE) if drafts else any_actions(env.action_space, random, 256)
    flat = [row for batch in actions for row in batch]

    def play() -> None:
        for action in flat:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()

    return rate(play, len(flat), seconds)


def bench_vector(name: str, count: int, seconds: float) -> float:
    """Steps per second (all environments together) of the native vector environment, autoreset included."""
    envs = gymnasium.make_vec(name, num_envs=count, **SETTINGS.get(name, {}))
    random = np.random.default_rng(0)
    envs.reset(seed=0)
    space = envs.single_action_space
    drafts = name.removesuffix("-v0").endswith(("Sudoku", "Maze", "ARC"))
    actions = draft_actions(envs, random, count, HALTING_SHARE) if drafts else any_actions(space, random, count)

    def play() -> None:
        for batch in actions:
            envs.step(batch)

    figure = rate(play, count * len(actions), seconds)
    envs.close()
    return figure


def bench_engines(seconds: float, sudoku_file: Path | None) -> dict[str, float]:
    """Rates of verifying, solving, generating and drawing."""
    figures: dict[str, float] = {}
    seeds = np.arange(256, dtype=np.uint64)

    sudoku = sudoku_generator.generate_from_seeds(np.arange(2000, dtype=np.uint64), 9, "hard")
    many = np.tile(sudoku.questions, (50, 1, 1)), np.tile(sudoku.answers, (50, 1, 1))
    figures["verify 9 x 9 Sudoku"] = rate(lambda: sudoku_rules.verify(*many), len(many[0]), seconds)
    figures["solve 9 x 9 Sudoku, generated hard"] = rate(lambda: sudoku_solver.solve(sudoku.questions), len(sudoku), seconds)
    if sudoku_file is not None:
        from hrm_gym.envs.readers import read_csv

        family, _ = family_and_source("sudoku", size=9)
        listed = read_csv(sudoku_file, family)
        figures[f"solve 9 x 9 Sudoku, {sudoku_file.name}"] = rate(
            lambda: sudoku_solver.solve(listed.questions), len(listed), seconds
        )
        clues = (listed.questions > 0).sum((1, 2))
        groups = {f"{sudoku_file.name}, first solution": listed.questions}
        if (clues == 17).any():
            groups[f"17 clues of {sudoku_file.name}, first solution"] = np.tile(listed.questions[clues == 17], (20, 1, 1))
        for what, questions in groups.items():
            first = partial(sudoku_solver.solve, questions, prove_unique=False)
            figures[f"solve 9 x 9 Sudoku, {what}"] = rate(first, len(questions), seconds)
    for difficulty in ("easy", "medium", "hard"):
        figures[f"generate 9 x 9 Sudoku, {difficulty}"] = rate(
            partial(sudoku_generator.generate_from_seeds, seeds, 9, difficulty), len(seeds), seconds
        )
    figures["generate 9 x 9 Sudoku, extreme"] = rate(
        lambda: sudoku_generator.generate_from_seeds(seeds[:8], 9, "extreme"), 8, seconds, repeats=1
    )

    mazes = maze_generator.generate_from_seeds(seeds, 30, "walls")
    optimum = np.tile(mazes.facts["optimum"], 40)
    many = np.tile(mazes.questions, (40, 1, 1)), np.tile(mazes.answers, (40, 1, 1))
    figures["verify 30 x 30 mazes"] = rate(lambda: maze_rules.verify(*many, optimum), len(optimum), seconds)
    figures["solve 30 x 30 mazes"] = rate(lambda: maze_solver.solve(mazes.questions), len(mazes), seconds)
    for recipe in ("walls", "tree", "braid"):
        figures[f"generate 30 x 30 mazes, {recipe}"] = rate(
            partial(maze_generator.generate_from_seeds, seeds, 30, recipe), len(seeds), seconds
        )

    env = gymnasium.make("HRM-Sudoku-v0", render_mode="rgb_array").unwrapped
    env.reset(seed=0)
    scenes: list[Any] = []
    for _ in range(8):
        env.action_space.seed(len(scenes))
        env.reset()
        env.step(_continuing(env))
        scenes.append(env.scene())  # type: ignore[attr-defined]
    figures["draw 9 x 9 Sudoku, frames"] = rate(lambda: [drawing.draw(scene) for scene in scenes], len(scenes), seconds)
    return figures


def _continuing(env: Any) -> np.ndarray:
    """A random draft that does not halt."""
    action = env.action_space.sample()
    action[-1] = 0
    return action


def bench_environments(
    console: Console,
    out: Path | None = None,
    only: list[str] | None = None,
    seconds: float = SECONDS,
    sudoku_file: Path | None = None,
) -> dict[str, Any]:
    """Measure everything, print it, and with `out` save it as JSON.

    Raises:
        ConfigError: `only` names an environment that is not registered.
    """
    names = [name for name, *_ in ENVIRONMENTS]
    for name in only or []:
        if name not in names:
            raise ConfigError(f"environment {name!r} is unknown; expected one of {', '.join(names)}")
    about = machine()
    table = Table(title=f"Steps per second: {about['processor']}, {about['cores']} cores", title_style="bold")
    for heading in ("environment", "single", *(f"N = {size:,}" for size in SIZES)):
        table.add_column(heading, justify="left" if heading == "environment" else "right")
    steps: dict[str, dict[str, float]] = {}
    for name in only or names:
        with console.status(name):
            figures = {"single": bench_single(name, seconds)}
            figures |= {str(size): bench_vector(name, size, seconds) for size in SIZES}
        steps[name] = figures
        table.add_row(name, *(f"{figure:,.0f}" for figure in figures.values()))
    console.print(table)
    engines: dict[str, float] = {}
    if not only:
        with console.status("engines"):
            engines = bench_engines(seconds, sudoku_file)
        rates = Table(title="Rates per second", title_style="bold")
        rates.add_column("what")
        rates.add_column("per second", justify="right")
        for what, figure in engines.items():
            rates.add_row(what, f"{figure:,.0f}" if figure >= 10 else f"{figure:.2f}")
        console.print(rates)
    report = {"machine": about, "steps_per_second": steps, "rates_per_second": engines}
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, (json.dumps(report, indent=2) + "\n").encode())
        console.print(f"Written: {out}")
    return report
