"""Model cards: the README.md of a checkpoint. Every figure in it comes from the agent's description and from one evaluation of it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hrm_gym.agents.agent import CARD_FILE, DESCRIPTION_FILE, HRMAgent, write_whole
from hrm_gym.agents.retry import Retry
from hrm_gym.agents.solutions import Solutions
from hrm_gym.envs.errors import CheckpointError
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.train.config import PRESETS, TrainConfig
from hrm_gym.train.evaluate import evaluate, plain
from hrm_gym.train.statistics import CALIBRATION_BINS, calibration

EVALUATION_FILE = "evaluation.json"
LICENCE = "mit"

LIMITS = {
    "sudoku": "Generated Sudoku are much easier than collections such as Sudoku-Extreme: accuracy on the one is not accuracy on the other. "
    "A network knows one size of grid.",
    "maze": "It knows mazes of this size; others of the same size but another recipe are another distribution. Several shortest paths "
    "may be right, so accuracy is judged by the rules and not by equality with a stored path.",
    "arc": "It knows each task by a number (its puzzle embedding): that is identity information, and the demonstrations of the test tasks "
    "are trained on. It can do nothing with a task that it was not trained on.",
}


# -- the figures -------------------------------------------------------------------------------------------------------


def reliability(solutions: Solutions, bins: int = CALIBRATION_BINS) -> list[dict[str, float]]:
    """How often drafts are right, by the probability sigmoid(Q-halt) that the agent gave them at the halt; empty bins are left out.

    Returns:
        For each bin `low`, `high`, `count`, `predicted` (mean probability) and `observed` (share verified).
    """
    table = calibration(solutions.halt_values, solutions.verified, bins)
    return [
        {
            "low": float(table.edges[n]),
            "high": float(table.edges[n + 1]),
            "count": int(table.counts[n]),
            "predicted": float(table.predicted[n]),
            "observed": float(table.observed[n]),
        }
        for n in np.flatnonzero(table.counts)
    ]


def evaluate_for_card(
    agent: HRMAgent,
    puzzles: Puzzles,
    attempts: int,
    checkpoint: str,
    command: str,
    source: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """What a card needs to be measured, as JSON knows it: `report` (an `EvaluationReport`), `reliability`, `command`, `source`.

    Args:
        attempts: K, of the retries under random symmetries.
        checkpoint: the agent's name in the report.
        command: the one that makes this evaluation.
        source: where `puzzles` come from, if not from the held-out split of what the agent was trained on.
        progress: called with the number of finished puzzles, 0..3 N.

    Raises:
        PuzzleError: puzzles that do not fit the agent's family.
    """
    report = evaluate(agent, puzzles, checkpoint=checkpoint, retry=Retry(attempts=attempts), progress=progress)
    # the same pass once more: the report keeps only its mean figures
    table = reliability(agent.solve(puzzles))
    return dict(plain({"report": report.to_dict(), "reliability": table, "command": command, "source": source}))


def write_card(folder: str | Path, name: str, agent: HRMAgent, evaluation: Mapping[str, Any]) -> Path:
    """Write `README.md` into the agent's folder, and beside it `evaluation.json`, all the figures that it was written from.

    Raises:
        CheckpointError: the folder holds no agent, or one that does not say how it was trained.
    """
    folder = Path(folder)
    try:
        description = json.loads((folder / DESCRIPTION_FILE).read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / DESCRIPTION_FILE} is not an agent's description ({type(error).__name__})") from None
    parameters = sum(parameter.numel() for parameter in agent.network.parameters())
    text = card_text(name, description, parameters, evaluation)
    write_whole(folder / EVALUATION_FILE, (json.dumps(evaluation, indent=2) + "\n").encode())
    write_whole(folder / CARD_FILE, text.encode())
    return folder / CARD_FILE


# -- the text ----------------------------------------------------------------------------------------------------------


def command_of(config: TrainConfig, device: str) -> str:
    """The command that trains with `config` on `device`: the nearest preset and what differs from it."""

    def differences(base: TrainConfig) -> list[str]:
        settings = []
        mine, theirs = config.to_dict(), base.to_dict()
        for key, value in mine.items():
            if key in ("seed", "device") or value == theirs[key]:
                continue
            if isinstance(value, dict):
                settings += [
                    f"{key}.{name}={_setting(item)}" for name, item in value.items() if theirs[key].get(name, ...) != item
                ]
            else:
                settings.append(f"{key}={_setting(value)}")
        return settings

    # a setting of the puzzle source can be given but not taken away
    candidates = {name: base for name, base in PRESETS.items() if set(base.puzzles) <= set(config.puzzles)}
    if not candidates:
        candidates = {name: base for name, base in PRESETS.items() if base.family == config.family} or dict(PRESETS)
    name = min(candidates, key=lambda key: (len(differences(candidates[key])), key != config.name))
    words = ["hrm-gym", "train", name, "--seed", str(config.seed), "--device", device]
    for setting in differences(candidates[name]):
        words += ["--set", shlex.quote(setting)]
    return " ".join(words)


def _setting(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def card_text(
    name: str,
    agent_description: Mapping[str, Any],
    parameters: int,
    evaluation: Mapping[str, Any],
) -> str:
    """The card in Markdown, with the hub's metadata in front.

    Args:
        name: of the model.
        agent_description: the agent's `agent.json`.
        parameters: how many numbers the network has learned.
        evaluation: what `evaluate_for_card` returns: `report`, `reliability`, `command`.

    Raises:
        CheckpointError: the agent does not say how it was trained.
    """
    try:
        trained = agent_description["trained"]
        config = TrainConfig.from_dict(trained["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{name} does not say how it was trained ({type(error).__name__}: {error}); a card needs an agent of hrm-gym train"
        ) from None
    report = evaluation["report"]
    family, size = report["family"], int(report["size"])
    learned, outer_loop = report["learned"], report["outer_loop"]
    sections = [
        _metadata(config, report),
        f"# {name}",
        f"A network ({config.backbone}) of {parameters:,} parameters for {family} {size} x {size}. It thinks in steps of "
        f"{_plural(config.h_cycles, 'H cycle')} each and halts by its own Q values, after {report['max_steps']} steps at the latest.",
        "## Use",
        "```python\nfrom hrm_gym.agents import HRMAgent\n\n"
        f'agent = HRMAgent.from_pretrained("{name}")\nsolutions = agent.solve(questions)  # uint8[N, {size}, {size}]\n```',
        "## Training",
        _training(config, trained, str(agent_description.get("weights_type", "float32"))),
        f"## Accuracy on {int(report['test_puzzles']):,} test puzzles",
        f"Measured with `{evaluation['command']}` on {report['device']}. {_test_data(config, evaluation)} "
        f"A draft is right if {'it equals the test output' if family == 'arc' else 'the rules of the puzzle verify it'}; "
        "intervals are 95 % (Wilson).",
        _accuracy_table(_accuracies(report)),
        "*Single pass*: one pass of the network. *Selected*: the best of all attempts, chosen without labels or rules. *Accepted by the "
        "verifier*: the rules say which attempt is right, and it stops there.",
        _retries(outer_loop),
        _budget_table(outer_loop["curve"]),
        "## Calibration",
        "How often a draft is right, by the probability sigmoid(Q-halt) that the agent gave it when it halted "
        f"(halting {learned['halting']}). Expected calibration error over {CALIBRATION_BINS} bins: "
        f"{_number(learned['calibration_error'], 3)}.",
        _reliability_table(evaluation["reliability"]),
        "## Intended use and limits",
        f"For studying adaptive computation and halting, and as an example of an agent of hrm-gym; no general solver. {LIMITS[family]}",
    ]
    return "\n\n".join(sections) + "\n"


def _training(config: TrainConfig, trained: Mapping[str, Any], weights_type: str) -> str:
    items = {
        "command": f"`{command_of(config, str(trained['device']))}`",
        "data": _data(config),
        "seed": str(config.seed),
        "device": str(trained["device"]),
        "time": f"{float(trained['seconds']):,.0f} s for {int(trained['optimiser_steps']):,} optimiser steps of "
        f"{config.batch_size} slots",
        "precision": f"{config.precision}, weights kept as {weights_type}",
        "licence": LICENCE.upper(),
    }
    return "\n".join(f"- {key}: {value}" for key, value in items.items())


def _metadata(config: TrainConfig, report: Mapping[str, Any]) -> str:
    """The block that the hub reads: licence, library, tags, and the figures as `model-index`."""
    family = report["family"]
    tags = ["hrm-gym", "reasoning", "adaptive-computation", family, config.backbone]
    lines = ["---", f"license: {LICENCE}", "library_name: hrm-gym", "tags:", *(f"- {tag}" for tag in tags)]
    lines += ["model-index:", f"- name: {json.dumps(config.name)}", "  results:"]
    lines += ["  - task:", "      type: reinforcement-learning", "    dataset:"]
    lines += [f"      name: {json.dumps(_source_name(config))}", f"      type: {json.dumps(family)}", "    metrics:"]
    for row in _accuracies(report):
        lines += [
            "    - type: accuracy",
            f"      name: {json.dumps(_way(row) + ': ' + str(row['kind']))}",
            f"      value: {json.dumps(plain(row['accuracy']))}",
        ]
    return "\n".join([*lines, "---"])


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" + ("s" if count != 1 else "")


def _source_name(config: TrainConfig) -> str:
    settings = {key: value for key, value in config.puzzles.items() if key != "source"}
    source = config.puzzles.get("source", "generate")
    described = ", ".join(f"{key} {value}" for key, value in settings.items())
    return f"{config.family}, {source}" + (f", {described}" if described else "")


def _data(config: TrainConfig) -> str:
    if config.family == "arc":
        return (
            f"the demonstrations of the tasks of {_source_name(config)}, under {config.augmentations:,} fixed symmetries each"
        )
    shown = "each shown under random symmetries" if config.augment else "without symmetries"
    return f"{config.train_puzzles:,} puzzles ({_source_name(config)}; split train), {shown}"


def _test_data(config: TrainConfig, evaluation: Mapping[str, Any]) -> str:
    if evaluation["source"]:
        return (
            f"The puzzles are from {evaluation['source']}; whether some of them are among the training puzzles was not checked."
        )
    if config.test_source:
        return f"The puzzles are from {config.test_source}; none of their questions is among the training puzzles."
    if config.family == "arc":
        return "The puzzles are the test pairs of the tasks whose demonstrations were trained on."
    return (
        "The puzzles are of the split test of the same source: no answer is in both train and test, a fixed hash of the answer decides. "
        "They do not depend on the seed."
    )


def _percent(share: Any) -> str:
    return "unknown" if share is None else f"{100 * share:.1f} %"


def _number(value: Any, digits: int) -> str:
    return "unknown" if value is None else f"{value:.{digits}f}"


def _accuracies(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of the table. The first of several attempts is the single pass, which stands there already."""
    retries = [row for row in report["outer_loop"]["rows"] if row["attempts"] > 1]
    return [report["learned"], report["all_steps"], *retries]


