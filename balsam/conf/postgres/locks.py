"""File locks beside the database: one starter at a time, and whether a server lives.

The server inherits a locked file from whoever started it. The lock ends with its last process,
however that ended and in whichever container it ran, which no file with a number in it can tell.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from balsam.conf.postgres.account import keep_owner
from balsam.errors import LockingUnavailable, ServerError

#: Held by whoever starts or stops the server.
STARTER = "server.lock"
#: Held by the processes of the server.
LIFE = "alive.lock"
_POLL_SECONDS, _MOST_POLL_SECONDS = 0.005, 0.1


@contextlib.contextmanager
def only_one(directory: Path, timeout_seconds: float) -> Iterator[None]:
    """Keep others from starting or stopping the server. Raises ServerError if they take too long.

    Raises LockingUnavailable where the file system does not lock, or another OSError.
    """
    descriptor = _open(directory / STARTER)
    try:
        if not _wait(descriptor, fcntl.LOCK_EX, timeout_seconds):
            raise ServerError(
                f"Another command has been starting or stopping the server of {directory.parent} "
                f"for {timeout_seconds:g} s; wait for it, or end it, and try again."
            )
        yield
    finally:
        os.close(descriptor)


def lives(directory: Path) -> bool:
    """Whether any process of the server is left, on any host whose locks are seen here."""
    return not until_gone(directory, 0)


def until_gone(directory: Path, timeout_seconds: float) -> bool:
    """Wait until no process of the server is left; False if some are."""
    try:
        descriptor = os.open(directory / LIFE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        return _wait(descriptor, fcntl.LOCK_SH, timeout_seconds)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def held_for_server(directory: Path) -> Iterator[int]:
    """A descriptor with the lock of life, to be inherited by the server.

    Raises ServerError if there is a server.
    """
    descriptor = _open(directory / LIFE)
    try:
        # For a moment others may hold it, just to see whether it can be held.
        if not _wait(descriptor, fcntl.LOCK_EX, 2.0):
            raise ServerError(f"The database in {directory} is in use by a server already.")
        yield descriptor
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    keep_owner(path)
    return descriptor


def _wait(descriptor: int, how: int, timeout_seconds: float) -> bool:
    give_up = time.monotonic() + timeout_seconds
    pause = _POLL_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EINTR):
                raise LockingUnavailable(
                    f"The file system of the database does not lock files ({error.strerror}), so "
                    "two servers could ruin it; move the project to another one."
                ) from error
        else:
            return True
        if time.monotonic() >= give_up:
            return False
        time.sleep(pause)
        pause = min(2 * pause, _MOST_POLL_SECONDS)
