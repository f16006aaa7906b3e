"""The outer loop against plain loops, its independence of slots and answers, odd and hostile inputs, other people's agents."""

from __future__ import annotations

import dataclasses
from collections import Counter

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO

from hrm_gym.agents import solving
from hrm_gym.agents.agent import HRMAgent
from hrm_gym.agents.backbones import build_network
from hrm_gym.agents.outer_loop import SolverAgent, judge_attempts, solve_with
from hrm_gym.agents.perturbations import NumberTable, SymmetryTable, noise_table, sample_distinct_symmetries, start_table
from hrm_gym.agents.retry import Retry, planned_attempts
from hrm_gym.agents.selection import draft_codes, select
from hrm_gym.agents.solutions import SolvingInterrupted
from hrm_gym.envs import sudoku
from hrm_gym.envs.errors import ConfigError, PuzzleError
from hrm_gym.envs.maze import generate as generate_mazes
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.registry import make_family

CPU = torch.device("cpu")
FIELDS = ("drafts", "verified", "steps", "accepted", "attempts", "winners", "accepted_attempts", "accepted_steps", "finished")


@pytest.fixture(scope="module")
def agent():
    """The agent that comes along, allowed two steps only: a weak one, about 85 % right."""
    trained = HRMAgent.from_pretrained("sudoku-4x4", "cpu")
    return HRMAgent(trained.network, trained.family, max_steps=2, device="cpu")


@pytest.fixture(scope="module")
def puzzles():
    return sudoku.generate(120, size=4, difficulty="hard", seed=3)


def same(one, other, rows=slice(None)):
    return all(np.array_equal(getattr(one, name), getattr(other, name)[rows]) for name in FIELDS) and one.plan == other.plan


# -- retries ---------------------------------------------------------------------------------------------------------------


def test_verified_retry_halves_the_failures_at_least(agent, puzzles):
    single, retried = agent.solve(puzzles), agent.solve(puzzles, retry="verifier(32)")
    assert 5 < (~single.verified).sum() < 60
    assert (~retried.accepted).sum() <= (~single.verified).sum() / 2
    assert np.array_equal(retried.accepted, retried.verified)
    assert np.array_equal(retried.winners == 0, single.verified | ~retried.accepted & (retried.winners == 0))
    at_once = single.verified
    assert np.array_equal(retried.drafts[at_once], single.drafts[at_once])
    assert np.array_equal(retried.steps[at_once], single.steps[at_once])
    assert (retried.attempts[at_once] == 1).all() and (retried.attempts[~at_once] > 1).all()
    assert {retried.perturbations[row] for row in np.flatnonzero(at_once)} == {"single pass"}


def test_symmetry_retries_against_a_plain_loop(agent, puzzles):
    retry = Retry(attempts=5, seed=7)
    fast = agent.solve(puzzles, retry=retry, slots=16)
    table = SymmetryTable(sample_distinct_symmetries(agent.family, 7), agent.family, 7, CPU)
    symmetries = sample_distinct_symmetries(agent.family, 7)
    for row in range(40):
        puzzle, steps, best = puzzles.take([row]), 0, (-1.0, None, 0)
        for attempt in range(5):
            shown = puzzle
            if attempt:
                (place,) = table.rows(torch.tensor([row]), torch.tensor([attempt - 1])).tolist()
                symmetry = symmetries.take([place])
                shown = agent.family.augment(puzzle, symmetry)
            one = agent.solve(shown)
            draft = symmetry.inverse().apply(one.drafts) if attempt else one.drafts
            steps += int(one.steps[0])
            if agent.family.verify(puzzle, draft)[0]:
                best = (2.0, draft, attempt)
                break
            if one.halt_values[0] > best[0]:
                best = (one.halt_values[0], draft, attempt)
        assert np.array_equal(fast.drafts[row], best[1][0])
        assert (fast.steps[row], fast.attempts[row], fast.winners[row]) == (steps, attempt + 1, best[2])
        assert fast.accepted[row] == (best[0] == 2.0)
        assert fast.accepted_steps[row] == (steps if fast.accepted[row] else 0)


