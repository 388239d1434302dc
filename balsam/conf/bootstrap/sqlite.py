"""Django's SQLite backend, opened in the project that the environment or the directory names."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.db.backends.sqlite3 import base

from balsam.conf import database_errors
from balsam.conf.bootstrap import SCHEMA_VERSION
from balsam.conf.bootstrap.opening import (
    OfProject,
    check_schema,
    is_any_schema,
    patience_seconds,
)
from balsam.conf.project import Project
from balsam.errors import DatabaseUnavailable

_PRAGMAS = {
    "wal": "PRAGMA journal_mode=wal; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-65536; "
    # One large lease touches a thousand pages; it should not have to copy them all back at once.
    "PRAGMA temp_store=MEMORY; PRAGMA wal_autocheckpoint=4000",
    "delete": "PRAGMA journal_mode=delete; PRAGMA synchronous=FULL",
}
#: Of a connection that only reads, where nothing can be written.
_LOOK_ONLY = "PRAGMA query_only=ON; SELECT count(*) FROM sqlite_master"


def _read_only(path: Path, error: sqlite3.Error) -> Iterator[str]:
    """How to open a database without writing, though its log can not be opened or made.

    As it lies there only where nobody can write to it at this time, and no log adds to it.
    """
    yield f"{path.as_uri()}?mode=ro"
    log = path.with_name(path.name + "-wal")
    still = os.statvfs(path.parent).f_flag & os.ST_RDONLY or database_errors.says_full(error)
    if still and not (log.exists() and log.stat().st_size):
        yield f"{path.as_uri()}?immutable=1"


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


class DatabaseWrapper(OfProject, base.DatabaseWrapper):
    """A connection to the project's database file, with the pragmas its file system needs."""

    ENGINE = "sqlite"

    #: Device and inode of the file that is open, where it is the project's database.
    _file: tuple[int, int] | None = None

    def heard(self) -> int:
        """A number that changes when another connection has committed."""
        with self.cursor() as cursor:
            cursor.execute("PRAGMA data_version")
            return int(cursor.fetchone()[0])

    def get_connection_params(self) -> dict[str, Any]:
        if not self.settings_dict["NAME"]:
            self.project = self.found_project()
            self.settings_dict["OPTIONS"] = {
                "timeout": patience_seconds(self.project),
                "transaction_mode": "IMMEDIATE",
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
        self._check_file(self.project)
        self._file = _identity(path)
        pragmas = _PRAGMAS[self.project.settings().database.journal_mode]
        try:
            return self._opened(conn_params, pragmas)
        except BaseException as error:
            if isinstance(error, sqlite3.Error):
                if not is_any_schema() and database_errors.forbids_writing(error):
                    for uri in _read_only(path, error):
                        with contextlib.suppress(sqlite3.Error):
                            return self._opened({**conn_params, "database": uri}, _LOOK_ONLY)
                told = database_errors.advice(error) or "check its disk"
                raise DatabaseUnavailable(
                    f"The database {path} can not be opened ({error}): {told}."
                ) from error
            raise

    def _opened(self, conn_params: dict[str, Any], pragmas: str) -> sqlite3.Connection:
        assert self.project is not None
        connection = super().get_new_connection(conn_params)
        try:
            connection.executescript(pragmas)
            if not is_any_schema():
                self._check_schema(connection, self.project)
        except BaseException:
            connection.close()
            raise
        return connection

    def _start_transaction_under_autocommit(self) -> None:
        """Begin, and in the file that is the database now: another may have taken its place.

        Whoever waits for the lock while a backup is put there would write to the old one.
        """
        super()._start_transaction_under_autocommit()
        if self._file is None or self.project is None:
            return
        if _identity(self.project.database_file) not in (self._file, None):
            self.connection.execute("ROLLBACK")
            self.connection.close()
            self.connection = self.get_new_connection(self.get_connection_params())
            super()._start_transaction_under_autocommit()

    @staticmethod
    def _check_file(project: Project) -> None:
        path = project.database_file
        try:
            path.stat()
        except FileNotFoundError:
            if not is_any_schema():
                raise DatabaseUnavailable(
                    f"The project {project.path} has no database file {path}; put a backup in its "
                    "place with 'balsam restore FILE', or make a new project with 'balsam init'."
                ) from None
        except OSError as error:
            raise DatabaseUnavailable(
                f"The database {path} can not be read ({error.strerror}); it may be somebody "
                "else's project: check that you may read and write it."
            ) from error

    @staticmethod
    def _check_schema(connection: sqlite3.Connection, project: Project) -> None:
        found: int | None
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        if found is not None and found < SCHEMA_VERSION:
            there = "SELECT 1 FROM sqlite_master WHERE name = 'balsam_job'"
            found = found if list(connection.execute(there)) else None
        check_schema(found, project, project.database_file)
