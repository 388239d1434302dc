"""Attempts that are processes of this machine: serial ones of this node, and every mpirun."""

from __future__ import annotations

from balsam.launcher import runs
from balsam.launcher.runs import Run
from balsam.platform import evidence, process
from balsam.platform.process import Exit


class Near:
    """Those that run, by pid."""

    def __init__(self) -> None:
        self._runs: dict[int, Run] = {}
        self.oom = evidence.OomWatch()
        #: How many of them are mpiruns, and how many mpiruns there have been in all.
        self.mpiruns = 0
        self.launches = 0
        #: Each has to be asked whether it has ended.
        self._ask_all = False

    def __contains__(self, run: Run) -> bool:
        return self._runs.get(run.pid) is run

    def add(self, run: Run) -> None:
        """An attempt has begun."""
        self._runs[run.pid] = run
        if run.mpi is not None:
            self.mpiruns += 1
            self.launches += 1

    def ended(self) -> list[tuple[Run, Exit]]:
        """Those that have ended since this was last asked, reaped.

        The system names children that have ended, so that nobody has to ask each of a thousand.
        While it names one that is for others to reap, that tells nothing of the ones behind it.
        """
        found: list[tuple[Run, Exit]] = []
        while self._runs and not self._ask_all:
            pid = process.ended_child()
            if pid is None:
                return found
            run = self._runs.get(pid)
            if run is None:
                self._ask_all = True
            else:
                found.append((self._remove(run), process.collect(pid, run.since)))
        self._ask_all = False
        for run in list(self._runs.values()):
            end = process.reap(run.pid, run.since)
            if end is not None:
                found.append((self._remove(run), end))
        return found

    def _remove(self, run: Run) -> Run:
        del self._runs[run.pid]
        self.mpiruns -= run.mpi is not None
        return run

    def kill_all(self) -> None:
        """KILL everything at once."""
        runs.kill(self._runs.values())

    def beat(self) -> None:
        """What has to be done now and then.

        Out-of-memory kills of long ago are forgotten. If somebody else reaped a child of ours, it
        has to be asked for by its name.
        """
        self.oom.refresh()
        self._ask_all = True
