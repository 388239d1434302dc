"""The tables: created, upgraded after a backup, refused when newer than this Balsam."""

from __future__ import annotations

import os
import sqlite3
import stat
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from django.db import connection

from balsam.conf import project as projects
from balsam.conf import registry
from balsam.conf.bootstrap import SCHEMA_VERSION
from balsam.errors import BalsamError, DatabaseUnavailable, SchemaTooNew

if TYPE_CHECKING:
    from balsam.conf.project import Project


def create_project(path: Path, engine: str = "sqlite", name: str | None = None) -> Project:
    """Make a project directory with its database; nothing is left behind on failure.

    Raises ProjectExists, LockingUnavailable and other ProjectErrors.
    """
    with projects.creating(path, engine=engine, name=name) as project:
        _migrate(project)
        os.chmod(project.database_file, stat.S_IRUSR | stat.S_IWUSR)
    registry.add(project)
    return project


def upgrade_project(project: Project) -> Path | None:
    """Bring the tables up to date; the backup made before, or None if nothing was to be done.

    Raises SchemaTooNew.
    """
    found = version(project)
    if found == SCHEMA_VERSION:
        return None
    if found > SCHEMA_VERSION:
        raise SchemaTooNew(
            f"The project {project.path} was made by a newer Balsam (schema {found}, this one "
            f"knows {SCHEMA_VERSION}); use that version or a newer one."
        )
    backup = back_up(project, found)
    _migrate(project)
    return backup


def version(project: Project) -> int:
    """The schema number that the project's database carries."""
    path = project.database_file
    if not path.is_file():
        raise DatabaseUnavailable(
            f"The project {project.path} has no database file {path}; restore it from a backup."
        )
    database = sqlite3.connect(path)
    try:
        return int(database.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error as error:
        raise DatabaseUnavailable(f"The database {path} can not be read: {error}.") from error
    finally:
        database.close()


def back_up(project: Project, found: int) -> Path:
    """Copy the database, consistent even while others write, beside itself; its path."""
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    target = project.database_file.with_name(f"backup-schema{found}-{stamp}.sqlite3")
    source = sqlite3.connect(project.database_file)
    copy = sqlite3.connect(target)
    try:
        source.backup(copy)
        os.chmod(target, stat.S_IRUSR | stat.S_IWUSR)
    except sqlite3.Error as error:
        target.unlink(missing_ok=True)
        raise DatabaseUnavailable(f"The backup {target} could not be made: {error}.") from error
    finally:
        copy.close()
        source.close()
    return target


def _migrate(project: Project) -> None:
    from django.db import DatabaseError
    from django.db.migrations.executor import MigrationExecutor

    from balsam.conf.bootstrap.base import any_schema

    before = os.environ.get("BALSAM_DB_PATH")
    connection.close()
    os.environ["BALSAM_DB_PATH"] = str(project.path)
    try:
        with any_schema():
            executor = MigrationExecutor(connection)
            executor.migrate(executor.loader.graph.leaf_nodes())
            with connection.cursor() as cursor:
                cursor.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    except BalsamError:
        raise
    except DatabaseError as error:
        raise DatabaseUnavailable(
            f"The tables in {project.database_file} could not be made: {error}."
        ) from error
    finally:
        connection.close()
        if before is None:
            del os.environ["BALSAM_DB_PATH"]
        else:
            os.environ["BALSAM_DB_PATH"] = before
