"""`HRM-ARCEdit-v0` against the same operations in plain NumPy on grids without a canvas."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import hrm_gym  # noqa: F401  (registers the ids)
from hrm_gym.envs.arc import from_canvas, to_canvas
from hrm_gym.envs.arc.edit import OPERATIONS, ArcBoards, ArcEditEnv
from hrm_gym.envs.arc.family import ArcFamily
from hrm_gym.envs.edit import EditEnv
from hrm_gym.envs.errors import ConfigError, PuzzleError
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.sources import ListSource

SUBMIT = 35


def make(**settings: Any) -> ArcEditEnv:
    env = gym.make("HRM-ARCEdit-v0", **({"max_size": 6} | settings)).unwrapped
    assert isinstance(env, ArcEditEnv)
    return env


def grid(text: str) -> np.ndarray:
    """Rows of digits -> uint8[h, w]."""
    return np.array([[int(character) for character in row] for row in text.split()], np.uint8)


def small(question: str, answer: str, side: int = 4, **settings: Any) -> EditEnv:
    """One puzzle on a small canvas, of grids that are easily written down."""
    family = ArcFamily(side)
    puzzles = family.puzzles_with_answers(
        to_canvas([grid(question)], side), to_canvas([grid(answer)], side), ["t/0"], np.zeros(1, np.float32)
    )
    source = ListSource(puzzles)
    return EditEnv(ArcBoards(family, source, 1, **settings), source)


def draft_of(env: EditEnv) -> str:
    """The draft's grid as rows of digits."""
    picture = from_canvas(env.boards.drafts[0])
    assert picture is not None
    return " ".join("".join(map(str, row)) for row in picture.tolist())


def code(name: str) -> int:
    return OPERATIONS.index(name)


class PlainEditor:
    """The operations as the manual tells them, on grids of their own sizes."""

    def __init__(self, question: np.ndarray) -> None:
        self.question, self.draft = question.copy(), question.copy()
        self.clipboard: np.ndarray | None = None

    def apply(self, operation: str, y1: int, x1: int, y2: int, x2: int) -> None:
        kind, _, rest = operation.partition(" ")
        draft, (height, width) = self.draft, self.draft.shape
        top, bottom, left, right = min(y1, y2), max(y1, y2), min(x1, x2), max(x1, x2)
        part = (slice(top, bottom + 1), slice(left, right + 1))  # NumPy cuts it to the grid
        picture = draft[part].copy()
        if operation == "take question":
            self.draft = self.question.copy()
        elif operation == "clear":
            draft[:] = 0
        elif operation == "resize":
            bigger = np.zeros((60, 60), np.uint8)
            bigger[:height, :width] = draft
            self.draft = bigger[: bottom + 1, : right + 1].copy()
        elif operation == "copy question":
            if self.question[part].size:
                self.clipboard = self.question[part].copy()
        elif kind == "fill":
            self.fill(y1, x1, int(rest))
        elif operation == "paste":
            if self.clipboard is not None and y1 < height and x1 < width:
                self.stamp(self.clipboard, y1, x1)
        elif picture.size == 0:
            return
        elif kind == "paint":
            draft[part] = int(rest)
        elif operation == "copy draft":
            self.clipboard = picture
        elif operation == "crop":
            self.draft = picture
        elif kind == "flip":
            draft[part] = picture[:, ::-1] if rest == "left-right" else picture[::-1]
        elif kind == "rotate":
            if top + picture.shape[1] <= height and left + picture.shape[0] <= width:
                draft[part] = 0
                self.stamp(np.rot90(picture, 1 if rest == "left" else -1), top, left)
        elif kind == "move":
            dy, dx = {"up": (-1, 0), "right": (0, 1), "down": (1, 0), "left": (0, -1)}[rest]
            draft[part] = 0
            self.stamp(picture, top + dy, left + dx)
        else:
            raise AssertionError(operation)

    def stamp(self, picture: np.ndarray, y: int, x: int) -> None:
        for (i, j), value in np.ndenumerate(picture):
            if 0 <= y + i < self.draft.shape[0] and 0 <= x + j < self.draft.shape[1]:
                self.draft[y + i, x + j] = value

    def fill(self, y: int, x: int, colour: int) -> None:
        if y >= self.draft.shape[0] or x >= self.draft.shape[1]:
            return
        old, joined, edge = self.draft[y, x], set(), {(y, x)}
        while edge:
            joined |= edge
            beside = {(i + a, j + b) for i, j in edge for a, b in ((0, 1), (1, 0), (0, -1), (-1, 0))}
            inside = {(i, j) for i, j in beside if 0 <= i < self.draft.shape[0] and 0 <= j < self.draft.shape[1]}
            edge = {cell for cell in inside if self.draft[cell] == old} - joined
        for cell in joined:
            self.draft[cell] = colour


