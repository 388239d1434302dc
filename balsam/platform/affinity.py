"""What CPUs a running process may use, compared with those it was given."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator
from pathlib import Path

#: How a task may be confined; what else ``cpu_bind`` in launch_params says goes out as it stands.
BINDINGS = ("none", "depth", "core", "numa")
#: How long after its start to look: by then it has confined itself, if it does, or has ended.
SETTLED_SECONDS = 0.75
_ALLOWED = re.compile(r"^Cpus_allowed_list:\s*(\S*)", re.MULTILINE)


def confined_to(pid: int | str, proc: str | Path = "/proc") -> frozenset[int] | None:
    """The CPUs (numbers of the operating system) that a process may use; None if it is gone.

    By /proc/PID/status (proc(5)): what both sched_setaffinity and its cpuset leave.
    """
    try:
        text = Path(proc, str(pid), "status").read_text(errors="replace")
    except OSError:
        return None
    found = _ALLOWED.search(text)
    cpus = parsed(found[1]) if found else frozenset()
    return cpus or None


def parsed(text: str) -> frozenset[int]:
    """The numbers of a list such as ``0-3,8``; none for what is no such list."""
    found: set[int] = set()
    try:
        for part in filter(None, text.split(",")):
            first, _, last = part.partition("-")
            found.update(range(int(first), int(last or first) + 1))
    except ValueError:
        return frozenset()
    return frozenset(found)


def spelled(cpus: Collection[int]) -> str:
    """``0-3,8``."""
    parts: list[list[int]] = []
    for cpu in sorted(cpus):
        if parts and cpu == parts[-1][1] + 1:
            parts[-1][1] = cpu
        else:
            parts.append([cpu, cpu])
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in parts)


def counterparts(
    wanted: Collection[int], theirs: Collection[int], ours: Collection[int]
) -> tuple[int, ...]:
    """What ``wanted`` CPUs of another node are on this one; () where it has none for them.

    ``theirs`` are all that are given out there, ``ours`` those that may be used here. Where these
    have other numbers, as in a batch job that shares its nodes, they go by their order.
    """
    there, here = {*theirs, *wanted}, {*ours}
    if not there <= here and len(there) <= len(here):
        of = dict(zip(sorted(there), sorted(here), strict=False))
        return tuple(of[cpu] for cpu in wanted)
    return tuple(wanted) if here.issuperset(wanted) else ()


def compare(asked: Collection[int], pid: int, proc: str | Path = "/proc") -> str:
    """What is wrong with the CPUs that process ``pid`` may use, as a sentence; '' if nothing is.

    ``asked`` are those it was to be confined to, with all that it has started, as an mpirun its
    ranks. A process that has confined itself further, within what it was given, is right. So is one
    that has ended.
    """
    for one in _family(pid, proc):
        allowed = confined_to(one, proc)
        if allowed and not allowed <= set(asked):
            return astray(asked, allowed)
    return ""


def astray(asked: Collection[int], allowed: Collection[int]) -> str:
    """The sentence for a process that may use other CPUs than it was given."""
    return f"It was to be confined to the CPUs {spelled(asked)}, but may use {spelled(allowed)}."


def _family(pid: int, proc: str | Path) -> Iterator[int]:
    """A process and its descendants, as far as the kernel names children (proc_pid_task(5)).

    It misses those of other threads than the first; to go through all processes of the system, as
    :func:`balsam.platform.process.family` does, takes too long for a look at each task.
    """
    found = [pid]
    while found:
        one = found.pop()
        yield one
        with contextlib.suppress(OSError):
            found += map(
                int, Path(proc, str(one), "task", str(one), "children").read_text().split()
            )
