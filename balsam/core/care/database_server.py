"""The record in Postgres, opened without Django to be looked at: nothing is changed by that."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from balsam.core.care.tables import MIGRATIONS

if TYPE_CHECKING:
    from balsam.conf.project import Project

_RECORD = ("balsam_job", "balsam_event", "balsam_session")
#: What a server may have been told about the patience it is to have with its clients.
_SETTINGS = """
SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET client_encoding = 'UTF8';
SET extra_float_digits = 1; SET client_min_messages = warning; SET jit = off;
SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0;
SET lock_timeout = {milliseconds}
"""


@contextlib.contextmanager
def connected(project: Project, *, timeout_seconds: float = 60.0) -> Iterator[Any]:
    """A connection, each of whose statements is a transaction; the server is started if need be.

    ``timeout_seconds`` is how long to wait for locks. Raises ServerError, also for what goes wrong
    in the block.
    """
    from balsam.conf.postgres import users

    with users.connected(project, start=True) as server:
        prepare(server, timeout_seconds)
        yield server


def prepare(server: Any, timeout_seconds: float) -> None:
    """Have a connection write and read values as ``cells`` expects them."""
    server.execute(_SETTINGS.format(milliseconds=int(timeout_seconds * 1000)))


@contextlib.contextmanager
def reading(project: Project, *, timeout_seconds: float = 60.0) -> Iterator[Any]:
    """A connection that sees the record as it is now until its end, and refuses to write."""
    from psycopg import IsolationLevel

    with connected(project, timeout_seconds=timeout_seconds) as server:
        server.isolation_level = IsolationLevel.REPEATABLE_READ
        server.read_only = True
        with server.transaction():
            yield server


def schema_version(server: Any) -> int:
    """The number of the newest migration; 0 in a database that is not Balsam's."""
    there = server.execute(f"SELECT to_regclass('{MIGRATIONS}') IS NOT NULL").fetchone()[0]
    if not there:
        return 0
    newest = f"SELECT max(left(name, 4)::int) FROM {MIGRATIONS} WHERE app = 'core'"
    return int(server.execute(newest).fetchone()[0] or 0)


def is_balsam(server: Any) -> bool:
    """Whether the tables of the record are there."""
    return all(
        server.execute(f"SELECT to_regclass('{table}') IS NOT NULL").fetchone()[0]
        for table in _RECORD
    )


def tables(server: Any) -> list[str]:
    """The tables that are there, whosever they are."""
    found = server.execute(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema() "
        "ORDER BY table_name"
    )
    return [row[0] for row in found]


def description(server: Any) -> str:
    """Columns, indexes and triggers, one a line."""
    parts = (
        """SELECT table_name || '.' || column_name || ' ' || data_type ||
                  CASE is_nullable WHEN 'NO' THEN ' NOT NULL' ELSE '' END
           FROM information_schema.columns WHERE table_schema = current_schema()
           ORDER BY table_name, ordinal_position""",
        "SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema() ORDER BY indexname",
        """SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY tgname""",
    )
    return "".join(f"{row[0]};\n" for part in parts for row in server.execute(part))