def agreement(one: np.ndarray, other: np.ndarray) -> float:
    """Two canvases: of the cells inside either, the share that is the same."""
    inside = (one != 10) | (other != 10)
    return float((one == other)[inside].mean())


@pytest.mark.parametrize("reward", ["verified", "dense"])
@pytest.mark.parametrize("side", [5, 10])
def test_every_step_is_that_of_the_plain_operations(side: int, reward: str) -> None:
    env = make(max_size=side, reward=reward, attempts=3, step_cost=0.125, max_steps=60)
    rng = np.random.default_rng(side)
    seen = set()
    for seed in range(40):
        observation, info = env.reset(seed=seed)
        assert env.puzzle is not None
        answer = env.puzzle.answers[0]
        question = from_canvas(observation["question"])
        assert question is not None
        plain = PlainEditor(question)
        attempts = 3
        for steps in range(1, 61):
            masks = env.action_masks()
            assert masks.shape == (36 + 4 * side,) and masks.dtype == bool
            assert np.flatnonzero(~masks).tolist() == ([30] if plain.clipboard is None else [])
            assert masks.tolist() == info["action_mask"].tolist()
            # corners within the grid and beyond; rarely submitted, but solved now and then
            operation = int(rng.integers(35)) if rng.random() < 0.97 else SUBMIT
            high = rng.choice([side, max(plain.draft.shape)])
            action = np.array([operation, *rng.integers(high, size=4)])
            if steps > 30 and seed % 2:
                action = env.solution()[0]
                operation = int(action[0])
            before = agreement(to_canvas([plain.draft], side)[0], answer)
            if operation != SUBMIT:
                plain.apply(OPERATIONS[operation], *action[1:].tolist())
            observation, earned, terminated, truncated, info = env.step(action)
            canvas = to_canvas([plain.draft], side)[0]
            verified = operation == SUBMIT and np.array_equal(canvas, answer)
            expected = float(verified) - 0.125
            if reward == "dense" and operation != SUBMIT:
                expected += agreement(canvas, answer) - before
            attempts -= operation == SUBMIT and not verified
            assert observation["draft"].tolist() == canvas.tolist(), (OPERATIONS[operation], action)
            held = np.full((side, side), 10) if plain.clipboard is None else to_canvas([plain.clipboard], side)[0]
            assert observation["clipboard"].tolist() == held.tolist(), (OPERATIONS[operation], action)
            assert earned == pytest.approx(expected, abs=1e-12)
            assert terminated is (verified or attempts == 0) and truncated is (not terminated and steps == 60)
            assert info["verified"] is verified and info["attempts_left"] == attempts
            told = {"rating", "cell_accuracy", "size_right"} & set(info)
            if operation == SUBMIT:
                assert len(told) == 3
                inside = answer != 10
                assert info["cell_accuracy"] == pytest.approx((canvas == answer)[inside].mean())
                assert info["size_right"] is bool(np.array_equal(canvas != 10, inside))
            else:
                assert not told
            if terminated or truncated:
                break
        seen.add("verified" if verified else "failed" if terminated else "truncated")
    assert seen >= {"verified", "truncated"}


