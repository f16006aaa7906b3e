"""Files of puzzles: read like Python's csv module reads them, and every fault named by file and line."""

from __future__ import annotations

import builtins
import csv
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrm_gym.envs import maze, readers, sudoku
from hrm_gym.envs.errors import PuzzleError, SourceError
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.readers import RowIds, character_table, fetch_from_hub, open_source, read_csv, read_lines
from hrm_gym.envs.registry import family_and_source
from hrm_gym.envs.sources import GeneratedSource, ListSource
from hrm_gym.envs.splits import in_split

SUDOKU = sudoku.SudokuFamily(4)
MAZE = maze.MazeFamily(5)
HEADER = "source,question,answer,rating"

# a 4 x 4 Sudoku and its solution
QUESTION = ".234341221434321"
ANSWER = "1234341221434321"


def sudoku_puzzles(count: int) -> Puzzles:
    return sudoku.generate(count, size=4, difficulty="easy", seed=3)


def maze_puzzles(count: int) -> Puzzles:
    return maze.generate(count, size=5, min_path=4, seed=3)


def write_csv(path: Path, family: Any, puzzles: Puzzles, end: str = "\n") -> Path:
    lines = [HEADER] + [
        f"made,{family.format(q)},{family.format(a)},{rating:g}"
        for q, a, rating in zip(puzzles.questions, puzzles.answers, puzzles.ratings, strict=True)
    ]
    path.write_bytes((end.join(lines) + end).encode())
    return path


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(line + "\n" for line in lines))
    return path


def read_plainly(path: Path, family: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return (
        np.stack([family.parse(row["question"].replace(".", "0") if family is SUDOKU else row["question"]) for row in rows]),
        np.stack([family.parse(row["answer"]) for row in rows]),
        np.array([float(row["rating"]) for row in rows]),
    )


# -- CSV -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("block", [64, 1000, readers.BLOCK_BYTES])
@pytest.mark.parametrize(("family", "make"), [(SUDOKU, sudoku_puzzles), (MAZE, maze_puzzles)])
def test_csv_is_read_as_the_csv_module_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: Any, make: Any, block: int, end: str
) -> None:
    monkeypatch.setattr(readers, "BLOCK_BYTES", block)
    path = write_csv(tmp_path / "puzzles.csv", family, make(70), end)
    puzzles = read_csv(path, family)
    questions, answers, ratings = read_plainly(path, family)
    assert len(puzzles) == 70
    assert np.array_equal(puzzles.questions, questions) and puzzles.questions.dtype == np.uint8
    assert np.array_equal(puzzles.answers, answers)
    assert np.array_equal(puzzles.ratings, ratings) and puzzles.ratings.dtype == np.float32
    assert list(puzzles.ids) == [f"puzzles.csv:{row}" for row in range(70)]
    assert family.verify(puzzles, puzzles.answers).all()
    for name, values in make(70).facts.items():
        assert np.array_equal(puzzles.facts[name], values)


def test_csv_of_a_maze_keeps_spaces_at_the_ends(tmp_path: Path) -> None:
    question = " S  G" + " " * 20
    path = write(tmp_path / "m.csv", HEADER, f"x,{question},{' SooG' + ' ' * 20},3")
    puzzles = read_csv(path, MAZE)
    assert MAZE.format(puzzles.questions[0]) == question and puzzles.facts["optimum"].tolist() == [3]


def test_csv_forms_that_are_taken(tmp_path: Path) -> None:
    expected = SUDOKU.parse(QUESTION)
    for text in (
        f"{HEADER}\nx,{QUESTION},{ANSWER},7",  # no newline at the end
        f"\ufeff{HEADER}\nx,{QUESTION},{ANSWER},7\n",  # a byte order mark, as spreadsheets write it
        f"{HEADER}\n\nx,{QUESTION},{ANSWER},7\n\n\n",  # blank lines
        f"rating,answer,question\n7,{ANSWER},{QUESTION.replace('.', '0')}\n",  # other columns, 0 for blank
        f"rating,answer,question\r\n\r\n7,{ANSWER},{QUESTION}\r\n",  # a grid right before the end of a line of Windows
    ):
        path = tmp_path / "p.csv"
        path.write_bytes(text.encode())
        puzzles = read_csv(path, SUDOKU)
        assert len(puzzles) == 1 and np.array_equal(puzzles.questions[0], expected) and puzzles.ratings.tolist() == [7.0]
    bare = read_csv(write(tmp_path / "q.csv", "question,answer", f"{QUESTION},{ANSWER}"), SUDOKU)
    assert bare.ratings.tolist() == [0.0]


