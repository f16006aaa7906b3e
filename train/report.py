"""The comparison of halting strategies as one HTML file: table, figures, tests and an animated example. It opens without a network."""

from __future__ import annotations

import base64
import html
import inspect
import math
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from hrm_gym.agents.agent import write_whole
from hrm_gym.agents.halting import HaltingStrategy
from hrm_gym.agents.trajectories import Trajectories
from hrm_gym.envs import drawing
from hrm_gym.envs.errors import ConfigError
from hrm_gym.envs.family import Family
from hrm_gym.envs.film import write_gif
from hrm_gym.envs.registry import make_family
from hrm_gym.train.calibrate import Calibrated
from hrm_gym.train.compare import Comparison, Interval, StrategyFigures
from hrm_gym.train.plots import (
    accuracy_against_steps,
    calibration_of_q,
    halting_step_shares,
    png_bytes,
    rank_correlation,
    steps_against_rating,
)

# what the example and the figure of difficulty show, in this order, as far as it was compared
SHOWN = ("fixed(", "q", "q-halt(", "stable(2", "confidence(", "probe(", "verifier", "oracle")
EXAMPLE_PANELS = 8
BOARD = 200  # pixels of a board in the example
FRAMES_PER_SECOND = 1.5

STYLE = """
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color: #1f2530; background: #f4f5f8; margin: 0; }
main { max-width: 1180px; margin: 0 auto; padding: 28px 24px 60px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 19px; margin: 0 0 4px; }
p { margin: 6px 0 10px; } .muted { color: #667085; }
section { background: #fff; border: 1px solid #e1e4ea; border-radius: 10px; padding: 20px 22px; margin: 18px 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 13.5px; }
th, td { padding: 5px 9px; text-align: right; white-space: nowrap; border-bottom: 1px solid #edeff3; }
th { color: #667085; font-weight: 600; border-bottom: 1px solid #cfd4dd; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
td small { color: #667085; } tr.best td { background: #eaf3fa; } tr.rules td:first-child { color: #00875f; }
tr.oracle td:first-child { color: #c84b00; }
img { max-width: 100%; height: auto; display: block; margin: 8px auto; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; margin: 8px 0; } dt { font-weight: 600; } dd { margin: 0; }
.pair { display: flex; gap: 22px; flex-wrap: wrap; } .pair > div { flex: 1 1 440px; min-width: 0; }
"""


def write_report(
    path: str | Path,
    comparison: Comparison,
    trajectories: Trajectories,
    strategies: Sequence[HaltingStrategy] = (),
    calibrated: dict[str, Calibrated] | None = None,
    reference: str | None = None,
    example: int | None = None,
) -> Path:
    """Write the report, whole or not at all.

    Args:
        path: of the HTML file.
        comparison: what `compare` found on `trajectories`.
        trajectories: the test puzzles' recording; the example needs its drafts and questions, and is left out without them.
        strategies: the strategy objects, for their definitions.
        calibrated: how thresholds were chosen on validation puzzles.
        reference: the strategy that the others are tested against; None: "q" where it was compared, else the first.
        example: row of the puzzle that is shown; None: one that the strategies halt at different steps.

    Raises:
        ConfigError: the reference was not compared, there is no such puzzle, or the trajectories are not the comparison's.
    """
    if len(trajectories) != comparison.test_puzzles or trajectories.max_steps != comparison.max_steps:
        raise ConfigError(
            f"the comparison is of {comparison.test_puzzles} puzzles and {comparison.max_steps} steps, the trajectories of "
            f"{len(trajectories)} and {trajectories.max_steps}; give the ones that were compared"
        )
    names = [row.strategy for row in comparison.rows]
    reference = reference or ("q" if "q" in names else names[0])
    comparison.row(reference)
    parts = [
        _header(comparison),
        _section(
            "Accuracy against steps",
            "Up and to the left is better. The line is what the same network gives when every puzzle gets the same number of steps; a "
            "strategy is worth its name where it lies above that line.",
            _image(accuracy_against_steps(comparison), "Accuracy against mean steps of all strategies"),
        ),
        _section("All strategies", _table_text(comparison), _table(comparison)),
        _example_section(comparison, trajectories, example),
        _section(
            "When they halt",
            "",
            _image(halting_step_shares(comparison), "Share of puzzles that each strategy halts at each step"),
        ),
        _section("Is Q honest, and does it see what is hard?", "", _calibration_and_difficulty(comparison, trajectories)),
        _tests(comparison, reference),
        _definitions(comparison, strategies, calibrated or {}),
    ]
    title = html.escape(comparison.title)
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{STYLE}</style></head>\n'
        f"<body><main>\n{''.join(parts)}</main></body></html>\n"
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, page.encode())
    return path