@pytest.mark.parametrize(
    ("operation", "corners", "before", "after"),
    [
        ("paint 7", (0, 1, 1, 2), "123 456", "177 477"),
        ("paint 7", (1, 2, 0, 1), "123 456", "177 477"),  # corners in any order
        ("paint 7", (1, 2, 3, 3), "123 456", "123 457"),  # only the part inside
        ("paint 7", (2, 0, 3, 3), "123 456", "123 456"),  # nothing inside
        ("fill 7", (0, 0, 3, 3), "112 121", "772 721"),  # not round corners
        ("fill 1", (0, 0, 0, 0), "112 121", "112 121"),
        ("fill 7", (2, 0, 0, 0), "112 121", "112 121"),
        ("move up", (0, 0, 1, 1), "123 456", "453 006"),
        ("move right", (0, 0, 1, 0), "123 456", "013 046"),
        ("move down", (0, 0, 0, 1), "123 456", "003 126"),
        ("move left", (0, 1, 0, 2), "123 456", "230 456"),
        ("rotate left", (0, 0, 1, 1), "123 456", "253 146"),
        ("rotate right", (0, 0, 1, 1), "123 456", "413 526"),
        ("rotate right", (0, 0, 0, 1), "123 456", "103 256"),  # what was there is overwritten, what is left black
        ("rotate right", (1, 0, 1, 1), "123 456", "123 456"),  # no room
        ("flip left-right", (0, 0, 1, 2), "123 456", "321 654"),
        ("flip up-down", (0, 0, 1, 1), "123 456", "453 126"),
        ("clear", (0, 0, 0, 0), "123 456", "000 000"),
        ("resize", (0, 0, 3, 0), "123 456", "1 4 0 0"),
        ("resize", (2, 1, 0, 3), "123 456", "1230 4560 0000"),
        ("crop", (0, 1, 1, 3), "123 456", "23 56"),
    ],
)
def test_operations_by_hand(operation: str, corners: tuple[int, ...], before: str, after: str) -> None:
    env = small(before, "1")
    env.reset(seed=0)
    env.step(np.array([code(operation), *corners]))
    assert draft_of(env) == after


def test_the_clipboard_by_hand() -> None:
    env = small("123 456", "1")
    env.reset(seed=0)
    paste = code("paste")
    assert not env.action_masks()[paste]
    env.step(np.array([paste, 0, 0, 0, 0]))  # nothing to paste
    assert draft_of(env) == "123 456"
    env.step(np.array([code("clear"), 0, 0, 0, 0]))
    env.step(np.array([code("copy question"), 0, 1, 1, 2]))
    assert env.action_masks()[paste]
    env.step(np.array([paste, 1, 1, 0, 0]))  # cut off at the grid's edge
    assert draft_of(env) == "000 023"
    env.step(np.array([code("copy draft"), 1, 1, 1, 2]))
    env.step(np.array([paste, 0, 0, 0, 0]))
    assert draft_of(env) == "230 023"
    observation = env.step(np.array([code("take question"), 0, 0, 0, 0]))[0]
    assert draft_of(env) == "123 456" and (observation["clipboard"] != 10).sum() == 2
    assert (env.reset(seed=1)[0]["clipboard"] == 10).all() and not env.action_masks()[paste]


def test_two_attempts_and_figures_only_of_what_was_submitted() -> None:
    env = small("12", "13")
    env.reset(seed=0)
    assert "cell_accuracy" not in env.step(np.array([0, 0, 0, 0, 0]))[4]  # paints the first cell black
    _, reward, terminated, _, info = env.step(np.array([SUBMIT, 0, 0, 0, 0]))
    assert (reward, terminated, info["attempts_left"], info["cell_accuracy"], info["size_right"]) == (0.0, False, 1, 0.0, True)
    assert "cell_accuracy" not in env.step(np.array([1, 0, 0, 0, 0]))[4]
    assert "rating" not in env.step(np.array([3, 0, 1, 0, 1]))[4]
    _, reward, terminated, _, info = env.step(np.array([SUBMIT, 0, 0, 0, 0]))
    assert (reward, terminated, info["verified"], info["cell_accuracy"]) == (1.0, True, True, 1.0)


