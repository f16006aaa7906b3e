"""The ablations' report: the audit's questions as headings, each answered from the numbers with intervals, a table and a figure.

Written are `report.html` (opens without a network), `report.md`, `ablation.json` and the figures as PNG.
"""

from __future__ import annotations

import base64
import dataclasses
import html
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from hrm_gym.agents.agent import write_whole
from hrm_gym.train.ablation import (
    RESAMPLES,
    Accuracy,
    Cell,
    Difference,
    Results,
    accuracy,
    augmentations_name,
    difference,
)
from hrm_gym.train.evaluate import ACCEPTED, plain
from hrm_gym.train.plots import INK, LEARNED, MUTED, PLAIN, RULES, heading, new_figure, png_bytes, save_png
from hrm_gym.train.report import STYLE

SINGLE = "single pass, all steps"
HALTED = "single pass, learned halting"
SELECTED = "selected"
FIGURES = "figures"
WIDTH, HEIGHT = 7.6, 4.0  # inches of a figure
SEED = 0  # of the bootstrap


@dataclass
class Answer:
    """One question of the report.

    Attributes:
        key: short name, of the figure's file as well.
        question: the heading.
        sentences: what the numbers say.
        columns, rows: the table; the first column names the row.
        note: how to read it.
        figure: None where there is nothing to draw.
        figures: numbers behind it, for the JSON file.
    """

    key: str
    question: str
    sentences: list[str]
    columns: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    note: str = ""
    figure: Figure | None = None
    figures: dict[str, Any] = field(default_factory=dict)


def write_ablation_report(
    results: Results, folder: str | Path, command: str, seconds: float | None = None, jobs: int = 1
) -> Path:
    """Write the report of a finished grid into `folder`, each file whole or not at all, and return the HTML file.

    Args:
        command: that made it.
        seconds: wall-clock time of that command; None: not stated (it may have been one of several).
        jobs: processes that it had.
    """
    folder = Path(folder)
    facts = about(results, command, seconds, jobs)
    answers = answer_all(results)
    cells = cell_table(results)
    for answer in answers:
        if answer.figure is not None:
            save_png(answer.figure, folder / FIGURES / f"{answer.key}.png")
    kept = {
        "about": facts,
        "grid": results.grid.to_dict(),
        "cells": [dict(zip(cells.columns, row, strict=True)) for row in cells.rows],
        "answers": {
            answer.key: {"question": answer.question, "sentences": answer.sentences, **answer.figures} for answer in answers
        },
    }
    write_whole(folder / "ablation.json", (json.dumps(plain(kept), indent=2) + "\n").encode())
    write_whole(folder / "report.md", as_markdown(facts, answers, cells, len(results.grid.seeds)).encode())
    page = folder / "report.html"
    write_whole(page, as_html(facts, answers, cells, len(results.grid.seeds)).encode())
    return page


def about(results: Results, command: str, seconds: float | None, jobs: int) -> dict[str, str]:
    """What the report stands on, by name."""
    grid, base = results.grid, results.grid.base
    settings = ", ".join(f"{name} {value}" for name, value in base.puzzles.items())
    facts = {
        "command": command,
        "puzzles": f"{base.family}, {settings or 'default settings'}: {base.train_puzzles:,} for training, "
        f"{results.test_puzzles:,} unseen ones for the tests, the same for every run",
        "runs": f"{len(results.results)}: {len(results.settings)} settings under each of the seeds {', '.join(map(str, grid.seeds))}",
        "centre": f"{grid.centre.setting}; "
        + ("all combinations of the axes" if grid.full else "one axis at a time is varied around it"),
        "equal between backbones": "training FLOPs" if grid.equal == "compute" else "optimiser steps",
        "device": f"{results.device}, PyTorch {torch.__version__}, hrm-gym {version('hrm-gym')}",
        "time": f"{results.run_seconds:,.0f} s of training and testing, all runs added up",
    }
    if seconds is not None:
        facts["time"] += f"; {seconds:,.0f} s from start to end in {jobs} process{'es' if jobs > 1 else ''}"
    return facts