# -- parts -----------------------------------------------------------------------------------------------------------------


def _header(comparison: Comparison) -> str:
    return (
        f"<h1>Halting strategies compared</h1>\n<p class='muted'>{html.escape(comparison.title)} · accuracy is of the kind "
        f"<b>single pass</b>: one pass of the network over each puzzle, no retries. Every strategy saw the same recorded states.</p>\n"
    )


def _section(title: str, text: str, content: str) -> str:
    words = f"<p class='muted'>{html.escape(text)}</p>" if text else ""
    return f"<section><h2>{html.escape(title)}</h2>{words}\n{content}</section>\n"


def _image(figure: Figure, alt: str) -> str:
    return _inline(png_bytes(figure), "png", alt, int(figure.get_figwidth() * figure.dpi))


def _inline(content: bytes, kind: str, alt: str, width: int) -> str:
    data = base64.b64encode(content).decode()
    return f'<img alt="{html.escape(alt)}" width="{width}" src="data:image/{kind};base64,{data}">\n'


def _table_text(comparison: Comparison) -> str:
    return (
        f"Small numbers are 95 % bootstrap intervals over the {comparison.test_puzzles:,} puzzles ({comparison.resamples:,} resamples). "
        f"Shaded: on the frontier of one pass. Green is stopped by the verifier, red by the oracle, which looks at the reward. Premature: "
        f"halted wrong though a later draft was right. Missed: wrong at the halt though an earlier draft was right. Over: steps after the "
        f"first right draft. Regret: what was lost to the best choice in hindsight, in points of accuracy and in reward with a step cost "
        f"of {comparison.step_cost:g}. Area: under the curve of accuracy per step, 1 is best."
    )


def _table(comparison: Comparison) -> str:
    heads = (
        "strategy", "accuracy %", "mean steps", "median", "p95", "premature %", "missed %", "over", "regret %", "reward",
        "reward regret", "area",
    )  # fmt: skip
    lines = "".join(f"<th>{head}</th>" for head in heads)
    body = "".join(_table_row(row) for row in comparison.rows)
    return f"<div class='wide'><table><thead><tr>{lines}</tr></thead><tbody>\n{body}</tbody></table></div>\n"


def _table_row(row: StrategyFigures) -> str:
    kind = (
        "oracle"
        if row.kind.endswith("oracle")
        else "rules"
        if row.kind.endswith("verifier")
        else "best"
        if row.on_frontier
        else ""
    )
    cells = (
        html.escape(row.strategy),
        _with_interval(row.accuracy, row.accuracy_interval, 100, 1),
        _with_interval(row.mean_steps, row.mean_steps_interval, 1, 2),
        f"{row.median_steps:g}",
        f"{row.p95_steps:g}",
        f"{100 * row.premature_halts:.1f}",
        f"{100 * row.missed_halts:.1f}",
        f"{row.overthinking_steps:.2f}",
        f"{100 * row.accuracy_regret:.1f}",
        f"{row.reward:.3f}",
        f"{row.reward_regret:.3f}",
        f"{row.area:.3f}",
    )
    return f"<tr class='{kind}' title='{html.escape(row.kind)}'>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>\n"


def _with_interval(value: float, interval: Interval, times: float, digits: int) -> str:
    low, high = (f"{times * limit:.{digits}f}" for limit in interval)
    return f"{times * value:.{digits}f} <small>{low} to {high}</small>"


def _tests(comparison: Comparison, reference: str) -> str:
    others = [row.strategy for row in comparison.rows if row.strategy != reference]
    lines = []
    for other in others:
        pair = comparison.pair(other, reference)
        cells = (
            html.escape(other),
            _with_interval(pair.accuracy_difference, pair.accuracy_difference_interval, 100, 1),
            f"{pair.only_first} : {pair.only_second}",
            _p_value(pair.accuracy_p_holm),
            _with_interval(pair.steps_difference, pair.steps_difference_interval, 1, 2),
            _p_value(pair.steps_p_holm),
        )
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>\n")
    heads = ("strategy", "accuracy, points", "right alone", "p", "mean steps", "p")
    head = "".join(f"<th>{name}</th>" for name in heads)
    text = (
        f"Each strategy minus {reference}, on the same puzzles. Right alone: puzzles that only the one, and only the other, solves. "
        f"p: exact McNemar test of accuracy and paired bootstrap test of steps, adjusted for all {len(comparison.pairs)} pairs (Holm)."
    )
    table = f"<div class='wide'><table><thead><tr>{head}</tr></thead><tbody>\n{''.join(lines)}</tbody></table></div>\n"
    return _section(f"Tested against {reference}", text, table) if others else ""


