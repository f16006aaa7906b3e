"""MaskablePPO learns to fill in 4 x 4 Sudokus, one cell at a time.

    pip install "hrm-gym[masks]"
    python examples/maskable_ppo_sudoku.py --out runs/maskable-ppo-sudoku

The puzzles have four blanks. The mask keeps the agent off the clues and nothing else: which digit is right it has to find out.
While it trains, it is paid for progress by the rules (`reward="dense"`). The curve shows the share of puzzles of the other
split, whose solution grids it has never been trained on, that it solves within eight steps: the step that fills the last
blank submits the grid, and there is one attempt. The curve is saved as learning_curve.png, its numbers as learning_curve.csv.

With the settings below about 98.5 % are solved after 300,000 steps (seed 0: 98.5 %, seed 1: 98.4 %), forty seconds on one core;
the curve of seed 0 is examples/maskable_ppo_sudoku.png. These are easy puzzles: it says nothing of Sudoku-Extreme.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib import MaskablePPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

import hrm_gym  # noqa: F401  (registers the environments)
from hrm_gym.envs import to_sb3

PUZZLES = {"size": 4, "difficulty": "easy", "blanks": 4, "max_steps": 8, "auto_submit": True}


class OneHot(BaseFeaturesExtractor):
    """The draft, one number per cell and digit, and which cells are clues: a digit is a name, not an amount."""

    def __init__(self, observation_space: spaces.Dict) -> None:
        grid = observation_space["draft"]
        assert isinstance(grid, spaces.Box)
        self.values = int(grid.high.max()) + 1
        super().__init__(observation_space, features_dim=grid.high.size * (self.values + 1))

    def forward(self, observations: dict[str, torch.Tensor]) -> torch.Tensor:
        draft = torch.nn.functional.one_hot(observations["draft"].long(), self.values).flatten(1)
        clues = (observations["question"] > 0).flatten(1)
        return torch.cat([draft, clues], dim=1).float()


def share_solved(model: MaskablePPO, count: int, seed: int) -> float:
    """The share of `count` puzzles of the test split that are solved, always taking the likeliest action the mask allows."""
    env = gym.make_vec("HRM-SudokuEdit-v0", num_envs=count, split="test", **PUZZLES)
    observations, infos = env.reset(seed=seed)
    solved, over = np.zeros(count, bool), np.zeros(count, bool)
    while not over.all():
        actions, _ = model.predict(observations, action_masks=infos["action_mask"], deterministic=True)
        observations, _, terminated, truncated, infos = env.step(actions)
        solved |= infos["verified"] & ~over
        over |= terminated | truncated
    return float(solved.mean())


class Curve(BaseCallback):
    """Measures every `every` environment steps."""

    def __init__(self, every: int, puzzles: int) -> None:
        super().__init__()
        self.every, self.puzzles = every, puzzles
        self.points: list[tuple[int, float]] = []

    def _measure(self) -> None:
        self.points.append((self.num_timesteps, share_solved(self.model, self.puzzles, seed=1_000_000)))
        print(f"{self.points[-1][0]:>9,} steps: {self.points[-1][1]:.1%} of {self.puzzles} unseen puzzles solved", flush=True)

    def _on_training_start(self) -> None:
        self._measure()

    def _on_rollout_start(self) -> None:
        if self.num_timesteps >= self.points[-1][0] + self.every:
            self._measure()

    def _on_training_end(self) -> None:
        self._measure()

    def _on_step(self) -> bool:
        return True


def save_curve(points: list[tuple[int, float]], folder: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "learning_curve.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["steps", "solved"])
        writer.writerows(points)
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    steps, solved = zip(*points, strict=True)
    axes.plot(steps, solved, marker="o", markersize=3)
    axes.set(xlabel="environment steps", ylabel="unseen puzzles solved", ylim=(0, 1.02))
    axes.set_title("MaskablePPO on HRM-SudokuEdit-v0, 4 x 4 with four blanks")
    axes.grid(alpha=0.3)
    figure.savefig(folder / "learning_curve.png", dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300_000, help="environment steps of training")
    parser.add_argument("--envs", type=int, default=128, help="environments side by side")
    parser.add_argument("--every", type=int, default=20_000, help="environment steps between two points of the curve")
    parser.add_argument("--puzzles", type=int, default=1000, help="unseen puzzles at each point")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/maskable-ppo-sudoku"))
    settings = parser.parse_args()

    env = to_sb3(
        gym.make_vec("HRM-SudokuEdit-v0", num_envs=settings.envs, split="train", reward="dense", mask="legal", **PUZZLES)
    )
    model = MaskablePPO(
        "MultiInputPolicy",
        env,
        n_steps=32,
        batch_size=1024,
        n_epochs=4,
        learning_rate=1e-3,
        gamma=0.9,
        ent_coef=0.01,
        policy_kwargs={"features_extractor_class": OneHot, "net_arch": [256, 256]},
        seed=settings.seed,
        device="cpu",
    )
    curve = Curve(settings.every, settings.puzzles)
    began = time.perf_counter()
    model.learn(settings.steps, callback=curve)
    print(f"{time.perf_counter() - began:.0f} seconds")
    save_curve(curve.points, settings.out)
    model.save(settings.out / "model.zip")
    print(f"saved {settings.out / 'learning_curve.png'}")


if __name__ == "__main__":
    main()
