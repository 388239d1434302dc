"""Rows by the thousand, in the form in which each database takes them fastest."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from balsam.core.sql import Postgres, Sqlite, copying, insert, is_sqlite

_has_special = re.compile(r"[\\\t\n\r]").search
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
#: Lines sent to the server at a time.
_LINES = 500


class SqliteBulk(Sqlite):
    """Values as the driver takes them."""

    @staticmethod
    def cell(value: Any) -> Any:
        return value

    @staticmethod
    def write(table: str, names: Sequence[str], rows: list[list[Any]]) -> None:
        insert(table, names, rows)


class PostgresBulk(Postgres):
    """Values as COPY reads them (https://www.postgresql.org/docs/current/sql-copy.html).

    The driver would look up a converter for each of them, which takes longer than the server does.
    """

    @staticmethod
    def time(value: datetime) -> Any:
        return value.isoformat()

    @staticmethod
    def json(value: Any) -> Any:
        return Sqlite.json(value)

    @staticmethod
    def uuid(value: uuid.UUID) -> Any:
        return str(value)

    @staticmethod
    def cell(value: Any) -> str:
        if isinstance(value, str):
            return value.translate(_ESCAPES) if _has_special(value) else str.__str__(value)
        if value is None:
            return "\\N"
        if value is True or value is False:
            return "t" if value else "f"
        return str(value)

    @staticmethod
    def write(table: str, names: Sequence[str], rows: list[list[str]]) -> None:
        with copying(table, names) as copy:
            for start in range(0, len(rows), _LINES):
                lines = map("\t".join, rows[start : start + _LINES])
                copy.write("\n".join(lines) + "\n")


Bulk = type[SqliteBulk] | type[PostgresBulk]


def bulk_dialect() -> Bulk:
    """The form for the database behind the record."""
    return SqliteBulk if is_sqlite() else PostgresBulk


def cells(convert: dict[str, Callable[[Any], Any]], bulk: Bulk) -> dict[str, Callable[[Any], Any]]:
    """Converters whose results are parts of a row."""
    if bulk is SqliteBulk:
        return convert
    cell = bulk.cell
    return {
        name: lambda value, one=one: cell(one(value))  # type: ignore[misc]
        for name, one in convert.items()
    }
