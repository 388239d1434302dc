"""Checks of the project directory: what is in it, its settings, and who may use it."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from balsam.conf.project import Project
from balsam.core.care import record, server_files
from balsam.core.care.backup import PARTIAL_PREFIX
from balsam.core.care.restore import REPLACED_PREFIX, kept_name
from balsam.doctor.finding import Finding, ok, problem, warning
from balsam.doctor.patient import Patient

#: Younger temporary files may be in use.
OLD_SECONDS = 3600.0
#: Between its last two steps a restoring process takes much less.
RESTORE_SECONDS = 60.0
_TEMPORARY = (".lock-probe-*", ".new-postgres-*", f"{PARTIAL_PREFIX}*")
_EVERYBODY_ELSE = stat.S_IRWXG | stat.S_IRWXO


def directories(patient: Patient) -> Iterator[Finding]:
    """The project is there, whole, and one may write where Balsam writes."""
    if patient.project is None:
        yield problem("project", patient.missing)
        return
    project = patient.project
    name = project.name  # raises a sentence of its own
    trouble = bool(patient.blocked)
    # Once for each cause: what is below one of them has the same.
    for directory, error in {one.errno: (at, one) for at, one in _upwards(patient)}.values():
        yield problem(
            "project",
            f"nothing can be written in {directory} ({error.strerror})",
            "Have its file system mounted for writing."
            if error.errno == errno.EROFS
            else "Free some space there, or have your quota raised.",
        )
    for directory in (project.data, project.log, project.journal_dir, project.qsubmit):
        if directory in patient.blocked:
            continue
        if not directory.is_dir():
            trouble = True
            yield problem(
                "project",
                f"{directory} is missing",
                f"Make it: mkdir {directory}",
                lambda path=directory: _make(path),  # type: ignore[misc]
            )
        elif not os.access(directory, os.W_OK | os.X_OK):
            trouble = True
            yield problem(
                "project",
                f"you may not write in {directory}",
                f"As its owner: chmod u+rwx {directory}",
            )
    if not trouble:
        yield ok("project", f"{name} in {project.path}")


def _upwards(patient: Patient) -> list[tuple[Path, OSError]]:
    """Where nothing can be written, the project's own directory last."""
    return list(reversed(patient.blocked.items()))


def _make(path: Path) -> str:
    path.mkdir(parents=True, exist_ok=True)
    return "made it"


def settings(patient: Patient) -> Iterator[Finding]:
    """settings.yml can be read."""
    if patient.project is None:
        return
    if patient.settings_error:
        yield problem(
            "settings",
            patient.settings_error,
            "Correct the file; the checks below use the default settings.",
        )
    else:
        yield ok("settings", str(patient.project.settings_file))


def permissions(patient: Patient) -> Iterator[Finding]:
    """The database is its owner's only, and the owner is who asks."""
    if patient.project is None or not patient.project.database_dir.is_dir():
        return
    if _is_read_only(patient):
        return  # nothing can be put right there
    found = 0
    for path in _private(patient.project):
        status = path.lstat()
        mode = stat.S_IMODE(status.st_mode)
        if status.st_uid != os.geteuid() and os.geteuid() != 0:
            found += 1
            yield problem(
                "permissions",
                f"{path} belongs to another user (uid {status.st_uid})",
                "Work as that user, or have the project's files given to you.",
            )
        elif mode != (wanted := _wanted(path, mode)):
            found += 1
            others = "may be used by others" if mode & _EVERYBODY_ELSE else "is not writable"
            yield problem(
                "permissions",
                f"{path} {others} (mode {mode:04o})",
                f"chmod {wanted:o} {path}",
                lambda path=path, wanted=wanted: _restrict(path, wanted),  # type: ignore[misc]
            )
    if not found:
        yield ok("permissions", f"{patient.project.database_dir} is its owner's only")


def _is_read_only(patient: Patient) -> bool:
    assert patient.project is not None
    error = patient.blocked.get(patient.project.database_dir)
    return error is not None and error.errno == errno.EROFS


def _wanted(path: Path, mode: int) -> int:
    """All for the owner, nothing for others."""
    whole = stat.S_IRWXU if path.is_dir() else stat.S_IRUSR | stat.S_IWUSR
    return (mode | whole) & ~_EVERYBODY_ELSE


def _private(project: Project) -> list[Path]:
    files = sorted(project.database_dir.glob("*sqlite3*"))
    files += [project.password_file, project.server_file]
    return [project.database_dir, *(path for path in files if path.is_file())]


def _restrict(path: Path, mode: int) -> str:
    path.chmod(mode)
    return f"its mode is {mode:04o} now"


def leftovers(patient: Patient) -> Iterator[Finding]:
    """Temporary files of processes that were killed."""
    if patient.project is None or not patient.project.database_dir.is_dir():
        return
    if _is_read_only(patient):
        return
    twins = second_names(patient.project.database_file)
    if twins:
        yield problem(
            "leftovers",
            f"{twins[0]} is no copy, but a second name of the database itself, left by a "
            "'balsam restore' that was killed",
            f"Remove it, and never open it: rm {twins[0]}",
            lambda: _remove(twins),
        )
    old = [
        path
        for pattern in _TEMPORARY
        for path in patient.project.database_dir.glob(pattern)
        if time.time() - path.lstat().st_mtime > OLD_SECONDS
    ]
    if old:
        yield warning(
            "leftovers",
            f"{len(old)} temporary file(s) of killed processes in {patient.project.database_dir}",
            "Remove them: " + " ".join(str(path) for path in old[:5]),
            lambda: _remove(old),
        )
    unused = _unused_server(patient)
    if unused:
        yield unused
    if not (old or twins or unused):
        yield ok("leftovers", "no temporary files of killed processes")


def _unused_server(patient: Patient) -> Finding | None:
    """A Postgres server in a project that works with another database."""
    project, database = patient.project, patient.settings.database
    assert project is not None
    own = database.engine == record.POSTGRES and not database.url
    if own or patient.settings_error or not project.cluster_dir.is_dir():
        return None
    if not server_files.is_unfinished(project):
        return warning(
            "leftovers",
            f"{project.cluster_dir} is a Postgres server that the project does not use, left by a "
            "'balsam db copy' that was killed at its end",
            f"balsam doctor --fix puts it aside in {project.database_dir}; what is put aside there "
            "you may remove if you have no use for it.",
            lambda: _put_aside(project),
        )
    marker = project.database_dir / server_files.UNFINISHED
    if time.time() - marker.stat().st_mtime < OLD_SECONDS:
        return None  # it may be at work
    return warning(
        "leftovers",
        f"{project.cluster_dir} is a Postgres server left by a 'balsam db copy' that was killed",
        "balsam doctor --fix stops and removes it, as the next 'balsam db copy' does.",
        lambda: _remove_server(project),
    )


def _put_aside(project: Project) -> str:
    return f"it is in {server_files.set_aside(project)} now"


def _remove_server(project: Project) -> str:
    server_files.remove_unfinished(project)
    return "removed"


def second_names(database: Path) -> list[Path]:
    """Other names of the very file, which a restoring process gave it and then got no further."""
    if not os.path.exists(database) or database.stat().st_nlink == 1:
        return []
    # One that is at work at this moment is given its time.
    newest = kept_name(database, time.time() - RESTORE_SECONDS)
    named = sorted(database.parent.glob(f"{REPLACED_PREFIX}*.sqlite3"))
    return [path for path in named if path < newest and path.samefile(database)]


def _remove(paths: list[Path]) -> str:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return "removed"
