"""`TrainConfig`: every setting of a training run, each explained once; and the presets by name."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from hrm_gym.agents.network import NetworkConfig
from hrm_gym.envs.errors import ConfigError
from hrm_gym.envs.family import Family


@dataclass(frozen=True)
class TrainConfig:
    """A training run.

    Attributes:
        name: of the run; the run folder is named after it.
        family: "sudoku", "maze" or "arc".
        puzzles: settings of the puzzle source, as `gymnasium.make` takes them (size, source, difficulty, dataset, ...).
        test_source: another source for the test puzzles ("csv:PATH", ...); empty: the held-out split of `puzzles`.
        train_puzzles: how many puzzles are drawn for training and kept on the device.
        validation_puzzles: how many further puzzles of the training source are kept from training, to choose the best checkpoint by; a
            list that is too short gives what training leaves over. ARC has none.
        test_puzzles: how many unseen puzzles are drawn for evaluation.
        augment: show a training puzzle under a random symmetry each time it enters a slot (never one of the test split).
        augmentations: 0: any symmetry, a new one at each showing; N: one of N fixed ones that each puzzle has, beside its own form.
            ARC: fixed symmetries per task, each with its own puzzle embedding.

        backbone, hidden_size, heads, expansion, mlp_multiple, h_layers, l_layers, h_cycles, l_cycles, positions, registers, swiglu,
            precision: the network, as `agents.network.NetworkConfig` explains them.
        puzzle_embedding_size: numbers per task id (ARC); 0 for none.

        max_steps: steps after which an episode ends.
        batch_size: slots, that is puzzles in thought at once; each optimiser step advances all of them by one step. With several processes
            each has its share of them.
        accumulate: pieces in which a process goes through its slots, their gradients added up; more pieces take less memory.
        optimiser_steps: length of the training.

        optimiser: "adamw", "adam-atan2", or "muon" for the matrices inside the blocks and AdamW for everything else.
        learning_rate: peak, after `warmup_steps` optimiser steps of linear increase.
        muon_learning_rate, muon_weight_decay, muon_momentum: of Muon's matrices; `learning_rate` and `weight_decay` are then the others'.
        final_learning_rate: share of the peak that the cosine ends at (1: constant).
        puzzle_embedding_learning_rate: of the puzzle embedding's sign descent (ARC).
        weight_decay: decoupled, times the learning rate.
        beta1, beta2: the optimiser's averages of gradient and squared gradient.
        gradient_clip: largest norm of the whole gradient; 0: none.
        average_decay: of the exponential moving average of the weights, which evaluation uses; 0: none.
        average_from: optimiser step at which the average begins; before it, it equals the weights.
        draft_loss: "softmax" or "stablemax".
        label_smoothing: 0..1, share of the supervised target spread over all tokens.

        q_weight: of both Q losses, against 1 for the draft's.
        q_loss: "cross-entropy" (the paper's) or "huber" (temporal differences as in DQN), between Q value and return. What a Q value
            means is the same for both: its sigmoid is the expected return.
        q_target: where the return of continuing comes from: "next-step" (the slot's own next step, paid one step later, no extra forward
            pass), "lookahead" (a second forward pass, as published), "n-step" (rewards of the slot's next `q_steps` steps, then the
            value there), "episode" (all rewards until the slot halts, no value: Monte Carlo) or "none" (no continue head, as TRM: the
            agent halts when sigmoid(Q-halt) is above 1/2).
        q_steps: of "n-step".
        lookahead_every: of "lookahead": the second forward pass, and with it the loss of Q-continue, only every so many optimiser steps.
        target_decay: the values in the targets are read by an exponential moving average of the Q head (a target network); 0: by the Q
            head itself, as published. "episode" and "none" have no values in their targets.
        step_cost: of one step, in units of the reward of a verified answer. What makes halting early well defined, see below.
        discount: of the next step's value, 0..1.
        exploration: probability of thinking on for at least a random number of steps, 2..max_steps.
        exploration_drawn: "episode" (one minimum per puzzle, as in the paper) or "step" (a new one each step, as in the code).
        epsilon: probability of doing the opposite of what the Q values say, at each step; a minimum number of steps is kept all the same.

        seed: of weights, puzzles and everything random.
        device: "auto", "cpu", "cuda" or "mps".
        compile: by torch.compile: "off"; "modules" (the H and the L module, quick to compile); "step" (the whole step of thought with
            its loss); "cuda-graphs" (the same, replayed as CUDA graphs). Where it fails, the run says so and goes on without.
        log_every: optimiser steps between readings of the metrics. Several processes look for Ctrl-C only then.
        evaluate_every: optimiser steps between evaluations on validation puzzles (where there are none, on test puzzles); 0: only at the
            end.
        checkpoint_every: optimiser steps between checkpoints.
        keep: which weights the trained agent has: "best" (by mean episode reward on the validation puzzles) or "last".

    Why there is a step cost. Once a draft is right and stays right, halting is worth 1, and so is continuing, which leads to another such
    halt: with neither `step_cost` nor `discount` the two Q values tie, their order is noise, and so is the step at which the agent halts
    (the published objective is like that; its agents are evaluated at a fixed number of steps). A cost c makes halting better by c, a
    discount g by 1 - g. Hence a small cost by default. docs/halting.md says more.
    """

    name: str = "sudoku"
    family: str = "sudoku"
    puzzles: dict[str, Any] = field(default_factory=dict)
    test_source: str = ""
    train_puzzles: int = 10_000
    validation_puzzles: int = 500
    test_puzzles: int = 1_000
    augment: bool = True
    augmentations: int = 0

    backbone: str = "hrm"
    hidden_size: int = 128
    heads: int = 4
    expansion: float = 4.0
    mlp_multiple: int = 16
    h_layers: int = 1
    l_layers: int = 1
    h_cycles: int = 1
    l_cycles: int = 2
    positions: str = "learned"
    registers: int = 0
    swiglu: str = "plain"
    precision: str = "float32"
    puzzle_embedding_size: int = 0

    max_steps: int = 16
    batch_size: int = 128
    accumulate: int = 1
    optimiser_steps: int = 5_000

    optimiser: str = "adamw"
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    final_learning_rate: float = 0.0
    puzzle_embedding_learning_rate: float = 1e-2
    weight_decay: float = 0.1
    muon_learning_rate: float = 0.02
    muon_weight_decay: float = 0.005
    muon_momentum: float = 0.95
    beta1: float = 0.9
    beta2: float = 0.95
    gradient_clip: float = 1.0
    average_decay: float = 0.99
    average_from: int = 0
    draft_loss: str = "softmax"
    label_smoothing: float = 0.0

    q_weight: float = 0.5
    q_loss: str = "cross-entropy"
    q_target: str = "next-step"
    q_steps: int = 4
    lookahead_every: int = 1
    target_decay: float = 0.0
    step_cost: float = 0.005
    discount: float = 1.0
    exploration: float = 0.5
    exploration_drawn: str = "episode"
    epsilon: float = 0.0

    seed: int = 0
    device: str = "auto"
    compile: str = "off"
    log_every: int = 50
    evaluate_every: int = 1_000
    checkpoint_every: int = 1_000
    keep: str = "best"

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ConfigError(f"{name} {getattr(self, name)!r} is unknown; expected one of {', '.join(choices)}")
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{name} is {value}; expected {low} to {high}")

    def network(self, family: Family, puzzle_ids: int = 0) -> NetworkConfig:
        """The network's shape for puzzles of `family`."""
        return NetworkConfig(
            backbone=self.backbone,
            cells=family.cells,
            vocabulary=family.vocabulary,
            hidden_size=self.hidden_size,
            heads=self.heads,
            expansion=self.expansion,
            mlp_multiple=self.mlp_multiple,
            h_layers=self.h_layers,
            l_layers=self.l_layers,
            h_cycles=self.h_cycles,
            l_cycles=self.l_cycles,
            positions=self.positions,
            registers=self.registers,
            swiglu=self.swiglu,
            precision=self.precision,
            puzzle_ids=puzzle_ids if self.puzzle_embedding_size else 0,
            puzzle_embedding_size=self.puzzle_embedding_size,
        )

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> TrainConfig:
        """The inverse of `to_dict`. Runs and agents from before a setting was renamed are read as well.

        Raises:
            ConfigError: an unknown key, or a value of the wrong type or out of range.
        """
        return TrainConfig().replace(**{RENAMED.get(name, name): value for name, value in values.items()})

    def replace(self, **changes: Any) -> TrainConfig:
        """A copy with other values; a string is read as its setting's type, as it comes from the command line.

        Raises:
            ConfigError: an unknown key, or a value of the wrong type or out of range.
        """
        hints = get_type_hints(TrainConfig)
        for name in changes:
            if name not in hints:
                close = [known for known in hints if name in known or known in name]
                raise ConfigError(f"setting {name!r} is unknown; expected one of {', '.join(close or hints)}")
        return dataclasses.replace(self, **{name: _read(name, value, hints[name]) for name, value in changes.items()})

    def with_settings(self, settings: list[str]) -> TrainConfig:
        """A copy with `key=value` settings; `puzzles.size=6` reaches into the puzzle source's settings.

        Raises:
            ConfigError: not of that form, an unknown key, or a value that does not fit.
        """
        config = self
        for setting in settings:
            key, equals, value = setting.partition("=")
            if not equals:
                raise ConfigError(f"setting {setting!r} has no value; write key=value, for example learning_rate=3e-4")
            if key.startswith("puzzles."):
                config = config.replace(puzzles={**config.puzzles, key.removeprefix("puzzles."): _read_json(value)})
            else:
                config = config.replace(**{key: value})
        return config


CHOICES = {
    "family": ("sudoku", "maze", "arc"),
    "optimiser": ("adamw", "adam-atan2", "muon"),
    "draft_loss": ("softmax", "stablemax"),
    "q_loss": ("cross-entropy", "huber"),
    "q_target": ("next-step", "lookahead", "n-step", "episode", "none"),
    "exploration_drawn": ("episode", "step"),
    "device": ("auto", "cpu", "cuda", "mps"),
    "compile": ("off", "modules", "step", "cuda-graphs"),
    "keep": ("best", "last"),
}
RENAMED = {"continue_target": "q_target"}  # old name -> name
INFINITY = float("inf")
RANGES: dict[str, tuple[float, float]] = {
    "train_puzzles": (1, INFINITY),
    "validation_puzzles": (0, INFINITY),
    "test_puzzles": (1, INFINITY),
    "augmentations": (0, 1000),
    "max_steps": (1, INFINITY),
    "batch_size": (1, INFINITY),
    "accumulate": (1, INFINITY),
    "optimiser_steps": (1, INFINITY),
    "learning_rate": (0, INFINITY),
    "warmup_steps": (0, INFINITY),
    "final_learning_rate": (0, 1),
    "puzzle_embedding_learning_rate": (0, INFINITY),
    "weight_decay": (0, INFINITY),
    "muon_learning_rate": (0, INFINITY),
    "muon_weight_decay": (0, INFINITY),
    "muon_momentum": (0, 1),
    "beta1": (0, 1),
    "beta2": (0, 1),
    "gradient_clip": (0, INFINITY),
    "average_decay": (0, 1),
    "average_from": (0, INFINITY),
    "label_smoothing": (0, 1),
    "q_weight": (0, INFINITY),
    "q_steps": (1, INFINITY),
    "lookahead_every": (1, INFINITY),
    "target_decay": (0, 1),
    "step_cost": (0, 1),
    "discount": (0, 1),
    "exploration": (0, 1),
    "epsilon": (0, 1),
    "seed": (0, 2**63 - 1),
    "log_every": (1, INFINITY),
    "evaluate_every": (0, INFINITY),
    "checkpoint_every": (1, INFINITY),
}


def _read_json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _read(name: str, value: Any, kind: Any) -> Any:
    if kind == dict[str, Any]:
        if not isinstance(value, dict):
            raise ConfigError(f"{name} is {value!r}; set its entries one by one, for example {name}.size=9")
        return value
    if kind is bool and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if kind is float and isinstance(value, int | str) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            raise ConfigError(f"{name} is {value!r}; expected a number") from None
    if kind is int and isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            raise ConfigError(f"{name} is {value!r}; expected a whole number") from None
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise ConfigError(f"{name} is {value!r}; expected {kind.__name__}")
    return value


# The small presets train on a laptop CPU in minutes; "fast" and "hrm-paper" want a GPU. Sudoku-Extreme's 1,000 training puzzles come from
# the hub; puzzles of one's own: --set puzzles.source=csv:train.csv --set test_source=csv:test.csv
PRESETS: dict[str, TrainConfig] = {
    # Each H cycle is a step: the agent may halt after every one. With the gradient through the whole cycle it learns several times faster
    # than with the one-step gradient of backbone=hrm.
    "sudoku-4x4": TrainConfig(
        name="sudoku-4x4",
        family="sudoku",
        puzzles={"size": 4, "difficulty": "hard"},
        train_puzzles=20_000,
        backbone="hrm-full",
        hidden_size=64,
        heads=4,
        expansion=2.0,
        batch_size=128,
        optimiser_steps=2_500,
        learning_rate=4e-3,
        weight_decay=0.3,
        exploration=0.3,
    ),
    # the mixer learns which cells see each other much sooner than attention does
    "sudoku-6x6": TrainConfig(
        name="sudoku-6x6",
        family="sudoku",
        puzzles={"size": 6, "difficulty": "hard"},
        train_puzzles=20_000,
        backbone="trm-mixer",
        hidden_size=96,
        heads=4,
        expansion=4.0,
        l_layers=2,
        l_cycles=1,
        positions="none",
        batch_size=64,
        optimiser_steps=6_000,
        learning_rate=2e-3,
        weight_decay=0.1,
        average_decay=0.99,
        step_cost=0.002,
    ),
    # The halting rule of TRM: with steps as fine as these it halts at even odds, so the agent is better with a higher threshold.
    "sudoku-9x9": TrainConfig(
        name="sudoku-9x9",
        family="sudoku",
        puzzles={"size": 9, "difficulty": "medium"},
        train_puzzles=50_000,
        backbone="trm-mixer",
        hidden_size=128,
        heads=4,
        expansion=4.0,
        l_layers=2,
        l_cycles=1,
        positions="none",
        batch_size=64,
        optimiser_steps=4_000,
        learning_rate=2e-3,
        weight_decay=0.1,
        average_decay=0.995,
        q_target="none",
        step_cost=0.0,
        exploration=0.3,
    ),
    # learns slowly: about half an hour on two cores. No step cost: with one the agent halts at once for as long as it solves nothing.
    "maze-9x9": TrainConfig(
        name="maze-9x9",
        family="maze",
        puzzles={"size": 9, "recipe": "tree"},
        train_puzzles=20_000,
        hidden_size=64,
        heads=4,
        expansion=2.0,
        batch_size=64,
        optimiser_steps=30_000,
        learning_rate=2e-3,
        weight_decay=0.1,
        step_cost=0.0,
    ),
    # the recipe of `hrm-gym arc adapt`, for all tasks of small grids at once
    "arc-small": TrainConfig(
        name="arc-small",
        family="arc",
        puzzles={"dataset": "arc-agi-1", "split": "training", "max_size": 5},
        validation_puzzles=0,
        augment=False,
        augmentations=300,
        backbone="trm-mixer",
        hidden_size=64,
        heads=4,
        expansion=2.0,
        l_layers=2,
        l_cycles=1,
        positions="none",
        puzzle_embedding_size=64,
        max_steps=4,
        batch_size=64,
        optimiser_steps=6_000,
        learning_rate=4e-3,
        warmup_steps=50,
        weight_decay=0.5,
        keep="last",
    ),
    # The fastest published road to 87 % on Sudoku-Extreme: SIC's baseline (2601.19085; 48 minutes on an RTX 5090), a TRM with the token
    # mixer trained by Muon. Its average starts at step 5,000 of 8,000.
    "fast": TrainConfig(
        name="fast",
        family="sudoku",
        puzzles={"size": 9, "source": "hub:sapientinc/sudoku-extreme-1k"},
        train_puzzles=1_000,
        test_puzzles=10_000,
        backbone="trm-mixer",
        hidden_size=512,
        heads=8,
        expansion=4.0,
        mlp_multiple=256,
        l_layers=2,
        h_cycles=6,
        l_cycles=9,
        positions="none",
        registers=1,
        swiglu="normed",
        precision="bfloat16",
        batch_size=384,
        optimiser_steps=8_000,
        optimiser="muon",
        learning_rate=1e-4,
        warmup_steps=0,
        weight_decay=1.0,
        average_decay=0.9,
        average_from=5_000,
        label_smoothing=0.2,
        q_weight=0.05,
        q_target="none",
        step_cost=0.0,
        exploration=0.1,
        exploration_drawn="step",
        compile="step",
        log_every=100,
        evaluate_every=1_000,
    ),
    # sapientinc/HRM, README's single-GPU Sudoku-Extreme run
    "hrm-paper": TrainConfig(
        name="hrm-paper",
        family="sudoku",
        puzzles={"size": 9, "source": "hub:sapientinc/sudoku-extreme-1k"},
        train_puzzles=1_000,
        test_puzzles=10_000,
        augment=True,
        hidden_size=512,
        heads=8,
        expansion=4.0,
        mlp_multiple=256,
        h_layers=4,
        l_layers=4,
        h_cycles=2,
        l_cycles=2,
        positions="rope",
        precision="bfloat16",
        batch_size=384,
        optimiser_steps=52_000,  # 20,000 epochs of 1,000 puzzles
        optimiser="adam-atan2",
        learning_rate=7e-5,
        warmup_steps=2_000,
        final_learning_rate=1.0,
        weight_decay=1.0,
        gradient_clip=0.0,
        average_decay=0.0,
        draft_loss="stablemax",
        q_target="lookahead",
        step_cost=0.0,
        exploration=0.1,
        exploration_drawn="step",
        log_every=100,
        evaluate_every=5_000,
    ),
}


def preset(name: str) -> TrainConfig:
    """The preset called `name`.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in PRESETS:
        raise ConfigError(f"preset {name!r} is unknown; expected one of {', '.join(PRESETS)}")
    return PRESETS[name]
