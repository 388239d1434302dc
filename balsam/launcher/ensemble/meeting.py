"""Where the keeper of a node is found: a socket in a directory that is nobody else's."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from balsam.errors import LaunchError

SOCKET = "keeper"
LOCK = "lock"
#: Node-local, and short: the path of a socket has 107 characters.
PLACES = ("/tmp", "/dev/shm", "/var/tmp")
#: A keeper that is well takes a connection in at once.
CONNECT_SECONDS = 1.0


def path_of(session: str, node: str, place: str = PLACES[0]) -> Path:
    """The directory's name in one place: session and node are in it, and it is short."""
    key = hashlib.sha256(f"{session}\0{node}".encode()).hexdigest()[:20]
    return Path(place, f"balsam-{os.geteuid()}-{key}")


def directory_of(session: str, node: str, places: tuple[str, ...] = PLACES) -> Path:
    """The directory of one session's keeper on one node, made if it is not there.

    Its mode is 0700. Raises LaunchError if no place can be used, or somebody else took the name.
    """
    trouble = ""
    for place in places:
        path = path_of(session, node, place)
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, 0o700)
            status = os.lstat(path)
        except OSError as error:
            trouble = trouble or f"{path} can not be made: {error.strerror}"
            continue
        private = stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o077
        if private and status.st_uid == os.geteuid():
            return path
        trouble = f"{path} belongs to somebody else, or is open to others"
    raise LaunchError(f"The processes of a node have nowhere to meet: {trouble}.")


def take(directory: Path) -> int | None:
    """Become the keeper: the descriptor of the lock, to be kept open; None if there is one."""
    lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def used(directory: Path) -> bool:
    """Whether a keeper was here before, and did not leave as it should."""
    return (directory / SOCKET).exists()


def listen(directory: Path) -> socket.socket:
    """The keeper's socket, open to connections. The caller holds the lock."""
    path = directory / SOCKET
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    heard = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    heard.bind(str(path))
    heard.listen(8)
    heard.setblocking(False)
    return heard


def connect(directory: Path) -> tuple[socket.socket, int] | None:
    """A connection to the keeper and its pid; None if there is none. Never one of another user.

    Nor one that was stopped and takes nobody in: it is not waited for.
    """
    talk = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    talk.settimeout(CONNECT_SECONDS)
    try:
        talk.connect(str(directory / SOCKET))
        pid, uid = peer(talk)
    except OSError:
        talk.close()
        return None
    if uid != os.geteuid():
        talk.close()
        return None
    talk.setblocking(False)
    return talk, pid


def peer(talk: socket.socket) -> tuple[int, int]:
    """Pid and user of the process at the other end."""
    size = struct.calcsize("3i")
    pid, uid, _ = struct.unpack("3i", talk.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return pid, uid


def leave(directory: Path) -> None:
    """Remove the directory. The caller holds the lock."""
    for name in (SOCKET, LOCK):
        with contextlib.suppress(OSError):
            (directory / name).unlink()
    with contextlib.suppress(OSError):
        directory.rmdir()


def descriptors() -> Iterator[int]:
    """The descriptors of this process but the standard ones."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            yield int(name)
