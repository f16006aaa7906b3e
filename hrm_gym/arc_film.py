"""A film of ARC tests being answered: what the versions that speak for the two attempts think, and how the attempts are judged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hrm_gym.agents.agent import HRMAgent
from hrm_gym.agents.arc_voting import Ballot
from hrm_gym.agents.trajectories import record
from hrm_gym.envs import drawing
from hrm_gym.envs.arc.augmentation import Versions, hidden_tests
from hrm_gym.envs.arc.family import ArcFamily, puzzles_from_tasks
from hrm_gym.envs.arc.rules import OUTSIDE
from hrm_gym.envs.arc.submission import ATTEMPTS
from hrm_gym.envs.arc.tasks import ArcTask
from hrm_gym.envs.episode import PuzzleEnv
from hrm_gym.envs.film import write_gif
from hrm_gym.envs.sources import ListSource

VERDICT_SECONDS = 2  # how long a verdict stands before the next test


def frames_of_tests(
    agent: HRMAgent,
    tasks: Sequence[ArcTask],
    versions: Versions,
    ballots: Sequence[Ballot],
    answered: Sequence[ArcTask],
    fps: float,
) -> list[np.ndarray]:
    """Frames uint8[height, width, 3] of every test being answered in `HRM-ARC-v0`, one after the other.

    An attempt is shown as the thoughts of one version: that one of its voters whose Q-halt was highest, each draft brought back to the
    task's own orientation. The attempt is then handed in; where it is wrong, the second follows.

    Args:
        tasks: what `versions` were made of, without outputs. ballots: one for each of their tests, in order.
        answered: the same tasks with their tests' outputs, for the verdict.
    """
    size = max(
        agent.family.shape[0], *(task.size for task in answered)
    )  # an output larger than the agent's canvas is shown whole
    played = ListSource(puzzles_from_tasks(answered, size))
    env = PuzzleEnv(ArcFamily(size), played, ATTEMPTS * agent.max_steps, ATTEMPTS)
    tests = hidden_tests(tasks, versions.size)
    frames: list[np.ndarray] = []
    for number, ballot in enumerate(ballots):
        asked = versions.of(tests.take([number]))
        speakers = ballot.rows[:ATTEMPTS]
        if not len(speakers):
            continue
        places = [int(np.flatnonzero(asked.facts["puzzle_id"] == row)[0]) for row in speakers]
        thoughts = record(agent, asked.take(places))
        halts = thoughts.halting_steps(agent.halting)
        back = versions.symmetries(speakers).inverse()
        assert thoughts.drafts is not None
        drafts = np.stack(
            [back.apply(at.reshape(-1, versions.size, versions.size)) for at in thoughts.drafts]
        )  # [T, attempts, S, S]
        env.reset(options={"puzzle": number})
        shown, over = [drawing.draw(env.scene())], False
        for attempt, steps in enumerate(halts):
            for step in range(int(steps)):
                last = step == steps - 1
                draft = np.full((size, size), OUTSIDE, dtype=np.uint8)
                draft[: versions.size, : versions.size] = ballot.candidates[attempt] if last else drafts[step, attempt]
                env.note_values(*(sigmoid(float(values[step, attempt])) for values in (thoughts.q_halt, thoughts.q_continue)))
                _, _, terminated, truncated, _ = env.step(env.pack(draft, last))
                shown.append(drawing.draw(env.scene()))
                over = terminated or truncated
            if over:
                break
            shown += [shown[-1]] * int(fps)  # the first attempt's verdict
        frames += shown + [shown[-1]] * int(VERDICT_SECONDS * fps)
    return frames


def sigmoid(logit: float) -> float:
    """The value that a Q value, a logit, stands for."""
    return 1 / (1 + math.exp(-logit))


def write_film(path: str | Path, frames: Sequence[np.ndarray], fps: float = 2) -> None:
    """Write frames of unlike sizes as one GIF: each is put in the middle of a board that holds them all.

    Raises:
        ConfigError: no frames.
    """
    if frames:
        height, width = (max(frame.shape[axis] for frame in frames) for axis in (0, 1))
        frames = [_in_the_middle(frame, height, width) for frame in frames]
    write_gif(path, frames, fps)


def _in_the_middle(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    board = np.empty((height, width, 3), dtype=np.uint8)
    board[:] = drawing.BACKGROUND
    top, left = (height - frame.shape[0]) // 2, (width - frame.shape[1]) // 2
    board[top : top + frame.shape[0], left : left + frame.shape[1]] = frame
    return board
