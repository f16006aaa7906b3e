"""`hrm-gym ablate`: a grid of runs, and a report on what makes the agent good. Torch is loaded when it runs."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from hrm_gym.bench_train_command import split_names, split_numbers
from hrm_gym.envs.errors import ConfigError

if TYPE_CHECKING:
    from hrm_gym.train.ablation import Grid

console = Console()


def ablate(
    out: Annotated[Path, typer.Option(help="Folder of the runs and the report; a grid that is there already goes on.")] = Path(
        "ablation"
    ),
    preset: Annotated[
        str | None, typer.Option(help="What all runs share; without it sudoku-4x4, with few puzzles and a short training.")
    ] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="key=value, as for train; may be repeated.")] = None,
    grid_file: Annotated[
        Path | None, typer.Option("--grid", help="A JSON file that describes the grid, such as another folder's grid.json.")
    ] = None,
    backbones: Annotated[
        str | None, typer.Option(help="The first is the centre; without it hrm,transformer,trm-mixer.")
    ] = None,
    steps: Annotated[str | None, typer.Option(help="Outer-loop steps; the most are the centre; without it 1,2,4,8,16.")] = None,
    augmentations: Annotated[
        str | None,
        typer.Option(
            help="Symmetries per puzzle; any: a new one each time. The most are the centre; without it 0,10,100,1000."
        ),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Numbers and ranges, such as 0-2,7; without it 0,1.")] = None,
    attempts: Annotated[int | None, typer.Option(min=1, help="Of the retries; 1: none; without it 8.")] = None,
    puzzles: Annotated[
        int | None, typer.Option(min=1, help="Test puzzles; without it 500, with --preset the preset's.")
    ] = None,
    written_out: Annotated[
        bool | None, typer.Option("--written-out/--no-written-out", help="Train the control that writes its reasoning out.")
    ] = None,
    equal: Annotated[
        str | None, typer.Option(help="Between backbones: compute (training FLOPs, the default) or steps (of the optimiser).")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="All combinations, not one axis at a time.")] = False,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps; without it cpu.")] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes; without it one for each core, and one alone on a GPU.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the runs and estimate the time.")] = False,
) -> None:
    """Train a grid of runs that differ in one thing at a time; report whether hierarchy, outer loop, augmentation and halting matter.

    Ctrl-C stops; the same command goes on.
    """
    from hrm_gym.train.ablation import GRID_FILE, Results, estimate_seconds, make_plan, open_grid
    from hrm_gym.train.ablation import ablate as run_grid
    from hrm_gym.train.ablation_report import write_ablation_report

    started = time.monotonic()
    options: dict[str, Any] = {
        "backbones": backbones, "steps": steps, "augmentations": augmentations, "seeds": seeds, "attempts": attempts,
        "written_out": written_out, "equal": equal, "full": full or None,
    }  # fmt: skip
    chosen = {name: value for name, value in options.items() if value is not None}
    shared: dict[str, Any] = {"preset": preset, "settings": settings, "puzzles": puzzles, "device": device}
    asked = bool(chosen) or any(shared.values()) or grid_file is not None
    there = (out / GRID_FILE).exists()
    grid = None if there and not asked else build_grid(grid_file, chosen, **shared)
    if dry_run:
        grid, plan = open_grid(None, out) if grid is None else (grid, make_plan(grid))
    else:
        grid, plan = open_grid(grid, out)
    if jobs is None:
        jobs = len(os.sched_getaffinity(0)) if grid.base.device == "cpu" and hasattr(os, "sched_getaffinity") else 1
    cells = grid.cells()
    if dry_run:
        for cell in cells:
            console.print(cell.name, highlight=False)
        minutes = estimate_seconds(grid, plan, jobs) / 60
        console.print(f"{len(cells)} runs, about {minutes:.0f} minutes in {jobs} process(es) on {grid.base.device}")
        return
    console.print(f"{len(cells)} runs in {jobs} process(es); Ctrl-C stops, the same command goes on.")
    unbroken = not there
    try:
        grid, results = run_grid(
            grid, out, jobs, lambda line: console.print(line, markup=False, highlight=False), console.is_terminal
        )
    except KeyboardInterrupt:
        console.print(f"Stopped; everything is in {out}. Go on with: hrm-gym ablate --out {out}")
        raise
    seconds = time.monotonic() - started if unbroken else None
    gathered = Results(grid, results)
    page = write_ablation_report(gathered, out, command_line(), seconds, jobs)
    report = json.loads((out / "ablation.json").read_text())
    for answer in report["answers"].values():
        console.print(f"\n[bold]{answer['question']}[/bold]")
        for sentence in answer["sentences"]:
            console.print(sentence, markup=False, highlight=False)
    console.print(f"\nWritten: {page}, {out / 'report.md'}, {out / 'ablation.json'}")


def build_grid(
    grid_file: Path | None,
    chosen: dict[str, Any],
    preset: str | None = None,
    settings: list[str] | None = None,
    puzzles: int | None = None,
    device: str | None = None,
) -> Grid:
    """The grid that the options describe.

    Args:
        grid_file: of a grid that the options change; None: the default grid.
        chosen: the entries of `Grid` that are not its default's, as text where they are lists.

    Raises:
        ConfigError: an option that does not fit.
    """
    from hrm_gym.sweeping import read_seeds
    from hrm_gym.train.ablation import ANY, DEFAULT_PRESET, Grid, base_config

    if grid_file is None:
        base = base_config(preset or DEFAULT_PRESET).replace(device="cpu").with_settings(settings or [])
        grid = Grid(base)
    else:
        if preset is not None:
            raise ConfigError("--grid and --preset both say what the runs share; give one of them")
        try:
            values = json.loads(grid_file.read_text())
        except (OSError, ValueError) as error:
            raise ConfigError(f"grid file {grid_file} cannot be read ({type(error).__name__}: {error})") from None
        grid = Grid.from_dict(values.get("grid", values))
        grid = dataclasses.replace(grid, base=grid.base.with_settings(settings or []))
    changes = {name: value for name, value in (("test_puzzles", puzzles), ("device", device)) if value is not None}
    entries: dict[str, Any] = dict(chosen)
    if "backbones" in chosen:
        entries["backbones"] = tuple(split_names(chosen["backbones"]))
    if "steps" in chosen:
        entries["steps"] = tuple(split_numbers("--steps", chosen["steps"]))
    if "augmentations" in chosen:
        text = ",".join(str(ANY) if name == "any" else name for name in chosen["augmentations"].split(","))
        entries["augmentations"] = tuple(split_numbers("--augmentations", text))
    if "seeds" in chosen:
        entries["seeds"] = tuple(read_seeds(chosen["seeds"]))
    return dataclasses.replace(grid, base=grid.base.replace(**changes), **entries)


def command_line() -> str:
    """The command that is running, as it would be typed."""
    return shlex.join(["hrm-gym", *sys.argv[1:]])
