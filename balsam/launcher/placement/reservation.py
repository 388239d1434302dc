"""Which nodes are kept for the job at the head of the queue, and what may use them until then."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from balsam.launcher.placement.node import NEVER, Node
from balsam.launcher.placement.request import Request

#: Of so many nodes one is chosen for a job of one node.
CANDIDATES = 16


@dataclass
class Reservation:
    """Nodes kept for one request, in the order in which they will be free.

    By ``starts`` (monotonic) all that ran on them will have ended; it is None where
    that is not known.
    """

    request: Request
    nodes: list[Node]
    starts: float | None

    def ended(self) -> None:
        """Something ended on one of its nodes, perhaps earlier than it said."""
        latest = _latest(self.nodes)
        if latest != NEVER and (self.starts is None or latest < self.starts):
            self.starts = latest

    def lets(self, seconds: float | None, now: float) -> bool:
        """Whether what takes so long may use its nodes first."""
        return seconds is not None and self.starts is not None and now + seconds <= self.starts

    def exchange(self, idle: Node) -> Node | None:
        """Take an idle node for one that is still in use, which is returned; None without one."""
        for place in range(len(self.nodes) - 1, -1, -1):
            busy = self.nodes[place]
            if not busy.is_idle():
                del self.nodes[place]
                self.nodes.insert(0, idle)
                self.ended()
                return busy
        return None


def choose(request: Request, nodes: Iterable[Node], number: int, now: float) -> Reservation:
    """Keep those ``number`` of the ``nodes`` for a request that will be free first."""
    if number == 1:
        first = [min(islice(nodes, CANDIDATES), key=Node.end)]
    else:
        first = heapq.nsmallest(number, nodes, key=Node.end)
    latest = _latest(first)
    return Reservation(request, first, None if latest == NEVER else max(now, latest))


def _latest(nodes: Iterable[Node]) -> float:
    return max(node.end() for node in nodes)
