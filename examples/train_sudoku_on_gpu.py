"""The 1,000-puzzle Sudoku benchmark on one GPU: the fast recipe and HRM's own beside it, from training to figures, in one command.

    python examples/train_sudoku_on_gpu.py --train train.csv --test test.csv --out runs/gpu
    python examples/train_sudoku_on_gpu.py --train train.csv --test test.csv --out runs/dry --dry-run      # on a CPU, in a minute

The CSV files have Sudoku-Extreme's columns (source,question,answer,rating). 1,000 training puzzles are drawn by the seed and augmented; the
accuracy curve is measured while training on the first 500 test puzzles, and nothing is chosen by it: the last weights count. Then the whole
test file is solved, once and with 32 attempts, and the speed of training is measured. What is trained stays, so a stopped command goes on.

Writes OUT/<preset>/ (run folders), curve.csv, curve.png, <preset>.json (three accuracies) and <preset>-speed.json (utilisation, memory).
"""

from __future__ import annotations

import argparse
import csv
import io
import json
from pathlib import Path

from rich.console import Console

from hrm_gym.agents import HRMAgent, Retry
from hrm_gym.agents.agent import write_whole
from hrm_gym.bench_train import bench_training
from hrm_gym.sweeping import start_or_resume
from hrm_gym.train import TrainConfig, preset
from hrm_gym.train.data import load_test_puzzles
from hrm_gym.train.evaluate import evaluate
from hrm_gym.train.loop import METRICS_FILE
from hrm_gym.train.plots import heading, new_figure, save_png

PRESETS = ("fast", "hrm-paper")
ALL_TEST_PUZZLES = 1_000_000
# enough to go through everything on a CPU, not to learn anything
DRY_RUN = {
    "device": "cpu", "precision": "float32", "compile": "off", "hidden_size": 32, "heads": 2, "mlp_multiple": 16, "h_cycles": 1,
    "l_cycles": 1, "batch_size": 16, "max_steps": 3, "optimiser_steps": 6, "warmup_steps": 1, "average_from": 0, "log_every": 2,
    "evaluate_every": 3, "train_puzzles": 64,
}  # fmt: skip


def configuration(name: str, arguments: argparse.Namespace) -> TrainConfig:
    """The preset on the given files."""
    config = preset(name).replace(
        puzzles={"size": 9, "source": f"csv:{arguments.train}"},
        test_source=f"csv:{arguments.test}",
        test_puzzles=ALL_TEST_PUZZLES,
        validation_puzzles=0,
        keep="last",
        seed=arguments.seed,
    )
    if arguments.dry_run:
        config = config.replace(
            **{name: value for name, value in DRY_RUN.items() if config.average_decay or name != "average_from"}
        )
    return config.with_settings(arguments.settings)


def curve(folder: Path) -> list[tuple[int, float, float]]:
    """(optimiser step, accuracy, mean steps) of a run's evaluations while training."""
    lines = [json.loads(line) for line in (folder / METRICS_FILE).read_text().splitlines()]
    return [(line["step"], line["accuracy"], line["mean_steps"]) for line in lines if line["group"] == "test"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True, help="CSV of training puzzles")
    parser.add_argument("--test", type=Path, required=True, help="CSV of test puzzles")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=PRESETS)
    parser.add_argument("--attempts", type=int, default=32, help="of the verified retry")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", dest="settings", action="append", default=[], help="key=value, for every preset")
    parser.add_argument("--dry-run", action="store_true", help="a tiny network for a few steps, on the CPU")
    arguments = parser.parse_args()
    console = Console()

    curves: dict[str, list[tuple[int, float, float]]] = {}
    for name in arguments.presets:
        config = configuration(name, arguments)
        folder = start_or_resume(config, arguments.out / name)
        curves[name] = curve(folder)
        agent = HRMAgent.from_pretrained(folder, config.device)
        test = load_test_puzzles(config, 64 if arguments.dry_run else None)
        attempts = 2 if arguments.dry_run else arguments.attempts
        report = evaluate(agent, test, checkpoint=str(folder), retry=Retry(attempts=attempts, seed=arguments.seed))
        console.print(report.table())
        if report.outer_loop is not None:
            console.print(report.outer_loop.table())
        report.save(arguments.out / f"{name}.json")
        if not arguments.dry_run:
            bench_training(
                console,
                arguments.out / f"{name}-speed.json",
                preset_name=name,
                backbones=[config.backbone],
                precisions=[config.precision],
                compile_modes=[config.compile],
                cycles=(),
                device=config.device,
            )

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("preset", "optimiser_step", "accuracy", "mean_steps"))
    figure, axes = new_figure()
    for name, points in curves.items():
        writer.writerows((name, *point) for point in points)
        axes.plot([step for step, *_ in points], [100 * accuracy for _, accuracy, _ in points], marker="o", label=name)
    write_whole(arguments.out / "curve.csv", text.getvalue().encode())
    heading(axes, "Accuracy while training", f"single pass, 500 test puzzles, seed {arguments.seed}")
    axes.set_xlabel("optimiser steps")
    axes.set_ylabel("accuracy (%)")
    axes.legend()
    console.print(f"Written: {save_png(figure, arguments.out / 'curve.png')}")


if __name__ == "__main__":
    main()
