"""Rules and solver of the maze against plain Python search, exhaustive marking and known answers."""

from __future__ import annotations

import itertools
import math
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrm_gym.envs.errors import PuzzleError
from hrm_gym.envs.maze import count_shortest_paths, rules, shortest_path_lengths, solve, solver, verify
from hrm_gym.envs.maze.rules import is_solved

CHARACTERS = "# SGo"


def maze(*rows: str) -> np.ndarray:
    return np.array([[CHARACTERS.index(character) for character in row] for row in rows], np.uint8)[None]


def plain_length(allowed: set[tuple[int, int]], start: tuple[int, int], goal: tuple[int, int]) -> int:
    """Moves of a shortest path through `allowed` cells, -1 if there is none: search ring by ring."""
    ring, seen, moves = {start}, {start}, 0
    while ring:
        if goal in ring:
            return moves
        ring = {(y + dy, x + dx) for y, x in ring for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))} & allowed - seen
        seen |= ring
        moves += 1
    return -1


def cells_of(grid: np.ndarray, *values: int) -> set[tuple[int, int]]:
    return {(int(y), int(x)) for y, x in np.argwhere(np.isin(grid, values))}


def plain_optimum(question: np.ndarray) -> int:
    (start,), (goal,) = cells_of(question, 2), cells_of(question, 3)
    return plain_length(cells_of(question, 1, 2, 3), start, goal)


def plain_verify(question: np.ndarray, draft: np.ndarray) -> bool:
    """The definition: nothing but open cells changed, a shortest path lies in the marks, and no mark is spare."""
    if not np.array_equal(np.where((draft == 4) & (question == 1), 1, draft), question):
        return False
    (start,), (goal,) = cells_of(question, 2), cells_of(question, 3)
    marks = cells_of(draft, 4)
    optimum = plain_optimum(question)
    return optimum > 0 and plain_length(marks | {start, goal}, start, goal) == optimum and len(marks) == optimum - 1


def random_mazes(rng: np.random.Generator, count: int, height: int, width: int, walls: float) -> np.ndarray:
    questions = (rng.random((count, height, width)) >= walls).astype(np.uint8)
    for question in questions.reshape(count, -1):
        start, goal = rng.choice(height * width, 2, replace=False)
        question[start], question[goal] = 2, 3
    return questions


def solvable_mazes(rng: np.random.Generator, count: int, size: int, walls: float) -> np.ndarray:
    questions = random_mazes(rng, 4 * count, size, size, walls)
    return np.array([question for question in questions if plain_optimum(question) > 0][:count])


mazes = st.builds(
    lambda seed, height, width, walls: random_mazes(np.random.default_rng(seed), 8, height, width, walls),
    st.integers(0, 2**32),
    st.integers(1, 9),
    st.integers(2, 9),
    st.sampled_from([0.0, 0.2, 0.35, 0.5]),
)


# -- solver ------------------------------------------------------------------------------------------------------------


@given(mazes)
@settings(max_examples=60, deadline=None)
def test_lengths_and_answers_agree_with_plain_search(questions: np.ndarray) -> None:
    plain = [plain_optimum(question) for question in questions]
    lengths = shortest_path_lengths(questions)
    assert lengths.dtype == np.int32 and lengths.tolist() == plain
    answers = solve(questions, strict=False)
    assert answers.dtype == np.uint8
    for question, answer, length in zip(questions, answers, plain, strict=True):
        if length == -1:
            assert np.array_equal(question, answer)
        else:
            assert plain_verify(question, answer)


def test_the_answer_prefers_up_left_right_down() -> None:
    assert np.array_equal(solve(maze("  G", "   ", "S  ")), maze("ooG", "o  ", "S  "))
    assert np.array_equal(solve(maze("S  ", "   ", "  G")), maze("Soo", "  o", "  G"))
    assert np.array_equal(solve(maze("  S", "   ", "G  ")), maze("ooS", "o  ", "G  "))


def test_counts_are_binomials_without_walls_and_stop_at_the_limit() -> None:
    for size in (2, 3, 5, 12, 30, 32):
        question = np.ones((1, size, size), np.uint8)
        question[0, 0, 0], question[0, -1, -1] = 2, 3
        assert count_shortest_paths(question).tolist() == [math.comb(2 * size - 2, size - 1)]
    question = np.ones((2, 60, 60), np.uint8)
    question[:, 0, 0], question[:, -1, -1] = 2, 3
    question[1, 1:59, 1:59] = 0
    assert count_shortest_paths(question).tolist() == [solver.MOST_PATHS, 2]
    assert count_shortest_paths(maze("S#G")).tolist() == [0]


