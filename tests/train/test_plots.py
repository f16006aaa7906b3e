"""Figures: that they are drawn, the same each time, whole, and that no label covers another, a point, a bar or the legend."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from hrm_gym.agents.trajectories import RECORDED, Trajectories
from hrm_gym.train import plots
from hrm_gym.train.compare import compare
from hrm_gym.train.plots import accuracy_against_steps, new_figure, place_labels, png_bytes, save_png


@pytest.fixture(scope="module")
def comparison():
    random = np.random.default_rng(0)
    first = np.ceil(random.gamma(2, 1.6, 300))
    verified = np.arange(1, 17)[:, None] >= first[None]
    arrays = {name: np.zeros(verified.shape, dtype) for name, dtype in RECORDED.items()}
    arrays |= {
        "verified": verified,
        "exact": verified,
        "q_halt": np.where(verified, 2, -2) + random.normal(0, 1, verified.shape).astype(np.float32),
        "unchanged_steps": np.maximum(0, np.arange(1, 17)[:, None] - first[None]).astype(np.int32),
    }
    description = {"family": "sudoku", "size": 9, "checkpoint": "made-up", "has_rules": True}
    recording = Trajectories(
        **arrays, ratings=np.zeros(300, np.float32), ids=[str(n) for n in range(300)], description=description
    )
    return compare(recording, resamples=100)


def test_figure_says_what_it_shows(comparison):
    figure = accuracy_against_steps(comparison)
    axes = figure.axes[0]
    texts = " ".join(
        text.get_text() for each in figure.axes for text in [*each.texts, each.title, each.xaxis.label, each.yaxis.label]
    )
    texts += axes.get_title(loc="left") + " ".join(text.get_text() for text in axes.get_legend().get_texts())
    for words in (
        "made-up",
        "300 test puzzles",
        "sudoku 9 x 9",
        "single pass",
        "95 % bootstrap",
        "steps",
        "verified",
        "oracle",
    ):
        assert words in texts
    for row in comparison.rows:
        assert row.strategy in texts


def test_png_is_whole_and_repeatable(comparison, tmp_path):
    path = save_png(accuracy_against_steps(comparison), tmp_path / "new" / "figure.png")
    with Image.open(path) as image:
        image.load()
        assert image.width > 1200
        # not an empty sheet
        assert len(image.convert("RGB").getcolors(1 << 24)) > 50
    assert path.read_bytes() == png_bytes(accuracy_against_steps(comparison))
    assert [file.name for file in path.parent.iterdir()] == ["figure.png"]


def test_no_global_state(comparison):
    import matplotlib.pyplot as plt

    before = plt.get_fignums()  # other tests may have left figures open
    accuracy_against_steps(comparison)
    assert plt.get_fignums() == before


def drawn_labels(axes):
    """The labels' texts, and where they really are, in pixels; leader lines and headings are no labels."""
    canvas = axes.figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()
    labels = [text for text in axes.texts if text.get_text() and text.get_fontweight() != "bold"]
    return {text.get_text(): text.get_window_extent(canvas.get_renderer()) for text in labels}


@pytest.mark.parametrize("crowded", [False, True])
def test_labels_of_the_comparison_do_not_overlap(comparison, crowded):
    rows = comparison.rows if crowded else [row for row in comparison.rows if row.strategy.startswith(("fixed", "q", "random"))]
    figure = accuracy_against_steps(dataclasses.replace(comparison, rows=rows))
    assert len(figure.axes) == (2 if crowded else 1)
    names = []
    for axes in figure.axes:
        boxes = drawn_labels(axes)
        names += "\n".join(boxes).split("\n")
        for number, (text, box) in enumerate(boxes.items()):
            assert not any(box.overlaps(other) for other in list(boxes.values())[:number]), text
            inside = axes.get_window_extent()
            assert inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1, text
            if axes.get_legend():
                assert not box.overlaps(axes.get_legend().get_window_extent())
            for row in rows:
                x, y = axes.transData.transform((row.mean_steps, 100 * row.accuracy))
                assert not (box.x0 < x < box.x1 and box.y0 < y < box.y1), text
    assert sorted(names) == sorted(row.strategy for row in rows)  # every strategy is named once, in one panel


def test_titles_do_not_overlap(comparison):
    figure = accuracy_against_steps(comparison)
    figure.canvas.draw()
    left, right = figure.axes
    titles = [left._left_title, right._right_title]
    assert all(title.get_text() for title in titles)
    first, second = (title.get_window_extent() for title in titles)
    assert first.x1 < second.x0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_crowded_labels_do_not_overlap(seed):
    """Twenty labels whose points lie within a few millimetres."""
    _, axes = new_figure(8, 5)
    axes.set_xlim(0, 16)
    axes.set_ylim(0, 100)
    random = np.random.default_rng(seed)
    points = [(float(x), float(y)) for x, y in zip(random.normal(5, 0.6, 20), random.normal(90, 2, 20), strict=True)]
    texts = [f"strategy({number})" for number in range(20)]
    promised = place_labels(axes, points, texts, ["black"] * 20)
    boxes = [drawn_labels(axes)[text] for text in texts]
    inside = axes.get_window_extent()
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])
        assert inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
        assert promised[number].x0 <= box.x0 + 1 and box.x1 <= promised[number].x1 + 1


def test_geometry():
    boxes = np.array([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    assert plots._contain(boxes, np.array([[5.0, 5], [11, 5], [25, 21]])).tolist() == [
        [True, False, False],
        [False, False, True],
    ]
    assert plots._overlap(boxes, np.array([[9.0, 9, 21, 21], [10, 0, 12, 9]])).tolist() == [[True, False], [True, False]]
    a, b = np.array([0.0, 0]), np.array([[2.0, 2], [2, -2]])
    assert plots._meet(a, b, np.array([0.0, 2]), np.array([2.0, 0])).tolist() == [True, False]
    assert np.allclose(plots._samples((0, 0), (0, 9)), [[0, 0], [0, 4.5], [0, 9]])


@pytest.mark.parametrize(
    ("left", "right", "ticks"),
    [(1, 16, [1, 2, 3, 4, 6, 8, 12, 16]), (1, 1, None), (1, 4, [1, 2, 3, 4]), (3.5, 7.2, [4, 5, 6, 7]), (2.1, 2.9, None)],
)
def test_step_ticks(left, right, ticks):
    _, axes = new_figure()
    plots._set_step_ticks(axes, left, right)
    shown = axes.xaxis.get_major_locator().locs.tolist()
    assert shown == ticks if ticks else all(left <= tick <= right for tick in shown)


@pytest.mark.parametrize("steps", [1, 2])
def test_a_recording_of_one_or_two_steps(steps):
    arrays = {name: np.zeros((steps, 4), dtype) for name, dtype in RECORDED.items()}
    recording = Trajectories(
        **arrays, ratings=np.zeros(4, np.float32), ids=list("abcd"), description={"family": "maze", "size": 9}
    )
    assert png_bytes(accuracy_against_steps(compare(recording, resamples=10))).startswith(b"\x89PNG")
