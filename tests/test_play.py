"""Playing by hand: whole puzzles by keys and clicks, undoing to the cell, hints that lead to the end, and the window's loop."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import pairwise

import gymnasium
import numpy as np
import pytest

from hrm_gym.agents.agent import HRMAgent
from hrm_gym.cli import main
from hrm_gym.envs import drawing
from hrm_gym.envs.arc.edit import OPERATIONS
from hrm_gym.envs.errors import ConfigError, PuzzleError
from hrm_gym.envs.registry import make_family
from hrm_gym.envs.splits import in_split
from hrm_gym.envs.window import Window
from hrm_gym.play import DIRECTIONS, ArcGame, Game, MazeGame, View, open_game, play_in_window

pygame = pytest.importorskip("pygame")

SMALL = {
    "HRM-Sudoku-v0": {"size": 4},
    "HRM-SudokuEdit-v0": {"size": 6},
    "HRM-Maze-v0": {"size": 9},
    "HRM-MazeWalk-v0": {"size": 10, "recipe": "braid"},
    "HRM-ARC-v0": {"size": 5},
    "HRM-ARCEdit-v0": {"size": 6},
}
# two ways of 8 moves round a block of walls, and a dead end at the lower left
RING = "S    " + " ### " + " ### " + "   # " + " #  G"


@pytest.fixture(autouse=True)
def no_display(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setattr(pygame.display, "get_desktop_sizes", lambda: [(4000, 4000)])  # no window is made smaller


def small_game(name, seed=0, **settings):
    return open_game(name, seed=seed, **(SMALL[name] | settings))


def ring_game(**settings):
    game = open_game("HRM-Maze-v0", size=5, recipe="tree", puzzle=RING, **settings)
    assert isinstance(game, MazeGame)
    return game


def random_play(game, rng, count, only_changes=True):
    """Presses random keys and clicks random cells; yields after each that made a step."""
    keys = [*"0123456789abcdefgixuhu", *DIRECTIONS, "space", "backspace", "tab", "f1", "é", "[", "return"]
    keys = [key for key in keys if key not in ("u", "return", "h")]
    for _ in range(count):
        before = len(game.past), game.moment
        what = rng.integers(4)
        cell = tuple(rng.integers(-1, game.family.shape[0] + 1, 2).tolist())
        if what < 2:
            game.press(str(rng.choice(keys)), shift=bool(rng.integers(8) == 0))
        elif what == 2:
            game.click(cell, right=bool(rng.integers(2)))
        else:
            game.drag(cell)
            if rng.integers(2):
                game.release()
        if not only_changes or len(game.past) != before[0]:
            yield


# -- whole puzzles -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_hints_alone_lead_to_a_verified_submission(name):
    game = small_game(name)
    for _ in range(2 * game.family.cells):
        if not game.hint():
            break
    assert game.hints == len(game.past) > 0
    assert game.submit()
    assert game.verdict == "verified" and game.over
    assert game.message.startswith(f"solved in {len(game.past)} step")
    assert game.scene().verdict == "verified"


@pytest.mark.parametrize("name", SMALL)
def test_hints_mend_whatever_was_done(name):
    rng = np.random.default_rng(5)
    for seed in range(4):
        game = small_game(name, seed=seed)
        game.max_steps = 10_000
        for _ in random_play(game, rng, 60, only_changes=False):
            pass
        game.release()
        for _ in range(3 * game.family.cells):
            if not game.hint():
                break
        assert game.submit(), game.message


@pytest.mark.parametrize(("size", "difficulty"), [(4, "hard"), (9, "easy"), (16, "easy")])
def test_a_sudoku_by_keys(size, difficulty):
    game = open_game("HRM-Sudoku-v0", size=size, difficulty=difficulty, seed=3)
    answer = game.puzzle.answers[0]
    for row, column in np.argwhere(game.question == 0).tolist():
        while game.cursor != (row, column):
            rows, columns = row - game.cursor[0], column - game.cursor[1]
            game.press("down" if rows > 0 else "up" if rows < 0 else "right" if columns > 0 else "left")
        game.press(".123456789ABCDEFG"[answer[row, column]])
    assert (game.draft == answer).all()
    game.press("return")
    assert game.verdict == "verified" and game.hints == 0
    assert game.press("n") and not game.over
    assert (game.draft == game.question).all() and not game.past


def test_a_maze_by_arrows_and_by_mouse():
    for by_mouse in (False, True):
        game = open_game("HRM-Maze-v0", size=9, seed=2)
        walk = _path_of(game.puzzle.answers[0])
        for (y, x), (row, column) in pairwise(walk):
            if by_mouse:
                game.click((row, column))
                game.release()
            else:
                game.press({step: key for key, step in DIRECTIONS.items()}[row - y, column - x])
            assert game.cursor == (row, column)  # painting next to the walker takes it along
        assert (game.draft == game.puzzle.answers[0]).all()
        assert game.submit()


def _path_of(answer):
    """Start, path and goal in order, found by following the marks."""
    cell = tuple(np.argwhere(answer == 2)[0].tolist())
    walk = [cell]
    while answer[cell] != 3:
        beside = [(cell[0] + dy, cell[1] + dx) for dy, dx in DIRECTIONS.values()]
        cell = next(
            c for c in beside if min(c) >= 0 and max(c) < len(answer) and c not in walk and answer[c] in (3, 4)
        )  # fmt: skip
        walk.append(cell)
    return walk


def test_an_arc_task_by_keys():
    game = open_game("HRM-ARC-v0", size=4, seed=1)
    assert isinstance(game, ArcGame)
    answer = game.puzzle.answers[0]
    height, width = int((answer[:, 0] != 10).sum()), int((answer[0] != 10).sum())
    for key, present, wanted in (("down", 0, height), ("right", 1, width)):
        while game.size[present] != wanted:
            grow = game.size[present] < wanted
            game.press(key if grow else {"down": "up", "right": "left"}[key], shift=True)
    assert game.size == (height, width)
    for row in range(height):
        for column in range(width):
            game.click((row, column))
            game.press(str(answer[row, column]))
            game.press("space")
    assert (game.draft == answer).all()
    assert game.submit()


# -- undo and redo ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_undo_and_redo_go_back_and_forth_through_the_same_moments(name):
    rng = np.random.default_rng(1)
    game = small_game(name, seed=1)
    drafts = [game.draft.copy()]
    game.max_steps = 10_000
    for _ in random_play(game, rng, 600):
        game.release()
        drafts.append(game.draft.copy())
    assert len(drafts) > 10 and len(game.past) == len(drafts) - 1
    trails = [moment.trail for moment in game.past]
    for draft, trail in zip(drafts[-2::-1], trails[::-1], strict=True):
        assert game.press("z", control=True)
        assert (game.draft == draft).all() and game.moment.trail == trail
    assert (game.draft == game.question).all()
    assert not game.undo() and game.message == "there is nothing to undo"
    for draft in drafts[1:]:
        assert game.redo()
        assert (game.draft == draft).all()
    assert not game.redo() and game.message == "there is nothing to redo"


def test_a_step_after_undoing_forgets_what_was_undone():
    game = small_game("HRM-Sudoku-v0")
    first = game.cursor
    game.write(1)
    game.write(2)
    game.undo()
    game.write(3)
    assert not game.redo()
    game.undo()
    assert game.draft[first] == 1
    game.undo()
    assert game.draft[first] == 0


def test_the_past_cannot_be_written_to():
    game = small_game("HRM-Sudoku-v0")
    game.write(1)
    with pytest.raises(ValueError, match="read-only"):
        game.past[0].draft[0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        game.draft[0, 0] = 1


def test_a_stroke_of_the_mouse_is_one_step():
    game = open_game("HRM-ARC-v0", size=5, seed=3)
    game.copy_input()
    game.resize(5, 5)
    game.clear()
    steps = len(game.past)
    game.choose(4)
    game.click((0, 0))
    game.drag((0, 3))
    game.drag((2, 3))
    game.release()
    assert len(game.past) == steps + 1
    assert (game.draft == 4).sum() == 6 and (game.draft[0, :4] == 4).all() and (game.draft[:3, 3] == 4).all()
    game.click((4, 4))
    game.release()
    assert len(game.past) == steps + 2
    game.undo()
    game.undo()
    assert (game.draft == 0).all()


# -- what is not allowed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_no_input_breaks_the_board(name):
    rng = np.random.default_rng(2)
    game = small_game(name, seed=4)
    question = game.question.copy()
    for _ in random_play(game, rng, 250, only_changes=False):
        draft = game.draft
        assert game.family.check_grids(draft).shape == (1, *game.family.shape)
        assert game._on_board(game.cursor)
        if game.family.name == "sudoku":
            assert (draft[question != 0] == question[question != 0]).all()
        elif game.family.name == "maze":
            assert (draft[question != 1] == question[question != 1]).all()
            assert np.isin(draft[question == 1], (1, 4)).all()
            trail = game.moment.trail
            assert trail[-1] == game.cursor and len(set(trail)) == len(trail) and question[trail[0]] == 2
            assert all(abs(a - c) + abs(b - d) == 1 for (a, b), (c, d) in pairwise(trail))
            assert all(draft[cell] in (3, 4) for cell in trail[1:])
        else:
            height, width = game.size
            assert (draft[:height, :width] != 10).all()
            assert (draft != 10).sum() == height * width
    assert (game.question == question).all()


def test_keys_without_a_meaning_do_nothing():
    game = small_game("HRM-Sudoku-v0")
    before = game.moment
    for key in ("9", "5", "0", "a", "f5", "", "ä", "left ctrl", "["):
        assert not game.press(key)
    assert not game.press("x", control=True)
    game.click((-1, 0))
    game.click((0, 99))
    assert game.moment is before
    assert not game.write(5) and not game.write(-1) and not game.past


def test_clues_stay():
    game = small_game("HRM-Sudoku-v0")
    clue = tuple(np.argwhere(game.question != 0)[0].tolist())
    game.click(clue)
    assert game.press("1") and game.press("backspace")
    assert (game.draft == game.question).all()
    assert "given" in game.message and not game.past


def test_attempts_run_out_and_nothing_moves_then():
    game = small_game("HRM-Sudoku-v0")
    for left in (2, 1, 0):
        assert not game.submit()
        assert game.attempts_left == left and game.verdict == "wrong" and game.over == (left == 0)
        assert game.scene().attempts_left == left
    assert not game.write(1) and not game.undo() and not game.hint() and not game.submit()
    assert (game.draft == game.question).all() and game.attempts_left == 0
    question = game.question
    game.press("o")
    assert not game.over and game.attempts_left == 3 and game.question is not None
    assert (game.question == question).all() and game.write(1)


def test_steps_run_out_and_undoing_gives_them_back():
    game = small_game("HRM-Sudoku-v0")
    for step in range(game.max_steps):
        assert game.write(1 + step % 4)
    assert game.scene().verdict == "out of steps"
    assert not game.write(1 + game.max_steps % 4) and "not allowed" in game.message
    game.undo()
    assert game.scene().verdict is None and game.write(0)


# -- mazes and ARC in particular -----------------------------------------------------------------------------------------


def test_walking_back_unmarks_and_loops_are_cut():
    game = ring_game()
    for key in ("down", "down", "down", "right", "right"):
        game.press(key)
    assert game.cursor == (3, 2) and (game.draft == 4).sum() == 5
    game.press("up")  # a wall
    assert game.cursor == (3, 2) and len(game.past) == 5
    game.press("left")
    assert game.cursor == (3, 1) and game.draft[3, 2] == 1
    game.press("backspace")
    assert game.cursor == (3, 0) and (game.draft == 4).sum() == 3
    for key in ("down", "up"):  # into the dead end and out again
        game.press(key)
    assert (game.draft == 4).sum() == 3 and game.moment.trail[-1] == (3, 0)
    for key in ("right", "right", "down", "right", "right"):
        game.press(key)
    assert game.cursor == (4, 4)
    game.press("up")  # a path ends at the goal
    assert game.cursor == (4, 4)
    assert game.submit()


def test_walking_into_the_own_path_cuts_off_the_loop():
    game = open_game("HRM-Maze-v0", size=4, recipe="tree", puzzle="S   " + "    " * 2 + "   G")
    for key in ("right", "right", "down", "left", "up"):
        game.press(key)
    assert game.cursor == (0, 1) and game.moment.trail == ((0, 0), (0, 1))
    assert np.argwhere(game.draft == 4).tolist() == [[0, 1]]


def test_hints_in_a_maze_lead_back_to_a_shortest_path():
    # a wall on the upper way makes it a dead end
    game = open_game("HRM-Maze-v0", size=5, recipe="tree", puzzle=RING.replace("S    ", "S  # "))
    game.press("right")
    game.hint()
    assert game.cursor == (0, 0) and "go back" in game.message and (game.draft == game.question).all()
    game.hint()
    assert game.cursor == (1, 0)
    game.click((0, 2))  # off the path
    while game.hint():
        pass
    assert game.draft[0, 2] == 1 and game.submit()


def test_either_shortest_path_is_followed():
    for first in ("down", "right"):
        game = ring_game()
        game.press(first)
        while game.hint():
            pass
        assert game.past[1].draft[DIRECTIONS[first]] == 4 and game.draft[DIRECTIONS[first]] == 4
        assert game.submit()


def test_hints_follow_what_is_painted_already():
    for first in ((0, 1), (1, 0)):
        game = ring_game()
        draft = game.draft.copy()
        draft[first] = 4
        game.moment = replace(game.moment, draft=draft)
        game.hint()
        assert game.cursor == first


def test_unmarking_a_walked_cell_takes_the_walker_back():
    game = ring_game()
    for key in ("down", "down", "down"):
        game.press(key)
    game.click((2, 0))
    assert game.cursor == (1, 0) and game.draft[2, 0] == 1 and game.draft[3, 0] == 4
    game.press("down")
    game.press("down")
    assert game.cursor == (3, 0) and (game.draft == 4).sum() == 3


def test_a_stroke_of_the_mouse_marks_a_line_without_gaps():
    game = ring_game()
    game.click((1, 0))
    game.drag((3, 0))
    game.drag((3, 2))
    game.drag((4, 2))
    game.drag((4, 4))
    game.release()
    assert game.cursor == (4, 4) and len(game.past) == 1
    assert game.submit()
    game.start_over()
    assert (game.draft == game.question).all()


def test_arc_operations_are_those_of_the_environment():
    """The same operations in `HRM-ARCEdit-v0` give the same drafts."""
    env = gymnasium.make("HRM-ARCEdit-v0", max_size=6, max_steps=10_000).unwrapped
    game = open_game("HRM-ARCEdit-v0", size=6, seed=8)
    game.max_steps = 10_000
    observation, _ = env.reset(seed=8)
    assert (observation["question"] == game.question).all()
    rng = np.random.default_rng(0)
    colours = set()
    for _ in range(300):
        row, column, colour = rng.integers(6), rng.integers(6), rng.integers(10)
        what = str(rng.choice(["paint", "fill", "resize", "take question", "clear"], p=[0.4, 0.4, 0.1, 0.05, 0.05]))
        game.choose(int(colour))
        game._point_at((int(row), int(column)))
        if what in ("paint", "fill"):
            operation = OPERATIONS.index(f"{what} {colour}")
            game.press("space" if what == "paint" else "f")
        elif what == "resize":
            operation = OPERATIONS.index(what)
            game.resize(int(row) + 1, int(column) + 1)
        else:
            operation = OPERATIONS.index(what)
            game.press("i" if what == "take question" else "x")
        observation, *_ = env.step(np.array([operation, row, column, row, column]))
        assert (observation["draft"] == game.draft).all(), what
        colours |= set(game.draft.reshape(-1).tolist())
    assert colours == set(range(11))


# -- hints of an agent, checking --------------------------------------------------------------------------------------------


def test_hints_of_an_agent():
    agent = HRMAgent.from_pretrained("sudoku-4x4", "cpu")
    solved = 0
    for seed in range(3):
        game = open_game("HRM-Sudoku-v0", agent=agent, seed=seed)
        assert game.family.shape == (4, 4)
        told = agent.solve(game.puzzle).drafts[0]
        assert game.hint() and game.draft[game.cursor] == told[game.cursor]
        assert "the agent says" in game.message and "may be wrong" in game.message
        while game.hint():
            pass
        assert (game.draft[game.question == 0] == told[game.question == 0]).all()
        assert game.message == "the agent has nothing to change"
        solved += game.submit()
    assert solved == 3


def test_an_agent_helps_with_a_file_of_any_split(tmp_path):
    agent = HRMAgent.from_pretrained("sudoku-4x4", "cpu")
    family = make_family("sudoku", 4)
    for split in ("train", "test"):
        text = family.format(open_game("HRM-Sudoku-v0", size=4, split=split, seed=0).question)
        (tmp_path / split).write_text(text + "\n")
        game = open_game("HRM-Sudoku-v0", agent=agent, source=f"lines:{tmp_path / split}")
        assert family.format(game.question) == text
        # without a file: puzzles whose answers it has never seen
        assert in_split(open_game("HRM-Sudoku-v0", agent=agent).puzzle.answers, "test").all()


def test_a_bad_adviser_cannot_write_over_clues_nor_break_the_board():
    rng = np.random.default_rng(0)
    for name in SMALL:
        game = small_game(name)
        game.adviser = lambda puzzle, game=game: rng.integers(0, game.family.values, game.family.shape).astype(np.uint8)
        for _ in range(3 * game.family.cells):
            if not game.hint():
                break
        game.family.check_grids(game.draft)
        if game.family.name == "sudoku":
            assert (game.draft[game.question != 0] == game.question[game.question != 0]).all()
        if game.family.name == "maze":
            assert (game.draft[game.question != 1] == game.question[game.question != 1]).all()


def test_an_adviser_of_mazes_is_followed():
    game = ring_game()
    answer = game.puzzle.answers[0]
    game.adviser = lambda puzzle: answer
    while game.hint():
        pass
    assert (game.draft == answer).all() and game.submit()


def test_wrong_cells_are_shown_on_demand_only():
    game = small_game("HRM-Sudoku-v0")
    assert game.scene().wrong is None
    row = int(np.argmax((game.question == 0).sum(axis=1)))
    first, second = np.flatnonzero(game.question[row] == 0)[:2].tolist()
    for column in (first, second):
        game.click((row, column))
        game.press("1")
    assert game.scene().wrong is None
    game.press("tab")
    wrong = game.scene().wrong
    assert wrong[row, first] and wrong[row, second] and "in conflict" in game.message
    game.press("tab")
    assert game.scene().wrong is None
    game.press("tab")
    game.press("backspace")  # what was said of the old draft is gone
    assert game.scene().wrong is None
    game.press("1")
    game.press("return")
    assert game.scene().wrong is not None
    shown = small_game("HRM-Sudoku-v0", show_wrong=True)
    assert shown.scene().wrong is not None


def test_arc_gives_nothing_away_before_the_end():
    game = small_game("HRM-ARC-v0", show_wrong=True)
    game.press("tab")
    assert "no rules" in game.message
    assert game.scene().wrong is None
    game.submit()
    assert game.verdict == "wrong" and game.scene().wrong is None
    game.submit()
    assert game.over and (game.scene().wrong == (game.draft != game.puzzle.answers[0])).all()


@pytest.mark.parametrize("name", SMALL)
def test_the_puzzles_are_those_of_the_environment(name):
    settings = {{"size": "max_size"}.get(key, key) if "ARC" in name else key: value for key, value in SMALL[name].items()}
    env = gymnasium.make(name, **settings)
    game = small_game(name, seed=11)
    for seed in (11, None, None):
        observation, info = env.reset(seed=seed)
        assert game.puzzle.ids[0] == info["puzzle_id"]
        assert (game.question == observation["question"]).all()
        game.new_puzzle()


def test_a_new_family_is_played_without_a_line_of_its_own():
    """What `Game` knows of a family is its styles, its blank value and its rules."""
    family = make_family("sudoku", 4)
    source = open_game("HRM-Sudoku-v0", size=4).source
    family.name = "something new"
    game = Game(family, source, seed=0)
    while game.hint():
        pass
    assert game.submit()


def test_what_cannot_be_opened():
    with pytest.raises(ConfigError, match="environment 'Chess' is unknown; expected one of HRM-Sudoku-v0"):
        open_game("Chess")
    with pytest.raises(ConfigError, match="CartPole-v1 is no puzzle"):
        open_game("CartPole-v1")
    with pytest.raises(ConfigError, match="HRM-Maze-v0 has no setting 'difficulty'"):
        open_game("HRM-Maze-v0", difficulty="easy")
    with pytest.raises(PuzzleError, match="neither a grid"):
        open_game("HRM-Sudoku-v0", puzzle="1234")
    agent = HRMAgent.from_pretrained("sudoku-4x4", "cpu")
    with pytest.raises(ConfigError, match="the agent is for sudoku"):
        open_game("HRM-Maze-v0", agent=agent)
    with pytest.raises(ConfigError, match="the agent is for 4 x 4 cells, the puzzles have 9 x 9; give size 4"):
        open_game("HRM-SudokuEdit-v0", agent=agent, size=9)


# -- the window ------------------------------------------------------------------------------------------------------------


class Scripted(Window):
    """A window in which things happen: after each picture the next batch of events, and at the end it is closed."""

    def __init__(self, *batches):
        super().__init__()
        self.batches = iter(batches)
        self.frames = []

    def show(self, frame):
        super().show(frame)
        self.frames.append(frame.copy())
        for event in next(self.batches, [pygame.event.Event(pygame.QUIT)]):
            pygame.event.post(event)
        pygame.time.set_timer(pygame.QUIT, 10_000)  # should a picture fail to come, the test fails instead of waiting for ever

    def close(self):
        if self._screen is not None:
            pygame.time.set_timer(pygame.QUIT, 0)
        super().close()


def key(code, text="", mod=0):
    return pygame.event.Event(pygame.KEYDOWN, key=code, unicode=text, mod=mod)


def mouse(kind, spot, button=1, scale=1.0):
    """At a cell of the draft, or at a pixel."""
    place = tuple(round(length * scale) for length in spot)
    more = {"buttons": (1, 0, 0), "rel": (0, 0)} if kind == pygame.MOUSEMOTION else {"button": button}
    return pygame.event.Event(kind, pos=place, **more)


def spot(game, cell):
    top, left, height, width = drawing.cell_box(game.scene(), *cell)
    return left + width // 2, top + height // 2


def test_a_sudoku_in_the_window():
    game = small_game("HRM-Sudoku-v0")
    answer = game.puzzle.answers[0]
    events = []
    for number, (row, column) in enumerate(np.argwhere(game.question == 0).tolist()):
        digit = str(answer[row, column])
        events.append(mouse(pygame.MOUSEBUTTONDOWN, spot(game, (row, column))))
        # from the upper row of keys and from the number block
        events.append(key(pygame.K_0 + int(digit), digit) if number % 2 else key(getattr(pygame, f"K_KP{digit}")))
    events += [key(pygame.K_z, mod=pygame.KMOD_LCTRL), key(pygame.K_z, mod=pygame.KMOD_LCTRL | pygame.KMOD_LSHIFT)]
    events.append(key(pygame.K_RETURN, "\r"))
    window = Scripted(*([event] for event in events))
    play_in_window(game, window)
    assert game.verdict == "verified" and window.closed
    assert len({frame.shape for frame in window.frames}) == 1
    assert len(window.frames) == len(events) + 1
    assert (window.frames[0] != window.frames[-1]).any()


def test_the_mouse_draws_in_the_window_and_chooses_from_the_palette():
    game = open_game("HRM-ARC-v0", size=5, seed=3)
    view = View(game)
    view.frame()
    game.resize(5, 5)
    game.clear()
    value, top, left, side = view._palette[7]
    assert value == 7
    events = [
        mouse(pygame.MOUSEBUTTONDOWN, (left + side // 2, top + side // 2)),
        mouse(pygame.MOUSEBUTTONDOWN, spot(game, (1, 0))),
        mouse(pygame.MOUSEMOTION, spot(game, (1, 4))),
        mouse(pygame.MOUSEBUTTONUP, spot(game, (1, 4))),
        key(pygame.K_3, "3"),
        mouse(pygame.MOUSEBUTTONDOWN, spot(game, (4, 4)), button=3),
    ]

    play_in_window(game, Scripted(events))
    assert game.colour == 3
    assert game.draft[:, 0].tolist() == [0, 7, 3, 3, 3] and (game.draft[1] == 7).all()


def test_clicks_find_their_cell_in_a_window_that_was_made_smaller(monkeypatch):
    game = small_game("HRM-Sudoku-v0")
    cell = tuple(np.argwhere(game.question == 0)[-1].tolist())
    monkeypatch.setattr(pygame.display, "get_desktop_sizes", lambda: [(500, 2000)])
    width = View(game).frame().shape[1]
    window = Scripted([mouse(pygame.MOUSEBUTTONDOWN, spot(game, cell), scale=450 / width)])
    play_in_window(game, window)
    assert game.cursor == cell


def test_escape_closes():
    game = small_game("HRM-Sudoku-v0")
    window = Scripted([key(pygame.K_ESCAPE, "\x1b"), key(pygame.K_h, "h")])
    play_in_window(game, window)
    assert window.closed and game.hints == 0


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("size", [160, 480])
def test_every_cell_is_found_again_and_the_frame_keeps_its_size(name, size):
    game = small_game(name)
    view = View(game, size)
    shape = view.frame().shape
    scene = game.scene()
    for row, column in np.ndindex(game.family.shape):
        top, left, height, width = drawing.cell_box(scene, row, column, size)
        assert view.cell_at(left, top) == view.cell_at(left + width - 1, top + height - 1) == (row, column)
    assert view.value_at(0, 0) is None
    game.message = "a long message " * 50
    game.submit()
    assert view.frame().shape == shape
    assert shape[0] % 2 == shape[1] % 2 == 0


# -- the command -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch, capsys):
    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["hrm-gym", "play", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return command


def test_without_a_display_there_is_one_clear_line(run, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    code, out, err = run("HRM-Sudoku-v0", "--size", 4)
    assert code == 2 and out == ""
    assert err.count("\n") == 1 and err.startswith("hrm-gym: there is no display on this machine")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Chess"], "environment 'Chess' is unknown"),
        (["HRM-Sudoku-v0", "--size", 5], "5"),
        (["HRM-Sudoku-v0", "--recipe", "tree"], "has no setting 'recipe'"),
        (["HRM-Sudoku-v0", "--puzzle", "1234"], "neither a grid"),
        (["HRM-Sudoku-v0", "--agent", "nobody"], "no agent at 'nobody'"),
        (["HRM-Sudoku-v0", "--source", "csv:none.csv"], "none.csv"),
        (["HRM-Maze-v0", "--agent", "sudoku-4x4"], "the agent is for sudoku"),
    ],
)
def test_mistakes_give_one_line(run, arguments, message):
    code, _, err = run(*arguments)
    assert code == 2
    assert message in err and err.count("\n") == 1 and err.startswith("hrm-gym: ")


def test_the_command_opens_the_game_that_was_asked_for(run, monkeypatch):
    opened = []
    monkeypatch.setattr("hrm_gym.play.play_in_window", opened.append)
    family = make_family("sudoku", 4)
    puzzle = family.format(small_game("HRM-Sudoku-v0", seed=9).question)
    code, _, err = run("HRM-SudokuEdit-v0", "--agent", "sudoku-4x4", "--seed", 1, "--show-wrong", "--device", "cpu")
    assert code == 0, err
    code, _, err = run("HRM-Sudoku-v0", "--size", 4, "--puzzle", puzzle)
    assert code == 0, err
    code, _, err = run("HRM-MazeWalk-v0", "--size", 7, "--recipe", "braid")
    assert code == 0, err
    assert opened[0].adviser is not None and opened[0].show_wrong and opened[0].family.shape == (4, 4)
    assert family.format(opened[1].question) == puzzle and opened[1].adviser is None
    assert isinstance(opened[-1], MazeGame) and opened[-1].family.shape == (7, 7)
