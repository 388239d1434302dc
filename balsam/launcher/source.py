"""Where a launcher's work comes from: jobs leased in batches, as the record changes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from balsam import states
from balsam.core import history, lease, queue
from balsam.core.durations import Durations
from balsam.core.graph import parents_of
from balsam.core.lease import Scope
from balsam.core.models import ApplicationDefinition, BalsamJob
from balsam.core.queue import Bounds, Rooms
from balsam.core.record import joined
from balsam.launcher.books import Books
from balsam.launcher.due import Due
from balsam.launcher.node_pool import NodePool
from balsam.launcher.steps import WANTED
from balsam.launcher.tasks import Application, Task, from_row

#: How long to go by what was known of the applications' durations.
KNOWN_SECONDS = 60.0
#: Looking in vain through jobs that do not fit, or not yet, may take this share of the time; it
#: does if it takes longer than so much, and so much for each job that is found.
SHARE = 0.1
SLOW_SECONDS, ROW_SECONDS = 0.02, 0.0001
#: So long it takes to get past so many jobs in back-off that it is not done all the time, and so
#: long at most nothing is leased for that.
LONG_SECONDS, MOST_REST_SECONDS = 0.1, 5.0
#: So many are leased at once where each time means to go through many jobs with other tags.
MANY = 1000
_APP, _WALL, _LIMIT = map(
    lease.RUN_COLUMNS.index, ("app_id", "wall_time_minutes", "time_limit_minutes")
)


@dataclass(frozen=True)
class Past:
    """What may be leased past the head: of so many nodes at most, and on one if there is room.

    With ``within``, only what is known to end in so many seconds.
    """

    nodes: int
    rooms: Rooms
    within: float | None = None

    def covers(self, other: Past) -> bool:
        """Whether it lets through all that the other does."""
        ends = self.within is None or (other.within is not None and other.within <= self.within)
        return ends and other.nodes <= self.nodes and self.rooms.covers(other.rooms)


@dataclass
class Source:
    """Leases for one session, and what of them has not started yet (the stock, in order)."""

    session: int
    scope: Scope
    max_attempts: int
    nodes: NodePool
    serial_only: bool = False
    #: Every job is started by mpirun.
    mpi_only: bool = False
    #: There is no usable mpirun.
    without_mpi: bool = False
    stock: deque[Task] = field(default_factory=deque)
    #: By priority, then so (see queue.ORDERS).
    sort_by: str = queue.WIDE_FIRST
    #: Jobs that ask for more than there is are left to a launcher that has it; else they fail.
    leave_large: bool = False
    #: Seconds in which what is started has to end, None without a limit.
    seconds_left: Callable[[], float | None] = lambda: None
    durations: Durations = field(default_factory=Durations)
    #: Jobs that are to share no node with others.
    alone: set[int] = field(default_factory=set)
    #: Nothing of these was left to lease the last time: by whether they have a ``within``.
    looked: dict[bool, Past] = field(default_factory=dict)
    #: Whether jobs that need no mpirun were looked for, and none are left.
    looked_beside: bool = False
    books: Books = field(init=False)
    _dirty: bool = True
    _next_refresh: float = 0.0
    _rest_until: float = 0.0
    _least: int = 0
    _due: Due = field(default_factory=Due)
    #: Whether jobs were in back-off when it was last looked.
    _some_wait: bool = False
    #: Others may have changed something.
    _version: int = -1
    _listener: Any = None
    _apps: dict[int | None, Application] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.books = Books(
            self.scope, self.max_attempts, self.nodes, self.serial_only, self.leave_large
        )

    def begin(self) -> None:
        """Note where the record stands, and that everything in it has yet to be looked at."""
        queue.prepare(self.sort_by)
        # Before the record is read: a commit in between counts as a change; our own never do.
        self._version = lease.data_version()
        self._apps.clear()
        self.books.begin()

    @property
    def busy(self) -> bool:
        """Whether bookkeeping has more to do at once."""
        return self.books.busy

    def wrote(self, before: int, last: int) -> None:
        """Our own events follow on the one ``before``, up to the ``last``: no news of others."""
        self.books.wrote(before, last)

    def keep_books(self) -> bool:
        """Move a page of jobs that need no step; whether any of those it looked at needs one."""
        return self._noted(self.books.keep())

    def turn_away(self, runnable: Collection[int]) -> bool:
        """Fail those that ask for more than there is; whether a child of theirs needs a step."""
        return self._noted(self.books.turn_away(runnable))

    def _noted(self, found: set[str]) -> bool:
        """Note that jobs are in these states now; whether any needs a step."""
        if not found.isdisjoint(states.RUNNABLE_STATES):
            self.dirty = True
        return not found.isdisjoint(WANTED)

    def pass_jobs(self, ids: Collection[int]) -> None:
        """Move those that need no step as far as they go."""
        self.books.pass_jobs(ids)
        self.dirty = True

    def changed(self) -> bool:
        """Whether another process has committed since this was last asked.

        It may have given leases back, of which no event tells.
        """
        version = lease.data_version()
        if version == self._version:
            return False
        self._version = version
        self.dirty = True
        self.books.look_again()
        self._apps.clear()
        return True

    def fds(self) -> tuple[set[int], bool]:
        """What becomes readable at a change, if anything does; whether it is new since last time.

        Where there is nothing, one has to ask :meth:`changed` now and then.
        """
        listener = lease.listener()
        renewed, self._listener = listener is not self._listener, listener
        return ({listener.fileno()} if listener else set()), renewed

    @property
    def is_told(self) -> bool:
        """Whether changes wake the launcher."""
        return self._listener is not None

    @property
    def dirty(self) -> bool:
        """Whether something may be runnable that was not leased yet."""
        if self._due.passed():
            self.dirty = True
        return self._dirty

    @dirty.setter
    def dirty(self, value: bool) -> None:
        self._dirty = value
        self.looked = {}
        self.looked_beside = False

    def lease(self, number: int) -> int:
        """Lease up to ``number`` runnable jobs into the stock; how many it got.

        They are more where it took long to get past jobs with other tags.
        """
        if self._resting():
            return 0
        number = max(number, self._least)
        since = history.now()
        found = self._lease(number, self.bounds())
        self.dirty = found == number
        if not self._dirty:
            self._due.look(self.scope, since, states.RUNNABLE_STATES)
            self._some_wait = self._due.at is not None
        return found

    def lease_past(self, number: int, past: Past) -> int:
        """The same past what waits at the head. Does not ask again for what was not there."""
        if not self.dirty or self._resting():
            return 0
        if any(one.covers(past) for one in self.looked.values()):
            return 0
        bounds = replace(self.bounds(past.nodes, past.within), rooms=past.rooms)
        found = self._lease(number, bounds)
        if found < number:
            self.looked_at(past)
        return found

    def looked_at(self, past: Past) -> None:
        """Note that nothing of it can be leased to any use, until something changes.

        One with a ``within`` may have more room than one without: neither covers the other.
        """
        self.looked[past.within is not None] = past

    def lease_beside(self, number: int) -> int:
        """The same of jobs that need no mpirun, beside those that wait for one.

        Does not ask again for what was not there.
        """
        if not self.dirty or self._resting() or self.looked_beside:
            return 0
        found = self._lease(number, self.bounds(), without_mpi=True)
        self.looked_beside = found < number
        return found

    def bounds(self, nodes: int | None = None, within: float | None = None) -> Bounds:
        """What of the jobs can end in time: before the launcher does, and ``within`` seconds."""
        if self.leave_large:
            limits = self.nodes.limits
            most = limits.nodes if nodes is None else nodes
            bounds = self._bounds(most, within)
            return replace(bounds, ranks=limits.ranks, gpus=limits.gpus)
        return self._bounds(nodes, within)

    def _bounds(self, nodes: int | None, within: float | None) -> Bounds:
        left = self.seconds_left()
        if left is not None or self.nodes.limits.nodes > 1:
            self._refresh()
        if within is not None:
            seconds = within if left is None else min(left, within)
            return Bounds(nodes, seconds, known=self.durations.within(seconds))
        if left is None:
            return Bounds(nodes)
        return Bounds(nodes, left, self.durations.longer_than(left))

    def _refresh(self) -> None:
        now = time.monotonic()
        if now >= self._next_refresh:
            self._next_refresh = now + KNOWN_SECONDS
            if self.durations.refresh():
                self.looked = {}

    @property
    def deadline(self) -> float | None:
        """When (monotonic) there will be something to lease, if nothing happens before."""
        if self._dirty and self._resting():
            return self._rest_until
        return self._due.at

    def _resting(self) -> bool:
        """Whether it is too early to go again through many jobs that do not fit yet."""
        return time.monotonic() < self._rest_until

    def _lease(self, number: int, bounds: Bounds, *, without_mpi: bool = False) -> int:
        without_mpi |= self.without_mpi
        if without_mpi and self.mpi_only:
            return 0
        tags = bool(self.scope.tags)
        with joined():  # to wait for others to commit tells nothing of what looking costs
            begin = time.monotonic()
            rows = lease.lease_runnable(
                self.session,
                self.scope,
                number,
                serial_only=self.serial_only,
                without_mpi=without_mpi,
                bounds=bounds,
                sort_by=self.sort_by,
            )
            took = time.monotonic() - begin
        slow = took > SLOW_SECONDS + len(rows) * ROW_SECONDS
        if len(rows) < number:
            if slow and (bounds.restrict or tags):
                self._rest_until = begin + took / SHARE
            elif self._some_wait and took > LONG_SECONDS + len(rows) * ROW_SECONDS:
                self._rest_until = begin + min(took / SHARE, MOST_REST_SECONDS)
        self._least = MANY if slow and tags else 0
        if rows:
            parents = parents_of([row[0] for row in rows])
            of = self.durations.of
            self.stock.extend(
                from_row(
                    row,
                    parents.get(row[0], ()),
                    of(row[_APP], row[_WALL], row[_LIMIT]),
                    alone=row[0] in self.alone,
                )
                for row in rows
            )
        return len(rows)

    def waiting(self, most: int) -> int:
        """Jobs of one node that can start as soon as there is room, up to so many."""
        return len(self.stock) + lease.waiting(self.scope, most)

    def left_for_mode(self) -> int:
        """Jobs that are not run because they have several ranks, of whatever size."""
        return lease.left_for_mode(self.scope) if self.serial_only else 0

    def left_for_size(self) -> int:
        """Jobs that are not run because they ask for more than there is."""
        limits = self.nodes.limits
        most = Bounds(limits.nodes, ranks=limits.ranks, gpus=limits.gpus)
        return self._left(most) if self.leave_large else 0

    def left_for_time(self) -> int:
        """Jobs that are not run only because they would not end in time."""
        bounds = self.bounds()
        if bounds.seconds is None:
            return 0
        # The bounds are also those of size, which has been told of.
        return max(0, self._left(bounds) - self.left_for_size())

    def _left(self, bounds: Bounds) -> int:
        return lease.left(self.scope, bounds, serial_only=self.serial_only)

    def application(self, key: int | None) -> Application:
        """The application of a task; edits are seen once they are committed."""
        if key not in self._apps:
            app = ApplicationDefinition.objects.filter(pk=key).first() if key else None
            self._apps[key] = (
                Application(app.executable, app.envscript, app.environ_vars)
                if app
                else Application()
            )
        return self._apps[key]

    def give_back(self, tasks: Iterable[Task]) -> None:
        """Release leases of tasks that were not started."""
        keys = [task.id for task in tasks]
        if keys:
            lease.release(self.session, keys)

    def held(self, jobs: Collection[int] | None = None) -> dict[int, tuple[str, int, int]]:
        """What the session holds (of some ``jobs``): id -> (state, attempt, lost attempts)."""
        return lease.held(self.session, jobs)

    def drop(self, jobs: Collection[int]) -> None:
        """Forget tasks in stock that are no longer ours to run."""
        self.stock = deque(task for task in self.stock if task.id not in jobs)

    def left_for_mpi(self) -> int:
        """Jobs that are not run because there is no usable mpirun."""
        if not self.without_mpi:
            return 0
        return lease.left_for_mpi(self.scope, every=self.mpi_only)

    def unfinished(self) -> int:
        """Jobs in scope that have not ended."""
        return sum(
            number
            for state, number in lease.counts(self.scope).items()
            if state not in states.END_STATES
        )

    def similar_workflows(self) -> list[str]:
        """Workflows whose names contain the filter, if none is matched by it exactly."""
        name = self.scope.workflow
        jobs = BalsamJob.objects
        if not name or any(mark in name for mark in "*?[") or jobs.filter(workflow=name).exists():
            return []
        return [other for other, _ in jobs.filter(workflow__icontains=name).workflows()][:5]
