"""Django's SQLite backend, opened in the project that the environment or the directory names."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any

from django.db.backends.sqlite3 import base

from balsam.conf import project as projects
from balsam.conf.bootstrap import SCHEMA_VERSION
from balsam.errors import DatabaseUnavailable, SchemaTooNew, SchemaTooOld

_any_schema = False


@contextlib.contextmanager
def any_schema() -> Iterator[None]:
    """Let connections opened inside see a database of any version (``init`` and ``--upgrade``)."""
    global _any_schema
    before, _any_schema = _any_schema, True
    try:
        yield
    finally:
        _any_schema = before


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection to the project's database file, with the pragmas its file system needs."""

    project: projects.Project | None = None

    def get_connection_params(self) -> dict[str, Any]:
        if not self.settings_dict["NAME"]:
            self.project = projects.find()
            database = self.project.settings().database
            self.settings_dict["OPTIONS"] = {
                "timeout": database.busy_timeout_seconds,
                "transaction_mode": "IMMEDIATE",
                "init_command": (
                    f"PRAGMA journal_mode={database.journal_mode}; PRAGMA synchronous=NORMAL; "
                    "PRAGMA cache_size=-65536; PRAGMA temp_store=MEMORY"
                    if database.journal_mode == "wal"
                    else f"PRAGMA journal_mode={database.journal_mode}; PRAGMA synchronous=FULL"
                ),
            }
            name = self.settings_dict["NAME"]
            self.settings_dict["NAME"] = str(self.project.database_file)
            try:
                return super().get_connection_params()
            finally:
                self.settings_dict["NAME"] = name
        return super().get_connection_params()

    def get_new_connection(self, conn_params: dict[str, Any]) -> sqlite3.Connection:
        if self.project is None:
            return super().get_new_connection(conn_params)
        path = self.project.database_file
        if not path.exists() and not _any_schema:
            raise DatabaseUnavailable(
                f"The project {self.project.path} has no database file {path}; restore it from a "
                "backup, or make a new project with 'balsam init'."
            )
        try:
            connection = super().get_new_connection(conn_params)
        except sqlite3.Error as error:
            raise DatabaseUnavailable(
                f"The database {path} can not be opened ({error}); check that the directory is "
                "readable and writable for you and that the disk is not full."
            ) from error
        if not _any_schema:
            self._check_schema(connection)
        return connection

    def _check_schema(self, connection: sqlite3.Connection) -> None:
        assert self.project is not None
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        if found == SCHEMA_VERSION:
            return
        connection.close()
        if found > SCHEMA_VERSION:
            raise SchemaTooNew(
                f"The project {self.project.path} was made by a newer Balsam (schema {found}, "
                f"this one knows {SCHEMA_VERSION}); use that version or a newer one."
            )
        raise SchemaTooOld(
            f"The project {self.project.path} was made by an older Balsam (schema {found}, this "
            f"one needs {SCHEMA_VERSION}); run 'balsam init --upgrade {self.project.path}'."
        )
