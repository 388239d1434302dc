"""Whether a project's server lives, and where, whatever its files say."""

from __future__ import annotations

import contextlib
import enum
import os
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from balsam.conf import filesystem
from balsam.conf.postgres import locks, record
from balsam.conf.postgres.record import Record
from balsam.conf.project import Project
from balsam.platform import node

_POSTMASTER = "postmaster.pid"


class Where(enum.Enum):
    """What can be said of a server."""

    STOPPED = "stopped"
    HERE = "here"
    #: Its first process is gone, others of it are not yet.
    ENDING = "ending"
    #: On another host, or in another container of this one.
    ELSEWHERE = "elsewhere"


@dataclass(frozen=True)
class Life:
    """A server: where it is, the pid of its first process if it is here, and its record."""

    where: Where
    pid: int
    record: Record | None


@dataclass(frozen=True)
class Postmaster:
    """What a server says in its own ``postmaster.pid``: miscadmin.h of Postgres has the lines."""

    pid: int
    port: int
    socket_dir: str
    listen: str
    ready: bool


def look(project: Project) -> Life:
    """Where the server is. Raises OSError, or ServerError for a record that can not be read."""
    told = record.read(project)
    postmaster = read_postmaster(project)
    if postmaster is not None and is_ours(postmaster.pid, project.cluster_dir):
        return Life(Where.HERE, postmaster.pid, told)
    if locks.lives(project.database_dir):
        apart = told is not None and told.machine != node.identity()
        return Life(Where.ELSEWHERE if apart else Where.ENDING, 0, told)
    if told is None or surely_gone(project, told):
        return Life(Where.STOPPED, 0, told)
    return Life(Where.ELSEWHERE, 0, told)


def surely_gone(project: Project, told: Record) -> bool:
    """Whether a server that holds no lock we see is dead, by what is known of its machine."""
    shared = filesystem.is_shared(filesystem.kind(project.database_dir))
    return told_gone(told, shared=shared)


def told_gone(told: Record, shared: bool) -> bool:
    """The same, if it is known whether other hosts may see the files (with locks of their own)."""
    if same_kernel(told) or not shared:
        return True  # the lock would be seen
    return told.host == socket.gethostname()  # which has been started again since


def same_kernel(told: Record) -> bool:
    """Whether the server was started on this machine, since it was booted, in any container."""
    return told.machine.partition(":")[0] == node.identity().partition(":")[0]


def read_postmaster(project: Project) -> Postmaster | None:
    """What the running or a former server says of itself; None if nothing that makes sense."""
    try:
        lines = (project.cluster_dir / _POSTMASTER).read_text(errors="replace").splitlines()
        pid = abs(int(lines[0]))
    except (OSError, ValueError, IndexError):
        return None
    lines += [""] * 8
    port = int(lines[3]) if lines[3].isdigit() else 0
    return Postmaster(pid, port, lines[4], lines[5], lines[7].strip() == "ready")


def forget_postmaster(project: Project) -> None:
    """Remove the file of a dead server whose pid another process has now.

    Postgres itself would take that process for the server. Where no process has that pid, it sees
    so, and looks whether memory of the old server is still in use.
    """
    postmaster = read_postmaster(project)
    if postmaster is not None and Path(f"/proc/{postmaster.pid}").exists():
        with contextlib.suppress(FileNotFoundError):
            (project.cluster_dir / _POSTMASTER).unlink()


def is_ours(pid: int, cluster: Path) -> bool:
    """Whether a living process works in these files: a server's processes have them as directory.

    The number alone says little: after a crash it may be that of any process.
    """
    started = node.start_time(pid)
    if not started or not node.process_alive(pid, started):
        return False
    try:
        return os.path.samefile(f"/proc/{pid}/cwd", cluster)
    except PermissionError:
        return _names(pid, cluster)
    except OSError:
        return False


def _names(pid: int, cluster: Path) -> bool:
    """Whether a process was started for these files, by its command line, which anybody may read.

    In a container root may not look into the processes of the user that runs the server for it.
    """
    try:
        return os.fsencode(cluster) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def kill_rest(project: Project) -> None:
    """Kill what is left of a server whose first process is gone."""
    for entry in os.listdir("/proc"):
        if entry.isdigit() and is_ours(int(entry), project.cluster_dir):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(int(entry), signal.SIGKILL)


def until_ended(project: Project, pid: int, timeout_seconds: float) -> bool:
    """Wait until a server's first process and all others have ended; False if they have not."""
    give_up = time.monotonic() + timeout_seconds
    while is_ours(pid, project.cluster_dir):
        if time.monotonic() >= give_up:
            return False
        time.sleep(0.01)
    return locks.until_gone(project.database_dir, max(0.1, give_up - time.monotonic()))
