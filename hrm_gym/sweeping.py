"""The same training under several seeds, and what they have in common: `hrm-gym train --seeds 0-2`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from hrm_gym.agents.agent import HRMAgent, write_whole
from hrm_gym.envs.errors import ConfigError
from hrm_gym.train.config import TrainConfig
from hrm_gym.train.data import load_test_puzzles
from hrm_gym.train.evaluate import evaluate, plain
from hrm_gym.train.loop import CHECKPOINT_FILE, CONFIG_FILE, read_config, train


def read_seeds(text: str) -> list[int]:
    """ "0-2,7" -> [0, 1, 2, 7].

    Raises:
        ConfigError: not of that form, or a seed twice.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if match is None:
            raise ConfigError(f"seeds are {text!r}; write numbers and ranges, for example 0-2,7")
        seeds += range(int(match[1]), int(match[2] or match[1]) + 1)
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds {text!r} name {'no seed' if not seeds else 'one twice'}; write for example 0-2,7")
    return seeds


def start_or_resume(config: TrainConfig, folder: Path) -> Path:
    """Train in `folder`: from the start, or from its checkpoint where there is one; nothing where the run is finished.

    Raises:
        ConfigError: the folder holds a run with other settings.
    """
    if not (folder / CONFIG_FILE).exists():
        return train(config, folder)
    there = read_config(folder)
    if there != config:
        changed = [name for name, value in config.to_dict().items() if there.to_dict()[name] != value]
        raise ConfigError(f"run folder {folder} holds a run with other {', '.join(changed)}; choose another with --out")
    if not (folder / CHECKPOINT_FILE).exists():
        (folder / CONFIG_FILE).unlink()  # it ended before its first checkpoint
        return train(config, folder)
    return train(config, folder, resume=True)


def sweep(config: TrainConfig, seeds: Sequence[int], folder: Path, console: Console) -> Path:
    """Train and evaluate `config` under each of `seeds`, in `folder`/seed<seed>, and write `folder`/sweep.json.

    What is trained already stays as it is, so that a sweep that was stopped goes on where it was.
    """
    reports = []
    for seed in seeds:
        run = start_or_resume(config.replace(seed=seed), folder / f"seed{seed}")
        report = evaluate(HRMAgent.from_pretrained(run, config.device), load_test_puzzles(config), checkpoint=str(run))
        reports.append({"seed": seed, **report.to_dict()})
        write_whole(folder / "sweep.json", (json.dumps(plain(reports), indent=2) + "\n").encode())
    table = Table(title=f"{config.name}: {len(reports)} seeds", title_style="bold", caption="accuracy: single pass")
    for heading in ("seed", "accuracy %", "mean steps", "all steps: accuracy %", "calibration error"):
        table.add_column(heading, justify="right")
    rows = []
    for figures in reports:
        learned, all_steps = figures["learned"], figures["all_steps"]
        rows.append(
            [100 * learned["accuracy"], learned["mean_steps"], 100 * all_steps["accuracy"], learned["calibration_error"]]
        )
        table.add_row(str(figures["seed"]), *(f"{value:.{digits}f}" for value, digits in zip(rows[-1], DIGITS, strict=True)))
    if len(rows) > 1:
        for name, values in (("mean", np.mean(rows, axis=0)), ("standard deviation", np.std(rows, axis=0, ddof=1))):
            table.add_row(name, *(f"{value:.{digits}f}" for value, digits in zip(values, DIGITS, strict=True)))
    console.print(table)
    return folder / "sweep.json"


DIGITS = (1, 2, 1, 3)
