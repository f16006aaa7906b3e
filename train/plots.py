"""Figures of a comparison. Matplotlib's object interface with the Agg canvas only: no window, no global state."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, StrMethodFormatter
from matplotlib.transforms import Bbox

from hrm_gym.agents.agent import write_whole
from hrm_gym.agents.trajectories import Trajectories
from hrm_gym.train.compare import Comparison, StrategyFigures, frontier
from hrm_gym.train.evaluate import ACCEPTED, OuterLoopReport
from hrm_gym.train.statistics import calibration, wilson_interval

INK, MUTED, GRID, PAPER = "#1f2530", "#667085", "#e6e9ef", "#ffffff"
# the kinds of accuracy, told apart by colour and by marker (Okabe and Ito's palette, which colour-blind readers can tell apart)
LEARNED, PLAIN, RULES, ORACLE = "#0072b2", "#5f6b7c", "#00875f", "#c84b00"
DISTANCES = (9, 14, 20, 28, 38, 50, 64, 80, 100, 125, 155, 190)  # of a label from its point, in points of type
POINTS = 100  # dots per inch of a saved PNG are 2 POINTS: sharp on a fine screen


def new_figure(
    width: float = 8.0, height: float = 5.0, columns: Sequence[float] = (1,), rows: Sequence[float] = (1,)
) -> tuple[Figure, Axes]:
    """An empty figure of `width` by `height` inches in the house style; the first of its axes.

    Args:
        columns, rows: relative widths and heights of a grid of axes, row by row.
    """
    figure = Figure(figsize=(width, height), dpi=POINTS, facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(len(rows), len(columns), width_ratios=columns, height_ratios=rows)
    for place in itertools.product(range(len(rows)), range(len(columns))):
        axes = figure.add_subplot(grid[place])
        axes.grid(color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axes.spines[side].set_color(MUTED)
        axes.tick_params(colors=MUTED, labelcolor=INK, labelsize=9)
    return figure, figure.axes[0]


def heading(axes: Axes, title: str, subtitle: str) -> None:
    """A bold title with a muted line below it, both at the left edge."""
    axes.set_title(f"{subtitle}", loc="left", fontsize=9, color=MUTED, pad=8)
    axes.annotate(
        title,
        (0, 1),
        xycoords="axes fraction",
        xytext=(0, 24),
        textcoords="offset points",
        fontsize=12,
        fontweight="bold",
        color=INK,
    )


def png_bytes(figure: Figure) -> bytes:
    """The figure as a PNG file's content. The same figure gives the same bytes."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=2 * POINTS, metadata={"Software": None})
    return content.getvalue()


