"""The outer loop around any agent: solve, verify or vote, try again.

    solutions = solve_with(model, puzzles, env, retry=Retry(attempts=32))          # model: SB3's, your own, SolverAgent(family), HRMAgent
    judged = judge_attempts(agent, puzzles, Retry(attempts=32))                    # the same attempts, judged by every rule

`HRMAgent.solve(retry=)` is the road for an HRMAgent alone. The three kinds of accuracy, single pass, selected without labels or rules, and
accepted by the verifier, are never mixed: each rule's solutions stand under its own name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode

from hrm_gym.agents.agent import HRMAgent
from hrm_gym.agents.device_puzzles import DevicePuzzles
from hrm_gym.agents.halting import HaltingStrategy, halting_strategy
from hrm_gym.agents.perturbations import SymmetryTable, sample_distinct_symmetries
from hrm_gym.agents.retry import (
    LABEL_FREE_RULES,
    LATENT_PERTURBATIONS,
    SINGLE_PASS,
    Retry,
    as_retry,
    planned_attempts,
)
from hrm_gym.agents.solutions import RetrySolutions, Solutions, SolvingInterrupted, joined, without_retries
from hrm_gym.agents.solving import CHUNK_BYTES, Attempts, as_tensor, attempts_by_chunk, chosen, solved_in_parts
from hrm_gym.envs.episode import pack_actions
from hrm_gym.envs.errors import ConfigError
from hrm_gym.envs.family import Family
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.sources import ListSource, Source
from hrm_gym.envs.symmetries import Symmetries
from hrm_gym.envs.vector_episode import PuzzleVectorEnv

__all__ = ["JudgedAttempts", "Predicts", "Retry", "SolverAgent", "SolvingInterrupted", "judge_attempts", "solve_with"]


class Predicts(Protocol):
    """What the outer loop needs of an agent: `predict` as Stable-Baselines3 has it, on a batch of observations."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[np.ndarray, Any]: ...


