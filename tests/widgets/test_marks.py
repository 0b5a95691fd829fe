import csv

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eva.widgets.marks import COLUMNS, LONGEST_NOTE, VERDICTS, Mark, Marks, MarksError

DATA = "CIFAR-10, training images"
HEAD = ",".join(COLUMNS) + "\n"
ROW = f'"{DATA}",17,ambiguous,\n'


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "marks.csv"


def test_marks_come_back_after_a_restart(path):
    marks = Marks(path, DATA)
    assert not marks
    marks[17] = Mark("label wrong", "a lorry")
    marks[3] = Mark("ambiguous")
    marks[17] = Mark("model wrong", "no, a car")
    marks[5] = Mark("label wrong")
    del marks[5]
    again = Marks(path, DATA)
    assert dict(again) == {3: Mark("ambiguous"), 17: Mark("model wrong", "no, a car")}
    assert list(again) == [3, 17], "in the order of the images"
    assert again.get(5) is None
    assert [file.name for file in path.parent.iterdir()] == ["marks.csv"]


def test_every_change_is_written_at_once(path):
    marks = Marks(path, DATA)
    for index in range(5):
        marks[index] = Mark("ambiguous", str(index))
        assert dict(Marks(path, DATA)) == dict(marks)
    marks.clear()
    assert not Marks(path, DATA)


def test_the_tally_counts_images_and_names_every_verdict(path):
    marks = Marks(path, DATA)
    assert marks.tally() == {"label wrong": 0, "ambiguous": 0, "model wrong": 0}
    for index, verdict in enumerate([*VERDICTS, "model wrong"]):
        marks[index] = Mark(verdict)
    assert marks.tally() == {"label wrong": 1, "ambiguous": 1, "model wrong": 2}
    assert repr(marks) == f"4 marks on {DATA} in {path}: 1 label wrong, 1 ambiguous, 2 model wrong"


def test_numbers_of_numpy_and_torch_are_indices(path):
    marks = Marks(path, DATA)
    marks[torch.tensor(7)] = Mark("ambiguous")
    marks[np.int64(8)] = Mark("ambiguous")
    assert list(marks) == [7, 8]
    assert torch.tensor(8) in marks
    assert marks[np.int32(7)] == Mark("ambiguous")


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.integers(0, 60_000), st.text(st.characters(exclude_characters="\0", codec="utf-8")),
                       min_size=1, max_size=4))  # fmt: skip
def test_any_note_survives(path, notes):
    path.unlink(missing_ok=True)
    marks = Marks(path, DATA)
    marks.update({index: Mark("label wrong", note) for index, note in notes.items()})
    assert {index: mark.note for index, mark in Marks(path, DATA).items()} == notes


@pytest.mark.parametrize("note", ['a, "b"', "two\nlines", "\r", "a\r\nb", '"', "'", "=1+1", " blank ", "ünï ☃", ""])
def test_awkward_notes_survive_and_other_programs_can_read_them(path, note):
    Marks(path, 'a "strange", name')[1] = Mark("ambiguous", note)
    assert Marks(path, 'a "strange", name')[1].note == note
    with path.open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [COLUMNS, ['a "strange", name', "1", "ambiguous", note]]


def test_what_a_spreadsheet_or_an_editor_adds_is_no_harm(path):
    path.parent.mkdir()
    path.write_bytes(b"\xef\xbb\xbf" + (HEAD + ROW).replace("\n", "\r\n").encode() + b"\r\n")
    marks = Marks(path, DATA)
    assert dict(marks) == {17: Mark("ambiguous")}
    marks[4] = Mark("label wrong")
    assert list(Marks(path, DATA)) == [4, 17]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEAD + ROW.replace("training", "test"), f"line 2: .* on 'CIFAR-10, test images', and not on '{DATA}'"),
        ("index,verdict\n3,ambiguous\n", "line 1: the columns must be data,index,verdict,note, got 'index,verdict'"),
        (HEAD.strip() + ",colour\n", "line 1: the columns must be .* got 'data,index,verdict,note,colour'"),
        (HEAD.replace(",", ";") + ROW, "line 1: the columns must be"),
        ("", "line 1: the columns must be .* got ''"),
        (HEAD + ROW + ROW.replace(",\n", "\n"), "line 3: a row has 4 values, data, index, verdict, note, and this one"),
        (HEAD + ROW + ROW.replace("17", "18.5"), "line 3: the index must be a whole number from 0, got '18.5'"),
        (HEAD + ROW.replace("17", "-1"), "line 2: the index must be a whole number from 0, got '-1'"),
        (HEAD + ROW.replace("17", "²"), "line 2: the index must be"),
        (HEAD + ROW.replace("ambiguous", "odd"), "line 2: the verdict must be one of 'label wrong', .* got 'odd'"),
        (HEAD + ROW + ROW, "line 3: image 17 is marked a second time"),
        (HEAD + ROW + f'"{DATA}",18,ambiguous,"half', "line 3: unexpected end of data"),
        (HEAD + ROW + f'"{DATA}",18,ambiguous,"a"b\n', "line 3: .*expected after"),
    ],
)
def test_a_file_that_is_not_ours_is_refused_by_line_and_left_alone(path, content, message):
    path.parent.mkdir()
    path.write_text(content, "utf-8")
    with pytest.raises(MarksError, match=message) as caught:
        Marks(path, DATA)
    assert str(path) in str(caught.value)
    assert "left as it is" in str(caught.value)
    assert path.read_text("utf-8") == content


