"""The HTML report: whole, offline, with every figure in it, and an example whose frames show what the recording says."""

from __future__ import annotations

import base64
import io
import math
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from hrm_gym.agents.halting import HaltingStrategy, halting_strategy
from hrm_gym.agents.trajectories import RECORDED, Trajectories, record
from hrm_gym.envs.errors import ConfigError
from hrm_gym.envs.registry import make_family
from hrm_gym.train.calibrate import calibrated_strategies, split_trajectories, strategies_with
from hrm_gym.train.compare import compare
from hrm_gym.train.plots import (
    calibration_of_q,
    halting_step_shares,
    png_bytes,
    rank_correlation,
    rating_groups,
    steps_against_rating,
)
from hrm_gym.train.report import example_frames, shown_strategies, telling_puzzle, write_report


def maze_recording(count=60, steps=6):
    """5 x 5 mazes of two sorts; drafts are the question until a step at which they turn into the answer. Ratings are that step."""
    family = make_family("maze", 5)
    question = np.array(family.parse("#####" + "#S  #" + "### #" + "#G  #" + "#####"))
    puzzle = family.puzzles_from_questions(question[None])
    random = np.random.default_rng(0)
    first = random.integers(1, steps + 2, count)
    verified = np.arange(1, steps + 1)[:, None] >= first
    answer = puzzle.answers[0].ravel()
    arrays = {name: random.random(verified.shape).astype(dtype) for name, dtype in RECORDED.items()}
    arrays |= {
        "verified": verified,
        "exact": verified,
        "q_halt": (np.where(verified, 2, -2) + random.normal(0, 1, verified.shape)).astype(np.float32),
        "unchanged_steps": np.maximum(0, np.arange(1, steps + 1)[:, None] - first).astype(np.int32),
    }
    return Trajectories(
        **arrays,
        ratings=first.astype(np.float32),
        ids=[f"maze <{n}>" for n in range(count)],
        drafts=np.where(verified[..., None], answer, question.ravel()).astype(np.uint8),
        questions=np.repeat(question.reshape(1, -1), count, axis=0),
        description={"family": "maze", "size": 5, "checkpoint": "made <up> & odd", "has_rules": True},
    )


@pytest.fixture(scope="module")
def recording():
    return maze_recording()


@pytest.fixture(scope="module")
def comparison(recording):
    return compare(recording, resamples=50)


class Page(HTMLParser):
    """Checks that tags nest, and collects texts, images and addresses."""

    def __init__(self, text):
        super().__init__()
        self.open, self.texts, self.images, self.addresses = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "img":
            self.images.append(attributes)
        self.addresses += [
            value for name, value in attrs if name in ("href", "src", "action") and not value.startswith("data:")
        ]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def read(path):
    page = Page(path.read_text(encoding="utf-8"))
    assert not page.open
    return page


def test_report_is_whole_and_offline(recording, comparison, tmp_path):
    strategies = [halting_strategy(row.strategy) for row in comparison.rows]
    path = write_report(tmp_path / "new" / "report.html", comparison, recording, strategies)
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    page = read(path)
    assert page.addresses == []
    assert "http" not in "".join(page.texts)
    text = " ".join(page.texts)
    for words in (
        "single pass",
        "60 test puzzles",
        "made <up> & odd",
        "maze 5 x 5",
        "95 % bootstrap",
        "Holm",
        "McNemar",
        "Tested against q",
    ):
        assert words in text
    for row in comparison.rows:
        assert row.strategy in page.texts
        assert f"{100 * row.accuracy:.1f} " in page.texts
    assert "Halt when Q-halt is above Q-continue" in text  # a definition
    formats = []
    for image in page.images:
        assert image["alt"]
        with Image.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2]))) as picture:
            picture.load()
            formats.append(picture.format)
    assert sorted(formats) == ["GIF", "PNG", "PNG", "PNG", "PNG"]


def test_same_input_same_report(recording, comparison, tmp_path):
    first = write_report(tmp_path / "a.html", comparison, recording).read_bytes()
    assert write_report(tmp_path / "b.html", comparison, recording).read_bytes() == first


def test_example_shows_the_drafts(recording, comparison):
    family = make_family("maze", 5)
    names = ["fixed(1)", "fixed(6)", "oracle"]
    row = int(np.flatnonzero(recording.ratings == 4)[0])
    frames = example_frames(comparison, recording, family, names, row)
    assert len(frames) == 7  # the question, then until fixed(6) halts
    width = frames[0].shape[1] // 3
    panels = [[frame[:, n * width : (n + 1) * width] for frame in frames] for n in range(3)]
    # who has halted stands still; who has not says a new step each time
    for frame in range(1, 6):
        assert (panels[0][frame] == panels[0][frame + 1]).all() or frame == 1  # marks of change go once it stands
        assert not (panels[1][frame] == panels[1][frame + 1]).all()
    assert (panels[2][5] == panels[2][6]).all()
    # the same step looks the same for all that are still thinking, but for their names
    assert (panels[1][2][30:] == panels[2][2][30:]).all()
    green, red = np.array([0, 135, 95]), np.array([200, 50, 31])
    assert (panels[0][6] == red).all(-1).sum() > 100
    assert (panels[2][6] == green).all(-1).sum() > 100
    assert not (panels[2][2] == green).all(-1).any()


def test_telling_puzzle(recording, comparison):
    names = ["fixed(1)", "fixed(6)", "oracle", "stable(1)"]
    row = telling_puzzle(comparison, names)
    different = [len({int(comparison.halting_steps[name][n]) for name in names}) for n in range(len(recording))]
    assert different[row] == max(different) == 4


