"""What is checked in SQLite and in Postgres each in its own way: structure, references, tables."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any

from balsam.core.care import database_file, database_server, tables
from balsam.core.care.invariants import MODELS

#: Who tells launchers of changes, by table.
_TELLING = ("balsam_event", "balsam_job", "balsam_app")
_AMCHECK = "SELECT count(*) FROM pg_available_extensions WHERE name = 'amcheck'"
_MAY = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"


class FileSide:
    """A SQLite file."""

    errors: tuple[type[Exception], ...] = (sqlite3.DatabaseError,)
    sound = "the file is sound"

    def __init__(self, database: sqlite3.Connection) -> None:
        self.database = database

    def execute(self, statement: str) -> Any:
        """Run a statement."""
        return self.database.execute(statement)

    def attempt(self) -> contextlib.AbstractContextManager[Any]:
        """A block that may fail without any harm to what comes after it."""
        return contextlib.nullcontext()

    lost = False

    @property
    def schema(self) -> int:
        """The schema number that the file carries."""
        return database_file.schema_version(self.database)

    def damage(self) -> list[str]:
        """What SQLite finds wrong with the file."""
        return database_file.damage(self.database)

    def dangling(self) -> Iterator[str]:
        """Rows that name one which is not there."""
        rows = self.execute("PRAGMA foreign_key_check")
        return (f"{child} row {rowid} names a {parent} row" for child, rowid, parent, _ in rows)

    def columns(self) -> dict[str, set[str]]:
        """Table -> names of its columns."""
        return tables.names_in_file(self.database)

    def objects(self) -> set[str]:
        """Names of indexes."""
        return {row[0] for row in self.execute("SELECT name FROM sqlite_master")}

    def silent(self) -> list[str]:
        """Tables whose changes nobody would hear of."""
        return []

    def numbers(self) -> Iterator[tuple[str, int, int]]:
        """Tables with a row above all numbers that were given out: table, row, number."""
        yield from self.execute(
            " UNION ALL ".join(
                f"""SELECT '{table}', (SELECT max(id) FROM {table}),
                    COALESCE((SELECT max(seq) FROM sqlite_sequence WHERE name = '{table}'), 0)
                    AS given WHERE given < (SELECT max(id) FROM {table})"""
                for table in (model._meta.db_table for model in MODELS)
            )
        )


class ServerSide:
    """A database in Postgres, as one transaction sees it."""

    sound = "tables and indexes are sound"

    def __init__(self, server: Any, second: Any) -> None:
        """``second`` is another connection, for checks that have to write and then undo that."""
        import psycopg

        self.errors: tuple[type[Exception], ...] = (psycopg.Error,)
        self.server = server
        self.second = second

    def execute(self, statement: str) -> Any:
        """Run a statement."""
        return self.server.execute(statement)

    def attempt(self) -> contextlib.AbstractContextManager[Any]:
        """A block that may fail without any harm to what comes after it."""
        return self.server.transaction()

    @property
    def lost(self) -> bool:
        """Whether nobody answers any more."""
        return bool(self.server.closed)

    @property
    def schema(self) -> int:
        """The number of the newest migration."""
        return database_server.schema_version(self.server)

    def damage(self) -> list[str]:
        """What Postgres finds wrong with the files of its tables and indexes.

        By its own module amcheck where there is one and one may use it; else all rows are read,
        which has the checksums of pages verified where there are any.
        """
        (there,), (may,) = self.execute(_AMCHECK).fetchone(), self.execute(_MAY).fetchone()
        return self._amcheck() if there and may else self._read_all()

    def _amcheck(self) -> list[str]:
        import psycopg

        found: list[str] = []
        with self.second.transaction(force_rollback=True):
            self.second.execute("CREATE EXTENSION IF NOT EXISTS amcheck")
            for table in self.columns():
                found += [
                    f"{table}, page {page}: {message}"
                    for page, message in self.second.execute(
                        f"SELECT blkno, msg FROM verify_heapam('{table}', check_toast => true)"
                    )
                ]
            for (index,) in self.second.execute(
                """SELECT indexrelid::regclass::text FROM pg_index
                   JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_am ON pg_am.oid = relam
                   WHERE amname = 'btree' AND indisvalid AND indrelid::regclass::text LIKE
                   'balsam_%'"""
            ).fetchall():
                try:
                    with self.second.transaction():
                        self.second.execute(f"SELECT bt_index_check('{index}', true)")
                except psycopg.Error as error:
                    found.append(f"{index}: {_line(error)}")
        return found

    def _read_all(self) -> list[str]:
        import psycopg

        found = []
        for table in self.columns():
            try:
                with self.attempt():
                    self.execute(f"SELECT sum(length({table}::text)) FROM {table}").fetchone()
            except psycopg.Error as error:
                found.append(f"{table}: {_line(error)}")
        return found

    def dangling(self) -> Iterator[str]:
        """Rows that name one which is not there."""
        for model in MODELS:
            table = model._meta.db_table
            for field in model._meta.concrete_fields:
                if not field.is_relation or not field.db_constraint:
                    continue
                parent = field.related_model._meta.db_table
                for (row,) in self.execute(
                    f"""SELECT id FROM {table} WHERE {field.column} IS NOT NULL AND NOT EXISTS
                        (SELECT 1 FROM {parent} other WHERE other.id = {table}.{field.column})"""
                ):
                    yield f"{table} row {row} names a {parent} row"

    def columns(self) -> dict[str, set[str]]:
        """Table -> names of its columns."""
        layout = tables.layout(self.server)
        return {table: {one.name for one in columns} for table, columns in layout.items()}

    def objects(self) -> set[str]:
        """Names of indexes."""
        listed = "SELECT indexname FROM pg_indexes WHERE schemaname = current_schema()"
        return {row[0] for row in self.execute(listed)}

    def silent(self) -> list[str]:
        """Tables whose changes nobody would hear of."""
        listed = self.execute(
            """SELECT tgrelid::regclass::text FROM pg_trigger
               WHERE NOT tgisinternal AND tgenabled <> 'D'"""
        )
        telling = {row[0] for row in listed}
        return [table for table in _TELLING if table not in telling]

    def numbers(self) -> Iterator[tuple[str, int, int]]:
        """Tables with a row above all numbers that were given out: table, row, number."""
        from balsam.core.care.export import numbers_given

        for model in MODELS:
            table = model._meta.db_table
            (newest,) = self.execute(f"SELECT max(id) FROM {table}").fetchone()
            given = numbers_given(self.server, table)
            if newest is not None and newest > given:
                yield table, newest, given


Side = FileSide | ServerSide


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
