"""What `hrm-gym compare` and the demo do: one recorded pass, a table, its files and the plot."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from hrm_gym.agents.agent import HRMAgent
from hrm_gym.agents.trajectories import record
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.train.compare import Comparison, compare, write_csv, write_json
from hrm_gym.train.plots import accuracy_against_steps, save_png


def compare_and_show(
    agent: HRMAgent,
    puzzles: Puzzles,
    strategies: Sequence[str] | None,
    out: Path | None,
    seed: int,
    checkpoint: str,
    console: Console,
) -> Comparison:
    """Record `agent` on `puzzles` once, judge the strategies on it, print the table; with `out` write it, and the plot, there.

    Args:
        strategies: their texts; None: a list that fits.
        seed: of the bootstrap intervals.
        checkpoint: the agent's name in table and plot.
    """
    started = time.monotonic()
    trajectories = record(agent, puzzles, description={"checkpoint": checkpoint})
    recorded = time.monotonic()
    comparison = compare(trajectories, strategies, random=np.random.default_rng(seed))
    console.print(comparison.table(console.width))
    console.print(f"Recorded in {recorded - started:.1f} s, compared in {time.monotonic() - recorded:.1f} s.")
    if out is not None:
        written = [
            write_json(out / "comparison.json", [comparison]),
            write_csv(out / "comparison.csv", [comparison]),
            save_png(accuracy_against_steps(comparison), out / "accuracy-against-steps.png"),
        ]
        console.print(f"Written: {', '.join(str(path) for path in written)}")
    return comparison
