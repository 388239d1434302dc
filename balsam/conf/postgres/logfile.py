"""The server's log file, kept small."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from balsam.conf.postgres.account import keep_owner
from balsam.conf.project import Project

MOST_BYTES = 5_000_000
_KEPT_BYTES = 1_000_000


def path(project: Project) -> Path:
    """The file that a server writes to as long as it runs."""
    return project.log / "postgres.log"


def open_for_server(project: Project) -> int:
    """A descriptor for the server to append to. Raises OSError."""
    project.log.mkdir(parents=True, exist_ok=True)
    trim(project)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    descriptor = os.open(path(project), flags, 0o600)
    keep_owner(path(project))
    return descriptor


def trim(project: Project) -> None:
    """Move a log that has grown too large aside; the running server goes on in the empty file.

    It appends, so it follows. What it writes in between is lost.
    """
    file = path(project)
    with contextlib.suppress(OSError):
        if file.stat().st_size <= MOST_BYTES:
            return
        with file.open("r+b") as stream:
            stream.seek(-_KEPT_BYTES, os.SEEK_END)
            older = file.with_name(f"{file.name}.1")
            older.unlink(missing_ok=True)  # with whatever mode it had
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with open(os.open(older, flags, 0o600), "wb") as kept:
                kept.write(stream.read())
            keep_owner(older)
            stream.truncate(0)


def complaint(project: Project, offset: int) -> str:
    """The reason that a server gave, after this position of its log, for not starting; or ""."""
    try:
        with path(project).open("rb") as stream:
            stream.seek(offset)
            lines = stream.read(100_000).decode(errors="replace").splitlines()
    except OSError:
        return ""
    for sign in ("PANIC:", "FATAL:", "rror:", "WARNING:", ""):
        for line in lines:
            if sign in line and line.strip():
                return " ".join(line.partition(sign)[2].split() if sign else line.split())
    return ""


def size(project: Project) -> int:
    """How long the log is now, in bytes."""
    try:
        return path(project).stat().st_size
    except OSError:
        return 0
