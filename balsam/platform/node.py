"""What this node is, and which processes on it are alive."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PID_NAMESPACE = Path("/proc/self/ns/pid")


@dataclass(frozen=True)
class Node:
    """A node: its name, the cores this process may use, and its memory in bytes."""

    hostname: str
    cores: int
    memory: int


def this_node() -> Node:
    """The node this process runs on; cores are those it is bound to, not all there are."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Node(socket.gethostname(), len(os.sched_getaffinity(0)), memory)


def identity() -> str:
    """A token that is equal for two processes exactly when they can see each other's pids.

    It holds the boot and the pid namespace. Where /proc does not tell, it is a token that no other
    process has, so nobody is ever declared dead on it.
    """
    try:
        return f"{_BOOT_ID.read_text().strip()}:{_PID_NAMESPACE.stat().st_ino}"
    except OSError:
        return f"{socket.gethostname()}:pid-{os.getpid()}"


def start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 where there is no such process."""
    stat = _stat(pid)
    return stat[1] if stat else 0


def process_alive(pid: int, start_time: int) -> bool:
    """Whether the process that had this pid and start time still runs.

    A process that ended but was not reaped is dead. One that exists and may not be looked at
    counts as alive.
    """
    stat = _stat(pid)
    if stat is None:
        return _exists(pid)
    state, started = stat
    return state not in "ZX" and started == start_time


def _stat(pid: int) -> tuple[str, int] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The command name before the last ')' may hold spaces and parentheses (proc(5), fields 3, 22).
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[19])


def _exists(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    # It can be signalled, so its /proc entry is only hidden; or it began after the look above.
    return True
