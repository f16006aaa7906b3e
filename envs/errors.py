"""The errors a user can cause. Each message is one line: the value, what was expected, how to mend it."""

from __future__ import annotations


class HRMGymError(Exception):
    """Base of every error that hrm-gym raises on purpose; the command line prints its message and exits with code 2."""


class PuzzleError(HRMGymError, ValueError):
    """A grid of the wrong shape or with a value out of range, or a puzzle with no or several solutions."""


class SourceError(HRMGymError, ValueError):
    """A puzzle source that cannot be read: unknown name, missing file, or a fault at a line of a file."""


class ConfigError(HRMGymError, ValueError):
    """An unknown preset, setting, halting strategy, size or difficulty, or a value outside its range."""


class CheckpointError(HRMGymError, ValueError):
    """A checkpoint or run folder that is missing, incomplete or does not fit the network."""


class DeviceError(HRMGymError, RuntimeError):
    """A device that was asked for but is not there."""
