"""Serial attempts on the nodes of an ensemble: sent there, heard of, and what became of them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Hashable, Iterator
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
from balsam.launcher.node_pool import NodePool, Placement, Request
from balsam.launcher.runs import Run, Traces, lost, outcome
from balsam.launcher.shortages import Shortages
from balsam.launcher.tasks import Task
from balsam.outcomes import Outcome
from balsam.platform.process import RunSpec

#: Tasks that take longer than this on average are not sent ahead of time, nor behind one that has
#: taken longer by now. What has waited there for so long all the same is asked back.
SHORT_SECONDS = 2.0
#: How often to look for such.
RECALL_SECONDS = 0.25
#: Tasks for so long are sent ahead of time: more than a message takes to a node and back.
AHEAD_SECONDS = 0.25
MOST_AHEAD = 64
#: Nodes that get a TERM in so short a time get it from a scheduler.
TOGETHER_SECONDS = 10.0
SILENT = "its node is not heard of any more"
#: What the node knows, and nobody here has to.
_ELSEWHERE = RunSpec((), "", {}, "")
#: Weight of the latest attempt in the mean.
_LATEST = 0.05
#: Kinds of tasks are forgotten once there are so many.
_MANY = 4096


@dataclass(eq=False, slots=True)
class _Kind:
    """Tasks of one application that ask for the same: they may follow one another.

    ``mean`` is how many seconds the latest took.
    """

    mean: float = SHORT_SECONDS

    def ahead(self) -> int:
        """How many of them to send ahead of time."""
        if self.mean >= SHORT_SECONDS:
            return 0
        return min(MOST_AHEAD, int(AHEAD_SECONDS / max(self.mean, 1e-3)) + 1)

    def ended(self, seconds: float) -> None:
        """One has taken so long."""
        self.mean += _LATEST * (seconds - self.mean)


def _longest(kind: Hashable) -> int:
    """Of how many tasks a queue may be."""
    assert isinstance(kind, _Kind)
    return 1 + kind.ahead()


@dataclass(frozen=True)
class Returned:
    """A task that did not begin on the node it was sent to; ``cause`` as it was stopped, or ''.

    ``full`` says that there was no space for its output, or is ''.
    """

    task: Task
    cause: str = ""
    full: str = ""


@dataclass(slots=True)
class FarRun(Run):
    """An attempt that was sent to a node, which ends what it is told to."""

    hands: Hands | None = None
    #: It was asked back; what would follow it then might begin at once.
    recalled: bool = False

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


class Far:
    """What was sent to the nodes of an ensemble, by job."""

    def __init__(self, hands: Hands, nodes: NodePool) -> None:
        self.hands = hands
        self._nodes = nodes
        self._runs: dict[int, FarRun] = {}
        self._chains = Chains()
        self._short = Shortages(nodes)
        self._kinds: dict[tuple[int | None, Request], _Kind] = {}
        #: Tasks that were sent ahead, oldest first, and when (monotonic) they should have begun.
        self._ahead: deque[tuple[float, int]] = deque()
        self._next_recall = 0.0
        #: The nodes that answered when those were given up that do not.
        self._given_up: frozenset[str] | None = None
        #: A scheduler has ended tasks.
        self.terminated = False
        #: Node -> when (monotonic) it got a TERM.
        self._termed: dict[str, float] = {}

    def send(self, task: Task, placement: Placement, spec: RunSpec) -> FarRun:
        """Have an attempt begin at once."""
        run = self._file(task, placement)
        self._chains.begin(task.id, self._kind(task))
        self.hands.start(run.token, placement.nodes[0], spec)
        return run

    def predecessor(self, task: Task) -> FarRun | None:
        """An attempt whose share the task can have after it, within a moment; takes the place."""
        if self._nodes.reservation is not None:
            return None
        kind = self._kind(task)
        longest = _longest(kind)
        while (ends := self._chains.shortest(kind, longest)) is not None:
            first, last = (self._runs[job] for job in ends)
            if self._is_short(first, last):
                self._chains.append(task.id, last.task.id)
                return last
            self._chains.shut(last.task.id)
        return None

    def _is_short(self, first: FarRun, last: FarRun) -> bool:
        """Whether who joins a queue will soon begin, as far as one can tell."""
        if last.stopping or last.recalled or not self._nodes.gives(first.placement.nodes[0]):
            return False
        return not first.pid or time.monotonic() - first.since < SHORT_SECONDS

    def follow(self, task: Task, before: FarRun, spec: RunSpec) -> FarRun:
        """Have an attempt begin when another has ended, in its place."""
        run = self._file(task, before.placement)
        self._ahead.append((time.monotonic() + SHORT_SECONDS, task.id))
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
        return self._chains.room(_longest)

    @property
    def deadline(self) -> float | None:
        """When (monotonic) to call :meth:`hear` at the latest."""
        recall = max(self._next_recall, self._ahead[0][0]) if self._ahead else None
        times = (self.hands.deadline, self._short.deadline, recall)
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
                self._short.begun(run.task.id, run.placement.nodes[0])
                self._nodes.take_over(run.placement, run.task.seconds, time.monotonic())
                yield run, run.begun(event.pid, _by_our_clock(run, event.time))
            elif isinstance(event, Ended):
                yield run, self._ended(run, event)
            else:
                yield run, self._refused(run, event)
        self._recall()

    def _recall(self) -> None:
        """Ask back what has waited for too long on its node: who goes before it takes longer."""
        now = time.monotonic()
        if now < self._next_recall:
            return
        self._next_recall = now + RECALL_SECONDS
        while self._ahead and self._ahead[0][0] <= now:
            run = self._runs.get(self._ahead.popleft()[1])
            if run is not None and not run.pid:
                run.recalled = True
                self.hands.withdraw(run.token)

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
        if not event.stopped:
            run.stopping = ""
        elif event.stopped in states.CAUSES and not run.stopping:
            run.stopping = event.stopped
            if event.stopped == states.BATCH_TIME_LIMIT:
                self._note_term(run.placement.nodes[0])
        run.note = event.note
        found = Traces(lambda pid: event.oom, lambda: event.tail)
        result = outcome(run, event.end, found, event.wall_seconds)
        if result.data["cause"] == states.OK:
            # Where all fails at once, nothing is to be sent ahead.
            self._kind(run.task).ended(event.wall_seconds)
        ended = _by_our_clock(run, event.end.time)
        return End(run.task.id, states.RUNNING, run.attempt, result, ended)

    def _note_term(self, node: str) -> None:
        """Something got a TERM on a node. A scheduler sends that to all; one alone is shut down."""
        now = time.monotonic()
        self._termed[node] = now
        together = sum(now - when < TOGETHER_SECONDS for when in self._termed.values())
        others = (run.placement.nodes[0] not in self._termed for run in self._runs.values())
        self.terminated |= together > 1 or not any(others)

    def _refused(self, run: FarRun, event: Refused) -> End | Returned:
        task = run.task
        if event.shortage:
            self._leave(run, short=True)
            if not self._short.is_hopeless(task.id):
                return Returned(task, run.stopping)
        else:
            self._leave(run)
        if event.full and not task.user_workdir:
            return Returned(task, run.stopping, event.message)
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
        run = FarRun(task, placement, _ELSEWHERE, started=time.time(), hands=self.hands)
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

    def _kind(self, task: Task) -> _Kind:
        key = (task.app_id, task.request)
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= _MANY:
                self._kinds.clear()
            kind = self._kinds[key] = _Kind()
        return kind


def _by_our_clock(run: FarRun, when: float) -> float:
    """When a node says that something happened, but not before what went before, nor after now.

    Its clock may be another.
    """
    return max(run.started, min(when, time.time()))
