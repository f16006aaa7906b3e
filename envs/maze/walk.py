"""`HRM-MazeWalk-v0`: a maze walked one cell at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from numba import njit

from hrm_gym.envs.edit import Boards, EditEnv, check_choice
from hrm_gym.envs.family import Family
from hrm_gym.envs.maze.solver import GOAL, OPEN, PATH, START, WALL
from hrm_gym.envs.registry import maze
from hrm_gym.envs.sources import Source

if TYPE_CHECKING:
    from hrm_gym.envs.drawing import Scene

REWARDS = ("goal", "verified", "dense")
MOVES = ("up", "right", "down", "left")

_ROW_STEPS, _COLUMN_STEPS = np.array([-1, 0, 1, 0]), np.array([0, 1, 0, -1])


@njit(cache=True, nogil=True)
def _mask(mask: np.ndarray, question: np.ndarray, row: int, column: int) -> None:
    """Sets mask bool[4]: where one can go from a cell."""
    height, width = question.shape
    for move in range(4):
        y, x = row + _ROW_STEPS[move], column + _COLUMN_STEPS[move]
        mask[move] = 0 <= y < height and 0 <= x < width and question[y, x] != WALL


@njit(cache=True, nogil=True)
def _begin(
    rows: np.ndarray,
    questions: np.ndarray,
    masks: np.ndarray,
    positions: np.ndarray,
    path_lengths: np.ndarray,
    distances: np.ndarray,
    optima: np.ndarray,
) -> None:
    height, width = questions.shape[1:]
    queue = np.empty(height * width, np.int64)
    for i in rows:
        question, distance = questions[i], distances[i]
        distance[:] = -1
        head = tail = 0
        for row in range(height):
            for column in range(width):
                if question[row, column] == START:
                    positions[i, 0], positions[i, 1] = row, column
                elif question[row, column] == GOAL:
                    distance[row, column] = 0
                    queue[0] = row * width + column
                    tail = 1
        while head < tail:
            row, column = queue[head] // width, queue[head] % width
            head += 1
            for move in range(4):
                y, x = row + _ROW_STEPS[move], column + _COLUMN_STEPS[move]
                if 0 <= y < height and 0 <= x < width and question[y, x] != WALL and distance[y, x] < 0:
                    distance[y, x] = distance[row, column] + 1
                    queue[tail] = y * width + x
                    tail += 1
        path_lengths[i] = 0
        optima[i] = distance[positions[i, 0], positions[i, 1]]
        _mask(masks[i], question, positions[i, 0], positions[i, 1])


@njit(cache=True, nogil=True)
def _move(
    actions: np.ndarray,
    active: np.ndarray,
    questions: np.ndarray,
    drafts: np.ndarray,
    masks: np.ndarray,
    positions: np.ndarray,
    path_lengths: np.ndarray,
    distances: np.ndarray,
    optima: np.ndarray,
    submitted: np.ndarray,
    verified: np.ndarray,
    rewards: np.ndarray,
    any_path: bool,
    dense: bool,
) -> int:
    for i in range(len(actions)):
        if active[i] and not 0 <= actions[i] < 4:
            return i
    for i in range(len(actions)):
        submitted[i] = verified[i] = False
        rewards[i] = 0.0
        if not active[i] or not masks[i, actions[i]]:
            continue
        before = distances[i, positions[i, 0], positions[i, 1]]
        row, column = positions[i, 0] + _ROW_STEPS[actions[i]], positions[i, 1] + _COLUMN_STEPS[actions[i]]
        positions[i, 0], positions[i, 1] = row, column
        path_lengths[i] += 1
        if questions[i, row, column] == OPEN:
            drafts[i, row, column] = PATH
        _mask(masks[i], questions[i], row, column)
        submitted[i] = questions[i, row, column] == GOAL
        verified[i] = submitted[i] and path_lengths[i] == optima[i]
        rewards[i] = verified[i] or (any_path and submitted[i])
        if dense:
            rewards[i] += (before - distances[i, row, column]) / optima[i]
    return -1


class MazeBoards(Boards):
    """Mazes being walked; see `MazeWalkEnv` for the rules and the settings. To arrive is to submit.

    Attributes:
        positions: int64[N, 2], row and column.
        path_lengths: int64[N], moves made.
        distances: int32[N, H, W], moves from each cell to the goal; -1 where there is no way.
        optima: int64[N], moves of a shortest path.

    Raises:
        ConfigError: a setting outside its range.
    """

    _other_verdict = "arrived"

    def __init__(
        self,
        family: Family,
        source: Source,
        count: int,
        max_steps: int | None = None,
        step_cost: float = 0.0,
        reward: str = "goal",
    ) -> None:
        super().__init__(family, source, count, 2 * family.cells if max_steps is None else max_steps, 1, step_cost)
        self._any_path = check_choice("reward", reward, REWARDS) != "verified"
        self._dense = reward == "dense"
        self.single_action_space = spaces.Discrete(len(MOVES))
        self.single_observation_space = spaces.Dict(
            {**self.single_observation_space, "position": spaces.MultiDiscrete(list(family.shape))}
        )
        self.masks = np.ones((count, len(MOVES)), bool)
        self.positions = np.zeros((count, 2), np.int64)
        self.path_lengths = np.zeros(count, np.int64)
        self.distances = np.zeros((count, *family.shape), np.int32)
        self.optima = np.zeros(count, np.int64)

    def _begin(self, rows: np.ndarray) -> None:
        _begin(rows, self.questions, self.masks, self.positions, self.path_lengths, self.distances, self.optima)

    def _move(self, actions: np.ndarray, active: np.ndarray) -> int:
        return _move(
            actions,
            active,
            self.questions,
            self.drafts,
            self.masks,
            self.positions,
            self.path_lengths,
            self.distances,
            self.optima,
            self.submitted,
            self.verified,
            self.rewards,
            self._any_path,
            self._dense,
        )

    def extras(self) -> dict[str, np.ndarray]:
        return {"position": self.positions}

    def figures(self) -> dict[str, tuple[np.ndarray, bool]]:
        return {"arrived": (self.submitted, True), "path_length": (self.path_lengths, True), "optimum": (self.optima, True)}

    def solution(self, row: int) -> np.ndarray:
        y, x = self.positions[row]
        distance = np.pad(self.distances[row], 1, constant_values=-1)
        actions = []
        while distance[y + 1, x + 1] > 0:
            nearer = [distance[y + 1 + dy, x + 1 + dx] for dy, dx in zip(_ROW_STEPS, _COLUMN_STEPS, strict=True)]
            actions.append(nearer.index(distance[y + 1, x + 1] - 1))
            y, x = y + _ROW_STEPS[actions[-1]], x + _COLUMN_STEPS[actions[-1]]
        return np.array(actions, np.int64)

    def scene(self, row: int, previous: np.ndarray | None) -> Scene:
        return replace(super().scene(row, previous), wrong=None)  # a path that has an end is not wrong, it is being walked

    def cursor(self, row: int) -> tuple[int, int] | None:
        return int(self.positions[row, 0]), int(self.positions[row, 1])


class MazeWalkEnv(EditEnv):
    """
    ## Description

    A maze of walls and open cells with one start and one goal. The agent stands on the start and walks one cell at a time, up,
    right, down or left, to the goal. A move into a wall or off the grid changes nothing and takes a step.

    ## Observation Space

    `Dict`, n = size:

    | key | space | meaning |
    | --- | --- | --- |
    | `question` | `Box(0, 4, (n, n), uint8)` | 0 = wall, 1 = open, 2 = start, 3 = goal |
    | `draft` | `Box(0, 4, (n, n), uint8)` | the question with the open cells that have been walked on marked 4 |
    | `position` | `MultiDiscrete([n, n])` | row and column of the agent |
    | `step` | `Discrete(max_steps + 1)` | steps taken |

    ## Action Space

    `Discrete(4)`: 0 = up, 1 = right, 2 = down, 3 = left. `action_masks()`, bool[4], is what sb3-contrib's MaskablePPO asks for; it
    leaves out walls.

    ## Rewards

    `-step_cost` at each step, and +1

    - `reward="goal"`: for arriving at the goal, by whatever way
    - `reward="verified"`: for arriving at the goal by a shortest path
    - `reward="dense"`: for arriving, and at each move (moves to the goal from the old cell - from the new one) / optimum. This is
      shaping by a potential (Ng, Harada, Russell 1999): it adds up to 1 on every walk that arrives. The moves to the goal are
      found by search, so that this reward shows the way.

    ## Episode End

    Terminated on arrival at the goal. Truncated after `max_steps` steps otherwise.

    ## Info

    - `verified` (bool): whether the agent has arrived by a shortest path: no move was lost
    - `arrived` (bool): whether the agent has arrived
    - `path_length` (int): moves made, steps into walls not counted
    - `optimum` (int): number of moves of a shortest path
    - `puzzle_id` (str): the maze's name
    - `rating` (float): the maze's difficulty; generated: the number of moves of a shortest path; from a file: the file's figure
    - `action_mask` (bool[4]): the same as `action_masks()`

    ## Arguments

    - `size` (int, 10): side of the maze, 3 or more
    - `source` (str, "generate"): "generate" makes mazes without end, "generate:10000" a list of so many, once;
      "csv:PATH" reads the published Maze-Hard format, "lines:PATH" one maze a line,
      "hub:OWNER/NAME[/FILE]" a data set of the Hugging Face hub
    - `recipe` (str, "tree"): how a maze is generated: "tree" is a perfect maze with just one path, "braid" a tree with about half of
      its dead ends opened, "walls" sets walls at random and usually leaves several shortest paths
    - `min_path` (int, None): fewest moves of a generated maze's shortest path; None: 4 * size - 9, at most size * size / 3
    - `split` (str, "all"): "train", "test" or "all"; no answer is in both. A hub data set named without a file keeps its own split
    - `max_steps` (int, None): steps after which the episode is truncated; None: 2 * n * n, enough to walk into every corner and back
    - `step_cost` (float, 0.0): taken from the reward at each step
    - `reward` (str, "goal"): "goal", "verified" or "dense"
    - `render_mode` (str, None): None, "human", "rgb_array" or "ansi"

    `reset(options={"puzzle": ...})` plays a maze of your own: a grid, its text (n * n characters: '#' wall, ' ' open, 'S', 'G'), or
    an index or id of a file source. An unknown or faulty argument is a `ConfigError`, `SourceError` or `PuzzleError`.

    ## Registered IDs

    - `HRM-MazeWalk-v0`

    ## Version History

    - v0: initial version
    """

    def __init__(
        self,
        size: int = 10,
        source: str = "generate",
        recipe: str = "tree",
        min_path: int | None = None,
        split: str = "all",
        max_steps: int | None = None,
        step_cost: float = 0.0,
        reward: str = "goal",
        render_mode: str | None = None,
    ) -> None:
        boards, puzzles = maze_boards(1, size, source, recipe, min_path, split, max_steps, step_cost, reward)
        super().__init__(boards, puzzles, render_mode)


def maze_boards(
    count: int, size: int, source: str, recipe: str, min_path: int | None, split: str, *settings: Any
) -> tuple[MazeBoards, Source]:
    """`count` boards and a source for them; the arguments are those of `MazeWalkEnv`, `settings` those of `MazeBoards`.

    Raises:
        ConfigError, SourceError: an unknown or faulty argument.
    """
    family, puzzles = maze(size, source, recipe, min_path, split)
    return MazeBoards(family, puzzles, count, *settings), puzzles
