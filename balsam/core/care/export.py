"""The record in Postgres written to a SQLite file, as a project on SQLite has it."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

from balsam.conf.bootstrap import SCHEMA_VERSION
from balsam.core.care import database_server, streams, tables
from balsam.errors import DatabaseUnavailable, SchemaTooNew


def export(server: Any, target: Path, called: str) -> int:
    """Fill the empty file ``target`` with all that the transaction of ``server`` sees; the jobs.

    ``called`` is the database in errors. What was written is read again and compared. Raises
    DatabaseUnavailable, SchemaTooNew, sqlite3.Error.
    """
    version = database_server.schema_version(server)
    if not version or not database_server.is_balsam(server):
        raise DatabaseUnavailable(
            f"{called} is damaged: it holds no record of Balsam; put a backup in its place with "
            "'balsam restore FILE'."
        )
    if version > SCHEMA_VERSION:
        raise SchemaTooNew(
            f"{called} is of a newer Balsam (schema {version}, this one knows {SCHEMA_VERSION}); "
            "use that version or a newer one."
        )
    tables.make_file(target, version)
    with contextlib.closing(sqlite3.connect(target, isolation_level=None)) as file:
        # A copy that is not finished is thrown away.
        file.execute("PRAGMA journal_mode = MEMORY")
        file.execute("PRAGMA synchronous = OFF")
        return _filled(server, file, called)


def _filled(server: Any, file: sqlite3.Connection, called: str) -> int:
    layout = tables.chosen(tables.layout(server), tables.names_in_file(file), called)
    sums: streams.Sums = {}
    file.execute("BEGIN")
    indexes = file.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    ).fetchall()
    for name, _ in indexes:  # made at the end, that is quicker
        file.execute(f'DROP INDEX "{name}"')
    for table, columns in layout.items():
        file.execute(f"DELETE FROM {table}")
        total = streams.Sum()
        rows = streams.from_server(server, table, columns)
        streams.to_file(file, table, columns, streams.summed(table, columns, rows, total))
        sums[table] = total.found
    for _, statement in indexes:
        file.execute(statement)
    _number(server, file, layout)
    file.execute("COMMIT")
    streams.need_same(sums, streams.file_sums(file, layout))
    return sums["balsam_job"][0]


def _number(server: Any, file: sqlite3.Connection, layout: tables.Layout) -> None:
    """Have numbers go on where they are in the server, where some may have been given out."""
    for table in layout:
        given = numbers_given(server, table)
        file.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
        if given:
            file.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table, given))


def numbers_given(server: Any, table: str) -> int:
    """The largest id that was given out in a table of Postgres, still there or not."""
    (sequence,) = server.execute(
        f"SELECT pg_get_serial_sequence('{table}', 'id')::regclass::text"
    ).fetchone()
    last, called = server.execute(f"SELECT last_value, is_called FROM {sequence}").fetchone()
    return int(last) if called else int(last) - 1