def test_every_marking_is_judged_right_just_if_it_is_a_shortest_path() -> None:
    """All 2^10 markings of small mazes, of open cells and walls: the right ones are as many as there are shortest paths."""
    rng = np.random.default_rng(5)
    for question in [*random_mazes(rng, 15, 3, 4, 0.15), *random_mazes(rng, 15, 4, 3, 0.4)]:
        between = np.argwhere(question < 2)
        marked = np.array(list(itertools.product((False, True), repeat=len(between))))
        drafts = np.tile(question, (len(marked), 1, 1))
        drafts[:, between[:, 0], between[:, 1]] = np.where(marked, 4, drafts[:, between[:, 0], between[:, 1]])
        questions = np.tile(question, (len(marked), 1, 1))
        right = verify(questions, drafts)
        assert right.sum() == count_shortest_paths(question[None])[0]
        assert all(plain_verify(question, draft) for draft in drafts[right])
        optimum = np.full(len(drafts), plain_optimum(question))
        assert np.array_equal(verify(questions, drafts, optimum), right)
        assert np.array_equal(is_solved(questions.astype(np.int32), drafts.astype(np.int32), optimum), right)


def test_a_question_without_a_path_is_an_error_unless_asked_not_to_be() -> None:
    questions = np.concatenate([maze("S G"), maze("S#G")])
    with pytest.raises(PuzzleError, match="question 1 has no path"):
        solve(questions)
    assert np.array_equal(solve(questions, strict=False), np.concatenate([maze("SoG"), maze("S#G")]))
    assert shortest_path_lengths(questions).tolist() == [2, -1]


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (maze("S  "), "question 1 has 1 start and 0 goal"),
        (maze("SSG"), "question 1 has 2 start and 1 goal"),
        (maze("SGG"), "question 1 has 1 start and 2 goal"),
        (maze("   "), "question 1 has 0 start and 0 goal"),
        (maze("SoG"), "question 1 has value 4 at row 0, column 1"),
        (np.array([[[2, 200, 3]]]), "question 1 has value 200 at row 0, column 1"),
    ],
)
def test_what_is_no_maze_is_named(question: np.ndarray, message: str) -> None:
    questions = np.concatenate([maze("S G"), question])
    for call in (solve, shortest_path_lengths, count_shortest_paths, lambda q: verify(q, q), lambda q: verify(q, q, [2, 2])):
        with pytest.raises(PuzzleError, match=message):
            call(questions)


def test_wrong_shapes_and_types_are_named() -> None:
    question = maze("S G")
    with pytest.raises(PuzzleError, match=r"question has shape \(1, 3\)"):
        solve(question[0])
    with pytest.raises(PuzzleError, match=r"question has shape \(1, 3, 0\)"):
        solve(np.zeros((1, 3, 0), np.uint8))
    with pytest.raises(PuzzleError, match="dtype float64"):
        solve(question.astype(float))
    with pytest.raises(PuzzleError, match="value 259"):  # would be a goal in uint8
        solve(question.astype(int) + 256)
    with pytest.raises(PuzzleError, match="value -256"):
        verify(question, question.astype(int) - 257)
    with pytest.raises(PuzzleError, match=r"drafts have shape \(2, 1, 3\)"):
        verify(question, np.concatenate([question, question]))
    with pytest.raises(PuzzleError, match=r"optimum has shape \(2,\)"):
        verify(question, question, np.array([2, 2]))


def test_empty_batches_and_other_memory_layouts_are_taken() -> None:
    empty = np.zeros((0, 5, 5), np.uint8)
    assert verify(empty, empty).shape == solve(empty).shape[:1] == shortest_path_lengths(empty).shape == (0,)
    assert is_solved(empty.astype(int), empty.astype(int), np.zeros(0, int)).shape == (0,)
    questions = solvable_mazes(np.random.default_rng(0), 10, 6, 0.3)
    turned, answers = questions.transpose(0, 2, 1), solve(questions).transpose(0, 2, 1)
    answers.flags.writeable = False
    assert verify(turned, answers).all()