class SolverAgent:
    """The family's classical solver as an agent: the upper line. It hands the answer in at its first step.

    Raises:
        ConfigError: a family without rules has no solver.
    """

    def __init__(self, family: Family) -> None:
        if not family.has_rules:
            raise ConfigError(f"{family.name} has no solver: no rule leads from a question to its answer")
        self.family = family

    def predict(
        self, observation: Mapping[str, Any], state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[np.ndarray, Any]:
        """Actions int64[cells + 1] or [B, cells + 1]: the answer, and halt.

        Raises:
            PuzzleError: a question without exactly one solution (Sudoku) or without a path (maze).
        """
        question = np.asarray(observation["question"])
        answers = self.family.puzzles_from_questions(self.family.check_grids(question)).answers
        actions = pack_actions(answers, np.ones(len(answers), dtype=bool))
        return (actions[0] if question.ndim == 2 else actions), state


# -- the same attempts under every rule ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class JudgedAttempts:
    """What each rule makes of one and the same set of attempts at N puzzles.

    Attributes:
        solutions: by rule: "single pass"; "best-q", "vote" and "residual", which see no label and no rule; and, for families with rules,
            "verifier", with the steps and attempts that it would have spent, stopping at the first accepted draft.
        right_after: by label-free rule and number of attempts k: bool[N], whether its choice among the first k is right.
        plan: the attempts' perturbations.
        finished: bool[N].
        interrupted: whether Ctrl-C ended it; only the finished puzzles count then.
    """

    solutions: dict[str, RetrySolutions]
    right_after: dict[str, dict[int, np.ndarray]]
    plan: tuple[str, ...]
    finished: np.ndarray
    interrupted: bool


def judge_attempts(
    agent: HRMAgent,
    puzzles: Puzzles,
    retry: Retry,
    halting: str | HaltingStrategy | None = None,
    max_steps: int | None = None,
    slots: int = 256,
    others: Sequence[HRMAgent] = (),
    progress: Callable[[int], None] | None = None,
) -> JudgedAttempts:
    """Make all attempts of `retry` at `puzzles` once and let every rule choose among them; `retry.accept` plays no part.

    Where the halting strategy itself asks the verifier (or the oracle), nothing is selected without rules, and those rows are left out.

    Raises:
        ConfigError: a retry that does not go with the agent.
    """
    strategy = agent.halting if halting is None else halting_strategy(halting)
    free = () if strategy.needs & {"verified", "correct"} else LABEL_FREE_RULES
    by_rules = agent.family.has_rules
    if not by_rules and not free:
        raise ConfigError(
            f"halting {strategy} looks at the answers of {agent.family.name}; retries need a strategy that does not"
        )
    loop = agent.outer_loop(
        strategy, max_steps, slots, dataclasses.replace(retry, accept="verifier" if by_rules else "vote"), others, keep=True
    )
    rules: dict[str, str | None] = {SINGLE_PASS: None} | {rule: rule for rule in free}
    if by_rules:
        rules["verifier"] = "verifier"
    parts: dict[str, list[RetrySolutions]] = {name: [] for name in rules}
    prefixes = sorted({k for k in (2**power for power in range(32)) if k <= len(loop.plan)} | {len(loop.plan)})
    right: dict[str, dict[int, list[np.ndarray]]] = {rule: {k: [] for k in prefixes} for rule in free}
    interrupted = False
    try:
        for attempts, on_device, cut_short in attempts_by_chunk(loop, puzzles, agent.on_device, progress):
            if by_rules:
                attempts = with_verdicts(attempts, on_device)
            # everything of a chunk, or nothing: Ctrl-C may come in between
            chunk = {name: chosen(attempts, rule, loop.names, on_device) for name, rule in rules.items()}
            early = {
                rule: {k: chosen(attempts.first(k), rule, loop.names, on_device).verified for k in prefixes} for rule in free
            }
            for name, part in chunk.items():
                parts[name].append(part)
            for rule in free:
                for k in prefixes:
                    right[rule][k].append(early[rule][k])
            interrupted = cut_short
    except KeyboardInterrupt:
        interrupted = True
    solutions = {name: joined(pieces, puzzles, loop.names) for name, pieces in parts.items()}
    missing = len(puzzles) - sum(len(part) for part in parts[SINGLE_PASS])
    unknown = np.zeros(missing, dtype=bool)
    return JudgedAttempts(
        solutions=solutions,
        right_after={
            rule: {k: np.concatenate([*pieces, unknown]) for k, pieces in by_k.items()} for rule, by_k in right.items()
        },
        plan=loop.names,
        finished=solutions[SINGLE_PASS].finished,
        interrupted=interrupted,
    )


def with_verdicts(attempts: Attempts, on_device: DevicePuzzles) -> Attempts:
    """`attempts` whose drafts were all kept, with the verifier's word on each."""
    columns = [solved_in_parts(on_device, attempts.drafts[:, k]) for k in range(attempts.drafts.shape[1])]
    return dataclasses.replace(attempts, verified=np.stack(columns, axis=1) & (attempts.steps > 0))


# -- any agent -------------------------------------------------------------------------------------------------------------


def solve_with(
    agent: Predicts,
    puzzles: Puzzles | np.ndarray,
    env_or_family: gymnasium.Env[Any, Any] | gymnasium.vector.VectorEnv[Any, Any, Any] | Family,
    retry: Retry | str | None = None,
    max_steps: int | None = None,
    slots: int = 256,
    deterministic: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Solutions:
    """Solve `puzzles` with any agent that has Stable-Baselines3's `predict`, many at a time, with retries.

    The agent plays the draft environment of the family, batched: observations as `HRM-Sudoku-v0` and its like give them, with a batch axis
    (wrappers of `env_or_family` are not applied). What it handed in when it halted, or in its last step, is the attempt's draft.

    Args:
        agent: an SB3 model, a network of your own, `SolverAgent`. An `HRMAgent` goes the fast road of `HRMAgent.solve`.
        puzzles: or bare questions, uint8[N, H, W].
        env_or_family: the family, or one of its draft environments, whose limit of steps and spaces are taken.
        retry: as in `HRMAgent.solve`; "symmetry" is the only perturbation, and there are no Q values: "vote" counts, and where the
            verifier accepts nothing the first draft is handed in. None: a single pass.
        max_steps: None: the environment's, or 16.
        slots: puzzles in play at once.
        deterministic: handed on to `predict`.
        progress: called with the number of finished puzzles.

    Returns:
        `RetrySolutions` with `retry`, else `Solutions`; the Q values are 0.

    Raises:
        ConfigError: a retry that needs a latent state or Q values, or that does not go with the family.
        PuzzleError: questions that do not fit the family, or actions that do not fit the environment.
        SolvingInterrupted: Ctrl-C; it carries what was done by then.
    """
    source: Source | None = None
    if isinstance(env_or_family, Family):
        family = env_or_family
    else:
        inner: Any = env_or_family.unwrapped
        if not isinstance(getattr(inner, "family", None), Family) or not hasattr(inner, "max_steps"):
            raise ConfigError(f"{inner} is not a draft environment; give HRM-Sudoku-v0, HRM-Maze-v0, HRM-ARC-v0, or the family")
        family, source = inner.family, inner.source
        max_steps = inner.max_steps if max_steps is None else max_steps
    if not isinstance(puzzles, Puzzles):
        puzzles = family.puzzles_from_questions(family.check_grids(puzzles))
    retry = None if retry is None else as_retry(retry)
    if isinstance(agent, HRMAgent):
        if (agent.family.name, agent.family.shape) != (family.name, family.shape):
            raise ConfigError(
                f"the agent knows {agent.family.name} {agent.family.shape}, the puzzles are {family.name} {family.shape}"
            )
        if retry is None:
            return agent.solve(puzzles, max_steps=max_steps, slots=slots, progress=progress)
        return agent.solve(puzzles, max_steps=max_steps, slots=slots, progress=progress, retry=retry)
    _check_for_any_agent(agent, family, retry)
    player = _Player(agent, family, source or (ListSource(puzzles) if len(puzzles) else None), 16 if max_steps is None else max_steps,
                     slots, deterministic, retry or Retry(attempts=1))  # fmt: skip
    rule = None if retry is None else retry.accept
    parts: list[RetrySolutions] = []
    interrupted = False
    size = max(slots, CHUNK_BYTES // (family.cells * (2 + len(player.names))))
    try:
        for first in range(0, len(puzzles), size):
            chunk = puzzles.take(slice(first, first + size))
            attempts, cut_short = player.play(chunk, first, rule == "verifier", progress)
            parts.append(chosen(attempts, rule, player.names, DevicePuzzles(family, chunk, torch.device("cpu"))))
            interrupted = cut_short
            if interrupted:
                break
    except KeyboardInterrupt:
        interrupted = True
    solutions = joined(parts, puzzles, player.names)
    result = solutions if retry is not None else without_retries(solutions)
    if interrupted:
        raise SolvingInterrupted(result)
    return result


def _check_for_any_agent(agent: Any, family: Family, retry: Retry | None) -> None:
    if not callable(getattr(agent, "predict", None)):
        raise ConfigError(
            f"the agent is a {type(agent).__name__} without predict(observation, state, episode_start, deterministic)"
        )
    if retry is None:
        return
    latent = sorted(retry.parts & LATENT_PERTURBATIONS)
    if latent:
        raise ConfigError(
            f"perturbation {latent[0]!r} works inside an HRMAgent's network; a {type(agent).__name__} can be retried by 'symmetry' only"
        )
    if retry.accept in ("best-q", "residual"):
        raise ConfigError(
            f"accept={retry.accept!r} needs an HRMAgent's values; with a {type(agent).__name__} use 'vote'"
            + (" or 'verifier'" if family.has_rules else "")
        )
    if retry.accept == "verifier" and not family.has_rules:
        raise ConfigError(f"accept='verifier' needs rules to check a draft by; {family.name} has none: use accept='vote'")


class _Player:
    """An agent in the batched draft environment."""

    def __init__(
        self,
        agent: Predicts,
        family: Family,
        source: Source | None,
        max_steps: int,
        slots: int,
        deterministic: bool,
        retry: Retry,
    ) -> None:
        if max_steps < 1:
            raise ConfigError(f"max_steps is {max_steps}; expected at least 1")
        if slots < 1:
            raise ConfigError(f"slots is {slots}; expected at least 1")
        self.agent, self.family, self.source, self.max_steps, self.slots = agent, family, source, max_steps, slots
        self.deterministic, self.retry = deterministic, retry
        self.symmetries = sample_distinct_symmetries(family, retry.seed)
        self.table = SymmetryTable(self.symmetries, family, retry.seed, torch.device("cpu"))
        self.plan = planned_attempts(retry, len(self.symmetries), 0)
        self.names = tuple(attempt.name for attempt in self.plan)
        self.use = np.array([attempt.symmetry for attempt in self.plan])
        identity = Symmetries.identity(1, family.cells, family.values)
        self.every = Symmetries(
            np.concatenate([self.symmetries.cells, identity.cells]), np.concatenate([self.symmetries.values, identity.values])
        )
        self.back = self.every.inverse()

    def rows_of_table(self, puzzle: np.ndarray, attempt: np.ndarray) -> np.ndarray:
        """Which symmetry each attempt takes: the very one that an HRMAgent's would."""
        cpu = torch.device("cpu")
        return self.table.rows(as_tensor(puzzle, cpu), as_tensor(self.use[attempt], cpu)).numpy()

    def play(
        self, puzzles: Puzzles, first: int, stop_when_verified: bool, progress: Callable[[int], None] | None
    ) -> tuple[Attempts, bool]:
        """All attempts at `puzzles`, the first of which has index `first` among all, and whether Ctrl-C cut them short."""
        count, most, cells = len(puzzles), len(self.plan), self.family.cells
        steps = np.zeros((count, most), np.int64)
        drafts = np.zeros((count, most, cells), np.uint8)
        verified = np.zeros((count, most), dtype=bool)
        finished = np.zeros(count, dtype=bool)
        budget = self.retry.budget or most * self.max_steps
        slots = min(self.slots, count)
        assert self.source is not None
        env = PuzzleVectorEnv(slots, self.family, self.source, self.max_steps, autoreset_mode=AutoresetMode.DISABLED)

        row, attempt = np.arange(slots), np.zeros(slots, np.int64)
        spent, busy, waiting = np.zeros(slots, np.int64), np.ones(slots, dtype=bool), slots
        symmetry = self.rows_of_table(first + row, attempt)
        starts, state, interrupted = np.ones(slots, dtype=bool), None, False

        def shown(where: np.ndarray) -> Puzzles:
            return self.family.augment(puzzles.take(row[where]), self.every.take(symmetry[where]))

        try:
            observation, _ = env.reset(options={"puzzles": shown(np.arange(slots))})
            while busy.any():
                actions, state = self.agent.predict(
                    observation, state=state, episode_start=starts, deterministic=self.deterministic
                )
                observation, _, terminated, truncated, _ = env.step(np.asarray(actions))
                taken = np.asarray(observation["step"])
                over = terminated | truncated | (spent + taken >= budget)
                starts = over
                if not over.any():
                    continue
                ended = np.flatnonzero(over & busy)
                if len(ended):  # else only idle places are over
                    handed = self.back.take(symmetry[ended]).apply(observation["draft"][ended])
                    steps[row[ended], attempt[ended]] = taken[ended]
                    drafts[row[ended], attempt[ended]] = handed.reshape(len(ended), cells)
                    spent[ended] += taken[ended]
                    last = (attempt[ended] + 1 >= most) | (spent[ended] >= budget)
                    if stop_when_verified:
                        right = self.family.verify(puzzles.take(row[ended]), handed)
                        verified[row[ended], attempt[ended]] = right
                        last |= right
                    finished[row[ended[last]]] = True
                    again, free = ended[~last], ended[last]
                    attempt[again] += 1
                    entering = waiting + np.arange(len(free))
                    waiting += len(free)
                    busy[free] = entering < count
                    row[free] = np.minimum(entering, count - 1)
                    attempt[free] = spent[free] = 0
                    if progress is not None and len(free):
                        progress(first + int(finished.sum()))
                symmetry = self.rows_of_table(first + row, attempt)
                observation, _ = env.reset(options={"reset_mask": over, "puzzles": shown(np.flatnonzero(over))})
        except KeyboardInterrupt:
            interrupted = True
        finally:
            env.close()
        nothing = np.zeros((count, most), np.float32)
        attempts = Attempts(
            steps=steps * finished[:, None],
            halt_values=nothing,
            continue_values=nothing,
            residuals=nothing,
            verified=verified & finished[:, None],
            drafts=drafts,
            winners=np.zeros(count, np.int64),
            finished=finished,
        )
        return attempts, interrupted
