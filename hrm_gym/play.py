"""Puzzles for people: `hrm-gym play HRM-Sudoku-v0`, with mouse and keyboard.

`Game` is the play itself: keys by their names and clicks by their cells go in, a scene comes out. It knows neither pygame nor
a display, so that tests can play it. `MazeGame` and `ArcGame` are what these families do otherwise; every other family with a
question to fill in is played by `Game` as it is. `play_in_window` at the end maps pygame's events to it and shows its pictures.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import load_env_creator
from gymnasium.utils import seeding

from hrm_gym.envs import drawing
from hrm_gym.envs.arc.rules import COLOURS, OUTSIDE
from hrm_gym.envs.episode import BasePuzzleEnv, draw_seeds, fact_spaces, puzzle_from, scene_of
from hrm_gym.envs.errors import ConfigError
from hrm_gym.envs.family import Family
from hrm_gym.envs.maze.solver import GOAL, OPEN, PATH, START, WALL
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.sources import Source
from hrm_gym.envs.window import Window, has_display
from hrm_gym.registration import ENVIRONMENTS

if TYPE_CHECKING:
    from hrm_gym.agents.agent import HRMAgent
    from hrm_gym.envs.drawing import Scene

Cell = tuple[int, int]
Adviser = Callable[[Puzzles], np.ndarray]
"""Says what it takes for the answer of a puzzle (a batch of one): uint8[H, W]."""

DIRECTIONS: dict[str, Cell] = {"up": (-1, 0), "right": (0, 1), "down": (1, 0), "left": (0, -1)}


@dataclass(frozen=True, eq=False)
class Moment:
    """Where a game stands, all that undoing brings back.

    Attributes:
        draft: uint8[H, W], never written to.
        cursor: (row, column).
        trail: the cells walked, from the start to where the walker stands (mazes; else empty).
    """

    draft: np.ndarray
    cursor: Cell
    trail: tuple[Cell, ...] = ()


class Game:
    """A puzzle being filled in by a person: cells that are blank in the question may be written, the others stay.

    Args:
        family: rules, values and look of the puzzles.
        source: where new puzzles come from.
        puzzle: the first one, as in `reset(options={"puzzle": ...})`; None: from the source.
        seed: of the puzzles; the same ones as an environment's `reset(seed=seed)` and the resets after it. None: others each time.
        adviser: gives the hints; None: the stored answer does.
        show_wrong: show at all times what breaks a rule, not only when asked (`check`) and after a submission.

    Attributes:
        puzzle: the one being played, a batch of one.
        moment: the draft, the cursor and, in a maze, the way walked.
        past, future: moments that `undo` and `redo` go back and forth to, the nearest last.
        attempts_left: wrong submissions that may still be made.
        verdict: None, "verified", "wrong" or "out of steps".
        hints: how many were given for this puzzle.
        message: what is to be told, one line.
        over: nothing can be changed any more; a new puzzle or starting over goes on.

    Raises:
        PuzzleError: the puzzle does not fit the family, or is not in the source.
    """

    attempts = 3
    steps_per_cell = 3
    help: tuple[str, ...] = (
        "arrows or mouse: cell · {values} or the row above: write · Backspace: erase · Tab: check · H: hint",
        "U: undo · R: redo · O: start over · Enter: submit · N: new puzzle · Esc: quit",
    )

    def __init__(
        self,
        family: Family,
        source: Source,
        puzzle: Any = None,
        seed: int | None = None,
        adviser: Adviser | None = None,
        show_wrong: bool = False,
    ) -> None:
        self.family = family
        self.source = source
        self.adviser = adviser
        self.show_wrong = show_wrong
        self.max_steps = self.steps_per_cell * family.cells
        # the letters and digits that write a value
        self._values = {
            style.character.lower(): value
            for value, style in enumerate(family.styles)
            if value != family.blank and style.character.isalnum()
        }
        self._random = seeding.np_random(seed)[0]
        self.new_puzzle(puzzle)

    # -- puzzles -----------------------------------------------------------------------------------------------------

    def new_puzzle(self, puzzle: Any = None) -> None:
        """Begins with another puzzle: `puzzle`, or the source's next one."""
        if puzzle is None:
            self.puzzle = self.source.draw(draw_seeds(self._random))
        else:
            self.puzzle = puzzle_from(puzzle, self.family, self.source, fact_spaces(self.family, self.source))
        self._advice: np.ndarray | None = None
        self.start_over()

    def start_over(self) -> None:
        """The same puzzle from its beginning."""
        self.moment = self._first_moment()
        self.past: list[Moment] = []
        self.future: list[Moment] = []
        self.attempts_left = self.attempts
        self.verdict: str | None = None
        self.hints = 0
        self.over = False
        self.message = ""
        self._checked = False
        self._stroke = False  # a line is being drawn: what comes belongs to the last step

    def _first_moment(self) -> Moment:
        blank = np.argwhere(self.question == self.family.blank)
        row, column = blank[0].tolist() if len(blank) else (0, 0)
        return Moment(_fixed(self.question), (row, column))

    @property
    def question(self) -> np.ndarray:
        """uint8[H, W]."""
        return self.puzzle.questions[0]

    @property
    def draft(self) -> np.ndarray:
        """uint8[H, W], read-only."""
        return self.moment.draft

    @property
    def cursor(self) -> Cell:
        """(row, column) of the chosen cell; in a maze of the walker."""
        return self.moment.cursor

    # -- changing the draft ------------------------------------------------------------------------------------------

    def _change(self, moment: Moment) -> bool:
        """Makes `moment` the present one and the old one the past; False where nothing differs or nothing may change."""
        if self.over:
            self.message = "this puzzle is over: N for a new one, O to start over"
            return False
        if moment.trail == self.moment.trail and (moment.draft == self.draft).all():
            self.moment = moment  # only the cursor has moved
            return False
        if not self._stroke:
            if len(self.past) >= self.max_steps:
                self.message = f"{self.max_steps} steps are made, more are not allowed: submit, or undo some"
                return False
            self.past.append(self.moment)
        self.moment = moment
        self.future.clear()
        self._unjudged()
        return True

    def _unjudged(self) -> None:
        """What was said of the draft holds no more."""
        self.verdict = None
        self.message = ""
        self._checked = False

    def write(self, value: int) -> bool:
        """Puts a value into the cell under the cursor; True if that changed it. A clue and a value out of range are left alone."""
        if not 0 <= value < self.family.values:
            return False
        if self.question[self.cursor] != self.family.blank:
            self.message = "that cell is given and stays"
            return False
        return self._change(replace(self.moment, draft=_with(self.draft, self.cursor, value)))

    def erase(self) -> bool:
        """Makes the cell under the cursor blank; True if that changed it."""
        return self.write(self.family.blank)

    def undo(self) -> bool:
        """Takes back the last step; True if there was one."""
        return self._travel(self.past, self.future, "there is nothing to undo")

    def redo(self) -> bool:
        """Takes the last undoing back; True if there was one."""
        return self._travel(self.future, self.past, "there is nothing to redo")

    def _travel(self, source: list[Moment], target: list[Moment], nothing: str) -> bool:
        if self.over or not source:
            self.message = "this puzzle is over: N for a new one, O to start over" if self.over else nothing
            return False
        target.append(self.moment)
        self.moment = source.pop()
        self._unjudged()
        return True

    # -- moving and pointing -----------------------------------------------------------------------------------------

    def move_cursor(self, rows: int, columns: int) -> None:
        """Moves the cursor by so many cells; it stops at the edge."""
        height, width = self.family.shape
        row = min(max(self.cursor[0] + rows, 0), height - 1)
        column = min(max(self.cursor[1] + columns, 0), width - 1)
        self._point_at((row, column))

    def _point_at(self, cell: Cell) -> None:
        self.moment = replace(self.moment, cursor=cell)

    def _on_board(self, cell: Cell) -> bool:
        return 0 <= cell[0] < self.family.shape[0] and 0 <= cell[1] < self.family.shape[1]

    def click(self, cell: Cell, right: bool = False) -> None:
        """The mouse goes down on a cell (off the board: nothing happens); `right`: with its right button."""
        if self._on_board(cell):
            self._point_at(cell)

    def drag(self, cell: Cell) -> None:
        """The mouse comes to a cell with its left button held down."""
        self.click(cell)

    def release(self) -> None:
        """The mouse goes up."""
        self._stroke = False

    @property
    def palette(self) -> tuple[int, ...]:
        """Values shown in a row of their own, to be chosen with the mouse."""
        return tuple(self._values.values())

    @property
    def chosen(self) -> int | None:
        """The value of the palette to mark as chosen."""
        return None

    def choose(self, value: int) -> None:
        """A value of the palette was clicked."""
        self.write(value)

    # -- help and judgement ------------------------------------------------------------------------------------------

    def target(self) -> np.ndarray | None:
        """What the hints lead to, uint8[H, W]: the adviser's answer, or the stored one; None where that is not known."""
        if self._advice is None:
            self._advice = self.puzzle.answers[0] if self.adviser is None else self.adviser(self.puzzle)
        return self._advice

    def hint(self) -> bool:
        """Puts one cell right: the one under the cursor, else one that is filled in wrongly, else one that is blank.

        True if it changed something. An adviser may be wrong; the stored answer is not.
        """
        target = self.target()
        if target is None:
            self.message = "no answer to this puzzle is known"
            return False
        wrong = (self.draft != target) & (self.question == self.family.blank) & (target != self.family.blank)
        filled = np.argwhere(wrong & (self.draft != self.family.blank))
        places = np.argwhere(wrong) if len(filled) == 0 else filled
        if len(places) == 0:
            return self._no_hint()
        cell: Cell = self.cursor if wrong[self.cursor] else (int(places[0][0]), int(places[0][1]))
        value = int(target[cell])
        return self._hinted(
            Moment(_with(self.draft, cell, value), cell), f"{self.family.styles[value].text or value} belongs there"
        )

    def _hinted(self, moment: Moment, words: str) -> bool:
        changed = self._change(moment)
        if changed:
            self.hints += 1
            self.message = f"hint: {words}" if self.adviser is None else f"the agent says: {words} (it may be wrong)"
        return changed

    def _no_hint(self) -> bool:
        self.message = "no hint is needed: submit with Enter" if self.adviser is None else "the agent has nothing to change"
        return False

    def check(self) -> None:
        """Shows what breaks a rule, or hides it again. It is never compared with the answer."""
        if not self.family.has_rules:
            self.message = f"{self.family.name} has no rules to check by: submit with Enter"
            return
        self._checked = not self._checked
        wrong = int(self.family.wrong_cells(self.puzzle, self.draft[None])[0].sum())
        self.message = "" if not self._checked else self._check_words(wrong)

    def _check_words(self, wrong: int) -> str:
        blank = int((self.draft == self.family.blank).sum())
        rules = "no rule is broken" if wrong == 0 else f"{_count(wrong, 'cell')} in conflict"
        return f"{rules}, {_count(blank, 'blank cell')} left"

    def submit(self) -> bool:
        """Has the draft verified; True if it is right. A wrong one costs an attempt."""
        if self.over:
            self.message = "this puzzle is over: N for a new one, O to start over"
            return False
        if bool(self.family.verify(self.puzzle, self.draft[None])[0]):
            self.verdict = "verified"
            self.over = True
            self.message = f"solved in {_count(len(self.past), 'step')} with {_count(self.hints, 'hint')}: N for a new one"
            return True
        self.verdict = "wrong"
        self.attempts_left -= 1
        self.over = self.attempts_left == 0
        if self.over:
            self.message = "not right, and no attempt is left: N for a new one, O to start over"
        else:
            self.message = f"not right; {_count(self.attempts_left, 'attempt')} left"
        return False

    # -- keys and picture --------------------------------------------------------------------------------------------

    def press(self, key: str, shift: bool = False, control: bool = False) -> bool:
        """A key by its name, as pygame names it ("a", "5", "left", "return", "backspace"); True if it means anything here."""
        self._stroke = False
        action = self._action(key.lower(), shift, control)
        if action is not None:
            action()
        return action is not None

    def _action(self, key: str, shift: bool, control: bool) -> Callable[[], Any] | None:
        if control:
            return {"z": self.redo if shift else self.undo, "y": self.redo}.get(key)
        if key in DIRECTIONS:
            return lambda: self.move_cursor(*DIRECTIONS[key])
        if key in self._values:
            return lambda: self._value_key(self._values[key])
        return {
            "backspace": self.erase,
            "delete": self.erase,
            "u": self.undo,
            "r": self.redo,
            "o": self.start_over,
            "h": self.hint,
            "tab": self.check,
            "return": self.submit,
            "enter": self.submit,
            "n": self.new_puzzle,
        }.get(key)

    def _value_key(self, value: int) -> None:
        self.write(value)

    @property
    def help_lines(self) -> tuple[str, ...]:
        """What the keys do, for the bottom of the window."""
        characters = [style.character for value, style in enumerate(self.family.styles) if value in self._values.values()]
        digits, letters = ([c for c in characters if c.isdigit() is kind] for kind in (True, False))
        values = " ".join(f"{part[0]}-{part[-1]}" for part in (digits, letters) if part)
        return tuple(line.format(values=values) for line in self.help)

    def scene(self) -> Scene:
        """What is to be seen."""
        asked = self.show_wrong or self._checked or self.verdict == "wrong"
        # without rules wrong cells would give the answer away: they are shown when all attempts are used
        shown = asked and (self.family.has_rules or self.over)
        wrong = self.family.wrong_cells(self.puzzle, self.draft[None])[0] if shown else None
        verdict = self.verdict
        if verdict is None and len(self.past) >= self.max_steps:
            verdict = "out of steps"
        scene = scene_of(
            self.family,
            self.puzzle,
            self.draft.copy(),
            verdict,
            previous=self.past[-1].draft if self.past else None,
            step=len(self.past),
            max_steps=self.max_steps,
            attempts_left=self.attempts_left,
            cursor=self.cursor,
        )
        return replace(scene, wrong=wrong)


