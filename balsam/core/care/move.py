"""A project moved to another database, with everything in it: all or nothing.

The settings say in which database a project is. They are switched when the new one is complete and
was compared with the old one: until then a process that is killed leaves the project as it was. The
old database is kept.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import connection

from balsam.conf import current, database_errors, filesystem, settings_edit
from balsam.conf.bootstrap.opening import check_schema
from balsam.conf.new_project import Engine
from balsam.conf.postgres import external
from balsam.conf.postgres.fitness import need_fit
from balsam.conf.postgres.url import masked
from balsam.conf.project import Project
from balsam.conf.settings import Database
from balsam.core.care import (
    database_file,
    database_server,
    questions,
    record,
    server_files,
    tables,
)  # fmt: skip
from balsam.core.care.backup import explained, finish, new_file, sync
from balsam.core.care.database_file import sides
from balsam.core.care.export import export
from balsam.core.care.load import load
from balsam.core.care.restore import kept_name, settled
from balsam.core.care.restore_server import alone, explain, lock
from balsam.errors import (
    BalsamError,
    DatabaseUnavailable,
    InvalidValue,
    LockingUnavailable,
    ProjectExists,
    ServerError,
)

#: How long to wait for those who use the record at this moment.
_LOCK_SECONDS = 5.0
_OTHERS = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND usename = current_user
"""


@dataclass(frozen=True)
class Moved:
    """What a move came to; ``kept`` says where the database is that the project had before."""

    jobs: int
    kept: str


@dataclass(frozen=True)
class _Source:
    """A record that nobody changes: its rows, and what it came from.

    ``file`` holds them if they were copied from ``server``.
    """

    rows: sqlite3.Connection
    file: Path | None = None
    server: Any = None


def move(project: Project, engine: Engine) -> Moved:
    """Have the project's record in another database; the old one stays where the result says.

    Nobody may use the record meanwhile. Raises InvalidValue, SettingsError, ProjectExists if there
    is something in the new database already, LockingUnavailable, DatabaseUnavailable, and
    ServerError where psycopg is not installed; nothing was changed then.
    """
    database = project.settings().database
    new = _database(project, engine)
    if (database.engine, database.url) == (new.engine, new.url):
        raise InvalidValue(f"The record of {project.path} is in {_called(new)} already.")
    _edited(project, new)  # refuses what could not be switched at the end
    if new.engine == record.POSTGRES:
        external.driver()
    target = server_files.with_database(project, new)
    with explained(f"The record in {_called(new)}"), _frozen(project) as source:
        with ExitStack() as undo:
            if new.engine == record.POSTGRES:
                _to_postgres(target, source, undo)
            else:
                _to_sqlite(target, source, undo)
            jobs = questions.number_of_jobs(source.rows)
            settings_edit.replace(project.settings_file, _edited(project, new))
            undo.pop_all()
        current.forget()
        # From here on nothing may fail: the project has moved.
        return Moved(jobs, _put_away(project, source))


def _database(project: Project, engine: Engine) -> Database:
    """The settings that the project is to have."""
    changed: dict[str, Any] = {
        "engine": engine.name, "url": engine.url, "password_file": engine.password_file
    }  # fmt: skip
    if engine.name != record.POSTGRES:
        changed["journal_mode"] = filesystem.journal_mode(project.path)
    return dataclasses.replace(project.settings().database, **changed)


def _called(database: Database) -> str:
    if database.engine != record.POSTGRES:
        return "SQLite"
    return masked(database.url) if database.url else "a Postgres server of its own"


def _edited(project: Project, new: Database) -> str:
    """The text of the settings file as it is to be."""
    old = project.settings().database
    values = {
        field.name: getattr(new, field.name)
        for field in dataclasses.fields(new)
        if getattr(new, field.name) != getattr(old, field.name)
    }
    text = project.settings_file.read_bytes().decode("utf-8-sig")
    return settings_edit.changed(text, str(project.settings_file), "database", values)


# -- the old database ---------------------------------------------------------------------------


@contextlib.contextmanager
def _frozen(project: Project) -> Iterator[_Source]:
    """A block in which nobody changes the record. Raises DatabaseUnavailable."""
    connection.close()  # or it would be in use by ourselves
    if not record.is_postgres(project):
        if not project.database_file.exists():
            raise DatabaseUnavailable(
                f"The project {project.path} has no database file {project.database_file}."
            )
        with settled(project.database_file, False) as rows:
            assert rows is not None
            found = database_file.schema_version(rows) if database_file.is_balsam(rows) else None
            check_schema(found, project, project.database_file)
            yield _Source(rows)
        return
    if not project.settings().database.url:
        server_files.need_here(project)
        server_files.finished(project)
    with (
        database_server.connected(project, timeout_seconds=_LOCK_SECONDS) as server,
        new_file(project.database_dir) as file,
    ):
        try:
            _lock(project, server)
            check_schema(database_server.schema_version(server) or None, project, project.path)
            export(server, file, record.place(project))
            finish(file, {})
            with contextlib.closing(sqlite3.connect(file)) as rows:
                yield _Source(rows, file, server)
        finally:
            server.close()  # the server may have been stopped, which is no error here


