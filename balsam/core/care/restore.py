"""Putting a copy of the record in the place of a project's record, all or nothing."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from balsam.core.care import database_file, record
from balsam.core.care.backup import copy, explained, finish, inspect, new_file, sync
from balsam.core.care.database_file import sides
from balsam.errors import DatabaseUnavailable, InvalidValue

if TYPE_CHECKING:
    from balsam.conf.project import Project

#: What a database is called that another one was put in the place of.
REPLACED_PREFIX = "replaced-"


def restore(project: Project, file: Path, *, in_use: bool = False) -> Path | None:
    """Put a copy of ``file`` in the place of the project's record; the file where that is kept now.

    The record that is there stays until the very end and is kept (None if there was none).
    ``in_use`` goes on though other processes have SQLite's file open: what they write from then on
    goes into the one that is kept. Raises InvalidValue, SchemaTooNew or DatabaseUnavailable, and
    has changed nothing then.
    """
    inspect(file)
    if record.is_postgres(project):
        from balsam.core.care.restore_server import restore_server

        return restore_server(project, file)
    own = project.database_file
    if own.exists() and os.path.samefile(file, own):
        raise InvalidValue(f"{file} is the database of the project already.")
    if not own.parent.exists():
        own.parent.mkdir(stat.S_IRWXU)
    with new_file(own.parent) as partial, explained(f"The database {own}"):
        with database_file.reading(Path(os.path.abspath(file)), untouched=True) as source:
            copy(source, partial)
        finish(partial, {})
        return _swap(partial, own, in_use)


def _swap(partial: Path, own: Path, in_use: bool) -> Path | None:
    """Exchange the files, those that SQLite keeps beside the database included."""
    if not own.exists() and not any(side.exists() for side in sides(own)):
        os.replace(partial, own)
        sync(own.parent)
        return None
    kept = kept_name(own, time.time())
    with settled(own, in_use) as database, ExitStack() as undo:
        with contextlib.suppress(sqlite3.Error):  # it may be damaged
            if database is not None:
                # A launcher that lives on with the number of its session must be the only one.
                database_file.go_on_behind(partial, database_file.numbers(database))
                sync(partial)
        if own.exists():
            _keep(own, kept, undo)
        # A log that belongs to the old database would be replayed into the new one.
        for side, aside in zip(sides(own), sides(kept), strict=True):
            if side.exists():
                os.rename(side, aside)
                undo.callback(os.rename, aside, side)
        os.replace(partial, own)
        undo.pop_all()
    sync(own.parent)
    return kept


@contextlib.contextmanager
def settled(own: Path, in_use: bool) -> Iterator[sqlite3.Connection | None]:
    """A block in which all of the old database is in its one file, and nobody else uses it.

    A damaged one stays as it lies there. Raises DatabaseUnavailable if others are using it. The
    connection is the only one that can read it meanwhile (None if there is no database).
    """
    if not own.exists():
        yield None
        return
    with contextlib.closing(sqlite3.connect(own, timeout=2.0, isolation_level=None)) as database:
        try:
            database.execute("PRAGMA journal_mode = DELETE").fetchone()
            database.execute("BEGIN EXCLUSIVE")
        except sqlite3.DatabaseError as error:
            if "locked" in str(error) and not in_use:
                raise DatabaseUnavailable(
                    f"The database {own} is in use; end what uses it, and try again."
                ) from error
        yield database


def _keep(own: Path, kept: Path, undo: ExitStack) -> None:
    """A second name for the old file, or a copy where files have one name only."""
    try:
        os.link(own, kept)
    except OSError:
        undo.callback(kept.unlink, missing_ok=True)
        shutil.copy2(own, kept)
        sync(kept)
    else:
        undo.callback(kept.unlink, missing_ok=True)


def kept_name(own: Path, when: float) -> Path:
    """What a database is called that was replaced at this time (seconds since the epoch)."""
    stamp = datetime.fromtimestamp(when, timezone.utc).strftime("%Y%m%dT%H%M%S%fZ")
    return own.with_name(f"{REPLACED_PREFIX}{stamp}.sqlite3")
