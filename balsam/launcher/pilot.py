"""The launcher: one process that leases jobs, runs them, and commits what became of them.

It sleeps until a child ends, a worker answers, the database changes, or a timer is due.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from balsam.conf.project import Project
from balsam.core import sessions
from balsam.errors import LeaseLost
from balsam.launcher import unmatched
from balsam.launcher.entries import End, Start
from balsam.launcher.equipment import Equipment
from balsam.launcher.far import Returned
from balsam.launcher.options import LauncherOptions, Report, silent
from balsam.launcher.wakeup import Wakeup

#: How often a launcher looks for changes that it should have been told of.
TOLD_SECONDS = 1.0
#: What to do where the workers on the nodes can not be started.
WITHOUT_WORKERS = (
    "More is in log/ensemble-*.log; 'balsam launcher --job-mode mpi' starts every job by mpirun, "
    "and needs no workers."
)
#: For so long at most nothing is done but to replace tasks that have ended by others.
REPLACING_SECONDS = 0.01
#: How often one that stops looks whether it has to go on waiting for its attempts.
STOPPING_SECONDS = 0.25


class Launcher(Equipment):
    """A pilot of one allocation: ``step`` does what is due, ``run`` steps until nothing is left."""

    def __init__(
        self,
        project: Project,
        options: LauncherOptions,
        wakeup: Wakeup,
        report: Report = silent,
        worker_log: str | None = None,
    ) -> None:
        super().__init__(project, options, wakeup, report, worker_log)
        #: Jobs that were left for want of an mpirun.
        self._left = 0
        #: It lost every node.
        self._lost_all = False
        now = time.monotonic()
        self._next_look = self._next_beat = self._next_sessions = now
        #: Until then (monotonic) nobody can have taken over what it has leased.
        self._sure_until = now + self.settings.launcher.lease_seconds

    # -- the loop -------------------------------------------------------------------------------

    def run(self) -> int:
        """Step until the work or the time is over, then stop cleanly; the exit code.

        It is 1 if work is left for want of an mpirun, or because all nodes were lost.
        """
        self._guard.run(self._count_first)
        try:
            while not self.finished():
                self.step()
            if not self.stopping.why:
                self._guard.run(self._count_left)
        finally:
            self.shut()
        return 1 if self._left or self._lost_all else 0

    def step(self) -> None:
        """Wait for the next thing to happen, and do what is due."""
        self.attempts.flush()
        heard, renewed = self.source.fds()
        heard.update(self.steps.fds(), self.attempts.fds())
        self._wakeup.watch(heard, renewed=renewed)
        self._wakeup.wait(self._pause())
        self._replace_ended()
        for end in self.steps.poll():
            self.ledger.add(end)
        self._guard.run(self._look)
        if not self.stopping.why:
            self._mpi.poll()
            self._start()
            self._tell_news()
        self._timers()
        self._committer.write()
        # With nothing running there is no other outcome to wait for, but perhaps a child for this.
        at_once = bool(self.stopping.why) or not len(self.attempts)
        if self._committer.due(at_once) and self._guard.run(self._commit):
            self._suspicion.committed()
        self._teller.progress()

    def _replace_ended(self) -> None:
        """Take in what has ended, and put the cores that are idle now to work again.

        Nothing else goes before that. While short tasks end all the time it goes on for a moment,
        unless something else is due.
        """
        until = time.monotonic() + REPLACING_SECONDS
        while True:
            self._heed()
            ended = self._reap()
            # What follows may wait for the database, and nobody else knows of these ends.
            self._committer.write()
            if self.attempts.terminated and not self.stopping.why:
                self.stopping.stop("the scheduler ends its tasks")
            if not ended or not self.source.stock or self.stopping.why or self.ledger.is_full:
                return
            self._start()
            left = until - time.monotonic()
            if left <= 0:
                return
            # A task may take the launcher down with it: that it began has to be known by then.
            self._committer.write()
            self.attempts.flush()
            self._wakeup.wait(min(left, self._pause()))

    def _start(self) -> None:
        """Start what fits; after a suspension only if nobody has taken it over meanwhile.

        After trouble with the database nothing, before we have caught up with it.
        """
        if self._guard.shaken:
            return
        if time.monotonic() < self._sure_until or self._guard.run(self._beat):
            self._guard.run(self.starter.start)

    def finished(self) -> bool:
        """Whether there is nothing more to do, now or soon."""
        if not self.stopping.why and not self.source.nodes.limits.nodes:
            self.stopping.stop("no node is left to it")
            self._lost_all = True
            if self.attempts.trouble:
                self._teller.tell(f"{self.attempts.trouble} {WITHOUT_WORKERS}")
        if self.stopping.why:
            return self.stopping.over()
        return self.idling.over()

    def _count_first(self) -> None:
        self._progress.begin()
        if not self._progress.jobs:
            notice = unmatched.sentence(self._scope, self.source.similar_workflows())
            if notice:
                self._teller.tell(notice)

    def _count_left(self) -> None:
        several = self.source.left_for_mode()
        they = "it has" if several == 1 else "they have"
        serial = f": {they} several ranks, and this launcher runs serial jobs only"
        self._tell_left(several, serial)
        large = (
            ": more nodes, ranks or GPUs are asked for than this launcher has "
            "('balsam why ID' says which)"
        )
        self._tell_left(self.source.left_for_size(), large)
        self._tell_left(self.source.left_for_time(), " for want of time")
        self._left = self.source.left_for_mpi()
        spent = self.attempts.mpiruns.spent
        self._tell_left(self._left, f": {spent}" if spent else " for want of a usable mpirun")

    def _tell_left(self, number: int, why: str) -> None:
        if number:
            some = "1 job was" if number == 1 else f"{number} jobs were"
            self._teller.tell(f"{some} not run{why}.")

    def _pause(self) -> float:
        """Seconds until something has to be done even if nothing happens."""
        now = time.monotonic()
        busy = self.source.busy and not self.stopping.why
        if busy and now >= self._guard.retry_at:
            return 0.0
        # While the database does not answer nobody looks, however late a look is.
        due = [max(self._next_look, self._guard.retry_at), self._next_beat, self._next_sessions]
        if busy:
            due.append(self._guard.retry_at)
        if len(self.ledger):
            due.append(self._committer.due_at())
        if self.stopping.why and len(self.attempts):
            due.append(now + STOPPING_SECONDS)
        # Each is asked once: while one asks, the time of what it told may come.
        more = [self.attempts.due(), self._mpi.deadline, self.steps.deadline]
        if not self.stopping.why:
            more += [self.source.deadline, self.starter.disk.deadline, self._suspicion.deadline]
        due += [when for when in more if when is not None]
        return max(0.0, min(due) - now)

    # -- looking at the record ------------------------------------------------------------------

    def _look(self) -> None:
        if self._guard.shaken:
            if self.ledger.in_doubt:
                # What it may have released must not be leased before that is known.
                self._commit()
            self._disputes.catch_up()
            self._guard.shaken = False
            if self._guard.away() > self.settings.launcher.heartbeat_seconds:
                # As long as we could reach nobody, the others may have been in no better place.
                self._next_sessions = time.monotonic() + self.settings.launcher.lease_seconds
        now = time.monotonic()
        if now >= self._next_look or self.source.is_told:
            seldom = TOLD_SECONDS if self.source.is_told else 0.0
            self._next_look = now + max(seldom, self.settings.launcher.poll_milliseconds / 1000)
            if self.source.changed():
                self._disputes.moved = self.steps.dirty = True
        if self._disputes.due(now):
            self._disputes.reconcile()
        if self.stopping.why:
            return
        if self.source.keep_books():
            self.steps.dirty = True
        for end in self.steps.fill():
            self.ledger.add(end)
        if self.steps.moved:
            self._disputes.release(self.steps.moved)
            self.steps.moved = set()

    def _reap(self) -> bool:
        """Take in the ends of attempts; whether there were any."""
        ended = False
        entries: Iterable[Start | End | Returned] = self.attempts.reap()
        if self.stopping.is_late():
            entries = (*entries, *self.attempts.give_up())
        for entry in entries:
            if isinstance(entry, Returned):
                self._take_back(entry)
                continue
            self.ledger.add(entry)
            if isinstance(entry, Start):
                self.starter.disk.has_room()
            if isinstance(entry, End):
                self._progress.ended()
                ended = True
        return ended

    def _take_back(self, returned: Returned) -> None:
        """A task did not begin on the node it was sent to: it goes to another, if it may."""
        if self.stopping.why or returned.cause:
            job = returned.task.id
            self._guard.run(lambda: self._disputes.release({job}))
        else:
            self.source.stock.appendleft(returned.task)
        if returned.full:
            self.starter.note_full_disk(returned.full)

    def _commit(self) -> None:
        self._committer.commit()

    def _tell_news(self) -> None:
        news, self._mpi.news = self._mpi.news, ""
        told, self.attempts.news = self.attempts.news, []
        for notice in (news, *told):
            if notice:
                self._teller.tell(notice)

    # -- time -----------------------------------------------------------------------------------

    def _heed(self) -> None:
        """Stop if asked to; before reaping, for a scheduler sends its TERM to our tasks as well."""
        if self._wakeup.stop_requests > self._patience:
            self._patience = self._wakeup.stop_requests
            self.stopping.stop("it was asked to stop")

    def _timers(self) -> None:
        now = time.monotonic()
        self.attempts.timers()
        if not self.stopping.why:
            self._suspicion.look()
        limit = self._progress.seconds_left()
        if limit is not None and limit <= 0 and not self.stopping.why:
            self.stopping.stop("its time limit is reached")
        if now >= self._next_beat:
            self._next_beat = now + self.settings.launcher.heartbeat_seconds
            self.attempts.beat()
            self._guard.run(self._beat)
        if now >= self._next_sessions:
            self._next_sessions = now + self.settings.launcher.heartbeat_seconds / 3
            self._guard.run(self._recover)

    def _recover(self) -> None:
        if self._guard.shaken:
            return  # until we have caught up ourselves
        if self._recovery.run(self.session):
            self.source.dirty = self.steps.dirty = True

    def _beat(self) -> None:
        now = time.monotonic()
        if not sessions.beat(self.session):
            self.attempts.kill_all()
            raise LeaseLost
        self._sure_until = now + self.settings.launcher.lease_seconds

    def shut(self) -> None:
        """Leave nothing behind: no process, no lease, no journal that is still needed."""
        self.stopping.shut()
        self._teller.progress(final=True)