def _p_value(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}".replace("e-0", "e-") if value > 0 else "&lt; 1e-300"


def _calibration_and_difficulty(comparison: Comparison, trajectories: Trajectories) -> str:
    names = [row.strategy for row in comparison.rows]
    learned = next((name for name in ("q", "q-halt(0.5)") if name in names), None)
    steps = None if learned is None else comparison.halting_steps[learned]
    left = _image(calibration_of_q(trajectories, steps, learned or ""), "Calibration of Q-halt")
    right = _difficulty(comparison, trajectories)
    return f"<div class='pair'><div>{left}</div><div>{right}</div></div>\n"


def _difficulty(comparison: Comparison, trajectories: Trajectories) -> str:
    values, what = np.asarray(trajectories.ratings, np.float64), "difficulty rating"
    if np.ptp(values) == 0:  # puzzles of one rating: what is left to fill in tells them apart
        family = _family(comparison)
        if trajectories.questions is None or family is None:
            return "<p class='muted'>All puzzles have the same rating.</p>\n"
        values, what = (trajectories.questions == family.blank).sum(axis=1).astype(np.float64), "blank cells in the question"
    moving = [name for name in shown_strategies(comparison) if not name.startswith(("fixed(", "oracle"))][:5]
    if np.ptp(values) == 0 or not moving:
        return "<p class='muted'>All puzzles have the same rating.</p>\n"
    first = np.where(trajectories.verified.any(axis=0), trajectories.verified.argmax(axis=0) + 1, comparison.max_steps + 1)
    relation = rank_correlation(values, first)
    note = "" if math.isnan(relation) else f" Rank correlation of {what} and the first right step: {relation:+.2f}."
    figure = steps_against_rating(comparison, values, moving, what)
    return _image(figure, f"Mean halting step against {what}") + f"<p class='muted'>{html.escape(note)}</p>\n"


def _definitions(comparison: Comparison, strategies: Sequence[HaltingStrategy], calibrated: dict[str, Calibrated]) -> str:
    chosen = {str(each.strategy): each for each in calibrated.values()}
    lines = []
    for strategy in strategies:
        text = " ".join((inspect.getdoc(type(strategy)) or "").split("\n\n")[0].split())
        found = chosen.get(str(strategy))
        if found is not None:
            text += f" Threshold chosen on validation puzzles, out of {len(found.thresholds)}."
        lines.append(f"<dt>{html.escape(str(strategy))}</dt><dd>{html.escape(text)}</dd>\n")
    return _section("What they are", "", f"<dl>{''.join(lines)}</dl>\n") if lines else ""


# -- the animated example --------------------------------------------------------------------------------------------------


def shown_strategies(comparison: Comparison) -> list[str]:
    """The names of up to eight strategies, of different sorts, for figures that cannot hold them all."""
    names = [row.strategy for row in comparison.rows]
    shown: list[str] = []
    for start in SHOWN:
        matching = [name for name in names if name == start or (not start.isalpha() and name.startswith(start))]
        if matching:
            # of the fixed numbers of steps the largest: it is what HRM and TRM report; of others the last, the calibrated one
            shown.append(matching[-1])
    rest = [name for name in names if name not in shown and not name.startswith(("fixed(", "random("))]
    shown += rest[: max(0, EXAMPLE_PANELS - len(shown))]
    return [name for name in names if name in shown[:EXAMPLE_PANELS]]


def _family(comparison: Comparison) -> Family | None:
    try:
        return make_family(comparison.family, comparison.size)
    except ConfigError:  # a family that is not registered can be compared, but not drawn
        return None


def _example_section(comparison: Comparison, trajectories: Trajectories, example: int | None) -> str:
    if example is not None and not 0 <= example < len(trajectories):
        raise ConfigError(f"example puzzle {example} is not there; expected 0 to {len(trajectories) - 1}")
    family = _family(comparison)
    if family is None or trajectories.drafts is None or trajectories.questions is None:
        return ""
    names = shown_strategies(comparison)
    row = telling_puzzle(comparison, names) if example is None else example
    frames = example_frames(comparison, trajectories, family, names, row)
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder) / "example.gif"
        write_gif(film, frames, FRAMES_PER_SECOND, hold_last=4)
        content = film.read_bytes()
    text = (
        f"The drafts of puzzle {trajectories.ids[row]}, step by step. All strategies see the same drafts; each stops where it thinks it is "
        f"done. Changed and wrong cells are marked."
    )
    alt = "; ".join(f"{name} halts at step {comparison.halting_steps[name][row]}" for name in names)
    return _section("One puzzle, many ways to stop", text, _inline(content, "gif", alt, frames[0].shape[1]))


