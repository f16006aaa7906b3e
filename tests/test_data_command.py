"""`hrm-gym data`: what is built can be read, what is planted is found, what is broken is one line and leaves no file."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from hrm_gym import data_command
from hrm_gym.cli import main
from hrm_gym.envs import arc, maze, sudoku
from hrm_gym.envs.errors import SourceError
from hrm_gym.envs.inspection import Histogram, digests_of, duplicates, histogram, inspect, survey
from hrm_gym.envs.puzzles import Puzzles
from hrm_gym.envs.readers import read_csv, read_lines
from hrm_gym.envs.registry import make_family
from hrm_gym.envs.splits import in_split
from hrm_gym.envs.writers import as_text, write_csv, write_lines, written_whole

SUDOKU, MAZE, ARC = make_family("sudoku", 6), make_family("maze", 7), make_family("arc", 5)


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Runs a command in an empty folder; its exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["hrm-gym", "data", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return command


def arc_puzzles(count: int = 12) -> Puzzles:
    random = np.random.default_rng(3)
    canvases = [
        arc.to_canvas([random.integers(0, 10, random.integers(1, 6, 2)).astype(np.uint8) for _ in range(count)], 5)
        for _ in range(2)
    ]
    return ARC.puzzles_with_answers(*canvases, [f"t{row}/0" for row in range(count)], np.arange(count, dtype=np.float32))


# -- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize(
    ("family", "puzzles"),
    [(SUDOKU, sudoku.generate(20, 6, seed=1)), (MAZE, maze.generate(20, 7, seed=1)), (ARC, arc_puzzles())],
    ids=["sudoku", "maze", "arc"],
)
def test_csv_is_read_as_it_was_written(tmp_path, family, puzzles, pieces):
    odd = Puzzles(puzzles.questions, puzzles.answers, puzzles.ids, puzzles.ratings + np.float32(1 / 3), puzzles.facts)
    batches = [odd.take(rows) for rows in np.array_split(np.arange(len(odd)), pieces)]
    assert write_csv(tmp_path / "new" / "p.csv", family, batches) == len(puzzles)
    again = read_csv(tmp_path / "new" / "p.csv", family)
    for name in ("questions", "answers", "ratings"):
        np.testing.assert_array_equal(getattr(again, name), getattr(odd, name))
    assert (tmp_path / "new" / "p.csv").read_text().splitlines()[1].startswith(f"{puzzles.ids[0]},")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["p.csv"]


def test_a_name_with_commas_and_line_ends_stays_one_field(tmp_path):
    puzzles = sudoku.generate(2, 6, seed=1)
    named = Puzzles(puzzles.questions, puzzles.answers, ["a,b", 'c\r\n"d"'], puzzles.ratings)
    write_csv(tmp_path / "p.csv", SUDOKU, [named])
    assert len(read_csv(tmp_path / "p.csv", SUDOKU)) == 2


@pytest.mark.parametrize(("family", "puzzles"), [(SUDOKU, sudoku.generate(9, 6, seed=2)), (MAZE, maze.generate(9, 7, seed=2))])
def test_lines_are_read_as_they_were_written(tmp_path, family, puzzles):
    assert write_lines(tmp_path / "p.txt", family, [puzzles]) == 9
    np.testing.assert_array_equal(read_lines(tmp_path / "p.txt", family).questions, puzzles.questions)


@pytest.mark.parametrize("family", [SUDOKU, MAZE, ARC])
def test_text_is_that_of_the_family(family):
    grids = np.random.default_rng(0).integers(0, family.values, (6, *family.shape)).astype(np.uint8)
    assert as_text(family, grids) == [family.format(grid) for grid in grids]
    assert as_text(family, grids[:0]) == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_half_written_file_is_gone_and_the_old_one_stays(tmp_path, error):
    (tmp_path / "p.csv").write_text("old")

    def broken():
        yield sudoku.generate(3, 6, seed=1)
        raise error

    with pytest.raises(error):
        write_csv(tmp_path / "p.csv", SUDOKU, broken())
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("p.csv", "old")]


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path):
    with written_whole(tmp_path / "p.csv") as file:
        file.write("half")
        file.flush()
        assert not (tmp_path / "p.csv").exists()
    assert (tmp_path / "p.csv").read_text() == "half"


def test_a_place_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path, tmp_path / "file" / "p.csv"):
        with pytest.raises(SourceError, match="cannot be written"), written_whole(place):
            pass


def test_reading_tells_how_far_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr("hrm_gym.envs.readers.BLOCK_BYTES", 200)
    write_csv(tmp_path / "p.csv", SUDOKU, [sudoku.generate(20, 6, seed=1)])
    told = []
    read_csv(tmp_path / "p.csv", SUDOKU, progress=lambda done, total: told.append((done, total)))
    size = os.path.getsize(tmp_path / "p.csv")
    assert len(told) > 5
    assert told == sorted(told)
    assert told[-1] == (size, size)


# -- figures ---------------------------------------------------------------------------------------------------------


def plant(puzzles: Puzzles, family) -> Puzzles:
    """The puzzles, then the first three again: two as they are, one as an image; 0's grid stands once more with fewer clues."""
    random = np.random.default_rng(1)
    image = family.augment(puzzles.take([2]), family.sample_symmetries(1, random))
    fewer = puzzles.take([0])
    question = fewer.questions.copy()
    question.reshape(-1)[np.flatnonzero(question)[0]] = 0
    other = Puzzles(question, fewer.answers, ["fewer"], fewer.ratings, fewer.facts)
    return Puzzles.join([puzzles, puzzles.take([0, 1]), image, other])