def answer_all(results: Results) -> list[Answer]:
    """The questions and what the numbers say to them."""
    random = np.random.default_rng(SEED)
    return [
        hierarchy(results, random),
        outer_loop(results, random),
        augmentation(results, random),
        halting(results, random),
        retry(results, random),
        written_out(results, random),
    ]


# -- words -------------------------------------------------------------------------------------------------------------------


def percent(measured: Accuracy) -> str:
    """ "81.2 % (77.5 to 84.4)"."""
    return f"{100 * measured.value:.1f} % ({100 * measured.low:.1f} to {100 * measured.high:.1f})"


def points(found: Difference) -> str:
    """ "+0.3 points (-0.9 to +1.5; by seed +0.8, -0.2)"."""
    seeds = f"; by seed {', '.join(f'{100 * each:+.1f}' for each in found.seeds)}" if len(found.seeds) > 1 else ""
    return f"{100 * found.value:+.1f} points ({100 * found.low:+.1f} to {100 * found.high:+.1f}{seeds})"


def compared(first: str, second: str, found: Difference) -> str:
    """One sentence on a difference; what it claims follows from the interval and from whether the seeds agree."""
    claim = {
        "higher": "more puzzles are solved",
        "lower": "fewer puzzles are solved",
        "unclear": "no difference can be seen",
        "mixed": "the seeds disagree",
        "equal": "the very same puzzles are solved",
    }[found.verdict]
    size = f"{found.both:,g} of {found.puzzles:,}" if found.verdict == "equal" else points(found)
    return f"{first} against {second}: {claim}, {size}."


def seeds_text(measured: Accuracy) -> str:
    return ", ".join(f"{100 * each:.1f}" for each in measured.seeds)


def number(value: float) -> str:
    """1,060,000 as "1.06M"; FLOPs and parameters."""
    for size, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _steps(count: float) -> str:
    return f"{count:g} step{'' if count == 1 else 's'}"


def _seeds(results: Results) -> str:
    count = len(results.grid.seeds)
    return "one seed" if count == 1 else f"mean of {count} seeds"


def _kept(pairs: dict[str, Accuracy | Difference]) -> dict[str, Any]:
    return {name: dataclasses.asdict(value) for name, value in pairs.items()}


# -- the questions ----------------------------------------------------------------------------------------------------------


def hierarchy(results: Results, random: np.random.Generator) -> Answer:
    """The centre's backbone against the others."""
    along = results.along("backbone")
    measured = {name: accuracy(SINGLE, right) for name, right in along}
    first, right = along[0]
    differences = {name: difference(right, other, random) for name, other in along[1:]}
    sentences = [compared(first, name, found) for name, found in differences.items()]
    rows = []
    for name, shown in measured.items():
        example = dataclasses.replace(results.grid.centre, backbone=name)
        run = results.results[example]
        rows.append(
            [
                name,
                percent(shown),
                seeds_text(shown),
                points(differences[name]) if name in differences else "",
                f"{run['parameters']:,}",
                number(run["training_flops"]),
                f"{run['optimiser_steps']:,}",
            ]
        )
    equal = "the same training FLOPs" if results.grid.equal == "compute" else "the same number of optimiser steps"
    return Answer(
        "hierarchy",
        "Does the hierarchy matter?",
        sentences or ["Not varied in this grid: it has one backbone."],
        [
            "backbone",
            f"accuracy ({SINGLE})",
            "by seed, %",
            f"{first} minus it",
            "parameters",
            "training FLOPs",
            "optimiser steps",
        ],
        rows,
        f"All have as many blocks and {equal}. HRM has two modules, a slow and a fast one; the transformer is one stack of as many "
        "blocks without hierarchy; TRM's kin use one stack in both roles. " + _contexts(results, "backbone"),
        _bars(measured, "Accuracy by backbone", SINGLE, results),
        {"accuracy": _kept(dict(measured)), "first_minus_other": _kept(dict(differences))},
    )


