"""A learner's marks on images: is the label wrong, the image ambiguous, or the model wrong? Kept in a file.

marks = Marks("marks.csv", data="CIFAR-10, training images")
marks[6532] = Mark("label wrong", "a lorry, not a car")    # written at once
marks.tally()
"""

import csv
import io
import operator
import os
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import SupportsIndex

from eva.files import replacing

VERDICTS = ("label wrong", "ambiguous", "model wrong")
COLUMNS = ["data", "index", "verdict", "note"]
LONGEST_NOTE = 10_000  # characters; csv reads no field of more than 131,072


class MarksError(ValueError):
    """A file that holds other marks, or none that can be read. It was left as it is."""


@dataclass(frozen=True)
class Mark:
    """What a learner thinks of an image. Raises ValueError for a verdict that is none of VERDICTS, or an odd note."""

    verdict: str
    note: str = ""

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"the verdict must be one of {', '.join(map(repr, VERDICTS))}, got {self.verdict!r}")
        if len(self.note) > LONGEST_NOTE:
            raise ValueError(f"a note holds up to {LONGEST_NOTE:,} characters, got {len(self.note):,}: shorten it")
        odd = [letter for letter in self.note if letter == "\0" or "\ud800" <= letter <= "\udfff"]
        if odd:
            raise ValueError(f"the note holds {odd[0]!r}, which no text file can: take it out")


class Marks(MutableMapping[int, Mark]):
    """A dictionary from image indices to marks that is written to `path` after every change, whole or not at all.

    data: names the data set and which of its images the indices count: `Split.indices` count the training images, or
    the test images. Each row of the file repeats it, so that the file stays a plain table. Where `path` exists, its
    marks are read back. `save` writes again by hand, to another `path` if that was set; `unsaved` says why that is
    needed, and is empty where it is not.
    Raises MarksError, naming the line, where the file is of other data or not one of marks; it is then left alone, as
    it is when another program changed it meanwhile. Raises OSError where a change cannot be written: it is kept in
    memory, and written with the next one that can be. Raises ValueError for an index that is negative, TypeError for
    what is no Mark.
    """

    def __init__(self, path: str | os.PathLike[str], data: str) -> None:
        self.path, self.data = Path(path), data
        self.unsaved = ""  # why the last change is not in the file yet
        self._written = _bytes(self.path)
        self._marks = {} if self._written is None else _parsed(self._written, self.path, data)

    def __getitem__(self, index: SupportsIndex) -> Mark:
        return self._marks[operator.index(index)]

    def __setitem__(self, index: SupportsIndex, mark: Mark) -> None:
        number = operator.index(index)
        if not isinstance(mark, Mark):
            raise TypeError(f"a mark is Mark(verdict, note), got {mark!r}")
        if number < 0:
            raise ValueError(f"an image's index must be at least 0, got {number}")
        self._marks[number] = mark
        self.save()

    def __delitem__(self, index: SupportsIndex) -> None:
        del self._marks[operator.index(index)]
        self.save()

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._marks))

    def __len__(self) -> int:
        return len(self._marks)

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {verdict}" for verdict, count in self.tally().items())
        return f"{len(self)} marks on {self.data} in {self.path}: {counts}"

    def tally(self) -> dict[str, int]:
        """How many images have each of VERDICTS."""
        verdicts = [mark.verdict for mark in self._marks.values()]
        return {verdict: verdicts.count(verdict) for verdict in VERDICTS}

    def save(self) -> None:
        """Write all marks to `path`. Raises as the class says."""
        table = io.StringIO(newline="")
        writer = csv.writer(table)
        writer.writerow(COLUMNS)
        writer.writerows((self.data, index, mark.verdict, mark.note) for index, mark in self.items())
        try:
            self._write(table.getvalue().encode())
        except (MarksError, OSError) as error:
            self.unsaved = str(error)
            raise
        self.unsaved = ""

    def _write(self, new: bytes) -> None:
        try:
            if _bytes(self.path) not in (None, self._written, new):
                raise MarksError(
                    f"{self.path} holds something else than what was last read or written here, and was left as it is: "
                    f"your {len(self)} marks are kept in memory only. "
                    "Is it open elsewhere? Read it again with Marks(path, data), or set `path` to a new file"
                )
            with replacing(self.path) as file:
                file.write(new)
        except OSError as error:
            raise OSError(
                f"{self.path} cannot be written ({error.strerror or error}): your {len(self)} marks are kept in memory "
                "only. Make its folder writable, or set `path` to a file in another folder; then call save()"
            ) from error
        self._written = new


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _parsed(content: bytes, path: Path, data: str) -> dict[int, Mark]:
    """The marks of a file. Raises MarksError, naming the line where a row ends, for what is not one of marks."""
    advice = "It was left as it is: correct the line, or keep your marks in another file"
    try:
        text = content.decode("utf-8-sig")  # spreadsheets put a mark of their own in front
    except UnicodeDecodeError as error:
        raise MarksError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}). {advice}") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    marks: dict[int, Mark] = {}
    try:
        header = next(reader, [])
        if header != COLUMNS:
            raise ValueError(f"the columns must be {','.join(COLUMNS)}, got {','.join(header)[:200]!r}")
        for row in filter(None, reader):  # an empty line says nothing
            if len(row) != len(COLUMNS):
                raise ValueError(f"a row has {len(COLUMNS)} values, {', '.join(COLUMNS)}, and this one {len(row)}")
            row_data, index, verdict, note = row
            if row_data != data:
                raise ValueError(f"these marks are on {row_data!r}, and not on {data!r}")
            if not (index.isascii() and index.isdecimal()):
                raise ValueError(f"the index must be a whole number from 0, got {index!r}")
            if int(index) in marks:
                raise ValueError(f"image {index} is marked a second time")
            marks[int(index)] = Mark(verdict, note)
    except (ValueError, csv.Error) as error:
        raise MarksError(f"{path}, line {max(1, reader.line_num)}: {error}. {advice}") from error
    return marks
