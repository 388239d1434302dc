"""What the file system under a project can do: its type, and whether it locks files."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal

JournalMode = Literal["wal", "delete"]

UNKNOWN = "unknown"

#: File systems that one host has to itself. Everything else counts as shared: a journal for shared
#: file systems is slower on a local one, but a write-ahead log on a shared one corrupts the data.
# fmt: off
LOCAL_KINDS = frozenset(
    {
        UNKNOWN,
        "apfs", "aufs", "bcachefs", "btrfs", "ecryptfs", "exfat", "ext2", "ext3", "ext4",
        "f2fs", "fuse.fuse-overlayfs", "fuse.gocryptfs", "fuseblk", "hfs", "hfsplus", "jfs",
        "minix", "msdos", "nilfs2", "ntfs", "ntfs3", "overlay", "ramfs", "reiserfs",
        "rootfs", "tmpfs", "udf", "ufs", "vfat", "xfs", "zfs",
    }
)
# fmt: on

#: An NFS server without a lock service can make the probe wait; after this it has failed.
PROBE_SECONDS = 20.0

_LOCKED, _REFUSED, _FAILED = 10, 11, 12

_TRY_TO_LOCK = f"""
import sqlite3, sys
try:
    connection = sqlite3.connect(sys.argv[1], uri=True, timeout=0, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("ROLLBACK")
except sqlite3.Error as error:
    sys.exit({_REFUSED} if "locked" in str(error) else {_FAILED})
sys.exit({_LOCKED})
"""


def kind(path: Path) -> str:
    """The type of the file system that holds ``path`` (``ext4``, ``nfs4``, ``lustre``, ...).

    The path need not exist yet. ``UNKNOWN`` where the system does not tell (no Linux).
    """
    where = os.path.realpath(path)
    with contextlib.suppress(OSError):
        os.stat(where)  # An automounter mounts on the first look.
    try:
        mounts = Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
    except OSError:
        return UNKNOWN
    return mounted_kind(mounts, where)


def mounted_kind(mountinfo: str, path: str) -> str:
    """The type of the mount that ``path`` (absolute, no symlinks) is on, by a mountinfo table.

    Of several mounts on one point the last hides the others. Lines that make no sense are ignored.
    Format: proc_pid_mountinfo(5).
    """
    best, found = -1, UNKNOWN
    for line in mountinfo.split("\n"):
        place, separator, rest = line.partition(" - ")
        fields, types = place.split(" "), rest.split(" ")
        if not separator or len(fields) < 6 or not types[0]:
            continue
        point = _unescaped(fields[4])
        if len(point) >= best and _holds(point, path):
            best, found = len(point), types[0]
    return found


def _holds(point: str, path: str) -> bool:
    return path == point or path.startswith(point.rstrip("/") + "/")


def _unescaped(field: str) -> str:
    """The kernel writes space, tab, newline and backslash in mount points as octal numbers."""
    return re.sub(r"\\([0-3][0-7]{2})", lambda match: chr(int(match[1], 8)), field)


def is_shared(kind: str) -> bool:
    """Whether several hosts may see a file system of this type (NFS, Lustre, GPFS, sshfs, ...)."""
    return kind not in LOCAL_KINDS


def journal_mode(path: Path) -> JournalMode:
    """SQLite's journal for a database in ``path``: a write-ahead log only where it is safe."""
    return "delete" if is_shared(kind(path)) else "wal"


def locking_works(directory: Path, *, vfs: str = "unix") -> bool:
    """Whether one process keeps another from writing to a SQLite database in ``directory``.

    Makes a database there, locks it, and has a second process try. ``vfs`` is the SQLite layer to
    go through (https://www.sqlite.org/vfs.html). Raises OSError if nothing can be written there.
    """
    with tempfile.TemporaryDirectory(
        prefix=".lock-probe-", dir=directory, ignore_cleanup_errors=True
    ) as scratch:
        database = Path(os.path.realpath(scratch), "probe.sqlite3")
        _need_room(database)
        uri = f"{database.as_uri()}?vfs={vfs}"
        try:
            return _second_writer_waits(uri)
        except sqlite3.Error as error:
            if "full" in str(error):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(directory)) from error
            return False


def _second_writer_waits(uri: str) -> bool:
    connection = sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None)
    with contextlib.closing(connection):
        connection.execute("CREATE TABLE probe (id INTEGER)")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO probe VALUES (1)")
        while_locked = _other_process(uri)
        connection.execute("ROLLBACK")
        return while_locked == _REFUSED and _other_process(uri) == _LOCKED


def _other_process(uri: str) -> int:
    """How a process fared that tried to lock the database. OSError if it never got to try."""
    command = [sys.executable, "-I", "-S", "-c", _TRY_TO_LOCK, uri]
    quiet = subprocess.DEVNULL
    try:
        done = subprocess.run(
            command, stdin=quiet, stdout=quiet, stderr=quiet, timeout=PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return _FAILED
    if done.returncode not in (_LOCKED, _REFUSED, _FAILED):
        why = f"a second {sys.executable} to test locking with ended with code {done.returncode}"
        raise OSError(errno.ECHILD, why)
    return done.returncode


def refusal(directory: Path) -> OSError | None:
    """Why nobody can write in a directory: a read-only mount, or no room (left by a quota).

    None also where only the permissions of this user forbid it.
    """
    try:
        if os.statvfs(directory).f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(directory))
        with tempfile.TemporaryFile(dir=directory, buffering=0) as stream:
            stream.write(bytes(65536))
            os.fsync(stream.fileno())
    except OSError as error:
        if error.errno in (errno.EROFS, errno.ENOSPC, errno.EDQUOT):
            return error
    return None


def _need_room(file: Path) -> None:
    """Write some blocks, so that a full disk or a quota is not mistaken for broken locks."""
    with file.open("wb", buffering=0) as stream:
        stream.write(bytes(65536))
        os.fsync(stream.fileno())
        stream.truncate(0)