def outer_loop(results: Results, random: np.random.Generator) -> Answer:
    """Steps of training (and test), and steps of the test alone."""
    grid, centre = results.grid, results.grid.centre
    along = sorted(results.along("steps"))
    trained = {steps: accuracy(SINGLE, right) for steps, right in along}
    tests = sorted({*grid.steps, 1})
    tested = {step: accuracy(f"single pass, {_steps(step)}", results.at_step(centre, step)) for step in tests}
    differences: dict[str, Difference] = {}
    sentences = []
    if len(along) > 1:
        (least, few), (most, many) = along[0], along[-1]
        differences["training"] = difference(many, few, random)
        sentences.append(
            compared(f"Training and testing with {_steps(most)}", f"with {_steps(least)}", differences["training"])
        )
        gains = [(later - earlier, low, high) for (low, later, earlier, high) in _neighbours(along)]
        size, low, high = max(gains)
        if len(gains) > 1 and size > 0:
            sentences.append(f"The largest gain of one enlargement is from {low} to {_steps(high)}: {100 * size:+.1f} points.")
    if centre.steps > 1:
        differences["test"] = difference(results.at_step(centre, centre.steps), results.at_step(centre, 1), random)
        sentences.append(
            compared(
                f"At test alone, the network that was trained with {_steps(centre.steps)} taking them all",
                "the same stopped after 1 step",
                differences["test"],
            )
        )
    rows = [
        [
            str(step),
            percent(trained[step]) if step in trained else "not trained",
            seeds_text(trained[step]) if step in trained else "",
            percent(tested[step]),
            seeds_text(tested[step]),
        ]
        for step in tests
    ]
    figure, axes = new_figure(WIDTH, HEIGHT)
    every = np.arange(1, max(grid.steps) + 1)
    curve = [100 * results.at_step(centre, int(step)).mean() for step in every]
    axes.plot(
        every, curve, color=PLAIN, linewidth=1.6, marker=".", label=f"trained with {_steps(centre.steps)}, tested with so many"
    )
    _with_bars(axes, list(trained), list(trained.values()), LEARNED, "trained and tested with so many")
    _step_axis(axes, max(grid.steps))
    axes.set_xlabel("steps of the outer loop", color=INK)
    _finish(axes, "Accuracy by outer-loop steps", "single pass", results)
    return Answer(
        "outer-loop",
        "Does the outer loop matter?",
        sentences or ["Not varied in this grid: it has one number of steps."],
        ["steps", "trained and tested with them", "by seed, %", f"trained with {centre.steps}, tested with them", "by seed, %"],
        rows,
        "Accuracy of a single pass. All runs make the same number of optimiser steps, each of which takes every slot one step of thought "
        "further, so they cost the same; with fewer steps a run sees more puzzles. " + _contexts(results, "steps"),
        figure,
        {
            "trained": _kept({str(step): value for step, value in trained.items()}),
            "tested": _kept({str(step): value for step, value in tested.items()}),
            "differences": _kept(dict(differences)),
        },
    )


def _neighbours(along: Sequence[tuple[int, np.ndarray]]) -> list[tuple[int, float, float, int]]:
    """Each two neighbouring numbers of steps and their accuracies: (fewer, accuracy with more, accuracy with fewer, more)."""
    return [
        (low, float(later.mean()), float(earlier.mean()), high) for (low, earlier), (high, later) in itertools.pairwise(along)
    ]


