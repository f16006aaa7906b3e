"""What a data set holds: counts, histograms, duplicates and leakage, each exactly and up to symmetry.

    train = survey(train_puzzles, family, "train.csv")
    test = survey(test_puzzles, family, "test.csv")
    inspect(test, against=train).to_dict()

A survey keeps 16 bytes for each grid instead of the grid, so that two files of millions can be compared: a BLAKE2b digest of
128 bits, under which two different grids of 10^9 collide with a chance of 10^-21.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any, overload

import numpy as np

from hrm_gym.envs.family import Family
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.readers import Progress
from hrm_gym.envs.splits import in_split

CHUNK = 1024  # puzzles looked at in one go
BARS = 16
EXAMPLES = 5
PUZZLES, PUZZLES_UP_TO_SYMMETRY = "puzzles", "puzzles_up_to_symmetry"
SOLUTIONS, SOLUTIONS_UP_TO_SYMMETRY = "solutions", "solutions_up_to_symmetry"


@dataclass(frozen=True)
class Survey:
    """What is kept of N puzzles.

    Attributes:
        name: of the data set.
        family: its family.
        ids: N strings.
        digests: uint64[N, 2] each, equal for equal grids: PUZZLES (a puzzle is its question), SOLUTIONS and, if asked for and
            known, both UP_TO_SYMMETRY.
        measurements: [N] each, see `Family.measurements`; also "rating".
        held_out: bool[N], which belong to the test split of `hrm_gym.envs.splits`.
    """

    name: str
    family: Family
    ids: Sequence[str]
    digests: dict[str, np.ndarray]
    measurements: dict[str, np.ndarray]
    held_out: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: np.ndarray, name: str) -> Survey:
        """The part at `rows` (integers or bool[N]) under another name."""
        index = np.flatnonzero(rows) if rows.dtype == bool else rows
        return Survey(
            name,
            self.family,
            SelectedIds(self.ids, index),
            {kind: values[index] for kind, values in self.digests.items()},
            {kind: values[index] for kind, values in self.measurements.items()},
            self.held_out[index],
        )


class SelectedIds(Sequence[str]):
    """`ids` at `rows` (int64[N]), each looked up when it is asked for: most of millions never are."""

    def __init__(self, ids: Sequence[str], rows: np.ndarray) -> None:
        self.ids = ids
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> SelectedIds: ...
    def __getitem__(self, index: int | slice) -> str | SelectedIds:
        if isinstance(index, slice):
            return SelectedIds(self.ids, self.rows[index])
        return self.ids[int(self.rows[index])]


@dataclass(frozen=True)
class Histogram:
    """Counts of values in steps of one width; the last bar takes everything from its edge up.

    Attributes:
        edges: where each bar begins, ascending, [B].
        width: of a bar.
        counts: values in each bar, [B].
        open_ended: whether the last bar holds values beyond its width.
    """

    edges: list[float]
    width: float
    counts: list[int]
    open_ended: bool


@dataclass(frozen=True)
class Measurement:
    """One figure over all puzzles."""

    minimum: float
    maximum: float
    mean: float
    median: float
    histogram: Histogram


@dataclass(frozen=True)
class Duplicates:
    """Puzzles (or solutions) that repeat an earlier one.

    Attributes:
        count: how many repeat an earlier one; N - count are different.
        largest: how often the commonest stands there.
        examples: (id of the earlier one, id of the one that repeats it), the first few.
    """

    count: int
    largest: int
    examples: list[tuple[str, str]]


@dataclass(frozen=True)
class Leakage:
    """How much of one data set stands in another.

    Attributes:
        of, within: the names: so many of `of` stand in `within`.
        total: puzzles of `of`.
        counts: for each kind of digest how many of `of` stand in `within`.
        examples: for each kind (id in `of`, id in `within`), the first few.
    """

    of: str
    within: str
    total: int
    counts: dict[str, int]
    examples: dict[str, list[tuple[str, str]]]


@dataclass(frozen=True)
class Inspection:
    """A data set's figures. `leakage` is None where there is nothing to compare with."""

    name: str
    family: str
    shape: tuple[int, int]
    puzzles: int
    train: int
    test: int
    measurements: dict[str, Measurement]
    duplicates: dict[str, Duplicates]
    leakage: Leakage | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and strings, for JSON."""
        return asdict(self)


def survey(puzzles: Puzzles, family: Family, name: str, symmetries: bool = True, progress: Progress | None = None) -> Survey:
    """Looks at each puzzle once.

    Args:
        puzzles: N puzzles.
        family: theirs.
        name: of the data set, for reports.
        symmetries: also find canonical forms, where the family has them. At 9 x 9 Sudoku that takes 0.6 ms a puzzle and core.
        progress: called with the puzzles done and the puzzles in all.
    """
    digests: dict[str, list[np.ndarray]] = {}
    measurements: dict[str, list[np.ndarray]] = {}
    held_out = []
    for start in range(0, len(puzzles), CHUNK):
        chunk = puzzles.take(np.arange(start, min(start + CHUNK, len(puzzles))))
        grids = {PUZZLES: chunk.questions, SOLUTIONS: chunk.answers}
        if symmetries and family.has_canonical_form:
            grids[PUZZLES_UP_TO_SYMMETRY], grids[SOLUTIONS_UP_TO_SYMMETRY] = family.canonical(chunk)
        for kind, values in grids.items():
            digests.setdefault(kind, []).append(digests_of(values))
        for kind, figures in family.measurements(chunk).items():
            measurements.setdefault(kind, []).append(figures.astype(np.int32))
        held_out.append(in_split(chunk.answers, "test"))
        if progress is not None:
            progress(start + len(chunk), len(puzzles))
    joined = {kind: np.concatenate(parts) for kind, parts in measurements.items()}
    return Survey(
        name,
        family,
        puzzles.ids,
        {kind: np.concatenate(digests[kind]) for kind in sorted(digests)},
        {**joined, "rating": puzzles.ratings.copy()},
        np.concatenate(held_out),
    )


def inspect(found: Survey, against: Survey | None = None) -> Inspection:
    """The figures of one data set.

    Args:
        found: its survey, at least one puzzle.
        against: how much of `found` stands in there; without it, how much of its test split stands in its train split.
    """
    if against is None and found.held_out.any() and not found.held_out.all():
        test, train = found.take(found.held_out, "its test split"), found.take(~found.held_out, "its train split")
        leakage: Leakage | None = leakage_between(test, train)
    else:
        leakage = None if against is None else leakage_between(found, against)
    test_count = int(found.held_out.sum())
    return Inspection(
        found.name,
        found.family.name,
        found.family.shape,
        len(found),
        len(found) - test_count,
        test_count,
        {kind: measurement(values) for kind, values in found.measurements.items()},
        {kind: duplicates(values, found.ids) for kind, values in found.digests.items()},
        leakage,
    )


def digests_of(grids: np.ndarray) -> np.ndarray:
    """A digest of 128 bits for each grid: uint8[N, H, W] -> uint64[N, 2]."""
    rows = np.ascontiguousarray(grids, np.uint8).reshape(len(grids), -1)
    joined = b"".join(blake2b(row.data, digest_size=16).digest() for row in rows)
    return np.frombuffer(joined, np.uint64).reshape(-1, 2)


def duplicates(digests: np.ndarray, ids: Sequence[str]) -> Duplicates:
    """Which of N digests (uint64[N, 2]) repeat an earlier one, with their ids as examples."""
    (numbers,) = _numbered(digests)
    _, first, counts = np.unique(numbers, return_index=True, return_counts=True)
    earlier = first[numbers]
    repeats = np.flatnonzero(earlier != np.arange(len(numbers)))
    examples = [(ids[int(earlier[row])], ids[int(row)]) for row in repeats[:EXAMPLES]]
    return Duplicates(len(repeats), int(counts.max(initial=0)), examples)


def leakage_between(of: Survey, within: Survey) -> Leakage:
    """How much of one data set stands in another, for each kind of digest that both have."""
    counts, examples = {}, {}
    for kind in of.digests:
        if kind not in within.digests:
            continue
        mine, others = _numbered(of.digests[kind], within.digests[kind])
        leaked = np.flatnonzero(np.isin(mine, others))
        counts[kind] = len(leaked)
        examples[kind] = [
            (of.ids[int(row)], within.ids[int(np.flatnonzero(others == mine[row])[0])]) for row in leaked[:EXAMPLES]
        ]
    return Leakage(of.name, within.name, len(of), counts, examples)


def measurement(values: np.ndarray) -> Measurement:
    """The figures of [N] numbers, at least one."""
    return Measurement(
        float(values.min()),
        float(values.max()),
        float(values.mean(dtype=np.float64)),
        float(np.median(values)),
        histogram(values),
    )


def histogram(values: np.ndarray, bars: int = BARS) -> Histogram:
    """At most `bars` bars of a round width (1, 2 or 5 times a power of ten, at least 1 for whole numbers) over [N] numbers.

    They reach to the 99th percentile; a long tail beyond it is added to the last bar.
    """
    values = values.astype(np.float64)
    low, high, top = float(values.min()), float(values.max()), float(np.percentile(values, 99, method="higher"))
    whole = bool((values == np.floor(values)).all())
    width = 1.0 if whole or top == low else 10.0 ** np.floor(np.log10((top - low) / bars))
    factors = [2.0, 2.5, 2.0]  # 1, 2, 5, 10, ...
    step = 0
    while np.floor(top / width) - np.floor(low / width) + 1 > bars:
        width *= factors[step % 3]
        step += 1
    first = np.floor(low / width)
    count = int(np.floor(top / width) - first) + 1
    places = np.minimum(np.floor(values / width) - first, count - 1).astype(np.int64)
    edges = [float((first + bar) * width) for bar in range(count)]
    return Histogram(edges, float(width), np.bincount(places, minlength=count).tolist(), high >= edges[-1] + width)


def _numbered(*groups: np.ndarray) -> list[np.ndarray]:
    """Small whole numbers in place of digests, equal for equal digests in all groups: uint64[N, 2] each -> int64[N] each."""
    joined = np.concatenate(groups)
    order = np.lexsort((joined[:, 1], joined[:, 0]))
    ascending = joined[order]
    new = np.ones(len(joined), bool)
    new[1:] = (ascending[1:] != ascending[:-1]).any(axis=1)
    numbers = np.empty(len(joined), np.int64)
    numbers[order] = np.cumsum(new) - 1
    return np.split(numbers, np.cumsum([len(group) for group in groups])[:-1])
