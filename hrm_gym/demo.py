"""The whole idea in a few minutes: train on Sudoku, evaluate, play in the environment, compare halting strategies, film a puzzle."""

from __future__ import annotations

import time
from pathlib import Path

import gymnasium
from rich.console import Console
from stable_baselines3.common.evaluation import evaluate_policy

from hrm_gym.agents.agent import HRMAgent
from hrm_gym.comparing import compare_and_show
from hrm_gym.envs.errors import ConfigError
from hrm_gym.train.config import preset
from hrm_gym.train.data import load_test_puzzles
from hrm_gym.train.evaluate import evaluate
from hrm_gym.train.loop import train
from hrm_gym.watch import film_episodes

PRESET = "sudoku-4x4"
EPISODES = 50
FILMED = 3


def run_demo(out: Path, seed: int, device: str, steps: int | None, console: Console) -> None:
    """Run the demo; everything it makes lies in `out` (a run that is there already is used again).

    Raises:
        ConfigError: `out` is a file, or holds another run.
    """
    started = time.monotonic()
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file; give a folder with --out")
    config = preset(PRESET).replace(seed=seed, device=device)
    if steps is not None:
        config = config.replace(optimiser_steps=steps, warmup_steps=min(config.warmup_steps, steps))
    run = out / f"{PRESET}-seed{seed}" if steps is None else out / f"{PRESET}-seed{seed}-{steps}-steps"

    console.rule("1. Train: an HRM learns to solve 4 x 4 Sudoku, and when to stop thinking")
    if (run / "agent").is_dir():
        console.print(f"{run} is trained already; delete it to train again.")
    elif (run / "checkpoint.safetensors").is_file():
        train(config, run, resume=True)
    else:
        train(config, run)
    agent = HRMAgent.from_pretrained(run, device)

    console.rule("2. Evaluate: 1,000 puzzles whose solutions were never trained on")
    test = load_test_puzzles(config)
    report = evaluate(agent, test, checkpoint=run.name)
    console.print(report.table())
    report.save(out / "evaluation.json")

    console.rule("3. Play: the same agent in the Gymnasium environment, judged by Stable-Baselines3")
    env = gymnasium.make("HRM-Sudoku-v0", **config.puzzles, split="test", max_steps=config.max_steps)
    env.reset(seed=seed)
    rewards, lengths = evaluate_policy(agent, env, n_eval_episodes=EPISODES, return_episode_rewards=True, warn=False)  # type: ignore[arg-type]
    assert isinstance(rewards, list) and isinstance(lengths, list)
    console.print(f"{EPISODES} episodes: mean reward {sum(rewards) / EPISODES:.2f}, mean steps {sum(lengths) / EPISODES:.2f}")

    console.rule("4. Compare: halting strategies on one recorded pass")
    compare_and_show(agent, test, None, out, seed, run.name, console)

    console.rule("5. Watch: a film of the agent thinking")
    film = out / "solved.gif"
    film_episodes(agent, film, seed=seed, episodes=FILMED)
    console.print(f"Written: {film}")

    console.rule()
    console.print(f"Everything is in {out}/ ({time.monotonic() - started:.0f} s). See it live with: hrm-gym watch {run}")
    console.print(f"TensorBoard: tensorboard --logdir {out}")