def augmentation(results: Results, random: np.random.Generator) -> Answer:
    """Fixed symmetries per training puzzle."""
    along = sorted(results.along("augmentations"), key=lambda pair: float("inf") if pair[0] < 0 else pair[0])
    measured = {augmentations_name(count): accuracy(SINGLE, right) for count, right in along}
    (least, few), rest = along[0], along[1:]
    differences = {augmentations_name(count): difference(right, few, random) for count, right in rest}
    sentences = []
    if rest:
        most, many = rest[-1]
        sentences.append(compared(_augmented(most).capitalize(), _augmented(least), differences[augmentations_name(most)]))
        if len(rest) > 1:
            before, nearly = rest[-2]
            last = difference(many, nearly, random)
            differences[f"{augmentations_name(most)} minus {augmentations_name(before)}"] = last
            sentences.append(compared(_augmented(most).capitalize(), _augmented(before), last))
    rows = [
        [name, percent(shown), seeds_text(shown), points(differences[name]) if name in differences else ""]
        for name, shown in measured.items()
    ]
    return Answer(
        "augmentation",
        "Does augmentation matter?",
        sentences or ["Not varied in this grid: it has one number of augmentations."],
        ["symmetries per puzzle", f"accuracy ({SINGLE})", "by seed, %", f"minus {augmentations_name(least)}"],
        rows,
        f"Each of the {results.grid.base.train_puzzles:,} training puzzles is shown as it is and under so many fixed symmetries (any: a "
        "new one at each showing). None of them turns a training answer into a test answer. "
        + _contexts(results, "augmentations"),
        _bars(measured, "Accuracy by augmentation", SINGLE, results, "symmetries per training puzzle"),
        {"accuracy": _kept(dict(measured)), "differences": _kept(dict(differences))},
    )


def _augmented(count: int) -> str:
    if count == 0:
        return "training without augmentation"
    return "training with a new symmetry at each showing" if count < 0 else f"training with {count} symmetries per puzzle"


def halting(results: Results, random: np.random.Generator) -> Answer:
    """Learned halting against all steps, and against as many steps for every puzzle alike."""
    centre = results.grid.centre
    sentences, rows = [], []
    kept: dict[str, Any] = {}
    for cell in results.latent:
        whole, learned = results.right(cell), results.learned(cell)
        mean = results.learned_steps(cell).mean(axis=1)
        against_all = difference(learned, whole, random)
        against_blind = difference(learned, results.blind(cell), random)
        shown, halted = accuracy(SINGLE, whole), accuracy(HALTED, learned)
        kept[cell.setting] = {
            "mean_steps": mean.tolist(),
            "strategy": results.results[cell]["halting"],
            **_kept({"all_steps": shown, "learned": halted, "against_all": against_all, "against_blind": against_blind}),
        }
        rows.append(
            [
                cell.setting,
                percent(shown),
                percent(halted),
                f"{mean.mean():.2f} of {cell.steps}",
                points(against_all),
                points(against_blind),
            ]
        )
        if cell == centre:
            sentences.append(
                compared(
                    f"Learned halting, which takes {mean.mean():.1f} of {_steps(cell.steps)} on average,",
                    "all steps for every puzzle",
                    against_all,
                )
            )
            sentences.append(
                compared("Learned halting", "as many steps on average, but the same number for every puzzle", against_blind)
            )
    figure, axes = new_figure(WIDTH, HEIGHT)
    every = np.arange(1, centre.steps + 1)
    axes.plot(every, [100 * results.at_step(centre, int(step)).mean() for step in every], color=PLAIN, linewidth=1.6, marker=".",
              label="every puzzle the same number of steps")  # fmt: skip
    _with_bars(
        axes, [results.learned_steps(centre).mean()], [accuracy(HALTED, results.learned(centre))], LEARNED, "learned halting"
    )
    _step_axis(axes, centre.steps)
    axes.set_xlabel("mean steps of thought per puzzle", color=INK)
    _finish(axes, "Learned halting against stopping blindly", f"{centre.setting} · single pass", results)
    return Answer(
        "halting",
        "Does learned halting matter?",
        sentences,
        ["run", SINGLE, HALTED, "mean steps", "learned minus all steps", "learned minus as many for all"],
        rows,
        "The halting policy is the agent's own, on the same pass of the network. The last column compares it with halting that spends the "
        "same mean number of steps, alike for every puzzle.",
        figure,
        {"runs": kept},
    )