def test_planted_duplicates_are_found():
    puzzles = plant(sudoku.generate(30, 6, "easy", seed=7), SUDOKU)
    assert not (puzzles.questions[32] == puzzles.questions[2]).all()
    found = inspect(survey(puzzles, SUDOKU, "planted")).duplicates
    assert found["puzzles"].count == 2
    assert found["puzzles"].largest == 2
    assert found["puzzles"].examples == [(puzzles.ids[0], puzzles.ids[0]), (puzzles.ids[1], puzzles.ids[1])]
    assert found["puzzles_up_to_symmetry"].count == 3
    assert found["solutions"].count == 3
    assert found["solutions"].examples[-1] == (puzzles.ids[0], "fewer")
    # 49 grids there are up to symmetry, so chance adds some; counted plainly
    _, forms = SUDOKU.canonical(puzzles)
    assert found["solutions_up_to_symmetry"].count == 34 - len({form.tobytes() for form in forms})


def test_planted_leakage_is_found():
    ours, theirs = sudoku.generate(40, 9, "easy", seed=1), sudoku.generate(2000, 9, "easy", seed=2)
    family = make_family("sudoku", 9)
    random = np.random.default_rng(0)
    leaked = Puzzles.join([ours.take([3]), family.augment(ours.take([5, 6]), family.sample_symmetries(2, random))])
    theirs = Puzzles.join([theirs.take(slice(1500)), leaked, theirs.take(slice(1500, 2000))])
    leakage = inspect(survey(ours, family, "ours"), against=survey(theirs, family, "theirs")).leakage
    assert leakage is not None
    assert (leakage.of, leakage.within, leakage.total) == ("ours", "theirs", 40)
    assert leakage.counts == {"puzzles": 1, "puzzles_up_to_symmetry": 3, "solutions": 1, "solutions_up_to_symmetry": 3}
    assert [here for here, _ in leakage.examples["puzzles_up_to_symmetry"]] == [ours.ids[row] for row in (3, 5, 6)]
    assert leakage.examples["puzzles"] == [(ours.ids[3], ours.ids[3])]


def test_between_train_and_test_split_of_4_x_4_only_symmetric_grids_are_shared():
    family = make_family("sudoku", 4)
    puzzles = sudoku.generate(300, 4, seed=1)
    leakage = inspect(survey(puzzles, family, "four")).leakage
    assert leakage is not None
    test = int(in_split(puzzles.answers, "test").sum())
    assert leakage.total == test > 20
    assert leakage.counts["puzzles"] == leakage.counts["solutions"] == 0
    assert leakage.counts["solutions_up_to_symmetry"] == test  # two grids there are, and train has both


