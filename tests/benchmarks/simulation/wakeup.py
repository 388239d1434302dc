"""Sleeping in simulated time: to the next event of the nodes, or to the end of the pause."""

from __future__ import annotations

from balsam.launcher.wakeup import Wakeup
from tests.benchmarks.simulation.clock import Clock
from tests.benchmarks.simulation.nodes import Nodes


class JumpingWakeup(Wakeup):
    """The launcher's wakeup, that jumps where it would sleep.

    What is real (a signal, a notice of the database) still wakes it, before anything simulated.
    """

    def __init__(self, clock: Clock, nodes: Nodes) -> None:
        super().__init__()
        self._clock = clock
        self._nodes = nodes
        #: How often it would have slept.
        self.sleeps = 0

    def wait(self, seconds: float) -> None:
        """Jump to what happens next, ``seconds`` ahead at most."""
        if not self._selector.select(0):
            now = self._clock.monotonic()
            moment = min(now + max(0.0, seconds), self._nodes.next_at())
            if moment > now:
                self.sleeps += 1
                self._clock.skip_to(moment)
            return
        self._drain()