@pytest.mark.parametrize(
    "perturb",
    [("symmetry",), ("noise",), ("initial-state",), ("ensemble", "symmetry+ensemble"), ("symmetry+noise", "deeper", "noise")],
)
@pytest.mark.parametrize("accept", ["verifier", "vote"])
def test_nothing_depends_on_slots_or_chunks(agent, puzzles, perturb, accept, monkeypatch):
    others = []
    if "ensemble" in perturb:
        others = [HRMAgent(build_network(agent.network.config, seed=5), agent.family, device="cpu")]
    puzzles = puzzles.take(slice(24))
    retry = Retry(attempts=4, perturb=perturb, accept=accept, seed=2)
    many = agent.solve(puzzles, retry=retry, others=others)
    assert same(agent.solve(puzzles, retry=retry, others=others, slots=3), many)
    monkeypatch.setattr(solving, "CHUNK_BYTES", 1)  # as many puzzles to a chunk as there are slots
    assert same(agent.solve(puzzles, retry=retry, others=others, slots=16), many)
    # a puzzle keeps its attempts whatever follows it
    assert same(agent.solve(puzzles.take(slice(9)), retry=retry, others=others, slots=7), many, slice(9))


@pytest.mark.parametrize("perturb", ["symmetry", "noise", "initial-state"])
def test_the_seed_decides(agent, puzzles, perturb):
    one, again, other = (agent.solve(puzzles, retry=Retry(3, perturb=(perturb,), seed=seed, sigma=1.0)) for seed in (1, 1, 2))
    assert same(one, again)
    assert not same(one, other)


def test_equal_puzzles_differ_in_their_retries_alone(agent, puzzles):
    failing = int(np.flatnonzero(~agent.solve(puzzles).verified)[0])
    copies = puzzles.take([failing] * 30)
    single, retried = agent.solve(copies), agent.solve(copies, retry="verifier(4)")
    assert len({draft.tobytes() for draft in single.drafts}) == 1
    assert len(set(retried.attempts.tolist())) > 1


def test_noise_reaches_the_noisy_attempts_and_the_named_state_only(agent, puzzles):
    def drafts(attempts, **settings):
        retry = Retry(attempts=attempts, perturb=("noise",), accept="residual", sigma=3.0, **settings)
        return judge_attempts(agent, puzzles, retry)

    single = agent.solve(puzzles)
    judged = drafts(2)
    assert np.array_equal(judged.solutions["single pass"].drafts, single.drafts)
    picked = {where: drafts(2, noise_on=where).solutions["verifier"] for where in ("z_h", "z_l", "both")}
    noisy = {where: solutions.drafts[~single.verified].tobytes() for where, solutions in picked.items()}
    assert len(set(noisy.values())) == 3
    # noise that is next to nothing changes nothing
    faint = agent.solve(puzzles, retry=Retry(2, perturb=("noise",), sigma=1e-7))
    assert np.array_equal(faint.drafts, single.drafts) and (faint.attempts[~single.verified] == 2).all()


def test_deeper_thinks_past_the_limit(agent, puzzles):
    single = agent.solve(puzzles)
    retried = agent.solve(puzzles, retry=Retry(9, perturb=("deeper",), depth=2.5))
    assert retried.plan == ("single pass", "deeper")  # a third attempt would be the second again
    again = retried.attempts == 2
    assert np.array_equal(again, ~single.verified)
    deep = retried.steps[again] - single.steps[again]
    assert deep.min() >= 2 and deep.max() == 5
    whole = agent.solve(puzzles, max_steps=5, halting="fixed(5)")
    cut = deep == 5
    assert np.array_equal(
        retried.drafts[again][cut & retried.accepted[again]], whole.drafts[again][cut & retried.accepted[again]]
    )
    assert retried.accuracy > single.accuracy


