"""Copies of the record, each a SQLite file: made while others write, checked, looked at."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import balsam
from balsam.conf.bootstrap import SCHEMA_VERSION
from balsam.core.care import database_file, questions, record
from balsam.core.care.database_file import sides
from balsam.errors import DatabaseUnavailable, InvalidValue, SchemaTooNew

if TYPE_CHECKING:
    from balsam.conf.project import Project

#: What a copy is called until it is complete; the doctor removes what a killed process left.
PARTIAL_PREFIX = ".balsam-copy-"
_OWNER_ONLY = stat.S_IRUSR | stat.S_IWUSR
#: In a backup only: whose it is. A project's own database is known by where it lies.
_LABEL = "balsam_backup"


@dataclass(frozen=True)
class Backup:
    """What a copy is a copy of. ``project`` and ``path`` are empty where it does not say."""

    file: Path
    schema: int
    jobs: int
    project: str = ""
    name: str = ""
    path: str = ""
    made: str = ""

    def belongs_to(self, project: Project) -> bool:
        """Whether it is of this project; copies beside the project's own database are."""
        if self.project:
            return self.project == project.id
        return self.file.resolve().parent == project.database_dir

    @property
    def origin(self) -> str:
        """Where it is from, in words."""
        if not self.project:
            return "a database that does not say of which project it is"
        return f"the project {self.name} ({self.path}), of {self.made}"


# -- making -------------------------------------------------------------------------------------


def back_up(
    project: Project, target: Path, *, replace: bool = False, timeout_seconds: float = 60.0
) -> Backup:
    """Copy the record to the file ``target``, consistent even while others write.

    It is a SQLite file whatever database the project has, so any project can be restored from it.
    The copy is checked, readable for its owner only, and appears under its name when it is
    complete and on disk. Writers go on meanwhile; with journal mode ``delete`` they wait.
    Raises InvalidValue if there is a file already (unless ``replace``), DatabaseUnavailable.
    """
    target = Path(os.path.abspath(target))
    _refuse_target(project, target, replace)
    made = datetime.now(timezone.utc).isoformat(timespec="seconds")
    with new_file(target.parent) as partial, explained(f"The backup {target}"):
        copy_record(project, partial, timeout_seconds)
        label = {"project": project.id, "name": project.name, "path": str(project.path)}
        finish(partial, {**label, "made": made, "balsam": balsam.__version__})
        found = inspect(partial, called=project.database_file)
        publish(partial, target, replace)
    return Backup(target, found.schema, found.jobs, **label, made=made)


def _refuse_target(project: Project, target: Path, replace: bool) -> None:
    if target.is_dir():
        raise InvalidValue(f"{target} is a directory; name the file to make in it.")
    if not target.parent.is_dir():
        raise InvalidValue(f"There is no directory {target.parent}; make it first.")
    own = project.database_file
    if target.resolve() in {own, *sides(own)}:
        raise InvalidValue(f"{target} is the database itself; name another file for the copy.")
    if os.path.lexists(target) and not replace:
        raise InvalidValue(f"{target} exists already; choose another name, or give --force.")


def copy_record(project: Project, target: Path, timeout_seconds: float = 60.0) -> None:
    """Copy the record of a project to the empty file ``target``, in one transaction."""
    if record.is_postgres(project):
        from balsam.core.care import database_server
        from balsam.core.care.export import export

        with database_server.reading(project, timeout_seconds=timeout_seconds) as server:
            export(server, target, record.place(project))
        return
    with database_file.reading(project.database_file, timeout_seconds=timeout_seconds) as source:
        copy(source, target)


def copy(source: sqlite3.Connection, target: Path) -> None:
    """Copy in one transaction: page by page, SQLite begins anew whenever somebody writes."""
    source.execute("BEGIN")
    # Now, and with a time limit: the copying itself would wait for a lock for ever.
    source.execute("SELECT count(*) FROM sqlite_master").fetchone()
    other = sqlite3.connect(target)
    try:
        other.execute("PRAGMA synchronous = OFF")
        source.backup(other)
    finally:
        other.close()
        source.execute("ROLLBACK")


