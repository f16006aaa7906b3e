"""Recorded trajectories against the live network, and what a strategy makes of them against a loop over single puzzles."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from hrm_gym.agents.halting import HaltingStrategy, StableDraft, halting_strategy
from hrm_gym.agents.thought import FEATURES
from hrm_gym.agents.trajectories import RECORDED, Trajectories, record
from hrm_gym.envs.errors import CheckpointError, ConfigError

STRATEGIES = ["fixed(3)", "fixed(20)", "q", "q-halt(0.3)", "stable(1)", "verifier", "random(0.3)", "oracle"]


@pytest.fixture(scope="module")
def recording(restless):
    agent, puzzles = restless
    return record(agent, puzzles, batch_size=16, description={"checkpoint": "restless"})


class Remembers(HaltingStrategy):
    """Halts when Q-halt has been positive twice; keeps its count in memory."""

    name = "remembers"
    memory_size = 2

    def halt(self, thought):
        thought.memory[:, 1] += thought.q_halt > 0
        return thought.memory[:, 1] >= 2


class TopOfAll(HaltingStrategy):
    """Looks at every feature."""

    needs = frozenset(FEATURES)

    def halt(self, thought):
        return (
            (thought.confidence > 0.3)
            & (thought.entropy < 2)
            & (thought.divergence < 5)
            & (thought.residual < 0.9)
            & (thought.cosine < 0.6)
            & (thought.changed_cells < 6)
            & ~thought.verified
            & (thought.verified == thought.correct)
        )


def test_shapes_and_answers(recording, restless):
    _, puzzles = restless
    assert recording.verified.shape == (8, 50)
    assert recording.drafts.shape == (8, 50, 9)
    assert (recording.questions == puzzles.questions.reshape(50, 9)).all()
    assert recording.max_steps == 8
    assert len(recording) == 50
    first = np.arange(50) % 10
    for n in range(50):
        equal = (recording.drafts[:, n] == puzzles.answers[n].ravel()).all(-1)
        assert (recording.verified[:, n] == equal).all()
        assert (recording.exact[:, n] == equal).all()
        if first[n] < 8:
            assert equal[first[n]]
    assert recording.description["checkpoint"] == "restless"
    assert not recording.has_rules


def test_features_are_what_the_drafts_say(recording, restless):
    _, puzzles = restless
    before = puzzles.questions.reshape(50, 9)
    run = np.zeros(50, int)
    for step in range(8):
        changed = (recording.drafts[step] != before).sum(-1)
        run = np.where(changed == 0, run + 1, 0)
        assert (recording.changed_cells[step] == changed).all()
        assert (recording.unchanged_steps[step] == run).all()
        before = recording.drafts[step]
    assert np.isinf(recording.divergence[0]).all()
    assert np.isfinite(recording.divergence[1:]).all()
    assert (recording.divergence[1:] >= -1e-6).all()
    assert ((recording.confidence > 0) & (recording.confidence <= 1)).all()
    assert (recording.entropy <= np.log(12) + 1e-5).all()


@pytest.mark.parametrize("strategy", [*STRATEGIES, Remembers(), TopOfAll()], ids=str)
def test_halts_where_the_live_agent_halts(recording, restless, strategy):
    agent, puzzles = restless
    live = agent.solve(puzzles, halting=strategy, slots=7)
    steps = recording.halting_steps(strategy)
    assert (steps == live.steps).all()
    assert (recording.right_at(steps) == live.verified).all()
    assert (recording.at(recording.drafts, steps).reshape(live.drafts.shape) == live.drafts).all()
    np.testing.assert_allclose(1 / (1 + np.exp(-recording.at(recording.q_halt, steps))), live.halt_values, atol=1e-5)


def test_strategies_of_the_live_test_are_not_all_alike(recording):
    steps = [tuple(recording.halting_steps(strategy)) for strategy in [*STRATEGIES, Remembers(), TopOfAll()]]
    assert len(set(steps)) >= len(steps) - 2  # verifier and oracle are the same; stable(1) may never fire, as fixed(20)


@pytest.mark.parametrize("strategy", [*STRATEGIES, Remembers()], ids=str)
def test_halting_steps_against_one_puzzle_at_a_time(recording, strategy):
    strategy = halting_strategy(strategy)
    expected = []
    for n in range(len(recording)):
        memory = torch.zeros(1, strategy.memory_size)
        for step in range(1, 9):
            thought = recording.thought(step)
            alone = {
                f.name: value[n : n + 1] if isinstance(value := getattr(thought, f.name), torch.Tensor) else value
                for f in dataclasses.fields(thought)
            }
            thought = type(thought)(**{**alone, "memory": memory})
            if strategy.halt(thought).item() or step == 8:
                expected.append(step)
                break
    assert recording.halting_steps(strategy).tolist() == expected


def test_batch_size_and_length_do_not_matter(recording, restless):
    agent, puzzles = restless
    other = record(agent, puzzles, max_steps=5, batch_size=50, keep_drafts=False)
    assert other.drafts is None
    assert other.questions is None
    shorter = recording.until(5)
    for name in RECORDED:
        np.testing.assert_allclose(getattr(other, name), getattr(shorter, name), rtol=1e-4, atol=1e-5)
    assert shorter.halting_steps("q").max() <= 5


def test_file_round_trip(recording, tmp_path):
    path = recording.save(tmp_path / "deep" / "recording.safetensors")
    read = Trajectories.load(path)
    for name in [*RECORDED, "ratings", "drafts", "questions"]:
        assert getattr(read, name).dtype == getattr(recording, name).dtype
        assert np.array_equal(getattr(read, name), getattr(recording, name))
    assert list(read.ids) == list(recording.ids)
    assert read.description == recording.description
    assert (read.halting_steps("q") == recording.halting_steps("q")).all()
    assert [file.name for file in path.parent.iterdir()] == ["recording.safetensors"]


def test_a_loaded_file_is_mapped_and_never_written_to(recording, tmp_path):
    path = recording.save(tmp_path / "recording.safetensors")
    content = path.read_bytes()
    read = Trajectories.load(path)
    read.q_halt[:] = 0
    assert path.read_bytes() == content
    # what is not looked at is not read: the mapped file's bytes lie behind all arrays, without a copy each
    assert read.drafts.base is not None


def test_take(recording):
    rows = np.array([7, 3, 44])
    some = recording.take(rows)
    assert len(some) == 3
    assert some.ids == ["puzzle-7", "puzzle-3", "puzzle-44"]
    assert (some.verified == recording.verified[:, rows]).all()
    assert (some.drafts == recording.drafts[:, rows]).all()
    assert (some.questions == recording.questions[rows]).all()
    assert (some.halting_steps("stable(1)") == recording.halting_steps("stable(1)")[rows]).all()
    assert len(recording.take(recording.ratings < 10)) == 10


def test_no_puzzles(restless, tmp_path):
    agent, puzzles = restless
    empty = record(agent, puzzles.take([]))
    assert empty.verified.shape == (8, 0)
    assert empty.halting_steps("q").shape == (0,)
    assert len(Trajectories.load(empty.save(tmp_path / "empty.safetensors"))) == 0


def test_errors(recording, restless, tmp_path):
    agent, puzzles = restless
    with pytest.raises(ConfigError, match="max_steps is 0"):
        record(agent, puzzles, max_steps=0)
    with pytest.raises(ConfigError, match="batch_size is -1"):
        record(agent, puzzles, batch_size=-1)
    with pytest.raises(ConfigError, match="step 9 was not recorded; expected 1 to 8"):
        recording.thought(9)
    with pytest.raises(ConfigError, match="max_steps is 9; this recording has 1 to 8"):
        recording.until(9)
    with pytest.raises(ConfigError, match="unknown"):
        recording.halting_steps("qq")
    strange = StableDraft(1)
    strange.needs = frozenset({"mood"})
    with pytest.raises(ConfigError, match="'mood'"):
        recording.halting_steps(strange)
    with pytest.raises(ConfigError, match="q_halt has shape"):
        dataclasses.replace(recording, q_halt=recording.q_halt[:2])
    with pytest.raises(ConfigError, match="ids has 1 entries for 50"):
        dataclasses.replace(recording, ids=["one"])


@pytest.mark.parametrize("content", [b"", b"not a safetensors file at all", None])
def test_broken_files(recording, tmp_path, content):
    path = tmp_path / "broken.safetensors"
    if content is None:
        content = recording.save(path).read_bytes()[:-100]
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"broken\.safetensors"):
        Trajectories.load(path)
    with pytest.raises(CheckpointError, match="does not exist"):
        Trajectories.load(tmp_path / "nothing")