# -- mazes ---------------------------------------------------------------------------------------------------------------


class MazeGame(Game):
    """A maze walked with the arrows or painted with the mouse; see `Game` for the arguments.

    The cursor is the walker. Walking marks the path; walking back over it unmarks it, and so does cutting a loop short.
    Painting next to the walker takes the walker along.
    """

    steps_per_cell = 2
    help = (
        "arrows: walk, back over the path to unmark it · mouse: paint the path, again to erase · Tab: check · H: hint",
        "U: undo · R: redo · O: start over · Enter: submit · N: new maze · Esc: quit",
    )

    def _first_moment(self) -> Moment:
        row, column = np.argwhere(self.question == START)[0].tolist()
        self._distances = _distances_to_goal(self.question)
        self._painting = True
        self._last_cell: Cell = (row, column)
        return Moment(_fixed(self.question), (row, column), ((row, column),))

    @property
    def palette(self) -> tuple[int, ...]:
        return ()

    def write(self, value: int) -> bool:
        """Marks (4) or unmarks (1) the open cell that the walker stands on."""
        if value not in (OPEN, PATH) or self.question[self.cursor] != OPEN:
            return False
        return self._change(self._marked(self.moment, self.cursor, value == PATH))

    def erase(self) -> bool:
        """Takes the last step of the walk back."""
        trail = self.moment.trail
        return len(trail) > 1 and self.walk_to(trail[-2])

    def move_cursor(self, rows: int, columns: int) -> None:
        """Walks by so many cells, one after the other, as far as there is no wall."""
        for _ in range(abs(rows) + abs(columns)):
            row, column = self.cursor
            if not self.walk_to((row + (rows > 0) - (rows < 0), column + (columns > 0) - (columns < 0))):
                return

    def walk_to(self, cell: Cell) -> bool:
        """Walks to a neighbouring cell; True if there is a way."""
        moment = self._walked(self.moment, cell)
        return moment is not None and self._change(moment)

    def _walked(self, moment: Moment, cell: Cell) -> Moment | None:
        """The moment after a step to `cell`; None where a wall, the edge or the goal behind the walker is in the way."""
        row, column = moment.trail[-1]
        if not self._on_board(cell) or self.question[cell] == WALL or abs(cell[0] - row) + abs(cell[1] - column) != 1:
            return None
        if cell in moment.trail:
            kept = moment.trail.index(cell) + 1
            return self._cut(moment, kept)
        if self.question[row, column] == GOAL:
            return None  # a path ends at the goal
        draft = _with(moment.draft, cell, PATH) if self.question[cell] == OPEN else moment.draft
        return Moment(draft, cell, (*moment.trail, cell))

    def _cut(self, moment: Moment, kept: int) -> Moment:
        """Only the first `kept` cells of the walk stay marked."""
        draft = moment.draft.copy()
        for cell in moment.trail[kept:]:
            draft[cell] = self.question[cell]
        return Moment(_fixed(draft), moment.trail[kept - 1], moment.trail[:kept])

    def _marked(self, moment: Moment, cell: Cell, mark: bool) -> Moment:
        """An open cell marked or unmarked."""
        if not mark:
            if cell in moment.trail[1:]:
                # the walker goes back to before the cell; what was walked behind it stays painted
                kept = moment.trail.index(cell)
                moment = Moment(moment.draft, moment.trail[kept - 1], moment.trail[:kept])
            return replace(moment, draft=_with(moment.draft, cell, OPEN))
        walked = None if cell in moment.trail else self._walked(moment, cell)
        return walked or replace(moment, draft=_with(moment.draft, cell, PATH))

    def click(self, cell: Cell, right: bool = False) -> None:
        """Marks an open cell, or unmarks a marked one; `right` always unmarks. On the goal: walks there from a cell beside it."""
        if not self._on_board(cell):
            return
        self._last_cell = cell
        self._painting = not right and self.draft[cell] != PATH
        self._paint(cell)

    def drag(self, cell: Cell) -> None:
        """Goes on marking or unmarking, on the straight line from the last cell to this one."""
        if not self._on_board(cell):
            return
        for between in _line(self._last_cell, cell):
            self._paint(between)
        self._last_cell = cell

    def _paint(self, cell: Cell) -> None:
        value = self.question[cell]
        changed = False
        if value == OPEN:
            changed = self._change(self._marked(self.moment, cell, self._painting))
        elif value == GOAL and self._painting and cell not in self.moment.trail:
            changed = self.walk_to(cell)
        self._stroke |= changed

    def choose(self, value: int) -> None:
        """There is nothing to choose."""

    def hint(self) -> bool:
        """Walks a step towards the goal, or back to a shortest path, or unmarks a cell off the walk.

        With an adviser: marks or unmarks the cell nearest to the walker that the adviser has otherwise.
        """
        if self.adviser is not None:
            return self._adviser_hint()
        moment, trail = self.moment, self.moment.trail
        here, start = self._distances[trail[-1]], self._distances[trail[0]]
        if len(trail) - 1 + here != start:
            return self._hinted(self._cut(moment, len(trail) - 1), "that way is too long, go back")
        if here > 0:
            row, column = trail[-1]
            beside = [(row + dy, column + dx) for dy, dx in DIRECTIONS.values()]
            nearer = [cell for cell in beside if self._on_board(cell) and self._distances[cell] == here - 1]
            cell = max(nearer, key=lambda cell: self.draft[cell] == PATH)  # along what is painted already, if that is as good
            walked = self._walked(moment, cell)
            assert walked is not None
            return self._hinted(walked, "this way")
        marked = self.draft == PATH
        marked[tuple(np.array(trail).T)] = False
        stray = np.argwhere(marked)
        if len(stray) == 0:
            return self._no_hint()
        return self._hinted(self._marked(moment, (int(stray[0][0]), int(stray[0][1])), False), "this cell is not on the path")

    def _adviser_hint(self) -> bool:
        target = self.target()
        assert target is not None
        places = np.argwhere((self.question == OPEN) & ((self.draft == PATH) != (target == PATH)))
        if len(places) == 0:
            return self._no_hint()
        row, column = places[np.abs(places - np.array(self.cursor)).sum(axis=1).argmin()].tolist()
        mark = bool(target[row, column] == PATH)
        return self._hinted(
            self._marked(self.moment, (row, column), mark), "this way" if mark else "this cell is not on the path"
        )

    def _check_words(self, wrong: int) -> str:
        marked = int((self.draft == PATH).sum())
        line = "the path is a line from start to goal" if wrong == 0 else f"{_count(wrong, 'cell')} where the path is broken"
        return f"{_count(marked, 'cell')} marked; {line}"


