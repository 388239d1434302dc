"""The tables: created, upgraded after a backup, refused when newer than this Balsam."""

from __future__ import annotations

import os
import stat
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from django.db import DatabaseError

from balsam.conf import registry
from balsam.conf.bootstrap import SCHEMA_VERSION
from balsam.conf.new_project import SQLITE, Engine, creating
from balsam.conf.postgres.fitness import need_fit
from balsam.conf.postgres.url import masked
from balsam.core.care import database_file, tables
from balsam.core.care.backup import back_up
from balsam.errors import BalsamError, DatabaseUnavailable, ProjectExists, SchemaTooNew

if TYPE_CHECKING:
    from balsam.conf.project import Project


def create_project(path: Path, engine: Engine = SQLITE, name: str | None = None) -> Project:
    """Make a project directory with its database; nothing is left behind on failure.

    Raises ProjectExists, LockingUnavailable and other ProjectErrors.
    """
    with creating(path, engine=engine, name=name) as project:
        if engine.url:
            need_fit(project)
            _refuse_what_is_there(project, engine)
        _migrate(project)
        if engine == SQLITE:
            os.chmod(project.database_file, stat.S_IRUSR | stat.S_IWUSR)
    registry.add(project)
    return project


def _refuse_what_is_there(project: Project, engine: Engine) -> None:
    """A database of somebody else's is only used if nothing is in it."""
    with tables.at(project) as there:
        names = there.introspection.table_names()
    if names:
        raise ProjectExists(
            f"The database {masked(engine.url)} holds tables already ({', '.join(names[:3])}, "
            "...); make an empty one for the project with 'createdb'."
        )


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
    target = project.database_dir / f"backup-schema{found}-{stamp}.sqlite3"
    back_up(project, target)
    _migrate(project)
    return target


def version(project: Project) -> int:
    """The schema number that the project's database carries."""
    if project.settings().database.engine != SQLITE.name:
        return _asked_version(project)
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


def _asked_version(project: Project) -> int:
    with tables.at(project) as there:
        found = there.found_schema()
    if found is None:
        raise DatabaseUnavailable(
            f"The database of {project.path} is damaged: it holds no record of Balsam; put a "
            "backup in its place with 'balsam restore FILE'."
        )
    return int(found)


def _migrate(project: Project) -> None:
    try:
        with tables.at(project) as there:
            tables.migrate(there)
    except BalsamError:
        raise
    except DatabaseError as error:
        raise DatabaseUnavailable(
            f"The tables of {project.path} could not be made: {error}."
        ) from error
