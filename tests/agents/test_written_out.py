"""The control that writes its reasoning out: causality, the kept keys and values, the layout, parameters, FLOPs, files, environments."""

from __future__ import annotations

import dataclasses

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.evaluation import evaluate_policy

import hrm_gym  # noqa: F401 (registers the environments)
from hrm_gym.agents.agent import HRMAgent
from hrm_gym.agents.backbones import build_network
from hrm_gym.agents.device_puzzles import GridCode
from hrm_gym.agents.flops import counting, forward_flops, step_flops
from hrm_gym.agents.loading import load_agent
from hrm_gym.agents.network import NetworkConfig
from hrm_gym.agents.written_out import (
    NO_LABEL,
    WrittenOutAgent,
    WrittenOutConfig,
    WrittenOutNetwork,
    matched_config,
    write,
    write_sequences,
    writing_flops,
)
from hrm_gym.envs import maze, sudoku
from hrm_gym.envs.errors import CheckpointError, ConfigError, PuzzleError
from hrm_gym.envs.registry import make_family
from hrm_gym.envs.traces import trace, trace_lengths
from hrm_gym.train.config import PRESETS

SUDOKU = make_family("sudoku", 4)
CODE = GridCode(SUDOKU, torch.device("cpu"))
CONFIG = WrittenOutConfig(cells=16, vocabulary=6, trace_length=9, hidden_size=16, heads=2, layers=2, inner_size=20)


def restless(config=CONFIG, seed=0, marker=0.0):
    """A network whose tokens differ from puzzle to puzzle; `marker` is added to the marker's weights, so that traces end."""
    network = WrittenOutNetwork(config, seed)
    with torch.no_grad():
        network.lm_head.weight.mul_(3)
        network.lm_head.weight[config.marker] += marker
    return network.eval()


def questions(count, seed=5):
    puzzles = sudoku.generate(count, size=4, difficulty="hard", seed=seed)
    return puzzles, torch.from_numpy(puzzles.questions.reshape(count, 16))


def written_without_caches(network, code, question):
    """One puzzle, token by token, each from a whole new forward pass over the sequence so far: plainer and slower than `write`."""
    config = network.config
    tokens = torch.full((1, config.length), config.marker, dtype=torch.int64)
    tokens[0, : config.cells] = code.tokens(question)
    valid = torch.zeros(1, config.length, dtype=torch.bool)
    valid[0, : config.cells] = True
    values = code.token_of_value.tolist()
    allowed = values + list(range(config.vocabulary, config.tokens))

    def best(slot, among):
        logits = network.lm_head(network(tokens, valid)[0, slot])
        return max(among, key=lambda token: float(logits[token])), float(logits.softmax(-1)[tokens_of(logits, among)])

    def tokens_of(logits, among):
        return max(among, key=lambda token: float(logits[token]))

    trace, slot = [], config.cells - 1
    while len(trace) < config.trace_length:
        token, _ = best(slot, allowed)
        if token == config.marker:
            break
        slot += 1
        tokens[0, slot], valid[0, slot] = token, True
        trace.append(token)
    draft, probability = [], 1.0
    for cell in range(config.cells):
        slot = config.cells + config.trace_length + cell
        valid[0, slot] = True
        token, share = best(slot, values)
        probability *= share
        draft.append(values.index(token))
        if cell < config.cells - 1:
            tokens[0, slot + 1] = token
    return trace, draft, probability


@pytest.mark.parametrize("positions", ["learned", "rope", "none"])
@torch.no_grad()
def test_kept_keys_and_values_change_nothing(positions):
    network = restless(dataclasses.replace(CONFIG, positions=positions), seed=1, marker=0.2)
    _, grids = questions(24)
    written = write(network, CODE, grids)
    lengths = set()
    for row in range(len(grids)):
        trace_alone, draft, probability = written_without_caches(network, CODE, grids[row])
        length = int(written.trace_lengths[row])
        assert written.trace[row, :length].tolist() == trace_alone
        assert written.drafts[row].tolist() == draft
        assert float(written.probabilities[row]) == pytest.approx(probability, rel=1e-3)
        lengths.add(length)
    assert len(lengths) > 2, "the traces should end at different places, or the test says little"


def sequences(count=12):
    puzzles, grids = questions(count)
    traces = trace(SUDOKU, puzzles.questions, puzzles.answers)
    config = dataclasses.replace(CONFIG, trace_length=int(trace_lengths(traces).max()))
    answers = torch.from_numpy(puzzles.answers.reshape(count, 16))
    return config, grids, answers, traces, write_sequences(config, CODE, grids, answers, traces)


