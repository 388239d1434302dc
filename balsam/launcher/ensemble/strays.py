"""What tasks of a node have left behind: found by the marks in its environment, and ended."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Collection

from balsam.launcher.ensemble.protocol import RUN_MARK
from balsam.platform import process

#: The variable by which what ran under one keeper is found again; the value names it.
KEEPER_MARK = "BALSAM_KEEPER"


def mark_of(session: str, node: str) -> str:
    """What the tasks of this node and session carry in their environment."""
    return f"{session}@{node}"


def end_leftovers(keeper: str, runs: Collection[str]) -> None:
    """KILL processes of stopped attempts (by their marks) that left their group and outlived it."""
    wanted = {f"{RUN_MARK}={run}".encode() for run in runs if run}
    if not wanted:
        return
    for pid in process.marked_processes(KEEPER_MARK, keeper):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as environ:
            if not wanted.isdisjoint(environ.read().split(b"\0")):
                process.signal_all([pid], signal.SIGKILL)


def end_strays(mark: str, looks: int = 1, seconds: float = 10.0) -> int:
    """KILL what ran under an earlier keeper of this node; how many there were.

    Returns when so many looks in a row found nothing, or after so many seconds. A process that was
    started a moment ago shows its mark a moment later, so one look may be too few.
    """
    deadline = time.monotonic() + seconds
    killed: set[int] = set()
    clean = 0
    while clean < looks and time.monotonic() < deadline:
        strays = process.marked_processes(KEEPER_MARK, mark)
        killed.update(strays)
        process.signal_all(strays, signal.SIGKILL)
        clean = 0 if strays else clean + 1
        if clean < looks:
            time.sleep(0.01)
    return len(killed)
