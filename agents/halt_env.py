"""`HRM-Halt-v0`: a trained network is the world, and the only question is when to halt.

`HaltEnv` is one environment, `HaltVectorEnv` N of them; both run `Episodes`, there one, here N. Behind the episodes stands a `World`: the
network itself, which thinks about all of them in one batch, or a recording of it (`agents.trajectories`), which needs no network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from torch import Tensor

from hrm_gym.agents.agent import HRMAgent
from hrm_gym.agents.network import State
from hrm_gym.agents.solving import as_tensor
from hrm_gym.agents.thinking import Carry, think_one_step
from hrm_gym.agents.thought import Thought
from hrm_gym.agents.trajectories import Trajectories
from hrm_gym.envs.episode import BasePuzzleEnv, at_least_one, scene_of
from hrm_gym.envs.errors import ConfigError, PuzzleError
from hrm_gym.envs.family import Family
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.registry import family_and_source, make_family
from hrm_gym.envs.sources import ListSource, Source
from hrm_gym.envs.vector import BatchedVectorEnv, Infos

if TYPE_CHECKING:
    from hrm_gym.envs.drawing import Scene

# -- what is observed --------------------------------------------------------------------------------------------------------

# What an observation shows of the current step, in this order; `halt_features` computes it. All are in [0, 1], `margin` in [-1, 1].
HALT_FEATURES = (
    "halt_value",
    "continue_value",
    "margin",
    "confidence",
    "log_doubt",
    "log_entropy",
    "log_divergence",
    "log_residual",
    "log_cosine",
    "log_changed_cells",
    "unchanged_share",
    "step_share",
)
NEEDED = frozenset({"confidence", "entropy", "divergence", "residual", "cosine"})  # of a thought, for these features
LEAST, LARGEST = 1e-5, 10.0  # the ends of the logarithmic scales
MOST_CELLS = 1024  # at the end of the scale of changed cells; the largest grids, 30 x 30, have 900
LARGEST_MARGIN = 10.0  # logits
LARGEST_LATENT = 10.0


def halt_features(thought: Thought) -> Tensor:
    """The features HALT_FEATURES of a batch of thoughts, as `HaltEnv` describes them: float32[B, 12], finite."""
    assert thought.confidence is not None and thought.entropy is not None and thought.divergence is not None
    assert thought.residual is not None and thought.cosine is not None
    features = torch.stack(
        (
            torch.sigmoid(thought.q_halt),
            torch.sigmoid(thought.q_continue),
            (thought.q_halt - thought.q_continue) / LARGEST_MARGIN,
            thought.confidence,
            _log_scale(1.0 - thought.confidence),
            _log_scale(thought.entropy),
            _log_scale(thought.divergence),
            _log_scale(thought.residual),
            _log_scale(thought.cosine),
            torch.log1p(thought.changed_cells.float()) / np.log1p(MOST_CELLS),
            thought.unchanged_steps.float() / thought.max_steps,
            thought.step.float() / thought.max_steps,
        ),
        dim=1,
    )
    return torch.nan_to_num(features, nan=0.0).clamp(-1.0, 1.0)  # a broken network may have NaN


def observed_features(thought: Thought) -> Tensor:
    """`halt_features`, and behind them the pooled latent state where the thought has it: float32[B, 12 or 12 + hidden_size]."""
    features = halt_features(thought)
    if thought.latent is None:
        return features
    latent = torch.nan_to_num(thought.latent, nan=0.0).clamp(-LARGEST_LATENT, LARGEST_LATENT)
    return torch.cat((features, latent), dim=1)


def feature_space(latent_size: int = 0) -> spaces.Box:
    """The space of one observation, with `latent_size` numbers of the latent state behind the features."""
    low = np.zeros(len(HALT_FEATURES) + latent_size, np.float32)
    low[HALT_FEATURES.index("margin")] = -1.0
    high = np.ones_like(low)
    low[len(HALT_FEATURES) :], high[len(HALT_FEATURES) :] = -LARGEST_LATENT, LARGEST_LATENT
    return spaces.Box(low, high, dtype=np.float32)


def _log_scale(values: Tensor) -> Tensor:
    """LEAST or less -> 0, LARGEST or more -> 1, evenly by powers of ten between them."""
    tens = torch.log10(values.clamp(LEAST, LARGEST))
    return (tens - np.log10(LEAST)) / (np.log10(LARGEST) - np.log10(LEAST))


# -- the worlds --------------------------------------------------------------------------------------------------------------


class World(ABC):
    """What thinks in N episodes.

    Attributes:
        family: of the puzzles.
        source: where they come from.
        max_steps: T.
        latent_size: how many numbers of the latent state are observed.
    """

    family: Family
    source: Source
    max_steps: int
    latent_size: int = 0

    @abstractmethod
    def open(self, count: int) -> None:
        """Makes room for N = `count` episodes."""

    @abstractmethod
    def begin(self, rows: np.ndarray, puzzles: Puzzles) -> None:
        """Puts puzzles[k] before the episode rows[k], int64[K]; nothing is thought yet."""

    @abstractmethod
    def think(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One step in each of `rows`, int64[K], ascending: the features, float32[K, F], and whether the drafts are verified, bool[K]."""

    @abstractmethod
    def drafts(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """The draft of the current step of one episode and the one before, uint8[H, W] each; before the first is the question."""

    def check(self, puzzles: Puzzles) -> None:
        """Raises PuzzleError for puzzles that cannot be thought about here."""
        self.family.check_grids(puzzles.questions)

    def scene(self, puzzle: Puzzles, row: int, verdict: str | None, **shown: Any) -> Scene:
        """The picture of one episode, whose puzzle is a batch of one."""
        draft, previous = self.drafts(row)
        return scene_of(self.family, puzzle, draft, verdict, previous=previous, max_steps=self.max_steps, **shown)


class NetworkWorld(World):
    """The network thinks: all episodes that go on in one batch, on the agent's device.

    Args:
        agent: whose network; its halting strategy is not used.
        source: of the puzzles.
        max_steps: None: the agent's own.
        latent: whether to observe the pooled latent state.
    """

    def __init__(self, agent: HRMAgent, source: Source, max_steps: int | None, latent: bool) -> None:
        self.agent = agent
        self.family = agent.family
        self.source = source
        self.max_steps = agent.max_steps if max_steps is None else at_least_one("max_steps", max_steps)
        self.latent_size = agent.network.config.hidden_size if latent else 0
        self._wanted = NEEDED | {"verified"} | ({"latent"} if latent else set())

    def open(self, count: int) -> None:
        device, cells = self.agent.device, self.family.cells
        self._fresh = np.ones(count, dtype=bool)  # a new puzzle, not thought about yet
        self._questions = torch.zeros(count, cells, dtype=torch.uint8, device=device)
        self._answers, self._previous = torch.zeros_like(self._questions), torch.zeros_like(self._questions)
        self._puzzle_ids = torch.zeros(count, dtype=torch.int64, device=device)
        self._facts: dict[str, Tensor] = {}
        self._carry: Carry | None = None

    def begin(self, rows: np.ndarray, puzzles: Puzzles) -> None:
        new = self.agent.on_device(puzzles)
        where = as_tensor(rows, self.agent.device)
        self._questions[where], self._answers[where], self._puzzle_ids[where] = new.questions, new.answers, new.puzzle_ids
        for name, values in new.facts.items():
            if name not in self._facts:
                self._facts[name] = torch.zeros(len(self._fresh), dtype=values.dtype, device=values.device)
            self._facts[name][where] = values
        self._fresh[rows] = True

    @torch.no_grad()
    def think(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        agent, count = self.agent, len(self._fresh)
        where = as_tensor(rows, agent.device)
        if self._carry is None:
            slots = torch.arange(count, device=agent.device)
            self._carry = Carry.start(agent.network, agent.code, self._questions, self._puzzle_ids, slots)
        everyone = len(rows) == count
        carry = self._carry if everyone else self._carry.take(where)
        fresh = as_tensor(self._fresh[rows], agent.device)
        carry.restart(agent.network, agent.code, fresh, self._questions[where], self._puzzle_ids[where], carry.puzzle)
        self._fresh[rows] = False
        self._previous[where] = carry.draft
        thought = think_one_step(agent.network, agent.code, carry, self._wanted, self.max_steps, self._solved)
        if not everyone:
            _put(self._carry, where, carry)
        assert thought.verified is not None
        # both in one transfer
        told = torch.cat((observed_features(thought), thought.verified.float().unsqueeze(1)), dim=1).cpu().numpy()
        return told[:, :-1], told[:, -1] > 0.5

    def _solved(self, slots: Tensor, drafts: Tensor) -> Tensor:
        facts = {name: values[slots] for name, values in self._facts.items()}
        return self.agent.code.solved(self._questions[slots], drafts, self._answers[slots], facts)

    def drafts(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        assert self._carry is not None
        draft, previous = (grids[row].cpu().numpy().reshape(self.family.shape) for grids in (self._carry.draft, self._previous))
        return draft, previous


def _put(whole: Carry, where: Tensor, part: Carry) -> None:
    """Writes `part` at the rows `where` of `whole`: the inverse of `Carry.take`."""
    for name in ("tokens", "puzzle_ids", "puzzle", "draft", "step", "unchanged_steps", "memory"):
        getattr(whole, name)[where] = getattr(part, name)
    whole.state = State(
        *(old.index_copy(0, where, new) for old, new in zip(whole.state, part.state, strict=True))  # type: ignore[call-overload]
    )
    if part.log_probabilities is not None:
        if whole.log_probabilities is None:
            whole.log_probabilities = part.log_probabilities.new_zeros(len(whole.step), *part.log_probabilities.shape[1:])
        whole.log_probabilities[where] = part.log_probabilities


class RecordingWorld(World):
    """A recording is played again; the puzzles are those that were recorded.

    Args:
        trajectories: the recording.
        max_steps: at most as many as were recorded; None: all.
        pictures: whether drafts will be asked for.

    Raises:
        ConfigError: too many steps, no puzzle, no family in the description, or pictures of drafts that were not kept.
    """

    _ROW = "recorded_row"  # a fact of the puzzles: where in the recording they are

    def __init__(self, trajectories: Trajectories, max_steps: int | None, pictures: bool) -> None:
        if max_steps is not None:
            trajectories = trajectories.until(at_least_one("max_steps", max_steps))
        description, count = trajectories.description, len(trajectories)
        if "family" not in description or "size" not in description:
            raise ConfigError(
                "the trajectories' description does not say which puzzles they are of; expected such as {'family': 'sudoku', 'size': 4}"
            )
        if count == 0:
            raise ConfigError("the trajectories hold no puzzle; expected at least one")
        if pictures and (trajectories.drafts is None or trajectories.questions is None):
            raise ConfigError(
                "these trajectories hold no drafts to draw; record them with keep_drafts, or leave render_mode out"
            )
        self.family = make_family(description["family"], int(description["size"]))
        self.max_steps = trajectories.max_steps
        grids = np.zeros((count, *self.family.shape), np.uint8)
        questions = grids if trajectories.questions is None else np.asarray(trajectories.questions).reshape(grids.shape)
        facts = {self._ROW: np.arange(count)}
        # nothing is verified again, so that the answers are not needed
        self.source = ListSource(Puzzles(questions, questions, trajectories.ids, trajectories.ratings, facts))
        thoughts = (trajectories.thought(step) for step in range(1, self.max_steps + 1))
        self._features = np.stack([halt_features(thought).numpy() for thought in thoughts])  # [T, N, F]
        self._verified = np.array(trajectories.verified)
        self._drafts = trajectories.drafts if pictures else None

    def open(self, count: int) -> None:
        self._rows = np.zeros(count, np.int64)
        self._steps = np.zeros(count, np.int64)

    def check(self, puzzles: Puzzles) -> None:
        if self._ROW not in puzzles.facts:
            raise PuzzleError(
                "this puzzle is not one of the recording's; give the index or the id of one that is, or a live agent"
            )

    def begin(self, rows: np.ndarray, puzzles: Puzzles) -> None:
        self._rows[rows] = puzzles.facts[self._ROW]
        self._steps[rows] = 0

    def think(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        at = self._steps[rows], self._rows[rows]
        self._steps[rows] += 1
        return self._features[at], self._verified[at]

    def drafts(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        assert self._drafts is not None and isinstance(self.source, ListSource)
        step, place = int(self._steps[row]), int(self._rows[row])
        previous = self._drafts[step - 2, place] if step > 1 else self.source.puzzles.questions[place]
        return self._drafts[step - 1, place].reshape(self.family.shape), previous.reshape(self.family.shape)

    def scene(self, puzzle: Puzzles, row: int, verdict: str | None, **shown: Any) -> Scene:
        scene = super().scene(puzzle, row, verdict, **shown)
        # without rules wrong cells are those that differ from the answer, which is not recorded
        return scene if self.family.has_rules else replace(scene, wrong=None)


def puzzle_source(
    agent: HRMAgent, puzzles: int | Puzzles | None = 2000, split: str = "train", settings: Mapping[str, Any] | None = None
) -> Source:
    """Puzzles of the kind that `agent` was trained for.

    Args:
        puzzles: how many, as a list; None: without end, where the source is; or the puzzles themselves.
        split: "train", "test" or "all"; for ARC these are its training and its evaluation tasks.
        settings: changes to the settings that the agent was trained with, those of the family's environment: `source`, `difficulty`, ...

    Raises:
        ConfigError: an unknown setting or value, or puzzles of another size than the agent's.
        SourceError: puzzles that cannot be read.
        PuzzleError: puzzles that do not fit the agent's family.
    """
    family = agent.family
    if isinstance(puzzles, Puzzles):
        family.check_grids(puzzles.questions)
        return ListSource(puzzles)
    trained = (agent.description.get("trained") or {}).get("config") or {}
    arc = family.name == "arc"
    known = dict(trained.get("puzzles") or {"max_size" if arc else "size": family.shape[0]})
    known["split"] = {"train": "training", "test": "evaluation"}.get(split, split) if arc else split
    found, source = family_and_source(family.name, **{**known, **(settings or {})})
    if found.shape != family.shape:
        raise ConfigError(f"settings give puzzles of {found.shape}; the agent knows {family.name} of {family.shape}")
    if puzzles is None:
        return source
    count = at_least_one("puzzles", puzzles)
    if not isinstance(source, ListSource):
        return ListSource(source.draw(np.arange(count, dtype=np.uint64)))
    return ListSource(source.puzzles.take(slice(0, count))) if count < len(source) else source


def _world(
    agent: str | Path | HRMAgent,
    trajectories: str | Path | Trajectories | None,
    puzzles: int | Puzzles | None,
    split: str,
    settings: Mapping[str, Any] | None,
    max_steps: int | None,
    latent: bool,
    device: str,
    pictures: bool,
) -> World:
    if trajectories is None:
        if not isinstance(agent, HRMAgent):
            agent = HRMAgent.from_pretrained(agent, device)
        return NetworkWorld(agent, puzzle_source(agent, puzzles, split, settings), max_steps, latent)
    if latent:
        raise ConfigError(
            "latent is True, but recorded trajectories hold no latent state; leave it out, or leave trajectories out"
        )
    if not isinstance(trajectories, Trajectories):
        trajectories = Trajectories.load(trajectories)
    return RecordingWorld(trajectories, max_steps, pictures)


# -- the episodes ------------------------------------------------------------------------------------------------------------


class Episodes:
    """N episodes of halting; a single environment is N = 1.

    What is thought at a step is put off until an observation asks for it: so the episodes that go on and those that begin anew in the same
    step are one batch for the network.

    Args:
        world: what thinks; it belongs to these episodes alone.
        count: N.
        step_cost: of each step, 0 or more.

    Attributes:
        steps: int64[N], steps thought, from 1.
        halted, verified: bool[N], whether the episode has been halted, and whether with a verified draft.

    Raises:
        ConfigError: a setting outside its range.
    """

    def __init__(self, world: World, count: int, step_cost: float) -> None:
        if not 0 <= step_cost < float("inf"):
            raise ConfigError(f"step_cost is {step_cost}; expected a number from 0 up")
        self.world = world
        self.count = at_least_one("num_envs", count)
        self.step_cost = float(step_cost)
        self.single_observation_space = feature_space(world.latent_size)
        self.single_action_space = spaces.Discrete(2)
        self.steps = np.zeros(self.count, np.int64)
        self.halted, self.verified = np.zeros((2, self.count), dtype=bool)
        self._features = np.zeros((self.count, *(self.single_observation_space.shape or ())), np.float32)
        self._right = np.zeros(self.count, dtype=bool)  # whether the current draft is
        self._put_off = np.zeros(self.count, dtype=bool)  # whether the current step is still to be thought
        world.open(self.count)

    def begin(self, rows: np.ndarray, puzzles: Puzzles) -> None:
        """Starts an episode in each of `rows`, int64[K], with puzzles[k] in rows[k]."""
        self.world.begin(rows, puzzles)
        self.steps[rows] = 1
        self.halted[rows] = self.verified[rows] = False
        self._put_off[rows] = True

    def advance(self, actions: Any, playing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Halts or goes on wherever `playing` (bool[N]): rewards, float64[N], and which have ended, bool[N].

        Raises:
            PuzzleError: a faulty action; nothing has changed then.
        """
        halts = playing & (self._halts(actions, playing) | (self.steps >= self.world.max_steps))
        self._think()
        self.halted |= halts
        verified = halts & self._right
        self.verified |= verified
        going_on = playing & ~halts
        self.steps += going_on
        self._put_off |= going_on
        return verified - self.step_cost, halts

    def observations(self, rows: np.ndarray | None) -> np.ndarray:
        """What `rows` (None: all) see, float32[K, F]; a new array."""
        if (self._put_off if rows is None else self._put_off[rows]).any():
            self._think()
        return self._features.copy() if rows is None else self._features[rows]

    def scene(self, puzzle: Puzzles, row: int) -> Scene:
        """What the picture of one episode shows; `puzzle` is its puzzle, a batch of one."""
        self.observations(None)
        halted, verified = bool(self.halted[row]), bool(self.verified[row])
        return self.world.scene(
            puzzle,
            row,
            ("verified" if verified else "wrong") if halted else None,
            step=int(self.steps[row]),
            attempts_left=0 if halted and not verified else 1,
            halt_value=float(self._features[row, 0]),
            continue_value=float(self._features[row, 1]),
        )

    def _think(self) -> None:
        rows = np.flatnonzero(self._put_off)
        if len(rows):
            self._features[rows], self._right[rows] = self.world.think(rows)
            self._put_off[:] = False

    def _halts(self, actions: Any, playing: np.ndarray) -> np.ndarray:
        """Which actions of episodes in play halt, bool[N]."""
        try:
            array = np.asarray(actions)
        except ValueError:  # rows of different lengths
            raise PuzzleError("action is not a number; expected 1 to halt or 0 to continue") from None
        if array.shape != (self.count,) or array.dtype.kind not in "iu":
            raise PuzzleError(
                f"action is {array.dtype}{list(array.shape[1:])}; expected a whole number, 1 to halt or 0 to continue"
            )
        bad = playing & (array != 0) & (array != 1)
        if bad.any():
            raise PuzzleError(f"action is {array[bad.argmax()]}; expected 1 to halt or 0 to continue")
        return np.asarray(array == 1)


class HaltEnv(BasePuzzleEnv):
    """
    ## Description

    When to stop thinking, as a reinforcement learning problem of its own. A trained network is the world: it has been given a puzzle
    and thinks about it, one step at a time. After each step the agent sees what the network knows of itself, and continues or halts.
    At the halt the network's draft is verified by the rules of its puzzle.

    The network runs live, or a recording of it is played again without it (`trajectories`). What is learned plugs back in as a halting
    strategy: `hrm_gym.agents.sb3_halting.SB3Halting`.

    ## Observation Space

    `Box(float32)` of 12 numbers, all finite, or 12 + hidden size with `latent`. They describe the current step; `reset` returns the first.
    `log10` scales run from 0 (1e-5 or less) to 1 (10 or more), evenly by powers of ten.

    | index | name | range | meaning |
    | --- | --- | --- | --- |
    | 0 | `halt_value` | 0 to 1 | sigmoid of Q-halt |
    | 1 | `continue_value` | 0 to 1 | sigmoid of Q-continue |
    | 2 | `margin` | -1 to 1 | Q-halt minus Q-continue, logits, divided by 10 and cut off there |
    | 3 | `confidence` | 0 to 1 | mean over the cells of the largest token probability |
    | 4 | `log_doubt` | 0 to 1 | 1 - confidence, on the log10 scale |
    | 5 | `log_entropy` | 0 to 1 | mean entropy of the cells' token probabilities in nats, log10 scale |
    | 6 | `log_divergence` | 0 to 1 | their mean Kullback-Leibler divergence from the step before's, alike; 1 at the first step |
    | 7 | `log_residual` | 0 to 1 | length of the change of the latent state z_H relative to z_H, log10 scale |
    | 8 | `log_cosine` | 0 to 1 | 1 - cosine of z_H and z_H before, log10 scale |
    | 9 | `log_changed_cells` | 0 to 1 | log(1 + cells of the draft that changed) / log(1 + 1024); at the first step against the question |
    | 10 | `unchanged_share` | 0 to 1 | steps in a row for which the draft has not changed, divided by `max_steps` |
    | 11 | `step_share` | 0 to 1 | steps thought, divided by `max_steps` |
    | 12.. | latent | -10 to 10 | mean of z_H over the positions, cut off there; only with `latent` |

    `hrm_gym.agents.halt_env.HALT_FEATURES` holds the names. Neither the verdict nor the answer is among them.

    ## Action Space

    `Discrete(2)`: 0 lets the network think one more step, 1 halts.

    ## Rewards

    `-step_cost` at each action: that of the step whose result the agent has just seen. +1 for a halt with a verified draft. So an
    episode that halts at step h returns 1 - h * step_cost if the draft is right and -h * step_cost if it is wrong.

    ## Episode End

    Terminated by the halt. At the last step, `max_steps`, either action halts and is rewarded as a halt, since there is nothing to continue
    to. Never truncated. Halting thinks no further: the last observation is again that of the step at which it was decided.

    ## Info

    - `verified` (bool): whether the episode has been halted and the draft solves the puzzle
    - `step` (int): steps thought, from 1
    - `puzzle_id` (str): the puzzle's name
    - `rating` (float): the puzzle's difficulty, by its family's measure

    ## Arguments

    - `agent` (str, "sudoku-4x4"): the network: a run folder, a folder with an agent, or the name of one in the package; or an `HRMAgent`
    - `trajectories` (str, None): a file written by `hrm_gym.agents.trajectories.Trajectories.save`, or a `Trajectories`: the recording
      is played again, without the network. `agent`, `puzzles`, `split`, `settings` and `device` are then not used
    - `puzzles` (int, 2000): how many puzzles there are; each episode plays one of them. None: new ones without end. Or `Puzzles`; a live
      environment with the puzzles that were recorded has the episodes of the recording, up to the rounding of floats
    - `split` (str, "train"): "train", "test" or "all" of the puzzles that the agent was trained for; "test" is for judging what was learned
    - `settings` (dict, None): other puzzles: changes to the arguments of the family's environment that the agent was trained with, such as
      {"difficulty": "easy"} or {"source": "csv:PATH"}
    - `max_steps` (int, None): steps after which the episode is halted; None: the agent's own, or as many as were recorded
    - `step_cost` (float, 0.01): taken from the reward at each step. Without one, halting and continuing tie once the draft is right
    - `latent` (bool, False): observe the latent state too; not with `trajectories`
    - `device` (str, "auto"): of the network: "auto", "cpu", "cuda" or "mps"
    - `render_mode` (str, None): None, "human", "rgb_array" or "ansi"; of trajectories that hold drafts

    `reset(options={"puzzle": ...})` plays a puzzle of your own: a grid, its text, or an index or id of the list; of a recording only an
    index or id. `gymnasium.make_vec` makes N environments whose steps are thought in one batch. The network's floats depend a little
    on how many puzzles are in the batch, those of a recording do not. An unknown or faulty argument is a `ConfigError`,
    `CheckpointError`, `SourceError`, `PuzzleError` or `DeviceError`.

    ## Registered IDs

    - `HRM-Halt-v0`

    ## Version History

    - v0: initial version
    """

    _playing = np.ones(1, dtype=bool)
    _row = np.zeros(1, np.int64)

    def __init__(
        self,
        agent: str | Path | HRMAgent = "sudoku-4x4",
        trajectories: str | Path | Trajectories | None = None,
        puzzles: int | Puzzles | None = 2000,
        split: str = "train",
        settings: Mapping[str, Any] | None = None,
        max_steps: int | None = None,
        step_cost: float = 0.01,
        latent: bool = False,
        device: str = "auto",
        render_mode: str | None = None,
    ) -> None:
        pictures = render_mode is not None
        world = _world(agent, trajectories, puzzles, split, settings, max_steps, latent, device, pictures)
        super().__init__(world.family, world.source, render_mode)
        self.episodes = Episodes(world, 1, step_cost)
        self.observation_space = self.episodes.single_observation_space  # type: ignore[assignment]
        self.action_space = self.episodes.single_action_space
        self._over = True

    @property
    def max_steps(self) -> int:
        """The steps after which an episode is halted."""
        return self.episodes.world.max_steps

    def reset(  # type: ignore[override]  # the puzzle environments observe a Dict, this one a Box
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode; the network thinks its first step.

        Args:
            seed: starts the environment's generator anew; each episode takes exactly one number from it, which decides the puzzle.
            options: `{"puzzle": ...}` plays a puzzle of your own, and takes no number from the generator.

        Raises:
            PuzzleError: the puzzle does not fit the family, has no or several solutions, or is not in the source.
            ConfigError: an unknown option.
        """
        puzzle = self._next_puzzle(seed, options)
        self.episodes.world.check(puzzle)
        self._over = True  # should the world refuse the puzzle
        self.episodes.begin(self._row, puzzle)
        self.puzzle = puzzle
        self._over = False
        if self.render_mode == "human":
            self.render()
        return self.episodes.observations(None)[0], self._info(puzzle)

    def step(  # type: ignore[override]
        self, action: Any
    ) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Lets the network think one more step, or halts.

        Args:
            action: 0 to continue or 1 to halt.

        Returns:
            Observation, reward (float), terminated (bool), truncated (False), info.

        Raises:
            gymnasium.error.ResetNeeded: the episode is over, or none has begun.
            PuzzleError: the action is neither 0 nor 1. The episode is left as it was.
        """
        if self.puzzle is None or self._over:
            reason = "no episode has begun" if self.puzzle is None else "the episode is over"
            raise gymnasium.error.ResetNeeded(f"{reason}; call reset() before step()")
        rewards, ended = self.episodes.advance((action,), self._playing)
        self._over = bool(ended[0])
        if self.render_mode == "human":
            self.render()
        return self.episodes.observations(None)[0], float(rewards[0]), self._over, False, self._info(self.puzzle)

    def scene(self) -> Scene:
        """What the picture shows now.

        Raises:
            gymnasium.error.ResetNeeded: no episode has begun.
        """
        if self.puzzle is None:
            raise gymnasium.error.ResetNeeded("no episode has begun; call reset() before render()")
        return self.episodes.scene(self.puzzle, 0)

    def _info(self, puzzle: Puzzles) -> dict[str, Any]:
        return {
            "verified": bool(self.episodes.verified[0]),
            "step": int(self.episodes.steps[0]),
            "puzzle_id": puzzle.ids[0],
            "rating": float(puzzle.ratings[0]),
        }


class HaltVectorEnv(BatchedVectorEnv):
    """`HRM-Halt-v0`, N at a time: the arguments of `HaltEnv`, `num_envs` and `autoreset_mode`.

    Each step is one batch for the network, with the episodes that go on and those that begin anew in it.
    """

    def __init__(
        self,
        num_envs: int = 1,
        agent: str | Path | HRMAgent = "sudoku-4x4",
        trajectories: str | Path | Trajectories | None = None,
        puzzles: int | Puzzles | None = 2000,
        split: str = "train",
        settings: Mapping[str, Any] | None = None,
        max_steps: int | None = None,
        step_cost: float = 0.01,
        latent: bool = False,
        device: str = "auto",
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ) -> None:
        pictures = render_mode is not None
        world = _world(agent, trajectories, puzzles, split, settings, max_steps, latent, device, pictures)
        self.episodes = Episodes(world, num_envs, step_cost)
        observations, actions = self.episodes.single_observation_space, self.episodes.single_action_space
        super().__init__(num_envs, world.family, world.source, observations, actions, autoreset_mode, render_mode)

    @property
    def max_steps(self) -> int:
        """The steps after which an episode is halted."""
        return self.episodes.world.max_steps

    def _puzzles_from(self, options: dict[str, Any], count: int) -> Puzzles | None:
        given = super()._puzzles_from(options, count)
        if given is not None:
            self.episodes.world.check(given)
        return given

    def _begin(self, rows: np.ndarray, puzzles: Puzzles) -> None:
        self.episodes.begin(rows, puzzles)

    def _advance(self, actions: Any, playing: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rewards, ended = self.episodes.advance(actions, playing)
        return rewards, ended, np.zeros(self.num_envs, dtype=bool)

    def _observations(self, rows: np.ndarray | None) -> np.ndarray:
        return self.episodes.observations(rows)

    def _infos(self, rows: np.ndarray | None) -> Infos:
        assert self.puzzles is not None
        pick = np.arange(self.num_envs) if rows is None else rows
        ids: Any = self.puzzles.ids
        return {
            "verified": self.episodes.verified[pick],
            "step": self.episodes.steps[pick],
            "puzzle_id": ids[pick],
            "rating": self.puzzles.ratings[pick].astype(np.float64),
        }

    def _scene(self, row: int) -> Scene:
        assert self.puzzles is not None
        return self.episodes.scene(self.puzzles.take([row]), row)
