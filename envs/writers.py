"""Puzzles to files, in the formats that `hrm_gym.envs.readers` reads. A file is written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import numpy as np

from hrm_gym.envs.errors import SourceError
from hrm_gym.envs.family import Family
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.readers import CSV_COLUMNS
from hrm_gym.envs.whole_files import replacing

_NO_FIELD = str.maketrans(dict.fromkeys(',"\r\n', "_"))  # a CSV file here has no quotes, so none of these can be in a name


@contextmanager
def written_whole(path: str | Path) -> Iterator[TextIO]:
    """A text file to write to, which takes its place only when the block ends without an error; folders are made.

    Until then it has another name, beginning with a dot and ending in ".part", and an error (or Ctrl-C) removes it.

    Raises:
        SourceError: a place that cannot be written to.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise SourceError(f"{path} cannot be written (it is a folder); give the name of a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
            yield file
    except OSError as error:
        reason = error.strerror.lower() if error.strerror else type(error).__name__
        raise SourceError(f"{path} cannot be written ({reason}); give the name of a file in a folder of yours") from None


def write_csv(path: str | Path, family: Family, batches: Iterable[Puzzles]) -> int:
    """Writes the published CSV format, `source,question,answer,rating`; `source` is the puzzle's id.

    Args:
        path: the file; one that is there is replaced.
        family: of the puzzles.
        batches: puzzles in pieces, so that a file of millions can be made without holding them all.

    Returns:
        The number of puzzles written.

    Raises:
        SourceError: a place that cannot be written to.
    """
    count = 0
    with written_whole(path) as file:
        file.write(",".join(CSV_COLUMNS) + "\n")
        for puzzles in batches:
            names = (name.translate(_NO_FIELD) for name in puzzles.ids)
            ratings = puzzles.ratings.tolist()
            file.writelines(
                f"{name},{question},{answer},{rating:.9g}\n"  # nine digits: a float32 is read back as it was
                for name, question, answer, rating in zip(
                    names, as_text(family, puzzles.questions), as_text(family, puzzles.answers), ratings, strict=True
                )
            )
            count += len(puzzles)
    return count


def write_lines(path: str | Path, family: Family, batches: Iterable[Puzzles]) -> int:
    """Writes one question a line; answers and ratings are found anew when the file is read.

    Args, returns and errors as `write_csv`; also:

    Raises:
        SourceError: a family without rules (ARC), whose questions alone could not be read again.
    """
    if not family.has_rules:
        raise SourceError(
            f"{family.name} questions have no answers to be found by rules; export to csv, which keeps the answers"
        )
    count = 0
    with written_whole(path) as file:
        for puzzles in batches:
            file.writelines(f"{question}\n" for question in as_text(family, puzzles.questions))
            count += len(puzzles)
    return count


def as_text(family: Family, grids: np.ndarray) -> list[str]:
    """Each grid as `family.format` writes it: uint8[N, H, W] -> N strings; many times as fast."""
    characters = [family.format(np.full(family.shape, value, np.uint8))[0] for value in range(family.values)]
    table = np.frombuffer("".join(characters).encode("ascii"), np.uint8)
    text = table[grids].tobytes().decode("ascii")
    return [text[start : start + family.cells] for start in range(0, len(text), family.cells)]
