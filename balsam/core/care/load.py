"""A SQLite file put into Postgres, in the place of whatever record is there, in one transaction."""

from __future__ import annotations

import sqlite3
from typing import Any

from balsam.conf.bootstrap import SCHEMA_VERSION
from balsam.core.care import database_server, streams, tables
from balsam.core.care.invariants import MODELS
from balsam.errors import DatabaseUnavailable


def load(there: Any, file: sqlite3.Connection, called: str) -> int:
    """Put the record in ``file`` into the database of ``there``; how many jobs it has.

    ``there`` is Django's connection, in a transaction: it is ended by the caller, who undoes all of
    this if anything is raised. What was written is read again and compared. ``called`` is the file
    in errors.
    """
    server = there.connection
    given = _given(server)
    _make_tables(there, server)
    layout = tables.layout(server)
    _need_all(tables.names_in_file(file), layout, called)
    names = ", ".join(layout)
    keys, indexes = _foreign_keys(server, layout), _indexes(server, layout)
    for _, drop in keys + indexes:  # made again at the end: that is quicker, and needs less memory
        server.execute(drop)
    server.execute(f"TRUNCATE {names} RESTART IDENTITY")
    sums: streams.Sums = {}
    for table, columns in layout.items():
        total = streams.Sum()
        rows = streams.from_file(file, table, columns)
        streams.to_server(server, table, columns, streams.summed(table, columns, rows, total))
        sums[table] = total.found
        _number(server, file, table, given.get(table, 0))
    for make, _ in indexes + keys:
        server.execute(make)
    server.execute(f"ANALYZE {names}")
    streams.need_same(sums, streams.server_sums(server, layout))
    return sums["balsam_job"][0]


def _make_tables(there: Any, server: Any) -> None:
    """Have the tables of this Balsam: those that are there, or new ones if these do not fit."""
    layout = tables.layout(server)
    if database_server.schema_version(server) == SCHEMA_VERSION and all(
        {field.column for field in model._meta.concrete_fields}
        <= {column.name for column in layout.get(model._meta.db_table, [])}
        for model in MODELS
    ):
        return
    tables.drop(server)
    tables.migrate(there)


def _need_all(names: dict[str, set[str]], layout: tables.Layout, called: str) -> None:
    for table, columns in layout.items():
        missing = {column.name for column in columns} - names.get(table, set())
        if missing:
            raise DatabaseUnavailable(
                f"{called} is damaged: {table}.{min(missing)} is missing; 'balsam fsck' tells more."
            )


def _foreign_keys(server: Any, layout: tables.Layout) -> list[tuple[str, str]]:
    """How each is made, and dropped."""
    rows = server.execute(
        """SELECT conrelid::regclass::text, quote_ident(conname), pg_get_constraintdef(oid)
           FROM pg_constraint WHERE contype = 'f'"""
    )
    return [
        (f"ALTER TABLE {table} ADD CONSTRAINT {name} {text}",
         f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        for table, name, text in rows if table in layout
    ]  # fmt: skip


def _indexes(server: Any, layout: tables.Layout) -> list[tuple[str, str]]:
    """How each is made, and dropped; but for those that a constraint keeps."""
    rows = server.execute(
        """SELECT indrelid::regclass::text, indexrelid::regclass::text, pg_get_indexdef(indexrelid)
           FROM pg_index WHERE NOT indisprimary
           AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = indexrelid)"""
    )
    return [(text, f"DROP INDEX {name}") for table, name, text in rows if table in layout]


def _given(server: Any) -> dict[str, int]:
    """Table -> the last number that was given out; some live process may go by it."""
    found = {}
    for table, columns in tables.layout(server).items():
        if any(column.name == "id" for column in columns):
            sequence = server.execute(
                "SELECT pg_get_serial_sequence(%s, 'id')", (table,)
            ).fetchone()[0]
            if sequence:
                last = f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}"
                found[table] = int(server.execute(last).fetchone()[0])
    return found


def _number(server: Any, file: sqlite3.Connection, table: str, least: int) -> None:
    """Have numbers go on behind all that were given out, here or where the file comes from."""
    row = file.execute("SELECT max(seq) FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    newest = file.execute(f"SELECT max(id) FROM {table}").fetchone()
    given = max(row[0] or 0, newest[0] or 0, least)
    if given:
        server.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {given})")