def finish(partial: Path, label: dict[str, str]) -> None:
    """Make the copy one file that stands for itself, says whose it is, and is on disk."""
    copy = sqlite3.connect(partial, isolation_level=None)
    try:
        copy.execute("PRAGMA journal_mode = DELETE")
        copy.execute(f"DROP TABLE IF EXISTS {_LABEL}")
        if label:
            copy.execute(f"CREATE TABLE {_LABEL} (name TEXT PRIMARY KEY, value TEXT)")
            copy.executemany(f"INSERT INTO {_LABEL} VALUES (?, ?)", label.items())
        wrong = database_file.damage(copy)
    finally:
        copy.close()
    if wrong:
        raise DatabaseUnavailable(
            f"The database is damaged ({wrong[0]}), so no copy of it was kept; 'balsam fsck' "
            "shows the damage, and 'balsam restore FILE' puts an older copy in its place."
        )
    sync(partial)


def publish(partial: Path, target: Path, replace: bool) -> None:
    """Give the finished copy its name; without ``replace``, to nobody else's loss."""
    if replace:
        os.replace(partial, target)
    else:
        try:
            os.link(partial, target)
        except FileExistsError:
            raise InvalidValue(f"{target} was made by somebody else meanwhile.") from None
        except OSError:  # a file system without hard links
            os.rename(partial, target)
    sync(target.parent)


# -- looking at one -----------------------------------------------------------------------------


def inspect(file: Path, *, called: Path | None = None) -> Backup:
    """What the file is a copy of; SQLite's own checks of it have to pass.

    ``called`` is the file to name in errors, where this one is only a passing copy of it.

    Raises InvalidValue if it holds no record of Balsam, SchemaTooNew, and DatabaseUnavailable if
    it can not be read or is damaged.
    """
    file = Path(os.path.abspath(file))
    if not file.is_file():
        raise InvalidValue(f"There is no file {file}.")
    try:
        with database_file.reading(file, untouched=True) as database:
            return _inspected(file, database, called or file)
    except DatabaseUnavailable as error:
        if isinstance(error.__cause__, sqlite3.DatabaseError):
            raise InvalidValue(
                f"{called or file} is no sound database of Balsam ({error.__cause__}); choose "
                "another copy."
            ) from error
        raise


def _inspected(file: Path, database: sqlite3.Connection, called: Path) -> Backup:
    if not database_file.is_balsam(database):
        raise InvalidValue(f"{called} is a database, but not one of Balsam.")
    schema = database_file.schema_version(database)
    if schema > SCHEMA_VERSION:
        raise SchemaTooNew(
            f"{called} is of a newer Balsam (schema {schema}, this one knows {SCHEMA_VERSION}); "
            "use that version or a newer one."
        )
    wrong = database_file.damage(database)
    if wrong:
        raise InvalidValue(f"{called} is damaged ({wrong[0]}); choose another copy.")
    known = ("project", "name", "path", "made")
    label: dict[str, str] = {}
    with contextlib.suppress(sqlite3.OperationalError):  # no such table
        rows = database.execute(f"SELECT name, value FROM {_LABEL}")
        label = {name: value for name, value in rows if name in known}
    return Backup(file, schema, questions.number_of_jobs(database), **label)


# -- files --------------------------------------------------------------------------------------


@contextlib.contextmanager
def new_file(directory: Path) -> Iterator[Path]:
    """A new file for a copy, gone at the end unless it was given another name."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=PARTIAL_PREFIX, dir=directory)
    except OSError as error:
        raise DatabaseUnavailable(
            f"Nothing can be written in {directory} ({error.strerror}); choose another place, or "
            "mend that first."
        ) from error
    os.close(descriptor)
    partial = Path(name)
    try:
        partial.chmod(_OWNER_ONLY)
        yield partial
    finally:
        for path in (partial, *sides(partial)):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise DatabaseUnavailable(_why(what, error)) from error
    except DatabaseUnavailable as error:
        cause = error.__cause__
        if isinstance(cause, sqlite3.Error) and _no_room(cause):
            raise DatabaseUnavailable(_why(what, cause)) from error
        raise


def _why(what: str, error: Exception) -> str:
    if _no_room(error):
        return (
            f"{what} was not written, because the disk is full or failing, or a limit on the size "
            "of files is reached; free some space, or choose another place. Nothing was changed."
        )
    return f"{what} was not written ({error}). Nothing was changed."


def _no_room(error: Exception) -> bool:
    text = str(error)
    return any(sign in text for sign in ("disk is full", "disk I/O", "No space", "too large"))


def sync(path: Path) -> None:
    """Have the system put a file, or the names in a directory, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
