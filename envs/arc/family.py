"""ARC as a puzzle family, and puzzles made of ARC tasks.

Each test of a task is a puzzle: its input is the question, its output the answer, and the task's demonstrations are facts of
the puzzle. There are no rules to verify a draft by; only the answer tells.

Symmetries (the 8 dihedral transforms and the permutations of colours 1..9) act on whole canvases, on question, answer and
demonstrations alike. A rotation therefore moves a grid into another corner of the canvas, the same corner for every grid of
the puzzle; the grids' sizes, which a player has to find out, never enter. Outside stays outside, so a draft is right after a
symmetry exactly if it was right before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hrm_gym.envs.arc import rules
from hrm_gym.envs.arc.rules import COLOURS, MAX_SIZE, OUTSIDE, check_size, has_grid, to_canvas
from hrm_gym.envs.arc.tasks import ArcTask
from hrm_gym.envs.canonical import smallest_images
from hrm_gym.envs.errors import PuzzleError
from hrm_gym.envs.family import CellStyle, Family
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.symmetries import Symmetries, dihedral_cells

CHARACTERS = "0123456789."  # value 10, outside, is the dot
PALETTE = (  # the colours of the ARC web site, then a dark tone for outside that differs from black
    (0x00, 0x00, 0x00),
    (0x00, 0x74, 0xD9),
    (0xFF, 0x41, 0x36),
    (0x2E, 0xCC, 0x40),
    (0xFF, 0xDC, 0x00),
    (0xAA, 0xAA, 0xAA),
    (0xF0, 0x12, 0xBE),
    (0xFF, 0x85, 0x1B),
    (0x7F, 0xDB, 0xFF),
    (0x87, 0x0C, 0x25),
    (0x2E, 0x30, 0x3A),
)
DEMONSTRATION_FACTS = ("demo_questions", "demo_answers")


class ArcFamily(Family):
    """ARC on size x size canvases; values 0..9 are colours, 10 is outside the grid.

    Tokens: colour c is c + 2 and outside is 1, so the vocabulary has 12. The published HRM data mark a grid's lower and right
    border with EOS (1) and leave the rest PAD (0); here all of the outside carries the EOS token and PAD is never used.

    Facts of a puzzle: `task` int32[N]; `demo_questions`, `demo_answers` uint8[N, D, size, size], D >= 1, unused slots all
    outside; `demo_count` int32[N].

    Args:
        size: side of the canvas, 1..30; the tasks' grids have to fit (`load_tasks(max_size=size)`).

    Raises:
        ConfigError: a size out of range.
    """

    name = "arc"
    values = COLOURS + 1
    blank = OUTSIDE
    vocabulary = COLOURS + 2
    styles = tuple(CellStyle("", fill, character) for fill, character in zip(PALETTE, CHARACTERS, strict=True))
    box = None
    has_rules = False
    has_canonical_form = True

    def __init__(self, size: int = MAX_SIZE) -> None:
        self.size = check_size(size)
        self.shape = (self.size, self.size)
        self.tokens = np.array([*range(2, COLOURS + 2), 1], dtype=np.uint8)
        self._dihedral = dihedral_cells(self.size)

    # -- rules -----------------------------------------------------------------------------------------------------

    def verify(self, puzzles: Puzzles, drafts: np.ndarray) -> np.ndarray:
        """Which drafts (uint8[N, size, size]) equal their answer's canvas: bool[N]; see `hrm_gym.envs.arc.rules`.

        Raises:
            PuzzleError: drafts of the wrong shape, number or values.
        """
        return rules.verify(self.check_grids(drafts, "draft"), puzzles.answers)

    def is_solved(self, questions: Any, drafts: Any, answers: Any, facts: Mapping[str, Any]) -> Any:
        return rules.is_solved(drafts, answers)

    def figures(self, puzzles: Puzzles, drafts: np.ndarray) -> dict[str, np.ndarray]:
        """`cell_accuracy` float64[N], the share of the answer's grid cells that match (0 where the answer is not known), and
        `size_right` bool[N], whether exactly the answer's grid cells are coloured."""
        inside = puzzles.answers != OUTSIDE
        right = (inside & (drafts == puzzles.answers)).sum(axis=(1, 2))
        count = inside.sum(axis=(1, 2))
        same_size = ((drafts != OUTSIDE) == inside).all(axis=(1, 2)) & (count > 0)
        return {"cell_accuracy": right / np.maximum(count, 1), "size_right": same_size}

    def wrong_cells(self, puzzles: Puzzles, drafts: np.ndarray) -> np.ndarray:
        """Cells that differ from the answer: bool[N, size, size]."""
        return np.asarray(drafts != puzzles.answers)

    # -- puzzles ---------------------------------------------------------------------------------------------------

    def puzzles_from_questions(self, questions: np.ndarray) -> Puzzles:
        """Not possible for ARC: no rule leads from a question to its answer.

        Raises:
            PuzzleError: always.
        """
        raise PuzzleError(
            "an ARC question alone has no known answer; name a puzzle by its id '<task id>/<test index>' or its index, "
            "or make puzzles with hrm_gym.envs.arc.puzzles_from_tasks"
        )

    def puzzles_with_answers(self, questions: np.ndarray, answers: np.ndarray, ids: list[str], ratings: np.ndarray) -> Puzzles:
        """Puzzles as a file gives them. They have no demonstrations (one empty slot); `task` numbers the sorted distinct task
        names, the part of an id before its last "/".

        Raises:
            PuzzleError: a wrong shape or value, or a question or answer that is not one rectangle; names the first bad row.
        """
        questions, answers = self.check_grids(questions, "question"), self.check_grids(answers, "answer")
        for what, canvases in (("question", questions), ("answer", answers)):
            bad = np.flatnonzero(~has_grid(canvases))
            if len(bad):
                raise PuzzleError(
                    f"{what} {bad[0]} is not one full rectangle of colours 0..9 with outside ({OUTSIDE}) around it; repair that row"
                )
        _, task = np.unique(np.array([name.rsplit("/", 1)[0] for name in ids], dtype=str), return_inverse=True)
        empty = np.full((len(questions), 1, *self.shape), OUTSIDE, dtype=np.uint8)
        facts = {
            "task": task.reshape(-1).astype(np.int32),
            "demo_questions": empty,
            "demo_answers": empty.copy(),
            "demo_count": np.zeros(len(questions), dtype=np.int32),
        }
        return Puzzles(questions, answers, ids, np.asarray(ratings, dtype=np.float32), facts)

    def parse(self, text: str) -> np.ndarray:
        """One canvas as a line of size * size characters, row by row: '0'..'9' colours, '.' outside -> uint8[size, size].

        Raises:
            PuzzleError: wrong length or an unknown character.
        """
        text = text.strip()
        if len(text) != self.cells:
            raise PuzzleError(f"ARC canvas has {len(text)} characters; expected {self.cells} for {self.size} x {self.size}")
        grid = np.array([CHARACTERS.find(character) for character in text], dtype=np.int64)
        if (grid < 0).any():
            at = int(np.argmax(grid < 0))
            raise PuzzleError(f"ARC canvas has character {text[at]!r} at position {at}; expected '0'..'9' or '.' for outside")
        return grid.astype(np.uint8).reshape(self.shape)

    def format(self, grid: np.ndarray) -> str:
        """The inverse of `parse`: uint8[size, size] -> one line of size * size characters."""
        return "".join(CHARACTERS[value] for value in self.check_grids(grid, "grid")[0].ravel())

    # -- symmetries ------------------------------------------------------------------------------------------------

    def sample_symmetries(self, count: int, rng: np.random.Generator) -> Symmetries:
        """`count` of the 8 dihedral transforms of the whole canvas, each with a permutation of colours 1..9.

        Black (0) and outside (10) keep their value: in ARC black is the background.
        """
        cells = self._dihedral[rng.integers(len(self._dihedral), size=count)]
        values = Symmetries.identity(count, 0, self.values).values
        values[:, 1:COLOURS] = rng.permuted(values[:, 1:COLOURS], axis=1)
        return Symmetries(cells, values)

    def augment(self, puzzles: Puzzles, symmetries: Symmetries) -> Puzzles:
        """Symmetry i on puzzle i: on its question, its answer and all its demonstrations."""
        moved = super().augment(puzzles, symmetries)
        facts = dict(puzzles.facts)
        for name in DEMONSTRATION_FACTS:
            if name in facts:
                facts[name] = _apply_to_each(symmetries, facts[name])
        return Puzzles(moved.questions, moved.answers, moved.ids, moved.ratings, facts)

    def canonical(self, puzzles: Puzzles) -> tuple[np.ndarray, np.ndarray]:
        """The smallest image of each question and, on its own, of each answer.

        Images are those by the 8 dihedral transforms, shifts on the canvas and permutations of the colours 1..9. Each is
        shifted to the upper left corner and its colours are numbered in order of first appearance.
        """
        return self._smallest(puzzles.questions), self._smallest(puzzles.answers)

    def _smallest(self, grids: np.ndarray) -> np.ndarray:
        flat = self.check_grids(grids, "grid").reshape(len(grids), self.cells)
        return smallest_images(
            _colours_in_order(_in_corner(flat[:, cells].reshape(-1, *self.shape))) for cells in self._dihedral
        )

    def measurements(self, puzzles: Puzzles) -> dict[str, np.ndarray]:
        """`question_cells`, `answer_cells`: of the grids themselves; `colours`: different ones in the question."""
        return {
            "question_cells": (puzzles.questions != OUTSIDE).sum(axis=(1, 2)),
            "answer_cells": (puzzles.answers != OUTSIDE).sum(axis=(1, 2)),
            "colours": np.stack([(puzzles.questions == colour).any(axis=(1, 2)) for colour in range(COLOURS)]).sum(axis=0),
        }


