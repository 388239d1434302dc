"""Serial attempts on the nodes of an ensemble: sent there, heard of, and what became of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from balsam import states
from balsam.launcher.chains import Chains
from balsam.launcher.ensemble import protocol
from balsam.launcher.ensemble.protocol import (
    Ended,
    Hands,
    Mislaid,
    NodeLost,
    Refused,
    Started,
    Struck,
)
from balsam.launcher.entries import End, Start
from balsam.launcher.node_pool import NodePool, Placement
from balsam.launcher.runs import Run, Traces, lost, outcome
from balsam.launcher.shortages import Shortages
from balsam.launcher.tasks import Task
from balsam.outcomes import Outcome
from balsam.platform.process import RunSpec

#: Tasks that take longer than this on average are not sent ahead of time.
SHORT_SECONDS = 2.0
#: Tasks for so long are sent ahead of time: more than a message takes to a node and back.
AHEAD_SECONDS = 0.25
MOST_AHEAD = 64
SILENT = "its node is not heard of any more"
#: What the node knows, and nobody here has to.
_ELSEWHERE = RunSpec((), "", {}, "")
#: Weight of the latest attempt in the mean.
_LATEST = 0.05


@dataclass(frozen=True)
class Returned:
    """A task that did not begin on the node it was sent to; ``cause`` as it was stopped, or ''."""

    task: Task
    cause: str = ""


@dataclass(slots=True)
class FarRun(Run):
    """An attempt that was sent to a node, which ends what it is told to."""

    hands: Hands | None = None

    def signal(self, number: int) -> None:
        """Send a signal to the process group."""
        assert self.hands is not None
        self.hands.signal(self.token, number)

    def stop(self, cause: str, grace_seconds: float, *, even_ended: bool = False) -> None:
        """Have its node end it, by force after the grace; what it did by itself before counts."""
        assert self.hands is not None
        self.stopping = self.stopping or cause
        self.hands.stop(self.token, grace_seconds)

    def kill(self) -> None:
        """Have its node KILL it."""
        assert self.hands is not None
        self.hands.stop(self.token, 0.0)

    def kill_leftovers(self) -> None:
        """Its node has done that."""


class Far:
    """What was sent to the nodes of an ensemble, by job."""

    def __init__(self, hands: Hands, nodes: NodePool) -> None:
        self.hands = hands
        self._nodes = nodes
        self._runs: dict[int, FarRun] = {}
        self._chains = Chains()
        self._short = Shortages(nodes)
        self._mean = SHORT_SECONDS
        #: The nodes that answered when those were given up that do not.
        self._given_up: frozenset[str] | None = None
        #: A scheduler has ended tasks.
        self.terminated = False

    def send(self, task: Task, placement: Placement, spec: RunSpec) -> FarRun:
        """Have an attempt begin at once."""
        run = self._file(task, placement)
        self._chains.begin(task.id, task.request)
        self.hands.start(run.token, placement.nodes[0], spec)
        return run

    def predecessor(self, task: Task) -> FarRun | None:
        """An attempt whose share the task can have after it, within a moment; takes the place."""
        if self._nodes.reservation is not None:
            return None
        before = self._chains.append(task.id, task.request, 1 + self._ahead())
        return None if before is None else self._runs[before]

    def follow(self, task: Task, before: FarRun, spec: RunSpec) -> FarRun:
        """Have an attempt begin when another has ended, in its place."""
        run = self._file(task, before.placement)
        self.hands.start(run.token, before.placement.nodes[0], spec, before.token)
        return run

    def forget(self, task: Task) -> None:
        """A task that took a place is not sent after all."""
        if self._chains.leave(task.id):
            raise AssertionError("nobody held the share that was waited for")

    def room(self) -> int:
        """How many tasks may be sent ahead of time; none while a wide one waits for nodes."""
        if self._nodes.reservation is not None:
            return 0
        return self._chains.room(1 + self._ahead())

    @property
    def deadline(self) -> float | None:
        """When (monotonic) to call :meth:`hear` at the latest."""
        times = (self.hands.deadline, self._short.deadline)
        return min((when for when in times if when is not None), default=None)

    def hear(
        self,
    ) -> Iterator[tuple[FarRun, Start | End | Returned] | NodeLost | Mislaid | Struck]:
        """What has happened since, in order; a lost node comes after its attempts.

        Mislaid and Struck are about attempts that were not sent, but have ranks on a node.
        """
        self._short.look()
        for event in self.hands.poll():
            if isinstance(event, NodeLost):
                for token in event.tokens:
                    yield from self._lost(protocol.job_of(token), event)
                yield event
                continue
            if isinstance(event, Mislaid | Struck):
                yield event
                continue
            run = self._runs.get(protocol.job_of(event.token))
            if run is None or run.token != event.token:
                continue
            if isinstance(event, Started):
                self._short.begun(run.task.id)
                self._nodes.take_over(run.placement, run.task.seconds, time.time())
                yield run, run.begun(event.pid, event.time)
            elif isinstance(event, Ended):
                yield run, self._ended(run, event)
            else:
                yield run, self._refused(run, event)

    def give_up(self) -> Iterator[tuple[FarRun, End | Returned]]:
        """The stopped attempts on nodes that say nothing any more: there the end came first.

        To be called when all have been stopped. Looks only when other nodes answer than before.
        """
        ready = self.hands.ready_nodes
        if ready is self._given_up:
            return
        self._given_up = ready
        silent = [run for run in self._runs.values() if run.placement.nodes[0] not in ready]
        for run in silent:
            if run.stopping:
                self._leave(run)
                begun = bool(run.pid)
                yield run, lost(run, "", SILENT) if begun else Returned(run.task, run.stopping)

    def _ended(self, run: FarRun, event: Ended) -> End:
        self._leave(run)
        self._short.ended(run.placement.nodes[0])
        self._mean += _LATEST * (event.wall_seconds - self._mean)
        if not event.stopped:
            run.stopping = ""
        elif event.stopped in states.CAUSES and not run.stopping:
            run.stopping = event.stopped
            self.terminated |= event.stopped == states.BATCH_TIME_LIMIT
        run.note = event.note
        found = Traces(lambda pid: event.oom, lambda: event.tail)
        result = outcome(run, event.end, found, event.wall_seconds)
        return End(run.task.id, states.RUNNING, run.attempt, result, event.end.time)

    def _refused(self, run: FarRun, event: Refused) -> End | Returned:
        task = run.task
        if event.shortage:
            self._leave(run, short=True)
            if not self._short.is_hopeless(task.id):
                return Returned(task, run.stopping)
        else:
            self._leave(run)
        if not event.cause:
            return Returned(task, run.stopping)
        data = {"cause": event.cause, "attempt": task.attempt, "nodes": list(run.placement.nodes)}
        result = Outcome(states.FAILED, event.message, data)
        return End(task.id, task.state, task.attempt, result, time.time())

    def _lost(self, job: int, event: NodeLost) -> Iterator[tuple[FarRun, End | Returned]]:
        run = self._runs.get(job)
        if run is None:
            return
        self._leave(run)
        if not run.pid:
            yield run, Returned(run.task, run.stopping)
            return
        yield run, lost(run, event.node, event.why)

    def _file(self, task: Task, placement: Placement) -> FarRun:
        # Its own environment would be most of what a launcher of many nodes keeps in memory.
        run = FarRun(task, placement, _ELSEWHERE, hands=self.hands)
        self._runs[task.id] = run
        return run

    def _leave(self, run: FarRun, *, short: bool = False) -> None:
        del self._runs[run.task.id]
        if not self._chains.leave(run.task.id):
            return
        if short:
            self._short.keep(run.placement)
        else:
            self._nodes.give_back(run.placement)

    def _ahead(self) -> int:
        if self._mean >= SHORT_SECONDS:
            return 0
        return min(MOST_AHEAD, int(AHEAD_SECONDS / max(self._mean, 1e-3)) + 1)