def test_ensemble_asks_the_others_in_turn(agent, puzzles):
    untrained = [HRMAgent(build_network(agent.network.config, seed=seed), agent.family, 2, device="cpu") for seed in (5, 6)]
    retried = untrained[0].solve(puzzles, retry=Retry(8, perturb=("ensemble",)), others=[untrained[1], agent])
    assert retried.plan == ("single pass", "ensemble", "ensemble")
    single = agent.solve(puzzles, halting="q")
    assert np.array_equal(retried.accepted, single.verified)
    assert (retried.winners[single.verified] == 2).all()
    assert np.array_equal(retried.drafts[single.verified], single.drafts[single.verified])
    steps = sum(one.solve(puzzles).steps for one in (*untrained, agent))
    assert np.array_equal(retried.steps, steps)


def test_a_budget_of_steps_is_never_passed(agent, puzzles):
    unlimited = agent.solve(puzzles, retry=Retry(attempts=30))
    for attempts, budget in ((None, 7), (3, 7), (None, 1)):
        retried = agent.solve(puzzles, retry=Retry(attempts=attempts, budget=budget))
        assert retried.steps.max() == (budget if attempts is None else 6)
        assert retried.attempts.max() <= (attempts or budget)
        within = unlimited.accepted & (unlimited.steps <= retried.steps.max()) & (unlimited.attempts <= (attempts or budget))
        assert retried.accepted[within].all()  # more budget never loses what less had found


def test_random_halting_draws_anew_for_each_attempt(agent, puzzles):
    solutions = agent.solve(puzzles, halting="random(0.5)", max_steps=8, retry=Retry(6, perturb=("noise",), sigma=1e-7))
    assert solutions.acceptance > agent.solve(puzzles, halting="random(0.5)", max_steps=8).accuracy


# -- the plan --------------------------------------------------------------------------------------------------------------


def names(retry, symmetries=100, others=0):
    return [attempt.name for attempt in planned_attempts(retry, symmetries, others)]


def test_plans():
    assert names(Retry(5, perturb=("symmetry", "noise"))) == ["single pass", "symmetry", "noise", "symmetry", "noise"]
    mazes = planned_attempts(Retry(32), 7, 0)
    assert [attempt.symmetry for attempt in mazes] == [-1, 0, 1, 2, 3, 4, 5, 6]
    mixed = names(Retry(32, perturb=("symmetry", "noise")), 7)
    assert len(mixed) == 32 and mixed.count("symmetry") == 7
    assert len(names(Retry(32, perturb=("symmetry+noise",)), 7)) == 32
    assert [attempt.member for attempt in planned_attempts(Retry(9, perturb=("ensemble",)), 0, 3)] == [0, 1, 2, 3]
    assert len(names(Retry(None, budget=12))) == 12
    assert names(Retry(4), symmetries=0) == ["single pass"]


def test_a_maze_is_tried_once_in_each_of_its_eight_positions():
    family = make_family("maze", 5)
    table = sample_distinct_symmetries(family, 0)
    assert len({row.tobytes() for row in table.cells}) == len(table) == 7
    assert not (table.cells == np.arange(25)).all(1).any()
    puzzles = torch.arange(50).repeat_interleave(7)
    rows = SymmetryTable(table, family, 3, CPU).rows(puzzles, torch.arange(7).repeat(50)).view(50, 7)
    assert (rows.sort(1).values == torch.arange(7)).all()
    assert len(set(rows[:, 0].tolist())) == 7  # not the same one first for all