def _apply_to_each(symmetries: Symmetries, grids: np.ndarray) -> np.ndarray:
    """Symmetry i on every one of the grids [i]: uint8[N, D, H, W] -> uint8[N, D, H, W]."""
    # one slot at a time: the index arrays stay as small as those of the questions
    return np.stack([symmetries.apply(grids[:, slot]) for slot in range(grids.shape[1])], axis=1)


def _in_corner(canvases: np.ndarray) -> np.ndarray:
    """Each grid shifted to the upper left corner of its canvas, uint8[N, H, W]."""
    _, height, width = canvases.shape
    inside = canvases != OUTSIDE
    top, left = inside.any(axis=2).argmax(axis=1), inside.any(axis=1).argmax(axis=1)
    rows = (top[:, None] + np.arange(height)) % height
    columns = (left[:, None] + np.arange(width)) % width
    return canvases[np.arange(len(canvases))[:, None, None], rows[:, :, None], columns[:, None, :]]


def _colours_in_order(canvases: np.ndarray) -> np.ndarray:
    """The colours 1..9 renamed in order of first appearance, row by row, uint8[N, H, W]; black and outside stay."""
    flat = canvases.reshape(len(canvases), -1)
    first = np.full((len(flat), COLOURS - 1), flat.shape[1])  # those that do not appear come last; their order tells nothing
    for colour in range(1, COLOURS):
        where = flat == colour
        shown = where.any(axis=1)
        first[shown, colour - 1] = where[shown].argmax(axis=1)
    names = Symmetries.identity(len(flat), 0, COLOURS + 1).values
    names[:, 1:COLOURS] = first.argsort(axis=1, kind="stable").argsort(axis=1) + 1
    return np.take_along_axis(names, flat.astype(np.intp), axis=1).reshape(canvases.shape)


