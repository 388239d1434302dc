"""The tables: created, upgraded after a backup, refused when newer than this Balsam."""

from __future__ import annotations

import os
import stat
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from django.db import connection

from balsam.conf import registry
from balsam.conf.bootstrap import SCHEMA_VERSION
from balsam.conf.current import using
from balsam.conf.new_project import creating
from balsam.core.care import database_file
from balsam.core.care.backup import back_up
from balsam.errors import BalsamError, DatabaseUnavailable, SchemaTooNew

if TYPE_CHECKING:
    from balsam.conf.project import Project


def create_project(path: Path, engine: str = "sqlite", name: str | None = None) -> Project:
    """Make a project directory with its database; nothing is left behind on failure.

    Raises ProjectExists, LockingUnavailable and other ProjectErrors.
    """
    with creating(path, engine=engine, name=name) as project:
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
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    target = project.database_file.with_name(f"backup-schema{found}-{stamp}.sqlite3")
    back_up(project, target)
    _migrate(project)
    return target


def version(project: Project) -> int:
    """The schema number that the project's database carries."""
    if not project.database_file.is_file():
        raise DatabaseUnavailable(
            f"The project {project.path} has no database file {project.database_file}; put a "
            "backup in its place with 'balsam restore FILE'."
        )
    with database_file.reading(project.database_file) as database:
        found = database_file.schema_version(database)
        if found < SCHEMA_VERSION and not database_file.is_balsam(database):
            raise DatabaseUnavailable(
                f"The database {project.database_file} is damaged: it holds no record of Balsam; "
                "put a backup in its place with 'balsam restore FILE'."
            )
        return found


def _migrate(project: Project) -> None:
    from django.db import DatabaseError
    from django.db.migrations.executor import MigrationExecutor

    from balsam.conf.bootstrap.base import any_schema

    connection.close()
    try:
        with using(project), any_schema():
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