def save_png(figure: Figure, path: str | Path) -> Path:
    """Write the figure as PNG, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, png_bytes(figure))
    return path


# -- accuracy against steps ------------------------------------------------------------------------------------------------


def accuracy_against_steps(comparison: Comparison) -> Figure:
    """Accuracy against mean steps: a point with 95 % bootstrap bars for each strategy, the curve of all fixed numbers of steps, and the
    frontier of the single-pass strategies. What the verifier or the oracle stopped is drawn in another colour and shape, and named so.
    Where most strategies crowd together, a second panel shows their corner enlarged."""
    window = _crowded_corner(comparison)
    figure, axes = new_figure(8.6, 5.8) if window is None else new_figure(13.6, 6.2, columns=(5, 7))
    rows = comparison.rows
    inside = set() if window is None else {row.strategy for row in rows if _within(row, window)}
    _draw_strategies(axes, comparison)
    axes.set_xlabel("mean steps of thought per puzzle", color=INK)
    axes.set_ylabel("accuracy: verified drafts, %", color=INK)
    _set_step_ticks(axes, 1, comparison.max_steps)
    _pad_limits(axes, rows, comparison.max_steps)
    keep_out: list[Any] = [axes.legend(loc="lower right", fontsize=8.5, framealpha=0.95, edgecolor=GRID, labelcolor=INK)]
    heading(axes, "Accuracy against steps of thought", f"{_about(comparison)} · bars: 95 % bootstrap intervals over puzzles")
    if window is not None:
        left, right, low, high = window
        frame = Rectangle(
            (left, low), right - left, high - low, fill=False, edgecolor=MUTED, linewidth=1, linestyle=(0, (2, 2))
        )
        axes.add_patch(frame)
        keep_out.append(frame)
        close = figure.axes[1]
        _draw_strategies(close, comparison)
        close.set_xlabel("mean steps of thought per puzzle", color=INK)
        _set_step_ticks(close, left, right)
        close.set_xlim(left, right)
        close.set_ylim(low, high)
        close.set_title("the dotted corner, enlarged", loc="right", fontsize=9, color=MUTED, pad=8)
        _label_strategies(close, comparison, [row for row in rows if row.strategy in inside], [])
    _label_strategies(axes, comparison, [row for row in rows if row.strategy not in inside], keep_out)
    return figure


def _draw_strategies(axes: Axes, comparison: Comparison) -> None:
    """Frontier, curve of the fixed numbers of steps, and every strategy's point."""
    if comparison.max_steps > 2:
        axes.set_xscale("log", base=2)  # steps are worth less and less
    edge = frontier(comparison)
    if len(edge) > 1:
        x, y = zip(*edge, strict=True)
        axes.step(
            x,
            [100 * accuracy for accuracy in y],
            where="post",
            color=LEARNED,
            linewidth=5,
            alpha=0.16,
            solid_capstyle="round",
            label="frontier of one pass",
            zorder=1,
        )
    axes.plot(
        *zip(*_fixed_curve(comparison), strict=True),
        color=PLAIN,
        linewidth=1.1,
        marker=".",
        markersize=4,
        alpha=0.8,
        label="every puzzle the same number of steps",
        zorder=2,
    )
    named: set[str] = set()
    for row in comparison.rows:
        colour, marker, what = _look(row)
        low, high = row.accuracy_interval
        left, right = row.mean_steps_interval
        axes.errorbar(
            row.mean_steps,
            100 * row.accuracy,
            xerr=[[max(0.0, row.mean_steps - left)], [max(0.0, right - row.mean_steps)]],
            yerr=[[max(0.0, 100 * (row.accuracy - low))], [max(0.0, 100 * (high - row.accuracy))]],
            fmt=marker,
            color=colour,
            markersize=7,
            markeredgecolor=PAPER,
            markeredgewidth=0.8,
            elinewidth=1.1,
            capsize=2,
            label=None if what in named else what,
            zorder=4,
        )
        named.add(what)


def _fixed_curve(comparison: Comparison) -> list[tuple[float, float]]:
    return [(float(step), 100 * accuracy) for step, accuracy in enumerate(comparison.accuracy_by_step, start=1)]


def _label_strategies(axes: Axes, comparison: Comparison, rows: Sequence[StrategyFigures], keep_out: Sequence[Any]) -> None:
    """Names beside the points of `rows`; points of one colour that cannot be told apart share a label of several lines."""
    axes.figure.canvas.draw()
    apart = 4 * axes.figure.dpi / 72
    groups: list[tuple[Any, list[StrategyFigures]]] = []
    for row in rows:
        spot = axes.transData.transform((row.mean_steps, 100 * row.accuracy))
        for other, members in groups:
            if np.hypot(*(spot - other)) < apart and _look(members[0]) == _look(row):
                members.append(row)
                break
        else:
            groups.append((spot, [row]))
    place_labels(
        axes,
        [(members[0].mean_steps, 100 * members[0].accuracy) for _, members in groups],
        ["\n".join(row.strategy for row in members) for _, members in groups],
        [_look(members[0])[0] for _, members in groups],
        bars=[
            (row.mean_steps_interval, (100 * row.accuracy_interval[0], 100 * row.accuracy_interval[1]))
            for row, *_ in (members for _, members in groups)
        ],
        lines=list(itertools.pairwise(_fixed_curve(comparison))),
        keep_out=keep_out,
    )


