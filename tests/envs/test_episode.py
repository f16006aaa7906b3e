"""The episode, played in a family so small that every number can be written down."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from hrm_gym.envs.episode import PuzzleEnv, action_space, draw_seeds, pack_actions, unpack_actions
from hrm_gym.envs.errors import ConfigError, PuzzleError
from hrm_gym.envs.family import CellStyle, Family
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.sources import GeneratedSource, ListSource
from hrm_gym.envs.symmetries import Symmetries


class FillIn(Family):
    """2 x 3 cells of 0, 1, 2: the answer has a 2 wherever the question is blank (0)."""

    name = "fill-in"
    shape = (2, 3)
    values = 3
    blank = 0
    tokens = np.array([1, 2, 3], np.uint8)
    vocabulary = 4
    styles = tuple(CellStyle(str(value), (80 * value, 90, 90), str(value)) for value in range(3))

    def __init__(self, has_rules: bool = True) -> None:
        self.has_rules = has_rules

    def verify(self, puzzles: Puzzles, drafts: np.ndarray) -> np.ndarray:
        return (drafts == puzzles.answers).all(axis=(1, 2))

    def is_solved(self, questions: Any, drafts: Any, answers: Any, facts: Mapping[str, Any]) -> Any:
        return (drafts == answers).all(-1).all(-1)

    def figures(self, puzzles: Puzzles, drafts: np.ndarray) -> dict[str, np.ndarray]:
        return {"blanks": (drafts == 0).sum(axis=(1, 2)), "full": (drafts != 0).all(axis=(1, 2))}

    def wrong_cells(self, puzzles: Puzzles, drafts: np.ndarray) -> np.ndarray:
        return np.asarray(drafts != puzzles.answers)

    def puzzles_from_questions(self, questions: np.ndarray) -> Puzzles:
        questions = self.check_grids(questions)
        if (questions == 2).any():
            raise PuzzleError("question has a 2; expected 0 or 1")
        ids = [f"given-{self.format(question)}" for question in questions]
        return Puzzles(
            questions, np.where(questions == 0, 2, questions).astype(np.uint8), ids, np.zeros(len(questions), np.float32)
        )

    def puzzles_with_answers(self, questions: np.ndarray, answers: np.ndarray, ids: list[str], ratings: np.ndarray) -> Puzzles:
        return Puzzles(questions, answers, ids, ratings)

    def parse(self, text: str) -> np.ndarray:
        if len(text) != 6 or set(text) - set("012"):
            raise PuzzleError(f"text has {len(text)} characters; expected 6 of 0, 1, 2")
        return np.array([int(c) for c in text], np.uint8).reshape(2, 3)

    def format(self, grid: np.ndarray) -> str:
        return "".join(str(value) for value in grid.reshape(-1))

    def sample_symmetries(self, count: int, rng: np.random.Generator) -> Symmetries:
        return Symmetries.identity(count, 6, 3)


def make_puzzles(count: int = 40) -> Puzzles:
    """Puzzles 0..count-1; each question is its number in binary, 6 digits."""
    questions = (np.arange(count)[:, None] >> np.arange(5, -1, -1) & 1).astype(np.uint8).reshape(-1, 2, 3)
    puzzles = FillIn().puzzles_from_questions(questions)
    return Puzzles(puzzles.questions, puzzles.answers, [f"p{i}" for i in range(count)], np.arange(count, dtype=np.float32))


def generate(seeds: np.ndarray) -> Puzzles:
    return make_puzzles(64).take((seeds % np.uint64(64)).astype(np.intp))


def with_demonstrations() -> Puzzles:
    """Three puzzles of two tasks with up to two demonstrations."""
    puzzles = make_puzzles(3)
    demos: np.ndarray = np.arange(36, dtype=np.uint8).reshape(3, 2, 2, 3) % 3
    facts: dict[str, np.ndarray] = {
        "task": np.array([0, 0, 1], np.int32),
        "demo_questions": demos,
        "demo_answers": (demos + 1) % 3,
        "demo_count": np.array([2, 2, 1], np.int32),
    }
    return Puzzles(puzzles.questions, puzzles.answers, puzzles.ids, puzzles.ratings, facts)


def make_env(**settings: Any) -> PuzzleEnv:
    return PuzzleEnv(FillIn(), ListSource(make_puzzles()), **settings)


def answer_of(env: PuzzleEnv) -> np.ndarray:
    assert env.puzzle is not None
    return env.puzzle.answers[0]


WRONG = np.zeros((2, 3), np.uint8)  # no answer has a blank


def test_first_observation_is_the_question_twice() -> None:
    env = make_env()
    observation, info = env.reset(options={"puzzle": 9})
    assert observation["question"].tolist() == [[0, 0, 1], [0, 0, 1]]
    assert observation["draft"].tolist() == observation["question"].tolist()
    assert observation["step"] == 0
    assert observation in env.observation_space
    assert info == {"verified": False, "attempts_left": 1, "puzzle_id": "p9", "rating": 9.0, "blanks": 4, "full": False}


def test_thinking_takes_the_draft_and_costs_nothing_by_default() -> None:
    env = make_env()
    env.reset(seed=0)
    draft = np.array([[1, 2, 0], [0, 1, 2]], np.uint8)
    observation, reward, terminated, truncated, info = env.step(env.pack(draft, 0))
    assert observation["draft"].tolist() == draft.tolist() and observation["step"] == 1
    assert (reward, terminated, truncated) == (0.0, False, False)
    assert info["verified"] is False and info["attempts_left"] == 1 and info["blanks"] == 2


def test_right_draft_is_not_rewarded_before_it_is_halted() -> None:
    env = make_env()
    env.reset(seed=0)
    _, reward, terminated, _, info = env.step(env.pack(answer_of(env), 0))
    assert (reward, terminated, info["verified"]) == (0.0, False, False)
    _, reward, terminated, truncated, info = env.step(env.pack(answer_of(env), 1))
    assert (reward, terminated, truncated, info["verified"]) == (1.0, True, False, True)


def test_step_cost_is_paid_at_every_step() -> None:
    env = make_env(step_cost=0.25, attempts=2)
    env.reset(seed=0)
    rewards = [env.step(env.pack(WRONG, 0))[1], env.step(env.pack(WRONG, 1))[1], env.step(env.pack(answer_of(env), 1))[1]]
    assert rewards == [-0.25, -0.25, 0.75]


def test_wrong_halts_use_up_the_attempts() -> None:
    env = make_env(attempts=3)
    env.reset(seed=0)
    seen = []
    for _ in range(3):
        _, reward, terminated, truncated, info = env.step(env.pack(WRONG, 1))
        assert reward == 0.0 and not truncated
        seen.append((terminated, info["attempts_left"]))
    assert seen == [(False, 2), (False, 1), (True, 0)]


def test_truncated_at_max_steps_unless_terminated() -> None:
    for halt, verdict in ((0, (0.0, False, True)), (1, (1.0, True, False))):
        env = make_env(max_steps=3)
        env.reset(seed=0)
        for _ in range(2):
            assert env.step(env.pack(answer_of(env), 0))[2:4] == (False, False)
        assert env.step(env.pack(answer_of(env), halt))[1:4] == verdict


def test_wrong_halt_with_attempts_left_at_the_last_step_is_truncated() -> None:
    env = make_env(max_steps=1, attempts=2)
    env.reset(seed=0)
    _, reward, terminated, truncated, info = env.step(env.pack(WRONG, 1))
    assert (reward, terminated, truncated, info["attempts_left"]) == (0.0, False, True, 1)


def test_stepping_outside_an_episode_asks_for_reset() -> None:
    env = make_env()
    with pytest.raises(gymnasium.error.ResetNeeded, match="no episode has begun"):
        env.step(env.pack(WRONG, 0))
    env.reset(seed=0)
    env.step(env.pack(WRONG, 1))
    with pytest.raises(gymnasium.error.ResetNeeded, match="the episode is over"):
        env.step(env.pack(WRONG, 0))
    env.reset()
    env.step(env.pack(WRONG, 0))


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros(6, np.int64), r"shape \(6,\); expected \(7,\)"),
        (np.zeros((1, 7), np.int64), r"shape \(1, 7\); expected \(7,\)"),
        (3, r"shape \(\); expected \(7,\)"),
        (np.zeros(7), "dtype float64"),
        (np.array([0, 0, 0, 0, 3, 0, 0]), r"value 3 for the draft's cell 4; fill-in takes 0\.\.2"),
        (np.array([0, -1, 0, 0, 0, 0, 0]), "value -1 for the draft's cell 1"),
        (np.array([0, 0, 0, 0, 0, 0, 2]), "ends with 2; expected 1 to halt or 0 to continue"),
        ([[1, 2], [3]], "not an array"),
        ("halt", "expected"),
    ],
)
def test_faulty_action_is_named_and_changes_nothing(action: Any, message: str) -> None:
    env = make_env()
    env.reset(seed=0)
    with pytest.raises(PuzzleError, match=message) as caught:
        env.step(action)
    assert "\n" not in str(caught.value)
    observation, *_ = env.step(env.pack(WRONG, 0))
    assert observation["step"] == 1


def test_actions_of_any_integer_dtype_and_lists_are_taken() -> None:
    env = make_env()
    for dtype in (np.uint8, np.int32, np.int64):
        env.reset(options={"puzzle": 0})
        assert env.step(np.array([2, 2, 2, 2, 2, 2, 1], dtype))[1] == 1.0
    env.reset(options={"puzzle": 0})
    assert env.step([2, 2, 2, 2, 2, 2, 1])[1] == 1.0


def test_pack_and_unpack_are_inverses() -> None:
    env = make_env()
    draft = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    for halt in (False, True):
        action = env.pack(draft, halt)
        assert action.tolist() == [0, 1, 2, 2, 1, 0, int(halt)] and action in env.action_space
        unpacked, unpacked_halt = env.unpack(action)
        assert np.array_equal(unpacked, draft) and unpacked.dtype == np.uint8 and unpacked_halt is halt
    with pytest.raises(PuzzleError, match="draft has shape"):
        env.pack(np.zeros((3, 3), int), 0)
    with pytest.raises(PuzzleError, match="draft 0 has value 7"):
        env.pack(np.full((2, 3), 7), 0)


def test_packing_batches_agrees_with_packing_one() -> None:
    rng = np.random.default_rng(0)
    family = FillIn()
    drafts, halts = rng.integers(0, 3, (5, 2, 3)), rng.integers(0, 2, 5)
    env = make_env()
    actions = pack_actions(drafts, halts)
    assert np.array_equal(actions, [env.pack(d, h) for d, h in zip(drafts, halts, strict=True)])
    back, back_halts = unpack_actions(family, actions)
    assert np.array_equal(back, drafts) and np.array_equal(back_halts, halts == 1) and back_halts.dtype == bool
    assert action_space(family).nvec.tolist() == [3] * 6 + [2]


def test_each_episode_takes_one_number_and_it_decides_the_puzzle() -> None:
    env = PuzzleEnv(FillIn(), GeneratedSource(generate))
    env.reset(seed=5)
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(5)))  # what Gymnasium seeds
    for _ in range(20):
        seeds = draw_seeds(rng)
        assert seeds.shape == (1,) and seeds.dtype == np.uint64
        assert env.puzzle is not None and env.puzzle.ids == generate(seeds).ids
        assert env.np_random.bit_generator.state == rng.bit_generator.state
        env.step(env.pack(WRONG, 0))
        env.reset()


def test_a_batch_of_seeds_equals_single_seeds() -> None:
    single, batch = np.random.default_rng(3), np.random.default_rng(3)
    singles = np.concatenate([draw_seeds(single) for _ in range(50)])
    assert np.array_equal(singles, batch.integers(0, 2**64 - 1, size=50, dtype=np.uint64, endpoint=True))
    assert singles.max() > 2**63  # all 64 bits


def test_own_puzzle_by_index_id_text_array_and_batch() -> None:
    env = make_env()
    asked = {
        "index": 9,
        "numpy index": np.int64(9),
        "id": "p9",
        "text": "001001",
        "array": np.array([[0, 0, 1], [0, 0, 1]]),
        "lists": [[0, 0, 1], [0, 0, 1]],
        "puzzles": make_puzzles().take([9]),
    }
    for puzzle in asked.values():
        env.reset(seed=1)
        state = env.np_random.bit_generator.state
        observation, info = env.reset(options={"puzzle": puzzle})
        assert observation["question"].tolist() == [[0, 0, 1], [0, 0, 1]]
        assert info["puzzle_id"] in ("p9", "given-001001")
        assert env.np_random.bit_generator.state == state  # nothing drawn
        assert env.step(env.pack(answer_of(env), 1))[1] == 1.0


@pytest.mark.parametrize(
    ("puzzle", "message"),
    [
        (40, r"index 40 is out of range; this source holds puzzles 0\.\.39"),
        (-1, "index -1 is out of range"),
        ("p77", r"'p77' is neither a grid \(text has 3 characters; .*\) nor an id \(no puzzle has id 'p77'"),
        ("002001", "question has a 2"),
        (np.zeros((3, 3), int), r"question has shape \(3, 3\); expected 2 x 3"),
        (np.full((2, 3), 5), "question 0 has value 5"),
        (1.5, "dtype float64"),
        (True, r"shape \(\)"),
        (make_puzzles().take([1, 2]), "2 puzzles were given"),
        (np.zeros((2, 2, 3), int), "2 puzzles were given"),
    ],
)
def test_faulty_own_puzzle_is_named(puzzle: Any, message: str) -> None:
    env = make_env()
    with pytest.raises(PuzzleError, match=message) as caught:
        env.reset(options={"puzzle": puzzle})
    assert "\n" not in str(caught.value)


def test_unknown_reset_option_is_named() -> None:
    with pytest.raises(ConfigError, match="'puzle' is unknown; expected 'puzzle'"):
        make_env().reset(options={"puzle": 3})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_steps": 0}, "max_steps is 0"),
        ({"max_steps": 2.5}, "max_steps is 2.5"),
        ({"attempts": 0}, "attempts is 0"),
        ({"attempts": True}, "attempts is True"),
        ({"step_cost": -0.1}, "step_cost is -0.1"),
        ({"step_cost": float("nan")}, "step_cost is nan"),
        ({"render_mode": "gif"}, "render_mode is 'gif'"),
    ],
)
def test_faulty_setting_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_env(**settings)


def test_answer_is_revealed_only_when_asked_and_only_at_the_end() -> None:
    for reveal in (False, True):
        env = make_env(reveal_answer=reveal, attempts=2)
        _, info = env.reset(seed=0)
        infos = [info] + [env.step(env.pack(WRONG, halt))[4] for halt in (0, 1)]
        assert all("answer" not in info for info in infos)
        last = env.step(env.pack(WRONG, 1))[4]
        assert ("answer" in last) is reveal
        if reveal:
            assert np.array_equal(last["answer"], answer_of(env)) and last["answer"].dtype == np.uint8


def test_without_rules_nothing_computed_from_the_answer_is_told_before_a_halt() -> None:
    env = PuzzleEnv(FillIn(has_rules=False), ListSource(make_puzzles()), attempts=2)
    _, info = env.reset(seed=0)
    always = {"verified", "attempts_left", "puzzle_id"}
    assert set(info) == always
    assert set(env.step(env.pack(WRONG, 0))[4]) == always
    assert set(env.step(env.pack(WRONG, 1))[4]) == always | {"rating", "blanks", "full"}
    assert set(env.step(env.pack(WRONG, 0))[4]) == always


def test_info_values_are_plain_python() -> None:
    env = make_env()
    _, info = env.reset(seed=0)
    assert {name: type(value) for name, value in info.items()} == {
        "verified": bool, "attempts_left": int, "puzzle_id": str, "rating": float, "blanks": int, "full": bool,
    }  # fmt: skip
    _, reward, terminated, truncated, _ = env.step(env.pack(answer_of(env), 1))
    assert type(reward) is float and type(terminated) is bool and type(truncated) is bool


def test_demonstrations_and_task_are_observed() -> None:
    puzzles = with_demonstrations()
    env = PuzzleEnv(FillIn(has_rules=False), ListSource(puzzles))
    space = env.observation_space
    assert isinstance(space, spaces.Dict)
    assert space["task"] == spaces.Discrete(2)
    assert space["demo_answers"] == spaces.Box(0, 2, (2, 2, 3), np.uint8)
    observation, _ = env.reset(options={"puzzle": 2})
    assert observation in env.observation_space
    assert observation["task"] == 1
    assert np.array_equal(observation["demo_questions"], puzzles.facts["demo_questions"][2])
    assert np.array_equal(observation["demo_answers"], puzzles.facts["demo_answers"][2])
    observation["demo_questions"][:] = 0  # an agent that scribbles must not spoil the source
    assert env.reset(options={"puzzle": 2})[0]["demo_questions"].any()
    with pytest.raises(PuzzleError, match="no demo_questions"):
        env.reset(options={"puzzle": make_puzzles().take([0])})
    stranger = with_demonstrations().take([2])
    stranger.facts["task"] = np.array([7], np.int32)
    with pytest.raises(PuzzleError, match="task does not fit"):
        env.reset(options={"puzzle": stranger})


def test_scribbling_on_what_was_returned_or_handed_in_changes_nothing() -> None:
    env = make_env(reveal_answer=True)
    observation, _ = env.reset(options={"puzzle": 9})
    observation["question"][:] = 1
    action = env.pack(WRONG, 0)
    later, *_ = env.step(action)
    action[:] = 1
    assert later["draft"].tolist() == WRONG.tolist()
    assert later["question"].tolist() == [[0, 0, 1], [0, 0, 1]]
    later["draft"][:] = 1
    assert env.scene().draft.tolist() == WRONG.tolist()
    env.step(env.pack(answer_of(env), 1))[4]["answer"][:] = 0
    assert env.reset(options={"puzzle": 9})[0]["question"].tolist() == [[0, 0, 1], [0, 0, 1]]
    assert (answer_of(env) != 0).all()


def test_pickled_in_mid_episode_the_copy_goes_on_the_same_way() -> None:
    env = PuzzleEnv(FillIn(), GeneratedSource(generate), attempts=2)
    env.reset(seed=11)
    env.step(env.pack(WRONG, 1))
    copy = pickle.loads(pickle.dumps(env))
    for _ in range(3):
        assert np.array_equal(answer_of(copy), answer_of(env))
        ends = [e.step(e.pack(WRONG, 1)) for e in (env, copy)]
        assert ends[0][1:] == ends[1][1:] and ends[0][0]["step"] == ends[1][0]["step"]
        starts = [e.reset()[0]["question"] for e in (env, copy)]
        assert np.array_equal(*starts)


def test_gymnasium_accepts_it(recwarn: pytest.WarningsRecorder) -> None:
    check_env(make_env(attempts=2), skip_render_check=True)
    check_env(PuzzleEnv(FillIn(has_rules=False), ListSource(with_demonstrations()), attempts=2), skip_render_check=True)
    assert [str(warning.message) for warning in recwarn] == []


# -- the picture -----------------------------------------------------------------------------------------------------


def test_scene_shows_the_step_that_was_taken() -> None:
    env = make_env(attempts=2, max_steps=4)
    env.reset(options={"puzzle": 9})
    scene = env.scene()
    assert (scene.step, scene.max_steps, scene.attempts_left, scene.verdict) == (0, 4, 2, None)
    assert scene.previous is None and scene.title == "p9" and scene.halt_value is None
    env.note_values(0.25, float(np.float32(0.5)))
    env.step(env.pack(WRONG, 0))
    scene = env.scene()
    assert (scene.halt_value, scene.continue_value, scene.step, scene.verdict) == (0.25, 0.5, 1, None)
    assert scene.previous is not None and scene.previous.tolist() == [[0, 0, 1], [0, 0, 1]]
    assert scene.wrong is not None and scene.wrong.all()
    env.step(env.pack(WRONG, 1))
    scene = env.scene()
    assert (scene.verdict, scene.attempts_left, scene.halt_value) == ("wrong", 1, None)  # values of an older step are not shown
    env.step(env.pack(WRONG, 0))
    assert env.scene().verdict is None
    env.step(env.pack(WRONG, 0))
    assert env.scene().verdict == "out of steps"
    env.reset(options={"puzzle": 9})
    env.step(env.pack(answer_of(env), 1))
    scene = env.scene()
    assert scene.verdict == "verified" and scene.wrong is not None and not scene.wrong.any()


def test_without_rules_wrong_cells_are_drawn_only_when_judged() -> None:
    env = PuzzleEnv(FillIn(has_rules=False), ListSource(with_demonstrations()), attempts=2)
    env.reset(options={"puzzle": 2})
    assert env.scene().wrong is None
    assert len(env.scene().demonstrations) == 1  # demo_count, not the padded two
    env.step(env.pack(WRONG, 1))
    assert env.scene().wrong is not None
    env.step(env.pack(WRONG, 0))
    assert env.scene().wrong is None


def test_render_before_reset_and_without_a_mode() -> None:
    with pytest.raises(gymnasium.error.ResetNeeded):
        make_env(render_mode="rgb_array").render()
    env = make_env()
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="without a render mode"):
        assert env.render() is None


def test_render_modes_return_what_they_promise() -> None:
    env = make_env(render_mode="rgb_array")
    env.reset(seed=0)
    before = env.render()
    env.step(env.pack(WRONG, 0))
    after = env.render()
    assert before.dtype == np.uint8 and before.ndim == 3 and before.shape[2] == 3
    assert before.shape == after.shape and not np.array_equal(before, after)
    env = make_env(render_mode="ansi")
    env.reset(seed=0)
    assert isinstance(env.render(), str) and env.render().strip()


def test_human_mode_shows_every_step_in_one_window(monkeypatch: pytest.MonkeyPatch) -> None:
    frames: list[np.ndarray] = []
    closings: list[bool] = []

    class FakeWindow:
        closed = False

        def __init__(self, fps: float) -> None:
            assert fps == PuzzleEnv.metadata["render_fps"] == 4

        def show(self, frame: np.ndarray) -> None:
            frames.append(frame)

        def close(self) -> None:
            closings.append(True)

    monkeypatch.setattr("hrm_gym.envs.window.Window", FakeWindow)
    env = make_env(render_mode="human")
    env.reset(seed=0)
    env.step(env.pack(WRONG, 0))
    assert len(frames) == 2
    assert env.render() is None and len(frames) == 3
    monkeypatch.setattr(FakeWindow, "closed", True)  # by the user
    env.step(env.pack(WRONG, 0))
    assert len(frames) == 3
    assert pickle.loads(pickle.dumps(env))._window is None
    env.close()
    env.close()
    assert closings == [True]