def test_sequences_hold_question_trace_marker_and_answer_and_label_each_token_with_the_next():
    config, grids, answers, traces, written = sequences()
    assert len(set(trace_lengths(traces).tolist())) > 1
    for row in range(len(grids)):
        used = torch.flatten(written.valid[row].nonzero())
        tokens, labels = written.tokens[row, used], written.labels[row, used]
        # values are their tokens 1..5, cell c is 7 + c, the marker is 6
        entries = [7 + e if e < 16 else e - 16 + 1 for e in traces[row][traces[row] >= 0].tolist()]
        whole = [*(grids[row] + 1).tolist(), *entries, 6, *(answers[row] + 1).tolist()]
        assert [*tokens.tolist(), whole[-1]] == whole
        assert labels.tolist() == [NO_LABEL] * 15 + whole[16:]
    assert (written.labels[~written.valid] == NO_LABEL).all()
    assert (written.tokens[:, 16 + config.trace_length] == 6).all()


def test_without_a_trace_only_the_answer_is_labelled():
    config = dataclasses.replace(CONFIG, trace_length=0)
    _, grids, answers, _, _ = sequences(3)
    written = write_sequences(config, CODE, grids, answers)
    assert written.valid is None
    assert written.tokens[0].tolist() == [*(grids[0] + 1).tolist(), 6, *(answers[0, :-1] + 1).tolist()]
    assert written.labels[0].tolist() == [NO_LABEL] * 16 + (answers[0] + 1).tolist()


def test_a_trace_without_room_is_refused():
    config, grids, answers, traces, _ = sequences()
    with pytest.raises(PuzzleError, match="room for 9"):
        write_sequences(dataclasses.replace(config, trace_length=9), CODE, grids, answers, traces)
    with pytest.raises(PuzzleError, match="give those of the puzzles"):
        write_sequences(config, CODE, grids, answers)


@torch.no_grad()
def test_later_tokens_and_unused_slots_are_seen_by_nobody():
    config, _, _, _, written = sequences()
    network = restless(config)
    before = network(written.tokens, written.valid)
    for slot in (15, 20, 16 + config.trace_length):
        changed = written.tokens.clone()
        changed[:, slot + 1 :] = 1
        assert torch.equal(network(changed, written.valid)[:, : slot + 1], before[:, : slot + 1])
    changed = torch.where(written.valid, written.tokens, 3)
    assert not torch.equal(changed, written.tokens)
    assert torch.equal(network(changed, written.valid)[written.valid], before[written.valid])
    with_question = written.tokens.clone()
    with_question[:, 0] = 2
    assert not torch.allclose(network(with_question, written.valid)[:, -1], before[:, -1])


@torch.no_grad()
def test_a_trace_that_does_not_end_is_cut_and_the_answer_begins():
    network = restless(marker=-1e6)
    network.embed_tokens.embedding_weight[CONFIG.marker] = 0
    network.lm_head.weight[CONFIG.marker] = 0  # a logit of 0, below the best of the others
    written = write(network, CODE, questions(5)[1])
    assert written.trace_lengths.tolist() == [9] * 5
    assert not written.ended.any()
    assert written.drafts.shape == (5, 16)


@pytest.mark.parametrize("name", ["sudoku-4x4", "sudoku-9x9", "maze-9x9"])
@pytest.mark.parametrize("changes", [{}, {"positions": "rope", "h_layers": 2}])
def test_it_has_the_parameters_of_the_hrm_of_the_same_settings(name, changes):
    config = PRESETS[name].replace(**{"backbone": "hrm", **changes})
    shape = config.network(make_family(config.family, config.puzzles["size"]))
    hrm = sum(parameter.numel() for parameter in build_network(shape).parameters())
    for room in (0, 40):
        matched = matched_config(shape, room)
        network = WrittenOutNetwork(matched)
        own = sum(parameter.numel() for parameter in network.parameters())
        assert own == matched.parameters
        assert abs(own - hrm) <= 0.02 * hrm
        assert matched.layers == config.h_layers + config.l_layers
        assert network.decoder.layers[0].mlp.down_proj.weight.shape[1] == matched.inner_size


def test_a_mixer_is_matched_by_a_network_that_knows_positions():
    shape = NetworkConfig(
        backbone="trm-mixer", cells=16, vocabulary=6, hidden_size=64, heads=4, mlp_multiple=16, positions="none"
    )
    mixer = sum(parameter.numel() for parameter in build_network(shape).parameters())
    matched = matched_config(shape, 24)
    assert matched.positions == "rope"
    assert abs(matched.parameters - mixer) <= 0.02 * mixer


def test_where_the_tables_alone_are_too_large_there_is_no_match():
    with pytest.raises(ConfigError, match="too large"):
        matched_config(NetworkConfig(cells=16, vocabulary=6, hidden_size=16, heads=2, positions="learned"), 10_000)