def retry(results: Results, random: np.random.Generator) -> Answer:
    """Verified retries and selections without labels, on the same attempts."""
    question = "What does the verified retry add?"
    if results.grid.attempts == 1:
        return Answer("retry", question, ["Not measured in this grid: it has one attempt."])
    centre = results.grid.centre
    planned = results.results[centre]["retry"]["planned"]
    within = f"{ACCEPTED} within {planned} attempts"
    sentences, rows = [], []
    kept: dict[str, Any] = {}
    for cell in results.latent:
        first = results.retried(cell, "single pass")
        by_rule = {rule: results.retried(cell, rule) for rule in ("best-q", "vote", "verifier")}
        gains = {rule: difference(right, first, random) for rule, right in by_rule.items()}
        shown = {rule: accuracy(within if rule == "verifier" else SELECTED, right) for rule, right in by_rule.items()}
        single = accuracy(HALTED, first)
        kept[cell.setting] = {
            "accuracy": _kept({"first attempt": single, **shown}),
            "gain": _kept(dict(gains)),
        }
        rows.append(
            [
                cell.setting,
                percent(single),
                percent(shown["best-q"]),
                percent(shown["vote"]),
                percent(shown["verifier"]),
                points(gains["verifier"]),
            ]
        )
        if cell == centre:
            sentences.append(
                compared(
                    f"What the verifier accepts within {planned} attempts",
                    "the first attempt",
                    gains["verifier"],
                )
            )
            missed = 1 - single.value
            if missed > 0 and gains["verifier"].value > 0:
                share = (shown["verifier"].value - single.value) / missed
                sentences.append(f"That is {100 * share:.0f} % of what the first attempt leaves unsolved.")
            sentences.append(compared("Selection by the best Q, without rules,", "the first attempt", gains["best-q"]))
            sentences.append(compared("Selection by vote", "the first attempt", gains["vote"]))
    figure, axes = new_figure(12.4, max(HEIGHT, 0.34 * len(rows) + 1.6), columns=(5, 6))
    budget = np.arange(1, planned + 1)
    axes.plot(budget, [100 * results.accepted_within(centre, int(k)).mean() for k in budget], color=RULES, linewidth=2, marker="o",
              markersize=5)  # fmt: skip
    axes.set_xlabel("attempts allowed", color=INK)
    _step_axis(axes, planned)
    _finish(axes, "Accepted by the verifier", centre.setting, results, legend=False)
    right = figure.axes[1]
    names = [cell.setting for cell in results.latent]
    for place, name in enumerate(names):
        found = kept[name]["accuracy"]
        low, high = 100 * found["first attempt"]["value"], 100 * found["verifier"]["value"]
        right.plot([low, high], [place, place], color=MUTED, linewidth=1, zorder=1)
        for rule, colour, marker, label in (
            ("first attempt", PLAIN, "s", "first attempt, single pass"),
            ("best-q", LEARNED, "D", "selected by best Q"),
            ("verifier", RULES, "o", within),
        ):
            right.plot(100 * found[rule]["value"], place, marker=marker, color=colour, markersize=6, linestyle="",
                       label=label if place == 0 else None)  # fmt: skip
    right.set_yticks(range(len(names)), names)
    right.invert_yaxis()
    right.set_xlabel("accuracy, %", color=INK)
    _legend_below(right)
    heading(right, "Every run", f"{results.test_puzzles:,} test puzzles · {_seeds(results)}")
    return Answer(
        "retry",
        question,
        sentences,
        ["run", f"first attempt ({HALTED})", "selected by best Q", "selected by vote", within, "verifier minus first attempt"],
        rows,
        "Each attempt after the first is made under another random symmetry, which is undone on the draft. Selection sees neither labels "
        "nor rules; the verifier sees the rules, never the answer.",
        figure,
        {"runs": kept},
    )