GOOD = f"x,{QUESTION},{ANSWER},3"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a,b,c,d", GOOD], r"line 1: the header is 'a,b,c,d'; expected source,question,answer,rating"),
        ([""], r"line 1: the header is ''"),
        ([HEADER], r"holds no puzzle"),
        ([HEADER, GOOD, f"x,{QUESTION},{ANSWER}"], r"line 3: 3 fields; expected 4"),
        ([HEADER, GOOD, "", f"x,y,{QUESTION},{ANSWER},3"], r"line 4: 5 fields; expected 4"),
        ([HEADER, GOOD, f"x,{QUESTION[1:]},{ANSWER},3"], r"line 3: the question has 15 characters; expected 16 for 4 x 4"),
        ([HEADER, GOOD, f"x,{QUESTION},{ANSWER}1,3"], r"line 3: the answer has 17 characters"),
        (
            [HEADER, GOOD, f"x,{'x' + QUESTION[1:]},{ANSWER},3"],
            r"line 3: the question has 'x' at cell 0; expected one of '.*1234.*'",
        ),
        ([HEADER, GOOD, f"x,{QUESTION},{'5' + ANSWER[1:]},3"], r"line 3: the answer has '5' at cell 0"),
        ([HEADER, GOOD, f"x,{QUESTION},{ANSWER},hard"], r"line 3: the rating is 'hard'; expected a number"),
        ([HEADER, GOOD, f"x,{QUESTION},{ANSWER},"], r"line 3: the rating is ''; expected a number"),
        ([HEADER, GOOD, f"x,{QUESTION},{ANSWER},nan"], r"line 3: the rating is 'nan'"),
        ([HEADER, GOOD, f"x,{QUESTION},{ANSWER},{'1' * 40}"], r"line 3: the rating is '1{32}'"),
        ([HEADER, "", GOOD, "", *[GOOD] * 20, "", "x,y,z,3"], r"line 26: the question has 1 characters"),
        ([HEADER, GOOD, GOOD, f"x,{QUESTION},{'2' + ANSWER[1:]},3", GOOD], r"line 4: .*answer"),
        (
            [HEADER, *[GOOD] * 20, "", f"x,{QUESTION},{'1' * 16},3", *[GOOD] * 7, f"x,{QUESTION},{'1' * 16},3"],
            r"line 23: .*answer",
        ),
    ],
)
@pytest.mark.parametrize("block", [200, readers.BLOCK_BYTES])
def test_faulty_csv_is_named_by_file_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str], message: str, block: int
) -> None:
    monkeypatch.setattr(readers, "BLOCK_BYTES", block)
    path = write(tmp_path / "faulty.csv", *lines)
    with pytest.raises(SourceError, match=message) as caught:
        read_csv(path, SUDOKU)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_csv_of_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "noise.csv"
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(SourceError, match="line 1: the header is"):
        read_csv(path, SUDOKU)
    path.write_bytes(HEADER.encode() + b"\nx,\xff\xfe" + QUESTION[2:].encode() + b"," + ANSWER.encode() + b",1\n")
    with pytest.raises(SourceError, match="line 2: the question has 'ÿ' at cell 0"):
        read_csv(path, SUDOKU)


def test_missing_file_and_folder_are_named(tmp_path: Path) -> None:
    for read in (read_csv, read_lines):
        with pytest.raises(SourceError, match=r"no-such\.csv cannot be read \(no such file or directory\)"):
            read(tmp_path / "no-such.csv", SUDOKU)
        with pytest.raises(SourceError, match="cannot be read"):
            read(tmp_path, SUDOKU)


def test_splits_divide_the_file_and_keep_the_rows_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "BLOCK_BYTES", 300)
    path = write_csv(tmp_path / "p.csv", SUDOKU, sudoku_puzzles(60))
    whole, train, test = (read_csv(path, SUDOKU, split) for split in ("all", "train", "test"))
    held_out = in_split(whole.answers, "test")
    assert 0 < held_out.sum() < 60
    for part, rows in ((train, np.flatnonzero(~held_out)), (test, np.flatnonzero(held_out))):
        assert np.array_equal(part.questions, whole.questions[rows])
        assert list(part.ids) == [f"p.csv:{row}" for row in rows]
        source = ListSource(part)
        assert np.array_equal(source.find(f"p.csv:{rows[-1]}").questions[0], whole.questions[rows[-1]])
    with pytest.raises(PuzzleError, match="no puzzle has id"):
        ListSource(test).find(train.ids[0])


