"""Versions of ARC tasks: a task under many symmetries, no two versions alike, each known to the network by its own index.

HRM sees of a task only its index, a row of the puzzle embedding. A version is a task of its own to it: every demonstration and every test
of the task under one dihedral transform and one permutation of the colours 1..9. Training sees the demonstrations of all versions; a test
is then answered in every version, the answers are brought back, and they vote (`agents.arc_voting`).

Test outputs are never looked at here: not for counting versions as equal, not for placing a grid on its canvas.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hrm_gym.envs.arc.family import ArcFamily, demonstration_puzzles, puzzles_from_tasks, sample_translations
from hrm_gym.envs.arc.rules import COLOURS, check_size
from hrm_gym.envs.arc.tasks import ArcTask
from hrm_gym.envs.errors import ConfigError, PuzzleError
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.symmetries import Symmetries, dihedral_cells

MOST_AUGMENTATIONS = 1000  # per task, as published
TRIES = 5  # symmetries drawn for each one wanted, before a task counts as having no further versions


@dataclass(frozen=True)
class Versions:
    """Versions of T tasks on canvases of `size` x `size`.

    Row `task * per_task + k` is version k of a task, and its row of the puzzle embedding. Version 0 is the task as it is.

    Attributes:
        size: side of the canvas.
        per_task: rows of each task.
        turns: int64[T * per_task], which of the 8 dihedral transforms (`envs.symmetries.dihedral_cells`).
        values: uint8[T * per_task, 11], what each value is written as.
        used: bool[T * per_task]. A task with few different versions (few colours, symmetric grids) leaves its last rows unused.
    """

    size: int
    per_task: int
    turns: np.ndarray
    values: np.ndarray
    used: np.ndarray

    def __len__(self) -> int:
        return int(self.used.sum())

    def symmetries(self, rows: np.ndarray) -> Symmetries:
        """The symmetries at `rows`, integers [N]."""
        return Symmetries(dihedral_cells(self.size)[self.turns[rows]], self.values[rows])

    def of(self, puzzles: Puzzles) -> Puzzles:
        """Every version of every puzzle, version by version; `puzzles` have the fact `task`, an index into the tasks.

        The copies keep only the facts of one number, and have one more, `puzzle_id` int64: the version's row.
        """
        facts = {name: values for name, values in puzzles.facts.items() if values.ndim == 1}
        plain = Puzzles(puzzles.questions, puzzles.answers, puzzles.ids, puzzles.ratings, facts)
        family = ArcFamily(self.size)
        first = facts["task"].astype(np.int64) * self.per_task
        copies = []
        for version in range(self.per_task):
            rows = first + version
            here = np.flatnonzero(self.used[rows])
            if not len(here):  # no task has as many versions
                break
            copy = family.augment(plain.take(here), self.symmetries(rows[here]))
            copies.append(
                Puzzles(copy.questions, copy.answers, copy.ids, copy.ratings, {**copy.facts, "puzzle_id": rows[here]})
            )
        return Puzzles.join(copies)


def task_versions(tasks: Sequence[ArcTask], size: int, augmentations: int, rng: np.random.Generator) -> Versions:
    """Each task as it is and up to `augmentations` further versions of it, no two with the same grids.

    Args:
        tasks: at least one.
        size: side of the canvas, 1..30.
        augmentations: 0..1000.
        rng: each task has its own stream of it, so that its versions do not depend on the other tasks' grids.

    Raises:
        ConfigError: a number out of range.
        PuzzleError: no tasks.
    """
    size = check_size(size)
    if not 0 <= augmentations <= MOST_AUGMENTATIONS:
        raise ConfigError(
            f"augmentations is {augmentations}; expected 0 to {MOST_AUGMENTATIONS} versions beside the task itself"
        )
    if not tasks:
        raise PuzzleError("there are no ARC tasks to make versions of; expected at least one")
    per_task = augmentations + 1
    turns = np.zeros((len(tasks), per_task), dtype=np.int64)
    values = np.tile(np.arange(COLOURS + 1, dtype=np.uint8), (len(tasks), per_task, 1))
    used = np.zeros((len(tasks), per_task), dtype=bool)
    for number, (task, stream) in enumerate(zip(tasks, rng.spawn(len(tasks)), strict=True)):
        content = _Content(task)
        tries = TRIES * augmentations
        drawn_turns = np.concatenate([[0], stream.integers(8, size=tries)])
        drawn_values = np.tile(np.arange(COLOURS + 1, dtype=np.uint8), (1 + tries, 1))
        drawn_values[1:, 1:COLOURS] = stream.permuted(drawn_values[1:, 1:COLOURS], axis=1)
        seen: set[bytes] = set()
        for turn, colours in zip(drawn_turns, drawn_values, strict=True):
            if len(seen) == per_task:
                break
            digest = content.digest(int(turn), colours)
            if digest not in seen:
                turns[number, len(seen)], values[number, len(seen)] = turn, colours
                seen.add(digest)
        used[number, : len(seen)] = True
    return Versions(size, per_task, turns.reshape(-1), values.reshape(-1, COLOURS + 1), used.reshape(-1))


class _Content:
    """A task's grids, demonstrations and test inputs, under each dihedral transform as bytes: renaming colours is then a table look-up."""

    def __init__(self, task: ArcTask) -> None:
        grids = [grid for pair in task.train for grid in pair] + [question for question, _ in task.test]
        self.shapes, self.cells = [], []
        for turn in range(8):
            turned = [turn_grid(grid, turn) for grid in grids]
            self.shapes.append(repr([grid.shape for grid in turned]).encode())
            self.cells.append(b"".join(grid.tobytes() for grid in turned))

    def digest(self, turn: int, values: np.ndarray) -> bytes:
        table = bytes(values) + bytes(range(len(values), 256))
        return hashlib.blake2b(self.shapes[turn] + self.cells[turn].translate(table), digest_size=16).digest()


