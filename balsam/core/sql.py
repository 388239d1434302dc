"""What the two databases spell differently, for the few statements written by hand."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from django.db import connection

#: Lists of keys travel as one parameter, so their length is no limit of the driver.
_SQLITE_KEYS = "SELECT value FROM json_each(%s)"
_POSTGRES_KEYS = "SELECT unnest(%s::bigint[])"


def is_sqlite() -> bool:
    """Whether the record lives in SQLite."""
    return connection.vendor == "sqlite"


def keys() -> str:
    """A subselect of integer keys from the one parameter that :func:`key_list` makes."""
    return _SQLITE_KEYS if is_sqlite() else _POSTGRES_KEYS


def key_list(ids: Collection[int]) -> Any:
    """The parameter for :func:`keys`."""
    return json.dumps(list(ids)) if is_sqlite() else list(ids)


def db_time(value: datetime) -> Any:
    """A time as the driver takes it."""
    return connection.ops.adapt_datetimefield_value(value)


def db_json(value: Any) -> Any:
    """A JSON document as the driver takes it."""
    if is_sqlite():
        return json.dumps(value) if value else "{}"
    return connection.ops.adapt_json_value(value, None)


def db_uuid(value: uuid.UUID) -> Any:
    """A UUID as the driver takes it."""
    return value.hex if is_sqlite() else value


def rows(statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())


def column(statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
    """The first column of a query."""
    return [row[0] for row in rows(statement, parameters)]


def quoted(words: Iterable[str]) -> str:
    """State names as a list of literals: a partial index is only used for literal terms."""
    return ", ".join(f"'{word}'" for word in words)
