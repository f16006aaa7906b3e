"""Puzzles from files: CSV in the format of Sudoku-Extreme and Maze-Hard, lists with one puzzle a line, and the Hugging Face hub.

A fault is a `SourceError` of one line that names the file, the line and what is wrong. Nothing in a file is executed.
CSV files are read in blocks straight into uint8 arrays: the four million puzzles of Sudoku-Extreme fit in under 2 GB.

The CSV format (https://huggingface.co/datasets/sapientinc/sudoku-extreme, .../maze-30x30-hard-1k) is a header and one puzzle a
line, `source,question,answer,rating`; grids are written row by row, one character a cell. Spaces in a maze are cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, overload
from weakref import WeakValueDictionary

import numpy as np

from hrm_gym.envs.errors import PuzzleError, SourceError
from hrm_gym.envs.family import Family
from hrm_gym.envs.generated_lists import generated_list
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.sources import GeneratedSource, ListSource, Source
from hrm_gym.envs.splits import in_split

BLOCK_BYTES = 8 * 2**20  # text parsed at a time; the index tables of a block take about five times as much
CSV_COLUMNS = ("source", "question", "answer", "rating")
NOT_A_VALUE = 255  # in a table of characters: this one stands for no value
# so that the environments of a vector share one copy; gone when the last environment is
_FILES_IN_USE: WeakValueDictionary[tuple[Any, ...], ListSource] = WeakValueDictionary()
Progress = Callable[[int, int], None]  # done so far, and in all
KINDS = "'generate', 'generate:COUNT', 'csv:PATH', 'lines:PATH' or 'hub:OWNER/NAME[/FILE]'"


def open_source(
    source: str,
    family: Family,
    split: str = "all",
    generate: Callable[[np.ndarray], Puzzles] | None = None,
    progress: Progress | None = None,
) -> Source:
    """The source that `source` names.

    Args:
        source: "generate" (without end), "generate:COUNT" (a list of so many, made once and kept on disk if that is slow), "csv:PATH",
            "lines:PATH" or "hub:OWNER/NAME[/FILE]".
        family: whose puzzles they are.
        split: "train", "test" or "all". Files are divided by `hrm_gym.envs.splits`; a hub data set named without a file is
            read from its own train.csv or test.csv instead.
        generate: uint64[N] seeds -> N puzzles of the wanted split, for "generate".
        progress: told how much of a CSV file has been read, see `read_csv`.

    Raises:
        SourceError: an unknown kind of source, a missing or faulty file, or no puzzle in this split.
    """
    kind, colon, name = source.partition(":") if isinstance(source, str) else (source, "", "")
    if kind == "generate" and not colon and generate is not None:
        return GeneratedSource(generate)
    if kind == "generate" and name.isdecimal() and int(name) > 0 and generate is not None:
        return ListSource(generated_list(generate, int(name)))
    if kind == "csv" and name:
        return _shared(kind, Path(name).expanduser(), family, split, progress)
    if kind == "lines" and name:
        return _shared(kind, Path(name).expanduser(), family, split)
    if kind == "hub" and name:
        path, rest = fetch_from_hub(name, split)
        return _shared("csv", path, family, rest, progress)
    raise SourceError(f"source {source!r} is unknown; expected {KINDS}")


def _shared(kind: str, path: Path, family: Family, split: str, progress: Progress | None = None) -> ListSource:
    """The file's puzzles: those that an environment of this process holds already, if the file has not changed since."""
    read = read_lines if kind == "lines" else partial(read_csv, progress=progress)
    try:
        stat = path.stat()
        key = (kind, path.resolve(), stat.st_mtime_ns, stat.st_size, family.name, family.shape, split)
    except OSError:
        return ListSource(read(path, family, split))  # says what is wrong with the path
    source = _FILES_IN_USE.get(key)
    if source is None:
        source = ListSource(read(path, family, split))
        _FILES_IN_USE[key] = source
    return source