def test_split_without_a_puzzle_is_an_error(tmp_path: Path) -> None:
    answer = SUDOKU.parse(ANSWER)[None]
    empty = "train" if in_split(answer, "test")[0] else "test"
    for name, read, lines in (("p.csv", read_csv, [HEADER, GOOD]), ("p.txt", read_lines, [QUESTION])):
        with pytest.raises(SourceError, match=f"no puzzle of split '{empty}'"):
            read(write(tmp_path / name, *lines), SUDOKU, empty)


# -- lines -----------------------------------------------------------------------------------------------------------


def test_lines_are_solved_and_rated(tmp_path: Path) -> None:
    made = sudoku_puzzles(6)
    texts = [SUDOKU.format(question) for question in made.questions]
    texts[1] = texts[1].replace(".", "0")
    path = write(tmp_path / "list.txt", "# a comment", "", *texts[:3], "   ", f"  {texts[3]}  ", "#" + texts[0], *texts[4:])
    puzzles = read_lines(path, SUDOKU)
    expected = SUDOKU.puzzles_from_questions(made.questions)
    assert np.array_equal(puzzles.questions, made.questions) and np.array_equal(puzzles.answers, made.answers)
    assert np.array_equal(puzzles.ratings, expected.ratings)
    assert list(puzzles.ids) == [f"list.txt:{row}" for row in range(6)]


def test_lines_of_mazes_keep_spaces_and_walls(tmp_path: Path) -> None:
    texts = ["#####" + "#S G#" + "#####" * 3, " S  G" + " " * 20]
    puzzles = read_lines(write(tmp_path / "m.txt", *texts), MAZE)
    assert [MAZE.format(question) for question in puzzles.questions] == texts
    assert puzzles.facts["optimum"].tolist() == [2, 3]


def test_lines_with_an_answer_keep_it(tmp_path: Path) -> None:
    question = "S    " + " " * 15 + "    G"  # 70 shortest paths
    paths = ["Soooo" + "    o" * 3 + "    G", "S    " + "o    " * 3 + "ooooG"]
    for path in paths:
        puzzles = read_lines(write(tmp_path / "m.txt", f"{question},{path}"), MAZE)
        assert MAZE.format(puzzles.answers[0]) == path
    with pytest.raises(SourceError, match=r"m\.txt, line 2: the answer does not solve the question"):
        read_lines(write(tmp_path / "m.txt", question, f"{question},{question}"), MAZE)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([QUESTION, "# comment", QUESTION[1:]], "line 3: .*15"),
        ([QUESTION, "x" + QUESTION[1:]], "line 2: .*'x'"),
        ([QUESTION, "", "." * 16, QUESTION], "line 3: .*solution"),  # many solutions
        ([QUESTION, QUESTION, QUESTION, "11" + "." * 14], "line 4: "),  # none
        (["# nothing but a comment"], "holds no puzzle"),
        ([], "holds no puzzle"),
    ],
)
def test_faulty_lines_are_named(tmp_path: Path, lines: list[str], message: str) -> None:
    path = write(tmp_path / "list.txt", *lines)
    with pytest.raises(SourceError, match=message) as caught:
        read_lines(path, SUDOKU)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


# -- ids and alphabets -----------------------------------------------------------------------------------------------


def test_row_ids_behave_as_the_list_of_their_strings() -> None:
    ids = RowIds("a:b.csv", np.array([0, 3, 4, 19]))
    plain = ["a:b.csv:0", "a:b.csv:3", "a:b.csv:4", "a:b.csv:19"]
    assert list(ids) == plain and len(ids) == 4
    assert ids[-1] == plain[-1] and list(ids[1:3]) == plain[1:3]
    assert [ids.index(name) for name in plain] == [0, 1, 2, 3]
    assert all(name in ids for name in plain)
    for stranger in (
        "a:b.csv:1",
        "a:b.csv:20",
        "a:b.csv:03",
        "a:b.csv:",
        "b.csv:0",
        "a:b.csv:-1",
        "",
        "a:b.csv:" + "9" * 30,
        3,
    ):
        assert stranger not in ids
    with pytest.raises(ValueError, match="not among"):
        ids.index(plain[0], 1)
    with pytest.raises(IndexError):
        ids[4]
    assert list(pickle.loads(pickle.dumps(ids))) == plain


@pytest.mark.parametrize("family", [SUDOKU, sudoku.SudokuFamily(9), sudoku.SudokuFamily(16), MAZE])
def test_character_table_agrees_with_parse(family: Any) -> None:
    table = character_table(family)
    for value in range(family.values):
        grid = np.full(family.shape, value, np.uint8)
        assert set(table[[ord(character) for character in family.format(grid)]]) == {value}
    assert table[ord(",")] == readers.NOT_A_VALUE  # the separator can never be a cell


