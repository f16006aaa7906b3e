"""What `hrm-gym compare` and the demo do: one recorded pass, a table, its files and the plot."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from hrm_gym.agents.agent import HRMAgent
from hrm_gym.agents.halting import HaltingStrategy, halting_strategy
from hrm_gym.agents.trajectories import record
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.train.calibrate import calibrated_strategies, split_trajectories, strategies_with
from hrm_gym.train.compare import Comparison, compare, default_strategies, write_csv, write_json
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
    trajectories = record(agent, puzzles, description={"checkpoint": checkpoint})
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
        ]
        console.print(f"Written: {', '.join(str(path) for path in written)}")
    return comparison
