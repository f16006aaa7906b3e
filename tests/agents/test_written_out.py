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
    """A network whose tokens differ from puzzle to puzzle; `marker` is added to the marker's weights, so that traces end sooner or later."""
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


