"""Vector environments for Stable-Baselines3, without subprocesses. This file alone of `envs` loads SB3, and with it torch.

    import gymnasium as gym, hrm_gym
    from hrm_gym.envs import to_sb3
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import VecMonitor

    environments = VecMonitor(to_sb3(gym.make_vec("HRM-Sudoku-v0", num_envs=64, size=4)))
    PPO("MultiInputPolicy", environments).learn(100_000)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from hrm_gym.envs.errors import ConfigError


def to_sb3(vector_env: VectorEnv[Any, Any, Any]) -> SB3VecEnv:
    """The vector environment as SB3 wants it.

    Args:
        vector_env: one made by `gymnasium.make_vec`, in any autoreset mode, wrapped or not. The adapter takes it over.

    Raises:
        ConfigError: it is not a Gymnasium vector environment.
    """
    return SB3VecEnv(vector_env)


class SB3VecEnv(VecEnv):
    """A Gymnasium vector environment behind SB3's interface.

    An episode that ends begins anew in the same step: the last observation is in `infos[i]["terminal_observation"]`, a cut by the
    step limit is `infos[i]["TimeLimit.truncated"]`, the info of the new episode in `reset_infos[i]`. Put SB3's `VecMonitor`
    around it for returns and lengths.

    The environments are one object: attributes belong to all of them, and methods are called once and their N results dealt
    out. So `env_method("action_masks")`, which sb3-contrib's MaskablePPO calls, costs one call.

    Raises:
        ConfigError: not a Gymnasium vector environment.
    """

    def __init__(self, vector_env: VectorEnv[Any, Any, Any]) -> None:
        if not isinstance(vector_env, VectorEnv):
            raise ConfigError(
                f"to_sb3 was given a {type(vector_env).__name__}; expected a vector environment, as gymnasium.make_vec makes it"
            )
        self.vector_env = vector_env
        self._same_step = vector_env.metadata.get("autoreset_mode") is AutoresetMode.SAME_STEP
        self._actions: Any = None
        super().__init__(vector_env.num_envs, vector_env.single_observation_space, vector_env.single_action_space)

    # -- the episodes ------------------------------------------------------------------------------------------------

    def reset(self) -> VecEnvObs:
        """Begins an episode in every environment, with the seeds and options of `seed` and `set_options`, which are used once."""
        seeds = None if all(seed is None for seed in self._seeds) else self._seeds
        observations, infos = self.vector_env.reset(seed=seeds, options=_one_for_all(self._options))  # type: ignore[arg-type]
        self.reset_infos = _dealt_out(infos, range(self.num_envs))
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        observations, rewards, terminated, truncated, infos = self.vector_env.step(self._actions)
        done = terminated | truncated
        rows = np.flatnonzero(done).tolist()
        last: Any = None
        if rows and self._same_step:
            new_infos = infos
            last = infos.pop("final_obs")
            final = infos.pop("final_info")
            each = _dealt_out(infos, [row for row in range(self.num_envs) if not done[row]])
            # what `each` lacks so far are the environments that began anew: theirs are the infos of the last step
            ended = dict(zip(rows, _dealt_out(final, rows), strict=True))
            going_on = iter(each)
            each = [ended[row] if row in ended else next(going_on) for row in range(self.num_envs)]
        else:
            each = _dealt_out(infos, range(self.num_envs))
            if rows:
                last = [_one_of(observations, row) for row in range(self.num_envs)] if False else observations
                observations, new_infos = self.vector_env.reset(options={"reset_mask": done.copy()})
        raise NotImplementedError
