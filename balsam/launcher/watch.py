"""Which nodes may be given tasks: those that answer, as far as anybody asks them, and rest not."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Protocol

from balsam.launcher.node_pool import NodePool

#: How long a node that an mpirun lost has to answer again before it is trusted.
DOUBT_SECONDS = 15.0


class Answering(Protocol):
    """Knows which nodes answer."""

    @property
    def ready_nodes(self) -> frozenset[str]:
        """Those that may be given tasks."""
        ...

    def suspect(self, nodes: Sequence[str]) -> None:
        """An mpirun lost one of these nodes."""
        ...


class Watch:
    """Lets nodes rest that do not answer, of which an mpirun says that it lost them, or others."""

    def __init__(self, nodes: NodePool, hands: Answering | None) -> None:
        self._nodes = nodes
        self._hands = hands
        self._ready: frozenset[str] = frozenset()
        #: Until when (monotonic).
        self._doubted: dict[str, float] = {}

    def doubt(self, names: Iterable[str]) -> None:
        """An mpirun lost one of these nodes, but perhaps not all."""
        doubted = tuple(dict.fromkeys(names))
        for name in doubted:
            self.rest(name, DOUBT_SECONDS)
        if self._hands:
            self._hands.suspect(doubted)

    def rest(self, name: str, seconds: float) -> None:
        """Have a node rest for so long, whether it answers or not."""
        self._doubted[name] = max(time.monotonic() + seconds, self._doubted.get(name, 0.0))
        self._nodes.rest(name)

    def trust(self, name: str) -> None:
        """End the rest of a node."""
        if name in self._doubted:
            self._doubted[name] = 0.0

    def look(self) -> None:
        """See who answers."""
        ready = self._hands.ready_nodes if self._hands else self._ready
        if ready is not self._ready:
            for name in self._ready - ready:
                self._nodes.rest(name)
            for name in ready - self._ready:
                if name not in self._doubted:
                    self._nodes.resume(name)
            self._ready = ready
        if self._doubted:
            self._trust_again(time.monotonic())

    def _trust_again(self, now: float) -> None:
        for name in [name for name, until in self._doubted.items() if now >= until]:
            del self._doubted[name]
            if self._hands is None or name in self._ready:
                self._nodes.resume(name)
