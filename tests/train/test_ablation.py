from __future__ import annotations

import dataclasses
import json
import os
import signal

import numpy as np
import pytest

from hrm_gym.ablate_command import build_grid
from hrm_gym.envs.errors import CheckpointError, ConfigError
from hrm_gym.train import loop
from hrm_gym.train.ablation import (
    ANY,
    Cell,
    Grid,
    Plan,
    Results,
    ablate,
    accuracy,
    base_config,
    difference,
    digits,
    from_digits,
    make_plan,
    measure,
    open_grid,
    read_result,
    read_results,
    result_file,
    run_cell,
    small_grid,
)
from hrm_gym.train.ablation_report import answer_all, compared, write_ablation_report

TINY = base_config().replace(
    hidden_size=16, heads=2, batch_size=8, optimiser_steps=6, train_puzzles=12, test_puzzles=10, warmup_steps=1, log_every=2,
    checkpoint_every=2, device="cpu",
).with_settings(["puzzles.difficulty=easy"])  # fmt: skip


def invented(grid: Grid, rate, count: int = 200) -> dict[Cell, dict]:
    """Results whose accuracy `rate(cell, step)` says, on the same luck per puzzle in every cell."""
    results = {}
    for cell in grid.cells():
        random = np.random.default_rng(cell.seed)
        luck = random.random(count)
        steps = max(grid.steps)
        by_step = [digits(luck < rate(cell, step)) for step in range(1, (1 if cell.written_out else steps) + 1)]
        result = {
            "cell": dataclasses.asdict(cell), "parameters": 70_000, "optimiser_steps": 100, "training_flops": 1.2e9,
            "training_seconds": 10.0, "testing_seconds": 1.0, "device": "a test", "right_by_step": by_step, "learned_right": None,
            "learned_steps": None, "halting": None, "retry": None,
        }  # fmt: skip
        if not cell.written_out:
            halts = random.integers(1, cell.steps + 1, count)
            first = np.array([by_step[step - 1][place] == "1" for place, step in enumerate(halts)])
            at = np.where(first, 1, np.where(random.random(count) < 0.5, 2, 0))
            result |= {
                "learned_right": digits(first), "learned_steps": halts.tolist(), "halting": "q",
                "retry": {
                    "single pass": digits(first), "best-q": digits(first | (at == 2) & (luck < 0.9)), "vote": digits(first),
                    "residual": digits(first), "verifier": digits(at > 0), "accepted_attempts": at.tolist(),
                    "accepted_steps": at.tolist(), "planned": grid.attempts,
                },
            }  # fmt: skip
        results[cell] = result
    return results


def test_a_star_changes_one_thing_at_a_time_and_full_is_the_product():
    grid = small_grid()
    centre = grid.centre
    assert (centre.backbone, centre.steps, centre.augmentations) == ("hrm", 16, 1000)
    latent = [cell for cell in grid.cells() if not cell.written_out]
    changed = [
        sum(getattr(cell, axis) != getattr(centre, axis) for axis in ("backbone", "steps", "augmentations")) for cell in latent
    ]
    assert max(changed) == 1
    assert len(latent) == 2 * (1 + 2 + 4 + 3)
    assert len(grid.cells()) == len(latent) + 2 * 2
    full = dataclasses.replace(grid, full=True, written_out=False)
    assert len(set(full.cells())) == len(full.cells()) == 2 * 3 * 5 * 4
    assert len({cell.name for cell in full.cells()}) == len(full.cells())
    with_any = dataclasses.replace(grid, augmentations=(ANY, 5))
    assert with_any.centre.augmentations == ANY


def test_configurations_have_as_many_blocks_and_mean_what_the_cell_says():
    grid = small_grid()
    none = grid.config(Cell("hrm", 4, 0, 3))
    assert (none.augment, none.max_steps, none.seed) == (False, 4, 3)
    ten, endless = grid.config(Cell("hrm", 4, 10, 0)), grid.config(Cell("hrm", 4, ANY, 0))
    assert (ten.augment, ten.augmentations, endless.augment, endless.augmentations) == (True, 10, True, 0)
    mixer = grid.config(Cell("trm-mixer", 4, 0, 0))
    assert (mixer.l_layers, mixer.positions) == (2, "none")
    from_trm = Grid(TINY.replace(backbone="trm", l_layers=4)).config(Cell("hrm", 4, 0, 0))
    assert (from_trm.h_layers, from_trm.l_layers) == (2, 2)


@pytest.fixture
def counted(monkeypatch):
    """FLOPs of a step without the seconds that counting them takes; `tests/train/test_written_out.py` has the real ones."""
    costs = {"hrm": 3e6, "transformer": 2e6}
    monkeypatch.setattr("hrm_gym.train.ablation.training_flops", lambda config, data: costs[config.backbone])
    return costs


