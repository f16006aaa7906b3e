"""Adapting to ARC tasks: it learns, it keeps to its time, it does not see the tests' outputs, and a run can be asked again."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from hrm_gym.agents.agent import HRMAgent
from hrm_gym.envs.arc import ArcTask, load_tasks
from hrm_gym.envs.errors import ConfigError, PuzzleError
from hrm_gym.train.arc_adaptation import ADAPTATION, adapt, solve_tests, tasks_of_run, with_new_rows
from hrm_gym.train.arc_scoring import score
from hrm_gym.train.config import TrainConfig
from hrm_gym.train.data import load_training_data
from hrm_gym.train.loop import read_config

TINY = ADAPTATION.replace(hidden_size=16, heads=2, puzzle_embedding_size=16, batch_size=16, augmentations=10, log_every=10)


def swap(*pairs: str) -> list[tuple[list[list[int]], list[list[int]]]]:
    return [([[int(cell) for cell in pair]], [[int(cell) for cell in reversed(pair)]]) for pair in pairs]


@pytest.fixture(scope="module")
def mirror() -> ArcTask:
    """A task that is soon learned: two cells change places."""
    return ArcTask("mirror", tuple(swap("12", "34", "56", "71")), tuple(swap("83", "26")))


def same(one, other) -> bool:
    return all(
        a.puzzle_id == b.puzzle_id
        and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("candidates", "votes", "values"))
        for a, b in zip(one, other, strict=True)
    )


def test_an_easy_task_is_learned_and_garbage_outputs_change_nothing(mirror):
    config = TINY.replace(hidden_size=32, puzzle_embedding_size=32, learning_rate=1e-2, augmentations=60)
    adapted = adapt([mirror], config=config, steps=150)
    assert score(adapted.ballots, [mirror]).passes[1].tests == 2
    assert adapted.agent.family.shape == (2, 2) and adapted.config.optimiser_steps == 150
    assert all(answer is None for task in adapted.tasks for _, answer in task.test)
    # an output that would need a larger canvas is not noticed either
    garbage = ArcTask("mirror", mirror.train, tuple((question, np.full((5, 5), 9, np.uint8)) for question, _ in mirror.test))
    again = adapt([garbage], config=config, steps=150)
    assert same(adapted.ballots, again.ballots)
    assert all(
        torch.equal(a, b) for a, b in zip(adapted.agent.network.parameters(), again.agent.network.parameters(), strict=True)
    )
    assert "transductive" in adapted.agent.description["note"]


def test_a_run_is_asked_again(tmp_path):
    ids = ["25ff71a9", "27a28665"]
    tasks = load_tasks("arc-agi-1", "training", ids)
    config = TINY.replace(puzzles={"dataset": "arc-agi-1", "split": "training", "task_ids": ids})
    adapted = adapt(tasks, config=config, steps=5, folder=tmp_path / "run", translate=True)
    agent, config = HRMAgent.from_pretrained(tmp_path / "run", "cpu"), read_config(tmp_path / "run")
    assert [task.id for task in tasks_of_run(config)] == ids
    assert same(solve_tests(agent, config, ids), adapted.ballots)
    assert same(solve_tests(agent, config, ids[1:]), adapted.ballots[2:])
    with pytest.raises(PuzzleError, match="task '3c9b0459' is not among the 2 that this run was trained on; adapt to it first"):
        solve_tests(agent, config, ["3c9b0459"])
    with pytest.raises(ConfigError, match="exists already; choose another"):
        adapt(tasks, config=config, steps=5, folder=tmp_path / "run")
    with pytest.raises(ConfigError, match="family 'sudoku'; expected one that was trained on ARC"):
        tasks_of_run(TrainConfig())


def test_a_training_run_and_its_versions_go_together():
    """`hrm-gym train arc-small` trains on the versions that `solve_tests` asks for."""
    puzzles = {"dataset": "arc-agi-1", "split": "training", "task_ids": ["25ff71a9", "a85d4709"], "max_size": 4}
    config = TINY.replace(puzzles=puzzles, augmentations=6)
    data = load_training_data(config)
    assert data.ids_per_task == 7 and data.puzzle_ids == 14 and all("/demo" in name for name in data.train.ids)
    adapted = adapt(
        load_tasks("arc-agi-1", "training", puzzles["task_ids"]), config=config.replace(puzzles={}), steps=1, translate=True
    )
    # on its own canvas adapt has the same versions; here their first demonstration that did not move
    again = load_training_data(config)
    assert np.array_equal(again.train.questions, data.train.questions)
    from hrm_gym.train.arc_adaptation import versions_of_run

    versions = versions_of_run(config, tasks_of_run(config), 4)
    assert np.array_equal(versions.turns, adapted.versions.turns) and np.array_equal(versions.values, adapted.versions.values)
    rows = data.train.facts["puzzle_id"]
    back = versions.symmetries(rows).inverse().apply(data.train.questions)
    colours = [{tuple(np.unique(grid)) for grid in back[data.train.facts["task"] == task]} for task in (0, 1)]
    plain = data.train.take(rows % 7 == 0)
    assert colours == [{tuple(np.unique(grid)) for grid in plain.questions[plain.facts["task"] == task]} for task in (0, 1)]


def test_it_keeps_to_its_time(mirror):
    started = time.monotonic()
    adapted = adapt([mirror], minutes=0.01, config=TINY)
    assert adapted.config.optimiser_steps >= 1 and len(adapted.ballots) == 2
    assert time.monotonic() - started < 60  # far from the 5,000 steps that the configuration names


def test_going_on_keeps_the_weights_and_gives_new_rows(mirror):
    first = adapt([mirror], config=TINY, steps=20).agent
    rows = first.network.puzzle_emb.weights
    new = with_new_rows(first.network, 44, seed=1)
    for name, weight in new.state_dict().items():
        if name.startswith("puzzle_emb"):
            used = rows[(rows != 0).any(dim=1)]
            assert weight.shape == (44, 16) and torch.allclose(weight, used.mean(dim=0).expand(44, -1))
        else:
            assert torch.equal(weight, first.network.state_dict()[name])
    other = ArcTask("other", tuple(swap("19", "28")), tuple(swap("37")))
    # another learning rate would be no proof: without one nothing but the rows' decay can move
    still = adapt(
        [other, mirror], config=TINY.replace(learning_rate=0.0, hidden_size=64, average_decay=0.0), start=first, steps=2
    )
    assert still.agent.network.config.hidden_size == 16 and still.agent.network.config.puzzle_ids == 22
    for name, weight in still.agent.network.state_dict().items():
        assert name.startswith("puzzle_emb") or torch.equal(weight, first.network.state_dict()[name])
    big = ArcTask("big", (([[1, 2, 3]], [[3, 2, 1]]),), (([[1, 2, 3]], None),))
    with pytest.raises(PuzzleError, match="task 'big' needs size 3, more than 2"):
        adapt([big], config=TINY, start=first, steps=1)


def test_messages(mirror, restless):
    with pytest.raises(PuzzleError, match="no ARC tasks to adapt to"):
        adapt([], config=TINY)
    with pytest.raises(ConfigError, match="minutes is 0; expected more than 0"):
        adapt([mirror], minutes=0, config=TINY)
    with pytest.raises(ConfigError, match="plays sudoku; expected one that was trained on ARC"):
        adapt([mirror], config=TINY, start=HRMAgent.from_pretrained("sudoku-4x4", "cpu"))
