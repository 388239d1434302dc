"""Putting a copy of the record in the place of a project's record in Postgres."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.db import Error, transaction

from balsam.conf.bootstrap import SCHEMA_VERSION
from balsam.core.care import database_file, database_server, record, tables
from balsam.core.care.backup import copy, explained, finish, new_file, publish
from balsam.core.care.export import export
from balsam.core.care.load import load
from balsam.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from balsam.conf.project import Project

#: How long to wait for those who use the record at this moment.
_LOCK_SECONDS = 5.0


def restore_server(project: Project, file: Path) -> Path | None:
    """Put a copy of ``file`` in the place of the project's record; the file where that is kept now.

    All happens in one transaction. A copy of an older Balsam is brought up to date on the way.
    Raises InvalidValue or DatabaseUnavailable, and has changed nothing then.
    """
    from balsam.core.care.restore import kept_name

    with (
        new_file(project.database_dir) as partial,
        explained(record.place(project)),
        ExitStack() as undo,
    ):
        with database_file.reading(file.absolute(), untouched=True) as source:
            copy(source, partial)
        finish(partial, {})
        if _version(partial) < SCHEMA_VERSION:
            tables.make_file(partial, SCHEMA_VERSION)
        kept = kept_name(project.database_file, time.time())
        with alone(project) as there:
            found = _keep(project, there, kept, undo)
            with contextlib.closing(sqlite3.connect(partial)) as rows:
                load(there, rows, str(file))
        undo.pop_all()
        return found


@contextlib.contextmanager
def alone(project: Project) -> Iterator[Any]:
    """Django's connection, in a transaction that nobody else sees the record in; all or nothing.

    Raises DatabaseUnavailable.
    """
    import psycopg

    try:
        with tables.at(project) as there:
            there.ensure_connection()
            database_server.prepare(there.connection, _LOCK_SECONDS)
            # Who inserts does that first of all, and takes a turn at the end.
            with there.out_of_turn(), transaction.atomic():
                lock(there.connection, tables.layout(there.connection), "ACCESS EXCLUSIVE")
                yield there
    except (psycopg.Error, Error) as error:
        raise DatabaseUnavailable(explain(project, error)) from error


def lock(server: Any, names: Iterable[str], mode: str) -> None:
    """Keep others from these tables until the end of the transaction."""
    ordered = sorted(names, key=lambda name: (name != "balsam_job", name))
    if ordered:
        server.execute(f"LOCK TABLE {', '.join(ordered)} IN {mode} MODE")


def explain(project: Project, error: Exception) -> str:
    """One sentence about what the server did not take. Nothing was changed."""
    import psycopg

    from balsam.conf.postgres import users

    while not isinstance(error, psycopg.Error) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    if isinstance(error, psycopg.errors.LockNotAvailable | psycopg.errors.DeadlockDetected):
        return (
            f"The database of {project.path} is in use; end what uses it, and try again. Nothing "
            "was changed."
        )
    if isinstance(error, psycopg.errors.DataError):
        context = (error.diag.context or "").splitlines()
        where = f" ({context[0][:200]})" if context else ""
        return (
            f"Postgres can not hold a value of this record: {error.diag.message_primary}{where}. "
            "Nothing was changed."
        )
    return f"{users.explain(project, error)} Nothing was changed."


def _version(file: Path) -> int:
    with database_file.reading(file) as database:
        return database_file.schema_version(database)


def _keep(project: Project, there: Any, kept: Path, undo: ExitStack) -> Path | None:
    """Write what is there to a file, which appears before that is gone; None without a record."""
    server = there.connection
    if not database_server.is_balsam(server):
        return None
    with new_file(kept.parent) as partial:
        export(server, partial, record.place(project))
        finish(partial, {})
        publish(partial, kept, False)
        undo.callback(kept.unlink, missing_ok=True)
    return kept
