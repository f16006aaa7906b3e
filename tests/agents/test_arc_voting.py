"""ARC's vote: what wins, against a plain count; and that the answers play no part in it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from hrm_gym.agents.agent import HRMAgent
from hrm_gym.agents.arc_voting import answer_tests, attempts, count_votes
from hrm_gym.agents.backbones import build_network
from hrm_gym.agents.network import NetworkConfig
from hrm_gym.envs.arc import OUTSIDE, ArcFamily, hidden_tests, load_tasks, puzzles_from_tasks, task_versions
from hrm_gym.envs.errors import ConfigError, PuzzleError
from hrm_gym.envs.puzzles import Puzzles


def canvas(*rows: str) -> np.ndarray:
    return np.array([[OUTSIDE if cell == "." else int(cell) for cell in row] for row in rows], dtype=np.uint8)


def test_votes_then_values_then_the_earliest():
    a, b, c, nothing = (
        canvas("11.", "11.", "..."),
        canvas("2..", "...", "..."),
        canvas("333", "333", "333"),
        canvas("...", "1..", "..."),
    )
    stray = canvas("11.", "11.", "..5")  # the grid of a, with a cell too much
    drafts = np.stack([b, a, nothing, c, stray, b, c, nothing])
    values = np.array([0.4, 0.1, 0.9, 0.8, 0.3, 0.4, 0.1, 0.9])
    ballot = count_votes("task/0", drafts, values, np.arange(8) + 100)
    # each has two votes: c has the mean 0.45, b 0.4, a 0.2
    assert np.array_equal(ballot.candidates, np.stack([c, b, a]))
    assert ballot.votes.tolist() == [2, 2, 2] and ballot.values == pytest.approx([0.45, 0.4, 0.2])
    assert ballot.rows.tolist() == [103, 100, 104] and ballot.asked == 8
    again = count_votes("task/0", np.stack([c, b, b]), np.array([1.0, 0.0, 0.0]), np.arange(3))
    assert np.array_equal(again.candidates[0], b)  # votes count before values
    tie = count_votes("task/0", np.stack([c, b]), np.array([0.5, 0.5]), np.arange(2))
    assert np.array_equal(tie.candidates[0], c)
    unsure = count_votes("task/0", np.stack([c, b]), np.array([np.nan, 0.1]), np.arange(2))
    assert np.array_equal(unsure.candidates[0], b)


def test_no_draft_with_a_grid():
    ballot = count_votes("task/0", np.full((3, 2, 2), OUTSIDE, np.uint8), np.zeros(3), np.arange(3))
    assert len(ballot.candidates) == len(ballot.votes) == len(ballot.rows) == 0
    assert (attempts([ballot], 4) == OUTSIDE).all()


def test_ballots_agree_with_a_plain_count():
    random = np.random.default_rng(0)
    for _ in range(20):
        drafts = random.integers(0, 2, (60, 2, 2)).astype(np.uint8)
        values = random.random(60)
        ballot = count_votes("task/0", drafts, values, np.arange(60))
        counts = Counter(grid.tobytes() for grid in drafts)
        means = {key: np.mean([v for g, v in zip(drafts, values, strict=True) if g.tobytes() == key]) for key in counts}
        expected = sorted(counts, key=lambda key: (-counts[key], -means[key]))
        assert [grid.tobytes() for grid in ballot.candidates] == expected
        assert ballot.votes.tolist() == [counts[key] for key in expected]


def test_attempts_of_different_canvases():
    small, large = canvas("12", "34"), canvas("555", "555", "555")
    ballots = [
        count_votes("a/0", small[None], np.ones(1), np.arange(1)),
        count_votes("b/0", large[None], np.ones(1), np.arange(1)),
    ]
    made = attempts(ballots, 4)
    assert (
        made.shape == (2, 2, 4, 4) and np.array_equal(made[0, 0, :2, :2], small) and np.array_equal(made[1, 0, :3, :3], large)
    )
    assert (made[:, 1] == OUTSIDE).all() and (made[0, 0] != OUTSIDE).sum() == 4
    with pytest.raises(PuzzleError, match="ballot 'b/0' has canvases of 3 x 3; expected at most 2 x 2"):
        attempts(ballots, 2)
    with pytest.raises(PuzzleError, match="no ballots"):
        attempts([], 2)


@pytest.fixture(scope="module")
def asked():
    """Tasks, their versions, and an untrained agent that gives each version another draft."""
    tasks = load_tasks("arc-agi-1", "training", ["25ff71a9", "27a28665", "a85d4709"])
    versions = task_versions(tasks, 3, 15, np.random.default_rng(0))
    family = ArcFamily(3)
    config = NetworkConfig(
        cells=9, vocabulary=family.vocabulary, hidden_size=32, heads=2, expansion=2, mlp_multiple=16, h_layers=1, l_layers=1,
        h_cycles=1, positions="learned", puzzle_ids=len(versions.used), puzzle_embedding_size=32,
    )  # fmt: skip
    network = build_network(config, seed=3)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        network.q_head.weight.normal_(0, 1, generator=generator)
        network.puzzle_emb.weights.normal_(0, 1, generator=generator)
        network.lm_head.weight[1] = -network.lm_head.weight[2:].mean(0)
    return HRMAgent(network, family, 4, "q", "cpu"), tasks, versions


def test_ballots_are_those_of_one_version_after_the_other(asked):
    agent, tasks, versions = asked
    tests = hidden_tests(tasks, 3)
    ballots = answer_tests(agent, tests, versions)
    assert [ballot.puzzle_id for ballot in ballots] == list(tests.ids)
    for number, ballot in enumerate(ballots):
        task = int(tests.facts["task"][number])
        rows = [row for row in range(task * 16, task * 16 + 16) if versions.used[row]]
        counts: Counter[bytes] = Counter()
        for row in rows:
            symmetry = versions.symmetries(np.array([row]))
            facts = {"puzzle_id": np.array([row])}
            question = symmetry.apply(tests.questions[[number]])
            one = Puzzles(question, tests.answers[[number]], ["x"], tests.ratings[:1], facts)
            draft = symmetry.inverse().apply(agent.solve(one).drafts)
            if draft[0, 0, 0] != OUTSIDE:
                counts[count_votes("x", draft, np.zeros(1), np.zeros(1, int)).candidates[0].tobytes()] += 1
        assert ballot.asked == len(rows) and ballot.votes.sum() == sum(counts.values())
        for grid, votes in zip(ballot.candidates, ballot.votes, strict=True):
            assert counts[grid.tobytes()] == votes
    assert max(len(ballot.candidates) for ballot in ballots) > 1


def test_garbage_answers_change_nothing(asked):
    agent, tasks, versions = asked
    random = np.random.default_rng(0)
    right = puzzles_from_tasks(tasks, 3)
    garbage = Puzzles(
        right.questions, random.integers(0, 10, right.answers.shape).astype(np.uint8), right.ids, right.ratings, right.facts
    )
    for one, other in zip(answer_tests(agent, right, versions), answer_tests(agent, garbage, versions), strict=True):
        for name in ("candidates", "votes", "values", "rows"):
            assert np.array_equal(getattr(one, name), getattr(other, name))


def test_messages(asked):
    agent, tasks, versions = asked
    for halting in ("verifier", "oracle"):
        with pytest.raises(ConfigError, match="looks at the answer, which ARC's tests keep hidden"):
            answer_tests(agent, hidden_tests(tasks, 3), versions, halting=halting)
    with pytest.raises(ConfigError, match="the agent knows 48 versions of tasks and 33 were given"):
        answer_tests(agent, hidden_tests(tasks, 3), task_versions(tasks, 3, 10, np.random.default_rng(0)))
