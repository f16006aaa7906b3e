"""`hrm-gym data`: builds, inspects and exports files of puzzles."""

from __future__ import annotations

import json as json_text
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from hrm_gym.envs.errors import ConfigError, SourceError

if TYPE_CHECKING:
    from hrm_gym.envs.family import Family
    from hrm_gym.envs.inspection import Histogram, Inspection, Leakage
    from hrm_gym.envs.puzzles import Puzzles
    from hrm_gym.envs.readers import Progress as Report
    from hrm_gym.envs.sources import Source

data_app = typer.Typer(help="Build, inspect and export files of puzzles.", no_args_is_help=True, pretty_exceptions_enable=False)
console = Console()

SIZES = {"sudoku": 9, "maze": 30, "arc": 30}
WIDEST_BAR = 40
MOST_AT_ONCE = 8192  # puzzles built or written in one go

FamilyOption = Annotated[str, typer.Option(help="sudoku, maze or arc.")]
SizeOption = Annotated[
    int | None, typer.Option(min=1, help="Side of the grid; without it 9 (sudoku) or 30 (maze, and the canvas of arc).")
]
SourceArgument = Annotated[
    str,
    typer.Argument(
        help="FILE.csv, csv:PATH, lines:PATH, hub:OWNER/NAME, generate:COUNT, or for arc arc-agi-1, arc-agi-2 or a folder, "
        "with :training or :evaluation behind it."
    ),
]


class Form(str, Enum):
    """What a file looks like."""

    csv = "csv"
    lines = "lines"


@data_app.command()
def build(
    family: Annotated[str, typer.Argument(help="sudoku or maze.")],
    out: Annotated[Path, typer.Option(help="The CSV file; one that is there is replaced.")],
    count: Annotated[int, typer.Option(min=1, help="How many puzzles.")] = 1000,
    size: SizeOption = None,
    difficulty: Annotated[str | None, typer.Option(help="Sudoku: easy, medium, hard (the default) or extreme.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Maze: walls (the default), tree or braid.")] = None,
    min_path: Annotated[int | None, typer.Option(min=1, help="Maze: the fewest moves of a shortest path.")] = None,
    split: Annotated[
        str, typer.Option(help="train, test or all; no solution grid is in both train and test (mirror images of one may be).")
    ] = "all",
    seed: Annotated[
        int, typer.Option(min=0, help="The same seed gives the same puzzles, the first of them for any count.")
    ] = 0,
) -> None:
    """Generate puzzles into a CSV file, source,question,answer,rating; the source names the puzzle's own seed."""
    from hrm_gym.envs.registry import family_and_source
    from hrm_gym.envs.writers import write_csv

    if family == "arc":
        raise ConfigError("arc tasks are not generated; export those there are: hrm-gym data export arc-agi-1 --family arc")
    settings = {"difficulty": difficulty, "recipe": recipe, "min_path": min_path, "size": size}
    given = {name: value for name, value in settings.items() if value is not None}
    made, source = family_and_source(family, split=split, **given)
    seeds = np.random.SeedSequence(seed).generate_state(count, np.uint64)
    with _progress(f"building {out.name}") as report:
        write_csv(out, made, _drawn(source, seeds, report))
    console.print(
        f"Written: {out}, {count:,} puzzles. Next: hrm-gym data inspect {out} --family {family} --size {made.shape[0]}"
    )


@data_app.command()
def inspect(
    source: SourceArgument,
    family: FamilyOption = "sudoku",
    size: SizeOption = None,
    against: Annotated[str | None, typer.Option(help="Another source: how much of SOURCE stands in it?")] = None,
    symmetries: Annotated[
        bool,
        typer.Option(help="Also up to symmetry (mirrored, renamed, ...); 1,500 puzzles of 9 x 9 Sudoku a second and core."),
    ] = True,
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file.")] = None,
) -> None:
    """Count puzzles, show their ratings, find duplicates, and leakage from one data set (or split) into another."""
    from hrm_gym.envs.inspection import inspect as figures_of
    from hrm_gym.envs.inspection import survey
    from hrm_gym.envs.writers import written_whole

    def surveyed(name: str, split: str = "all") -> Any:
        with _progress(f"reading {_short(name)}") as report:
            made, puzzles = open_puzzles(name, family, size, split, report)
        with _progress(f"comparing {_short(name)}") as report:
            return survey(puzzles, made, name, symmetries, report)

    # the other one first, so that only its digests are kept while SOURCE is read
    if against is not None:
        inspection = figures_of(against=surveyed(against), found=surveyed(source))
    elif family == "arc" and source in _datasets():
        inspection = figures_of(against=surveyed(f"{source}:training"), found=surveyed(f"{source}:evaluation"))
    elif source.startswith("hub:") and source.count("/") == 1:  # a data set with a test file of its own
        other = surveyed(source, "train")
        inspection = figures_of(against=other, found=surveyed(source, "test"))
    else:
        inspection = figures_of(surveyed(source))
    show(inspection)
    if json is not None:
        with written_whole(json) as file:
            file.write(json_text.dumps(inspection.to_dict(), indent=2) + "\n")
        _line(f"Written: {json}")