def _crowded_corner(comparison: Comparison) -> tuple[float, float, float, float] | None:
    """Left, right, low and high of the corner to enlarge; None where the strategies are few or lie apart."""
    best = max(row.accuracy for row in comparison.rows)
    worst = min(row.accuracy for row in comparison.rows)
    near = [row for row in comparison.rows if _look(row)[0] != PLAIN and row.accuracy >= best - 0.1 * (best - worst)]
    if len(near) < 6:
        return None
    # a few strategies that think much longer than the rest stay outside
    longest = 1.4 * float(np.quantile([row.mean_steps for row in near], 0.75))
    near = [row for row in near if row.mean_steps <= longest]
    low = min(100 * row.accuracy_interval[0] for row in near)
    high = max(100 * row.accuracy_interval[1] for row in near)
    left = min(row.mean_steps_interval[0] for row in near)
    right = max(row.mean_steps_interval[1] for row in near)
    if high - low > 40 * (best - worst):
        return None
    margin = 0.35 * max(high - low, 0.5)
    wider = max(1.1, (right / left) ** 0.2)
    return left / wider, min(right * wider, comparison.max_steps * 1.1), low - margin, high + margin


def _within(row: StrategyFigures, window: tuple[float, float, float, float]) -> bool:
    left, right, low, high = window
    return left < row.mean_steps < right and low < 100 * row.accuracy < high


def _look(row: StrategyFigures) -> tuple[str, str, str]:
    """Colour, marker and legend text of a strategy's point."""
    if row.kind.endswith("oracle"):
        return ORACLE, "*", "stopped by the oracle (upper line)"
    if row.kind.endswith("verifier"):
        return RULES, "D", "one pass, stopped by the verifier"
    if row.strategy.startswith(("fixed(", "random(")):
        return PLAIN, "s", "one pass, stopped blindly"
    return LEARNED, "o", "one pass, stopped by the network"


def _about(comparison: Comparison) -> str:
    where = f"{comparison.family} {comparison.size} x {comparison.size}"
    name = f"{comparison.checkpoint} · " if comparison.checkpoint else ""
    return f"{name}{comparison.test_puzzles:,} test puzzles of {where} · single pass"


def _pad_limits(axes: Axes, rows: Sequence[StrategyFigures], max_steps: int) -> None:
    lows = [100 * row.accuracy_interval[0] for row in rows]
    highs = [100 * row.accuracy_interval[1] for row in rows]
    span = max(2.0, max(highs) - min(lows))
    axes.set_ylim(max(-0.04 * span, min(lows) - 0.08 * span), max(highs) + 0.12 * span)
    axes.set_xlim((0.88, max_steps * 1.16) if max_steps > 2 else (0.8, max_steps + 0.2))


def _set_step_ticks(axes: Axes, left: float, right: float) -> None:
    """Ticks at whole steps from `left` to `right`: all of them where they are few, else at most three to a doubling."""
    whole = range(max(1, math.ceil(left)), math.floor(right) + 1)
    powers = {1, 2, 3} | {base << power for power in range(1, 12) for base in (2, 3)}
    ticks: list[float] = list(whole) if len(whole) <= 8 else [step for step in whole if step in powers]
    if len(ticks) < 2:  # an enlargement between two whole numbers
        ticks = [round(value, 2) for value in np.linspace(left, right, 6)[1:-1]]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


# -- accuracy against budget -----------------------------------------------------------------------------------------------