@pytest.mark.parametrize(("name", "size"), [("sudoku", 6), ("maze", 5), ("arc", 4)])
def test_symmetries_are_undone_on_the_device(name, size):
    family = make_family(name, size)
    table = SymmetryTable(sample_distinct_symmetries(family, 1), family, 1, CPU)
    grids = torch.randint(0, family.values, (200, family.cells), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    rows = table.rows(torch.arange(200), torch.arange(200) % 5 - 1)
    assert torch.equal(table.undo(rows, table.apply(rows, grids)), grids)
    untouched = torch.arange(200) % 5 == 0
    assert torch.equal(table.apply(rows, grids)[untouched], grids[untouched])
    assert not torch.equal(table.apply(rows, grids), grids)


def test_tables_of_numbers():
    normal, starts = noise_table(0, 1000, CPU).values, start_table(0, CPU).values
    for values in (normal, starts):
        assert abs(values.mean()) < 0.01 and abs(values.std() - 1) < 0.01
    assert normal.abs().max() > 4 > 2.4 > starts.abs().max()  # cut at two deviations, then scaled up
    few = NumberTable(torch.arange(10.0), CPU).windows(torch.tensor([0, 3, 7, 12]), (2, 2))
    assert few.tolist() == [[[n, n + 1], [n + 2, n + 3]] for n in (0, 3, 0, 5)]
    assert not torch.equal(noise_table(1, 1000, CPU).values, normal)


# -- selection without labels ----------------------------------------------------------------------------------------------


def candidates(count=300, attempts=7, seed=0):
    random = np.random.default_rng(seed)
    drafts = random.integers(0, 2, (count, attempts, 2)).astype(np.uint8)  # four different drafts
    made = random.random((count, attempts)) < 0.8
    made[:, 0] = True
    return drafts, made, random.random((count, attempts)).round(1), random.random((count, attempts)).round(1)


def test_selections_against_plain_loops():
    drafts, made, q, residuals = candidates()
    for rule in ("vote", "best-q", "residual"):
        chosen = select(rule, drafts, made, q, residuals)
        for row in range(len(drafts)):
            tried = [k for k in range(7) if made[row, k]]
            if rule == "best-q":
                expected = max(tried, key=lambda k: (q[row, k], -k))
            elif rule == "residual":
                expected = min(tried, key=lambda k: (residuals[row, k], k))
            else:
                count = Counter(drafts[row, k].tobytes() for k in tried)

                def score(k, row=row, tried=tried, count=count):
                    code = drafts[row, k].tobytes()
                    mean = np.mean([q[row, j] for j in tried if drafts[row, j].tobytes() == code])
                    return count[code], round(mean, 6), -k

                expected = max(tried, key=score)
            assert chosen[row] == expected
    assert (select("best-q", drafts, made, np.full_like(q, np.nan), residuals) == 0).all()
    with pytest.raises(ConfigError, match="selection 'oracle' is unknown"):
        select("oracle", drafts, made, q, residuals)


def test_codes_tell_drafts_apart():
    drafts = np.random.default_rng(1).integers(0, 11, (20_000, 3)).astype(np.uint8)
    pairs = {(draft.tobytes(), int(code)) for draft, code in zip(drafts, draft_codes(drafts), strict=True)}
    assert len(pairs) == len({draft for draft, _ in pairs}) == len({code for _, code in pairs}) > 1000


def with_garbage(puzzles):
    """The same questions with answers and facts about answers that are wrong."""
    answers = (
        np.random.default_rng(5).permuted(puzzles.answers.reshape(len(puzzles), -1), axis=1).reshape(puzzles.answers.shape)
    )
    assert (answers != puzzles.answers).any()
    return Puzzles(puzzles.questions, answers, puzzles.ids, puzzles.ratings, puzzles.facts)


@pytest.mark.parametrize("rule", ["vote", "best-q", "residual"])
def test_selection_never_sees_the_answers(agent, puzzles, restless, rule):
    thinker, grids = restless
    for player, given, perturb in (
        (agent, puzzles.take(slice(60)), ("symmetry",)),
        (thinker, grids, ("symmetry+noise", "initial-state")),
    ):
        retry = Retry(attempts=5, perturb=perturb, accept=rule)
        honest, blind = player.solve(given, retry=retry), player.solve(with_garbage(given), retry=retry)
        for name in set(FIELDS) - {"verified"}:
            assert np.array_equal(getattr(honest, name), getattr(blind, name)), name
        assert (honest.attempts == 5).all() and honest.accepted.all()
        assert len(set(honest.winners.tolist())) > 1
        judged = judge_attempts(player, with_garbage(given), retry).solutions[rule]
        assert same(dataclasses.replace(judged, verified=honest.verified), honest)
    assert not np.array_equal(honest.verified, blind.verified)  # ARC: only the answer tells, and only at the end


def test_every_rule_judges_the_attempts_that_solve_makes(agent, puzzles):
    puzzles = puzzles.take(slice(60))
    judged = judge_attempts(agent, puzzles, Retry(6))
    for rule in ("verifier", "vote", "best-q", "residual"):
        assert same(agent.solve(puzzles, retry=Retry(6, accept=rule)), judged.solutions[rule])
    for rule, right in judged.right_after.items():
        assert list(right) == [1, 2, 4, 6]
        assert np.array_equal(agent.solve(puzzles, retry=Retry(4, accept=rule)).verified, right[4])
    assert list(judge_attempts(agent, puzzles, Retry(2), halting="verifier").solutions) == ["single pass", "verifier"]


# -- odd and hostile inputs ------------------------------------------------------------------------------------------------


def test_no_puzzle_and_one_puzzle(agent, puzzles):
    for retry in (None, "verifier(3)", "vote(3)"):
        none = agent.solve(puzzles.take([]), retry=retry)
        assert len(none) == 0 and np.isnan(none.accuracy)
    assert len(agent.solve(np.zeros((0, 4, 4), np.uint8), retry="vote(3)", unsolvable="mark")) == 0
    many, one = agent.solve(puzzles, retry="verifier(4)"), agent.solve(puzzles.questions[0], retry="verifier(4)")
    assert same(one, many, slice(1))


def test_an_unsolvable_puzzle_is_named_or_marked(agent, puzzles):
    questions = puzzles.questions.copy()
    questions[17, 0, :2] = 1  # twice in a row
    questions[90] = 0  # many solutions
    with pytest.raises(PuzzleError, match="puzzle 17 has no solution"):
        agent.solve(questions, retry="verifier(2)")
    good = np.ones(len(questions), dtype=bool)
    good[[17, 90]] = False
    for retry in (None, "verifier(2)"):
        marked = agent.solve(questions, retry=retry, unsolvable="mark")
        assert not marked.verified[~good].any() and (marked.steps[~good] == 0).all() and marked.finished.all()
        assert np.array_equal(marked.drafts[~good], questions[~good])
        assert np.array_equal(marked.drafts[good], agent.solve(puzzles.take(good), retry=retry).drafts)
    mazes = generate_mazes(6, size=5, seed=0).questions.copy()
    mazes[2][mazes[2] == 3] = 1  # no goal
    marked = HRMAgent(build_maze_network(), make_family("maze", 5), 2, device="cpu").solve(mazes, unsolvable="mark")
    assert marked.steps.astype(bool).tolist() == [True, True, False, True, True, True]
    with pytest.raises(ConfigError, match="unsolvable is 'skip'; expected 'error' or 'mark'"):
        agent.solve(questions, unsolvable="skip")


def build_maze_network():
    config = HRMAgent.from_pretrained("sudoku-4x4", "cpu").network.config
    return build_network(dataclasses.replace(config, cells=25, vocabulary=6), seed=0)


class Stop:
    """Presses Ctrl-C when so many puzzles are finished."""

    def __init__(self, after):
        self.after, self.seen = after, []

    def __call__(self, finished):
        self.seen.append(finished)
        if finished >= self.after:
            raise KeyboardInterrupt


@pytest.mark.parametrize("retry", [None, "verifier(4)", "vote(3)"])
def test_ctrl_c_keeps_what_is_finished(agent, puzzles, retry, monkeypatch):
    monkeypatch.setattr(solving, "CHUNK_BYTES", 1)
    whole = agent.solve(puzzles, retry=retry, slots=16)
    stop = Stop(after=50)
    with pytest.raises(KeyboardInterrupt) as caught:
        agent.solve(puzzles, retry=retry, slots=16, progress=stop)
    assert isinstance(caught.value, SolvingInterrupted)
    solutions = caught.value.solutions
    done = solutions.finished
    assert 50 <= done.sum() < 120 and stop.seen == sorted(stop.seen)
    assert f"interrupted after {done.sum()} of 120 puzzles" in str(caught.value)
    assert np.array_equal(solutions.drafts[done], whole.drafts[done])
    assert np.array_equal(solutions.steps[done], whole.steps[done])
    assert np.array_equal(solutions.drafts[~done], puzzles.questions[~done]) and not solutions.verified[~done].any()
    assert solutions.accuracy == whole.verified[done].mean()


def test_ctrl_c_with_marked_puzzles_and_while_judging(agent, puzzles):
    questions = puzzles.questions.copy()
    questions[3] = 0
    with pytest.raises(SolvingInterrupted) as caught:
        agent.solve(questions, slots=16, progress=Stop(60), unsolvable="mark")
    assert len(caught.value.solutions) == 120 and caught.value.solutions.finished[3]
    judged = judge_attempts(agent, puzzles, Retry(3), slots=16, progress=Stop(40))
    assert judged.interrupted and 40 <= judged.finished.sum() < 120
    complete = judge_attempts(agent, puzzles, Retry(3)).solutions["vote"]
    assert np.array_equal(judged.solutions["vote"].drafts[judged.finished], complete.drafts[judged.finished])


def test_arc_votes_and_has_no_verifier(restless):
    thinker, puzzles = restless
    with pytest.raises(ConfigError, match=r"accept='verifier' needs rules .* arc has none: use accept='vote'"):
        thinker.solve(puzzles, retry=Retry())
    solutions = thinker.solve(puzzles, retry="vote(9)")
    assert solutions.accepted.all() and solutions.attempts.min() == 9 and len(set(solutions.winners.tolist())) > 1
    with pytest.raises(ConfigError, match="needs a strategy that does not|retries need"):
        judge_attempts(thinker, puzzles, Retry(2), halting="oracle")


def test_mistakes(agent, puzzles):
    for settings, message in (
        ({"attempts": 0}, "attempts is 0; expected a whole number from 1 up"),
        ({"attempts": None}, "attempts and budget are both None"),
        ({"budget": -3}, "budget is -3"),
        ({"perturb": "symmetry"}, "perturb is 'symmetry'; expected a tuple"),
        ({"perturb": ("symmetry+luck",)}, r"perturbation 'symmetry\+luck' is unknown; expected symmetry, noise"),
        ({"perturb": ("noise+noise",)}, "names a part twice"),
        ({"accept": "me"}, "accept is 'me'; expected one of verifier, vote"),
        ({"sigma": 0.0}, "sigma is 0.0"),
        ({"noise_on": "z"}, "noise_on is 'z'"),
        ({"depth": 1.0}, "depth is 1.0"),
        ({"seed": -1}, "seed is -1"),
    ):
        with pytest.raises(ConfigError, match=message):
            Retry(**settings)
    for text in ("luck(3)", "vote(", "vote()", "vote(many)", "vote(2, luck)"):
        with pytest.raises(ConfigError):
            Retry.parse(text)
    assert Retry.parse("vote(16, symmetry, symmetry+noise)") == Retry(16, perturb=("symmetry", "symmetry+noise"), accept="vote")
    assert Retry.parse(" verifier ") == Retry()
    with pytest.raises(ConfigError, match="selects without labels or rules, but halting verifier asks the verifier"):
        agent.solve(puzzles, halting="verifier", retry="vote(2)")
    with pytest.raises(ConfigError, match="'ensemble' needs other agents"):
        agent.solve(puzzles, retry=Retry(perturb=("ensemble",)))
    with pytest.raises(ConfigError, match="others are given but no perturbation uses them"):
        agent.solve(puzzles, retry=Retry(), others=[agent])
    with pytest.raises(ConfigError, match="others are given without a retry"):
        agent.solve(puzzles, others=[agent])
    narrow = dataclasses.replace(agent.network.config, hidden_size=32)
    with pytest.raises(ConfigError, match=r"latent states of 1\d x \d+, 1\d x 32; expected the same"):
        other = HRMAgent(build_network(narrow), agent.family, device="cpu")
        agent.solve(puzzles, retry=Retry(perturb=("ensemble",)), others=[other])
    with pytest.raises(ConfigError, match="an agent of the ensemble is for"):
        other = HRMAgent(build_maze_network(), make_family("maze", 5), device="cpu")
        agent.solve(puzzles, retry=Retry(perturb=("ensemble",)), others=[other])


# -- other people's agents -------------------------------------------------------------------------------------------------


class Behind:
    """An agent of which nothing is known but `predict`."""

    def __init__(self, agent):
        self.predict = agent.predict


@pytest.mark.parametrize("slots", [7, 200])
def test_the_environment_road_gives_what_the_fast_road_gives(agent, puzzles, slots):
    for retry in (None, "verifier(5)", Retry(None, budget=7)):
        slow = solve_with(Behind(agent), puzzles, agent.family, retry, max_steps=2, slots=slots)
        fast = solve_with(agent, puzzles, agent.family, retry)
        right = fast.verified  # of drafts that are all wrong the fast road hands in another, by its Q values
        assert np.array_equal(slow.verified, right) and np.array_equal(slow.steps, fast.steps)
        assert np.array_equal(slow.drafts[right], fast.drafts[right])
        if retry is not None:
            assert np.array_equal(slow.attempts, fast.attempts) and np.array_equal(slow.winners[right], fast.winners[right])


def test_an_agent_of_stable_baselines(puzzles):
    env = gymnasium.make("HRM-Sudoku-v0", size=4, max_steps=3)
    model = PPO("MultiInputPolicy", env, seed=0, n_steps=8, batch_size=8, device="cpu")
    solutions = solve_with(model, puzzles.take(slice(30)), env, "verifier(3)", slots=8)
    assert len(solutions) == 30 and solutions.finished.all()
    assert (solutions.attempts[~solutions.accepted] == 3).all() and solutions.steps.max() <= 9
    voted = solve_with(model, puzzles.questions[:30], env, "vote(3)", slots=30)
    assert voted.attempts.tolist() == [3] * 30
    plain = solve_with(model, puzzles.take(slice(30)), env)
    assert np.array_equal(plain.drafts[solutions.winners == 0], solutions.drafts[solutions.winners == 0])


def test_the_solver_is_the_upper_line(puzzles, restless):
    mazes = generate_mazes(20, size=7, seed=0)
    for family, given in ((make_family("sudoku", 4), puzzles), (make_family("maze", 7), mazes)):
        solutions = solve_with(SolverAgent(family), given, family, "verifier(9)", slots=16)
        assert solutions.verified.all() and (solutions.attempts == 1).all() and (solutions.steps == 1).all()
        action, _ = SolverAgent(family).predict({"question": given.questions[0]})
        assert action.shape == (family.cells + 1,) and action[-1] == 1
    with pytest.raises(ConfigError, match="arc has no solver"):
        SolverAgent(restless[0].family)


def test_mistakes_with_any_agent(agent, puzzles, restless):
    family = agent.family
    with pytest.raises(ConfigError, match="perturbation 'noise' works inside an HRMAgent's network; a Behind can be retried"):
        solve_with(Behind(agent), puzzles, family, Retry(perturb=("symmetry+noise",)))
    with pytest.raises(ConfigError, match="accept='best-q' needs an HRMAgent's values; with a Behind use 'vote' or 'verifier'"):
        solve_with(Behind(agent), puzzles, family, "best-q(2)")
    with pytest.raises(ConfigError, match="needs rules"):
        solve_with(Behind(restless[0]), restless[1], restless[0].family, "verifier(2)")
    with pytest.raises(ConfigError, match="without predict"):
        solve_with(object(), puzzles, family)
    with pytest.raises(ConfigError, match="not a draft environment"):
        solve_with(Behind(agent), puzzles, gymnasium.make("CartPole-v1"))
    with pytest.raises(ConfigError, match=r"the agent knows sudoku \(4, 4\), the puzzles are maze"):
        solve_with(agent, generate_mazes(2, size=5, seed=0), make_family("maze", 5))
    assert len(solve_with(Behind(agent), puzzles.take([]), family, "vote(2)")) == 0
    with pytest.raises(SolvingInterrupted) as caught:
        solve_with(Behind(agent), puzzles, family, "verifier(3)", max_steps=2, slots=16, progress=Stop(40))
    assert 40 <= caught.value.solutions.finished.sum() < 120
