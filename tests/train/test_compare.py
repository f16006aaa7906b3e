"""Comparison of strategies on hand-written trajectories whose right answers are known, and against plain loops."""

from __future__ import annotations

import csv
import dataclasses
import json

import numpy as np
import pytest
from rich.console import Console

from hrm_gym.agents.halting import HaltingStrategy
from hrm_gym.agents.trajectories import RECORDED, Trajectories
from hrm_gym.envs.errors import ConfigError
from hrm_gym.train.compare import (
    STEP_COST,
    area_under_accuracy,
    compare,
    default_strategies,
    frontier,
    per_puzzle,
    write_csv,
    write_json,
)
from hrm_gym.train.statistics import mcnemar_p_value


def trajectories_of(verified, q_halt=None, **description):
    """A recording in which only the verdicts (and Q-halt, against a Q-continue of 0) matter."""
    verified = np.asarray(verified, bool)
    arrays = {name: np.zeros(verified.shape, dtype) for name, dtype in RECORDED.items()}
    arrays |= {"verified": verified, "exact": verified}
    if q_halt is not None:
        arrays["q_halt"] = np.asarray(q_halt, np.float32)
    count = verified.shape[1]
    facts = {"family": "sudoku", "size": 9, "has_rules": True, "checkpoint": "hand-written", **description}
    return Trajectories(**arrays, ratings=np.zeros(count, np.float32), ids=[str(n) for n in range(count)], description=facts)


# five puzzles, four steps: from the start, from step 3 on, never, step 2 only, all but step 3
VERIFIED = np.array(
    [
        [1, 0, 0, 0, 1],
        [1, 0, 0, 1, 1],
        [1, 1, 0, 0, 0],
        [1, 1, 0, 0, 1],
    ],
    bool,
)


def test_figures_by_hand():
    comparison = compare(trajectories_of(VERIFIED), ["fixed(1)", "fixed(3)", "fixed(4)", "oracle"], step_cost=0.1, resamples=10)
    one, three, four, oracle = comparison.rows
    assert [row.accuracy for row in comparison.rows] == [0.4, 0.4, 0.6, 0.8]
    assert [row.mean_steps for row in comparison.rows] == pytest.approx([1, 3, 4, (1 + 3 + 4 + 2 + 1) / 5])
    assert oracle.median_steps == 2
    # fixed(1) is wrong on the 2nd, 3rd and 4th; the 2nd and 4th are right later
    assert one.premature_halts == 0.4
    assert one.missed_halts == 0
    # fixed(3) is wrong on the 3rd, 4th and 5th; the 5th is right later; the 4th and 5th were right before
    assert three.premature_halts == 0.2
    assert three.missed_halts == 0.4
    assert four.premature_halts == 0
    assert four.missed_halts == 0.2
    assert three.overthinking_steps == pytest.approx((2 + 0 + 0 + 1 + 2) / 5)
    assert oracle.overthinking_steps == oracle.premature_halts == oracle.missed_halts == 0
    assert [row.accuracy_regret for row in comparison.rows] == pytest.approx([0.4, 0.4, 0.2, 0])
    assert one.reward == pytest.approx(0.4 - 0.1)
    # in hindsight: 0.9, 0.7, -0.1 (give up at once), 0.8, 0.9
    best = (0.9 + 0.7 - 0.1 + 0.8 + 0.9) / 5
    assert one.reward_regret == pytest.approx(best - 0.3)
    # the oracle thinks to the end about what is never right
    assert oracle.reward_regret == pytest.approx((0.4 - 0.1) / 5)
    assert [row.kind for row in comparison.rows] == ["single pass"] * 3 + ["single pass, stopped by the oracle"]
    # two steps are as right as four, though nobody asked for fixed(2); the oracle is no strategy
    assert comparison.accuracy_by_step == [0.4, 0.6, 0.4, 0.6]
    assert [row.on_frontier for row in comparison.rows] == [True, False, False, False]
    assert frontier(comparison) == [(1, 0.4), (2, 0.6)]


def test_figures_against_loops():
    random = np.random.default_rng(0)
    verified = random.random((6, 40)) < 0.4
    steps = random.integers(1, 7, size=(3, 40))
    cost = 0.3
    figures = per_puzzle(verified, steps, cost)
    for s in range(3):
        for n in range(40):
            drafts, h = verified[:, n].tolist(), int(steps[s, n])
            right = drafts[h - 1]
            before, after = drafts[: h - 1], drafts[h:]
            rewards = [float(draft) - cost * (t + 1) for t, draft in enumerate(drafts)]
            expected = {
                "accuracy": float(right),
                "mean_steps": h,
                "premature_halts": float(not right and any(after)),
                "missed_halts": float(not right and any(before)),
                "overthinking_steps": h - 1 - drafts.index(True) if any(drafts[:h]) else 0,
                "accuracy_regret": float(any(drafts) and not right),
                "reward": rewards[h - 1],
                "reward_regret": max(rewards) - rewards[h - 1],
            }
            assert {name: values[s, n] for name, values in figures.items()} == pytest.approx(expected)
    assert (figures["reward_regret"] >= -1e-12).all()