def _retries(outer_loop: Mapping[str, Any]) -> str:
    settings = outer_loop["retry"]
    return (
        f"At most {outer_loop['planned']} attempts each, the first plain, the others changed by {', '.join(settings['perturb'])} "
        f"(seed {settings['seed']}). Share of right answers against the number of attempts allowed:"
    )


def _budget_table(curve: Mapping[str, Any]) -> str:
    shares = ({"accepted by the verifier": curve["accepted"]} if curve["accepted"] else {}) | {
        f"selected, {rule}": values for rule, values in curve["selected"].items()
    }
    lines = ["| attempts | " + " | ".join(map(str, curve["attempts"])) + " |", "| --- |" + " --- |" * len(curve["attempts"])]
    lines += [f"| {name} | " + " | ".join(map(_percent, values)) + " |" for name, values in shares.items()]
    return "\n".join(lines)


def _way(row: Mapping[str, Any]) -> str:
    """How a row's drafts came about: the halting strategy of a single pass, or the rule over several attempts."""
    return f"halting {row['halting']}" if "halting" in row else f"{row['rule']}, {_plural(row['attempts'], 'attempt')}"


def _accuracy_table(rows: list[dict[str, Any]]) -> str:
    lines = ["| kind of accuracy | how | accuracy (95 % interval) | mean steps |", "| --- | --- | --- | --- |"]
    for row in rows:
        low, high = row["accuracy_interval"]
        interval = "" if low is None else f" ({100 * low:.1f} to {100 * high:.1f})"
        lines.append(
            f"| {row['kind']} | {_way(row)} | {_percent(row['accuracy'])}{interval} | {_number(row['mean_steps'], 2)} |"
        )
    return "\n".join(lines)


def _reliability_table(rows: list[dict[str, float]]) -> str:
    lines = ["| predicted | puzzles | mean prediction | right |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {row['low']:.1f} to {row['high']:.1f} | {row['count']:,} | {row['predicted']:.3f} | {row['observed']:.3f} |"
        for row in rows
    ]
    return "\n".join(lines)
