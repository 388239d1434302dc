"""Who has a file open: other processes on this machine, as far as one may look."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path


def holders(files: Collection[Path]) -> list[int]:
    """Pids of other processes that have one of the files open, in order.

    Processes of other users can not be looked at, and are left out; so are those of other hosts.
    """
    wanted = {identity for path in files if (identity := _identity(str(path)))}
    found = []
    for entry in os.listdir("/proc") if wanted else ():
        if entry.isdigit() and int(entry) != os.getpid() and _has_open(entry, wanted):
            found.append(int(entry))
    return sorted(found)


def command_of(pid: int) -> str:
    """The command line of a process, or nothing if it is gone."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return " ".join(word.decode(errors="replace") for word in words if word)


def _has_open(pid: str, wanted: set[tuple[int, int]]) -> bool:
    directory = f"/proc/{pid}/fd"
    try:
        return any(_identity(f"{directory}/{number}") in wanted for number in os.listdir(directory))
    except OSError:
        return False


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
