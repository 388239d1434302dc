"""Hands that start nothing: what becomes of a task is said at once, as its node has it."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from balsam.launcher.ensemble.protocol import Ended, Event, NodeLost, Started
from balsam.platform.process import Exit, RunSpec

PID = 4242


class FakeHands:
    """On nodes of these names; tasks end well on most, fail on some, and take others with them."""

    def __init__(
        self, names: Collection[str], failing: Collection[str] = (), dying: Collection[str] = ()
    ) -> None:
        self.ready_nodes = frozenset(names)
        self.failing, self.dying = failing, dying
        #: What it took to reach the nodes.
        self.launches = 1
        #: What was sent: token, node and specification.
        self.sent: list[tuple[str, str, RunSpec]] = []
        self.signals: list[tuple[str, int]] = []
        self.doubted: list[str] = []
        self._events: list[Event] = []
        self._doomed: dict[str, list[str]] = {}

    @property
    def deadline(self) -> float | None:
        """There is something to hear at once, or nothing."""
        return 0.0 if self._events or self._doomed else None

    def fds(self) -> list[int]:
        """None: all is known without waiting."""
        return []

    def start(self, token: str, node: str, spec: RunSpec, after: str = "") -> None:
        """Note that it ran, and how it ended."""
        self.sent.append((token, node, spec))
        if node in self.dying:
            self._doomed.setdefault(node, []).append(token)
            return
        self._events.append(Started(token, PID, time.time()))
        if node in self.failing:
            self._events.append(Ended(token, Exit(PID, 3, 0, 0.0, 0), 0.1, tail="the disk is gone"))
        else:
            self._events.append(Ended(token, Exit(PID, 0, 0, 0.0, 0), 0.1))

    def signal(self, token: str, number: int) -> None:
        """Take down who got which."""
        self.signals.append((token, number))

    def stop(self, token: str, grace_seconds: float) -> None:
        """All have ended, or will with their node."""

    def kill_all(self) -> None:
        """As for one."""

    def suspect(self, nodes: Sequence[str]) -> None:
        """Take down which."""
        self.doubted.extend(nodes)

    def flush(self) -> None:
        """Nothing is kept back."""

    def poll(self) -> list[Event]:
        """What has happened."""
        events, self._events = self._events, []
        doomed, self._doomed = self._doomed, {}
        lost = [NodeLost(node, "it is on fire", tuple(doomed[node])) for node in doomed]
        self.ready_nodes -= frozenset(doomed)
        return [*events, *lost]

    def close(self, grace_seconds: float) -> None:
        """There is nothing to end."""