def test_without_symmetries_and_at_16_x_16_only_exact_figures():
    family = make_family("sudoku", 16)
    grid = np.fromfunction(lambda y, x: (y * 4 + y // 4 + x) % 16 + 1, (16, 16), dtype=int).astype(np.uint8)[None]
    huge = family.puzzles_with_answers(grid, grid, ["full"], np.zeros(1))
    for puzzles, kind, wanted in ((huge, family, True), (sudoku.generate(5, 6), SUDOKU, False)):
        assert set(survey(puzzles, kind, "x", symmetries=wanted).digests) == {"puzzles", "solutions"}


def test_a_survey_in_pieces_is_that_of_the_whole(monkeypatch):
    puzzles = maze.generate(50, 7, seed=3)
    whole = survey(puzzles, MAZE, "m")
    monkeypatch.setattr("hrm_gym.envs.inspection.CHUNK", 7)
    told = []
    pieces = survey(puzzles, MAZE, "m", progress=lambda done, total: told.append(done))
    assert told == [*range(7, 50, 7), 50]
    assert inspect(pieces).to_dict() == inspect(whole).to_dict()
    np.testing.assert_array_equal(whole.measurements["path_length"], puzzles.facts["optimum"])
    np.testing.assert_array_equal(whole.measurements["walls"], [(grid == 0).sum() for grid in puzzles.questions])


def test_digests_tell_grids_apart():
    grids = np.array([[[1, 2]], [[2, 1]], [[1, 2]]], np.uint8)
    digests = digests_of(grids)
    assert (digests[0] == digests[2]).all() and (digests[0] != digests[1]).any()
    found = duplicates(digests, ["a", "b", "c"])
    assert (found.count, found.largest, found.examples) == (1, 2, [("a", "c")])


@pytest.mark.parametrize(
    ("values", "edges", "counts", "open_ended"),
    [
        ([3, 3, 5], [3, 4, 5], [2, 0, 1], False),
        ([0] * 5, [0], [5], False),
        (list(range(40)), [0, 5, 10, 15, 20, 25, 30, 35], [5] * 8, False),
        ([*range(16)] * 20 + [5000], list(range(16)), [20] * 15 + [21], True),
        ([0.25] * 3, [0], [3], False),
        ([0.0, 0.5, 1.0], [place / 10 for place in range(11)], [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1], False),
    ],
)
def test_histogram(values, edges, counts, open_ended):
    found = histogram(np.array(values, np.float32))
    np.testing.assert_allclose(found.edges, edges)
    assert found.counts == counts
    assert found.open_ended == open_ended


def test_bars():
    lines = data_command.bars(Histogram([0, 10, 20], 10, [80, 1, 0], True))
    assert lines == ["     0 to 9 " + "█" * 40 + " 80", "   10 to 19 █ 1", "20 and more 0"]


# -- the commands ----------------------------------------------------------------------------------------------------


def test_build_inspect_export(run, tmp_path):
    code, out, err = run("build", "sudoku", "--size", 6, "--difficulty", "medium", "--count", 50, "--seed", 4, "--out", "p.csv")
    assert code == 0, err
    assert "Written: p.csv, 50 puzzles" in out
    assert err == ""
    expected = sudoku.generate(50, 6, "medium", seed=4)
    np.testing.assert_array_equal(read_csv("p.csv", SUDOKU).questions, expected.questions)

    code, out, err = run("inspect", "p.csv", "--size", 6, "--json", "figures.json")
    assert code == 0, err
    assert "50 puzzles, sudoku 6 x 6" in out and "clues" in out and "up to symmetry" in out
    figures = json.loads(Path("figures.json").read_text())
    assert figures["puzzles"] == 50
    assert figures["measurements"]["clues"]["minimum"] == (expected.questions != 0).sum(axis=(1, 2)).min()
    assert figures["leakage"]["counts"]["puzzles"] == 0

    code, out, err = run("export", "csv:p.csv", "--size", 6, "--to", "lines", "--out", "q.txt", "--limit", 7)
    assert code == 0, err
    np.testing.assert_array_equal(read_lines("q.txt", SUDOKU).questions, expected.questions[:7])
    code, out, err = run("export", "q.txt", "--size", 6, "--to", "csv", "--out", "r.csv", "--split", "train")
    assert code == 0, err
    train = in_split(expected.answers[:7], "train")
    np.testing.assert_array_equal(read_csv("r.csv", SUDOKU).questions, expected.questions[:7][train])
    assert {path.name for path in tmp_path.iterdir()} == {"p.csv", "figures.json", "q.txt", "r.csv"}

    code, out, err = run("inspect", "r.csv", "--size", 6, "--against", "p.csv", "--no-symmetries", "--json", "figures.json")
    assert code == 0, err
    assert "Leakage: how many of r.csv stand in p.csv" in out and "not sought" in out
    count = int(train.sum())
    assert json.loads(Path("figures.json").read_text())["leakage"]["counts"] == {"puzzles": count, "solutions": count}


def test_build_depends_neither_on_its_pieces_nor_on_the_count(run, monkeypatch):
    assert run("build", "maze", "--size", 7, "--recipe", "tree", "--count", 40, "--split", "test", "--out", "a.csv")[0] == 0
    monkeypatch.setattr(data_command, "MOST_AT_ONCE", 3)
    assert run("build", "maze", "--size", 7, "--recipe", "tree", "--count", 25, "--split", "test", "--out", "b.csv")[0] == 0
    assert Path("a.csv").read_text().startswith(Path("b.csv").read_text())
    expected = maze.generate(40, 7, "tree", split="test")
    np.testing.assert_array_equal(read_csv("a.csv", MAZE).answers, expected.answers)


def test_arc_folder(run, tmp_path):
    for part, colour in (("training", 1), ("evaluation", 2)):
        (tmp_path / "tasks" / part).mkdir(parents=True)
        for task in range(2):
            grid = [[0, colour], [task, 0]]  # the first test of either part is an image of the other's
            pair = {"input": grid, "output": grid}
            (tmp_path / "tasks" / part / f"{part}{task}.json").write_text(json.dumps({"train": [pair], "test": [pair]}))
    arguments = [
        "inspect",
        "tasks:evaluation",
        "--family",
        "arc",
        "--size",
        4,
        "--against",
        "tasks:training",
        "--json",
        "f.json",
    ]
    code, out, err = run(*arguments)
    assert code == 0, err
    assert "2 puzzles, arc 4 x 4" in out and "question cells" in out
    counts = json.loads(Path("f.json").read_text())["leakage"]["counts"]
    assert counts["puzzles"] == 0
    assert counts["puzzles_up_to_symmetry"] == 1
    code, out, err = run("export", "tasks", "--family", "arc", "--size", 4, "--to", "csv", "--out", "t.csv")
    assert code == 0, err
    assert len(read_csv("t.csv", make_family("arc", 4))) == 2
    code, out, err = run("inspect", "t.csv", "--family", "arc", "--size", 4)
    assert code == 0, err


MISTAKES = {
    "family": (["build", "chess", "--out", "p.csv"], "family 'chess' is unknown; expected one of sudoku"),
    "inspected family": (["inspect", "p.csv", "--family", "chess"], "family 'chess' is unknown"),
    "size": (["build", "sudoku", "--size", "5", "--out", "p.csv"], "Sudoku size 5 is unknown"),
    "difficulty": (["build", "sudoku", "--difficulty", "mild", "--out", "p.csv"], "difficulty 'mild' is unknown"),
    "foreign setting": (["build", "sudoku", "--recipe", "tree", "--out", "p.csv"], "setting 'recipe' is unknown to sudoku"),
    "recipe": (["build", "maze", "--recipe", "hedge", "--out", "p.csv"], "recipe 'hedge' is unknown"),
    "split": (["build", "sudoku", "--split", "valid", "--out", "p.csv"], "split 'valid' is unknown"),
    "arc is not made": (["build", "arc", "--out", "p.csv"], "arc tasks are not generated"),
    "folder for a file": (["build", "sudoku", "--size", "4", "--count", "2", "--out", "."], "cannot be written"),
    "missing file": (["inspect", "csv:none.csv"], "none.csv cannot be read"),
    "missing list": (["inspect", "none"], "none cannot be read"),
    "no end": (["inspect", "generate"], "has no end; give a number of puzzles"),
    "broken": (["inspect", "broken.csv", "--size", "4"], "broken.csv, line 3: the answer has 3 characters"),
    "broken other": (["inspect", "good.csv", "--size", "4", "--against", "broken.csv"], "broken.csv, line 3"),
    "broken export": (["export", "broken.csv", "--size", "4", "--to", "lines", "--out", "q.txt"], "broken.csv, line 3"),
    "arc lines": (["export", "arc-agi-1", "--family", "arc", "--to", "lines", "--out", "q.txt"], "export to csv"),
    "arc split": (
        ["export", "arc-agi-1", "--family", "arc", "--to", "csv", "--out", "q", "--split", "test"],
        "arc-agi-1:evaluation",
    ),
    "json": (["inspect", "good.csv", "--size", "4", "--json", "."], "cannot be written"),
    "form": (["export", "good.csv", "--to", "xlsx", "--out", "q"], "xlsx"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_give_one_line_exit_code_2_and_no_file(run, tmp_path, mistake):
    good = "source,question,answer,rating\nx,.234341221434321,1234341221434321,0\n"
    (tmp_path / "good.csv").write_text(good)
    (tmp_path / "broken.csv").write_text(good + "x,.234341221434321,123,0\n")
    arguments, message = MISTAKES[mistake]
    code, _, err = run(*arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    if not err.startswith("Usage"):
        assert err.startswith("hrm-gym: ") and err.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"good.csv", "broken.csv"}


def test_ctrl_c_while_building_leaves_nothing(run, tmp_path, monkeypatch):
    def interrupted(*_):
        yield sudoku.generate(2, 4)
        raise KeyboardInterrupt

    monkeypatch.setattr(data_command, "_drawn", interrupted)
    code, _, _ = run("build", "sudoku", "--size", 4, "--out", "p.csv")
    assert code == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["build", "inspect", "export"])
def test_every_command_has_help(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0
    assert "Usage" in out
