"""What a step of thought should cost: mean steps and accuracy of agents trained with different step costs.

    python examples/step_cost_sweep.py --out runs/step-costs                     # 7 costs x 3 seeds of sudoku-4x4
    python examples/step_cost_sweep.py --costs 0.005 0.05 --seeds 0 --set optimiser_steps=1000

Each run is an ordinary run folder, OUT/cost-C-seed-S; a sweep that was stopped goes on where it was. Every agent halts by its own learned
policy on the same test puzzles. Mean steps (over the seeds) have to fall, or stay, as the cost rises, and the exit status is 1 if they do
not. A cost of 0 is shown but not judged: without a cost halting and continuing tie, so the halting step is noise (docs/halting.md).

Writes step_costs.csv (a line for each run) and step_costs.png.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from hrm_gym.agents import HRMAgent
from hrm_gym.agents.agent import write_whole
from hrm_gym.envs.errors import ConfigError
from hrm_gym.train import TrainConfig, preset, train
from hrm_gym.train.checkpoint import load_checkpoint
from hrm_gym.train.data import load_test_puzzles
from hrm_gym.train.loop import CHECKPOINT_FILE, CONFIG_FILE, read_config
from hrm_gym.train.plots import INK, LEARNED, heading, new_figure, save_png

COSTS = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
FIGURES = ("step_cost", "seed", "accuracy", "mean_steps", "all_steps_accuracy")


def trained_agent(config: TrainConfig, folder: Path) -> HRMAgent:
    """The agent of the run in `folder`, which is trained, or trained to the end, if need be."""
    started = (folder / CONFIG_FILE).exists()
    if started and read_config(folder) != config:
        raise ConfigError(f"run folder {folder} holds a run with other settings; choose another --out")
    if not (folder / "agent").is_dir() or not finished(folder, config):
        train(config, folder, resume=started)
    return HRMAgent.from_pretrained(folder)


def finished(folder: Path, config: TrainConfig) -> bool:
    # the agent may be the best of the run, from an earlier step; the checkpoint is always the last state
    return bool(load_checkpoint(folder / CHECKPOINT_FILE)["optimiser_step"] == config.optimiser_steps)


def measure(config: TrainConfig, folder: Path, puzzles: int) -> dict[str, float]:
    """Accuracy and steps of one run on the test puzzles."""
    agent = trained_agent(config, folder)
    test = load_test_puzzles(config, puzzles)
    learned, everything = agent.solve(test), agent.solve(test, halting=f"fixed({agent.max_steps})")
    values = (config.step_cost, config.seed, learned.accuracy, learned.mean_steps, everything.accuracy)
    return dict(zip(FIGURES, values, strict=True))


def means(rows: list[dict[str, float]]) -> list[tuple[float, float, float]]:
    """Cost, mean steps and accuracy, over the seeds, by rising cost."""
    found = []
    for cost in sorted({row["step_cost"] for row in rows}):
        same = [row for row in rows if row["step_cost"] == cost]
        found.append(
            (cost, float(np.mean([row["mean_steps"] for row in same])), float(np.mean([row["accuracy"] for row in same])))
        )
    return found


def falls(rows: list[dict[str, float]]) -> bool:
    """Whether mean steps fall or stay from each cost above 0 to the next."""
    steps = [mean_steps for cost, mean_steps, _ in means(rows) if cost > 0]
    return all(after <= before for before, after in itertools.pairwise(steps))


def figure_of(rows: list[dict[str, float]], subtitle: str) -> Figure:
    """Left, mean steps against cost; right, accuracy against mean steps."""
    figure, left = new_figure(10, 4.6, columns=(1, 1))
    right = figure.axes[1]
    averages = means(rows)
    costs = [cost for cost, _, _ in averages]
    positions = {cost: place for place, cost in enumerate(costs)}
    judged = [(positions[cost], steps, accuracy) for cost, steps, accuracy in averages if cost > 0]
    left.plot([place for place, _, _ in judged], [steps for _, steps, _ in judged], color=LEARNED, linewidth=1.5)
    right.plot([steps for _, steps, _ in judged], [100 * accuracy for _, _, accuracy in judged], color=LEARNED, linewidth=1.5)
    for row in rows:
        face = LEARNED if row["step_cost"] else "none"  # hollow: nothing says when to halt
        left.scatter(positions[row["step_cost"]], row["mean_steps"], s=22, facecolors=face, edgecolors=LEARNED, zorder=3)
        right.scatter(row["mean_steps"], 100 * row["accuracy"], s=22, facecolors=face, edgecolors=LEARNED, zorder=3)
    left.set_xticks(range(len(costs)), [f"{cost:g}" for cost in costs])
    left.set_xlabel("step cost", color=INK)
    left.set_ylabel("mean steps until halt", color=INK)
    right.set_xlabel("mean steps until halt", color=INK)
    right.set_ylabel("accuracy, % (single pass)", color=INK)
    heading(left, "Steps against the cost of a step", subtitle)
    heading(right, "Accuracy against steps", "dots: runs; line: mean over the seeds; hollow: cost 0, a tie")
    return figure


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="sudoku-4x4")
    parser.add_argument("--costs", type=float, nargs="+", default=COSTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="of training; may be repeated"
    )
    parser.add_argument("--puzzles", type=int, default=1000, help="test puzzles")
    parser.add_argument("--out", type=Path, default=Path("runs/step-costs"))
    arguments = parser.parse_args()
    base = preset(arguments.preset).with_settings(arguments.settings)
    rows = []
    for seed in arguments.seeds:
        for cost in sorted(arguments.costs):
            config = base.replace(step_cost=cost, seed=seed)
            rows.append(measure(config, arguments.out / f"cost-{cost:g}-seed-{seed}", arguments.puzzles))
            print("  ".join(f"{name} {value:g}" for name, value in rows[-1].items()), flush=True)

    table = io.StringIO()
    writer = csv.DictWriter(table, FIGURES)
    writer.writeheader()
    writer.writerows(rows)
    write_whole(arguments.out / "step_costs.csv", table.getvalue().encode())
    subtitle = f"{base.name}, {base.optimiser_steps} optimiser steps, {arguments.puzzles} test puzzles"
    save_png(figure_of(rows, subtitle), arguments.out / "step_costs.png")
    for cost, steps, accuracy in means(rows):
        print(f"step cost {cost:g}: {steps:.2f} steps, accuracy {100 * accuracy:.1f} %")
    monotone = falls(rows)
    print("mean steps fall as the cost rises" if monotone else "mean steps do NOT fall throughout as the cost rises")
    return 0 if monotone else 1


if __name__ == "__main__":
    sys.exit(main())
