"""Rows by the thousand, in the form in which each database takes them fastest."""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from django.db import connection

from balsam.core.sql import Postgres, Sqlite, copy_statement, insert, is_sqlite

_has_special = re.compile(r"[\\\t\n\r]").search
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
#: Lines sent to the server at a time.
_LINES = 500


class InPlace:
    """Writes rows where they are given."""

    def __init__(self, table: str, names: Sequence[str]) -> None:
        self._table, self._names = table, names

    def write(self, rows: list[list[Any]]) -> None:
        """Insert rows."""
        insert(self._table, self._names, rows)

    def finish(self) -> None:
        """Wait until all rows are written. Raises what went wrong with them."""


class Meanwhile:
    """Writes rows while the next ones are made: the server has a processor of its own for that."""

    def __init__(self, pool: ThreadPoolExecutor, statement: str) -> None:
        self._pool, self._statement = pool, statement
        self._going_on: Future[None] | None = None

    def write(self, rows: list[list[str]]) -> None:
        """Begin to insert rows."""
        self.finish()
        # Django has a connection for each thread; this is about that of the caller.
        self._going_on = self._pool.submit(self._copy, connection.connection.cursor(), rows)

    def finish(self) -> None:
        """Wait until all rows are written. Raises what went wrong with them."""
        going_on, self._going_on = self._going_on, None
        if going_on is not None:
            with connection.wrap_database_errors:
                going_on.result()

    def before(self, execute: Any, *args: Any) -> Any:
        """Around any other statement: the connection has to be free for it."""
        self.finish()
        return execute(*args)

    def _copy(self, cursor: Any, rows: list[list[str]]) -> None:
        with cursor, cursor.copy(self._statement) as copy:
            for start in range(0, len(rows), _LINES):
                lines = map("\t".join, rows[start : start + _LINES])
                copy.write("\n".join(lines) + "\n")


class SqliteBulk(Sqlite):
    """Values as the driver takes them."""

    @staticmethod
    def cell(value: Any) -> Any:
        return value

    @staticmethod
    @contextlib.contextmanager
    def writing(table: str, names: Sequence[str]) -> Iterator[InPlace]:
        yield InPlace(table, names)


class PostgresBulk(Postgres):
    """Values as COPY reads them (https://www.postgresql.org/docs/current/sql-copy.html).

    The driver would look up a converter for each of them, which takes longer than the server does.
    """

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
    @contextlib.contextmanager
    def writing(table: str, names: Sequence[str]) -> Iterator[Meanwhile]:
        with ThreadPoolExecutor(1) as pool:
            writer = Meanwhile(pool, copy_statement(table, names))
            with connection.execute_wrapper(writer.before):
                yield writer


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
