"""The tables of a record: their columns in either database, and how they are made."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection, connections

from balsam.conf.bootstrap import SCHEMA_VERSION
from balsam.conf.bootstrap.opening import any_schema
from balsam.conf.current import using
from balsam.conf.project import Project
from balsam.errors import DatabaseUnavailable

#: Tables of the record begin so; the other one says which migrations have been made.
PREFIX = "balsam_"
MIGRATIONS = "django_migrations"
#: Postgres' type -> how values of it travel: see ``cells``.
_KINDS = {
    "bigint": "int",
    "integer": "int",
    "smallint": "int",
    "boolean": "bool",
    "text": "text",
    "character varying": "text",
    "uuid": "uuid",
    "double precision": "real",
    "timestamp with time zone": "time",
    "jsonb": "json",
}
_ALIAS = "care"
#: A migration makes it.
TELL = "balsam_tell"


@dataclass(frozen=True)
class Column:
    """A column and the kind of its values, as ``cells`` names them."""

    name: str
    kind: str


Layout = dict[str, list[Column]]


def layout(server: Any) -> Layout:
    """Table -> columns of the record in Postgres."""
    found: Layout = {}
    for table, name, kind in server.execute(
        f"""SELECT table_name, column_name, data_type FROM information_schema.columns
            JOIN information_schema.tables USING (table_catalog, table_schema, table_name)
            WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'
            AND (starts_with(table_name, '{PREFIX}') OR table_name = '{MIGRATIONS}')
            ORDER BY table_name, ordinal_position"""
    ):
        found.setdefault(table, []).append(Column(name, _KINDS.get(kind, kind)))
    return found


def names_in_file(database: sqlite3.Connection) -> dict[str, set[str]]:
    """Table -> names of columns of the record in SQLite."""
    tables = [
        row[0]
        for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        if row[0].startswith(PREFIX) or row[0] == MIGRATIONS
    ]
    return {
        table: {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
        for table in tables
    }


def chosen(there: Layout, wanted: dict[str, set[str]], what: str) -> Layout:
    """The part of a layout that is ``wanted``. Raises DatabaseUnavailable if some is missing."""
    found: Layout = {}
    for table, columns in sorted(wanted.items()):
        found[table] = [column for column in there.get(table, []) if column.name in columns]
        missing = columns - {column.name for column in found[table]}
        strange = [column for column in found[table] if column.kind not in _KINDS.values()]
        if missing or strange:
            name = min(missing) if missing else f"{strange[0].name} ({strange[0].kind})"
            raise DatabaseUnavailable(
                f"{what} has not the tables of this Balsam ({table}.{name} does not fit), so it "
                "can not be copied; 'balsam fsck' tells more."
            )
    return found


# -- making them --------------------------------------------------------------------------------


@contextlib.contextmanager
def at(project: Project) -> Iterator[Any]:
    """Django's connection to this project's database, whatever its schema, and its own."""
    connection.close()
    with using(project), any_schema():
        own = connections[DEFAULT_DB_ALIAS]
        try:
            yield own
        finally:
            own.close()


@contextlib.contextmanager
def at_file(path: Path) -> Iterator[Any]:
    """Django's connection to a database file that is no project's."""
    connections.settings[_ALIAS] = {
        **connections.settings["default"],
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(path),
        "OPTIONS": {},
    }
    try:
        yield connections[_ALIAS]
    finally:
        connections[_ALIAS].close()
        del connections[_ALIAS]
        del connections.settings[_ALIAS]


def migrate(there: Any, version: int = SCHEMA_VERSION) -> None:
    """Make the tables of a schema, or bring older ones up to it, on one of Django's connections."""
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(there)
    newest = executor.loader.get_migration_by_prefix("core", f"{version:04d}")
    executor.migrate([(newest.app_label, newest.name)])
    if there.vendor == "sqlite":
        with there.cursor() as cursor:
            cursor.execute(f"PRAGMA user_version = {version}")


def drop(server: Any) -> None:
    """Remove the record from Postgres."""
    for table in layout(server):
        server.execute(f"DROP TABLE {table} CASCADE")
    server.execute(f"DROP FUNCTION IF EXISTS {TELL}() CASCADE")


def make_file(path: Path, version: int) -> None:
    """Make an empty record of a schema in a database file."""
    with at_file(path) as there:
        migrate(there, version)
