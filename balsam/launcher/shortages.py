"""Nodes that lack processes or memory for one more task: what it would have got stays taken."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from balsam.launcher.node_pool import NodePool, Placement

#: How long a share is kept where nothing ends: at first, and at most, for it doubles each time.
FIRST_SECONDS, MOST_SECONDS = 1.0, 60.0
#: A task that found no room in so many tries, for so long, can not run at all.
TRIES, PATIENCE_SECONDS = 5, 300.0
#: Once one finds room again, so many shares are given back for each task that begins.
GROWTH = 2


@dataclass
class _Short:
    """One such node: shares that nobody gets, and when (monotonic) the next of them is tried."""

    again: float
    pause: float = FIRST_SECONDS
    shares: list[Placement] = field(default_factory=list)
    #: Whether nothing was refused since a share was tried: then a task that begins shows that there
    #: is room again. Others may just have taken the place of one that ended.
    growing: bool = False


class Shortages:
    """Keeps shares of such nodes from others, who would be sent there in vain again and again.

    When a task of the node ends, there may be room for another, so one is given back then. Else
    that is tried from time to time, and as soon as it succeeds ever more are given back, until one
    is refused.
    """

    def __init__(self, nodes: NodePool) -> None:
        self._nodes = nodes
        self._short: dict[str, _Short] = {}
        #: Of tasks that were sent away: since when (monotonic), and how often.
        self._tries: dict[int, tuple[float, int]] = {}
        #: When (monotonic) to call :meth:`look`.
        self.deadline: float | None = None

    def keep(self, placement: Placement) -> None:
        """A node had no room for what it was to start in this share, which is not given back."""
        now = time.monotonic()
        [node] = placement.nodes
        short = self._short.get(node)
        if short is None:
            short = self._short[node] = _Short(now + FIRST_SECONDS)
        short.shares.append(placement)
        short.growing = False
        self._set_deadline()

    def is_hopeless(self, job: int) -> bool:
        """A task was sent away once more; whether that has been going on for too long."""
        now = time.monotonic()
        since, tries = self._tries.get(job, (now, 0))
        if tries + 1 >= TRIES and now - since >= PATIENCE_SECONDS:
            del self._tries[job]
            return True
        self._tries[job] = since, tries + 1
        return False

    def begun(self, job: int, node: str) -> None:
        """A task has found room on a node."""
        if self._tries:
            self._tries.pop(job, None)
        short = self._short.get(node) if self._short else None
        if short is not None and short.growing:
            short.pause = FIRST_SECONDS
            for _ in range(min(GROWTH, len(short.shares) + 1)):
                self._try(node, short)

    def ended(self, node: str) -> None:
        """A task of a node has ended: there may be room for another."""
        short = self._short.get(node) if self._short else None
        if short is not None:
            short.pause = FIRST_SECONDS
            self._try(node, short)

    def look(self) -> None:
        """Try again where nothing has ended for long enough."""
        now = time.monotonic()
        if self.deadline is None or now < self.deadline:
            return
        for node, short in list(self._short.items()):
            if now >= short.again:
                short.pause = min(2 * short.pause, MOST_SECONDS)
                short.growing = True
                self._try(node, short)

    def _try(self, node: str, short: _Short) -> None:
        """Give a share back; who is sent there next finds out."""
        if short.shares:
            self._nodes.give_back(short.shares.pop())
            short.again = time.monotonic() + short.pause
        else:
            # The share that was tried last was not refused any more.
            del self._short[node]
        self._set_deadline()

    def _set_deadline(self) -> None:
        self.deadline = min((short.again for short in self._short.values()), default=None)
