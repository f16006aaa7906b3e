"""Progress bars: of a training run, and of solving many puzzles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress


class Progress:
    """Steps done, loss, accuracy, mean steps, puzzles per second and time left, on standard error.

    Args:
        title: of the run.
        total: optimiser steps in all.
        done: those done already.
        show: whether to show anything.
    """

    def __init__(self, title: str, total: int, done: int, show: bool) -> None:
        self.bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not show,
        )
        self.task = self.bar.add_task(title, total=total, completed=done, figures="")

    def update(self, step: int, metrics: dict[str, float]) -> None:
        """Show the latest metrics."""
        figures = (
            f"loss {metrics['loss']:.3f} | solved {100 * metrics['accuracy']:.1f} % | "
            f"{metrics['mean_steps']:.1f} steps | {metrics['puzzles_per_second']:.0f} puzzles/s"
        )
        self.bar.update(self.task, completed=step, figures=figures)

    def __enter__(self) -> Progress:
        self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bar.stop()


@contextmanager
def solving_progress(title: str, total: int, show: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar for solving `total` puzzles, on standard error; gives the function to call with the number of finished ones."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True), transient=True, disable=not show) as bar:
        task = bar.add_task(title, total=total)
        yield lambda finished: bar.update(task, completed=finished)