def _distances_to_goal(question: np.ndarray) -> np.ndarray:
    """Moves from each cell to the goal, int64[H, W]; -1 where there is no way."""
    distances = np.full(question.shape, -1)
    goal = tuple(np.argwhere(question == GOAL)[0].tolist())
    distances[goal] = 0
    queue = deque([goal])
    while queue:
        row, column = queue.popleft()
        for dy, dx in DIRECTIONS.values():
            y, x = row + dy, column + dx
            inside = 0 <= y < question.shape[0] and 0 <= x < question.shape[1]
            if inside and question[y, x] != WALL and distances[y, x] < 0:
                distances[y, x] = distances[row, column] + 1
                queue.append((y, x))
    return distances


def _line(start: Cell, stop: Cell) -> list[Cell]:
    """The cells from one to another without the first, each beside the one before by a side, so that a fast mouse leaves no gap."""
    row, column = start
    cells = []
    while (row, column) != stop:
        dy, dx = stop[0] - row, stop[1] - column
        if abs(dy) > abs(dx):
            row += 1 if dy > 0 else -1
        else:
            column += 1 if dx > 0 else -1
        cells.append((row, column))
    return cells


# -- ARC -----------------------------------------------------------------------------------------------------------------


class ArcGame(Game):
    """An ARC output being painted; see `Game` for the arguments. The draft begins as a copy of the question.

    Attributes:
        colour: the one chosen, 0..9.
    """

    attempts = 2
    steps_per_cell = 1
    help = (
        "0-9 or the row above: colour · Space or mouse: paint · F or right button: fill · Backspace: black · Shift + arrows: size",
        "I: copy input · X: all black · H: hint · U: undo · R: redo · O: start over · Enter: submit · N: new task · Esc: quit",
    )
    colour = 1

    def _first_moment(self) -> Moment:
        self._last_cell: Cell = (0, 0)
        return Moment(_fixed(self.question), (0, 0))

    @property
    def chosen(self) -> int | None:
        return self.colour

    def choose(self, value: int) -> None:
        """Chooses a colour, 0..9."""
        if 0 <= value < COLOURS:
            self.colour = value

    def _value_key(self, value: int) -> None:
        self.choose(value)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the draft's grid."""
        return _extent(self.draft)

    def write(self, value: int) -> bool:
        """Gives the cell under the cursor a colour, 0..9; True if that changed it. Cells outside the grid are left alone."""
        if not 0 <= value < COLOURS or self.draft[self.cursor] == OUTSIDE:
            return False
        return self._change(replace(self.moment, draft=_with(self.draft, self.cursor, value)))

    def erase(self) -> bool:
        """Makes the cell under the cursor black."""
        return self.write(0)

    def fill(self) -> bool:
        """Gives the chosen colour to the cell under the cursor and all of its colour that hang together with it by their sides."""
        old = self.draft[self.cursor]
        if old == OUTSIDE or old == self.colour:
            return False
        draft = self.draft.copy()
        stack = [self.cursor]
        while stack:
            row, column = cell = stack.pop()
            if self._on_board(cell) and draft[cell] == old:
                draft[cell] = self.colour
                stack += [(row + dy, column + dx) for dy, dx in DIRECTIONS.values()]
        return self._change(replace(self.moment, draft=_fixed(draft)))

    def resize(self, height: int, width: int) -> bool:
        """Makes the grid so large, 1..S; new cells are black. True if that changed it."""
        if not (1 <= height <= self.family.shape[0] and 1 <= width <= self.family.shape[1]):
            return False
        return self._change(replace(self.moment, draft=_resized(self.draft, height, width)))

    def copy_input(self) -> bool:
        """Makes the draft a copy of the question."""
        return self._change(replace(self.moment, draft=_fixed(self.question)))

    def clear(self) -> bool:
        """Makes the whole grid black."""
        return self._change(replace(self.moment, draft=_fixed(np.where(self.draft == OUTSIDE, OUTSIDE, 0))))

    def click(self, cell: Cell, right: bool = False) -> None:
        """Paints a cell with the chosen colour; `right`: fills from there."""
        if not self._on_board(cell):
            return
        self._point_at(cell)
        self._last_cell = cell
        if right:
            self.fill()
        else:
            self._stroke |= self.write(self.colour)

    def drag(self, cell: Cell) -> None:
        """Paints on, on the straight line from the last cell to this one."""
        if not self._on_board(cell):
            return
        for between in _line(self._last_cell, cell):
            self._point_at(between)
            self._stroke |= self.write(self.colour)
        self._last_cell = cell

    def _action(self, key: str, shift: bool, control: bool) -> Callable[[], Any] | None:
        if shift and key in DIRECTIONS:
            height, width = self.size
            return lambda: self.resize(height + DIRECTIONS[key][0], width + DIRECTIONS[key][1])
        own = {
            "space": lambda: self.write(self.colour),
            "f": self.fill,
            "i": self.copy_input,
            "x": self.clear,
        }
        return own[key] if key in own and not control else super()._action(key, shift, control)

    def target(self) -> np.ndarray | None:
        target = super().target()
        return None if target is None or (target == OUTSIDE).all() else target

    def hint(self) -> bool:
        """Puts the size right, else one cell: the one under the cursor, or the first."""
        target = self.target()
        if target is None:
            self.message = "no answer to this puzzle is known"
            return False
        height, width = _extent(target)
        if self.size != (height, width):
            words = f"the output has {_count(height, 'row')} and {_count(width, 'column')}"
            return self._hinted(replace(self.moment, draft=_resized(self.draft, height, width)), words)
        wrong = (self.draft != target) & (target != OUTSIDE)  # an agent's answer may have holes
        if not wrong.any():
            return self._no_hint()
        row, column = self.cursor if wrong[self.cursor] else np.argwhere(wrong)[0].tolist()
        value = int(target[row, column])
        return self._hinted(Moment(_with(self.draft, (row, column), value), (row, column)), f"colour {value} belongs there")