def written_out(results: Results, random: np.random.Generator) -> Answer:
    """The control that writes its reasoning out against the centre."""
    question = "Does written-out reasoning do as well?"
    centre = results.grid.centre
    forms = [cell for cell in results.settings if cell.written_out]
    if not forms:
        return Answer("written-out", question, ["Not part of this grid: leave --no-written-out away to train it."])
    right = results.right(centre)
    measured = {centre.setting: accuracy(SINGLE, right)}
    differences: dict[str, Difference] = {}
    sentences = []
    for cell in forms:
        other = results.right(cell)
        measured[cell.setting] = accuracy("single pass", other)
        differences[cell.setting] = difference(right, other, random)
        name = "writing the answer alone" if cell.written_out == "answer" else "writing the solver's steps and then the answer"
        sentences.append(compared(f"Thinking in hidden states ({centre.setting})", name, differences[cell.setting]))
    rows = []
    for cell in [centre, *forms]:
        run, shown = results.results[cell], measured[cell.setting]
        found = points(differences[cell.setting]) if cell.setting in differences else ""
        rows.append(
            [cell.setting, shown.kind, percent(shown), seeds_text(shown), found, f"{run['parameters']:,}", number(run["training_flops"]),
             f"{run['optimiser_steps']:,}"]
        )  # fmt: skip
    return Answer(
        "written-out",
        question,
        sentences,
        ["run", "kind", "accuracy", "by seed, %", "centre minus it", "parameters", "training FLOPs", "optimiser steps"],
        rows,
        "A decoder-only transformer of as many parameters, trained with the same puzzles, symmetries and optimiser until it has spent the "
        "centre's training FLOPs. What it writes is final: it has no steps to choose and is not tried again here.",
        _bars(measured, "Thinking in hidden states and writing it out", "single pass", results),
        {"accuracy": _kept(dict(measured)), "centre_minus_other": _kept(dict(differences))},
    )


def _contexts(results: Results, axis: str) -> str:
    if not results.grid.full:
        return "The other axes are at the centre."
    return "Means over all settings of the other axes."


# -- figures ----------------------------------------------------------------------------------------------------------------


def _bars(measured: dict[str, Accuracy], title: str, kind: str, results: Results, label: str = "") -> Figure:
    """A point with its interval for each name, its seeds as small dots."""
    figure, axes = new_figure(WIDTH, HEIGHT)
    _with_bars(axes, list(range(len(measured))), list(measured.values()), LEARNED, "mean, 95 % interval over puzzles")
    axes.set_xticks(range(len(measured)), list(measured))
    axes.set_xlim(-0.6, len(measured) - 0.4)
    axes.set_xlabel(label, color=INK)
    _finish(axes, title, kind, results)
    return figure


def _with_bars(axes: Axes, places: Sequence[float], measured: Sequence[Accuracy], colour: str, label: str) -> None:
    values = np.array([100 * each.value for each in measured])
    lows, highs = (np.array([100 * getattr(each, end) for each in measured]) for end in ("low", "high"))
    around = np.stack((values - lows, highs - values))
    axes.errorbar(places, values, yerr=around, fmt="o", color=colour, markersize=7, capsize=3, elinewidth=1.4,
                  label=label, zorder=3)  # fmt: skip
    if measured and len(measured[0].seeds) > 1:
        spread = [(place, 100 * seed) for place, each in zip(places, measured, strict=True) for seed in each.seeds]
        axes.plot(
            *zip(*spread, strict=True),
            linestyle="",
            marker="_",
            markersize=12,
            color=colour,
            alpha=0.6,
            label="each seed",
            zorder=2,
        )


def _step_axis(axes: Axes, most: int) -> None:
    ticks = [1 << power for power in range(most.bit_length()) if 1 << power <= most]
    ticks += [] if most in ticks else [most]
    if most > 2:
        axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(0.9, most * 1.1)


def _legend_below(axes: Axes) -> None:
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.16), ncols=2, fontsize=8.5, frameon=False, labelcolor=INK)


def _finish(axes: Axes, title: str, kind: str, results: Results, legend: bool = True) -> None:
    axes.set_ylabel("accuracy, %", color=INK)
    low, high = axes.get_ylim()
    axes.set_ylim(max(-3.0, low), min(103.0, max(high, low + 5)))
    if legend:
        _legend_below(axes)
    heading(axes, title, f"{kind} · {results.test_puzzles:,} test puzzles · {_seeds(results)}")


# -- the files ----------------------------------------------------------------------------------------------------------------


