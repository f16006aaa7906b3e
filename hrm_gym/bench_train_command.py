"""`hrm-gym bench train` as a command; torch is loaded when it runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hrm_gym.envs.errors import ConfigError

console = Console()


def split_names(text: str) -> list[str]:
    """ "a,b" -> ["a", "b"]; nothing for "" and "none"."""
    return [] if text.strip() in ("", "none") else [name.strip() for name in text.split(",")]


def split_numbers(option: str, text: str) -> list[int]:
    """ "4,16" -> [4, 16]; nothing for "" and "none".

    Raises:
        ConfigError: not whole numbers.
    """
    try:
        return [int(number) for number in split_names(text)]
    except ValueError:
        raise ConfigError(f"{option} is {text!r}; expected whole numbers with commas between them, such as 4,16,64") from None


def bench_train(
    preset: Annotated[str, typer.Option(help="Whose network is trained; the puzzles are generated.")] = "sudoku-9x9",
    backbone: Annotated[str, typer.Option(help="Names with commas between them; empty: every backbone.")] = "",
    batch: Annotated[str, typer.Option(help="Batch sizes with commas between them; empty: the preset's.")] = "",
    precision: Annotated[
        str, typer.Option(help="float32,bfloat16; empty: float32, and on CUDA bfloat16 too. bfloat16 is slow on many CPUs.")
    ] = "",
    compile: Annotated[
        str, typer.Option(help="Ways of torch.compile with commas between them: off,modules,step,cuda-graphs.")
    ] = "off",
    cycles: Annotated[str, typer.Option(help="Cycles per step to measure the memory of; none: not measured.")] = "4,16,64",
    seconds: Annotated[float, typer.Option(min=0.01, help="Of timing for each row of the table.")] = 3.0,
    repeats: Annotated[int, typer.Option(min=1, help="Blocks that the seconds are cut into: the spread is between them.")] = 5,
    q_target: Annotated[
        str | None, typer.Option(help="Of our loop; without it the preset's, but next-step in place of lookahead.")
    ] = None,
    published: Annotated[bool, typer.Option(help="Measure the published HRM loop beside ours.")] = True,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, puzzles and everything random.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    out: Annotated[Path | None, typer.Option(help="Write the figures to this JSON file.")] = None,
) -> None:
    """Training speed, utilisation and memory of every backbone, beside the published HRM loop in the same run."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler would print two lines for each memory measured
    from hrm_gym.bench_train import bench_training

    bench_training(
        console,
        out,
        preset,
        split_names(backbone),
        split_numbers("batch", batch),
        split_names(precision),
        split_names(compile) or ["off"],
        split_numbers("cycles", cycles),
        seconds,
        repeats,
        device,
        q_target,
        published,
        seed,
    )