def read_csv(path: str | Path, family: Family, split: str = "all", progress: Progress | None = None) -> Puzzles:
    """The puzzles of a CSV file with the header `source,question,answer,rating` (any order; only question and answer must be there).

    Args:
        path: the file. Its puzzles' ids are "<file name>:<row>", rows counted from 0.
        family: checks the questions and verifies the answers.
        split: "train", "test" or "all", by `hrm_gym.envs.splits`.
        progress: called after each block with the bytes read so far and the bytes in all.

    Returns:
        N puzzles, uint8[N, H, W]; ids are made when asked for.

    Raises:
        SourceError: a missing file, a faulty line, an answer that does not solve its question, or no puzzle at all.
    """
    path = Path(path).expanduser()
    with _opened(path) as file:
        line_count = sum(block.count(b"\n") for block in iter(lambda: file.read(BLOCK_BYTES), b"")) + 1
        byte_count = file.tell()
        file.seek(0)
        columns = _csv_columns(path, file.readline())
        table = character_table(family)
        # filled in place, since joining the blocks at the end would need the memory twice
        questions = np.empty((line_count, *family.shape), np.uint8)
        answers = np.empty_like(questions)
        ratings = np.empty(line_count, np.float32)
        rows = np.empty(line_count, np.int64)
        facts: list[dict[str, np.ndarray]] = []
        count = read = 0
        first_line = 2
        for block in _line_blocks(file):
            lines, block_questions, block_answers, block_ratings = _parse_block(path, block, first_line, columns, table, family)
            block_rows = np.arange(read, read + len(lines))
            read += len(lines)
            first_line += block.count(b"\n")
            if progress is not None:
                progress(file.tell(), byte_count)
            keep = in_split(block_answers, split)
            if not keep.any():
                continue
            ids = RowIds(path.name, block_rows[keep])
            puzzles = _checked(
                path, lines[keep], family, block_questions[keep], block_answers[keep], list(ids), block_ratings[keep]
            )
            here = slice(count, count + len(puzzles))
            questions[here], answers[here], ratings[here] = puzzles.questions, puzzles.answers, puzzles.ratings
            rows[here] = ids.rows
            facts.append(puzzles.facts)
            count += len(puzzles)
    if count == 0:
        raise SourceError(f"{path} holds no puzzle of split {split!r}; expected at least one line after the header")
    return Puzzles(
        questions[:count],
        answers[:count],
        RowIds(path.name, rows[:count]),
        ratings[:count],
        {name: np.concatenate([part[name] for part in facts]) for name in facts[0]},
    )


def read_lines(path: str | Path, family: Family, split: str = "all") -> Puzzles:
    """The puzzles of a text file with one question a line, or `question,answer`; each is solved and rated here.

    Blank lines are skipped, and so are comment lines that begin with # (not for mazes, where # is a wall). Blanks of a
    Sudoku are '.' or '0'. An answer that is given must solve its question and is then kept as the answer.

    Args:
        path: the file. Its puzzles' ids are "<file name>:<row>", rows counted from 0, skipped lines not counted.
        family: checks and solves the questions.
        split: "train", "test" or "all", by `hrm_gym.envs.splits`.

    Raises:
        SourceError: a missing file, a faulty line, a puzzle with no or several solutions, or no puzzle at all.
    """
    path = Path(path).expanduser()
    table = character_table(family)
    comments = table[ord("#")] == NOT_A_VALUE
    spaces_are_cells = table[ord(" ")] != NOT_A_VALUE
    lines: list[int] = []
    questions: list[np.ndarray] = []
    answers: dict[int, np.ndarray] = {}  # those given, by row
    with _opened(path) as file:
        for line, raw in enumerate(file, start=1):
            text = raw.decode("utf-8-sig", errors="replace").rstrip("\r\n")
            if not text.strip() or (comments and text.lstrip().startswith("#")):
                continue
            question, comma, answer = (text if spaces_are_cells else text.strip()).partition(",")
            try:
                if comma:
                    answers[len(lines)] = family.parse(answer)
                questions.append(family.parse(question))
            except PuzzleError as error:
                raise SourceError(f"{path}, line {line}: {error}") from None
            lines.append(line)
    if not lines:
        raise SourceError(f"{path} holds no puzzle; expected one a line")

    line_numbers = np.array(lines)
    stacked = np.stack(questions)
    try:
        puzzles = family.puzzles_from_questions(stacked)
    except PuzzleError as error:
        raise _located(path, line_numbers, lambda rows: family.puzzles_from_questions(stacked[rows]), error) from None
    given = np.array(sorted(answers), dtype=np.intp)
    solved = puzzles.answers.copy()
    if len(given):
        given_answers = np.stack([answers[row] for row in given])
        right = family.verify(puzzles.take(given), given_answers)
        if not right.all():
            raise SourceError(f"{path}, line {line_numbers[given[np.argmin(right)]]}: the answer does not solve the question")
        solved[given] = given_answers
    ids = RowIds(path.name, np.arange(len(lines)))
    puzzles = Puzzles(puzzles.questions, solved, ids, puzzles.ratings, puzzles.facts).take(in_split(solved, split))
    if len(puzzles) == 0:
        raise SourceError(f"{path} holds no puzzle of split {split!r}")
    return puzzles


