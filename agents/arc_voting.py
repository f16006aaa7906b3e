"""ARC's outer loop: answer a test in every version of its task, bring the answers back, let them vote.

The answers of the tests play no part: `answer_tests` erases them before anything else. The network has learned the task's demonstrations
under each version (`hrm_gym.envs.arc.augmentation`), and knows a version by its row of the puzzle embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hrm_gym.agents.agent import HRMAgent
from hrm_gym.agents.halting import HaltingStrategy, halting_strategy
from hrm_gym.envs.arc.augmentation import Versions
from hrm_gym.envs.arc.rules import OUTSIDE, crop
from hrm_gym.envs.arc.submission import ATTEMPTS
from hrm_gym.envs.errors import ConfigError, PuzzleError
from hrm_gym.envs.puzzles import Puzzles

PUZZLES_AT_ONCE = 65_536  # versions of tests held in memory together


@dataclass(frozen=True)
class Ballot:
    """How the versions of one test voted: K different grids, best first.

    Attributes:
        puzzle_id: "<task id>/<number of the test>".
        candidates: uint8[K, S, S], each grid at the top left of its canvas.
        votes: int64[K], how many versions gave this grid.
        values: float64[K], the mean of their sigmoid(Q-halt).
        rows: int64[K], of `Versions`: the voter with the highest sigmoid(Q-halt).
        asked: how many versions were asked; those whose draft holds no grid have no vote.
    """

    puzzle_id: str
    candidates: np.ndarray
    votes: np.ndarray
    values: np.ndarray
    rows: np.ndarray
    asked: int


def answer_tests(
    agent: HRMAgent,
    tests: Puzzles,
    versions: Versions,
    halting: str | HaltingStrategy | None = None,
    slots: int = 256,
    progress: Callable[[int], None] | None = None,
) -> list[Ballot]:
    """The ballots of `tests`, in their order.

    Args:
        agent: trained on the demonstrations of `versions`.
        tests: puzzles whose fact `task` counts the tasks of `versions`. Their answers are erased first.
        halting: a strategy or its text; None: the agent's own.
        slots: puzzles in thought at once.
        progress: called with the number of finished versions of tests.

    Raises:
        ConfigError: a halting strategy that looks at answers, or an agent that has not learned that many versions.
        PuzzleError: tests that do not fit the agent's canvas.
    """
    strategy = agent.halting if halting is None else halting_strategy(halting)
    if strategy.needs & {"verified", "correct"}:
        raise ConfigError(f"halting {strategy} looks at the answer, which ARC's tests keep hidden; choose another, such as q")
    known = agent.network.config.puzzle_ids
    if agent.network.config.puzzle_embedding_size and known != len(versions.used):
        raise ConfigError(
            f"the agent knows {known} versions of tasks and {len(versions.used)} were given; "
            "give the tasks and the number of augmentations that it was trained with"
        )
    tests = Puzzles(tests.questions, np.full_like(tests.answers, OUTSIDE), tests.ids, tests.ratings, tests.facts)
    ballots: list[Ballot] = []
    done = 0
    for part in np.array_split(np.arange(len(tests)), max(1, -(-len(tests) * versions.per_task // PUZZLES_AT_ONCE))):
        asked = versions.of(tests.take(part))
        before = done
        report = None if progress is None else (lambda finished, before=before: progress(before + finished))
        solutions = agent.solve(asked, halting=strategy, slots=slots, progress=report)
        rows = asked.facts["puzzle_id"]
        grids = versions.symmetries(rows).inverse().apply(solutions.drafts)
        done += len(asked)
        of_test: dict[str, list[int]] = {tests.ids[row]: [] for row in part}
        for place, name in enumerate(asked.ids):
            of_test[name].append(place)
        for name, places in of_test.items():
            ballots.append(count_votes(name, grids[places], solutions.halt_values[places], rows[places]))
    return ballots


def count_votes(puzzle_id: str, drafts: np.ndarray, halt_values: np.ndarray, rows: np.ndarray) -> Ballot:
    """The ballot of one test: most votes first; of equals the highest mean sigmoid(Q-halt), then the earliest version.

    Args:
        drafts: uint8[N, S, S], symmetries undone. Of each counts the grid that `envs.arc.rules.crop` reads.
        halt_values: float[N], sigmoid(Q-halt); nan counts as 0.
        rows: int64[N], which versions these are.
    """
    grids = crop(drafts)
    halt_values = np.nan_to_num(np.asarray(halt_values, dtype=np.float64))
    voters: dict[bytes, list[int]] = {}
    for place, grid in enumerate(grids):
        if grid[0, 0] != OUTSIDE:
            voters.setdefault(grid.tobytes(), []).append(place)
    # rounded: means of equal values may differ in the last bits, which must not decide
    ranked = sorted(voters.values(), key=lambda places: (-len(places), -round(float(halt_values[places].mean()), 6), places[0]))
    best = [places[int(halt_values[places].argmax())] for places in ranked]
    return Ballot(
        puzzle_id,
        grids[best] if best else grids[:0],
        np.array([len(places) for places in ranked], dtype=np.int64),
        np.array([halt_values[places].mean() for places in ranked]),
        np.asarray(rows)[best].astype(np.int64),
        len(drafts),
    )


def attempts(ballots: Sequence[Ballot], size: int) -> np.ndarray:
    """The two best candidates of each ballot as `envs.arc.submission` takes them: uint8[N, 2, size, size]; all outside where there is none.

    Args:
        size: side of the canvas, at least that of every ballot.

    Raises:
        PuzzleError: no ballots, or one with a larger canvas.
    """
    if not ballots:
        raise PuzzleError("there are no ballots to make attempts of; expected one for each test")
    chosen = np.full((len(ballots), ATTEMPTS, size, size), OUTSIDE, dtype=np.uint8)
    for row, ballot in enumerate(ballots):
        best = ballot.candidates[:ATTEMPTS]
        _, height, width = best.shape
        if height > size or width > size:
            raise PuzzleError(
                f"ballot {ballot.puzzle_id!r} has canvases of {height} x {width}; expected at most {size} x {size}"
            )
        chosen[row, : len(best), :height, :width] = best
    return chosen