def test_shown_strategies(recording, comparison):
    shown = shown_strategies(comparison)
    assert shown == ["fixed(6)", "q", "q-halt(0.5)", "stable(2)", "stable(1)", "verifier", "oracle"] or len(shown) <= 8
    assert {"fixed(6)", "q", "verifier", "oracle"} <= set(shown)
    assert len(set(shown)) == len(shown)


def test_report_of_calibrated_strategies_names_the_validation(tmp_path):
    recording = maze_recording(120)
    object.__setattr__(recording, "questions", None)  # puzzles are told apart by their ids
    validation, test = split_trajectories(recording)
    found = calibrated_strategies(validation)
    strategies = strategies_with(test, found)
    comparison = compare(test, strategies, resamples=20)
    page = read(write_report(tmp_path / "report.html", comparison, test, strategies, found))
    assert sum("chosen on validation puzzles" in text for text in page.texts) >= 8
    assert len(page.images) == 4  # no questions, no example


def test_report_without_rules_and_of_a_family_that_cannot_be_drawn(restless, tmp_path):
    agent, puzzles = restless
    trajectories = record(agent, puzzles)
    comparison = compare(trajectories, ["q", "fixed(3)"], resamples=10)
    page = read(write_report(tmp_path / "arc.html", comparison, trajectories, example=0))
    assert len(page.images) == 5
    strange = record(agent, puzzles, description={"family": "kakuro"})
    page = read(write_report(tmp_path / "strange.html", compare(strange, ["q"], resamples=10), strange))
    assert len(page.images) == 4


def test_a_strategy_of_ones_own_without_text(recording, tmp_path):
    class Second(HaltingStrategy):
        name = "<b>second</b>"

        def halt(self, thought):
            return thought.step == 2

    comparison = compare(recording, [Second()], resamples=10)
    page = read(write_report(tmp_path / "own.html", comparison, recording, [Second()]))
    assert "<b>second</b>" in page.texts


def test_errors(recording, comparison, tmp_path):
    with pytest.raises(ConfigError, match="'nothing' was not compared"):
        write_report(tmp_path / "r.html", comparison, recording, reference="nothing")
    with pytest.raises(ConfigError, match="example puzzle 60 is not there"):
        write_report(tmp_path / "r.html", comparison, recording, example=60)
    with pytest.raises(ConfigError, match="give the ones that were compared"):
        write_report(tmp_path / "r.html", comparison, recording.take([0]))
    assert not (tmp_path / "r.html").exists()


# -- its figures -------------------------------------------------------------------------------------------------------------


def test_halting_shares_are_the_histogram(recording, comparison):
    figure = halting_step_shares(comparison)
    shares = figure.axes[0].images[0].get_array()
    order = sorted(comparison.rows, key=lambda row: row.mean_steps)
    for line, row in zip(shares, order, strict=True):
        steps = comparison.halting_steps[row.strategy].tolist()
        assert line.tolist() == pytest.approx([steps.count(step) / 60 for step in range(1, 7)])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [row.strategy for row in order]


def test_calibration_figure_shows_the_bins(recording, comparison):
    figure = calibration_of_q(recording, comparison.halting_steps["q"])
    chances = 1 / (1 + np.exp(-recording.q_halt.ravel()))
    line = figure.axes[0].containers[0].lines[0]
    inside = (chances >= 0.9) & (chances <= 1)
    assert line.get_xdata()[-1] == pytest.approx(chances[inside].mean(), abs=1e-6)
    assert line.get_ydata()[-1] == pytest.approx(recording.verified.ravel()[inside].mean())
    assert png_bytes(figure).startswith(b"\x89PNG")


def test_steps_against_rating_are_group_means(recording, comparison):
    figure = steps_against_rating(comparison, recording.ratings, ["oracle"])
    line = figure.axes[0].containers[0].lines[0]
    # the rating is the first right step, at which the oracle halts; 7 is "never", which it thinks about to the end
    assert list(line.get_xdata()) == [1, 2, 3, 4, 5, 6, 7]
    assert list(line.get_ydata()) == [1, 2, 3, 4, 5, 6, 6]
    assert "rank correlation +" in figure.axes[0].get_legend().get_texts()[0].get_text()


def test_rating_groups():
    assert rating_groups(np.array([11.0, 12, 11, 12, 12])).tolist() == [0, 1, 0, 1, 1]
    random = np.random.default_rng(0)
    ratings = np.floor(random.exponential(20, 1000))  # many puzzles of rating 0
    group = rating_groups(ratings)
    assert set(group) == set(range(group.max() + 1))
    assert 5 <= group.max() + 1 <= 8
    for rating in np.unique(ratings):
        assert len(set(group[ratings == rating])) == 1
    assert (np.diff(group[np.argsort(ratings)]) >= 0).all()
    assert np.bincount(group).min() > 50


def test_rank_correlation():
    assert rank_correlation(np.array([1, 2, 3, 4]), np.array([1, 4, 9, 100])) == pytest.approx(1)
    assert rank_correlation(np.array([1, 2, 3, 4]), np.array([4, 3, 2, 1])) == pytest.approx(-1)
    # ties: ranks 1.5 1.5 3 against 1 2 3, by hand sqrt(3) / 2
    assert rank_correlation(np.array([5, 5, 7]), np.array([1, 2, 3])) == pytest.approx(math.sqrt(3) / 2)
    assert math.isnan(rank_correlation(np.ones(4), np.arange(4)))
