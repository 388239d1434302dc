"""Directories and files that go away again if what they are made for fails.

Each function registers its undoing on an ``ExitStack``; ``pop_all()`` on it keeps everything.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO


def make_directory(path: Path, undo: ExitStack, mode: int = 0o777) -> None:
    """Make a directory with its parents, or keep the one there. Raises OSError."""
    for parent in reversed(path.parents):
        _make_one(parent, undo, 0o777)
    _make_one(path, undo, mode)


def _make_one(path: Path, undo: ExitStack, mode: int) -> None:
    try:
        path.mkdir(mode)
    except OSError as error:
        if path.is_dir():
            return
        if isinstance(error, FileExistsError):
            raise NotADirectoryError(errno.ENOTDIR, f"{path} is not a directory") from error
        raise
    undo.callback(_quietly, path.rmdir)


def make_file(path: Path, text: str, undo: ExitStack, mode: int = 0o666) -> None:
    """Write a new file. Raises FileExistsError if there is one, or another OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(path, flags, mode)
    undo.callback(_quietly, path.unlink)
    with open(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(descriptor)


@contextlib.contextmanager
def replacing(file: Path, prefix: str) -> Iterator[BinaryIO]:
    """A stream whose bytes take the place of ``file`` at the end, all or nothing. Mode 0600.

    They stand beside it under a name with that prefix until then. Raises OSError.
    """
    descriptor, name = tempfile.mkstemp(prefix=prefix, dir=file.parent)
    try:
        with open(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(descriptor)
        os.replace(name, file)
    except BaseException:
        _quietly(lambda: os.unlink(name))
        raise


def remove_later(directory: Path, pattern: str, undo: ExitStack) -> None:
    """Have the files in ``directory`` that match ``pattern`` undone, whoever makes them."""

    def remove() -> None:
        for path in directory.glob(pattern):
            _quietly(path.unlink)

    undo.callback(remove)


@contextlib.contextmanager
def only_one(directory: Path) -> Iterator[None]:
    """Wait until no other process is in this block for ``directory``.

    Where directories can not be locked (NFS) there is no waiting.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _quietly(remove: Callable[[], object]) -> None:
    with contextlib.suppress(OSError):
        remove()
