"""`MazeFamily`: square mazes of one size, for the episodes, the drawing and the training."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

from hrm_gym.envs.canonical import smallest_images
from hrm_gym.envs.errors import ConfigError, PuzzleError
from hrm_gym.envs.family import CellStyle, Family
from hrm_gym.envs.maze.generator import SMALLEST
from hrm_gym.envs.maze.rules import is_solved, path_neighbours, verify
from hrm_gym.envs.maze.solver import GOAL, OPEN, PATH, START, WALL, shortest_path_lengths, solve
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.symmetries import Symmetries, dihedral_cells

CHARACTERS = "# SGo"  # of the values 0..4, as in the published Maze-Hard files


class MazeFamily(Family):
    """Mazes of size x size cells with values 0 wall, 1 open, 2 start, 3 goal, 4 path; four-neighbour moves.

    A draft is solved if it equals the question except that the open cells of a shortest path are marked 4; any shortest
    path will do. The fact `optimum`, int32[N], is the number of moves of a shortest path.

    Args:
        size: cells on a side, 3 or more.

    Raises:
        ConfigError: a smaller size.
    """

    name = "maze"
    values = 5
    blank = OPEN
    has_canonical_form = True
    vocabulary = 6  # token 0 is the published data's padding
    styles = (
        CellStyle("", (38, 42, 51), CHARACTERS[WALL]),
        CellStyle("", (244, 243, 238), CHARACTERS[OPEN]),
        CellStyle("S", (102, 187, 106), CHARACTERS[START]),
        CellStyle("G", (239, 108, 84), CHARACTERS[GOAL]),
        CellStyle("", (92, 155, 224), CHARACTERS[PATH]),
    )

    def __init__(self, size: int) -> None:
        self.size = operator.index(size)
        if self.size < SMALLEST:
            raise ConfigError(f"maze size is {size}; expected {SMALLEST} or more cells on a side")
        self.shape = (self.size, self.size)
        self.tokens = np.arange(1, self.values + 1, dtype=np.uint8)
        self._dihedral = dihedral_cells(self.size)

    # -- rules -----------------------------------------------------------------------------------------------------

    def verify(self, puzzles: Puzzles, drafts: np.ndarray) -> np.ndarray:
        return verify(puzzles.questions, self.check_grids(drafts, "draft"), puzzles.facts["optimum"])

    def is_solved(self, questions: Any, drafts: Any, answers: Any, facts: Mapping[str, Any]) -> Any:
        return is_solved(questions, drafts, facts["optimum"])

    def figures(self, puzzles: Puzzles, drafts: np.ndarray) -> dict[str, np.ndarray]:
        """Three figures for each draft.

        `path_length`, int32: the moves that a path over all marked cells would take, the number of cells marked 4 (wherever
        they are) plus 1; in a right draft it equals `optimum`. `optimum`, int32: the moves of a shortest path. `connected`,
        bool: whether start and goal of the question are joined by marked open cells, leaving all other marks aside.
        """
        drafts = self.check_grids(drafts, "draft")
        marked = drafts == PATH
        only_marks = np.where((puzzles.questions == OPEN) & ~marked, np.uint8(WALL), puzzles.questions)
        return {
            "path_length": marked.sum(axis=(1, 2), dtype=np.int32) + np.int32(1),
            "optimum": puzzles.facts["optimum"],
            "connected": shortest_path_lengths(only_marks) >= 0,
        }

    def wrong_cells(self, puzzles: Puzzles, drafts: np.ndarray) -> np.ndarray:
        """Cells that change the question other than by marking an open cell, and cells where the path is not a plain line.

        Of the latter kind is a start or goal that does not touch just one path cell, and a marked open cell that does not touch
        just two. A draft can be without wrong cells and still be too long; it cannot be right with one.
        """
        questions, drafts = puzzles.questions, self.check_grids(drafts, "draft")
        marked = (questions == OPEN) & (drafts == PATH)
        ends = (questions == START) | (questions == GOAL)
        touching = path_neighbours((marked | ends).astype(np.uint8))
        changed = (drafts != questions) & ~marked
        return changed | (marked & (touching != 2)) | (ends & (touching != 1))

    # -- puzzles ---------------------------------------------------------------------------------------------------

    def puzzles_from_questions(self, questions: np.ndarray) -> Puzzles:
        """Puzzles from bare questions uint8[N, size, size], values 0..3: solved, rated by the length of the shortest path.

        Raises:
            PuzzleError: wrong shape or value, not exactly one start and one goal, or no path; names the first bad one.
        """
        questions = self.check_grids(questions)
        answers = solve(questions)
        optimum = shortest_path_lengths(questions)
        ids = [f"maze-{self.size}x{self.size}-given-{row}" for row in range(len(questions))]
        return Puzzles(questions, answers, ids, optimum.astype(np.float32), {"optimum": optimum})

    def puzzles_with_answers(self, questions: np.ndarray, answers: np.ndarray, ids: list[str], ratings: np.ndarray) -> Puzzles:
        """Puzzles as a file gives them; every answer must be a shortest path.

        Raises:
            PuzzleError: wrong shape or value, not exactly one start and one goal, no path, or an answer that is no shortest
                path; names the first bad row.
        """
        questions, answers = self.check_grids(questions), self.check_grids(answers, "answer")
        if len(questions) != len(answers):
            raise PuzzleError(f"there are {len(answers)} answers for {len(questions)} questions; give one for each puzzle")
        optimum = shortest_path_lengths(questions)
        right = verify(questions, answers, optimum)
        if not right.all():
            row = int(np.argmin(right))
            raise PuzzleError(f"answer {row} {self._fault(questions[row], answers[row], int(optimum[row]))}")
        return Puzzles(questions, answers, ids, np.asarray(ratings, np.float32), {"optimum": optimum})

    @staticmethod
    def _fault(question: np.ndarray, answer: np.ndarray, optimum: int) -> str:
        """What is wrong with an answer that is not right."""
        if optimum < 0:
            return "cannot be right, its question has no path from start to goal; leave the row out"
        for y, x in np.argwhere((answer != question) & ~((question == OPEN) & (answer == PATH)))[:1]:
            return (
                f"has value {answer[y, x]} where the question has {question[y, x]}, at row {y}, column {x}; "
                f"an answer only marks open cells (1) as path (4)"
            )
        return (
            f"is no shortest path: it marks {int((answer == PATH).sum())} cells; "
            f"expected {optimum - 1} in a line from start to goal, {optimum} moves"
        )

    def parse(self, text: str) -> np.ndarray:
        """One maze as text, row by row: '#' wall, ' ' open, 'S' start, 'G' goal, 'o' path -> uint8[size, size].

        Line ends are skipped, so that a drawn maze can be given; all other characters count, blanks above all.

        Raises:
            PuzzleError: wrong length or an unknown character.
        """
        line = text.replace("\r", "").replace("\n", "")
        if len(line) != self.cells:
            raise PuzzleError(
                f"maze text has {len(line)} characters; expected {self.size} x {self.size} = {self.cells}, "
                f"the blanks of open cells included"
            )
        values = [CHARACTERS.find(character) for character in line]
        if -1 in values:
            cell = values.index(-1)
            raise PuzzleError(f"maze text has {line[cell]!r} at character {cell}; expected only the characters {CHARACTERS!r}")
        return np.array(values, dtype=np.uint8).reshape(self.shape)

    def format(self, grid: np.ndarray) -> str:
        """The inverse of `parse`: uint8[size, size] -> one line of text.

        Raises:
            PuzzleError: wrong shape or value.
        """
        return "".join(CHARACTERS[value] for value in self.check_grids(grid, "grid")[0].reshape(-1))

    # -- symmetries ------------------------------------------------------------------------------------------------

    def sample_symmetries(self, count: int, rng: np.random.Generator) -> Symmetries:
        """`count` of the 8 rotations and reflections, each with the same chance; values stay."""
        cells = self._dihedral[rng.integers(len(self._dihedral), size=count)]
        return Symmetries(cells, np.tile(np.arange(self.values, dtype=np.uint8), (count, 1)))

    def canonical(self, puzzles: Puzzles) -> tuple[np.ndarray, np.ndarray]:
        """The smallest of the 8 images of each question and, on its own, of each answer."""
        return self._smallest(puzzles.questions), self._smallest(puzzles.answers)

    def _smallest(self, grids: np.ndarray) -> np.ndarray:
        flat = self.check_grids(grids, "grid").reshape(len(grids), self.cells)
        return smallest_images(flat[:, cells].reshape(-1, *self.shape) for cells in self._dihedral)

    def measurements(self, puzzles: Puzzles) -> dict[str, np.ndarray]:
        """`path_length`: moves of a shortest path; `walls`: wall cells."""
        return {"path_length": puzzles.facts["optimum"], "walls": (puzzles.questions == WALL).sum(axis=(1, 2))}
