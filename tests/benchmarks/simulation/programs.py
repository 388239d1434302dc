"""Processes that the launcher starts itself, as the simulated allocation runs them.

Stands in for ``spawn`` and ``reap`` of ``balsam.platform.process``.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Sequence
from dataclasses import replace

from balsam.conf.settings import Mpi as MpiSettings
from balsam.launcher import parts
from balsam.launcher.mpi import MpiFinder
from balsam.launcher.tasks import Mpi
from balsam.platform import process
from balsam.platform.flavours import FLAVOURS
from balsam.platform.process import Exit, RunSpec
from tests.benchmarks.simulation.clock import Clock
from tests.benchmarks.simulation.nodes import Nodes, seconds_of

#: Numbers from here on are nobody's: Linux gives none above 2^22.
FIRST_PID = 1 << 23


class _Found(MpiFinder):
    """An mpirun that need not be asked what it is."""

    def __init__(self) -> None:
        super().__init__(MpiSettings(), {})
        self._found = Mpi("/usr/bin/mpirun", FLAVOURS["mpich"])


class Programs:
    """Child processes of the launcher: lines of mpirun, by the hosts that they name."""

    def __init__(self, clock: Clock, nodes: Nodes, names: Sequence[str]) -> None:
        self._clock = clock
        self._nodes = nodes
        self._number_of = {name: number for number, name in enumerate(names)}
        self._next = FIRST_PID
        self._ended: dict[int, Exit] = {}
        self._epoch = clock.time() - clock.monotonic()

    def install(self) -> None:
        """Take the place of real processes in this one; every mpirun is an MPICH."""
        parts.finder = lambda starts: _Found()
        process.spawn = self.spawn
        process.reap = self.reap
        process.collect = self.collect
        process.ended_child = self.ended_child
        process.ended = self.ended
        process.signal_group = self.signal_group
        process.signal_all = self.signal_all
        process.family = self.family

    def spawn(self, spec: RunSpec) -> int:
        """Start an mpirun on the hosts that its arguments name."""
        with self._clock.stopped():
            self._next += 1
            nodes = self._hosts(spec.argv)
            slots = self._nodes.trace.slots
            self._nodes.launch(str(self._next), nodes, seconds_of(spec.argv), slots)
        self._clock.skip(self._nodes.costs.launch)
        return self._next

    def ended_child(self) -> int | None:
        """One that has ended and is yet to be reaped."""
        with self._clock.stopped():
            self._hear()
            return next(iter(self._ended), None)

    def collect(self, pid: int, begun: float = 0.0) -> Exit:
        """How one that has ended did so."""
        ended = self._ended.pop(pid)
        wall = ended.time - self._epoch - begun if begun else 0.0
        return replace(ended, wall_seconds=wall)

    def reap(self, pid: int, begun: float = 0.0) -> Exit | None:
        """How it ended, None while it runs."""
        with self._clock.stopped():
            self._hear()
            return self.collect(pid, begun) if pid in self._ended else None

    def _hear(self) -> None:
        for _, _, attempt in self._nodes.happened(local=True):
            number = int(attempt.token)
            code = 128 + attempt.signal if attempt.signal else 0
            now = self._clock.time()
            self._ended[number] = Exit(number, code, attempt.signal, 0.0, 4096, time=now)

    def ended(self, pid: int) -> bool:
        """Whether it is over, reaped or not."""
        return pid in self._ended or self._nodes.has_ended(str(pid))

    def signal_group(self, pid: int, number: int) -> bool:
        """Every signal but 0 ends a simulated program."""
        if self.ended(pid):
            return False
        if number in (signal.SIGTERM, signal.SIGKILL, signal.SIGINT):
            self._nodes.end(str(pid), number)
        return True

    def signal_all(self, pids: Iterable[int], number: int) -> None:
        """Send each a signal."""
        for pid in pids:
            self.signal_group(pid, number)

    def family(self, *pids: int) -> list[int]:
        """They have no children here."""
        return list(pids)

    def _hosts(self, argv: Sequence[str]) -> list[int]:
        for word in argv:
            found = [self._number_of.get(name) for name in word.split(",")]
            if None not in found:
                return [number for number in found if number is not None]
        raise ValueError(f"No node of the allocation is named in {argv}.")
