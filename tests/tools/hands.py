"""Hands that start nothing: what becomes of a task is said at once, as its node has it."""

from __future__ import annotations

import signal
import time
from collections.abc import Collection, Sequence

from balsam import states
from balsam.errors import LaunchError
from balsam.launcher.ensemble import protocol
from balsam.launcher.ensemble.protocol import (
    Confinement,
    Ended,
    Event,
    Mislaid,
    NodeLost,
    Refused,
    Started,
    Struck,
)
from balsam.platform.process import Exit, RunSpec

PID = 4242


class FakeHands:
    """On nodes of these names; tasks end well on most, fail on some, and take others with them.

    On those that are ``refusing`` none begins, for there is no program. On those that are
    ``holding``, the first one runs until it is stopped.
    """

    def __init__(
        self,
        names: Collection[str],
        failing: Collection[str] = (),
        dying: Collection[str] = (),
        refusing: Collection[str] = (),
        holding: Collection[str] = (),
    ) -> None:
        self.ready_nodes = frozenset(names)
        self.failing, self.dying, self.refusing = failing, dying, refusing
        self._holding = set(holding)
        #: Jobs that fail wherever they run, and jobs that run until they are stopped.
        self.bad: Collection[int] = ()
        self.slow: Collection[int] = ()
        #: Jobs that take down all that runs on their node, but not the node.
        self.deadly: Collection[int] = ()
        #: Those that run on and on.
        self.held: set[str] = set()
        #: What it took to reach the nodes.
        self.launches = 1
        #: Why there can be no node at all; to be said once.
        self.hopeless = ""
        #: With how long a grace it was closed, once it was.
        self.grace: float | None = None
        #: What was sent: token, node and specification.
        self.sent: list[tuple[str, str, RunSpec]] = []
        self.signals: list[tuple[str, int]] = []
        self.doubted: list[str] = []
        #: What was to be looked at; who was asked whether memory ran out, as it did on ``starved``.
        self.checked: list[tuple[str, tuple[str, ...], Confinement]] = []
        self.asked: list[tuple[str, tuple[str, ...]]] = []
        self.starved: set[str] = set()
        self._events: list[Event] = []
        self._doomed: dict[str, list[str]] = {}
        #: What waits for another: its token, and how it was to be started.
        self._waiting: dict[str, tuple[str, str, RunSpec]] = {}

    @property
    def deadline(self) -> float | None:
        """There is something to hear at once, or nothing."""
        return 0.0 if self._events or self._doomed else None

    def fds(self) -> list[int]:
        """None: all is known without waiting."""
        return []

    def start(self, token: str, node: str, spec: RunSpec, after: str = "") -> None:
        """Note that it ran, and how it ended."""
        if after and (after in self.held or after in self._waiting):
            self._waiting[token] = after, node, spec
            return
        self.sent.append((token, node, spec))
        if protocol.job_of(token) in self.deadly:
            victims = {other for other, where, _ in self.sent if where == node} & self.held
            self.held -= victims
            began = Started(token, PID, time.time())
            lost = NodeLost(node, "its keeper is gone", (token, *victims), gone=False)
            self._events += [began, lost]
            return
        if node in self.dying:
            self._doomed.setdefault(node, []).append(token)
            return
        if node in self.refusing:
            self._events.append(Refused(token, states.PROGRAM_MISSING, "There is no program."))
            return
        self._events.append(Started(token, PID, time.time()))
        job = protocol.job_of(token)
        if node in self._holding or job in self.slow:
            self._holding.discard(node)
            self.held.add(token)
        elif node in self.failing or job in self.bad:
            self._events.append(Ended(token, Exit(PID, 3, 0, 0.0, 0), 0.1, tail="the disk is gone"))
        else:
            self._events.append(Ended(token, Exit(PID, 0, 0, 0.0, 0), 0.1))

    def signal(self, token: str, number: int) -> None:
        """Take down who got which."""
        self.signals.append((token, number))

    def stop(self, token: str, grace_seconds: float) -> None:
        """All others have ended, or will with their node."""
        self.withdraw(token)
        if token in self.held:
            self.held.remove(token)
            end = Exit(PID, 143, signal.SIGTERM, 0.0, 0)
            self._events.append(Ended(token, end, 0.1, tail="step 12", stopped="yes"))
            self._go_on(token)

    def release(self, token: str) -> None:
        """Let one end well that runs on and on."""
        self.held.remove(token)
        self._events.append(Ended(token, Exit(PID, 0, 0, 0.0, 0), 360.0))
        self._go_on(token)

    def withdraw(self, token: str) -> None:
        """What waits for it waits for what it waited for."""
        if token in self._waiting:
            before, *_ = self._waiting.pop(token)
            for other, (after, node, spec) in self._waiting.items():
                if after == token:
                    self._waiting[other] = before, node, spec
            self._events.append(Refused(token, "", "It was stopped before it began."))

    def _go_on(self, ended: str) -> None:
        for token, (after, node, spec) in list(self._waiting.items()):
            if after == ended:
                del self._waiting[token]
                self.start(token, node, spec)
                self._go_on(token)

    def kill_all(self) -> None:
        """As for one."""

    def check(self, token: str, nodes: Sequence[str], confinement: Confinement) -> None:
        """Ranks are where they should not be, on each node."""
        self.checked.append((token, tuple(nodes), confinement))
        self._events += [Mislaid(token, f"It has wandered about {node}.") for node in nodes]

    def ask_memory(
        self, token: str, nodes: Sequence[str], seconds: float, ranks: int
    ) -> frozenset[str]:
        """Each node that is ready answers at once."""
        self.asked.append((token, tuple(nodes)))
        asked = self.ready_nodes.intersection(nodes)
        self._events += [Struck(token, node, node in self.starved) for node in asked]
        return asked

    def suspect(self, nodes: Sequence[str]) -> None:
        """Take down which."""
        self.doubted.extend(nodes)

    def flush(self) -> None:
        """Nothing is kept back."""

    def tell(self, *events: Event) -> None:
        """Have these happen."""
        self._events += events

    def poll(self) -> list[Event]:
        """What has happened. Raises LaunchError if there can be no node at all, once."""
        if self.hopeless:
            why, self.hopeless = self.hopeless, ""
            self._events += [NodeLost(node, why, ()) for node in self.ready_nodes]
            self.ready_nodes = frozenset()
            raise LaunchError(f"The workers can not be started: {why}.")
        events, self._events = self._events, []
        doomed, self._doomed = self._doomed, {}
        lost = [NodeLost(node, "it is on fire", tuple(doomed[node])) for node in doomed]
        self.ready_nodes -= frozenset(doomed)
        return [*events, *lost]

    def close(self, grace_seconds: float) -> None:
        """Nothing is to be heard any more."""
        self.grace = grace_seconds