def accuracy_against_budget(report: OuterLoopReport, checkpoint: str = "") -> Figure:
    """The three kinds of accuracy against the budget: on the left in attempts; on the right, for families with rules, what the verifier
    accepts against the steps of thought allowed for a puzzle. Bars: 95 % Wilson intervals at the full budget."""
    curve, count = report.curve, report.test_puzzles
    both = bool(curve.accepted)
    figure, axes = new_figure(12.4 if both else 7.0, 5.0, columns=(1, 1) if both else (1,))
    single = report.rows[0]
    looks = {"best-q": (LEARNED, "s"), "vote": ("#e69f00", "D"), "residual": (PLAIN, "v")}
    for rule, shares in curve.selected.items():
        colour, marker = looks[rule]
        axes.plot(curve.attempts, [100 * share for share in shares], color=colour, marker=marker, markersize=5, linewidth=1.5,
                  label=f"selected by {rule}, without labels or rules")  # fmt: skip
    if both:
        axes.plot(curve.attempts, [100 * share for share in curve.accepted], color=RULES, marker="o", markersize=5, linewidth=2.2,
                  label=ACCEPTED)  # fmt: skip
    axes.axhline(
        100 * single.accuracy, color=INK, linewidth=1, linestyle=(0, (4, 3)), label=f"{single.kind}, the first attempt"
    )
    for row in report.rows[1:]:
        low, high = row.accuracy_interval
        colour = RULES if row.kind == ACCEPTED else looks[row.rule][0]
        axes.plot([report.planned] * 2, [100 * low, 100 * high], color=colour, linewidth=1)
    axes.set_xscale("log", base=2)
    _set_step_ticks(axes, 1, max(2, report.planned))
    axes.set_xlabel("attempts allowed for a puzzle", color=INK)
    axes.set_ylabel("accuracy, %", color=INK)
    # below the axes: inside them some curve would always be covered
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.13), ncols=2, fontsize=8.5, frameon=False, labelcolor=INK)
    about = (
        f"{checkpoint + ' · ' if checkpoint else ''}{count:,} test puzzles · changed by {', '.join(report.retry['perturb'])}"
    )
    heading(axes, "Accuracy against budget", about)
    if both:
        right = figure.axes[1]
        right.step(curve.steps, [100 * share for share in curve.accepted_by_steps], where="post", color=RULES, linewidth=2.2,
                   label=ACCEPTED)  # fmt: skip
        right.set_xscale("log", base=2)
        _set_step_ticks(right, min(curve.steps, default=1), max([2, *curve.steps]))
        right.set_xlabel("steps of thought allowed for a puzzle, all attempts together", color=INK)
        right.set_ylim(axes.get_ylim())
        right.legend(loc="upper left", bbox_to_anchor=(0, -0.13), ncols=2, fontsize=8.5, frameon=False, labelcolor=INK)
    return figure


# -- the report's other figures ------------------------------------------------------------------------------------------


def calibration_of_q(trajectories: Trajectories, halting_steps: np.ndarray | None = None, strategy: str = "q") -> Figure:
    """How often drafts are right at each value of sigmoid(Q-halt): over all steps and, given the halting steps of a strategy, at its halt.
    Below it, how many values there are. On the diagonal the value is an honest probability."""
    figure, axes = new_figure(6.4, 5.6, rows=(4, 1.2))
    below = figure.axes[1]
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (2, 2)), label="an honest probability")
    series = [("at every step", PLAIN, "s", trajectories.q_halt.ravel(), trajectories.verified.ravel())]
    if halting_steps is not None:
        series.append((f"where {strategy} halts", LEARNED, "o", trajectories.at(trajectories.q_halt, halting_steps),
                       trajectories.right_at(halting_steps)))  # fmt: skip
    width = 0.1 / (len(series) + 0.5)
    for number, (name, colour, marker, logits, right) in enumerate(series):
        result = calibration(sigmoid(logits), right)
        filled = result.counts > 0
        counts = result.counts[filled]
        intervals = [wilson_interval(round(o * c), int(c)) for o, c in zip(result.observed[filled], counts, strict=True)]
        observed = result.observed[filled]
        bars = np.abs(np.array(intervals).T - observed)
        axes.errorbar(result.predicted[filled], observed, yerr=bars, color=colour, marker=marker, markersize=5, linewidth=1.4,
                      elinewidth=1, capsize=2, label=f"{name} (calibration error {result.error:.3f})")  # fmt: skip
        centres = (result.edges[:-1] + result.edges[1:]) / 2 + (number - (len(series) - 1) / 2) * width
        below.bar(centres, result.counts / max(1, result.counts.sum()), width=0.9 * width, color=colour)
    for each in (axes, below):
        each.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel("share of verified drafts", color=INK)
    below.set_ylabel("share of values", color=INK)
    below.set_xlabel("sigmoid(Q-halt), the value of halting", color=INK)
    axes.legend(loc="upper left", fontsize=8.5, framealpha=0.95, edgecolor=GRID, labelcolor=INK)
    heading(axes, "Calibration of Q-halt", "10 bins of equal width · bars: 95 % Wilson intervals")
    return figure


