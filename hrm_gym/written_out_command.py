"""`hrm-gym written-out`: trains the control that writes its reasoning out, at the compute of an HRM run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hrm_gym.envs.errors import ConfigError

console = Console()


def written_out(
    preset: Annotated[
        str | None, typer.Argument(help="The HRM run to be compared with, such as sudoku-4x4 or maze-9x9.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value, as for train; may be repeated. optimiser_steps are those of the HRM run."),
    ] = None,
    trace: Annotated[bool, typer.Option(help="Write the solver's steps before the answer.")] = True,
    equal_to: Annotated[
        Path | None, typer.Option(help="A run folder whose training compute to spend; without it that of the preset's HRM run.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of weights, puzzles and everything random.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder; without it runs/PRESET-written-out[-trace]-seedSEED.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Continue the run in this folder, to the same numbers.")] = None,
) -> None:
    """Train a transformer that writes its answer cell by cell, with HRM's number of parameters and training FLOPs."""
    from hrm_gym.train.config import TrainConfig
    from hrm_gym.train.config import preset as preset_called
    from hrm_gym.train.written_out import default_folder, train_written_out

    if resume is not None:
        if preset or settings or equal_to or seed is not None or device or out:
            raise ConfigError("--resume continues a run as it was; give no preset and no other option with it")
        config, folder = TrainConfig(), resume
    else:
        if preset is None:
            raise ConfigError("which preset? try: hrm-gym written-out sudoku-4x4 (hrm-gym info lists them)")
        config = preset_called(preset).with_settings(settings or [])
        config = config.replace(**{k: v for k, v in (("seed", seed), ("device", device)) if v is not None})
        folder = out or default_folder(config, trace)
    try:
        train_written_out(config, folder, trace=trace, equal_to=equal_to, resume=resume is not None)
    except KeyboardInterrupt:
        console.print(f"Stopped; everything is in {folder}. Continue with: hrm-gym written-out --resume {folder}")
        raise
    console.print(f"Trained: {folder}. Next: hrm-gym evaluate {folder}")
