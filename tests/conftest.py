"""What several test files share."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
import torch

from hrm_gym.agents.agent import HRMAgent
from hrm_gym.agents.backbones import build_network
from hrm_gym.agents.network import NetworkConfig
from hrm_gym.agents.trajectories import record
from hrm_gym.envs import maze, sudoku
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.registry import make_family

WORKER = os.environ.get("PYTEST_XDIST_WORKER")  # of pytest -n 2; None in a plain run
if WORKER:  # one thread for each worker, and for the processes that its tests start
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"

# what Numba compiles for longest, the longest first; it keeps the result on the disk
KERNELS = {f"sudoku-{size}": lambda size=size: sudoku.solve(sudoku.generate(1, size).questions) for size in (16, 9, 6, 4)}
KERNELS["maze"] = lambda: maze.generate(1, 9)
LONGEST_COMPILATION = 120.0  # seconds; then a worker compiles for itself


@pytest.fixture(scope="session", autouse=True)
def kernels(tmp_path_factory):
    """Workers share the compilation: each takes the next kernel that nobody has taken, and all begin when all are there.

    Without this each of them would compile all of it at the same time.
    """
    if WORKER is None:
        return
    shared = tmp_path_factory.getbasetemp().parent  # of all workers of this run
    for name, compile_it in KERNELS.items():
        try:
            (shared / name).mkdir()
        except FileExistsError:
            continue
        compile_it()
        (shared / name / "done").touch()
    deadline = time.monotonic() + LONGEST_COMPILATION
    while time.monotonic() < deadline and not all((shared / name / "done").exists() for name in KERNELS):
        time.sleep(0.1)


@pytest.fixture(scope="session")
def restless():
    """An untrained agent whose drafts and Q values differ from step to step, and 50 puzzles to which its own drafts are the answers:
    puzzle n is solved at step n % 10 + 1, so those with n % 10 of 8 or 9 never (it has 8 steps).

    The puzzles are of the ARC kind, where a draft is right if it equals the answer.
    """
    family = make_family("arc", 3)
    config = NetworkConfig(
        cells=9, vocabulary=family.vocabulary, hidden_size=32, heads=2, expansion=2, mlp_multiple=16, h_layers=1, l_layers=1,
        h_cycles=1, positions="learned",
    )  # fmt: skip
    network = build_network(config, seed=3)
    with torch.no_grad():
        network.q_head.weight.normal_(0, 1, generator=torch.Generator().manual_seed(0))
        # no cell outside the grid: a draft with a hole is never right
        network.lm_head.weight[1] = network.lm_head.weight[2]
    agent = HRMAgent(network, family, max_steps=8, halting="q", device="cpu")
    random = np.random.default_rng(0)
    count = 50
    questions = random.integers(0, 10, (count, 3, 3)).astype(np.uint8)
    ids = [f"puzzle-{n}" for n in range(count)]
    puzzles = Puzzles(questions, questions, ids, np.arange(count, dtype=np.float32), {"task": np.zeros(count, np.int32)})
    drafts = record(agent, puzzles, max_steps=10).drafts
    answers = drafts[np.arange(count) % 10, np.arange(count)].reshape(questions.shape)
    return agent, Puzzles(questions, answers, ids, puzzles.ratings, puzzles.facts)