def halting_step_shares(comparison: Comparison) -> Figure:
    """For each strategy, at which steps what share of the puzzles halts: one row of cells each, fewest mean steps on top."""
    rows = sorted(comparison.rows, key=lambda row: row.mean_steps)
    last = comparison.max_steps
    counts = np.stack([np.bincount(comparison.halting_steps[row.strategy], minlength=last + 1)[1:] for row in rows])
    shares = counts / comparison.test_puzzles
    figure, axes = new_figure(max(6.4, 1.8 + 0.42 * last), 1.5 + 0.25 * len(rows))
    axes.grid(visible=False)
    colours = LinearSegmentedColormap.from_list("halts", [PAPER, "#9ecae9", LEARNED, "#003a5c"])
    # a square root: small shares are seen beside large ones
    axes.imshow(shares, aspect="auto", cmap=colours, norm=PowerNorm(0.5, 0, 1), extent=(0.5, last + 0.5, len(rows) - 0.5, -0.5))
    if last <= 24:
        for y, row in enumerate(shares):
            for x, share in enumerate(row, start=1):
                if share >= 0.005:
                    axes.text(
                        x, y, f"{100 * share:.0f}", ha="center", va="center", fontsize=7, color=PAPER if share > 0.2 else INK
                    )
    axes.set_yticks(range(len(rows)), [row.strategy for row in rows])
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_color(_look(row)[0])
    axes.set_xlabel("step of the halt", color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(min(last, 16), integer=True))
    heading(axes, "When each strategy halts", f"% of {comparison.test_puzzles:,} puzzles")
    return figure


def steps_against_rating(
    comparison: Comparison, ratings: np.ndarray, strategies: Sequence[str], what: str = "rating"
) -> Figure:
    """Mean halting step against the puzzles' difficulty rating, in groups (`rating_groups`), with 95 % intervals of the mean.

    Args:
        ratings: float[N].
        strategies: those to draw, at most five read well.
        what: the rating's name on the axis.
    """
    figure, axes = new_figure(7.6, 4.8)
    palette = [LEARNED, "#e69f00", "#cc79a7", RULES, "#56b4e9", PLAIN]
    group = rating_groups(ratings)
    groups = np.unique(group)
    for number, name in enumerate(strategies):
        steps = comparison.halting_steps[name]
        x, mean, error = [], [], []
        for value in groups:
            members = steps[group == value]
            x.append(float(ratings[group == value].mean()))
            mean.append(float(members.mean()))
            error.append(1.96 * float(members.std()) / math.sqrt(len(members)))
        label = f"{name} (rank correlation {rank_correlation(ratings, steps):+.2f})"
        axes.errorbar(x, mean, yerr=error, color=palette[number % len(palette)], marker="osD^v"[number % 5], markersize=5,
                      linewidth=1.5, elinewidth=1, capsize=2, label=label)  # fmt: skip
    axes.set_xlabel(f"{what} (mean of each group of puzzles)" if len(groups) < len(np.unique(ratings)) else what, color=INK)
    if len(groups) <= 12 and len(groups) == len(np.unique(ratings)):
        axes.set_xticks(np.unique(ratings))
    axes.set_ylabel("mean step of the halt", color=INK)
    axes.set_ylim(bottom=0)
    axes.legend(loc="best", fontsize=8.5, framealpha=0.95, edgecolor=GRID, labelcolor=INK)
    heading(axes, "Do harder puzzles get more thought?", f"{_about(comparison)} · bars: 95 % intervals")
    return figure


