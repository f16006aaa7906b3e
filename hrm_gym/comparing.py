"""What `hrm-gym compare` and the demo do: one recorded pass, a table, its files and the plot."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from hrm_gym.agents.agent import HRMAgent
from hrm_gym.agents.halting import HaltingStrategy, halting_strategy
from hrm_gym.agents.trajectories import record
from hrm_gym.agents.written_out import WrittenOutAgent
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.train.calibrate import calibrated_strategies, split_trajectories, strategies_with
from hrm_gym.train.compare import Comparison, compare, default_strategies, write_csv, write_json
from hrm_gym.train.config import TrainConfig
from hrm_gym.train.data import load_test_puzzles
from hrm_gym.train.plots import accuracy_against_steps, save_png
from hrm_gym.train.report import write_report

VALIDATION_SHARE = 0.25  # of the recorded puzzles, where thresholds are calibrated; none of them is tested on


def compare_and_show(
    agent: HRMAgent,
    puzzles: Puzzles,
    strategies: Sequence[str] | None,
    out: Path | None,
    seed: int,
    checkpoint: str,
    console: Console,
    calibrate: bool = False,
) -> Comparison:
    """Record `agent` on `puzzles` once, judge the strategies on it, print the table; with `out` write it, the plot and the report there.

    Args:
        strategies: their texts; None: a list that fits.
        seed: of the bootstrap intervals and of the validation split.
        checkpoint: the agent's name in table and plot.
        calibrate: add every strategy with a threshold, chosen on a quarter of `puzzles`, which then are not tested on.
    """
    started = time.monotonic()
    trajectories = record(agent, puzzles, description={"checkpoint": Path(checkpoint).name})
    recorded = time.monotonic()
    random = np.random.default_rng(seed)
    calibrated = None
    chosen: list[HaltingStrategy] = [halting_strategy(name) for name in strategies or ()]
    if calibrate:
        validation, trajectories = split_trajectories(trajectories, VALIDATION_SHARE, random)
        calibrated = calibrated_strategies(validation)
        named = {str(strategy) for strategy in chosen}
        chosen += [strategy for strategy in strategies_with(trajectories, calibrated) if str(strategy) not in named]
        console.print(f"Thresholds chosen on {len(validation):,} validation puzzles, which are not tested on.")
    if not chosen:
        chosen = [halting_strategy(name) for name in default_strategies(trajectories)]
    comparison = compare(trajectories, chosen, random=random)
    console.print(comparison.table(console.width))
    console.print(f"Recorded in {recorded - started:.1f} s, compared in {time.monotonic() - recorded:.1f} s.")
    if out is not None:
        written = [
            write_json(out / "comparison.json", [comparison]),
            write_csv(out / "comparison.csv", [comparison]),
            save_png(accuracy_against_steps(comparison), out / "accuracy-against-steps.png"),
            write_report(out / "report.html", comparison, trajectories, chosen, calibrated),
            trajectories.save(out / "trajectories.safetensors"),
            write_hparams(comparison, out / "tensorboard"),
        ]
        console.print(f"Written: {', '.join(str(path) for path in written)}")
    return comparison


def compare_many(
    agents: Sequence[str],
    puzzles: int,
    source: str | None,
    strategies: Sequence[str] | None,
    out: Path | None,
    seed: int,
    device: str,
    console: Console,
    calibrate: bool = False,
) -> list[Comparison]:
    """`compare_and_show` for each of `agents`, with `out` each in a folder of its own, and then what they have in common.

    Args:
        agents: run folders, agents' folders or names; each is tested on `puzzles` puzzles of its own test split, or of `source`.
    """
    recorded = round(puzzles / (1 - VALIDATION_SHARE)) if calibrate else puzzles
    comparisons = []
    names = folder_names(agents)
    for agent, name in zip(agents, names, strict=True):
        loaded, test = agent_and_puzzles(agent, recorded, source, device)
        folder = out if out is None or len(agents) == 1 else out / name
        comparisons.append(compare_and_show(loaded, test, strategies, folder, seed, name, console, calibrate))
    if len(comparisons) > 1:
        console.print(summary(comparisons))
        if out is not None:
            write_json(out / "comparison.json", comparisons)
            write_csv(out / "comparison.csv", comparisons)
    return comparisons


def folder_names(agents: Sequence[str]) -> list[str]:
    """The agents' last path parts, numbered where two are alike."""
    names = [Path(agent).name or "agent" for agent in agents]
    return [f"{name}-{index}" if names.count(name) > 1 else name for index, name in enumerate(names, start=1)]


def agent_and_puzzles(name: str, count: int, source: str | None, device: str) -> tuple[HRMAgent, Puzzles]:
    """An agent, and test puzzles for it.

    Raises:
        CheckpointError: no such agent.
        SourceError: a source that cannot be read.
    """
    agent = HRMAgent.from_pretrained(name, device)
    return agent, test_puzzles_for(agent, count, source)


def test_puzzles_for(agent: HRMAgent | WrittenOutAgent, count: int, source: str | None) -> Puzzles:
    """Test puzzles as `agent`'s own training had them held out, or of `source`.

    Raises:
        SourceError: a source that cannot be read.
    """
    trained = agent.description.get("trained", {}).get("config")
    if trained:
        config = TrainConfig.from_dict(trained)
    elif agent.family.name == "arc":
        config = TrainConfig(family="arc", puzzles={"max_size": agent.family.shape[0]})
    else:
        config = TrainConfig(family=agent.family.name, puzzles={"size": agent.family.shape[0]})
    return load_test_puzzles(config, count, source)


def summary(comparisons: Sequence[Comparison]) -> Table:
    """Mean, least and most over the checkpoints (seeds, say) of the strategies that all of them were judged by."""
    table = Table(title=f"{len(comparisons)} checkpoints: mean (least to most)", title_style="bold")
    for heading in ("strategy", "accuracy %", "steps", "regret %"):
        table.add_column(heading, justify="left" if heading == "strategy" else "right", no_wrap=True)
    shared = [row.strategy for row in comparisons[0].rows]
    for strategy in shared:
        rows = [row for comparison in comparisons for row in comparison.rows if row.strategy == strategy]
        if len(rows) < len(comparisons):
            continue
        cells = []
        for values, digits in (
            ([100 * row.accuracy for row in rows], 1),
            ([row.mean_steps for row in rows], 2),
            ([100 * row.accuracy_regret for row in rows], 1),
        ):
            cells.append(f"{np.mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})")
        table.add_row(strategy, *cells)
    return table


def write_hparams(comparison: Comparison, folder: Path) -> Path:
    """The comparison for TensorBoard's HPARAMS page: a run for each strategy."""
    from torch.utils.tensorboard import SummaryWriter  # slow to import

    with SummaryWriter(str(folder)) as board:
        for row in comparison.rows:
            board.add_hparams(
                {"checkpoint": comparison.checkpoint, "strategy": row.strategy, "kind": row.kind},
                {"accuracy": row.accuracy, "mean_steps": row.mean_steps, "regret": row.accuracy_regret, "reward": row.reward},
                run_name=row.strategy.replace("/", "_"),
            )
    return folder