# -- by name ---------------------------------------------------------------------------------------------------------


def test_sources_by_name(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "p.csv", SUDOKU, sudoku_puzzles(20))
    first = open_source(f"csv:{path}", SUDOKU)
    assert isinstance(first, ListSource) and len(first) == 20
    assert open_source(f"csv:{path}", sudoku.SudokuFamily(4)) is first  # shared while it is in use
    assert open_source(f"csv:{path}", SUDOKU, "train") is not first
    write_csv(path, SUDOKU, sudoku_puzzles(21))
    again = open_source(f"csv:{path}", SUDOKU)
    assert isinstance(again, ListSource) and len(again) == 21  # the file has changed
    lines = open_source(f"lines:{write(tmp_path / 'p.txt', QUESTION)}", SUDOKU)
    assert lines.find(0).ids[0] == "p.txt:0"
    assert isinstance(open_source("generate", SUDOKU, generate=lambda seeds: sudoku_puzzles(len(seeds))), GeneratedSource)


@pytest.mark.parametrize("name", ["generated", "csv", "csv:", "json:x", "", "generate:0", None, 7])
def test_unknown_source_lists_what_there_is(name: Any) -> None:
    with pytest.raises(
        SourceError,
        match=r"is unknown; expected 'generate', 'generate:COUNT', 'csv:PATH', 'lines:PATH' or 'hub:OWNER/NAME\[/FILE\]'",
    ):
        open_source(name, SUDOKU, generate=lambda seeds: sudoku_puzzles(len(seeds)))


# -- the hub, without a network --------------------------------------------------------------------------------------


def fake_hub(monkeypatch: pytest.MonkeyPatch, download: Any) -> None:
    module = types.ModuleType("huggingface_hub")
    module.hf_hub_download = download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)


@pytest.mark.parametrize(
    ("name", "split", "file", "rest"),
    [
        ("o/n", "all", "train.csv", "all"),
        ("o/n", "train", "train.csv", "all"),
        ("o/n", "test", "test.csv", "all"),
        ("o/n/sub/x.csv", "test", "sub/x.csv", "test"),
    ],
)
def test_hub_file_and_split(monkeypatch: pytest.MonkeyPatch, name: str, split: str, file: str, rest: str) -> None:
    asked: list[tuple[str, str, str]] = []

    def download(repo_id: str, filename: str, repo_type: str) -> str:
        asked.append((repo_id, filename, repo_type))
        return "/kept/file.csv"

    fake_hub(monkeypatch, download)
    assert fetch_from_hub(name, split) == (Path("/kept/file.csv"), rest)
    assert asked == [("o/n", file, "dataset")]


def test_hub_source_reads_the_file_that_was_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_csv(tmp_path / "p.csv", SUDOKU, sudoku_puzzles(20))
    fake_hub(monkeypatch, lambda *_, **__: str(path))
    source = open_source("hub:o/n", SUDOKU, "test")
    assert isinstance(source, ListSource) and len(source) == 20  # the data set's own split is not divided again


def test_hub_out_of_reach_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: Any, **__: Any) -> str:
        raise ConnectionError("no route to host\nsecond line\nthird line")

    fake_hub(monkeypatch, download)
    with pytest.raises(
        SourceError, match=r"train\.csv of data set o/n could not be fetched .*no route to host.*csv:PATH"
    ) as caught:
        open_source("hub:o/n", SUDOKU)
    assert "\n" not in str(caught.value)
    with pytest.raises(SourceError, match="expected hub:OWNER/NAME or hub:OWNER/NAME/FILE"):
        open_source("hub:only-a-name", SUDOKU)


def test_hub_library_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def without_hub(name: str, *arguments: Any, **settings: Any) -> Any:
        if name.startswith("huggingface_hub"):
            raise ImportError(name)
        return real_import(name, *arguments, **settings)

    monkeypatch.setattr(builtins, "__import__", without_hub)
    with pytest.raises(SourceError, match=r"needs the package huggingface_hub; install it with: pip install 'hrm-gym\[hub\]'"):
        open_source("hub:o/n", SUDOKU)


def test_a_generated_list_holds_the_generators_first_puzzles():
    _, endless = family_and_source("sudoku", size=4, difficulty="hard", split="test")
    _, listed = family_and_source("sudoku", size=4, difficulty="hard", split="test", source="generate:7")
    assert isinstance(listed, ListSource)
    assert len(listed) == 7
    expected = endless.draw(np.arange(7, dtype=np.uint64))
    assert np.array_equal(listed.puzzles.questions, expected.questions)
    assert listed.find(expected.ids[3]).ids[0] == expected.ids[3]