def rating_groups(ratings: np.ndarray, count: int = 8) -> np.ndarray:
    """Puzzles of like rating in groups, int64[N] from 0: one group for each rating where there are at most `count`, else about `count`
    groups of about equal size; equal ratings are never parted."""
    distinct, number = np.unique(ratings, return_inverse=True)
    if len(distinct) <= count:
        return np.asarray(number)
    edges = np.unique(np.quantile(ratings, np.linspace(0, 1, count + 1)))[1:-1]
    return np.unique(np.searchsorted(edges, ratings, side="right"), return_inverse=True)[1]


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-logits)), without overflow."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits, -500, 500).astype(np.float64))))


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rank correlation, equal values sharing their mean rank; nan where one of them does not vary."""
    ranks = []
    for values in (first, second):
        _, number, counts = np.unique(values, return_inverse=True, return_counts=True)
        mean_rank = np.cumsum(counts) - (counts - 1) / 2
        ranks.append(mean_rank[number])
    if min(np.ptp(rank) for rank in ranks) == 0:
        return math.nan
    return float(np.corrcoef(*ranks)[0, 1])


# -- labels that do not overlap --------------------------------------------------------------------------------------------


def place_labels(
    axes: Axes,
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    colours: Sequence[str],
    bars: Sequence[tuple[tuple[float, float], tuple[float, float]]] = (),
    lines: Sequence[tuple[tuple[float, float], tuple[float, float]]] = (),
    keep_out: Sequence[object] = (),
    size: float = 8.5,
) -> list[Bbox]:
    """Write a label beside each point so that no two labels overlap and none covers a point, a bar or another leader line.

    Labels are placed one after the other, the most crowded point first, each at the free place that is nearest to its point; lines are
    crossed only where there is no other room. A label further away gets a leader line.

    Args:
        points: in data coordinates.
        bars: of each point, its horizontal and its vertical interval, in data coordinates.
        lines: segments that labels should stay off, in data coordinates.
        keep_out: artists that labels must not cover, such as a legend.

    Returns:
        The labels' boxes in pixels, in the order of `points`.
    """
    figure = axes.figure
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()  # settles the layout; without it pixels are not yet where they will be
    renderer = canvas.get_renderer()
    to_pixels = axes.transData.transform
    pixel = figure.dpi / 72  # one point of type
    spots = np.array([to_pixels(point) for point in points]).reshape(-1, 2)
    # boxes that labels must stay off: markers, bars, legends; [K, 4] as x0, y0, x1, y1
    solid = [(x - 5.5 * pixel, y - 5.5 * pixel, x + 5.5 * pixel, y + 5.5 * pixel) for x, y in spots]
    for (x, y), (across, up) in zip(points, bars, strict=bool(bars)):
        (left, middle), (right, _) = to_pixels([(across[0], y), (across[1], y)])
        (centre, low), (_, high) = to_pixels([(x, up[0]), (x, up[1])])
        solid.append((left, middle - pixel, right, middle + pixel))
        solid.append((centre - pixel, low, centre + pixel, high))
    solid += [artist.get_window_extent(renderer).extents for artist in keep_out]  # type: ignore[attr-defined]
    blocked = np.array(solid).reshape(-1, 4)
    drawn = [_samples(to_pixels(a), to_pixels(b)) for a, b in lines]
    drawn_points = np.concatenate(drawn) if drawn else np.zeros((0, 2))
    inside = axes.get_window_extent(renderer)

    # all places that are tried, nearest first: how far away, and in which direction
    distances, angles = (grid.ravel() for grid in np.meshgrid(DISTANCES, np.arange(24) * (2 * np.pi / 24), indexing="ij"))
    crowding = [(1 / (20 + np.hypot(*(spots - spot).T))).sum() for spot in spots]
    boxes = np.full((len(points), 4), np.nan)  # nan overlaps nothing
    leaders: list[np.ndarray] = []
    for index in np.argsort(crowding)[::-1]:
        text = axes.annotate(
            texts[index],
            points[index],
            xytext=(0, 0),
            textcoords="offset points",  # pixels would change their meaning with the resolution of the file
            ha="left",
            va="bottom",
            fontsize=size,
            color=colours[index],
            zorder=5,
        )
        extent = text.get_window_extent(renderer)
        width, height = extent.width + 4 * pixel, extent.height + 2 * pixel
        spot = spots[index]
        # a box's nearest side is that far from the point
        centres_x = spot[0] + np.cos(angles) * (distances * pixel + width / 2)
        centres_y = spot[1] + np.sin(angles) * (distances * pixel + height / 2)
        places = np.stack(
            (centres_x - width / 2, centres_y - height / 2, centres_x + width / 2, centres_y + height / 2), axis=1
        )
        ends = np.clip(spot, places[:, :2], places[:, 2:])  # where a leader line would meet the box
        far = distances > 14

        outside = (places[:, :2] < inside.min).any(1) | (places[:, 2:] > inside.max).any(1)
        cost = distances + 3.0 * (np.sin(angles) < -0.1) + 20_000 * outside
        cost += 60 * _contain(places, drawn_points).any(1)
        cost += 1000 * _overlap(places, blocked).sum(1) + 5000 * _overlap(places, boxes).sum(1)
        along = np.linspace(0, 1, 40)[None, :, None]
        lines_to_ends = spot + along * (ends - spot)[:, None]  # [places, 40, 2]
        hit = _contain(boxes, lines_to_ends.reshape(-1, 2)).reshape(len(boxes), len(places), -1).any(2)
        cost += 400 * far * hit.sum(0)
        for leader in leaders:
            cost += 400 * _contain(places, leader).any(1)
            cost += 60 * far * _meet(spot, ends, leader[0], leader[-1])

        best = int(cost.argmin())
        boxes[index], end = places[best], ends[best]
        text.set_position(tuple((places[best, :2] - spot) / pixel + (2, 1)))
        if np.hypot(*(end - spot)) > 12 * pixel:
            leaders.append(_samples(spot, end))
            axes.annotate(
                "",
                points[index],
                xytext=tuple((end - spot) / pixel),
                textcoords="offset points",
                arrowprops={
                    "arrowstyle": "-",
                    "color": colours[index],
                    "linewidth": 0.7,
                    "alpha": 0.7,
                    "shrinkA": 0,
                    "shrinkB": 4,
                },
                zorder=3,
            )
    return [Bbox.from_extents(*box) for box in boxes]


def _overlap(places: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which boxes [A, 4] overlap which boxes [B, 4]: bool[A, B]."""
    a, b = places[:, None], others[None]
    return (a[..., 0] < b[..., 2]) & (b[..., 0] < a[..., 2]) & (a[..., 1] < b[..., 3]) & (b[..., 1] < a[..., 3])


def _contain(boxes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Which boxes [A, 4] contain which points [P, 2]: bool[A, P]."""
    x, y = points[None, :, 0], points[None, :, 1]
    return (x > boxes[:, :1]) & (x < boxes[:, 2:3]) & (y > boxes[:, 1:2]) & (y < boxes[:, 3:])


def _samples(a: Any, b: Any) -> np.ndarray:
    """Points every three pixels along the segment from a to b: [P, 2]."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    return a + np.linspace(0, 1, max(2, int(np.hypot(*(b - a)) / 3)))[:, None] * (b - a)


def _meet(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Whether the segments from a to b cross the segment from c to d; the points are [..., 2] and are broadcast: bool[...]."""

    def side(p: np.ndarray, q: np.ndarray, r: np.ndarray) -> np.ndarray:
        return (q[..., 0] - p[..., 0]) * (r[..., 1] - p[..., 1]) > (q[..., 1] - p[..., 1]) * (r[..., 0] - p[..., 0])

    return (side(a, b, c) != side(a, b, d)) & (side(c, d, a) != side(c, d, b))
