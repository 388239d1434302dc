"""Checks of SQLite's file: whether it is sound, can be locked, and keeps the right journal."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator

from balsam.conf import filesystem
from balsam.conf.bootstrap import SCHEMA_VERSION
from balsam.conf.project import Project
from balsam.core.care import database_file, questions, record
from balsam.core.care.restore import REPLACED_PREFIX
from balsam.doctor.finding import Finding, ok, problem, warning
from balsam.doctor.patient import Patient
from balsam.errors import BalsamError
from balsam.platform import openfiles

#: A writer that holds the database for longer is in trouble.
LOCK_SECONDS = 5.0
#: Up to this size the structure is checked here; beyond, 'balsam fsck' takes its time.
QUICK_BYTES = 512 * 1024 * 1024
#: A log of this size means that a reader keeps SQLite from tidying up.
LARGE_LOG_BYTES = 1024 * 1024 * 1024

_RESTORE = "Put a backup in its place with 'balsam restore FILE'."


def file(patient: Patient) -> Iterator[Finding]:
    """There is a database, of this version, sound, and one may write to it."""
    project = patient.project
    if project is None or record.is_postgres(project):
        return
    path = project.database_file
    hidden = os.path.isdir(path.parent) and not os.access(path.parent, os.X_OK)
    if not os.path.lexists(path) and not hidden:
        copies = sorted(project.database_dir.glob(f"{REPLACED_PREFIX}*.sqlite3"))
        near = f" ({copies[-1]} is the newest one beside it)" if copies else ""
        yield problem("database", f"the file {path} is missing", f"{_RESTORE}{near}")
        return
    with database_file.reading(path, timeout_seconds=LOCK_SECONDS) as database:
        if not database_file.is_balsam(database):
            yield problem("database", f"{path} holds no tables of Balsam", _RESTORE)
            return
        schema = database_file.schema_version(database)
        if schema != SCHEMA_VERSION:
            yield other_schema(project, schema)
            return
        size = path.stat().st_size
        wrong = database_file.damage(database, quick=True) if size <= QUICK_BYTES else []
        if wrong:
            yield problem("database", f"{path} is damaged: {' '.join(wrong[0].split())}", _RESTORE)
            return
        jobs = questions.number_of_jobs(database)
    # That nobody can write there was said of the project.
    blocked = project.database_dir in patient.blocked
    refused = None if blocked else _write_refused(project)
    if refused:
        yield refused
        return
    unchecked = "" if size <= QUICK_BYTES else "; 'balsam fsck' checks one of this size"
    yield ok("database", f"{jobs} jobs in {size / 1e6:.1f} MB, schema {schema}{unchecked}")
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size > LARGE_LOG_BYTES:
        yield warning(
            "database",
            f"{log} has grown to {log.stat().st_size / 1e9:.1f} GB",
            f"Some process reads without an end{_named(openfiles.holders([path]))}; end it.",
        )


def other_schema(project: Project, schema: int) -> Finding:
    """What is to be done about a record of another version."""
    if schema > SCHEMA_VERSION:
        return problem(
            "database",
            f"it was made by a newer Balsam (schema {schema}; this one knows {SCHEMA_VERSION})",
            "Use that version or a newer one.",
        )
    return problem(
        "database",
        f"it was made by an older Balsam (schema {schema}; this one needs {SCHEMA_VERSION})",
        f"balsam init --upgrade {project.path}",
    )


def _write_refused(project: Project) -> Finding | None:
    """Why nothing can be written; a lock is taken for a moment, and nothing is changed."""
    path = project.database_file
    if not os.access(path.parent, os.W_OK | os.X_OK):
        return problem(
            "database",
            f"nothing can be written in {path.parent}",
            f"As its owner: chmod u+rwx {path.parent}",
        )
    uri = f"{path.as_uri()}?mode=rw"
    database = sqlite3.connect(uri, uri=True, timeout=LOCK_SECONDS, isolation_level=None)
    try:
        database.execute("BEGIN IMMEDIATE")
        database.execute("ROLLBACK")
    except sqlite3.Error as error:
        if "locked" in str(error):
            holders = openfiles.holders([path])
            return problem(
                "database",
                f"it was locked by another process for {LOCK_SECONDS:g} s",
                f"Wait, or end what holds it{_named(holders) or ' (on another host, perhaps)'}.",
            )
        return problem(
            "database",
            f"nothing can be written to it ({error})",
            f"As its owner: chmod u+rw {path}; or see what the line on the disk says.",
        )
    finally:
        database.close()
    return None


def _named(pids: list[int]) -> str:
    shown = ", ".join(f"{pid}: {openfiles.command_of(pid)[:80]}" for pid in pids[:4])
    return f" ({shown})" if shown else ""


def locking(patient: Patient) -> Iterator[Finding]:
    """The file system keeps one writer from another."""
    project = patient.project
    if project is None or not project.database_dir.is_dir() or record.is_postgres(project):
        return
    if project.database_dir in patient.blocked:
        return  # it can not be tried out, as was said of the project
    kind = filesystem.kind(project.database_dir)
    try:
        works = filesystem.locking_works(project.database_dir)
    except OSError as error:
        yield problem(
            "locking",
            f"it can not be tried out, for nothing can be written in {project.database_dir} "
            f"({error.strerror or error})",
            "Free some space there, or correct its permissions.",
        )
        return
    if works:
        yield ok("locking", f"works on this file system ({kind})")
    else:
        yield problem(
            "locking",
            f"the file system ({kind}) does not lock files: two writers would damage the database",
            "Move the project to another file system at once.",
        )


def journal_mode(patient: Patient) -> Iterator[Finding]:
    """The journal fits the file system: a write-ahead log works on one host only."""
    project = patient.project
    if project is None or record.is_postgres(project):
        return
    if not os.path.isfile(project.database_file):
        return
    kind = filesystem.kind(project.database_dir)
    wanted = patient.settings.database.journal_mode
    if wanted == "wal" and filesystem.is_shared(kind):
        yield problem(
            "journal mode",
            f"it is wal, but {project.database_dir} may be shared between hosts ({kind})",
            f"Set database.journal_mode to delete in {project.settings_file}.",
        )
        return
    try:
        is_wal = database_file.header_says_wal(project.database_file)
    except OSError as error:
        yield warning("journal mode", f"the file's own can not be read ({error.strerror})")
        return
    note = ""
    if is_wal != (wanted == "wal"):
        note = "; the file has another one until it is opened next"
    yield ok("journal mode", f"{wanted} fits this file system ({kind}){note}")


def usable(project: Project) -> bool:
    """Whether the record can be asked: there, readable, and of this version."""
    try:
        with record.reading(project, timeout_seconds=LOCK_SECONDS) as database:
            current = record.schema_version(database) == SCHEMA_VERSION
            return current and record.is_balsam(database)
    except BalsamError:
        return False