def _extent(canvas: np.ndarray) -> tuple[int, int]:
    """Height and width of what is on an ARC canvas, counted from its upper left corner; at least 1."""
    rows, columns = (np.flatnonzero((canvas != OUTSIDE).any(axis=axis)) for axis in (1, 0))
    return (int(rows[-1]) + 1, int(columns[-1]) + 1) if len(rows) else (1, 1)


def _resized(canvas: np.ndarray, height: int, width: int) -> np.ndarray:
    grown = np.full_like(canvas, OUTSIDE)
    grown[:height, :width] = np.where(canvas == OUTSIDE, 0, canvas)[:height, :width]
    return _fixed(grown)


# -- small things --------------------------------------------------------------------------------------------------------


def _fixed(grid: np.ndarray) -> np.ndarray:
    """A read-only copy, so that no step can reach into the past."""
    grid = grid.astype(np.uint8)
    grid.flags.writeable = False
    return grid


def _with(draft: np.ndarray, cell: Cell, value: int) -> np.ndarray:
    changed = draft.copy()
    changed[cell] = value
    return _fixed(changed)


def _count(number: int, what: str) -> str:
    return f"{'no' if number == 0 else number} {what}{'' if number == 1 else 's'}"


# -- a game by name --------------------------------------------------------------------------------------------------------