def _lock(project: Project, server: Any) -> None:
    import psycopg

    names = list(tables.layout(server))
    try:
        server.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        lock(server, names, "EXCLUSIVE")  # before anything is looked at
    except psycopg.Error as error:
        raise DatabaseUnavailable(explain(project, error)) from error


def _put_away(project: Project, source: _Source) -> str:
    """Put the old database where nobody goes on working with it; where that is, in words."""
    database = project.settings().database
    own = project.database_file
    if source.server is None:
        kept = kept_name(own, time.time())
        with contextlib.suppress(OSError):
            os.rename(own, kept)
            sync(own.parent)
        return str(kept if kept.exists() else own)
    # Who may not do so leaves them there.
    with contextlib.suppress(Exception), source.server.transaction():
        source.server.execute(_OTHERS)
    if database.url:
        return _renamed(source.server, masked(database.url))
    try:
        return str(server_files.set_aside(project))
    except (BalsamError, OSError):
        return str(project.cluster_dir)


def _renamed(server: Any, place: str) -> str:
    """Put the tables on somebody else's server where nobody looks for them; where that is."""
    import psycopg

    stamp = kept_name(Path("balsam"), time.time()).stem
    schema = f"{tables.PREFIX}{stamp}".replace("-", "_").lower()
    try:
        with server.transaction():
            names = list(tables.layout(server))
            server.execute(f"CREATE SCHEMA {schema}")
            for name in names:
                server.execute(f"ALTER TABLE {name} SET SCHEMA {schema}")
            server.execute(f"ALTER FUNCTION {tables.TELL}() SET SCHEMA {schema}")
        server.execute("COMMIT")
    except psycopg.Error as error:
        why = str(error).splitlines()[0]
        return (
            f"its tables are in {place} as before, for they could not be renamed ({why}); whoever "
            "goes on with them works on what is out of date, so remove or rename them"
        )
    return f"the schema {schema} of {place}"


# -- the new one --------------------------------------------------------------------------------


def _to_postgres(target: Project, source: _Source, undo: ExitStack) -> None:
    database = target.settings().database
    if database.url:
        _need_empty(target)
    else:
        server_files.make_server(target, undo)
    with alone(target) as there:
        load(there, source.rows, record.place(target))
    if database.url:
        undo.callback(_emptied, target)
    else:
        # To be done before the settings are switched: whoever is killed in between leaves a server
        # that is put aside by the next who wants one, and not removed.
        server_files.finished(target)


def _need_empty(target: Project) -> None:
    """Raises ProjectExists if there are tables in the database, ServerError if it is not there."""
    place = masked(target.settings().database.url)
    try:
        need_fit(target)
        with database_server.connected(target, timeout_seconds=_LOCK_SECONDS) as server:
            found = database_server.tables(server)
    except ServerError as error:
        if error.__cause__ is None:
            raise
        told = database_errors.advice(error.__cause__)
        why = " ".join(str(error.__cause__).split())
        raise ServerError(
            f"The database {place} can not be used ({why}): {told or 'check the address'}."
        ) from error
    if found:
        raise ProjectExists(
            f"The database {place} holds tables already ({', '.join(found[:3])}, ...); make an "
            "empty one for the project with 'createdb'."
        )


def _emptied(target: Project) -> None:
    """Take back what was written to a database that was empty."""
    with contextlib.suppress(BalsamError), alone(target) as there:
        tables.drop(there.connection)


def _to_sqlite(target: Project, source: _Source, undo: ExitStack) -> None:
    own = target.database_file
    if not filesystem.locking_works(target.database_dir):
        raise LockingUnavailable(
            f"The file system of {target.path} ({filesystem.kind(target.path)}) does not lock "
            "files, so SQLite can not be used there."
        )
    assert source.file is not None
    kept = kept_name(own, time.time())
    for path, aside in zip([own, *sides(own)], [kept, *sides(kept)], strict=True):
        if path.exists():  # of earlier days
            os.rename(path, aside)
    undo.callback(own.unlink, missing_ok=True)
    os.replace(source.file, own)
    sync(own.parent)
