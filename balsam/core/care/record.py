"""The record of a project opened to be looked at, in whichever database it is."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from balsam.core.care import database_file
from balsam.errors import SettingsError

if TYPE_CHECKING:
    from balsam.conf.project import Project

POSTGRES = "postgres"


def is_postgres(project: Project) -> bool:
    """Whether the record is in Postgres; settings that can not be read are asked last."""
    try:
        return project.settings().database.engine == POSTGRES
    except SettingsError:
        if project.database_file.exists():
            return False
        if project.cluster_dir.exists():
            raise
        return False


def place(project: Project) -> str:
    """What the database is called in messages."""
    if not is_postgres(project):
        return f"The database {project.database_file}"
    return f"The database of {project.path}"


@contextlib.contextmanager
def reading(project: Project, *, timeout_seconds: float = 10.0) -> Iterator[Any]:
    """A connection that reads the record and refuses to write, of either driver.

    ``execute`` takes a statement without parameters and gives rows. Raises DatabaseUnavailable.
    """
    if is_postgres(project):
        from balsam.core.care import database_server

        with database_server.reading(project, timeout_seconds=timeout_seconds) as server:
            yield server
    else:
        with database_file.reading(
            project.database_file, timeout_seconds=timeout_seconds
        ) as database:
            yield database


def schema_version(database: Any) -> int:
    """The schema number that the database carries; 0 in one that is not Balsam's."""
    if isinstance(database, sqlite3.Connection):
        return database_file.schema_version(database)
    from balsam.core.care import database_server

    return database_server.schema_version(database)


def is_balsam(database: Any) -> bool:
    """Whether the tables of the record are there."""
    if isinstance(database, sqlite3.Connection):
        return database_file.is_balsam(database)
    from balsam.core.care import database_server

    return database_server.is_balsam(database)


def schema_text(database: Any) -> str:
    """What the tables are like."""
    if isinstance(database, sqlite3.Connection):
        return database_file.schema_text(database)
    from balsam.core.care import database_server

    return database_server.description(database)