GAMES: dict[str, type[Game]] = {"maze": MazeGame, "arc": ArcGame}
"""The games of families that are played otherwise than `Game` plays."""


def open_game(
    name: str,
    puzzle: Any = None,
    seed: int | None = None,
    agent: HRMAgent | None = None,
    show_wrong: bool = False,
    **settings: Any,
) -> Game:
    """The game of the puzzles of an environment.

    Args:
        name: an environment's id.
        puzzle, seed, show_wrong: see `Game`.
        agent: gives the hints; the puzzles are then like those it was trained for, but for what `settings` say.
        settings: the environment's own; those that are None are left out. For ARC `size` and `source` stand for `max_size` and
            `dataset`.

    Raises:
        ConfigError: an unknown environment, a setting that it does not have, or an agent for other puzzles.
        SourceError, PuzzleError: puzzles that cannot be read, or a puzzle that does not fit.
    """
    playable = ", ".join(known for known, *_ in ENVIRONMENTS)
    if name not in gymnasium.registry:
        raise ConfigError(f"environment {name!r} is unknown; expected one of {playable}")
    entry_point = gymnasium.spec(name).entry_point
    entry: Any = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    parameters = inspect.signature(entry).parameters
    if "dataset" in parameters:
        settings = {{"size": "max_size", "source": "dataset"}.get(key, key): value for key, value in settings.items()}
    settings = {key: value for key, value in settings.items() if value is not None}
    for setting in settings:
        if setting not in parameters:
            raise ConfigError(f"{name} has no setting {setting!r}; leave it out")
    if agent is not None:
        if agent.family.name not in entry.__module__.split("."):
            raise ConfigError(f"the agent is for {agent.family.name}, it cannot give hints in {name}; leave it out")
        from hrm_gym.watch import puzzle_settings

        trained = {key: value for key, value in puzzle_settings(agent).items() if key in parameters}
        if "source" in settings:
            trained["split"] = "all"
        settings = {**trained, **settings}
    env = gymnasium.make(name, disable_env_checker=True, **settings).unwrapped
    if not isinstance(env, BasePuzzleEnv):
        raise ConfigError(f"{name} is no puzzle that people can play; expected one of {playable}")
    family = env.family
    if agent is not None and family.shape != agent.family.shape:
        height, width = agent.family.shape
        raise ConfigError(
            f"the agent is for {height} x {width} cells, the puzzles have {family.shape[0]} x {family.shape[1]}; "
            f"give size {height}, or no size"
        )
    adviser = None if agent is None else agent_adviser(agent)
    return GAMES.get(family.name, Game)(family, env.source, puzzle, seed, adviser, show_wrong)