@torch.no_grad()
def test_flops_are_what_the_counter_counts():
    _, grids = questions(1)
    endless = restless()
    endless.lm_head.weight[CONFIG.marker] = 0
    short = restless(dataclasses.replace(CONFIG, trace_length=0))
    for network in (endless, short):
        with counting() as counter:
            written = write(network, CODE, grids)
        assert written.trace_lengths.tolist() == [network.config.trace_length]
        assert writing_flops(network.config, written.trace_lengths.numpy()).tolist() == [counter.get_total_flops()]

    hrm = build_network(NetworkConfig(cells=70, vocabulary=6, hidden_size=16, heads=2, mlp_multiple=16, h_layers=1, l_layers=1,
                                      h_cycles=2, l_cycles=3))  # fmt: skip
    block = 70 * (4 * 16 * 16 + 3 * 16 * 48) + 2 * 70 * 70 * 16
    assert step_flops(hrm) == 2 * (8 * block + 70 * 16 * 6 + 16 * 2)  # 2 cycles of 3 L updates and an H update


def agent(marker=0.2):
    return WrittenOutAgent(restless(seed=1, marker=marker), SUDOKU, "cpu", {"note": "a test's"})


def test_solving_does_not_depend_on_the_slots_and_says_what_was_spent():
    puzzles, _ = questions(20)
    one, other = agent().solve(puzzles), agent().solve(puzzles.questions, slots=3)
    for field in dataclasses.fields(one):
        np.testing.assert_allclose(getattr(one, field.name), getattr(other, field.name), rtol=1e-4)
    assert (one.steps == 1).all()
    assert (one.tokens >= 16).all()
    assert one.tokens.std() > 0
    assert (np.argsort(one.flops, kind="stable") == np.argsort(one.tokens - one.trace_ended, kind="stable")).all()
    assert (forward_flops(agent(), one) == one.flops).all()
    assert (one.verified == SUDOKU.verify(puzzles, one.drafts)).all()
    assert len(agent().solve(puzzles.take([]))) == 0


def test_an_hrm_spends_a_steps_flops_for_each_step():
    hrm = HRMAgent.from_pretrained("sudoku-4x4", "cpu")
    solutions = hrm.solve(questions(5)[0])
    assert (forward_flops(hrm, solutions) == step_flops(hrm.network) * solutions.steps).all()


def test_it_plays_the_environments_and_writes_what_it_solves():
    writer = agent()
    puzzles, _ = questions(6)
    drafts = writer.solve(puzzles).drafts
    env = gymnasium.make("HRM-Sudoku-v0", size=4)
    for row in range(6):
        observation, _ = env.reset(options={"puzzle": puzzles.take([row])})
        action, state = writer.predict(observation)
        assert (action[:-1] == drafts[row].reshape(-1)).all()
        assert action[-1] == 1
        assert state.values.shape == (1, 2)
        _, _, terminated, _, _ = env.step(action)
        assert terminated
    batch, _ = writer.predict({"question": puzzles.questions})
    assert (batch[:, :-1] == drafts.reshape(6, -1)).all()
    mean, _ = evaluate_policy(writer, env, n_eval_episodes=3, warn=False)
    assert mean == 0.0


def test_files(tmp_path):
    writer = agent()
    folder = writer.save(tmp_path / "agent")
    puzzles, _ = questions(8)
    for loaded in (load_agent(folder, "cpu"), load_agent(tmp_path, "cpu"), WrittenOutAgent.from_pretrained(folder, "cpu")):
        assert isinstance(loaded, WrittenOutAgent)
        assert (loaded.solve(puzzles).drafts == writer.solve(puzzles).drafts).all()
        assert loaded.network.config == writer.network.config
        assert loaded.description["note"] == "a test's"
    assert isinstance(load_agent("sudoku-4x4", "cpu"), HRMAgent)
    with pytest.raises(CheckpointError):
        HRMAgent.from_pretrained(folder, "cpu")
    with pytest.raises(CheckpointError, match="no agent that writes"):
        WrittenOutAgent.from_pretrained("sudoku-4x4", "cpu")
    text = (folder / "agent.json").read_text()
    for broken, message in (("{", "not an agent's description"), ('{"kind": "choir"}', "kind 'choir'"),
                            (text.replace('"layers"', '"sheets"'), "not an agent's description"),
                            (text.replace('"layers": 2', '"layers": 0'), "layers is 0")):  # fmt: skip
        (folder / "agent.json").write_text(broken)
        with pytest.raises(CheckpointError, match=message):
            load_agent(folder, "cpu")


def test_what_it_cannot_do_is_refused():
    writer = agent()
    puzzles, _ = questions(2)
    assert len(writer.solve(puzzles, halting="fixed(1)", max_steps=16)) == 2
    with pytest.raises(ConfigError, match="halts after its one step"):
        writer.solve(puzzles, halting="q")
    with pytest.raises(ConfigError, match="slots is 0"):
        writer.solve(puzzles, slots=0)
    with pytest.raises(ConfigError, match="the network is for 16 cells"):
        WrittenOutAgent(restless(), make_family("maze", 5), "cpu")
    with pytest.raises(PuzzleError):
        writer.solve(maze.generate(1, size=5, recipe="tree").questions)
    with pytest.raises(ConfigError, match="heads"):
        dataclasses.replace(CONFIG, heads=3)
