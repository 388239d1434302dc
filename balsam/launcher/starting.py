"""Starting what a launcher has leased, and leasing as much as it will soon start."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from math import inf

from balsam.errors import BalsamError, MpiUnavailable, Unsatisfiable
from balsam.launcher.attempts import Attempts
from balsam.launcher.ending import could_not_start
from balsam.launcher.entries import Start
from balsam.launcher.ledger import Ledger
from balsam.launcher.node_pool import ROUNDING, Request
from balsam.launcher.progress import Progress
from balsam.launcher.source import Past, Source
from balsam.launcher.tasks import Task
from balsam.platform.full_disk import FullDisk
from balsam.platform.process import disk_is_full

logger = logging.getLogger(__name__)

#: Tasks are leased for so long ahead at the present rate: enough not to ask for each one.
AHEAD_SECONDS = 1.0
#: At most so many are leased at once, and so few until it is known what the tasks ask for.
MOST, FIRST = 1000, 64
#: So many that wait for their share are kept, past the one at the head.
KEPT = 16
#: How long a task counts as one that can not end in time.
HOPELESS_SECONDS = 60.0
#: How often to look whether more wait than will soon start.
TRIM_SECONDS = 1.0
#: How often to look whether so many wait that all nodes will be full, and which share of the time
#: that may take.
PLENTY_SECONDS, PLENTY_SHARE = 10.0, 0.01


@dataclass
class Starter:
    """Turns the stock of leased tasks into attempts.

    The first task for which there is no room is the head of the queue. If something is idle all
    the same, nodes are reserved for it, and narrower tasks are started past it.
    """

    source: Source
    attempts: Attempts
    ledger: Ledger
    progress: Progress
    tell: Callable[[str], None]
    asked_to_stop: Callable[[], bool]
    #: The clock of those who place tasks, which nobody sets.
    clock: Callable[[], float] = time.monotonic
    disk: FullDisk = field(default_factory=FullDisk)
    #: Tasks at the head that could not end in time where they could start first: until when
    #: (monotonic) that is taken to be so. What runs may end earlier than it said.
    _hopeless: dict[int, float] = field(default_factory=dict)
    #: Whether something was started: it is known what the tasks ask for.
    _begun: bool = False
    #: When (monotonic) to look at the length of the stock.
    _next_trim: float = field(default_factory=lambda: time.monotonic() + TRIM_SECONDS)
    #: When (monotonic) to look whether there is enough to fill all nodes.
    _next_plenty: float = 0.0
    #: Tasks in stock that were leased past the head, and so perhaps past others that come before.
    _passed: set[int] = field(default_factory=set)

    def start(self) -> None:
        """Start what fits, in order, and past the head what does not delay it."""
        if self.ledger.is_full or self.disk.deadline is not None:
            return
        turn = Turn(self.source.seconds_left())
        if not self.source.stock:
            self._passed.clear()
        self._forget_reservation()
        while turn.place < len(self.source.stock) or self._lease(turn):
            if self.asked_to_stop() or self.ledger.is_full or self.disk.deadline is not None:
                break
            task = self.source.stock[turn.place]
            if turn.head is None and task.id in self._passed:
                self._give_back_passed()
                continue
            if turn.is_too_late_for(task):
                self._give_back([task])
            elif not self._may_try(task, turn):
                turn.place += 1
            elif not self._start(task, turn):
                if not self._wait(task, turn):
                    break
                turn.place += 1
        if turn.head is not None:
            self._give_back_refused(turn)
        self._note_vain(turn)
        if time.monotonic() >= self._next_trim:
            self._trim()
        if turn.started:
            self.attempts.settle()

    def _start(self, task: Task, turn: Turn) -> bool:
        """Start a task; False if it has to wait."""
        app = self.source.application(task.app_id)
        try:
            start = self.attempts.start(task, app)
            if start is None:
                if turn.head is None:
                    self.attempts.prepare(task, app)
                return False
            if isinstance(start, Start):
                self.ledger.add(start)
                self.disk.has_room()
            turn.started = self._begun = True
            turn.in_vain = None
            self._passed.discard(task.id)
            self.progress.started()
        except MpiUnavailable as error:
            if self.source.scope.job is None:
                self._leave_to_mpi(error)
                turn.place, turn.head = 0, None
                return True
            self.ledger.add(could_not_start(task, error))
        except BalsamError as error:
            if self.source.leave_large and isinstance(error, Unsatisfiable):
                self._give_back([task])
                return True
            if disk_is_full(error) and not task.user_workdir:
                self.note_full_disk(str(error))
                return False
            self.ledger.add(could_not_start(task, error))
        del self.source.stock[turn.place]
        return True

    def note_full_disk(self, why: str) -> None:
        """Start nothing for a while: the disk of the project is full."""
        if self.disk.refused():
            words = f"{why} Nothing is started until there is space; trying again."
            logger.warning(words)
            self.tell(words)

    # -- past the head --------------------------------------------------------------------------

    def _wait(self, task: Task, turn: Turn) -> bool:
        """Have a task wait for its share, or for an mpirun; whether others may be tried."""
        nodes = self.attempts.nodes
        if self.attempts.mpiruns.awaited(task):
            turn.no_mpirun = True
            return not self.source.mpi_only
        if turn.head is None:
            full = nodes.idle_cores <= ROUNDING
            if full or nodes.fits(task.request, task.seconds, self.clock()):
                return False  # it is not its width that it waits for
            turn.head = task
            if task.request.num_nodes > 1:
                self._reserve(task, turn)
        turn.refuse(task)
        return True

    def _may_try(self, task: Task, turn: Turn) -> bool:
        """Whether a task is not one of those that have to wait."""
        if turn.no_mpirun and self.attempts.mpiruns.needed(task):
            return False
        return turn.head is None or self._may_pass(task, turn)

    def _may_pass(self, task: Task, turn: Turn) -> bool:
        """Whether there is room for a task behind the head, whose claim is made before."""
        nodes = self.attempts.nodes
        if turn.refuses(task):
            return False
        if not nodes.fits(task.request, task.seconds, self.clock()):
            turn.refuse(task)
            return False
        if nodes.reservation is None and turn.head is not None:
            self._reserve(turn.head, turn)
        return True

    def _reserve(self, task: Task, turn: Turn) -> None:
        """Reserve nodes for the head, if it can end in time where it could start first."""
        nodes = self.attempts.nodes
        now = self.clock()
        if nodes.reservation is not None or now < self._hopeless.get(task.id, 0.0):
            return
        self._hopeless.clear()
        kept = nodes.reserve(task.request, now)
        if kept is None or kept.starts is None or turn.left is None or task.seconds is None:
            return
        if kept.starts - now + task.seconds > turn.left:
            nodes.unreserve()
            self._hopeless[task.id] = now + HOPELESS_SECONDS

    def _forget_reservation(self) -> None:
        """End a reservation whose task has left the stock without being started."""
        kept = self.attempts.nodes.reservation
        if kept and not any(task.request == kept.request for task in self.source.stock):
            self.attempts.nodes.unreserve()

    def _give_back_refused(self, turn: Turn) -> None:
        """Leave to other launchers what was leased in vain: there is no room for it."""
        # With any more of them, none is leased past the head.
        behind = islice(self.source.stock, max(KEPT, self._ahead()) // 2, None)
        refused = [task for task in behind if turn.refuses(task)]
        if refused:
            self._give_back(refused)
            turn.place -= len(refused)

    def _give_back_passed(self) -> None:
        """Lease anew what was leased past a head that waits no more: others may come before it."""
        self._give_back([task for task in self.source.stock if task.id in self._passed])
        self._passed.clear()

    def _trim(self) -> None:
        """Leave to other launchers what was leased for soon, and has to wait after all.

        Short tasks came first, and long ones follow.
        """
        self._next_trim = time.monotonic() + TRIM_SECONDS
        kept = max(KEPT, self._ahead())
        if len(self.source.stock) > 2 * kept:
            self._give_back(list(islice(self.source.stock, kept, None)))

    def _give_back(self, tasks: list[Task]) -> None:
        looked = self.source.looked
        self.source.give_back(tasks)
        self.source.drop({task.id for task in tasks})
        self.source.dirty = True
        self.source.looked = looked

    def _leave_to_mpi(self, error: MpiUnavailable) -> None:
        """Leave what needs an mpirun to a launcher that has one."""
        self.source.without_mpi = True
        self._give_back([task for task in self.source.stock if self.attempts.mpiruns.needed(task)])
        self.tell(f"{error} Jobs that need one are left for a launcher that has it.")

    # -- leasing --------------------------------------------------------------------------------

    def _lease(self, turn: Turn) -> bool:
        """Lease what will soon start, past the head what can start now; whether there was any."""
        if not self.source.dirty:
            return False
        room = self.attempts.room()
        if turn.head is not None:
            return self._lease_past(turn, room)
        if turn.no_mpirun:
            return self._lease_beside(room)
        if not room:
            return False
        self._look_for_plenty(room)
        return self.source.lease(self._number(room)) > 0

    def _look_for_plenty(self, room: int) -> None:
        """Now and then, while nodes are idle, see whether there are jobs for all that is free."""
        nodes, now = self.attempts.nodes, time.monotonic()
        if nodes.idle_nodes < 2:
            nodes.plenty = False
        elif now >= self._next_plenty:
            nodes.plenty = self.source.waiting(room) >= room
            took = time.monotonic() - now
            self._next_plenty = now + max(PLENTY_SECONDS, took / PLENTY_SHARE)

    def _number(self, room: int) -> int:
        return min(max(room if self._begun else min(room, FIRST), self._ahead()), MOST)

    def _lease_beside(self, room: int) -> bool:
        """Lease what can start although no mpirun can; whether there was any."""
        if self.attempts.nodes.open_cores <= ROUNDING:
            return False
        return self.source.lease_beside(self._number(max(room, KEPT))) > 0

    def _lease_past(self, turn: Turn, room: int) -> bool:
        self._give_back_refused(turn)
        self._note_vain(turn)
        waiting = len(self.source.stock)
        if 2 * waiting > max(KEPT, self._ahead()):
            return False
        number = min(max(room, self._ahead(), KEPT - waiting), MOST)
        for past in self._pasts():
            if self.source.lease_past(number, past):
                turn.in_vain = past
                self._passed.update(task.id for task in islice(self.source.stock, waiting, None))
                return True
        return False

    def _note_vain(self, turn: Turn) -> None:
        """Do not lease again what was leased past the head, if none of it could be started."""
        if turn.in_vain:
            self.source.looked_at(turn.in_vain)
            turn.in_vain = None

    def _pasts(self) -> Iterator[Past]:
        """What there is room for although the head has to wait.

        That is anything on nodes that are not kept for it; then what ends in time on those as well,
        for what is free elsewhere may be too little for any job.
        """
        nodes = self.attempts.nodes
        rooms = nodes.rooms()
        if rooms.free:
            yield Past(max(1, nodes.idle_nodes), rooms)
        kept, rooms = nodes.reservation, nodes.rooms(kept_too=True)
        left = kept.starts - self.clock() if kept and kept.starts else 0.0
        if left > 0 and rooms.free:
            yield Past(max(1, nodes.idle_nodes + nodes.kept_idle_nodes), rooms, left)

    def _ahead(self) -> int:
        return int(self.progress.rate() * AHEAD_SECONDS)


def _length(task: Task) -> float:
    """Seconds that a task may take."""
    return inf if task.seconds is None else task.seconds


@dataclass
class Turn:
    """One pass over the stock."""

    #: Seconds in which what is started has to end, None without a limit.
    left: float | None
    #: The first task that waits for its share, if something is idle all the same.
    head: Task | None = None
    #: Whether those that need an mpirun have to wait for one.
    no_mpirun: bool = False
    #: What there was no room for, and for how many seconds at least: a shorter task may fit.
    refused: dict[Request, float] = field(default_factory=dict)
    place: int = 0
    started: bool = False
    #: What was leased past the head last, if none of that was started yet.
    in_vain: Past | None = None

    def refuse(self, task: Task) -> None:
        """There was no room for a task."""
        self.refused[task.request] = min(_length(task), self.refused.get(task.request, inf))

    def refuses(self, task: Task) -> bool:
        """Whether there can be no room for a task, as there was none for one like it."""
        least = self.refused.get(task.request)
        return least is not None and _length(task) >= least

    def is_too_late_for(self, task: Task) -> bool:
        """Whether a task that was leased in time would not end in time any more."""
        return self.left is not None and task.seconds is not None and task.seconds > self.left
