"""`HRM-Maze-v0`."""

from __future__ import annotations

from hrm_gym.envs.episode import PuzzleEnv
from hrm_gym.envs.registry import maze


class MazeEnv(PuzzleEnv):
    """
    ## Description

    A maze of walls and open cells with one start and one goal; a shortest path between them, up, down, left and right, is to
    be marked. Each step is one step of thought: the agent hands in a draft of the whole grid and either continues or halts.
    A halted draft is verified by the rules: it is the question with the open cells of a shortest path marked, any shortest
    path and not just a stored one.

    ## Observation Space

    `Dict`, n = size:

    | key | space | meaning |
    | --- | --- | --- |
    | `question` | `Box(0, 4, (n, n), uint8)` | 0 = wall, 1 = open, 2 = start, 3 = goal |
    | `draft` | `Box(0, 4, (n, n), uint8)` | the draft of the last step, 4 = path; before the first step the question |
    | `step` | `Discrete(max_steps + 1)` | steps taken |

    ## Action Space

    `MultiDiscrete([5] * (n * n) + [2])`: the draft row by row (0 = wall, 1 = open, 2 = start, 3 = goal, 4 = path), then 1 to halt or
    0 to continue. `env.unwrapped.pack(draft, halt)` makes an action, `unpack(action)` takes one apart.

    ## Rewards

    `-step_cost` at each step, and +1 for a halted draft that is verified. Nothing else.

    ## Episode End

    Terminated by a verified halt, or by a wrong halt with no attempt left. Truncated after `max_steps` steps otherwise.

    ## Info

    - `verified` (bool): whether the draft was halted and marks a shortest path
    - `attempts_left` (int): wrong halts that may still be made
    - `puzzle_id` (str): the maze's name
    - `rating` (float): the maze's difficulty; generated: the number of moves of a shortest path; from a file: the file's figure
    - `path_length` (int): number of cells marked 4, plus 1; in a right draft it equals `optimum`
    - `optimum` (int): number of moves of a shortest path, found by search
    - `connected` (bool): whether the marked cells join start and goal
    - `answer` (uint8[n, n]), only with `reveal_answer` and after the episode's end: one of the right drafts

    ## Arguments

    - `size` (int, 30): side of the maze, 3 or more
    - `source` (str, "generate"): "generate" makes mazes without end, "generate:10000" a list of so many, once;
      "csv:PATH" reads the published Maze-Hard format, "lines:PATH" one maze a line,
      "hub:OWNER/NAME[/FILE]" a data set of the Hugging Face hub
    - `recipe` (str, "walls"): how a maze is generated: "walls" sets walls at random and usually leaves several shortest paths, "tree"
      is a perfect maze with just one, "braid" a tree with about half of its dead ends opened
    - `min_path` (int, None): fewest moves of a generated maze's shortest path; None: 4 * size - 9, at most
      size * size / 3 (30 x 30: 111, as in Maze-Hard)
    - `split` (str, "all"): "train", "test" or "all"; no answer is in both. A hub data set named without a file keeps its own split
    - `max_steps` (int, 16): steps after which the episode is truncated
    - `attempts` (int, 1): halts that are judged
    - `step_cost` (float, 0.0): taken from the reward at each step
    - `reveal_answer` (bool, False): put the answer into `info` at the episode's end
    - `render_mode` (str, None): None, "human", "rgb_array" or "ansi"

    `reset(options={"puzzle": ...})` plays a maze of your own: a grid, its text (n * n characters: '#' wall, ' ' open, 'S', 'G'), or
    an index or id of a file source. An unknown or faulty argument is a `ConfigError`, `SourceError` or `PuzzleError`.

    ## Registered IDs

    - `HRM-Maze-v0`

    ## Version History

    - v0: initial version
    """

    def __init__(
        self,
        size: int = 30,
        source: str = "generate",
        recipe: str = "walls",
        min_path: int | None = None,
        split: str = "all",
        max_steps: int = 16,
        attempts: int = 1,
        step_cost: float = 0.0,
        reveal_answer: bool = False,
        render_mode: str | None = None,
    ) -> None:
        family, puzzles = maze(size, source, recipe, min_path, split)
        super().__init__(family, puzzles, max_steps, attempts, step_cost, reveal_answer, render_mode)
