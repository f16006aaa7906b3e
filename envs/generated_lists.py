"""`generate:COUNT`: the first COUNT puzzles of a generator, kept on disk where making them takes long (extreme Sudoku).

The folder is `$HRM_GYM_CACHE`, else `$XDG_CACHE_HOME/hrm-gym`, else `~/.cache/hrm-gym`; `HRM_GYM_CACHE=off` keeps nothing. A file is
written whole or not at all; one that is broken, or was made by other settings or another version, is made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.whole_files import replacing

VERSION = 1  # rises when a generator gives another puzzle for the same seed
SLOW = 2.0  # seconds of generating after which a list is worth keeping


def cache_folder() -> Path | None:
    """Where generated lists are kept; None: nowhere."""
    named = os.environ.get("HRM_GYM_CACHE")
    if named is not None:
        return None if named.lower() in ("", "off", "0") else Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "hrm-gym"


def generated_list(generate: Callable[[np.ndarray], Puzzles], count: int, slow: float = SLOW) -> Puzzles:
    """The puzzles of seeds 0..count-1.

    Args:
        generate: uint64[N] seeds -> N puzzles. Only a `functools.partial` with plain keywords can be kept, since they name the file.
        count: how many.
        slow: lists that take fewer seconds are not kept.
    """
    seeds = np.arange(count, dtype=np.uint64)
    folder = cache_folder()
    if folder is None or not isinstance(generate, partial):
        return generate(seeds)
    function = f"{generate.func.__module__}.{generate.func.__qualname__}"
    made_by = json.dumps([VERSION, function, sorted(generate.keywords.items()), count])
    path = folder / f"generated-{hashlib.sha256(made_by.encode()).hexdigest()[:24]}.npz"
    kept = _read(path, made_by)
    if kept is not None:
        return kept
    started = time.perf_counter()
    puzzles = generate(seeds)
    if time.perf_counter() - started >= slow:
        _write(path, made_by, puzzles)
    return puzzles


def _read(path: Path, made_by: str) -> Puzzles | None:
    """The list in the file; None if there is none, or not a whole one of these settings."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if file["made_by"].tobytes().decode() != made_by:
                return None
            facts = {name.removeprefix("fact_"): file[name] for name in file.files if name.startswith("fact_")}
            ids = json.loads(file["ids"].tobytes())
            return Puzzles(file["questions"], file["answers"], ids, file["ratings"], facts)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _write(path: Path, made_by: str, puzzles: Puzzles) -> None:
    """Keep the list; a folder that cannot be written to is no error, since the list can be made again."""
    arrays = {
        "made_by": np.frombuffer(made_by.encode(), np.uint8),
        "ids": np.frombuffer(json.dumps(list(puzzles.ids)).encode(), np.uint8),
        "questions": puzzles.questions,
        "answers": puzzles.answers,
        "ratings": puzzles.ratings,
        **{f"fact_{name}": values for name, values in puzzles.facts.items()},
    }
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part, part.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