def test_learned_halting_uses_q():
    comparison = compare(trajectories_of(VERIFIED, q_halt=np.where(VERIFIED, 1.0, -1.0)), ["q", "oracle"], resamples=5)
    assert (comparison.halting_steps["q"] == comparison.halting_steps["oracle"]).all()
    assert (comparison.halting_steps["q"] == [1, 3, 4, 2, 1]).all()


def test_area_by_hand():
    # right from step 3 of 5 on, halting at 4: accuracy 0, 0, 1, 1 at 1..4 steps, held to 5: 0 + 1/2 + 1 + 1 over 4
    verified = np.array([[0], [0], [1], [1], [1]], bool)
    assert area_under_accuracy(verified, np.array([4])) == pytest.approx(2.5 / 4)
    # halting at once, right: everything; wrong: nothing
    assert area_under_accuracy(np.ones((5, 1), bool), np.array([1])) == pytest.approx(1)
    assert area_under_accuracy(verified, np.array([1])) == 0
    assert area_under_accuracy(np.array([[True, False]]), np.array([1, 1])) == 0.5


def test_area_against_a_fine_numeric_integral():
    random = np.random.default_rng(4)
    verified = random.random((7, 30)) < np.linspace(0.1, 0.9, 7)[:, None]
    steps = random.integers(1, 8, size=30)
    points = []
    for cut in range(1, 8):
        spent = [min(int(h), cut) for h in steps]
        points.append((np.mean(spent), np.mean([verified[h - 1, n] for n, h in enumerate(spent)])))
    grid = np.linspace(1, 7, 60_001)
    heights = np.interp(grid, [x for x, _ in points], [y for _, y in points])  # holds the last value beyond the last point
    assert area_under_accuracy(verified, steps) == pytest.approx(heights.mean(), abs=1e-4)


def test_intervals_against_a_plain_bootstrap():
    random = np.random.default_rng(1)
    first = random.integers(1, 8, 60)
    verified = np.arange(1, 7)[:, None] >= first[None]
    recording = trajectories_of(verified)
    comparison = compare(recording, ["fixed(2)", "oracle"], resamples=400, random=np.random.default_rng(9))
    rows = np.random.default_rng(9).integers(0, 60, size=(400, 60))
    for row in comparison.rows:
        steps = comparison.halting_steps[row.strategy]
        right = [bool(verified[h - 1, n]) for n, h in enumerate(steps)]
        accuracies = sorted(float(np.mean([right[n] for n in sample])) for sample in rows)
        assert row.accuracy_interval == pytest.approx(np.quantile(accuracies, [0.025, 0.975]))
        means = [float(np.mean([steps[n] for n in sample])) for sample in rows]
        assert row.mean_steps_interval == pytest.approx(np.quantile(means, [0.025, 0.975]))
        assert row.accuracy_interval[0] <= row.accuracy <= row.accuracy_interval[1]
    pair = comparison.pair("oracle", "fixed(2)")
    steps = {name: comparison.halting_steps[name] for name in ("oracle", "fixed(2)")}
    differences = [float(np.mean([steps["oracle"][n] - steps["fixed(2)"][n] for n in sample])) for sample in rows]
    assert pair.steps_difference_interval == pytest.approx(np.quantile(differences, [0.025, 0.975]))


def test_same_seed_same_numbers_and_no_global_generator():
    recording = trajectories_of(VERIFIED)
    before = np.random.get_state()[1].tolist()  # noqa: NPY002 (that it is left alone is the point)
    assert compare(recording, resamples=20).to_dict() == compare(recording, resamples=20).to_dict()
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_paired_tests():
    random = np.random.default_rng(2)
    verified = random.random((4, 300)) < np.array([0.3, 0.5, 0.52, 0.9])[:, None]
    comparison = compare(trajectories_of(verified), ["fixed(1)", "fixed(2)", "fixed(3)", "fixed(4)"], resamples=199)
    assert len(comparison.pairs) == 6
    for pair in comparison.pairs:
        a, b = (verified[comparison.halting_steps[name][0] - 1] for name in (pair.first, pair.second))
        assert pair.accuracy_p == pytest.approx(mcnemar_p_value(a, b))
        assert (pair.only_first, pair.only_second) == ((a & ~b).sum(), (~a & b).sum())
        assert pair.accuracy_difference == pytest.approx((pair.only_first - pair.only_second) / 300)
        assert pair.steps_p == pytest.approx(2 / 200)  # one more step on every puzzle is always one more
        assert pair.accuracy_p_holm >= pair.accuracy_p
    assert comparison.pair("fixed(1)", "fixed(4)").accuracy_p_holm < 1e-6
    assert comparison.pair("fixed(2)", "fixed(3)").accuracy_p_holm > 0.05
    forth, back = comparison.pair("fixed(1)", "fixed(2)"), comparison.pair("fixed(2)", "fixed(1)")
    assert back.accuracy_difference == -forth.accuracy_difference
    assert back.steps_difference_interval == (-forth.steps_difference_interval[1], -forth.steps_difference_interval[0])
    assert (back.first, back.only_first) == ("fixed(2)", forth.only_second)


