"""Axes: the values that one or more names take in a sweep, from ranges, lists and files.

An axis can be gone through again and again, knows how many rows it has, and keeps none of a file in
memory. Each row is a tuple with one value per name.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
import stat
import sys
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import chain
from typing import Any, TextIO

from balsam.errors import InvalidValue

#: More jobs than this are a slip of the finger.
LARGEST = 10_000_000
#: Digits up to which decimals are spelled by a float as they were typed.
_DIGITS = 15
_DELIMITERS = ",;\t"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
#: Any other line breaks belong to what they are found in.
_BREAKS = "\r\n"


class Axis:
    """One axis; ``names`` are what its rows give values to."""

    names: tuple[str, ...]
    #: Where the row given last came from, as messages name it; '' if it is nowhere in particular.
    place = ""
    #: Whether a name that no template uses is only worth a note (a file may have more columns).
    lenient = False
    #: The file whose header has its names, if any.
    source = ""
    #: Whether going through it again means reading a file again.
    in_file = False

    def __len__(self) -> int:
        raise NotImplementedError

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        raise NotImplementedError


class Span(Axis):
    """``NAME=START:STOP[:STEP]``: numbers, STOP excluded. Decimals are spelled as typed."""

    def __init__(self, text: str) -> None:
        name, spelled = _assigned(text, "START:STOP or NAME=START:STOP:STEP")
        self.names = (name,)
        parts = [part.strip() for part in spelled.split(":")]
        if len(parts) not in (2, 3) or not all(map(_NUMBER.fullmatch, parts)):
            raise InvalidValue(
                f"'{text}' is no range: write NAME=START:STOP or NAME=START:STOP:STEP with numbers."
            )
        numbers = [Decimal(part) for part in [*parts, "1"][:3]]
        exponent = min(0, *(int(number.as_tuple().exponent) for number in numbers))
        if any(number and number.adjusted() - exponent > 100 for number in numbers):
            raise InvalidValue(f"The numbers of the range '{text}' have too many digits.")
        start, stop, step = (_scaled(number, -exponent) for number in numbers)
        if step == 0:
            raise InvalidValue(f"The step of the range '{text}' is 0; it would never end.")
        count = -((start - stop) // step)
        if count <= 0:
            raise InvalidValue(
                f"The range '{text}' has no points: STOP is excluded, and a STEP below 0 goes down."
            )
        if count > LARGEST:
            raise InvalidValue(f"The range '{text}' has {count:,} points; {LARGEST:,} are allowed.")
        self.points = range(start, stop, step)
        self.exponent = exponent
        if exponent and max(len(str(abs(end))) for end in (start, stop)) > _DIGITS:
            raise InvalidValue(f"The numbers of the range '{text}' have more than 15 digits.")

    def __len__(self) -> int:
        return len(self.points)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        if not self.exponent:
            return ((point,) for point in self.points)
        return ((float(f"{point}e{self.exponent}"),) for point in self.points)


class Values(Axis):
    """``NAME=a,b,c``; a value with a comma in it is put into double quotes."""

    def __init__(self, text: str) -> None:
        name, spelled = _assigned(text, "VALUE,VALUE,...")
        self.names = (name,)
        try:
            rows = list(csv.reader([spelled], skipinitialspace=True, strict=True))
        except csv.Error as error:
            raise InvalidValue(f"The values in '{text}' can not be told apart: {error}.") from error
        if not spelled.strip() or len(rows) != 1:
            raise InvalidValue(f"'{text}' has no values: write {name}=VALUE,VALUE,...")
        self.values = [value.strip() for value in rows[0]]

    @classmethod
    def of(cls, name: str, values: Sequence[Any]) -> Values:
        """The axis of a list of values."""
        axis = cls.__new__(cls)
        axis.names, axis.values = (_name(name),), list(values)
        if not values:
            raise InvalidValue(f"{name} has no values.")
        return axis

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return ((value,) for value in self.values)


class Lines(Axis):
    """``line`` holds each line of a text file; blank lines do not count."""

    names = ("line",)
    in_file = True

    def __init__(self, path: str) -> None:
        self.file = TextFile(path)
        self.count = sum(1 for _ in self)
        if not self.count:
            raise InvalidValue(f"{self.file.name} has no lines; each would be a job.")

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        with self.file.open() as stream:
            for number, line in enumerate(self.file.lines(stream), 1):
                if line.strip():
                    self.place = f"{self.file.name}, line {number}"
                    yield (line.rstrip(_BREAKS),)


class Table(Axis):
    """The rows of a CSV file, whose header names the columns.

    Blanks and dashes in the names of columns count as underscores. If the header has no comma, a
    semicolon or a tab separates columns.
    """

    lenient = in_file = True

    def __init__(self, path: str) -> None:
        self.file = TextFile(path)
        self.source = self.file.name
        self.names = ()
        self.delimiter = ","
        self.count = sum(1 for _ in self)
        if not self.count:
            raise InvalidValue(f"{self.file.name} has a header and no rows; each would be a job.")

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        with self.file.open() as stream:
            lines = self.file.lines(stream)
            first = next((line for line in lines if line.strip()), None)
            if first is None:
                raise InvalidValue(f"{self.file.name} is empty; its first line names the columns.")
            self.delimiter = next((mark for mark in _DELIMITERS if mark in first), ",")
            reader = csv.reader(
                chain([first], lines), delimiter=self.delimiter, skipinitialspace=True, strict=True
            )
            skipped = self.file.number - 1
            try:
                self._head(next(reader))
                width, before = len(self.names), reader.line_num
                for row in reader:
                    self.place = f"{self.file.name}, line {before + 1 + skipped}"
                    before = reader.line_num
                    if len(row) == width:
                        yield tuple(row)
                    elif row:
                        raise InvalidValue(
                            f"{self.place} has {len(row)} values; the header names {width} columns."
                        )
            except csv.Error as error:
                line = reader.line_num + skipped
                raise InvalidValue(f"{self.file.name}, line {line} is no CSV: {error}.") from error

    def _head(self, names: list[str]) -> None:
        self.names = tuple(re.sub(r"[\s-]+", "_", name.strip()) for name in names)
        for index, name in enumerate(self.names):
            if not name:
                raise InvalidValue(f"{self.file.name}: column {index + 1} has no name.")
            if name in self.names[:index]:
                raise InvalidValue(f"{self.file.name} has two columns named '{name}'.")


class TextFile:
    """A file that is read more than once: ``-`` (standard input) and pipes are kept aside."""

    def __init__(self, path: str) -> None:
        self.name = "standard input" if path == "-" else path
        self.path = path
        self.number = 0
        self._kept: Any = None
        try:
            if path == "-":
                self._keep(sys.stdin.buffer)
            elif not stat.S_ISREG(os.stat(path).st_mode):
                with open(path, "rb") as source:
                    self._keep(source)
        except OSError as error:
            raise self._unreadable(error) from error

    def _keep(self, source: Any) -> None:
        self._kept = kept = tempfile.TemporaryFile()  # noqa: SIM115 (closed with this object)
        weakref.finalize(self, kept.close)
        shutil.copyfileobj(source, self._kept)
        self._kept.flush()

    def open(self) -> TextIO:
        """The text from its beginning. Raises InvalidValue."""
        source: Any = self.path
        try:
            if self._kept is not None:
                source = os.dup(self._kept.fileno())
                os.lseek(source, 0, os.SEEK_SET)
            return open(source, encoding="utf-8-sig", newline="")
        except OSError as error:
            raise self._unreadable(error) from error

    def lines(self, stream: TextIO) -> Iterator[str]:
        """The lines with their breaks; InvalidValue where it stops being text."""
        self.number = 0
        try:
            for self.number, line in enumerate(stream, 1):
                if "\0" in line:
                    raise InvalidValue(f"{self.name}, line {self.number} is not text.")
                yield line
        except UnicodeDecodeError as error:
            raise InvalidValue(
                f"{self.name}, line {self._undecodable()} is not text in UTF-8."
            ) from error
        except OSError as error:
            raise self._unreadable(error) from error

    def _undecodable(self) -> int:
        """The first line that is not in UTF-8; reading ahead, a stream does not know it."""
        with self.open() as stream:
            for number, line in enumerate(stream.buffer, 1):
                try:
                    line.decode()
                except UnicodeDecodeError:
                    return number
        return self.number + 1

    def _unreadable(self, error: OSError) -> InvalidValue:
        return InvalidValue(f"{self.name} can not be read: {error.strerror}.")


def _scaled(number: Decimal, digits: int) -> int:
    sign, numerals, exponent = number.as_tuple()
    value = int("".join(map(str, numerals))) * 10 ** (int(exponent) + digits)
    return -value if sign else value


def _assigned(text: str, what: str) -> tuple[str, str]:
    name, equals, spelled = text.partition("=")
    if not equals:
        raise InvalidValue(f"'{text}' has no name: write NAME={what}.")
    return _name(name.strip()), spelled


def _name(name: str) -> str:
    if not (name.isidentifier() and name.isascii()):
        raise InvalidValue(f"'{name}' is no name for {{{{ }}}}: use letters, digits and _.")
    return name
