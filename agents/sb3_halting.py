"""A model that Stable-Baselines3 trained in `HRM-Halt-v0`, as a halting strategy.

    environments = to_sb3(gym.make_vec("HRM-Halt-v0", num_envs=64, trajectories="train.safetensors"))
    model = DQN("MlpPolicy", environments).learn(20_000)
    solutions = agent.solve(puzzles, halting=SB3Halting(model))

Loading a saved model executes nothing of what is in the file. SB3's own `load` unpickles parts of it, which can run any code; here only
the weights and the shape of the network are read.
"""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from hrm_gym.agents.halt_env import HALT_FEATURES, NEEDED, feature_space, observed_features
from hrm_gym.agents.halting import HaltingStrategy
from hrm_gym.agents.thought import Thought
from hrm_gym.envs.errors import CheckpointError, ConfigError

# settings of a saved policy that make no difference to the actions that it takes for certain
_FOR_TRAINING = frozenset({"optimizer_class", "optimizer_kwargs", "ortho_init", "log_std_init", "use_sde", "full_std"})
# what reading a file that is not a saved model, or only half of one, may raise
_BROKEN = (
    OSError,
    zipfile.BadZipFile,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    RuntimeError,
    pickle.UnpicklingError,
)


class SB3Halting(HaltingStrategy):
    """Halt when a model trained in `HRM-Halt-v0` does, without chance (its likeliest action).

    It sees the features that it was trained on. Its step share is that of `max_steps`, so let it think as many steps as in training.
    A model trained with `latent=True` works wherever the network runs, but not on recordings.

    Args:
        model: a model or policy of Stable-Baselines3, or anything with its `predict`, `observation_space` and `action_space`; or the
            file that the model's `save` wrote (a DQN, PPO or A2C with "MlpPolicy"; load others yourself and give the model).
        name: as it stands in tables; None: sb3(PATH) or sb3(DQN).

    Raises:
        CheckpointError: the file is missing, broken, or of a kind that cannot be read without executing it.
        ConfigError: the model was trained on other observations or actions.
    """

    def __init__(self, model: Any, name: str | None = None) -> None:
        kind = f"{model}" if isinstance(model, (str, Path)) else type(model).__name__
        if isinstance(model, (str, Path)):
            model = load_policy(model)
        observations, actions = getattr(model, "observation_space", None), getattr(model, "action_space", None)
        size = observations.shape[0] if isinstance(observations, spaces.Box) and len(observations.shape) == 1 else 0
        if size < len(HALT_FEATURES) or actions != spaces.Discrete(2):
            raise ConfigError(
                f"the model of halting sb3({kind}) observes {observations} and acts in {actions}; expected one trained in HRM-Halt-v0"
            )
        self.model = model
        self.name = name or f"sb3({kind})"
        self.latent_size = size - len(HALT_FEATURES)
        self.needs = NEEDED | {"latent"} if self.latent_size else NEEDED

    def halt(self, thought: Thought) -> Tensor:
        observations = observed_features(thought)
        if thought.latent is not None and not self.latent_size:
            observations = observations[:, : len(HALT_FEATURES)]
        actions, _ = self.model.predict(observations.cpu().numpy(), deterministic=True)
        return torch.from_numpy(np.asarray(actions) == 1).to(observations.device)


def load_policy(path: str | Path) -> Any:
    """The policy of a model of HRM-Halt-v0 that SB3's `save` wrote, on the CPU; nothing in the file is executed.

    Args:
        path: the file, with or without ".zip".

    Raises:
        CheckpointError: the file is missing, broken, not a DQN, PPO or A2C, or its policy has parts that only unpickling would bring back.
    """
    path = Path(path).expanduser()
    if not path.is_file() and path.with_name(path.name + ".zip").is_file():
        path = path.with_name(path.name + ".zip")
    if not path.is_file():
        raise CheckpointError(f"model {path} does not exist; expected a file written by a Stable-Baselines3 model's save()")
    try:
        with zipfile.ZipFile(path) as archive:
            data = json.loads(archive.read("data"))
            weights = torch.load(io.BytesIO(archive.read("policy.pth")), map_location="cpu", weights_only=True)
        settings = {name: value for name, value in data["policy_kwargs"].items() if not name.startswith(":")}
        size = int(data["observation_space"]["_shape"][0])
        heads = {name.partition(".")[0] for name in weights} & {"q_net", "action_net"}
        if len(heads) != 1:
            raise ValueError("neither a DQN nor an actor-critic")
        policy = _new_policy(heads.pop(), size, settings)
        policy.load_state_dict(weights)
    except _BROKEN as error:
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(
            f"model {path} cannot be read ({reason}); expected a DQN, PPO or A2C with MlpPolicy trained in HRM-Halt-v0, or give the "
            "model itself, loaded by Stable-Baselines3"
        ) from None
    policy.set_training_mode(False)
    return policy


def _new_policy(head: str, size: int, settings: dict[str, Any]) -> Any:
    """An untrained policy of the saved shape."""
    from stable_baselines3.common.policies import ActorCriticPolicy
    from stable_baselines3.dqn.policies import DQNPolicy

    if size < len(HALT_FEATURES):
        raise ValueError(f"{size} observed numbers, not {len(HALT_FEATURES)} or more")
    known: dict[str, Any] = {}
    for name, value in settings.items():
        if name == "net_arch":
            known[name] = value
        elif name == "activation_fn":  # stands there as "<class 'torch.nn.modules.activation.Tanh'>"
            words = str(value).removeprefix("<class 'torch.nn.modules.activation.").removesuffix("'>")
            if words not in torch.nn.modules.activation.__all__:
                raise ValueError(f"activation {value}")
            known[name] = getattr(torch.nn, words)
        elif name not in _FOR_TRAINING:
            raise ValueError(f"policy setting {name!r}")
    space = feature_space(size - len(HALT_FEATURES))
    make: Any = DQNPolicy if head == "q_net" else ActorCriticPolicy
    return make(space, spaces.Discrete(2), lambda _: 0.0, **known)