def test_threads_give_the_same_results(monkeypatch: pytest.MonkeyPatch) -> None:
    questions = np.tile(random_mazes(np.random.default_rng(3), 650, 5, 6, 0.3), (20, 1, 1))
    answers = solve(questions, strict=False)
    monkeypatch.setattr(solver.config, "NUMBA_NUM_THREADS", 1)
    alone = (
        solve(questions, False),
        shortest_path_lengths(questions),
        count_shortest_paths(questions),
        verify(questions, answers),
    )
    monkeypatch.setattr(solver.config, "NUMBA_NUM_THREADS", 3)
    assert len(questions) >= 3 * 4096  # enough for three threads
    threaded = (solve(questions, False), shortest_path_lengths(questions), count_shortest_paths(questions))
    for one, other in zip(alone, (*threaded, verify(questions, answers)), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_process_may_fork_after_threads_were_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """gymnasium's AsyncVectorEnv forks; OpenMP would kill the child at its first parallel call."""
    monkeypatch.setattr(solver.config, "NUMBA_NUM_THREADS", 2)
    questions = np.tile(maze("S G"), (9000, 1, 1))
    answers = solve(questions)
    child = os.fork()
    if child == 0:
        os._exit(0 if verify(questions, answers).all() else 1)
    assert os.waitpid(child, 0)[1] == 0


# -- rules -------------------------------------------------------------------------------------------------------------


def wrong_drafts(question: np.ndarray, answer: np.ndarray) -> dict[str, list[np.ndarray]]:
    """Every way to spoil a right answer, by kind."""
    spoilt: dict[str, list[np.ndarray]] = {}

    def add(kind: str, cells: set[tuple[int, int]], value: int, base: np.ndarray = answer) -> None:
        draft = base.copy()
        for cell in cells:
            draft[cell] = value
        spoilt.setdefault(kind, []).append(draft)

    marks, spare, walls = cells_of(answer, 4), cells_of(answer, 1), cells_of(question, 0)
    for y, x in spare:
        add("spare mark", {(y, x)}, 4)
        add("open cell walled up", {(y, x)}, 0)
        square = {(y, x), (y, x + 1), (y + 1, x), (y + 1, x + 1)}
        if square <= spare:
            add("extra loop", square, 4)
    for cell in marks:
        add("broken path", {cell}, 1)
        add("path walled up", {cell}, 0)
        blocked = question.copy()
        blocked[cell] = 0
        if plain_optimum(blocked) > plain_optimum(question):
            detour = solve(blocked[None])[0]
            detour[cell] = 1
            add("longer path", set(), 4, detour)
    for cell in walls:
        add("wall marked", {cell}, 4)
        add("wall opened", {cell}, 1)
        through = question.copy()
        through[cell] = 1
        if plain_optimum(through) < plain_optimum(question):
            short_cut = solve(through[None])[0]
            add("walked through a wall", set(), 4, short_cut)
            add("walked through a wall unseen", {cell}, 0, short_cut)
    for value, name in ((2, "start"), (3, "goal")):
        (end,) = cells_of(question, value)
        add(f"{name} marked over", {end}, 4)
        add(f"{name} opened", {end}, 1)
        for cell in marks | spare:
            add(f"second {name}", {cell}, value)
            moved = answer.copy()
            moved[end] = 4
            add(f"moved {name}", {cell}, value, moved)
    if marks:
        add("nothing marked", marks, 1)
    add("everything marked", spare | walls, 4)
    add("ends exchanged", set(), 4, np.array([0, 1, 3, 2, 4], np.uint8)[answer])
    add("unknown value", {next(iter(spare | marks | walls))}, 5)
    add("value 255", {next(iter(spare | marks | walls))}, 255)
    return spoilt


def test_all_kinds_of_corruption_are_made() -> None:
    """Guards the property below against passing for want of cases."""
    questions = solvable_mazes(np.random.default_rng(0), 20, 7, 0.3)
    kinds = {kind for question in questions for kind in wrong_drafts(question, solve(question[None])[0])}
    assert kinds >= {
        "extra loop",
        "longer path",
        "broken path",
        "walked through a wall",
        "wall marked",
        "moved start",
        "spare mark",
    }


@given(st.integers(0, 2**32), st.integers(3, 8), st.sampled_from([0.1, 0.25, 0.4]))
@settings(max_examples=30, deadline=None)
def test_no_corruption_passes_and_the_checks_agree(seed: int, size: int, walls: float) -> None:
    for question in solvable_mazes(np.random.default_rng(seed), 1, size, walls):
        answer = solve(question[None])[0]
        spoilt = wrong_drafts(question, answer)
        drafts = np.array([answer, *itertools.chain(*spoilt.values())])
        kinds = np.array(["right", *itertools.chain(*([kind] * len(made) for kind, made in spoilt.items()))])
        plain = np.array([plain_verify(question, draft) for draft in drafts])
        # a detour longer than the path and a path through a wall are never right, but check rather than trust that
        assert plain.tolist() == (kinds == "right").tolist(), kinds[plain]
        questions = np.tile(question, (len(drafts), 1, 1))
        optimum = np.full(len(drafts), plain_optimum(question), np.int32)
        assert kinds[verify(questions, drafts)].tolist() == ["right"]
        assert kinds[verify(questions, drafts, optimum)].tolist() == ["right"]
        assert kinds[is_solved(questions.astype(np.int32), drafts.astype(np.int32), optimum)].tolist() == ["right"]


def test_start_beside_goal_is_solved_by_marking_nothing() -> None:
    question = maze("SG", "  ")
    assert verify(np.tile(question, (2, 1, 1)), np.concatenate([question, maze("SG", "oo")])).tolist() == [True, False]
    assert verify(question, question, np.array([1])).tolist() == [True]


def test_a_second_path_is_as_right_as_the_stored_one() -> None:
    question = maze("S  ", " # ", "  G")
    drafts = np.concatenate([maze("Soo", " #o", "  G"), maze("S  ", "o# ", "ooG"), maze("Soo", "o#o", "ooG")])
    assert verify(np.tile(question, (3, 1, 1)), drafts).tolist() == [True, True, False]


def test_a_longer_plain_line_with_a_loop_beside_it_is_wrong() -> None:
    """Degrees alone would pass both; the number of cells is what tells."""
    question = maze("S   G", "#####", "  #  ", "  #  ")
    loop = maze("SoooG", "#####", "oo#  ", "oo#  ")
    assert not verify(question, loop)[0] and not verify(question, loop, np.array([4]))[0]
    question, detour = maze("S  G", " ## ", "    "), maze("S  G", "o##o", "oooo")
    assert not verify(question, detour)[0] and not verify(question, detour, np.array([3]))[0]


def test_a_path_does_not_leave_on_one_side_and_return_on_the_other() -> None:
    question = maze("  S", "G  ", "###")
    draft = maze("  S", "G  ", "###")
    assert not verify(question, draft, np.array([3]))[0]
    neighbours = rules.path_neighbours((draft > 1).astype(np.int32))
    assert neighbours.tolist() == [[[1, 1, 0], [0, 1, 1], [1, 0, 0]]]


def test_without_a_path_nothing_is_right() -> None:
    question = maze("S #", "###", "  G")
    drafts = np.concatenate([question, maze("So#", "###", "ooG"), maze("So#", "##o", "  G")])
    questions = np.tile(question, (3, 1, 1))
    assert not verify(questions, drafts).any()
    assert not verify(questions, drafts, shortest_path_lengths(questions)).any()


def test_torch_and_numpy_agree() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(11)
    questions, drafts = [], []
    for question in solvable_mazes(rng, 12, 7, 0.3):
        answer = solve(question[None])[0]
        made = [answer, *itertools.chain(*wrong_drafts(question, answer).values())]
        drafts += made
        questions += [question] * len(made)
    question_array, draft_array = np.array(questions), np.array(drafts)
    optimum = shortest_path_lengths(question_array)
    expected = verify(question_array, draft_array, optimum)
    assert 0 < expected.sum() < len(expected)
    for dtype in (np.int32, np.int64):
        arrays = question_array.astype(dtype), draft_array.astype(dtype), optimum.astype(dtype)
        before = [array.copy() for array in arrays]
        in_numpy = is_solved(*arrays)
        in_torch = is_solved(*(torch.from_numpy(array) for array in arrays))
        assert in_numpy.dtype == bool and in_torch.dtype == torch.bool
        assert np.array_equal(in_numpy, expected) and np.array_equal(in_torch.numpy(), expected)
        assert all(np.array_equal(array, old) for array, old in zip(arrays, before, strict=True))
    if torch.cuda.is_available():
        on_device = is_solved(*(torch.from_numpy(array).cuda() for array in arrays))
        assert np.array_equal(on_device.cpu().numpy(), expected)