@data_app.command()
def export(
    source: SourceArgument,
    to: Annotated[Form, typer.Option(help="csv keeps answers and ratings; lines is one question a line.")],
    out: Annotated[Path, typer.Option(help="The file; one that is there is replaced.")],
    family: FamilyOption = "sudoku",
    size: SizeOption = None,
    split: Annotated[str, typer.Option(help="train, test or all.")] = "all",
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many puzzles, the first ones.")] = None,
) -> None:
    """Write puzzles of any source as CSV or as text lines. ARC demonstrations are not part of either."""
    from hrm_gym.envs.writers import write_csv, write_lines

    with _progress(f"reading {_short(source)}") as report:
        made, puzzles = open_puzzles(source, family, size, split, report)
    count = len(puzzles) if limit is None else min(limit, len(puzzles))
    with _progress(f"writing {out.name}") as report:
        batches = _pieces(puzzles, count, report)
        write = write_csv if to is Form.csv else write_lines
        write(out, made, batches)
    _line(f"Written: {out}, {count:,} puzzles")


# -- puzzles -----------------------------------------------------------------------------------------------------------


def open_puzzles(
    source: str, family: str, size: int | None = None, split: str = "all", progress: Report | None = None
) -> tuple[Family, Puzzles]:
    """All puzzles that a source on the command line names.

    Args:
        source: as `hrm_gym.envs.readers.open_source` takes it, or a path alone: one that ends in .csv is a CSV file, another a text
            list. For ARC a dataset or folder, with ":training" or ":evaluation" behind it.
        family: "sudoku", "maze" or "arc".
        size: side of the grid; None is 9 for Sudoku and 30 otherwise.
        split: "train", "test" or "all".
        progress: told how much of a CSV file has been read.

    Raises:
        ConfigError: an unknown family, size or split.
        SourceError: a source without end, unknown or faulty.
    """
    from hrm_gym.envs.readers import open_source
    from hrm_gym.envs.registry import FAMILIES, family_and_source, make_family
    from hrm_gym.envs.sources import ListSource
    from hrm_gym.envs.splits import SPLITS

    if family not in FAMILIES:
        raise ConfigError(f"family {family!r} is unknown; expected one of {', '.join(FAMILIES)}")
    if split not in SPLITS:
        raise ConfigError(f"split {split!r} is unknown; expected one of {', '.join(SPLITS)}")
    side = SIZES[family] if size is None else size
    kind = source.partition(":")[0]
    if kind not in ("generate", "csv", "lines", "hub") and (family != "arc" or source.endswith(".csv")):
        kind, source = ("csv", f"csv:{source}") if source.lower().endswith(".csv") else ("lines", f"lines:{source}")
    if kind == "generate":
        if family == "arc":
            raise ConfigError("arc tasks are not generated; name a dataset such as arc-agi-1, or a folder")
        made, opened = family_and_source(family, size=side, source=source, split=split)
    elif kind in ("csv", "lines", "hub"):
        made = make_family(family, side)
        opened = open_source(source, made, split, progress=progress)
    else:
        if split != "all":
            raise ConfigError(f"split {split!r} is not one of arc's; name it in the source, such as arc-agi-1:evaluation")
        dataset, colon, part = source.rpartition(":")
        if not colon or part not in ("training", "evaluation"):
            dataset, part = source, "training"
        made, opened = family_and_source(family, dataset=dataset, split=part, max_size=side)
    if not isinstance(opened, ListSource):
        raise SourceError(f"source {source!r} has no end; give a number of puzzles, such as generate:1000")
    return made, opened.puzzles