def sample_translations(puzzles: Puzzles, rng: np.random.Generator) -> Symmetries:
    """For each puzzle a random shift that keeps its question, answer and demonstrations whole on the canvas.

    A shift is a cyclic roll that carries no grid over the edge, so it has an inverse like every symmetry. Which shifts are
    possible depends on the answer's size: use them to augment training puzzles, not at test time, where that would tell the
    player how large the answer is at most. They hold for the puzzles as given: apply other symmetries first, then draw these.
    """
    inside = (puzzles.questions != OUTSIDE) | (puzzles.answers != OUTSIDE)
    for name in DEMONSTRATION_FACTS:
        if name in puzzles.facts:
            inside |= (puzzles.facts[name] != OUTSIDE).any(axis=1)
    count, height, width = inside.shape
    shifts = []
    for side in (inside.any(axis=2), inside.any(axis=1)):
        before, after = side.argmax(axis=1), side[:, ::-1].argmax(axis=1)  # free lines on either side
        shifts.append(rng.integers(-before, after, endpoint=True)[:, None, None])
    y = (np.arange(height)[None, :, None] - shifts[0]) % height
    x = (np.arange(width)[None, None, :] - shifts[1]) % width
    values = Symmetries.identity(count, 0, COLOURS + 1).values
    return Symmetries((y * width + x).reshape(count, height * width).astype(np.int64), values)


# -- puzzles from tasks --------------------------------------------------------------------------------------------------------


