"""What the two databases spell differently, for the few statements written by hand."""

from __future__ import annotations

import functools
import json
import uuid
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from django.apps import apps
from django.db import connection

#: Fewer rows than this go one by one.
FEW = 4
#: Rows of one statement.
ROWS = 10_000

#: JSON, as the databases are given it. Raises TypeError and ValueError.
encoded = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class Sqlite:
    """SQLite's spelling. All times are aware, in UTC."""

    #: To be one of the integer keys in the one parameter that :meth:`key_list` makes: lists of keys
    #: travel as one parameter, so their length is no limit of the driver.
    among = "IN (SELECT value FROM json_each(%s))"
    #: The same keys as the column ``value`` of a table.
    listed = "json_each(%s) AS listed"
    #: Parameters whose type the statement around them does not tell.
    a_time = a_json = "%s"
    skip_locked = ""
    #: The present, to compare times with.
    present = "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')"
    #: A time as histories have it (:mod:`balsam.core.history`); a whole second is kept short.
    written_time = (
        "substr({0}, 6, 5) || '-' || substr({0}, 1, 4) || ' ' || "
        "substr(substr({0}, 12) || '.000000', 1, 15)"
    )

    @staticmethod
    def key_list(ids: Collection[int]) -> Any:
        return encoded(list(ids))

    @staticmethod
    def recordset(columns: Sequence[tuple[str, str]]) -> str:
        """Rows of named columns, as ``given``, from the parameters of :meth:`record_values`."""
        picked = (
            f"json_extract(value, '$[{place}]') AS \"{name}\""
            for place, (name, _) in enumerate(columns)
        )
        return f"(SELECT {', '.join(picked)} FROM json_each(%s)) AS given"

    @staticmethod
    def record_values(given: Sequence[Sequence[Any]]) -> list[Any]:
        return [encoded(given)]

    @staticmethod
    def time(value: datetime) -> Any:
        return value.replace(tzinfo=None).isoformat(" ")

    @staticmethod
    def json(value: Any) -> Any:
        return encoded(value) if value else "{}"

    @staticmethod
    def uuid(value: uuid.UUID) -> Any:
        return value.hex


class Postgres:
    """Postgres' spelling. All times are aware, in UTC."""

    #: Of a subselect, the planner would expect the worst, and read the whole table.
    among = "= ANY(%s::bigint[])"
    listed = "unnest(%s::bigint[]) AS listed (value)"
    a_time = "%s::timestamptz"
    a_json = "%s::jsonb"
    skip_locked = "FOR UPDATE SKIP LOCKED"
    present = "now()"
    written_time = "to_char({0} AT TIME ZONE 'UTC', 'MM-DD-YYYY HH24:MI:SS.US')"

    @staticmethod
    def key_list(ids: Collection[int]) -> Any:
        # The driver would quote one after the other.
        return f"{{{','.join(map(str, map(int, ids)))}}}"

    @staticmethod
    def recordset(columns: Sequence[tuple[str, str]]) -> str:
        """Rows of named and typed columns, as :meth:`Sqlite.recordset`.

        The driver takes several times as long to make an array of each column, and the server to
        read rows that are objects of JSON.
        """
        names = _listed(name for name, _ in columns)
        arrays = ", ".join(["json_array_elements_text(%s::json)"] * len(columns))
        typed = ", ".join(f'"{name}"::{kind} AS "{name}"' for name, kind in columns)
        return f"(SELECT {typed} FROM ROWS FROM ({arrays}) AS raw ({names})) AS given"

    @staticmethod
    def record_values(given: Sequence[Sequence[Any]]) -> list[Any]:
        return [encoded(values) for values in zip(*given, strict=True)]

    @staticmethod
    def time(value: datetime) -> Any:
        return value.isoformat()

    @staticmethod
    def json(value: Any) -> Any:
        return Sqlite.json(value)

    @staticmethod
    def uuid(value: uuid.UUID) -> Any:
        return value


Dialect = type[Sqlite] | type[Postgres]


def dialect() -> Dialect:
    """The spelling of the database behind the record."""
    return Sqlite if connection.vendor == "sqlite" else Postgres


def is_sqlite() -> bool:
    """Whether the record lives in SQLite."""
    return connection.vendor == "sqlite"


def among() -> str:
    """A condition: to be one of the integer keys in the one parameter :func:`key_list` makes."""
    return dialect().among


def key_list(ids: Collection[int]) -> Any:
    """The parameter for :func:`among`."""
    return dialect().key_list(ids)


def in_json(column: str, name: str) -> str:
    """What a JSON column has under a name, NULL if nothing: a number, a word, or a list as text.

    SQLite has had ``->>`` only since version 3.38.
    """
    return f"json_extract({column}, '$.{name}')" if is_sqlite() else f"{column} ->> '{name}'"


def insert(table: str, names: Sequence[str], given: Sequence[Sequence[Any]]) -> None:
    """Insert rows, whose values are such as JSON has; times as the dialect has them, JSON as text.

    No COPY, in which a client that stops half-way keeps its turn for ever: the server has all of a
    statement before it begins, or takes the transaction of a client for idle.
    """
    if not given:
        return
    into = f"INSERT INTO {table} ({_listed(names)})"
    with connection.cursor() as cursor:
        if is_sqlite() or len(given) < FEW:
            marks = ", ".join(["%s"] * len(names))
            cursor.executemany(f"{into} VALUES ({marks})", given)
            return
        selected = _selected(table, tuple(names))
        for start in range(0, len(given), ROWS):
            page = given[start : start + ROWS]
            cursor.execute(f"{into} {selected}", Postgres.record_values(page))


@functools.cache
def _selected(table: str, names: Sequence[str]) -> str:
    """Rows of some columns of a table, JSON given as the text of itself."""
    (model,) = (model for model in apps.get_models() if model._meta.db_table == table)
    kinds = {field.column: field.db_type(connection) or "" for field in model._meta.concrete_fields}
    # A cast to a limited length would cut a text off.
    columns = ((name, "text" if "char" in kinds[name] else kinds[name]) for name in names)
    return f"SELECT {_listed(names)} FROM {Postgres.recordset(list(columns))}"


def copy_statement(table: str, names: Sequence[str]) -> str:
    """A Postgres COPY into a table; not for when others wait for a turn."""
    return f"COPY {table} ({_listed(names)}) FROM STDIN"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def rows(statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())


def column(statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
    """The first column of a query."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return [row[0] for row in cursor]


def quoted(words: Iterable[str]) -> str:
    """State names as a list of literals: a partial index is only used for literal terms."""
    return ", ".join(f"'{word}'" for word in words)