def fetch_from_hub(name: str, split: str = "all") -> tuple[Path, str]:
    """A CSV file of a data set on the Hugging Face hub, downloaded once and then kept by the hub's own cache.

    Args:
        name: "OWNER/NAME/FILE", or "OWNER/NAME" for the data set's test.csv (split "test") or train.csv (otherwise).
        split: the split that is wanted.

    Returns:
        The file's path, and the split still to be taken from it ("all" if the data set's own files are the split).

    Raises:
        SourceError: huggingface_hub is not installed, the file is not there, or there is no network.
    """
    parts = name.split("/", 2)
    if len(parts) < 2 or not all(parts):
        raise SourceError(f"source 'hub:{name}' is incomplete; expected hub:OWNER/NAME or hub:OWNER/NAME/FILE")
    if len(parts) == 2:
        parts.append("test.csv" if split == "test" else "train.csv")
        split = "all"
    owner, data_set, file = parts
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise SourceError(
            f"source 'hub:{name}' needs the package huggingface_hub; install it with: pip install 'hrm-gym[hub]'"
        ) from None
    try:
        return Path(hf_hub_download(f"{owner}/{data_set}", file, repo_type="dataset")), split
    except Exception as error:  # the library raises its own, its HTTP client's and the system's errors
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise SourceError(
            f"{file} of data set {owner}/{data_set} could not be fetched from the Hugging Face hub ({reason}); "
            "check the name and the network, or download the file and use csv:PATH"
        ) from error


class RowIds(Sequence[str]):
    """The ids "<name>:<row>" of a file's rows, each made when it is asked for: millions of strings would outweigh the puzzles.

    Args:
        name: the file's name.
        rows: int64[N], ascending.
    """

    def __init__(self, name: str, rows: np.ndarray) -> None:
        self.name = name
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> RowIds: ...
    def __getitem__(self, index: int | slice) -> str | RowIds:
        if isinstance(index, slice):
            return RowIds(self.name, self.rows[index])
        return f"{self.name}:{self.rows.item(index)}"  # a NumPy integer takes four times as long to print

    def __iter__(self) -> Iterator[str]:
        return (f"{self.name}:{row}" for row in self.rows.tolist())

    def index(self, value: str, start: int = 0, stop: int | None = None) -> int:
        """Where `value` stands, found without making the other ids. Raises ValueError if it is not there."""
        name, _, number = value.rpartition(":")
        if name == self.name and number.isascii() and number.isdigit() and len(number) < 19:
            place = int(np.searchsorted(self.rows, int(number)))
            if place < len(self) and self[place] == value and place in range(*slice(start, stop).indices(len(self))):
                return place
        raise ValueError(f"{value!r} is not among the ids")

    def __contains__(self, value: object) -> bool:
        try:
            self.index(value)  # type: ignore[arg-type]
        except (ValueError, AttributeError):
            return False
        return True


def character_table(family: Family) -> np.ndarray:
    """What each character means to the family's `parse`, uint8[256]: a value, or NOT_A_VALUE.

    Found by parsing a grid filled with each printable character, so that a family states its alphabet in one place.
    """
    table = np.full(256, NOT_A_VALUE, np.uint8)
    for code in range(32, 127):
        try:
            grid = family.parse(chr(code) * family.cells)
        except PuzzleError:
            continue
        table[code] = grid.flat[0]
    return table


# -- parts of the readers --------------------------------------------------------------------------------------------


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        file = path.open("rb")
    except OSError as error:
        reason = error.strerror.lower() if error.strerror else type(error).__name__
        raise SourceError(f"file {path} cannot be read ({reason}); give the path of a text file") from None
    with file:
        yield file


def _csv_columns(path: Path, header: bytes) -> dict[str, int]:
    """Column name -> its place, from the first line."""
    names = [name.strip() for name in header.decode("utf-8-sig", errors="replace").strip().split(",")]
    if "question" not in names or "answer" not in names:
        shown = ",".join(names)[:60]
        raise SourceError(f"{path}, line 1: the header is {shown!r}; expected {','.join(CSV_COLUMNS)}")
    return {name: place for place, name in enumerate(names)}


def _line_blocks(file: BinaryIO) -> Iterator[bytes]:
    """The rest of the file in blocks of whole lines, each ending with a newline."""
    rest = b""
    while block := file.read(BLOCK_BYTES):
        end = block.rfind(b"\n") + 1
        if end:
            yield rest + block[:end]
            rest = block[end:]
        else:
            rest += block
    if rest:
        yield rest + b"\n"


