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
    #: The workers: start of their mpirun, per node, and how far apart they report in.
    workers: float = 2.0
    workers_per_node: float = 0.0005
    worker_spread: float = 0.5


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


#: What the launcher hears of an attempt, of a node (HELLO, ACK), and of rank 0 (PING).
BEGUN, OVER, WITHDRAWN, ACK, HELLO, PING = "begun", "over", "withdrawn", "ack", "hello", "ping"
#: What happened, on which node (-1: rank 0), to which attempt.
Happening = tuple[str, int, Any]
#: When at rank 0 or the launcher, in which order, what, where, whose, by which plan.
Entry = tuple[float, int, str, int, Any, int]


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
        self._heard: dict[bool, list[Happening]] = {False: [], True: []}
        self._beat = 0.0

    # -- what they are asked --------------------------------------------------------------------

    def gather(self, beat_seconds: float) -> None:
        """The workers start, and report in; then rank 0 gives a sign of life at each beat."""
        now, costs = self._now(), self.costs
        self._beat = beat_seconds
        start = now + costs.workers + costs.workers_per_node * self.number
        for node in range(self.number):
            self._push(start + costs.worker_spread * self._random.random(), HELLO, node)
        self._push(start, PING)

    def part(self) -> None:
        """The workers are gone."""
        self._heap = [entry for entry in self._heap if entry[4] is not None and entry[4].local]
        heapq.heapify(self._heap)

    def start(
        self, token: str, node: int, seconds: float, slots: float = 1.0, after: str = ""
    ) -> None:
        """Run a task on one node, ``after`` another of that node has ended."""
        attempt = self.running[token] = Attempt(token, (node,), slots, seconds)
        before = self.running.get(after) if after else None
        arrives = self._to_node()
        if before is not None:
            before.follower = token
            self._push(arrives + self._delay(), ACK, node)
        self._plan(attempt, arrives, before)

    def launch(self, token: str, nodes: Sequence[int], seconds: float, slots: float) -> None:
        """Run an mpirun over some nodes; its end is told at once, by the kernel."""
        costs = self.costs
        began = self._now() + costs.mpirun + costs.mpirun_per_node * len(nodes)
        attempt = Attempt(token, tuple(nodes), slots, seconds, began, began + seconds, local=True)
        self.running[token] = attempt
        self._push(attempt.ends + costs.mpirun_end, OVER, nodes[0], attempt)

    def end(self, token: str, number: int) -> None:
        """Send a signal that ends a task or an mpirun; one that has not begun is withdrawn."""
        attempt = self.running.get(token)
        if attempt is None or attempt.signal:
            return
        when = self._now() if attempt.local else self._to_node()
        if when >= attempt.ends:
            return
        what = OVER if when >= attempt.began else WITHDRAWN
        attempt.signal, attempt.ends = number, when
        attempt.plan += 1
        self._push(when + self._delay(), what, attempt.nodes[0], attempt)
        follower = self.running.get(attempt.follower)
        if follower is not None:
            follower.plan += 1
            self._plan(follower, when, None)

    def has_ended(self, token: str) -> bool:
        """Whether an attempt is over, also if nobody has heard of it yet."""
        attempt = self.running.get(token)
        return attempt is None or attempt.ends <= self._now()

    def on(self, node: int) -> list[str]:
        """What runs on a node or waits there."""
        return [
            token
            for token, attempt in self.running.items()
            if not attempt.local and attempt.nodes[0] == node
        ]

    # -- what they answer -----------------------------------------------------------------------

    def next_at(self) -> float:
        """When the launcher will hear of something next."""
        if self._heard[False] or self._heard[True]:
            return -math.inf
        return self._next_of_heap()

    def happened(self, *, local: bool) -> list[Happening]:
        """What the launcher has heard by now of its mpiruns, or else of its workers."""
        now = self._now()
        while self._next_of_heap() <= now:
            entry = heapq.heappop(self._heap)
            _, _, what, node, attempt, _ = entry
            own = attempt is not None and attempt.local
            if not own:
                self._relay_in = self._heard_at(entry)
            self._heard[own].append((what, node, attempt))
            if what == PING:
                self._push(now + self._beat, PING)
            elif what in (OVER, WITHDRAWN):
                del self.running[attempt.token]
                if what == OVER:
                    self.trace.add(attempt)
        found, self._heard[local] = self._heard[local], []
        return found

    def _next_of_heap(self) -> float:
        heap = self._heap
        while heap and heap[0][4] is not None and heap[0][5] != heap[0][4].plan:
            heapq.heappop(heap)
        return self._heard_at(heap[0]) if heap else math.inf

    def _plan(self, attempt: Attempt, arrives: float, before: Attempt | None) -> None:
        (node,) = attempt.nodes
        if before is not None and before.ends > arrives:
            began = before.ends + self.costs.spawn
        else:
            began = max(arrives, self._spawner_free[node]) + self.costs.spawn
            self._spawner_free[node] = began
        attempt.began, attempt.ends = began, began + attempt.seconds
        told = attempt.began + self._delay()
        self._push(told, BEGUN, node, attempt)
        self._push(max(told, attempt.ends + self._delay()), OVER, node, attempt)

    def _push(self, when: float, what: str, node: int = -1, attempt: Any = None) -> None:
        self._order += 1
        plan = attempt.plan if attempt is not None else 0
        heapq.heappush(self._heap, (when, self._order, what, node, attempt, plan))

    def _heard_at(self, entry: Entry) -> float:
        if entry[4] is not None and entry[4].local:
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
