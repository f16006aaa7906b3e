"""`Family`: what one kind of puzzle must bring. The episode, the vector episode, the drawing and the training are
written once against this interface; a family is a folder with its rules, its generator and one subclass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hrm_gym.envs.errors import PuzzleError
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.symmetries import Symmetries


@dataclass(frozen=True)
class CellStyle:
    """How one value is drawn: `text` in the cell (may be empty), `fill` colour RGB 0..255 and the character of the text picture."""

    text: str
    fill: tuple[int, int, int]
    character: str


class Family(ABC):
    """One kind of puzzle at one size. All methods work on batches; a family object holds no randomness and no puzzles.

    Attributes:
        name: the family's short name, "sudoku", "maze" or "arc".
        shape: (H, W) of question, draft and answer.
        values: V; a grid value is 0..V-1.
        blank: the value that a player fills in (Sudoku 0; maze 1, open; ARC 10, outside); it is how an empty draft looks.
        tokens: uint8[V], the network's token of each value, as in the published HRM data (Sudoku and maze: value + 1).
        vocabulary: number of tokens of the published encoding (Sudoku 9 x 9: 11, maze: 6, ARC: 12).
        styles: V `CellStyle`s.
        box: (rows, columns) between thick grid lines, or None.
        has_rules: True if a draft can be verified without the answer (Sudoku, maze).
        has_canonical_form: True if `canonical` can be asked (not 16 x 16 Sudoku).
    """

    name: str
    shape: tuple[int, int]
    values: int
    blank: int
    tokens: np.ndarray
    vocabulary: int
    styles: tuple[CellStyle, ...]
    box: tuple[int, int] | None = None
    has_rules: bool = True
    has_canonical_form: bool = False

    @property
    def cells(self) -> int:
        """Number of cells of a grid, H * W."""
        return self.shape[0] * self.shape[1]

    # -- rules -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def verify(self, puzzles: Puzzles, drafts: np.ndarray) -> np.ndarray:
        """Which drafts (uint8[N, H, W]) solve their puzzle: bool[N]. Uses rules, not the stored answer, where has_rules."""

    @abstractmethod
    def is_solved(self, questions: Any, drafts: Any, answers: Any, facts: Mapping[str, Any]) -> Any:
        """The same check in operations that NumPy arrays and torch tensors share, for use on a device: bool[N].

        `questions`, `drafts` and `answers` are integer arrays or tensors [N, H, W] of 32 bits or more; `facts` holds the
        puzzles' facts as arrays or tensors [N, ...]. Only operators, indexing by slices, reshape, `.sum(axes)`, `.all(axis)`
        and the like may be used: no NumPy function, no index tables, no data-dependent branch.
        """

    @abstractmethod
    def figures(self, puzzles: Puzzles, drafts: np.ndarray) -> dict[str, np.ndarray]:
        """Family figures for `info`, each an array [N] that gives nothing of the answer away cell by cell."""

    @abstractmethod
    def wrong_cells(self, puzzles: Puzzles, drafts: np.ndarray) -> np.ndarray:
        """Cells to draw as wrong, bool[N, H, W]: what breaks a rule (Sudoku, maze) or differs from the answer (ARC)."""

    # -- puzzles ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def puzzles_from_questions(self, questions: np.ndarray) -> Puzzles:
        """Puzzles from bare questions uint8[N, H, W]: checks them, solves them, rates them, computes the facts.

        Raises:
            PuzzleError: wrong shape or value, or a puzzle with no or (Sudoku) several solutions; names the first bad one.
        """

    @abstractmethod
    def puzzles_with_answers(self, questions: np.ndarray, answers: np.ndarray, ids: list[str], ratings: np.ndarray) -> Puzzles:
        """Puzzles as a file gives them; checks shape, range and that the answers are verified, computes the facts.

        Raises:
            PuzzleError: names the first bad row.
        """

    @abstractmethod
    def parse(self, text: str) -> np.ndarray:
        """One question or answer as text (row by row, the published files' characters) -> uint8[H, W].

        Raises:
            PuzzleError: wrong length or an unknown character.
        """

    @abstractmethod
    def format(self, grid: np.ndarray) -> str:
        """The inverse of `parse`: uint8[H, W] -> one line of text."""

    # -- symmetries ------------------------------------------------------------------------------------------------

    @abstractmethod
    def sample_symmetries(self, count: int, rng: np.random.Generator) -> Symmetries:
        """`count` random symmetries of the family. Any row of `cells` may be combined with any row of `values`."""

    def augment(self, puzzles: Puzzles, symmetries: Symmetries) -> Puzzles:
        """Symmetry i on puzzle i; the facts of a puzzle do not change under its family's symmetries."""
        return Puzzles(
            symmetries.apply(puzzles.questions),
            symmetries.apply(puzzles.answers),
            puzzles.ids,
            puzzles.ratings,
            puzzles.facts,
        )

    def canonical(self, puzzles: Puzzles) -> tuple[np.ndarray, np.ndarray]:
        """One form for all images of a grid: canonical questions and canonical answers, uint8[N, H, W] each.

        Two canonical questions are equal exactly if the puzzles' questions are images of each other under the family's
        symmetries (Sudoku: given that each has one solution); two canonical answers likewise.

        Raises:
            PuzzleError: there is no such form (`has_canonical_form`), or a grid that does not fit.
        """
        height, width = self.shape
        raise PuzzleError(
            f"{self.name} of {height} x {width} has no canonical form; duplicates can only be sought cell by cell"
        )

    def measurements(self, puzzles: Puzzles) -> dict[str, np.ndarray]:
        """Figures that describe the puzzles (Sudoku: clues), each a name and whole numbers [N], for the tables of a data set."""
        return {}

    # -- shared checks ---------------------------------------------------------------------------------------------

    def check_grids(self, grids: Any, what: str = "question") -> np.ndarray:
        """`grids` as uint8[N, H, W] (one grid [H, W] becomes a batch of one).

        Raises:
            PuzzleError: a shape or value that does not fit the family; names it.
        """
        array = np.asarray(grids)
        if array.dtype == object or not (np.issubdtype(array.dtype, np.integer) or array.dtype == bool):
            raise PuzzleError(f"{what} has dtype {array.dtype}; expected whole numbers 0..{self.values - 1}")
        if array.ndim == 2:
            array = array[None]
        if array.ndim != 3 or array.shape[1:] != self.shape:
            height, width = self.shape
            raise PuzzleError(f"{what} has shape {np.asarray(grids).shape}; expected {height} x {width} cells of {self.name}")
        if array.size and (array.min() < 0 or array.max() >= self.values):
            row, y, x = np.argwhere((array < 0) | (array >= self.values))[0]
            raise PuzzleError(
                f"{what} {row} has value {array[row, y, x]} at row {y}, column {x}; {self.name} takes 0..{self.values - 1}"
            )
        return array.astype(np.uint8)
