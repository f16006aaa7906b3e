"""The command line. Torch is loaded by the commands that need it, so that --help answers at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import gymnasium.error
import typer
from rich.console import Console

import hrm_gym
from hrm_gym.ablate_command import ablate
from hrm_gym.arc_command import arc_app
from hrm_gym.bench_train_command import bench_train
from hrm_gym.data_command import data_app
from hrm_gym.envs.errors import ConfigError, HRMGymError
from hrm_gym.model_command import model_app
from hrm_gym.written_out_command import written_out

app = typer.Typer(
    name="hrm-gym",
    help="Reasoning puzzles as Gymnasium environments, and an agent that thinks in cycles and learns when to stop.\n\n"
    "Begin with: hrm-gym demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
bench_app = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(bench_app, name="bench")
app.add_typer(data_app, name="data")
app.add_typer(arc_app, name="arc")
app.add_typer(model_app, name="model")
app.command("written-out")(written_out)
app.command("ablate")(ablate)
bench_app.command("train")(bench_train)
console = Console()

AgentArgument = Annotated[
    str, typer.Argument(help="A run folder, a saved agent's folder, or the name of one that comes along (see info).")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
PuzzlesOption = Annotated[int, typer.Option(min=1, help="How many test puzzles.")]
SourceOption = Annotated[
    str | None,
    typer.Option(help="Other test puzzles, such as csv:PATH; without it the held-out split of what the agent was trained on."),
]


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the run, the figures and the film.")] = Path("demo"),
    seed: Annotated[int, typer.Option(min=0, help="Of weights, puzzles and everything random.")] = 0,
    device: DeviceOption = "cpu",
    steps: Annotated[
        int | None, typer.Option(min=1, help="Fewer optimiser steps, for a quick look; the agent will be worse.")
    ] = None,
) -> None:
    """See the whole idea work: train an agent on 4 x 4 Sudoku, evaluate it, compare halting strategies, film it. A few minutes on a CPU."""
    from hrm_gym.demo import run_demo

    run_demo(out, seed, device, steps, console)


@app.command()
def train(
    preset: Annotated[
        str | None,
        typer.Argument(help="sudoku-4x4, sudoku-6x6, sudoku-9x9, maze-9x9, arc-small, fast or hrm-paper (see info)."),
    ] = None,
    config_file: Annotated[
        Path | None,
        typer.Option("--config", help="Settings in a JSON file, such as a run's config.json, in place of a preset."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value, for example learning_rate=3e-4 or puzzles.size=6; may be repeated."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of weights, puzzles and everything random.")] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Several, such as 0-2,7: train and evaluate each; what is done already is kept.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; without it runs/PRESET-seedSEED.")] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Continue the run in this folder, to the same numbers as an unbroken run.")
    ] = None,
    resume_if_started: Annotated[
        bool,
        typer.Option(
            "--resume-if-started", help="Start, or continue where the folder has a checkpoint: for queues that restart jobs."
        ),
    ] = False,
) -> None:
    """Train an agent. Ctrl-C saves; --resume FOLDER continues. Many GPUs: torchrun --nproc-per-node 8 -m hrm_gym train PRESET."""
    from hrm_gym.sweeping import read_seeds, start_or_resume, sweep
    from hrm_gym.train.config import TrainConfig
    from hrm_gym.train.config import preset as preset_called
    from hrm_gym.train.loop import read_config_file
    from hrm_gym.train.loop import train as run_training

    if resume is not None:
        if preset or config_file or settings or seed is not None or seeds or device or out or resume_if_started:
            raise ConfigError("--resume continues a run as it was; give no preset and no other option with it")
        config, folder = TrainConfig(), resume
    else:
        if preset is not None and config_file is None:
            config = preset_called(preset)
        elif config_file is not None and preset is None:
            config = read_config_file(config_file)
        else:
            raise ConfigError("which preset? try: hrm-gym train sudoku-4x4 (hrm-gym info lists them), or --config FILE instead")
        config = config.with_settings(settings or [])
        config = config.replace(**{k: v for k, v in (("seed", seed), ("device", device)) if v is not None})
        folder = out or Path("runs") / (config.name if seeds else f"{config.name}-seed{config.seed}")
    if seeds is not None and seed is not None:
        raise ConfigError("--seeds names the seeds; give no --seed with it")
    try:
        if seeds is not None:
            console.print(f"Written: {sweep(config, read_seeds(seeds), folder, console)}")
            return
        if resume_if_started:
            start_or_resume(config, folder)
        else:
            run_training(config, folder, resume=resume is not None)
    except KeyboardInterrupt:
        again = "the same command again" if seeds else f"hrm-gym train --resume {folder}"
        console.print(f"Stopped; everything is in {folder}. Continue with: {again}")
        raise
    console.print(f"Trained: {folder}. Next: hrm-gym evaluate {folder}")


@app.command()
def evaluate(
    agent: AgentArgument,
    puzzles: PuzzlesOption = 1000,
    source: SourceOption = None,
    halting: Annotated[
        str | None, typer.Option(help="A halting strategy, such as q or fixed(8); without it the agent's own.")
    ] = None,
    episodes: Annotated[
        int, typer.Option(min=0, help="Also play this many puzzles one by one in the Gymnasium environment.")
    ] = 20,
    attempts: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="K: also try each puzzle so often and measure what vote, best-q, residual and the verifier make of it; 1: do not. "
            "Without it 8.",
        ),
    ] = None,
    perturb: Annotated[
        list[str] | None,
        typer.Option(
            help="What the attempts change, used in turn: symmetry, noise, initial-state, deeper, ensemble, or several joined by +; "
            "may be repeated. Without it symmetry."
        ),
    ] = None,
    sigma: Annotated[float | None, typer.Option(help="Of the perturbation noise; without it 0.3.")] = None,
    other: Annotated[
        list[str] | None, typer.Option(help="Another agent for the perturbation ensemble; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the attempts.")] = 0,
    device: DeviceOption = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder for the figure: accuracy against budget.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the report, curves included, to this file.")] = None,
) -> None:
    """Measure an agent on puzzles it has not seen: three kinds of accuracy, steps, calibration of its Q values, speed."""
    from hrm_gym.agents.agent import HRMAgent
    from hrm_gym.agents.loading import load_agent
    from hrm_gym.comparing import test_puzzles_for
    from hrm_gym.train.evaluate import evaluate as measure
    from hrm_gym.train.evaluate import play, retry_for
    from hrm_gym.train.plots import accuracy_against_budget, save_png
    from hrm_gym.train.progress import solving_progress
    from hrm_gym.watch import environment_of

    loaded = load_agent(agent, device)
    test = test_puzzles_for(loaded, puzzles, source)
    others = [HRMAgent.from_pretrained(name, device) for name in other or ()]
    retry = retry_for(loaded, halting, attempts, perturb, sigma, seed)
    if retry is None and (perturb or others or out or sigma is not None):
        raise ConfigError(
            "--perturb, --sigma, --other and --out belong to retries, and there are none; give --attempts 2 or more"
        )
    with solving_progress("solving", len(test) * (2 if retry is None else 3), console.is_terminal) as progress:
        report = measure(loaded, test, halting=halting, checkpoint=agent, progress=progress, retry=retry, others=others)
    console.print(report.table())
    outer_loop = report.outer_loop
    if outer_loop is not None:
        console.print(outer_loop.table())
        if out is not None:
            figure = save_png(accuracy_against_budget(outer_loop, Path(agent).name), out / "accuracy-against-budget.png")
            console.print(f"Written: {figure}")
    if json is not None:
        report.save(json)
        console.print(f"Written: {json}")
    if outer_loop is not None and outer_loop.interrupted:
        console.print(f"Stopped; the retries are measured on the {outer_loop.test_puzzles:,} puzzles that were finished.")
        raise KeyboardInterrupt
    if episodes:
        if halting is not None:
            from hrm_gym.agents.halting import halting_strategy

            loaded.halting = halting_strategy(halting)
        few = test.take(slice(episodes))
        records = play(loaded, environment_of(loaded), few)
        solutions = loaded.solve(few)
        same = all(
            (record.draft == draft).all() and record.steps == steps
            for record, draft, steps in zip(records, solutions.drafts, solutions.steps, strict=True)
        )
        reward = sum(record.reward for record in records) / len(records)
        agreement = "the same answers and steps as in slots" if same else "NOT the same answers as in slots"
        console.print(
            f"In the Gymnasium environment: {len(records)} episodes, mean reward {reward:.2f}, {agreement}.", soft_wrap=True
        )


@app.command()
def compare(
    agents: Annotated[list[str], typer.Argument(help="One or more agents: run folders, or names (see info).")],
    strategies: Annotated[
        list[str] | None,
        typer.Option(
            "--strategy",
            help="A halting strategy, such as fixed(4), q, stable(2) or your own as module:Class(0.9); may be repeated.",
        ),
    ] = None,
    puzzles: PuzzlesOption = 1000,
    source: SourceOption = None,
    calibrate: Annotated[
        bool, typer.Option(help="Add every strategy with a threshold, chosen on further puzzles that are not tested on.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for table (JSON, CSV), plot, HTML report and recording.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap intervals and the validation split.")] = 0,
    device: DeviceOption = "auto",
) -> None:
    """Compare halting strategies on one recorded pass over the same test puzzles."""
    from hrm_gym.comparing import compare_many

    compare_many(agents, puzzles, source, strategies, out, seed, device, console, calibrate)


@app.command()
def watch(
    agent: AgentArgument,
    puzzle: Annotated[
        str | None, typer.Option(help="A puzzle of your own, row by row, such as 1..4..3.....2...; blanks are dots.")
    ] = None,
    gif: Annotated[Path | None, typer.Option(help="Write a film instead of opening a window.")] = None,
    episodes: Annotated[int, typer.Option(min=0, help="How many puzzles; 0: until the window is closed (a film: one).")] = 0,
    halting: Annotated[str | None, typer.Option(help="A halting strategy, such as q or fixed(8).")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the puzzles.")] = 0,
    fps: Annotated[float, typer.Option(min=0.1, max=50, help="Steps of thought per second.")] = 2.0,
    device: DeviceOption = "auto",
) -> None:
    """Watch an agent think, step by step: in a pygame window, or as a GIF where there is no display."""
    from hrm_gym.agents.agent import HRMAgent
    from hrm_gym.watch import film_episodes, watch_in_window

    loaded = HRMAgent.from_pretrained(agent, device, halting)
    if gif is None:
        watch_in_window(loaded, puzzle, seed, episodes, fps)
        return
    for info in film_episodes(loaded, gif, puzzle, seed, max(1, episodes), fps):
        console.print(f"{info['puzzle_id']}: {'verified' if info['verified'] else 'not solved'}")
    console.print(f"Written: {gif}")


@app.command()
def play(
    environment: Annotated[str, typer.Argument(help="An environment's id, such as HRM-Sudoku-v0 (info lists them).")],
    size: Annotated[int | None, typer.Option(min=1, help="Cells on a side; ARC: the largest grid that may occur.")] = None,
    difficulty: Annotated[str | None, typer.Option(help="Sudoku: easy, medium, hard or extreme.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Mazes: walls, tree or braid.")] = None,
    source: Annotated[
        str | None, typer.Option(help="Where puzzles come from, such as csv:PATH; ARC: arc-agi-1, arc-agi-2 or a folder.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the puzzles; without it others each time.")] = None,
    puzzle: Annotated[str | None, typer.Option(help="The first puzzle: row by row, or an id of the source.")] = None,
    agent: Annotated[str | None, typer.Option(help="This agent gives the hints, instead of the solver.")] = None,
    show_wrong: Annotated[bool, typer.Option("--show-wrong", help="Always show what breaks a rule.")] = False,
    device: DeviceOption = "auto",
) -> None:
    """Play yourself, in a window, with mouse and keyboard: undo, redo, check, and hints from the solver or from an agent."""
    from hrm_gym.play import open_game, play_in_window

    adviser = None
    if agent is not None:
        from hrm_gym.agents.agent import HRMAgent

        adviser = HRMAgent.from_pretrained(agent, device)
    settings = {"size": size, "difficulty": difficulty, "recipe": recipe, "source": source}
    play_in_window(open_game(environment, puzzle, seed, adviser, show_wrong, **settings))


@app.command()
def info(agent: Annotated[str | None, typer.Argument(help="An agent to describe.")] = None) -> None:
    """What is installed: versions, devices, environments, presets, halting strategies, agents."""
    import json

    if agent is not None:
        from hrm_gym.agents.agent import DESCRIPTION_FILE, HRMAgent, find_agent

        loaded = HRMAgent.from_pretrained(agent, "cpu")
        parameters = sum(parameter.numel() for parameter in loaded.network.parameters())
        console.print(f"{find_agent(agent)}: {parameters:,} parameters")
        console.print_json((find_agent(agent) / DESCRIPTION_FILE).read_text())
        return
    from hrm_gym.info import describe_installation

    console.print_json(json.dumps(describe_installation()))


@bench_app.command("envs")
def bench_envs(
    out: Annotated[Path | None, typer.Option(help="Write the figures to this JSON file.")] = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="One environment id alone; may be repeated.")] = None,
    seconds: Annotated[float, typer.Option(min=0.01, help="Of one repeat; three are made, the best counts.")] = 0.5,
    sudoku_file: Annotated[Path | None, typer.Option(help="A CSV of puzzles to time the solver on.")] = None,
) -> None:
    """Steps per second of every environment, single and batched; rates of verifying, solving, generating and drawing."""
    from hrm_gym.bench import bench_environments

    bench_environments(console, out, only, seconds, sudoku_file)


def _version(wanted: bool) -> None:
    if wanted:
        console.print(f"hrm-gym {hrm_gym.__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Runs the command line. A mistake of the user's gives one line and exit code 2; Ctrl-C gives 130."""
    try:
        app()
    except (HRMGymError, gymnasium.error.Error) as error:
        Console(stderr=True, soft_wrap=True).print(f"hrm-gym: {error}", markup=False, highlight=False)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