def test_a_file_that_is_not_text_is_refused(path):
    path.parent.mkdir()
    path.write_bytes(HEAD.encode() + b"\xff\xfe")
    with pytest.raises(MarksError, match=r"marks\.csv is not UTF-8 text \(invalid start byte at byte 24\)"):
        Marks(path, DATA)


def test_what_is_no_mark_is_refused_and_changes_nothing(path):
    marks = Marks(path, DATA)
    marks[1] = Mark("ambiguous")
    with pytest.raises(ValueError, match="one of 'label wrong', 'ambiguous', 'model wrong', got 'wrong'"):
        Mark("wrong")
    with pytest.raises(TypeError, match=r"a mark is Mark\(verdict, note\), got 'label wrong'"):
        marks[2] = "label wrong"
    with pytest.raises(ValueError, match="index must be at least 0, got -3"):
        marks[-3] = Mark("ambiguous")
    with pytest.raises(TypeError, match="integer"):
        marks[2.5] = Mark("ambiguous")
    with pytest.raises(KeyError):
        del marks[2]
    with pytest.raises(ValueError, match="up to 10,000 characters, got 10,001"):
        Mark("ambiguous", "x" * (LONGEST_NOTE + 1))
    for odd in ("\0", "\ud800"):
        with pytest.raises(ValueError, match=r"the note holds .*take it out"):
            Mark("ambiguous", f"a{odd}b")
    assert dict(marks) == dict(Marks(path, DATA)) == {1: Mark("ambiguous")}


def test_a_change_that_cannot_be_written_is_kept_in_memory(path):
    resource = pytest.importorskip("resource")
    marks = Marks(path, DATA)
    marks[1] = Mark("ambiguous")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))  # no file may hold a byte: this stops root too
    try:
        with pytest.raises(OSError, match=r"marks\.csv cannot be written \(File too large\): your 2 marks are kept"):
            marks[2] = Mark("model wrong")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [file.name for file in path.parent.iterdir()] == ["marks.csv"]
    assert dict(marks) == {1: Mark("ambiguous"), 2: Mark("model wrong")}
    assert dict(Marks(path, DATA)) == {1: Mark("ambiguous")}
    marks[3] = Mark("label wrong")
    assert list(Marks(path, DATA)) == [1, 2, 3], "the next change writes them all"


def test_marks_can_be_saved_elsewhere(tmp_path):
    folder = tmp_path / "folder"
    marks = Marks(folder / "marks.csv", DATA)
    folder.write_text("a file where the folder should be")
    with pytest.raises(OSError, match=r"cannot be written .*set `path` to a file in another folder"):
        marks[1] = Mark("ambiguous")
    marks.path = tmp_path / "elsewhere.csv"
    marks.save()
    assert dict(Marks(tmp_path / "elsewhere.csv", DATA)) == {1: Mark("ambiguous")}


def test_what_another_program_wrote_meanwhile_is_not_overwritten(path):
    first, second = Marks(path, DATA), Marks(path, DATA)
    first[1] = Mark("ambiguous")
    before = path.read_bytes()
    with pytest.raises(MarksError, match="holds something else than what was last read or written here"):
        second[2] = Mark("model wrong")
    assert path.read_bytes() == before
    assert list(second) == [2]
    first[3] = Mark("ambiguous")
    path.unlink()
    first[4] = Mark("ambiguous")
    assert list(Marks(path, DATA)) == [1, 3, 4], "a file that is gone is written again"