def test_equal_compute_gives_each_backbone_its_number_of_steps(tmp_path, counted):
    grid = Grid(TINY.replace(optimiser_steps=100), backbones=("hrm", "transformer"), steps=(2,), augmentations=(3,), seeds=(0,))
    _, plan = open_grid(grid, tmp_path)
    assert plan == Plan(counted, {"hrm": 100, "transformer": 150}, 3e8)
    same_steps = make_plan(dataclasses.replace(grid, equal="steps"))
    assert same_steps.optimiser_steps == {"hrm": 100, "transformer": 100}
    assert open_grid(None, tmp_path) == (grid, plan)  # what is kept is what was asked for
    with pytest.raises(ConfigError, match=r"another grid; it differs in attempts \(8, asked for 3\)"):
        open_grid(dataclasses.replace(grid, attempts=3), tmp_path)
    (tmp_path / "grid.json").write_text("{}")
    with pytest.raises(CheckpointError, match="broken"):
        open_grid(None, tmp_path)


def test_interrupted_and_resumed_gives_the_same_results(tmp_path, monkeypatch, counted):
    grid = Grid(TINY, ("hrm",), (1, 3), (4,), (0,), attempts=3, written_out=False)
    _, whole = ablate(grid, tmp_path / "whole")
    written = loop.MetricsLog.write
    calls = []

    def interrupt(log, step, group, metrics):
        written(log, step, group, metrics)
        calls.append(step)
        if len(calls) == 4:  # of the second run, at its second step of six
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(loop.MetricsLog, "write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        ablate(grid, tmp_path / "broken")
    finished = list((tmp_path / "broken" / "results").iterdir())
    assert [file.stem for file in finished] == [grid.cells()[0].name]
    at_first = finished[0].read_bytes()
    told: list[str] = []
    there, again = ablate(None, tmp_path / "broken", report=told.append)
    assert there == grid
    assert told[0] == f"1 of {len(grid.cells())} runs are finished already"
    assert finished[0].read_bytes() == at_first
    unlike = {"training_seconds", "testing_seconds"}
    for cell, result in whole.items():
        assert {k: v for k, v in result.items() if k not in unlike} == {k: v for k, v in again[cell].items() if k not in unlike}
    # a finished grid is only read
    monkeypatch.setattr("hrm_gym.train.ablation.run_cell", lambda *_: pytest.fail("trained again"))
    assert ablate(grid, tmp_path / "broken")[1] == again
    page = write_ablation_report(Results(grid, again), tmp_path / "broken", "hrm-gym ablate")
    assert page.read_text().count("<section>") == 8


def test_the_control_that_writes_is_a_run_like_the_others(tmp_path):
    grid = Grid(TINY, ("hrm",), (1,), (4,), (0,), attempts=3)
    cell = dataclasses.replace(grid.centre, written_out="answer")
    budget = 1e8
    result = run_cell(grid, Plan({"hrm": 1.0}, {"hrm": 1}, budget), cell, tmp_path)
    assert result == read_result(result_file(tmp_path, cell))
    assert result["training_flops"] == pytest.approx(budget, rel=0.5 / result["optimiser_steps"])
    assert [len(row) for row in result["right_by_step"]] == [grid.base.test_puzzles]
    assert result["retry"] is None


def test_what_is_measured_agrees_with_solving(restless):
    agent, puzzles = restless
    measured = measure(agent, puzzles, 10, 8, 1)  # ARC puzzles have no verifier, so no retries
    assert measured["retry"] is None
    for steps in (1, 5, 8):
        solutions = agent.solve(puzzles, halting=f"fixed({steps})", max_steps=steps)
        assert measured["right_by_step"][steps - 1] == digits(solutions.verified)
    solutions = agent.solve(puzzles)
    assert measured["learned_right"] == digits(solutions.verified)
    assert measured["learned_steps"] == solutions.steps.tolist()
    assert (from_digits("0110") == [0, 1, 1, 0]).all()


def test_differences_are_paired_and_seeds_have_a_say():
    random = np.random.default_rng(0)
    luck = random.random(400)
    low, high = (luck < 0.5)[None].astype(float), (luck < 0.55)[None].astype(float)
    found = difference(high, low, random)
    assert found.verdict == "higher"  # though the two accuracies' own intervals overlap widely
    assert accuracy("", high).low < accuracy("", low).high
    assert found.value == pytest.approx(high.mean() - low.mean())
    assert (found.only_second, found.both) == (0, low.sum())
    assert difference(low, high, random).verdict == "lower"
    assert difference(low, low, random).verdict == "equal"
    shuffled = random.permutation(low[0])[None]
    assert difference(low, shuffled, random).verdict == "unclear"
    ones, zeros = np.ones((1, 400)), np.zeros((1, 400))
    mixed = difference(np.concatenate((ones, low)), np.concatenate((zeros, high)), random)
    assert mixed.verdict == "mixed"
    assert "the seeds disagree" in compared("a", "b", mixed)
    assert (
        compared("a", "b", difference(low, low, random))
        == f"a against b: the very same puzzles are solved, {int(low.sum())} of 400."
    )


def test_blind_halting_spends_as_many_steps(tmp_path):
    grid = Grid(TINY, backbones=("hrm",), steps=(4,), augmentations=(0,), seeds=(0,), written_out=False)
    results = invented(grid, lambda cell, step: step / 5, count=4)
    result = results[grid.centre]
    result |= {"right_by_step": ["0000", "1000", "1100", "1111"], "learned_steps": [2, 2, 3, 3]}
    assert Results(grid, results).blind(grid.centre).tolist() == [[1.0, 0.5, 0.0, 0.0]]


@pytest.mark.parametrize("full", [False, True])
def test_the_report_says_what_the_numbers_say(tmp_path, full):
    grid = Grid(TINY, full=full, seeds=(0, 1))

    def rate(cell: Cell, step: int) -> float:
        backbone = 0.0 if cell.backbone == "trm-mixer" else 0.3  # hrm and transformer alike
        return backbone + 0.1 * min(step, 4) / 4 + 0.1 * (cell.augmentations >= 100) - 0.3 * bool(cell.written_out)

    results = Results(grid, invented(grid, rate))
    answers = {answer.key: answer for answer in answer_all(results)}
    hierarchy = " ".join(answers["hierarchy"].sentences)
    assert "hrm against transformer: the very same puzzles are solved" in hierarchy
    assert "hrm against trm-mixer: more puzzles are solved, +30" in hierarchy.replace("+29", "+30").replace("+31", "+30")
    assert "16 steps against with 1 step: more" in " ".join(answers["outer-loop"].sentences)
    assert "1000 symmetries per puzzle against training with 100 symmetries" in answers["augmentation"].sentences[1]
    assert "very same" in answers["augmentation"].sentences[1]
    assert "more puzzles are solved" in answers["augmentation"].sentences[0]
    assert "more puzzles are solved" in answers["retry"].sentences[0]
    assert all("more puzzles are solved" in sentence for sentence in answers["written-out"].sentences)
    if full:
        return
    page = write_ablation_report(results, tmp_path, "hrm-gym ablate", 61.0, 2)
    text = page.read_text()
    markdown = (tmp_path / "report.md").read_text()
    for answer in answers.values():
        assert answer.question in text
        assert f"## {answer.question}" in markdown
        assert (tmp_path / "figures" / f"{answer.key}.png").stat().st_size > 5_000
    assert "<dt>command</dt><dd>hrm-gym ablate</dd>" in text
    assert "61 s from start to end in 2 processes" in text
    kept = json.loads((tmp_path / "ablation.json").read_text())
    assert len(kept["cells"]) == len(grid.cells())


def test_one_of_everything_is_a_report_as_well(tmp_path):
    grid = Grid(TINY, ("transformer",), (2,), (ANY,), (0,), attempts=1, written_out=False)
    results = invented(grid, lambda cell, step: 1.0)
    results[grid.centre]["retry"] = None
    page = write_ablation_report(Results(grid, results), tmp_path, "hrm-gym ablate")
    assert page.read_text().count("Not varied in this grid") == 2
    assert "there is one seed" in page.read_text()


def test_options_make_the_grid(tmp_path):
    entries = {
        "backbones": "trm, hybrid",
        "steps": "2,8",
        "augmentations": "0,any",
        "seeds": "3-4",
        "attempts": 5,
        "full": True,
    }
    grid = build_grid(None, entries, settings=["batch_size=4"], puzzles=7)
    assert (grid.backbones, grid.steps, grid.augmentations, grid.seeds) == (("trm", "hybrid"), (2, 8), (0, ANY), (3, 4))
    assert (grid.base.batch_size, grid.base.test_puzzles, grid.base.device, grid.full) == (4, 7, "cpu", True)
    file = tmp_path / "grid.json"
    file.write_text(json.dumps(grid.to_dict()))
    assert build_grid(file, {}) == grid
    assert build_grid(None, {}).base.replace(device=small_grid().base.device) == small_grid().base
    for options, message in (
        ({"backbones": "hrmm"}, "backbone 'hrmm' is unknown"),
        ({"steps": "2,x"}, "--steps is '2,x'"),
        ({"augmentations": "2000"}, "augmentations contain 2000; expected 0 to 1000"),
        ({"seeds": "0,0"}, "one twice"),
        ({"equal": "time"}, "equal is 'time'"),
        ({"backbones": ""}, "at least one"),
    ):
        with pytest.raises(ConfigError, match=message):
            build_grid(None, options)
    with pytest.raises(ConfigError, match="neither a verifier"):
        build_grid(None, {}, preset="arc-small")
    with pytest.raises(ConfigError, match="give one of them"):
        build_grid(file, {}, preset="sudoku-4x4")
    with pytest.raises(ConfigError, match="holds no grid"):
        open_grid(None, tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_results(grid, tmp_path)
    assert Plan({}, {}, 0.0).budget == 0.0
