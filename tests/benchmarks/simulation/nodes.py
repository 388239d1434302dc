"""The nodes of a simulated allocation: what they are asked, and what they will answer when.

A task here is a number of seconds. Messages take time, rank 0 passes on one after the other, a node
spawns one task after the other; what has been decided lies in a heap until its time has come.
"""

from __future__ import annotations

import heapq
import math
import random
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Costs:
    """Seconds that things take on the machine; see docs/simulation.rst for where they are from."""

    #: A message between the launcher and a node, each way: the ranks poll, so it varies.
    message: tuple[float, float] = (0.0005, 0.006)
    #: Rank 0's work on each message.
    relay: float = 0.00003
    #: posix_spawn of a task on its node.
    spawn: float = 0.0015
    #: An mpirun: the launcher's own share of starting it, its start, per node, and its end.
    launch: float = 0.001
    mpirun: float = 0.3
    mpirun_per_node: float = 0.001
    mpirun_end: float = 0.1


@dataclass
class Attempt:
    """A task on its node. Times are those of the clock, as the node sees them."""

    token: str
    nodes: tuple[int, ...]
    #: Of each node.
    slots: float
    seconds: float
    began: float = 0.0
    ends: float = 0.0
    #: Started by an mpirun of the launcher's own, not by a worker.
    local: bool = False
    signal: int = 0
    #: Waits for this one to end.
    follower: str = ""
    #: Counts what was planned anew: older plans in the heap are void.
    plan: int = 0


#: When at rank 0 or the launcher, in which order, what, whose, by which plan.
Entry = tuple[float, int, str, Attempt, int]


@dataclass
class Trace:
    """What ran when, as the nodes saw it: one entry for each attempt, and each node's first."""

    slots: int
    first: dict[int, float] = field(default_factory=dict)
    begins: array[float] = field(default_factory=lambda: array("d"))
    ends: array[float] = field(default_factory=lambda: array("d"))
    #: Slots that each held; negative for an attempt that was cut short.
    widths: array[float] = field(default_factory=lambda: array("d"))

    def add(self, attempt: Attempt) -> None:
        """Note an attempt that is over."""
        slots = attempt.slots * len(attempt.nodes)
        self.begins.append(attempt.began)
        self.ends.append(attempt.ends)
        self.widths.append(-slots if attempt.signal else slots)
        for node in attempt.nodes:
            if attempt.began < self.first.get(node, math.inf):
                self.first[node] = attempt.began


class Nodes:
    """What happens on the nodes of an allocation, by token of the attempt.

    ``now`` is the clock (monotonic). Answers are handed out by :meth:`happened`, in order.
    """

    def __init__(
        self,
        number: int,
        slots: int,
        now: Callable[[], float],
        costs: Costs | None = None,
        seed: int = 0,
    ) -> None:
        self.number = number
        self.costs = costs or Costs()
        self.trace = Trace(slots)
        self.running: dict[str, Attempt] = {}
        self._now = now
        self._random = random.Random(seed)
        self._spawner_free = array("d", bytes(8 * number))
        self._relay_out = self._relay_in = 0.0
        self._order = 0
        self._heap: list[Entry] = []
        self._heard: dict[bool, list[tuple[str, Attempt]]] = {False: [], True: []}

    def start(
        self, token: str, node: int, seconds: float, slots: float = 1.0, after: str = ""
    ) -> None:
        """Run a task on one node, ``after`` another of that node has ended."""
        attempt = self.running[token] = Attempt(token, (node,), slots, seconds)
        before = self.running.get(after) if after else None
        if before is not None:
            before.follower = token
        self._plan(attempt, self._to_node(), before)

    def launch(self, token: str, nodes: Sequence[int], seconds: float, slots: float) -> None:
        """Run an mpirun over some nodes; its end is told at once, by the kernel."""
        costs = self.costs
        began = self._now() + costs.mpirun + costs.mpirun_per_node * len(nodes)
        attempt = Attempt(token, tuple(nodes), slots, seconds, began, began + seconds, local=True)
        self.running[token] = attempt
        self._push(attempt.ends + costs.mpirun_end, "ended", attempt)

    def end(self, token: str, number: int) -> None:
        """Send a signal that ends a task or an mpirun."""
        attempt = self.running.get(token)
        if attempt is None or attempt.signal:
            return
        when = self._now() if attempt.local else self._to_node()
        if when >= attempt.ends:
            return
        attempt.signal, attempt.ends = number, when
        attempt.began = min(attempt.began, when)
        attempt.plan += 1
        self._push(when + self._delay(), "ended", attempt)
        follower = self.running.get(attempt.follower)
        if follower is not None:
            follower.plan += 1
            self._plan(follower, when, None)

    def has_ended(self, token: str) -> bool:
        """Whether an attempt is over, also if nobody has heard of it yet."""
        attempt = self.running.get(token)
        return attempt is None or attempt.ends <= self._now()

    def next_at(self) -> float:
        """When the launcher will hear of something next."""
        if self._heard[False] or self._heard[True]:
            return -math.inf
        return self._next_of_heap()

    def _next_of_heap(self) -> float:
        heap = self._heap
        while heap and heap[0][4] != heap[0][3].plan:
            heapq.heappop(heap)
        return self._heard_at(heap[0]) if heap else math.inf

    def happened(self, *, local: bool) -> list[tuple[str, Attempt]]:
        """What the launcher has heard by now of its mpiruns, or else of its workers.

        Each is "started" or "ended", and the attempt.
        """
        now = self._now()
        while self._next_of_heap() <= now:
            entry = heapq.heappop(self._heap)
            _, _, what, attempt, _ = entry
            if not attempt.local:
                self._relay_in = self._heard_at(entry)
            self._heard[attempt.local].append((what, attempt))
            if what == "ended":
                del self.running[attempt.token]
                self.trace.add(attempt)
        found, self._heard[local] = self._heard[local], []
        return found

    def _plan(self, attempt: Attempt, arrives: float, before: Attempt | None) -> None:
        (node,) = attempt.nodes
        if before is not None and before.ends > arrives:
            began = before.ends + self.costs.spawn
        else:
            began = max(arrives, self._spawner_free[node]) + self.costs.spawn
            self._spawner_free[node] = began
        attempt.began, attempt.ends = began, began + attempt.seconds
        told = attempt.began + self._delay()
        self._push(told, "started", attempt)
        self._push(max(told, attempt.ends + self._delay()), "ended", attempt)

    def _push(self, when: float, what: str, attempt: Attempt) -> None:
        self._order += 1
        heapq.heappush(self._heap, (when, self._order, what, attempt, attempt.plan))

    def _heard_at(self, entry: Entry) -> float:
        if entry[3].local:
            return entry[0]
        return max(entry[0], self._relay_in) + self.costs.relay

    def _to_node(self) -> float:
        self._relay_out = max(self._now(), self._relay_out) + self.costs.relay
        return self._relay_out + self._delay()

    def _delay(self) -> float:
        return self._random.uniform(*self.costs.message)


def seconds_of(argv: Sequence[Any]) -> float:
    """How long a simulated program runs: its last argument."""
    return float(argv[-1])
