"""What runs on a device against its NumPy twin: symmetries, verification, the token code."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hrm_gym.agents.device_puzzles import DevicePuzzles, apply_symmetries
from hrm_gym.envs.registry import family_and_source

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"))]
SETTINGS = {
    "sudoku": [{"size": 4}, {"size": 6}, {"size": 9}],
    "maze": [{"size": 9, "recipe": "braid"}, {"size": 12, "recipe": "walls"}],
    "arc": [{"max_size": 6}],
}
CASES = [(name, settings) for name, many in SETTINGS.items() for settings in many]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def family_and_puzzles(request):
    name, settings = request.param
    family, source = family_and_source(name, **settings)
    return family, source.draw(np.arange(20, dtype=np.uint64))


@pytest.mark.parametrize("device", DEVICES)
def test_symmetries_are_the_same_on_the_device(family_and_puzzles, device):
    family, puzzles = family_and_puzzles
    symmetries = family.sample_symmetries(len(puzzles), np.random.default_rng(0))
    cells, values = torch.from_numpy(symmetries.cells).to(device), torch.from_numpy(symmetries.values).to(device)
    grids = torch.from_numpy(puzzles.questions.reshape(len(puzzles), -1)).to(device)
    moved = apply_symmetries(cells, values, grids).cpu().numpy().reshape(puzzles.questions.shape)
    assert np.array_equal(moved, symmetries.apply(puzzles.questions))
    assert not np.array_equal(moved, puzzles.questions)
    inverse = symmetries.inverse()
    back = apply_symmetries(
        torch.from_numpy(inverse.cells), torch.from_numpy(inverse.values), torch.from_numpy(moved).flatten(1)
    )
    assert np.array_equal(back.numpy().reshape(moved.shape), puzzles.questions)


@pytest.mark.parametrize("device", DEVICES)
def test_verification_is_the_same_on_the_device(family_and_puzzles, device):
    family, puzzles = family_and_puzzles
    random = np.random.default_rng(1)
    drafts = puzzles.answers.copy()
    for row in range(0, len(drafts), 2):  # every second draft has one cell changed
        cell = tuple(random.integers(0, family.shape))
        drafts[row][cell] = (drafts[row][cell] + random.integers(1, family.values)) % family.values
    on_device = DevicePuzzles(family, puzzles, torch.device(device))
    rows = torch.arange(len(puzzles), device=device)
    verdict = on_device.solved(rows, torch.from_numpy(drafts.reshape(len(drafts), -1)).to(device)).cpu().numpy()
    assert np.array_equal(verdict, family.verify(puzzles, drafts))
    assert verdict[1::2].all()
    assert not verdict[::2].all()


def test_tokens_and_back(family_and_puzzles):
    family, puzzles = family_and_puzzles
    code = DevicePuzzles(family, puzzles, torch.device("cpu")).code
    answers = torch.from_numpy(puzzles.answers.reshape(len(puzzles), -1))
    tokens = code.tokens(answers)
    assert int(tokens.max()) < family.vocabulary
    logits = torch.nn.functional.one_hot(tokens, family.vocabulary).float()
    logits[..., 0] += 0.5  # the padding token is never an answer's
    assert torch.equal(code.draft(logits), answers)
