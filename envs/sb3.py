"""Vector environments for Stable-Baselines3, without subprocesses. This file alone of `envs` loads SB3, and with it torch.

import gymnasium as gym, hrm_gym
from hrm_gym.envs import to_sb3
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecMonitor

environments = VecMonitor(to_sb3(gym.make_vec("HRM-Sudoku-v0", num_envs=64, size=4)))
PPO("MultiInputPolicy", environments).learn(100_000)
"""

from __future__ import annotations

from collections.abc import Sequence
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
        self.reset_infos = _dealt_out(infos, np.arange(self.num_envs))
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        observations, rewards, terminated, truncated, infos = self.vector_env.step(self._actions)
        done = terminated | truncated
        rows = np.flatnonzero(done)
        if self._same_step:
            last = infos.pop("final_obs", None)
            last_infos = infos.pop("final_info", {})
            infos.pop("_final_obs", None)
            infos.pop("_final_info", None)
            each = _dealt_out(infos, np.arange(self.num_envs))
            for row, info in zip(rows.tolist(), _dealt_out(last_infos, rows), strict=True):
                self.reset_infos[row] = each[row]
                each[row] = info | {"terminal_observation": last[row]}
        else:
            each = _dealt_out(infos, np.arange(self.num_envs))
            if len(rows):
                last = observations
                observations, new_infos = self.vector_env.reset(options={"reset_mask": done.copy()})
                for row, info in zip(rows.tolist(), _dealt_out(new_infos, rows), strict=True):
                    self.reset_infos[row] = info
                    each[row]["terminal_observation"] = _one_of(last, row)
        for info, cut in zip(each, (truncated & ~terminated).tolist(), strict=True):
            info["TimeLimit.truncated"] = cut
        return observations, np.asarray(rewards, dtype=np.float32), done, each

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seeds environment i with seed + i at the next `reset`; without a seed, with fresh entropy. Returns the seeds."""
        if seed is None:  # SB3 would draw it from NumPy's global generator
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        return super().seed(int(seed))

    def close(self) -> None:
        self.vector_env.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """N pictures, uint8[h, w, 3] each; None where the render mode is not "rgb_array"."""
        if self.render_mode != "rgb_array":
            return [None] * self.num_envs
        frames: Any = self.vector_env.render()
        return list(frames)

    # -- attributes and methods --------------------------------------------------------------------------------------

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """The environments' attribute, the same object for each; AttributeError if there is none."""
        return [getattr(self._owner(attr_name), attr_name)] * len(self._rows(indices))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Sets an attribute of all environments.

        Raises:
            ConfigError: only some of them are named: they share their attributes.
        """
        if sorted(set(self._rows(indices))) != list(range(self.num_envs)):
            raise ConfigError(
                f"set_attr({attr_name!r}) names environments {indices}; the environments of a batch share their attributes, so "
                "name all of them, or none"
            )
        try:
            owner = self._owner(attr_name)
        except AttributeError:
            owner = self.vector_env.unwrapped
        setattr(owner, attr_name, value)

    def env_method(self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any) -> list[Any]:
        """Calls a method once and deals its N results out; AttributeError if there is none.

        Raises:
            ConfigError: it does not return one result for each environment, nor None.
        """
        results = getattr(self._owner(method_name), method_name)(*method_args, **method_kwargs)
        rows = self._rows(indices)
        if results is None:
            return [None] * len(rows)
        if not isinstance(results, (np.ndarray, list, tuple)) or len(results) != self.num_envs:
            raise ConfigError(
                f"method {method_name!r} returned a {type(results).__name__}, not one result for each of {self.num_envs} "
                "environments; call it on `vector_env`"
            )
        return [results[row] for row in rows]

    def env_is_wrapped(self, wrapper_class: Any, indices: VecEnvIndices = None) -> list[bool]:
        """False for each: wrappers of single environments cannot be around one of a batch."""
        return [False] * len(self._rows(indices))

    def _rows(self, indices: VecEnvIndices) -> list[int]:
        return [int(index) for index in self._get_indices(indices)]

    def _owner(self, name: str) -> Any:
        """The outermost wrapper, or the environment itself, that has this attribute."""
        env: Any = self.vector_env
        while not hasattr(env, name):
            inner = getattr(env, "env", None)
            if inner is None:
                raise AttributeError(f"{self.vector_env} has no attribute {name!r}")
            env = inner
        return env


# -- helpers ---------------------------------------------------------------------------------------------------------------


def _one_for_all(options: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """SB3's options, one dict for each environment, as options of a vector environment."""
    if not any(options):
        return None
    if all(set(one) == {"puzzle"} for one in options):
        return {"puzzles": [one["puzzle"] for one in options]}
    raise ConfigError("options differ between environments or are unknown; expected {'puzzle': ...} for each, or none at all")


def _dealt_out(infos: dict[str, Any], rows: np.ndarray) -> list[dict[str, Any]]:
    """The infos of a vector environment as one dict for each of `rows`, with what that environment has."""
    dicts: list[dict[str, Any]] = [{} for _ in range(len(rows))]
    for key, values in infos.items():
        if key.startswith("_"):
            continue
        if isinstance(values, dict):
            picked: list[Any] = _dealt_out(values, rows)
        else:
            picked = values[rows].tolist() if values.ndim == 1 else list(values[rows])
        mask = infos.get("_" + key)
        if mask is None or mask[rows].all():
            for one, value in zip(dicts, picked, strict=True):
                one[key] = value
        else:
            for one, value, has in zip(dicts, picked, mask[rows].tolist(), strict=True):
                if has:
                    one[key] = value
    return dicts


def _one_of(observations: Any, row: int) -> Any:
    if isinstance(observations, dict):
        return {key: values[row] for key, values in observations.items()}
    return observations[row]