def cell_table(results: Results) -> Answer:
    """Every run on a line."""
    rows = []
    for cell in results.settings:
        for seed in results.grid.seeds:
            rows.append(_cell_row(results, dataclasses.replace(cell, seed=seed)))
    columns = [
        "run",
        SINGLE,
        HALTED,
        "mean steps",
        "accepted within K",
        "parameters",
        "training FLOPs",
        "optimiser steps",
        "training s",
    ]
    return Answer("runs", "All runs", [], columns, rows)


def _cell_row(results: Results, cell: Cell) -> list[str]:
    run = results.results[cell]
    one = Results(dataclasses.replace(results.grid, seeds=(cell.seed,)), {cell: run})
    learned, steps, accepted = "", "", ""
    if run["learned_right"] is not None:
        learned, steps = percent(accuracy(HALTED, one.learned(cell))), f"{one.learned_steps(cell).mean():.2f}"
    if run["retry"] is not None:
        accepted = percent(accuracy(ACCEPTED, one.retried(cell, "verifier")))
    return [
        cell.name, percent(accuracy(SINGLE, one.right(cell))), learned, steps, accepted, f"{run['parameters']:,}",
        number(run["training_flops"]), f"{run['optimiser_steps']:,}", f"{run['training_seconds']:.0f}",
    ]  # fmt: skip


def how_to_read(seeds: int) -> str:
    return (
        "Accuracy is the share of test puzzles with a right answer; each number names its kind. In brackets are 95 % intervals: Wilson's "
        f"for an accuracy; for a difference the bootstrap over puzzles ({RESAMPLES:,} resamples), paired, since all runs are tested on the "
        "same puzzles. They are not adjusted for how many there are. "
        + (
            "They say what other puzzles might change; what another training might is seen in the seeds, and a difference is only called "
            "one if all seeds agree in its direction."
            if seeds > 1
            else "They say what other puzzles might change, not what another training would: there is one seed."
        )
    )


def as_markdown(facts: dict[str, str], answers: Sequence[Answer], cells: Answer, seeds: int) -> str:
    lines = ["# Ablations", "", *(f"- {name}: {f'`{text}`' if name == 'command' else text}" for name, text in facts.items())]
    lines += ["", how_to_read(seeds), ""]
    for answer in [*answers, cells]:
        lines += [f"## {answer.question}", "", *([" ".join(answer.sentences), ""] if answer.sentences else [])]
        if answer.rows:
            lines += ["| " + " | ".join(answer.columns) + " |", "| --- |" + " ---: |" * (len(answer.columns) - 1)]
            lines += ["| " + " | ".join(row) + " |" for row in answer.rows] + [""]
        if answer.note:
            lines += [answer.note, ""]
        if answer.figure is not None:
            lines += [f"![{answer.question}]({FIGURES}/{answer.key}.png)", ""]
    return "\n".join(lines).rstrip() + "\n"


def as_html(facts: dict[str, str], answers: Sequence[Answer], cells: Answer, seeds: int) -> str:
    """One file that opens without a network."""
    known = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>\n" for name, text in facts.items())
    parts = [
        f"<h1>Ablations</h1>\n<section><dl>{known}</dl>\n<p class='muted'>{html.escape(how_to_read(seeds))}</p></section>\n"
    ]
    for answer in [*answers, cells]:
        words = f"<p>{html.escape(' '.join(answer.sentences))}</p>\n" if answer.sentences else ""
        image = ""
        if answer.figure is not None:
            data = base64.b64encode(png_bytes(answer.figure)).decode()
            width = int(answer.figure.get_figwidth() * answer.figure.dpi)
            image = f'<img alt="{html.escape(answer.question)}" width="{width}" src="data:image/png;base64,{data}">\n'
        note = f"<p class='muted'>{html.escape(answer.note)}</p>\n" if answer.note else ""
        parts.append(f"<section><h2>{html.escape(answer.question)}</h2>\n{words}{image}{_html_table(answer)}{note}</section>\n")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Ablations</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{STYLE}</style></head>\n'
        f"<body><main>\n{''.join(parts)}</main></body></html>\n"
    )


def _html_table(answer: Answer) -> str:
    if not answer.rows:
        return ""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in answer.columns)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>\n" for row in answer.rows)
    return f"<div class='wide'><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>\n"