def turn_grid(grid: np.ndarray, turn: int) -> np.ndarray:
    """The grid under dihedral transform `turn`, numbered as in `envs.symmetries.dihedral_cells`: uint8[h, w] or uint8[w, h]."""
    return np.ascontiguousarray(np.rot90(grid if turn < 4 else grid.T, turn % 4))


def training_puzzles(
    tasks: Sequence[ArcTask], versions: Versions, rng: np.random.Generator | None, slots: int | None = 1
) -> Puzzles:
    """What a network is trained on: the demonstrations of every version. Tests are not in it, neither input nor output.

    Args:
        rng: shifts all demonstrations of a version but one at random on the canvas, question and answer alike, as published; the one
            that stays shows where the tests lie. None: no shifts.
    """
    copies = versions.of(demonstration_puzzles(tasks, versions.size, slots))
    if rng is None:
        return copies
    ids = copies.facts["puzzle_id"]
    order = np.lexsort((rng.random(len(ids)), ids))  # the first of each version in this order stays
    moves = np.ones(len(ids), dtype=bool)
    moves[order[np.unique(ids[order], return_index=True)[1]]] = False
    questions, answers = copies.questions.copy(), copies.answers.copy()
    for rows in np.array_split(np.flatnonzero(moves), len(ids) // 4096 + 1):
        part = copies.take(rows)
        shifts = sample_translations(part, rng)
        questions[rows], answers[rows] = shifts.apply(part.questions), shifts.apply(part.answers)
    return Puzzles(questions, answers, copies.ids, copies.ratings, copies.facts)


def hide_answers(tasks: Sequence[ArcTask]) -> list[ArcTask]:
    """The tasks without their tests' outputs: all that an agent may be given before it is scored."""
    return [ArcTask(task.id, task.train, tuple((question, None) for question, _ in task.test)) for task in tasks]


def hidden_tests(tasks: Sequence[ArcTask], size: int) -> Puzzles:
    """The tests of `tasks` as puzzles without answers, ids "<task id>/<number of the test>"."""
    return puzzles_from_tasks(hide_answers(tasks), size, 1, need_answers=False)
