"""`HRM-Sudoku-v0`."""

from __future__ import annotations

from hrm_gym.envs.episode import PuzzleEnv
from hrm_gym.envs.registry import sudoku


class SudokuEnv(PuzzleEnv):
    """
    ## Description

    A Sudoku with exactly one solution: every row, every column and every box holds each digit once. Each step is one step of
    thought: the agent hands in a draft of the whole grid and either continues or halts. A halted draft is verified by the
    rules and the clues, without an answer key.

    ## Observation Space

    `Dict`, n = size:

    | key | space | meaning |
    | --- | --- | --- |
    | `question` | `Box(0, n, (n, n), uint8)` | 0 = blank, 1-n = digit |
    | `draft` | `Box(0, n, (n, n), uint8)` | the draft of the last step; before the first step the question |
    | `step` | `Discrete(max_steps + 1)` | steps taken |

    ## Action Space

    `MultiDiscrete([n + 1] * (n * n) + [2])`: the draft row by row (0 = blank, 1-n = digit), then 1 to halt or 0 to continue. The
    clues are to be written too. `env.unwrapped.pack(draft, halt)` makes an action, `unpack(action)` takes one apart.

    ## Rewards

    `-step_cost` at each step, and +1 for a halted draft that is verified. Nothing else.

    ## Episode End

    Terminated by a verified halt, or by a wrong halt with no attempt left. Truncated after `max_steps` steps otherwise.

    ## Info

    - `verified` (bool): whether the draft was halted and solves the puzzle
    - `attempts_left` (int): wrong halts that may still be made
    - `puzzle_id` (str): the puzzle's name
    - `rating` (float): the puzzle's difficulty, the number of guesses that a solver had to take back; 0 = none
    - `broken_rules` (int): rows, columns and boxes of the draft in which a digit stands twice
    - `wrong_clues` (int): clues that the draft does not keep
    - `filled_cells` (int): cells of the draft that are not blank
    - `answer` (uint8[n, n]), only with `reveal_answer` and after the episode's end: the solution

    ## Arguments

    - `size` (int, 9): side of the grid, 4, 6, 9 or 16
    - `source` (str, "generate"): "generate" makes puzzles without end, "generate:10000" a list of so many, once;
      "csv:PATH" reads the published Sudoku-Extreme format, "lines:PATH" one puzzle a line,
      "hub:OWNER/NAME[/FILE]" a data set of the Hugging Face hub
    - `difficulty` (str, "hard"): "easy", "medium", "hard" or "extreme", of generated puzzles
    - `split` (str, "all"): "train", "test" or "all"; no solution grid is in both. A hub data set named without a file keeps
      its own split
    - `max_steps` (int, 16): steps after which the episode is truncated
    - `attempts` (int, 1): halts that are judged
    - `step_cost` (float, 0.0): taken from the reward at each step
    - `reveal_answer` (bool, False): put the answer into `info` at the episode's end
    - `render_mode` (str, None): None, "human", "rgb_array" or "ansi"

    Generated puzzles are far easier than Sudoku-Extreme: never present accuracy on the one as the other.

    `reset(options={"puzzle": ...})` plays a puzzle of your own: a grid, its text (n * n characters, '.' or '0' = blank), or an
    index or id of a file source. An unknown or faulty argument is a `ConfigError`, `SourceError` or `PuzzleError`.

    ## Registered IDs

    - `HRM-Sudoku-v0`

    ## Version History

    - v0: initial version
    """

    def __init__(
        self,
        size: int = 9,
        source: str = "generate",
        difficulty: str = "hard",
        split: str = "all",
        max_steps: int = 16,
        attempts: int = 1,
        step_cost: float = 0.0,
        reveal_answer: bool = False,
        render_mode: str | None = None,
    ) -> None:
        family, puzzles = sudoku(size, source, difficulty, split)
        super().__init__(family, puzzles, max_steps, attempts, step_cost, reveal_answer, render_mode)