@pytest.mark.parametrize("reward", ["verified", "dense"])
def test_the_solution_earns_the_top_reward_from_anywhere(reward: str) -> None:
    env = make(reward=reward, max_size=10)
    for seed in range(30):
        env.reset(seed=seed)
        env.action_space.seed(seed)
        assert env.puzzle is not None
        earned = agreement(env.puzzle.questions[0], env.puzzle.answers[0]) if reward == "dense" else 0.0
        for _ in range(5 if seed % 2 else 0):
            action = env.action_space.sample()
            if action[0] != SUBMIT:
                earned += env.step(action)[1]
        actions = env.solution()
        assert len(actions) <= env.max_steps
        results = [env.step(action) for action in actions]
        assert results[-1][2] and results[-1][4]["verified"] and not any(result[2] for result in results[:-1])
        assert earned + sum(result[1] for result in results) == pytest.approx(2.0 if reward == "dense" else 1.0)


def test_an_unknown_answer_is_never_right() -> None:
    family = ArcFamily(3)
    questions = to_canvas([grid("12")], 3)
    facts = family.puzzles_with_answers(questions, questions, ["t/0"], np.zeros(1, np.float32)).facts
    puzzles = Puzzles(questions, np.full_like(questions, 10), ["t/0"], np.zeros(1, np.float32), facts)
    env = EditEnv(ArcBoards(family, ListSource(puzzles), 1, reward="dense"), ListSource(puzzles))
    env.reset(seed=0)
    with pytest.raises(PuzzleError, match="'t/0' has no known answer"):
        env.solution()
    _, reward, terminated, _, info = env.step(np.array([SUBMIT, 0, 0, 0, 0]))
    assert (reward, terminated, info["cell_accuracy"], info["size_right"]) == (0.0, False, 0.0, False)


def test_a_question_elsewhere_on_the_canvas_is_refused() -> None:
    env = small("12", "13", side=3)
    env.reset(seed=0)
    assert env.puzzle is not None
    moved = env.puzzle.take([0])
    moved.questions[:] = np.roll(moved.questions, 1, axis=2)
    with pytest.raises(PuzzleError, match="no grid in the upper left corner"):
        env.reset(options={"puzzle": moved})


@pytest.mark.parametrize(
    "action", [[36, 0, 0, 0, 0], [0, 6, 0, 0, 0], [0, 0, 0, 0, -1], [-1, 0, 0, 0, 0], [0, 0, 0, 0], 3, [0.0] * 5, [[1], [2, 3]]]
)
def test_faulty_actions_are_named_and_change_nothing(action: Any) -> None:
    env = make()
    env.reset(seed=0)
    with pytest.raises(PuzzleError, match=r"^action is .*; expected .*MultiDiscrete"):
        env.step(action)
    assert env.step([0, 0, 0, 0, 0])[0]["step"] == 1


def test_settings() -> None:
    assert len(OPERATIONS) == 36 and OPERATIONS[SUBMIT] == "submit"
    env = make()
    assert env.max_steps == 38 and env.boards.attempts == 2
    assert env.action_space == gym.spaces.MultiDiscrete([36, 6, 6, 6, 6])
    with pytest.raises(ConfigError, match="reward is 'goal'; expected 'verified' or 'dense'"):
        make(reward="goal")
    assert make(render_mode="ansi").metadata["render_modes"] == ["human", "rgb_array", "ansi"]


def test_the_picture_shows_the_first_corner_and_tells_nothing_of_the_answer() -> None:
    env = make(render_mode="rgb_array")
    env.reset(seed=0)
    env.step([5, 0, 1, 0, 1])
    scene = env.scene()
    assert scene.cursor == (0, 1) and scene.wrong is None and scene.verdict is None and scene.demonstrations
    env.step([SUBMIT, 0, 0, 0, 0])
    assert env.scene().verdict == "wrong" and env.scene().wrong is not None and env.scene().cursor is None
    env.step([0, 0, 0, 0, 0])
    assert env.scene().verdict is None and env.scene().wrong is None