def _parse_block(
    path: Path, block: bytes, first_line: int, columns: dict[str, int], table: np.ndarray, family: Family
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Whole CSV lines -> line numbers int64[N], questions and answers uint8[N, H, W], ratings float32[N]; blank lines are skipped."""
    buffer = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(buffer == ord("\n"))
    starts = np.concatenate([[0], ends[:-1] + 1])
    ends = ends - ((ends > starts) & (buffer[ends - 1] == ord("\r")))
    lines = first_line + np.arange(len(ends))
    filled = ends > starts
    starts, ends, lines = starts[filled], ends[filled], lines[filled]

    commas = np.flatnonzero(buffer == ord(","))
    fields = np.searchsorted(commas, ends) - np.searchsorted(commas, starts) + 1
    if (fields != len(columns)).any():
        bad = int(np.argmax(fields != len(columns)))
        raise SourceError(f"{path}, line {lines[bad]}: {fields[bad]} fields; expected {len(columns)}, {','.join(columns)}")
    commas = commas.reshape(len(lines), len(columns) - 1)
    field_starts = np.column_stack([starts, commas + 1])
    field_ends = np.column_stack([commas, ends])

    def grids(name: str) -> np.ndarray:
        first, last = field_starts[:, columns[name]], field_ends[:, columns[name]]
        lengths = last - first
        if not len(lines):
            return np.empty((0, *family.shape), np.uint8)
        if (lengths != family.cells).any():
            bad = int(np.argmax(lengths != family.cells))
            raise SourceError(
                f"{path}, line {lines[bad]}: the {name} has {lengths[bad]} characters; expected {family.cells} for "
                f"{family.shape[0]} x {family.shape[1]} cells of {family.name}"
            )
        characters = np.lib.stride_tricks.sliding_window_view(buffer, family.cells)[
            first
        ]  # [N, cells], each row one piece of text
        values = table[characters]
        unknown = values == NOT_A_VALUE
        if unknown.any():
            bad, cell = np.argwhere(unknown)[0]
            known = "".join(chr(code) for code in np.flatnonzero(table != NOT_A_VALUE))
            raise SourceError(
                f"{path}, line {lines[bad]}: the {name} has {chr(characters[bad, cell])!r} at cell {cell}; "
                f"expected one of {known!r}"
            )
        return values.reshape(-1, *family.shape)

    ratings = np.zeros(len(lines), np.float32)
    if "rating" in columns and len(lines):
        first, last = field_starts[:, columns["rating"]], field_ends[:, columns["rating"]]
        ratings = _numbers(path, buffer, first, last, lines)
    return lines, grids("question"), grids("answer"), ratings


def _numbers(path: Path, buffer: np.ndarray, first: np.ndarray, last: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """The numbers written at buffer[first:last], float32[N]."""
    width = int(np.clip((last - first).max(), 1, 32))
    places = first[:, None] + np.arange(width)
    inside = places < last[:, None]
    text = np.where(inside, buffer[np.minimum(places, len(buffer) - 1)], 0).astype(np.uint8)
    words = text.view(f"S{width}")[:, 0]
    try:
        numbers = words.astype(np.float32)
        fine = np.isfinite(numbers) & (last - first <= width)
    except ValueError:
        fine = np.array([_is_number(word) for word in words]) & (last - first <= width)
    if not fine.all():
        bad = int(np.argmin(fine))
        raise SourceError(
            f"{path}, line {lines[bad]}: the rating is {words[bad].decode(errors='replace')!r}; expected a number"
        )
    return numbers


def _is_number(word: bytes) -> bool:
    try:
        return bool(np.isfinite(float(word)))
    except ValueError:
        return False


def _checked(
    path: Path,
    lines: np.ndarray,
    family: Family,
    questions: np.ndarray,
    answers: np.ndarray,
    ids: list[str],
    ratings: np.ndarray,
) -> Puzzles:
    """The family's puzzles, or a SourceError that names the first line it refuses."""

    def build(rows: slice) -> Puzzles:
        return family.puzzles_with_answers(questions[rows], answers[rows], ids[rows], ratings[rows])

    try:
        return build(slice(None))
    except PuzzleError as error:
        raise _located(path, lines, build, error) from None


def _located(path: Path, lines: np.ndarray, build: Callable[[slice], Puzzles], error: PuzzleError) -> SourceError:
    """The error for the first row that `build` refuses, given the `error` of all rows; halves the rows until one is left."""
    low, high = 0, len(lines)
    while True:
        middle = (low + high + 1) // 2
        try:
            build(slice(low, middle))
        except PuzzleError as found:
            high, error = middle, found
            if high - low == 1:
                return SourceError(f"{path}, line {lines[low]}: {error}")
        else:
            low = middle
            if low >= high:  # each row passes alone, all together do not: the first line is the best that can be named
                return SourceError(f"{path}, line {lines[0]} and on: {error}")