def telling_puzzle(comparison: Comparison, names: Sequence[str]) -> int:
    """The row of a puzzle that the strategies halt at as many different steps as possible, of these one with the largest spread."""
    steps = np.stack([comparison.halting_steps[name] for name in names])
    ordered = np.sort(steps, axis=0)
    different = 1 + (np.diff(ordered, axis=0) > 0).sum(axis=0)
    return int(np.lexsort((-np.std(steps, axis=0), -different))[0])


def example_frames(
    comparison: Comparison, trajectories: Trajectories, family: Family, names: Sequence[str], row: int
) -> list[np.ndarray]:
    """The frames of the example, uint8[height, width, 3]: the question, then one for each step until all have halted.

    Args:
        names: of the strategies, one panel each.
        row: the puzzle's.
    """
    assert trajectories.drafts is not None and trajectories.questions is not None
    question = trajectories.questions[row].reshape(family.shape)
    drafts = [question, *(draft.reshape(family.shape) for draft in trajectories.drafts[:, row])]
    halts = [int(comparison.halting_steps[name][row]) for name in names]
    puzzle = family.puzzles_from_questions(question[None]) if family.has_rules else None
    boards: dict[int, np.ndarray] = {}
    for step in range(max(halts) + 1):
        wrong = None
        if puzzle is not None and step:
            wrong = family.wrong_cells(puzzle, drafts[step][None])[0]
        scene = drawing.Scene(
            family=family, question=question, draft=drafts[step], previous=drafts[step - 1] if step else None, wrong=wrong
        )
        boards[step] = _board(scene)
    frames = []
    for step in range(max(halts) + 1):
        panels = []
        for name, halt in zip(names, halts, strict=True):
            shown = min(step, halt)
            board = boards[shown]
            if step > halt:  # nothing changes any more: no marks of change
                scene = drawing.Scene(family=family, question=question, draft=drafts[halt])
                if puzzle is not None:
                    scene = replace(scene, wrong=family.wrong_cells(puzzle, drafts[halt][None])[0])
                board = _board(scene)
            right = bool(trajectories.verified[halt - 1, row])
            panels.append(_panel(board, name, shown, comparison.max_steps, step >= halt, right))
        frames.append(_tiled(panels))
    return frames


def _board(scene: drawing.Scene) -> np.ndarray:
    """Only the draft's board of the drawing."""
    height, width = scene.family.shape
    top, left, _, _ = drawing.cell_box(scene, 0, 0, BOARD)
    last_top, last_left, cell_height, cell_width = drawing.cell_box(scene, height - 1, width - 1, BOARD)
    edge = 2  # the board's frame
    return drawing.draw(scene, BOARD)[
        max(0, top - edge) : last_top + cell_height + edge, max(0, left - edge) : last_left + cell_width + edge
    ]


def _panel(board: np.ndarray, name: str, step: int, max_steps: int, halted: bool, right: bool) -> np.ndarray:
    """A board with the strategy's name above and what it is doing below."""
    pad, head, foot = 12, 30, 30
    height, width = board.shape[0] + head + foot, board.shape[1] + 2 * pad
    image = Image.new("RGB", (width, height), "white")
    image.paste(Image.fromarray(board), (pad, head))
    pen = ImageDraw.Draw(image)
    bold, plain = ImageFont.load_default(15), ImageFont.load_default(14)
    pen.text((width // 2, head // 2), name, font=bold, fill="#1f2530", anchor="mm")
    words, colour = f"step {step} of {max_steps}", "#667085"
    if halted:
        words, colour = (f"halted at {step}: right", "#00875f") if right else (f"halted at {step}: wrong", "#c8321f")
        pen.rectangle((pad - 3, head - 3, width - pad + 2, head + board.shape[0] + 2), outline=colour, width=3)
    pen.text((width // 2, height - foot // 2), words, font=plain, fill=colour, anchor="mm")
    return np.asarray(image)


def _tiled(panels: Sequence[np.ndarray], across: int = 4) -> np.ndarray:
    height, width, _ = panels[0].shape
    across = min(across, len(panels))
    down = -(-len(panels) // across)
    sheet = np.full((down * height, across * width, 3), 255, np.uint8)
    for number, panel in enumerate(panels):
        y, x = divmod(number, across)
        sheet[y * height : (y + 1) * height, x * width : (x + 1) * width] = panel
    return sheet
