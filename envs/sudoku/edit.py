"""`HRM-SudokuEdit-v0`: a Sudoku filled in one cell at a time."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from gymnasium import spaces
from numba import njit

from hrm_gym.envs.edit import Boards, EditEnv, check_choice
from hrm_gym.envs.episode import at_least_one
from hrm_gym.envs.errors import PuzzleError
from hrm_gym.envs.family import Family
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.registry import sudoku
from hrm_gym.envs.sources import Source
from hrm_gym.envs.sudoku.rules import box_shape

REWARDS = ("verified", "dense")
MASKS = ("legal", "consistent")

# -- moves -------------------------------------------------------------------------------------------------------------
# Cells are numbered row by row; units are the rows 0..n-1, the columns n..2n-1 and the boxes 2n..3n-1. So that neither a move nor
# a verdict looks at a whole grid, a board keeps counts[unit, v], how often value v stands in a unit, and crowded[unit], how
# many values stand there more than once.


@lru_cache(maxsize=8)
def _tables(size: int) -> tuple[np.ndarray, np.ndarray]:
    """The cells of each unit, int64[3 n, n], and the three units of each cell, int64[n * n, 3]."""
    box_rows, box_columns = box_shape(size)
    row, column = np.divmod(np.arange(size * size), size)
    units = np.stack([row, size + column, 2 * size + row // box_rows * box_rows + column // box_columns], axis=1)
    cells = np.stack([np.flatnonzero((units == unit).any(axis=1)) for unit in range(3 * size)])
    return cells, units


@njit(cache=True, nogil=True)
def _stands(value: int, cell: int, counts: np.ndarray, units: np.ndarray) -> bool:
    """Whether a value stands in a unit of the cell."""
    return counts[units[cell, 0], value] + counts[units[cell, 1], value] + counts[units[cell, 2], value] > 0


@njit(cache=True, nogil=True)
def _begin(
    rows: np.ndarray,
    questions: np.ndarray,
    counts: np.ndarray,
    crowded: np.ndarray,
    masks: np.ndarray,
    blanks: np.ndarray,
    broken: np.ndarray,
    units: np.ndarray,
    consistent: bool,
) -> None:
    cells, n = questions.shape[1], counts.shape[2] - 1
    for i in rows:
        question, count, mask = questions[i], counts[i], masks[i]
        count[:] = 0
        crowded[i] = 0
        blanks[i] = broken[i] = 0
        for cell in range(cells):
            value = question[cell]
            blanks[i] += value == 0
            for k in range(3):
                unit = units[cell, k]
                count[unit, value] += 1
                if value and count[unit, value] == 2:
                    broken[i] += crowded[i, unit] == 0
                    crowded[i, unit] += 1
        for cell in range(cells):
            for value in range(1, n + 1):
                mask[cell * n + value - 1] = question[cell] == 0 and not (consistent and _stands(value, cell, count, units))
        mask[cells * n :] = False  # nothing to erase yet
        mask[-1] = not consistent or blanks[i] == 0


@njit(cache=True, nogil=True)
def _write(
    cell: int,
    value: int,
    question: np.ndarray,
    draft: np.ndarray,
    count: np.ndarray,
    crowded: np.ndarray,
    mask: np.ndarray,
    cells_of: np.ndarray,
    units: np.ndarray,
    consistent: bool,
) -> int:
    """Puts `value` (0: blank) in the place of another one on one board, and brings counts and mask up to date.

    Returns by how much the number of units in which a value stands twice has grown.
    """
    cells, n = len(question), count.shape[1] - 1
    old = draft[cell]
    draft[cell] = value
    mask[cells * n + cell] = value != 0
    if not consistent:
        if old:
            mask[cell * n + old - 1] = True
        if value:
            mask[cell * n + value - 1] = False
    newly_broken = 0
    for k in range(3):
        unit = units[cell, k]
        newly_broken -= crowded[unit] > 0
        if old:
            crowded[unit] -= count[unit, old] == 2
            count[unit, old] -= 1
        if value:
            count[unit, value] += 1
            crowded[unit] += count[unit, value] == 2
        newly_broken += crowded[unit] > 0
    if consistent:
        for k in range(3):
            unit = units[cell, k]
            if old and count[unit, old] == 0:
                for other in cells_of[unit]:
                    mask[other * n + old - 1] = question[other] == 0 and not _stands(old, other, count, units)
            if value and count[unit, value] == 1:
                for other in cells_of[unit]:
                    mask[other * n + value - 1] = False
    return newly_broken


@njit(cache=True, nogil=True)
def _move(
    actions: np.ndarray,
    active: np.ndarray,
    questions: np.ndarray,
    drafts: np.ndarray,
    counts: np.ndarray,
    crowded: np.ndarray,
    masks: np.ndarray,
    blanks: np.ndarray,
    blanks_given: np.ndarray,
    broken: np.ndarray,
    last_cells: np.ndarray,
    submitted: np.ndarray,
    verified: np.ndarray,
    rewards: np.ndarray,
    cells_of: np.ndarray,
    units: np.ndarray,
    consistent: bool,
    dense: bool,
    auto_submit: bool,
) -> int:
    cells, n = questions.shape[1], counts.shape[2] - 1
    submit = cells * n + cells
    for i in range(len(actions)):
        if active[i] and not 0 <= actions[i] <= submit:
            return i
    for i in range(len(actions)):
        submitted[i] = verified[i] = False
        rewards[i] = 0.0
        if not active[i]:
            continue
        action = actions[i]
        missing = blanks[i] + broken[i]
        last_cells[i] = -1
        submitted[i] = action == submit
        if action < submit:
            if action < cells * n:
                cell, value = action // n, action % n + 1
            else:
                cell, value = action - cells * n, 0
            last_cells[i] = cell
            old = drafts[i, cell]
            if questions[i, cell] == 0 and old != value:
                broken[i] += _write(
                    cell,
                    value,
                    questions[i],
                    drafts[i],
                    counts[i],
                    crowded[i],
                    masks[i],
                    cells_of,
                    units,
                    consistent,
                )
                blanks[i] += np.int64(value == 0) - np.int64(old == 0)
                masks[i, submit] = not consistent or blanks[i] == 0
                submitted[i] = auto_submit and blanks[i] == 0
        verified[i] = submitted[i] and blanks[i] == 0 and broken[i] == 0
        rewards[i] = verified[i]
        if dense:
            rewards[i] += (missing - blanks[i] - broken[i]) / max(blanks_given[i], 1)
    return -1


class SudokuBoards(Boards):
    """Sudokus being filled in; see `SudokuEditEnv` for the rules and the settings.

    Attributes:
        blanks: int64[N], cells of the draft that are blank.
        broken: int64[N], rows, columns and boxes in which a value stands twice.

    Raises:
        ConfigError: a setting outside its range.
    """

    def __init__(
        self,
        family: Family,
        source: Source,
        count: int,
        max_steps: int | None = None,
        attempts: int = 1,
        step_cost: float = 0.0,
        reward: str = "verified",
        mask: str = "legal",
        auto_submit: bool = False,
    ) -> None:
        n = family.shape[0]
        super().__init__(family, source, count, 3 * n * n if max_steps is None else max_steps, attempts, step_cost)
        self._dense = check_choice("reward", reward, REWARDS) == "dense"
        self._consistent = check_choice("mask", mask, MASKS) == "consistent"
        self._auto_submit = bool(auto_submit)
        self.single_action_space = spaces.Discrete(n * n * n + n * n + 1)
        self.masks = np.ones((count, n * n * n + n * n + 1), bool)
        self.blanks, self.broken, self._blanks_given, self._last_cells = np.zeros((4, count), np.int64)
        self._counts = np.zeros((count, 3 * n, n + 1), np.uint8)
        self._crowded = np.zeros((count, 3 * n), np.uint8)
        self._cells_of, self._units = _tables(n)

    def _begin(self, rows: np.ndarray) -> None:
        _begin(
            rows,
            self._flat(self.questions),
            self._counts,
            self._crowded,
            self.masks,
            self.blanks,
            self.broken,
            self._units,
            self._consistent,
        )
        self._blanks_given[rows] = self.blanks[rows]
        self._last_cells[rows] = -1

    def _move(self, actions: np.ndarray, active: np.ndarray) -> int:
        return _move(
            actions,
            active,
            self._flat(self.questions),
            self._flat(self.drafts),
            self._counts,
            self._crowded,
            self.masks,
            self.blanks,
            self._blanks_given,
            self.broken,
            self._last_cells,
            self.submitted,
            self.verified,
            self.rewards,
            self._cells_of,
            self._units,
            self._consistent,
            self._dense,
            self._auto_submit,
        )

    def _flat(self, grids: np.ndarray) -> np.ndarray:
        return grids.reshape(self.count, -1)

    def figures(self) -> dict[str, tuple[np.ndarray, bool]]:
        return {
            "attempts_left": (self.attempts_left, True),
            "blanks": (self.blanks, True),
            "broken_rules": (self.broken, True),
        }

    def solution(self, row: int) -> np.ndarray:
        assert self.puzzles is not None
        n, cells = self.family.shape[0], self.family.cells
        draft, answer = self.drafts[row].reshape(-1), self.puzzles.answers[row].reshape(-1).astype(np.int64)
        wrong, blank = np.flatnonzero((draft != 0) & (draft != answer)), np.flatnonzero(draft == 0)
        erase = blank[:0]
        if self._auto_submit and len(blank) == 0:  # a full grid would be submitted at every change but the last
            wrong, erase = wrong[:1], wrong[1:]
        todo = np.concatenate([wrong, blank, erase])  # so that the grid is full at the very end
        actions = np.concatenate([cells * n + erase, todo * n + answer[todo] - 1])
        return actions if self._auto_submit and len(actions) else np.append(actions, cells * n + cells)

    def cursor(self, row: int) -> tuple[int, int] | None:
        cell, n = int(self._last_cells[row]), self.family.shape[0]
        return None if cell < 0 else (cell // n, cell % n)


class FewerBlanks(Source):
    """The puzzles of another source with at most `blanks` blanks: the others, chosen by the seed, are filled in as clues.

    A puzzle that is looked up by index or id stays as it is.

    Args:
        source: Sudokus.
        family: rates what comes out.
        blanks: 1 or more.
    """

    def __init__(self, source: Source, family: Family, blanks: int) -> None:
        self._source = source
        self._family = family
        self._blanks = at_least_one("blanks", blanks)

    def draw(self, seeds: np.ndarray) -> Puzzles:
        seeds = np.asarray(seeds, np.uint64)
        puzzles = self._source.draw(seeds)
        questions = puzzles.questions.reshape(len(seeds), -1)
        # a random number for each cell, by SplitMix64 (Steele, Lea, Flood 2014) from the seed; the lowest blanks stay blank
        bits = seeds[:, None] + np.arange(1, questions.shape[1] + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            bits = (bits ^ (bits >> np.uint64(shift))) * np.uint64(factor)
        bits[questions != 0] = np.uint64(2**64 - 1)
        rank = bits.argsort(axis=1, kind="stable").argsort(axis=1)
        stays = (rank < self._blanks) & (questions == 0)
        few = np.where(stays, np.uint8(0), puzzles.answers.reshape(questions.shape)).reshape(puzzles.questions.shape)
        ids = [f"{name}-{self._blanks}-blanks" for name in puzzles.ids]
        return Puzzles(few, puzzles.answers, ids, self._family.puzzles_from_questions(few).ratings, puzzles.facts)

    def find(self, key: int | str) -> Puzzles:
        return self._source.find(key)


class SudokuEditEnv(EditEnv):
    """
    ## Description

    A Sudoku with exactly one solution: every row, every column and every box holds each digit once. Each step writes one digit
    into one cell, erases one, or submits the grid. A submitted grid is verified by the rules, without an answer key. The clues
    stay: an action on one changes nothing and takes a step, like erasing a blank or writing a digit where it stands already.

    ## Observation Space

    `Dict`, n = size:

    | key | space | meaning |
    | --- | --- | --- |
    | `question` | `Box(0, n, (n, n), uint8)` | 0 = blank, 1-n = digit |
    | `draft` | `Box(0, n, (n, n), uint8)` | the grid as it stands; at first the question |
    | `step` | `Discrete(max_steps + 1)` | steps taken |

    ## Action Space

    `Discrete(n * n * n + n * n + 1)`, cells counted row by row from 0:

    - `cell * n + digit - 1` writes the digit (1-n) into the cell, over what the agent has written there before
    - `n * n * n + cell` erases the cell
    - `n * n * n + n * n` submits

    `env.unwrapped.write_action(row, column, digit)`, `erase_action(row, column)` and `submit_action` give these numbers.
    `action_masks()`, bool[n * n * n + n * n + 1], is what sb3-contrib's MaskablePPO asks for. With `mask="legal"` it leaves out what
    would change nothing; with `mask="consistent"` also digits that stand in the cell's row, column or box, and submitting before
    the grid is full. The latter is a help with the rules: say so in comparisons. A masked action that is taken all the same
    does what is said above.

    ## Rewards

    `-step_cost` at each step, and +1 for a submitted grid that is verified. With `reward="dense"` also the change of
    (blanks filled in - rows, columns and boxes in which a digit stands twice) / blanks of the question. This is shaping by a potential
    (Ng, Harada, Russell 1999): it adds up to 1 on the way to the solution, whichever way is taken, and to nothing on a round
    trip. It rests on the rules alone; no digit is compared with the answer.

    ## Episode End

    Terminated by a verified submission, or by a wrong one with no attempt left. Truncated after `max_steps` steps otherwise.

    ## Info

    - `verified` (bool): whether the grid was submitted and solves the puzzle
    - `attempts_left` (int): wrong submissions that may still be made
    - `puzzle_id` (str): the puzzle's name
    - `rating` (float): the puzzle's difficulty, the number of guesses that a solver had to take back; 0 = none
    - `blanks` (int): cells that are blank
    - `broken_rules` (int): rows, columns and boxes in which a digit stands twice
    - `action_mask` (bool[n * n * n + n * n + 1]): the same as `action_masks()`

    ## Arguments

    - `size` (int, 9): side of the grid, 4, 6, 9 or 16
    - `source` (str, "generate"): "generate" makes puzzles without end, "generate:10000" a list of so many, once;
      "csv:PATH" reads the published Sudoku-Extreme format, "lines:PATH" one puzzle a line,
      "hub:OWNER/NAME[/FILE]" a data set of the Hugging Face hub
    - `difficulty` (str, "easy"): "easy", "medium", "hard" or "extreme", of generated puzzles
    - `split` (str, "all"): "train", "test" or "all"; no solution grid is in both. A hub data set named without a file keeps
      its own split
    - `blanks` (int, None): the most blanks a puzzle may have; further ones, chosen by the seed, are filled in. None: as it is
    - `max_steps` (int, None): steps after which the episode is truncated; None: 3 * n * n, enough to fill, erase and refill the grid
    - `attempts` (int, 1): submissions that are judged
    - `step_cost` (float, 0.0): taken from the reward at each step
    - `reward` (str, "verified"): "verified" or "dense"
    - `mask` (str, "legal"): "legal" or "consistent"
    - `auto_submit` (bool, False): a step that fills the last blank or changes a full grid submits it as well
    - `render_mode` (str, None): None, "human", "rgb_array" or "ansi"

    Generated puzzles are far easier than Sudoku-Extreme: never present accuracy on the one as the other.

    `reset(options={"puzzle": ...})` plays a puzzle of your own: a grid, its text (n * n characters, '.' or '0' = blank), or an
    index or id of a file source. An unknown or faulty argument is a `ConfigError`, `SourceError` or `PuzzleError`.

    ## Registered IDs

    - `HRM-SudokuEdit-v0`

    ## Version History

    - v0: initial version
    """

    def __init__(
        self,
        size: int = 9,
        source: str = "generate",
        difficulty: str = "easy",
        split: str = "all",
        blanks: int | None = None,
        max_steps: int | None = None,
        attempts: int = 1,
        step_cost: float = 0.0,
        reward: str = "verified",
        mask: str = "legal",
        auto_submit: bool = False,
        render_mode: str | None = None,
    ) -> None:
        boards, puzzles = sudoku_boards(
            1, size, source, difficulty, split, blanks, max_steps, attempts, step_cost, reward, mask, auto_submit
        )
        super().__init__(boards, puzzles, render_mode)

    def write_action(self, row: int, column: int, digit: int) -> int:
        """The action that writes `digit` (1..n) at `row`, `column` (0..n-1).

        Raises:
            PuzzleError: a number out of range.
        """
        n = self.family.shape[0]
        if not 1 <= digit <= n:
            raise PuzzleError(f"digit is {digit}; expected 1..{n} (erase_action makes a cell blank)")
        return self._cell(row, column) * n + int(digit) - 1

    def erase_action(self, row: int, column: int) -> int:
        """The action that makes the cell at `row`, `column` (0..n-1) blank.

        Raises:
            PuzzleError: a number out of range.
        """
        return self.family.cells * self.family.shape[0] + self._cell(row, column)

    @property
    def submit_action(self) -> int:
        """The action that submits the grid."""
        return self.family.cells * (self.family.shape[0] + 1)

    def _cell(self, row: int, column: int) -> int:
        n = self.family.shape[0]
        if not (0 <= row < n and 0 <= column < n):
            raise PuzzleError(f"the cell at row {row}, column {column} is off the grid; expected both in 0..{n - 1}")
        return int(row) * n + int(column)


def sudoku_boards(
    count: int, size: int, source: str, difficulty: str, split: str, blanks: int | None, *settings: Any
) -> tuple[SudokuBoards, Source]:
    """`count` boards and a source for them; the arguments are those of `SudokuEditEnv`, `settings` those of `SudokuBoards`.

    Raises:
        ConfigError, SourceError: an unknown or faulty argument.
    """
    family, puzzles = sudoku(size, source, difficulty, split)
    if blanks is not None:
        puzzles = FewerBlanks(puzzles, family, blanks)
    return SudokuBoards(family, puzzles, count, *settings), puzzles
