"""The whole allocation as one large node, whose tasks are processes of the launcher.

For a launcher without remote hands: every ``spawn`` goes to the simulated node with room.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from balsam.platform.process import Exit, RunSpec
from tests.benchmarks.simulation.clock import Clock
from tests.benchmarks.simulation.nodes import Nodes, seconds_of
from tests.benchmarks.simulation.programs import Programs


class OneNode(Programs):
    """Slots of all nodes, the emptiest node first."""

    def __init__(self, clock: Clock, nodes: Nodes) -> None:
        super().__init__(clock, nodes, ())
        slots = nodes.trace.slots
        self._free = [(slot, node) for node in range(nodes.number) for slot in range(slots)]
        heapify(self._free)
        self._at: dict[int, tuple[int, int]] = {}

    def spawn(self, spec: RunSpec) -> int:
        with self._clock.stopped():
            self._next += 1
            place = self._at[self._next] = heappop(self._free)
            self._nodes.start(str(self._next), place[1], seconds_of(spec.argv))
        return self._next

    def reap(self, pid: int) -> Exit | None:
        with self._clock.stopped():
            for what, attempt in self._nodes.happened(local=False):
                if what == "ended":
                    number = int(attempt.token)
                    code = 128 + attempt.signal if attempt.signal else 0
                    when = self._clock.time()
                    ended = Exit(number, code, attempt.signal, 0.0, 0, time=when)
                    self._ended[number] = ended
            found = self._ended.pop(pid, None)
            if found:
                heappush(self._free, self._at.pop(pid))
            return found