def _datasets() -> tuple[str, ...]:
    from hrm_gym.envs.arc.tasks import DATASETS

    return tuple(DATASETS)


def _drawn(source: Source, seeds: np.ndarray, report: Report) -> Iterator[Puzzles]:
    """The puzzles of the seeds in pieces that take about half a second each: extreme puzzles come one by one, easy ones in thousands."""
    done, piece = 0, 16
    while done < len(seeds):
        began = time.perf_counter()
        puzzles = source.draw(seeds[done : done + piece])
        done += len(puzzles)
        yield puzzles
        report(done, len(seeds))
        seconds = time.perf_counter() - began
        piece = int(np.clip(piece * 2 if seconds < 0.5 else piece // 2 if seconds > 2 else piece, 1, MOST_AT_ONCE))


def _pieces(puzzles: Puzzles, count: int, report: Report) -> Iterator[Puzzles]:
    for start in range(0, count, MOST_AT_ONCE):
        stop = min(start + MOST_AT_ONCE, count)
        yield puzzles.take(np.arange(start, stop))
        report(stop, count)


@contextmanager
def _progress(title: str) -> Iterator[Report]:
    """A bar on standard error, gone when done; nothing where that is no terminal."""
    errors = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


# -- an inspection as text -------------------------------------------------------------------------------------------------------


def show(inspection: Inspection) -> None:
    """Prints an inspection: counts, bars, duplicates, leakage."""
    height, width = inspection.shape
    _line(f"{inspection.name}: {inspection.puzzles:,} puzzles, {inspection.family} {height} x {width}")
    if inspection.family != "arc":
        _line(f"By hrm-gym's split {inspection.train:,} are training puzzles and {inspection.test:,} test puzzles.")
    for name, found in inspection.measurements.items():
        _line(
            f"\n{name.replace('_', ' ')}: {found.minimum:g} to {found.maximum:g}, mean {found.mean:.2f}, median {found.median:g}"
        )
        for line in bars(found.histogram):
            _line("  " + line)
    _line("")
    counts = {kind: found.count for kind, found in inspection.duplicates.items()}
    _line("Duplicates: how many repeat an earlier one")
    console.print(_table(counts, inspection.puzzles))
    for kind, repeats in inspection.duplicates.items():
        for earlier, later in repeats.examples[:1]:
            _line(
                f"  {kind.replace('_', ' ')}: {later} repeats {earlier}; the commonest stands there {repeats.largest:,} times"
            )
    if inspection.leakage is not None:
        _line("")
        _show_leakage(inspection.leakage)


def _show_leakage(leakage: Leakage) -> None:
    _line(f"Leakage: how many of {_short(leakage.of)} stand in {_short(leakage.within)}")
    console.print(_table(leakage.counts, leakage.total))
    for kind, pairs in leakage.examples.items():
        for here, there in pairs[:1]:
            _line(f"  {kind.replace('_', ' ')}: {here} stands there as {there}")


def bars(histogram: Histogram) -> list[str]:
    """One line of text for each bar: its values, the bar, the count."""
    whole = histogram.width >= 1 and float(histogram.width).is_integer()
    labels = []
    for place, edge in enumerate(histogram.edges):
        if histogram.open_ended and place == len(histogram.edges) - 1:
            labels.append(f"{edge:g} and more")
        elif whole and histogram.width == 1:
            labels.append(f"{edge:g}")
        else:
            labels.append(f"{edge:g} to {edge + histogram.width - (1 if whole else 0):g}")
    widest, most = max(map(len, labels)), max(histogram.counts)
    lines = []
    for label, count in zip(labels, histogram.counts, strict=True):
        length = 0 if count == 0 else max(1, round(WIDEST_BAR * count / most))
        lines.append(f"{label:>{widest}} {'█' * length}{' ' if length else ''}{count:,}")
    return lines


def _table(counts: dict[str, int], total: int) -> Table:
    table = Table()
    table.add_column("of " + f"{total:,}")
    table.add_column("exactly", justify="right")
    table.add_column("up to symmetry", justify="right")
    for kind in ("puzzles", "solutions"):
        symmetric = counts.get(f"{kind}_up_to_symmetry")
        table.add_row(kind, f"{counts[kind]:,}", "not sought" if symmetric is None else f"{symmetric:,}")
    return table


def _line(text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _short(name: str) -> str:
    return name.rsplit("/", 1)[-1]
