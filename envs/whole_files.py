"""Files that are written whole or not at all; written once for everything that writes one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A place to write the new `path` to; it takes the name only when the block ends without an error, and is removed otherwise.

    A reader sees the old content or all of the new one. The place lies beside `path`: its name begins with a dot and ends in ".part".
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        with part.open("r+b") as file:  # on the disk before it takes the name
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
