"""Values on their way between the two databases: cells of a line, the same from either side.

A line is what COPY reads and writes (https://www.postgresql.org/docs/current/sql-copy.html): cells
between tabs, with backslashes before what would end one. What two databases mean by the same value
is spelled in one way only, so that equal records have equal checksums: times in UTC, UUIDs as 32
hex digits, numbers in JSON by their digits, and names in it in order.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from balsam.errors import InvalidValue

NULL = "\\N"

_ESCAPES = str.maketrans(
    {
        "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t",
        "\v": "\\v",
    }
)  # fmt: skip
_has_special = re.compile(r"[\\\b\f\n\r\t\v\0]").search
_escaped = re.compile(r"\\(.)").sub
_UNESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
#: Ends no text, so texts joined by it can be searched all at once.
_BETWEEN = "\1"
_NO_FRACTION = ".000000"
#: "2026-01-01 00:00:00", and the same with six digits behind the point.
_TIME_LENGTHS = (19, 26)
_SAME_JSON = 4096

Cells = Sequence[str]
Values = Sequence[Any]


class Unfit(InvalidValue):
    """A value that the other database can not hold; ``position`` counts the column's from 0."""

    def __init__(self, position: int, why: str) -> None:
        super().__init__(why)
        self.position = position


def escape(text: str) -> str:
    """A text as a cell."""
    return text.translate(_ESCAPES) if _has_special(text) else text


def unescape(cell: str) -> str:
    """The text that a cell stands for."""
    if "\\" not in cell:
        return cell
    return _escaped(lambda match: _UNESCAPES.get(match[1], match[1]), cell)


# -- one spelling -------------------------------------------------------------------------------


@functools.lru_cache(_SAME_JSON)
def canonical_json(text: str) -> str:
    """The one way to write what a JSON text says. Raises ValueError, RecursionError."""
    if text == "{}":
        return text
    return _encode(_decode(text))


@functools.lru_cache(_SAME_JSON)
def _marked_number(text: str) -> str:
    # No text that Postgres can hold begins like this.
    return f"\0{canonical_number(text)}"


_decode = json.JSONDecoder(parse_int=_marked_number, parse_float=_marked_number).decode
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def canonical_number(text: str) -> str:
    """The digits of a decimal number that are not 0 at its ends, and its power of ten."""
    mantissa, _, power = text.lower().partition("e")
    whole, _, fraction = mantissa.removeprefix("-").partition(".")
    digits = (whole + fraction).lstrip("0")
    short = digits.rstrip("0")
    if not short:
        return "0"
    sign = "-" if mantissa.startswith("-") else ""
    return f"{sign}{short}e{int(power or 0) - len(fraction) + len(digits) - len(short)}"


# -- from SQLite --------------------------------------------------------------------------------


def _plain(values: Values) -> Cells:
    return [NULL if value is None else str(value) for value in values]


def _text(values: Values) -> Cells:
    try:
        if not _has_special(_BETWEEN.join(values)):
            return values
    except TypeError:
        pass  # some are NULL, or worse
    return [_one_text(position, value) for position, value in enumerate(values)]


def _one_text(position: int, value: Any) -> str:
    if value is None:
        return NULL
    if not isinstance(value, str):
        raise Unfit(position, f"holds no text, but {value!r:.60}")
    if "\0" in value:
        raise Unfit(position, "holds a NUL character, which Postgres can not")
    return escape(value)


def _real(values: Values) -> Cells:
    return [NULL if value is None else repr(float(value)) for value in values]


def _time(values: Values) -> Cells:
    return [_one_time(position, value) for position, value in enumerate(values)]


def _one_time(position: int, value: Any) -> str:
    if value is None:
        return NULL
    if isinstance(value, str):
        if len(value) in _TIME_LENGTHS and value[10] == " ":
            return value.removesuffix(_NO_FRACTION)
        try:
            return datetime.fromisoformat(value).replace(tzinfo=None).isoformat(" ")
        except ValueError:
            pass
    raise Unfit(position, f"holds no time, but {value!r:.60}")


#: Kind of column -> what SQLite has there, as cells that Postgres takes.
FROM_SQLITE: dict[str, Callable[[Values], Cells]] = {
    "int": _plain,
    "bool": _plain,
    "text": _text,
    "uuid": _text,
    "real": _real,
    "time": _time,
    "json": _text,
}


# -- from Postgres ------------------------------------------------------------------------------


def _same(cells: Cells) -> Cells:
    return cells


def _reals(cells: Cells) -> Cells:
    return [cell if cell == NULL else _real_of(cell) for cell in cells]


@functools.lru_cache(_SAME_JSON)
def _real_of(cell: str) -> str:
    return repr(float(cell))


def _times(cells: Cells) -> Cells:
    return [cell.removesuffix(_NO_FRACTION) for cell in cells]


def _jsons(cells: Cells) -> Cells:
    return [
        cell if cell in ("{}", NULL) else escape(_one_json(position, cell))
        for position, cell in enumerate(cells)
    ]


def _one_json(position: int, cell: str) -> str:
    try:
        return canonical_json(unescape(cell))
    except (ValueError, RecursionError) as error:
        raise Unfit(position, f"holds JSON that can not be read ({error})") from error


#: Kind of column -> cells of either side in the one spelling.
CANONICAL: dict[str, Callable[[Cells], Cells]] = {
    "int": _same,
    "bool": _same,
    "text": _same,
    "uuid": _same,
    "real": _reals,
    "time": _times,
    "json": _jsons,
}

#: Kind of column -> the expression that has Postgres write cells as SQLite has the values.
EXPRESSIONS = {
    "int": "{}",
    "bool": "{}::int",
    "text": "{}",
    "uuid": "replace({}::text, '-', '')",
    "real": "{}",
    "time": "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')",
    "json": "{}",
}


def to_sqlite(kind: str, cells: Cells) -> Values:
    """Cells as SQLite takes them; it makes integers of them where its columns are integer."""
    if kind == "real":
        return [None if cell == NULL else float(cell) for cell in cells]
    if "\\" not in _BETWEEN.join(cells):
        return cells
    return [None if cell == NULL else unescape(cell) for cell in cells]
