"""Training on the device: data, losses, optimisers, the slot loop, evaluation, comparison."""

from hrm_gym.train.config import PRESETS, TrainConfig, preset
from hrm_gym.train.loop import train

__all__ = ["PRESETS", "TrainConfig", "preset", "train"]