def puzzles_from_tasks(
    tasks: Sequence[ArcTask], size: int = MAX_SIZE, demonstrations: int | None = None, need_answers: bool = True
) -> Puzzles:
    """One puzzle per test of each task, in order, with ids "<task id>/<test index>".

    The rating is the answer's number of cells. Facts: `task` int32[N], the index of the task in `tasks`; `demo_questions` and
    `demo_answers` uint8[N, D, size, size], unused slots all outside; `demo_count` int32[N].

    Args:
        tasks: at least one task, with different ids.
        size: side of the canvas, 1..30.
        demonstrations: D, the slots for demonstrations, at least 1; a task with more shows only its first D. Default: the most
            that any of the tasks has.
        need_answers: refuse tests whose output is not known. If False, such a test's answer is an empty canvas and its rating 0,
            and no draft is right there: enough to write a submission.

    Raises:
        PuzzleError: no tasks, a repeated id, a task that does not fit the canvas, no slot, or an output that is missing.
        ConfigError: `size` is not in 1..30.
    """
    rows = []
    for index, task in enumerate(tasks):
        for number, (question, answer) in enumerate(task.test):
            if answer is None and need_answers:
                raise PuzzleError(
                    f"task {task.id!r}, test {number} has no known output to verify a draft by; "
                    "load the tasks with their solutions, or make the puzzles with need_answers=False"
                )
            rows.append((index, f"{task.id}/{number}", question, answer))
    return _assemble(tasks, size, demonstrations, rows)


def demonstration_puzzles(tasks: Sequence[ArcTask], size: int = MAX_SIZE, demonstrations: int | None = None) -> Puzzles:
    """One puzzle per demonstration of each task, in order, with ids "<task id>/demo<k>": what a network is trained on.

    Facts and arguments are those of `puzzles_from_tasks`. A puzzle's own pair is among its demonstrations: fit for a network
    that sees only the question and the task's index, as HRM does; one that reads the demonstrations would find the answer there.

    Raises:
        PuzzleError: no tasks, a repeated id, a task that does not fit the canvas, or no slot.
        ConfigError: `size` is not in 1..30.
    """
    rows = [
        (index, f"{task.id}/demo{number}", question, answer)
        for index, task in enumerate(tasks)
        for number, (question, answer) in enumerate(task.train)
    ]
    return _assemble(tasks, size, demonstrations, rows)


def _assemble(
    tasks: Sequence[ArcTask],
    size: int,
    demonstrations: int | None,
    rows: Sequence[tuple[int, str, np.ndarray, np.ndarray | None]],
) -> Puzzles:
    """Puzzles from (task index, id, question, answer) rows."""
    size = check_size(size)
    if not rows:
        raise PuzzleError("there are no ARC tasks to make puzzles of; expected at least one")
    seen: set[str] = set()
    for task in tasks:
        if task.id in seen:
            raise PuzzleError(f"task {task.id!r} is given twice; ids have to differ")
        seen.add(task.id)
        if task.size > size:
            raise PuzzleError(
                f"task {task.id!r} needs size {task.size}, more than {size}; load_tasks(max_size={size}) leaves it out"
            )
    slots = max(len(task.train) for task in tasks) if demonstrations is None else demonstrations
    if slots < 1:
        raise PuzzleError(f"demonstrations is {demonstrations}; expected at least 1 slot")
    demo_questions = np.full((len(tasks), slots, size, size), OUTSIDE, dtype=np.uint8)
    demo_answers = demo_questions.copy()
    demo_count = np.zeros(len(tasks), dtype=np.int32)
    for index, task in enumerate(tasks):
        shown = task.train[:slots]
        demo_count[index] = len(shown)
        demo_questions[index, : len(shown)] = to_canvas([question for question, _ in shown], size)
        demo_answers[index, : len(shown)] = to_canvas([answer for _, answer in shown], size)
    task_of = np.array([index for index, _, _, _ in rows], dtype=np.int32)
    answers = np.full((len(rows), size, size), OUTSIDE, dtype=np.uint8)
    known = [row for row, (_, _, _, answer) in enumerate(rows) if answer is not None]
    answers[known] = to_canvas([answer for _, _, _, answer in rows if answer is not None], size)
    return Puzzles(
        to_canvas([question for _, _, question, _ in rows], size),
        answers,
        [name for _, name, _, _ in rows],
        (answers != OUTSIDE).sum(axis=(1, 2)).astype(np.float32),
        {
            "task": task_of,
            "demo_questions": demo_questions[task_of],
            "demo_answers": demo_answers[task_of],
            "demo_count": demo_count[task_of],
        },
    )