def agent_adviser(agent: HRMAgent) -> Adviser:
    """What the agent hands in when it halts."""
    return lambda puzzle: agent.solve(puzzle).drafts[0]


# -- the window ----------------------------------------------------------------------------------------------------------

SIZE = 480  # side of a board in pixels
WAIT_MS = 100  # Ctrl-C in the terminal is heard this often
KEY_REPEAT_MS = (300, 60)  # before a key that is held down repeats, and between two repetitions


class View:
    """The picture of a game, and what lies where in it.

    Args:
        game: what is played.
        size: a board's side in pixels, as in `hrm_gym.envs.drawing.draw`.
    """

    def __init__(self, game: Game, size: int = SIZE) -> None:
        self.game = game
        self.size = size
        self._palette: list[tuple[int, int, int, int]] = []  # value, top, left, side

    def frame(self) -> np.ndarray:
        """The scene, below it the palette, the message and the help lines: uint8[height, width, 3], of the same size each time."""
        picture = drawing.draw(self.game.scene(), self.size)
        unit = self.size / 480
        px, margin, line = round(22 * unit), round(20 * unit), round(24 * unit)
        palette = self.game.palette
        side = min(round(34 * unit), (picture.shape[1] - 2 * margin) // max(len(palette), 1) - 4)
        top = picture.shape[0]
        below = top + (side + line // 2 if palette else 0)
        height = below + line * (1 + len(self.game.help_lines)) + margin // 2
        frame = np.empty((height + height % 2, *picture.shape[1:]), np.uint8)
        frame[:top] = picture
        frame[top:] = drawing.BACKGROUND

        self._palette = [(value, top, margin + number * (side + 4), side) for number, value in enumerate(palette)]
        for value, tile_top, left, _ in self._palette:
            frame[tile_top : tile_top + side, left : left + side] = self._tile(value, side, px)
        lines = [(self.game.message, drawing.INK), *((words, drawing.MUTED) for words in self.game.help_lines)]
        for number, (words, ink) in enumerate(lines):
            if words:
                letters = drawing.words_picture(words, px, ink, width=picture.shape[1] - 2 * margin)
                start = below + number * line
                frame[start : start + letters.shape[0], margin : margin + letters.shape[1]] = letters[: frame.shape[0] - start]
        return frame

    def _tile(self, value: int, side: int, px: int) -> np.ndarray:
        """A value of the palette, with a thick frame if it is the chosen one."""
        style = self.game.family.styles[value]
        tile = np.empty((side, side, 3), np.uint8)
        chosen = value == self.game.chosen
        edge = max(1, side // 8) if chosen else 1
        tile[:] = drawing.CURSOR if chosen else drawing.GRID_LINE
        tile[edge:-edge, edge:-edge] = style.fill
        ink = drawing.INK if np.dot(style.fill, (0.299, 0.587, 0.114)) > 140 else drawing.WHITE
        letters = drawing.words_picture(style.text or style.character, px, ink, style.fill, side - 2 * edge)
        height, width = min(letters.shape[0], side - 2 * edge), letters.shape[1]
        start, left = (side - height) // 2, (side - width) // 2
        tile[start : start + height, left : left + width] = letters[:height]
        return tile

    def cell_at(self, x: int, y: int) -> Cell:
        """(row, column) of the draft's cell at pixel column `x` and row `y`; off the board the numbers are off it, too."""
        top, left, height, width = drawing.cell_box(self.game.scene(), 0, 0, self.size)
        return (y - top) // height, (x - left) // width

    def value_at(self, x: int, y: int) -> int | None:
        """The palette's value at a pixel of the last frame, or None."""
        for value, top, left, side in self._palette:
            if top <= y < top + side and left <= x < left + side:
                return value
        return None


def play_in_window(game: Game, window: Window | None = None, size: int = SIZE) -> None:
    """Plays until the window is closed.

    Args:
        window: one to play in; None: a new one.
        size: a board's side in pixels.

    Raises:
        ConfigError: this machine has no display.
    """
    if not has_display():
        raise ConfigError("there is no display on this machine; play needs a window, so run it where there is a screen")
    pygame = drawing.import_pygame()
    view = View(game, size)
    with window or Window(title=f"hrm-gym: {game.family.name}") as window:
        frame = view.frame()
        window.show(frame)
        if not window.closed:
            pygame.key.set_repeat(*KEY_REPEAT_MS)
        while not window.closed:
            redraw = False
            for event in [pygame.event.wait(WAIT_MS), *pygame.event.get()]:
                if _is_quit(pygame, event):
                    window.closed = True
                    return
                screen = pygame.display.get_surface().get_size()  # smaller than the frame where the screen is
                scale = (frame.shape[1] / screen[0], frame.shape[0] / screen[1])
                redraw |= _handle(pygame, event, game, view, scale)
            if redraw:
                frame = view.frame()
                window.show(frame)


def _is_quit(pygame: Any, event: Any) -> bool:
    escape = event.type == pygame.KEYDOWN and event.key == pygame.K_ESCAPE
    return escape or event.type in (pygame.QUIT, pygame.WINDOWCLOSE)


def _handle(pygame: Any, event: Any, game: Game, view: View, scale: tuple[float, float]) -> bool:
    """Tells the game of one event; True if the picture is to be drawn anew."""
    if event.type == pygame.KEYDOWN:
        control = bool(event.mod & (pygame.KMOD_CTRL | pygame.KMOD_META))
        return game.press(_key_name(pygame, event, control), bool(event.mod & pygame.KMOD_SHIFT), control)
    if event.type in (pygame.MOUSEBUTTONDOWN, pygame.MOUSEMOTION):
        x, y = round(event.pos[0] * scale[0]), round(event.pos[1] * scale[1])
        if event.type == pygame.MOUSEMOTION:
            if not event.buttons[0]:
                return False
            game.drag(view.cell_at(x, y))
        elif event.button in (1, 3):
            value = view.value_at(x, y)
            if value is None:
                game.click(view.cell_at(x, y), right=event.button == 3)
            else:
                game.choose(value)
        return True
    if event.type == pygame.MOUSEBUTTONUP:
        game.release()
        return False
    return event.type in (pygame.WINDOWEXPOSED, pygame.WINDOWRESTORED)


def _key_name(pygame: Any, event: Any, control: bool) -> str:
    """The key by what it writes where it writes something, so that digits are digits on every keyboard; else by its name."""
    written = getattr(event, "unicode", "")
    if not control and written.strip() and written.isprintable():
        return str(written)
    return str(pygame.key.name(event.key)).strip("[]")  # the keys of the number block are named "[1]"