def test_equal_strategies_do_not_differ():
    comparison = compare(trajectories_of(VERIFIED), ["verifier", "oracle"], resamples=50)
    (pair,) = comparison.pairs
    assert (pair.accuracy_p, pair.steps_p, pair.accuracy_difference, pair.steps_difference) == (1, 1, 0, 0)


def test_default_strategies():
    assert default_strategies(trajectories_of(np.ones((16, 1)))) == [
        "fixed(1)", "fixed(2)", "fixed(4)", "fixed(8)", "fixed(16)", "q", "q-halt(0.5)", "stable(1)", "stable(2)", "stable(3)",
        "random(0.25)", "verifier", "oracle",
    ]  # fmt: skip
    names = default_strategies(trajectories_of(np.ones((6, 1)), has_rules=False))
    assert names[:4] == ["fixed(1)", "fixed(2)", "fixed(4)", "fixed(6)"]
    assert "verifier" not in names


def test_recorded_and_live_numbers_agree(restless):
    from hrm_gym.agents.trajectories import record

    agent, puzzles = restless
    comparison = compare(record(agent, puzzles), resamples=20)
    for row in comparison.rows:
        live = agent.solve(puzzles, halting=row.strategy)
        assert (row.accuracy, row.mean_steps) == (live.accuracy, live.mean_steps)


def test_a_strategy_of_ones_own():
    class ThirdStep(HaltingStrategy):
        name = "third"

        def halt(self, thought):
            return thought.step == 3

    comparison = compare(trajectories_of(VERIFIED), [ThirdStep(), "fixed(3)"], resamples=5)
    own, fixed = (dataclasses.replace(row, strategy="") for row in comparison.rows)
    assert own == fixed


def test_files(tmp_path):
    comparison = compare(trajectories_of(VERIFIED), resamples=20)
    path = write_json(tmp_path / "new" / "comparison.json", [comparison, comparison])
    read = json.loads(path.read_text())
    assert len(read) == 2
    assert read[0]["checkpoint"] == "hand-written"
    assert read[0]["test_puzzles"] == 5
    assert read[0]["rows"][0]["strategy"] == "fixed(1)"
    assert len(read[0]["pairs"]) == len(comparison.rows) * (len(comparison.rows) - 1) // 2
    table = write_csv(tmp_path / "new" / "comparison.csv", [comparison, comparison])
    with table.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 2 * len(comparison.rows)
    for line, row in zip(lines, comparison.rows, strict=False):
        assert line["strategy"] == row.strategy
        assert float(line["accuracy"]) == row.accuracy
        assert float(line["accuracy_low"]) == row.accuracy_interval[0]
        assert float(line["step_cost"]) == STEP_COST
        assert line["kind"] == row.kind
    assert sorted(file.name for file in table.parent.iterdir()) == ["comparison.csv", "comparison.json"]


def test_table_says_what_kind_of_accuracy():
    comparison = compare(trajectories_of(VERIFIED), resamples=20)
    with open("/dev/null", "w") as nowhere:
        console = Console(width=160, record=True, file=nowhere)
        console.print(comparison.table())
    shown = console.export_text()
    for words in (
        "hand-written",
        "5 test puzzles",
        "single pass",
        "stopped by the verifier",
        "oracle**",
        "verifier*",
        "q-halt(0.5)",
    ):
        assert words in shown
    assert "oracle*" not in shown.replace("oracle**", "")


def test_errors():
    recording = trajectories_of(VERIFIED)
    with pytest.raises(ConfigError, match="no halting strategy"):
        compare(recording, [])
    with pytest.raises(ConfigError, match="there twice"):
        compare(recording, ["q", "q"])
    with pytest.raises(ConfigError, match="no puzzle"):
        compare(recording.take([]))
    with pytest.raises(ConfigError, match="step_cost is -1"):
        compare(recording, step_cost=-1)
    with pytest.raises(ConfigError, match="resamples is 0"):
        compare(recording, resamples=0)
    with pytest.raises(ConfigError, match="'psychic' is unknown"):
        compare(recording, ["psychic"])
    comparison = compare(recording, ["q", "oracle"], resamples=5)
    with pytest.raises(ConfigError, match="'fixed\\(1\\)' was not compared"):
        comparison.row("fixed(1)")
    with pytest.raises(ConfigError, match="are the same"):
        comparison.pair("q", "q")
