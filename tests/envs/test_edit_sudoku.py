"""`HRM-SudokuEdit-v0` against the same rules in plain Python."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import hrm_gym  # noqa: F401  (registers the ids)
from hrm_gym.envs.errors import ConfigError, PuzzleError
from hrm_gym.envs.sudoku import count_solutions
from hrm_gym.envs.sudoku.edit import FewerBlanks, SudokuEditEnv

EASY = "1.3434.22.4343.1"  # 4 x 4, four blanks
SOLVED = "1234341221434321"


def make(**settings: Any) -> SudokuEditEnv:
    env = gym.make("HRM-SudokuEdit-v0", **({"size": 4} | settings)).unwrapped
    assert isinstance(env, SudokuEditEnv)
    return env


class PlainEdit:
    """The episode as its manual tells it, with nothing kept but the grid."""

    boxes = {4: (2, 2), 6: (2, 3), 9: (3, 3), 16: (4, 4)}  # noqa: RUF012

    def __init__(self, question: np.ndarray, attempts: int, max_steps: int, settings: dict[str, Any]) -> None:
        self.question = question.tolist()
        self.grid = question.tolist()
        self.n = len(question)
        self.attempts, self.steps, self.max_steps = attempts, 0, max_steps
        self.settings = settings
        self.blanks_given = self.blanks()

    def units(self) -> list[list[tuple[int, int]]]:
        n, (rows, columns) = self.n, self.boxes[self.n]
        lines = [[(i, j) for j in range(n)] for i in range(n)] + [[(i, j) for i in range(n)] for j in range(n)]
        corners = [(i, j) for i in range(0, n, rows) for j in range(0, n, columns)]
        return lines + [[(i + a, j + b) for a in range(rows) for b in range(columns)] for i, j in corners]

    def blanks(self) -> int:
        return sum(value == 0 for row in self.grid for value in row)

    def broken(self) -> int:
        count = 0
        for unit in self.units():
            values = [self.grid[i][j] for i, j in unit if self.grid[i][j]]
            count += len(values) != len(set(values))
        return count

    def apply(self, action: int) -> bool:
        """Changes the grid; whether it has changed."""
        n = self.n
        if action == n**3 + n**2:
            return False
        cell, value = (action // n, action % n + 1) if action < n**3 else (action - n**3, 0)
        i, j = divmod(cell, n)
        changed = self.question[i][j] == 0 and self.grid[i][j] != value
        if changed:
            self.grid[i][j] = value
        return changed

    def mask(self) -> list[bool]:
        """By brute force: each action is tried."""
        n, consistent = self.n, self.settings["mask"] == "consistent"
        found = []
        for action in range(n**3 + n**2):
            before = [row.copy() for row in self.grid]
            good = self.apply(action)
            if good and consistent and action < n**3:
                i, j = divmod(action // n, n)
                units = [[self.grid[a][b] for a, b in unit if (a, b) != (i, j)] for unit in self.units() if (i, j) in unit]
                # the value that stood in the cell before counts as taken: to write it again would change nothing
                good = all(action % n + 1 not in values for values in units)
            found.append(good)
            self.grid = before
        return [*found, not consistent or self.blanks() == 0]

    def step(self, action: int) -> tuple[float, bool, bool, bool]:
        missing = self.blanks() + self.broken()
        changed = self.apply(action)
        full = self.blanks() == 0
        submitted = action == self.n**3 + self.n**2 or (self.settings["auto_submit"] and changed and full)
        verified = submitted and full and self.broken() == 0
        reward = float(verified) - self.settings["step_cost"]
        if self.settings["reward"] == "dense":
            reward += (missing - self.blanks() - self.broken()) / self.blanks_given
        self.steps += 1
        self.attempts -= submitted and not verified
        terminated = verified or self.attempts == 0
        return reward, verified, terminated, not terminated and self.steps >= self.max_steps


@pytest.mark.parametrize("mask", ["legal", "consistent"])
@pytest.mark.parametrize(("reward", "auto_submit", "step_cost"), [("verified", False, 0.0), ("dense", True, 0.125)])
@pytest.mark.parametrize("size", [4, 6, 9, 16])
def test_every_step_is_that_of_the_plain_rules(size: int, mask: str, reward: str, auto_submit: bool, step_cost: float) -> None:
    settings = {"mask": mask, "reward": reward, "auto_submit": auto_submit, "step_cost": step_cost}
    long, short = (make(size=size, blanks=size + 3, attempts=3, max_steps=steps, **settings) for steps in (40, 6))
    rng = np.random.default_rng(size)
    seen = set()
    for seed in range(12 if size < 9 else 2):
        env = short if seed % 2 else long
        observation, info = env.reset(seed=seed)
        plain = PlainEdit(observation["question"], 3, env.max_steps, settings)
        over = False
        while not over:
            masks = env.action_masks()
            assert masks.dtype == bool and masks.tolist() == plain.mask() == info["action_mask"].tolist()
            assert masks.any()
            draw = rng.random()
            if draw < 0.2:
                action = int(rng.integers(env.action_space.n))  # type: ignore[attr-defined]
            elif draw < 0.5:
                action = int(rng.choice(np.flatnonzero(masks)))
            else:
                action = int(env.solution()[0])
            observation, earned, terminated, truncated, info = env.step(action)
            expected, verified, *flags = plain.step(action)
            assert observation["draft"].tolist() == plain.grid and observation["question"].tolist() == plain.question
            assert earned == pytest.approx(expected, abs=1e-12) and [terminated, truncated] == flags
            assert info["verified"] is verified and info["attempts_left"] == plain.attempts
            assert info["blanks"] == plain.blanks() and info["broken_rules"] == plain.broken()
            assert observation["step"] == plain.steps
            over = terminated or truncated
        seen.add("verified" if verified else "failed" if terminated else "truncated")
    assert size > 6 or seen >= {"verified", "truncated"}


def test_a_puzzle_by_hand() -> None:
    env = make()
    observation, info = env.reset(options={"puzzle": EASY})
    assert info["blanks"] == 4 and info["broken_rules"] == 0
    blank = observation["question"] == 0
    assert np.flatnonzero(blank).tolist() == [1, 6, 9, 14]
    submit = env.submit_action
    assert submit == env.action_space.n - 1 == 80  # type: ignore[attr-defined]

    assert env.step(env.write_action(0, 0, 2))[0]["draft"].tolist() == observation["draft"].tolist()  # a clue stays
    _, reward, terminated, _, info = env.step(env.write_action(0, 1, 1))
    assert (reward, terminated) == (0.0, False)
    assert info["blanks"] == 3 and info["broken_rules"] == 2  # the row and the box; the column has no other 1
    assert env.step(env.erase_action(0, 1))[4]["broken_rules"] == 0
    for row, column, digit in ((0, 1, 2), (1, 2, 1), (2, 1, 1), (3, 2, 2)):
        observation, reward, terminated, _, info = env.step(env.write_action(row, column, digit))
        assert (reward, terminated) == (0.0, False)
    assert env.family.format(observation["draft"]) == SOLVED and info["blanks"] == 0 and info["verified"] is False
    assert env.step(submit)[1:3] == (1.0, True)


def test_the_solution_of_a_full_wrong_grid_is_submitted_once() -> None:
    env = make(auto_submit=True, attempts=2)
    env.reset(options={"puzzle": EASY})
    for row, column in ((0, 1), (1, 2), (2, 1), (3, 2)):
        _, _, terminated, _, info = env.step(env.write_action(row, column, 4))
    assert not terminated and info["attempts_left"] == 1 and info["blanks"] == 0
    results = [env.step(action) for action in env.solution()]
    assert [result[2] for result in results] == [False] * (len(results) - 1) + [True]
    assert results[-1][4]["verified"] and results[-1][4]["attempts_left"] == 1


@pytest.mark.parametrize("size", [4, 6, 9, 16])
@pytest.mark.parametrize(("reward", "top"), [("verified", 1.0), ("dense", 2.0)])
@pytest.mark.parametrize("auto_submit", [False, True])
def test_the_solution_earns_the_top_reward_from_anywhere(size: int, reward: str, top: float, auto_submit: bool) -> None:
    env = make(size=size, reward=reward, auto_submit=auto_submit)
    for seed in range(3):
        env.reset(seed=seed)
        env.action_space.seed(seed)
        wander = [env.action_space.sample() for _ in range(2 * size)]
        earned = sum(env.step(action)[1] for action in wander if action != env.submit_action)
        terminated, verified = False, False
        for action in env.solution():
            assert not terminated
            _, gained, terminated, _, info = env.step(action)
            earned += gained
            verified = info["verified"]
        assert terminated and verified and earned == pytest.approx(top)


def test_attempts_are_counted_and_the_last_wrong_one_ends_the_episode() -> None:
    env = make(attempts=2)
    env.reset(options={"puzzle": EASY})
    results = [env.step(env.submit_action) for _ in range(2)]
    assert [(reward, terminated, info["attempts_left"]) for _, reward, terminated, _, info in results] == [
        (0.0, False, 1),
        (0.0, True, 0),
    ]
    with pytest.raises(gym.error.ResetNeeded, match="the episode is over"):
        env.step(0)


def test_max_steps_is_three_grids_by_default() -> None:
    env = make()
    env.reset(seed=0)
    flags = [env.step(0)[2:4] for _ in range(48)]
    assert flags == [(False, False)] * 47 + [(False, True)]
    assert make(size=9).max_steps == 243 and make(max_steps=7).max_steps == 7


def test_fewer_blanks_is_as_many_as_asked_for_and_the_same_solution() -> None:
    env = make(size=9, difficulty="easy", blanks=5)
    full = make(size=9, difficulty="easy")
    seeds = np.arange(40, dtype=np.uint64)
    few, many = env.source.draw(seeds), full.source.draw(seeds)
    assert ((few.questions == 0).sum(axis=(1, 2)) == 5).all()
    assert (few.answers == many.answers).all()
    kept = many.questions != 0
    assert (few.questions[kept] == many.questions[kept]).all()
    assert ((few.questions == 0) | (few.questions == few.answers)).all()
    assert (count_solutions(few.questions) == 1).all()
    # a pure function of the seed, whatever else is in the batch; every blank has its chance
    assert (env.source.draw(seeds[7:9]).questions == few.questions[7:9]).all()
    assert len({(question == 0).tobytes() for question in few.questions}) == 40
    assert few.ids[0].endswith("-5-blanks")
    assert (make(blanks=16).source.draw(seeds).questions == make().source.draw(seeds).questions).all()


def test_fewer_blanks_leaves_a_puzzle_of_ones_own_alone() -> None:
    env = make(blanks=1)
    assert (env.reset(options={"puzzle": EASY})[0]["question"] == 0).sum() == 4
    assert (env.reset(seed=0)[0]["question"] == 0).sum() == 1
    assert isinstance(env.source, FewerBlanks)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reward": "sparse"}, "reward is 'sparse'; expected 'verified' or 'dense'"),
        ({"mask": "none"}, "mask is 'none'; expected 'legal' or 'consistent'"),
        ({"blanks": 0}, "blanks is 0; expected a whole number from 1 up"),
        ({"max_steps": 0}, "max_steps is 0"),
        ({"attempts": 0}, "attempts is 0"),
        ({"step_cost": -1.0}, "step_cost is -1.0"),
        ({"render_mode": "film"}, "render_mode is 'film'"),
    ],
)
def test_faulty_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**settings)


@pytest.mark.parametrize("action", [-1, 81, 0.5, "3", [1], [[1], [1, 2]], None])
def test_faulty_actions_are_named_and_change_nothing(action: Any) -> None:
    env = make()
    env.reset(options={"puzzle": EASY})
    with pytest.raises(PuzzleError, match=r"^action is .*; expected .*Discrete\(81\)"):
        env.step(action)
    observation, _, _, _, info = env.step(np.array(env.write_action(0, 1, 2), np.int32))
    assert observation["step"] == 1 and info["blanks"] == 3


def test_faulty_cells_are_named() -> None:
    env = make()
    for call in (lambda: env.write_action(4, 0, 1), lambda: env.erase_action(0, -1)):
        with pytest.raises(PuzzleError, match=r"is off the grid; expected both in 0\.\.3"):
            call()
    with pytest.raises(PuzzleError, match=r"digit is 0; expected 1\.\.4"):
        env.write_action(0, 0, 0)
    with pytest.raises(gym.error.ResetNeeded, match="no episode has begun"):
        env.step(0)
    with pytest.raises(gym.error.ResetNeeded, match="no episode has begun"):
        env.solution()


def test_the_picture_shows_the_last_cell_and_what_is_wrong() -> None:
    env = make(render_mode="ansi")
    env.reset(options={"puzzle": EASY})
    assert env.scene().cursor is None and env.scene().previous is None
    env.step(env.write_action(1, 2, 4))
    scene = env.scene()
    assert scene.cursor == (1, 2) and scene.step == 1 and scene.max_steps == 48 and scene.verdict is None
    assert scene.previous is not None and np.argwhere(scene.previous != scene.draft).tolist() == [[1, 2]]
    assert scene.wrong is not None and scene.wrong[1].tolist() == [False, True, True, False]
    text = env.render()
    assert isinstance(text, str) and "changed 1" in text and "wrong" in text
    env.step(env.submit_action)
    assert env.scene().verdict == "wrong" and env.scene().cursor is None
