"""Jobs that need neither a step nor a run to go on: moved by the launchers beside their work."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

from balsam import states
from balsam.core import bookkeeping, misfits
from balsam.core.lease import Scope
from balsam.core.record import joined
from balsam.errors import Unsatisfiable
from balsam.launcher.node_pool import NodePool, Request, never

#: Rows moved set-wise between two looks at the running tasks.
PAGE = 1000


@dataclass
class Books:
    """Goes once through all jobs that may need it, then through those that events tell of.

    A launcher of one job leaves the others to others.
    """

    scope: Scope
    max_attempts: int
    nodes: NodePool
    serial_only: bool = False
    #: Jobs that ask for more than there is are left to a launcher that has it; else they fail.
    leave_large: bool = False
    _event: int = 0
    _more_events: bool = False
    #: States, and the last id that was looked at in each.
    _backlog: deque[tuple[str, int]] = field(default_factory=deque)

    def begin(self) -> None:
        """Note where the record stands, and that everything in it has yet to be looked at."""
        if self.scope.job is not None:
            self._more_events = True
            return
        self._event = bookkeeping.last_event()
        wanted = (*states.RUNNABLE_STATES, *reversed(states.PROCESSABLE_STATES))
        self._backlog = deque((state, 0) for state in wanted)

    def look_again(self) -> None:
        """There may be new events."""
        self._more_events = True

    def wrote(self, before: int, last: int) -> None:
        """Our own events follow on the one ``before``, up to the ``last``.

        They need not be looked through, if all before them have been.
        """
        if self._event == before and not self.scope.job:
            self._event = last

    @property
    def busy(self) -> bool:
        """Whether there is more to do at once."""
        return bool(self._backlog) or self._more_events

    def keep(self) -> set[str]:
        """Look at a page of jobs; the states from which they go on now, by a step or a run."""
        if self._backlog:
            state, after = self._backlog.popleft()
            ids = bookkeeping.backlog(state, after, PAGE)
            if len(ids) == PAGE:
                self._backlog.appendleft((state, ids[-1]))
            return self.pass_jobs(ids)
        if not self._more_events:
            return set()
        if self.scope.job is not None:
            self._more_events = False
            return set(bookkeeping.pass_jobs([self.scope.job], self.max_attempts).values())
        self._event, ids, self._more_events = bookkeeping.changed_since(self._event, PAGE)
        return self.pass_jobs(ids)

    def pass_jobs(self, ids: Collection[int]) -> set[str]:
        """Move those that need no step as far as they go; the states they are in then."""
        with joined():
            before = bookkeeping.last_event()
            here = bookkeeping.pass_jobs(ids, self.max_attempts)
            last = bookkeeping.last_event()
        self.wrote(before, last)
        runnable = [job for job, state in here.items() if state in states.RUNNABLE_STATES]
        return {*here.values(), *self.turn_away(runnable)}

    def turn_away(self, runnable: Collection[int]) -> set[str]:
        """Fail jobs that ask for more than this allocation can ever give, without their turn.

        Returns the states of children that go on all the same.
        """
        if not runnable or self.leave_large:
            return set()
        reasons: dict[misfits.Shape, str] = {}
        limits = self.nodes.limits
        for job in misfits.beyond(limits, runnable, self.scope, serial_only=self.serial_only):
            try:
                self.nodes.check(
                    Request(job.num_nodes, job.ranks_per_node, gpus_per_rank=job.gpus_per_rank)
                )
            except Unsatisfiable as error:
                reasons[job] = never(error)
        released = misfits.fail(reasons) if reasons else ()
        return self.pass_jobs(released) if released else set()
