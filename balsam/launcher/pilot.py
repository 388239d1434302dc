"""The launcher: one process that leases jobs, runs them, and commits what became of them.

It sleeps until a child ends, a worker answers, the database changes, or a timer is due.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import replace

from balsam.conf.project import Project
from balsam.core import overlap, sessions
from balsam.core.lease import Scope
from balsam.core.sessions import Life
from balsam.errors import BalsamError, LeaseLost
from balsam.launcher import journal, parts, resources
from balsam.launcher.committing import Committer
from balsam.launcher.disputes import Disputes
from balsam.launcher.far import Returned
from balsam.launcher.guard import Guard
from balsam.launcher.health import NodeHealth
from balsam.launcher.idling import Idling
from balsam.launcher.ledger import End, Ledger, Start
from balsam.launcher.mpi import MpiFinder
from balsam.launcher.options import AUTO, MPI, SERIAL, LauncherOptions, Report, silent
from balsam.launcher.progress import Progress
from balsam.launcher.resources import Resources
from balsam.launcher.source import Source
from balsam.launcher.starting import Starter
from balsam.launcher.stopping import Stopping
from balsam.launcher.suspicion import Suspicion
from balsam.launcher.tasks import Mpi
from balsam.launcher.telling import Teller
from balsam.launcher.wakeup import Wakeup

#: How often a launcher looks for changes that it should have been told of.
TOLD_SECONDS = 1.0
#: What to do where the workers on the nodes can not be started.
WITHOUT_WORKERS = (
    "More is in log/ensemble-*.log; 'balsam launcher --job-mode mpi' starts every job by mpirun, "
    "without workers."
)
#: How often one that stops looks whether it has to go on waiting for its attempts.
STOPPING_SECONDS = 0.25


class Launcher:
    """A pilot of one allocation: ``step`` does what is due, ``run`` steps until nothing is left."""

    #: How its sessions are known.
    KIND = "launcher"

    def __init__(
        self,
        project: Project,
        options: LauncherOptions,
        wakeup: Wakeup,
        report: Report = silent,
        worker_log: str | None = None,
    ) -> None:
        self.project = project
        self.options = options
        self.settings = project.settings()
        self._wakeup = wakeup
        config, max_attempts = self.settings.launcher, self.settings.jobs.max_attempts
        given = resources.find(project, options)
        nodes = parts.node_pool(given)
        self._mpi = parts.finder(given.mpi)
        if self._needs_mpi():
            self._await(self._mpi)
        workers = None if parts.is_here(given) or self._needs_mpi() else self._workers(given)
        if workers and options.job_mode == AUTO and not workers.flavour.shares_nodes:
            # The workers would keep every mpirun from their nodes.
            workers, options = None, replace(options, job_mode=MPI)
            self.options = options
        life = parts.life(self.KIND)
        self._recovery = parts.recovery_by(project, life)
        self._recovery.run(None)
        self._recovery.tidy()
        self.session = self._open(life, given)
        self._scope = self._choose()
        written = journal.Journal(journal.path_of(project.journal_dir, self.session))
        self.ledger = Ledger(written, self.session, max_attempts, self._hold, config.crash_limit)
        self.source = Source(
            self.session,
            self._scope,
            max_attempts,
            nodes,
            serial_only=options.job_mode == SERIAL,
            mpi_only=options.job_mode == MPI,
            sort_by=config.sort_by,
            leave_large=bool(given.scheduler),
        )
        marks = parts.marks(project, options, given, self.session)
        hands = parts.hands(project, given, workers, self.session, marks) if workers else None
        self.attempts = parts.attempts(
            project, options, given, nodes, self._mpi, marks, hands
        )
        self._wakeup.on_stop = self.attempts.stop_requested
        self.steps = parts.steps(project, options, self.session, self._scope, marks, worker_log)
        self._progress = Progress(self._scope, given.seconds_left(time.time()))
        self.source.seconds_left = self._progress.seconds_left
        self._teller = Teller(report, self._progress, self.attempts)
        self._guard = Guard(self._teller.tell)
        self._disputes = Disputes(
            self.session,
            max_attempts,
            config.kill_grace_seconds,
            self.source,
            self.attempts,
            self.steps,
            self.ledger,
        )
        self._suspicion = Suspicion(
            nodes,
            NodeHealth(given.nodes),
            self.attempts,
            self.source,
            self._guard,
            config.kill_grace_seconds,
            self._teller.tell,
        )
        if len(given.nodes) > 1:
            self.attempts.on_end = self._suspicion.ended
        self.starter = Starter(
            self.source,
            self.attempts,
            self.ledger,
            self._progress,
            self._teller.tell,
            lambda: self._wakeup.stop_requests > self._patience,
        )
        self._committer = Committer(
            config.commit_milliseconds / 1000,
            self.ledger,
            written,
            self.source,
            self.steps,
            self._disputes,
            self._guard,
            self._teller.tell,
        )
        self.stopping = Stopping(
            self.session,
            config.stop_grace_seconds,
            self._mpi,
            self.source,
            self.attempts,
            self.steps,
            self.ledger,
            written,
            self._guard,
            self._teller.tell,
        )
        self.idling = Idling(
            config.idle_exit_seconds,
            options.persistent,
            self.source,
            self.attempts,
            self.steps,
            self.ledger,
            self._guard,
            self._recovery,
        )
        self._patience = 0
        self._left = 0
        now = time.monotonic()
        self._next_look = self._next_beat = self._next_sessions = now
        self.source.begin()

    def _needs_mpi(self) -> bool:
        """Whether nothing at all can run without an mpirun."""
        return self.options.job_mode == MPI

    def _await(self, finder: MpiFinder) -> Mpi | None:
        """Wait for mpirun's answer, or a signal. Raises MpiUnavailable."""
        while (found := finder.get()) is None and not self._wakeup.stop_requests:
            self._wakeup.wait((finder.deadline or 0.0) - time.monotonic())
        return found

    def _workers(self, given: Resources) -> Mpi | None:
        """What starts the workers on other nodes. Raises MpiUnavailable."""
        same = given.workers == given.mpi
        finder = self._mpi if same else parts.finder(given.workers)
        found = self._await(finder)
        return found and (parts.by_slurm(given, found, os.environ) or found)

    def _open(self, life: Life, given: Resources) -> int:
        """Its session. Raises AllocationError where another launcher has the same nodes."""
        offer = resources.offer(given, self.options)
        session = sessions.open_session(life, offer)
        if self.KIND == Launcher.KIND:
            try:
                lease = self.settings.launcher.lease_seconds
                overlap.refuse(session, offer, lease, life.machine)
            except BalsamError:
                sessions.close_session(session)
                raise
        return session

    def _choose(self) -> Scope:
        """What to work on; the session is open by now."""
        return Scope(self.options.wf_filter, tags=self.options.tags)

    def _hold(self) -> None:
        """Called in the transaction of every commit, so that nobody can come between."""

    # -- the loop -------------------------------------------------------------------------------

    def run(self) -> int:
        """Step until the work or the time is over, then stop cleanly; the exit code.

        It is 1 if work is left for want of an mpirun.
        """
        similar = self.source.similar_workflows()
        if similar:
            self._teller.tell(
                f"No workflow is named '{self._scope.workflow}'; there are {', '.join(similar)} "
                f"(a glob such as '{self._scope.workflow}*' matches several)."
            )
        self._guard.run(self._progress.begin)
        try:
            while not self.finished():
                self.step()
            if not self.stopping.why:
                self._guard.run(self._count_left)
        finally:
            self.shut()
        return 1 if self._left or self.attempts.trouble else 0

    def step(self) -> None:
        """Wait for the next thing to happen, and do what is due."""
        self.attempts.flush()
        heard, renewed = self.source.fds()
        heard.update(self.steps.fds(), self.attempts.fds())
        self._wakeup.watch(heard, renewed=renewed)
        self._wakeup.wait(self._pause())
        self._heed()
        ended = self._reap()
        if self.attempts.terminated and not self.stopping.why:
            self.stopping.stop("the scheduler ends its tasks")
        if ended and self.source.stock and not self.stopping.why:
            # Nothing goes before putting cores that are idle now to work again.
            self._guard.run(self.starter.start)
        for end in self.steps.poll():
            self.ledger.add(end)
        self._guard.run(self._look)
        if not self.stopping.why:
            self._mpi.poll()
            self._guard.run(self.starter.start)
            self._tell_news()
        self._timers()
        self._committer.write()
        # With nothing running there is no other outcome to wait for, but perhaps a child for this.
        at_once = bool(self.stopping.why) or not len(self.attempts)
        if self._committer.due(at_once) and self._guard.run(self._commit):
            self._suspicion.committed()
        self._teller.progress()

    def finished(self) -> bool:
        """Whether there is nothing more to do, now or soon."""
        if not self.stopping.why and not self.source.nodes.limits.nodes:
            self.stopping.stop("no node is left to it")
            if self.attempts.trouble:
                self._teller.tell(f"{self.attempts.trouble} {WITHOUT_WORKERS}")
        if self.stopping.why:
            return self.stopping.over()
        return self.idling.over()

    def _count_left(self) -> None:
        large = self.source.left_for_size()
        if large:
            some = "1 job was" if large == 1 else f"{large} jobs were"
            self._teller.tell(
                f"{some} not run: more nodes, ranks or GPUs are asked for than this launcher has "
                "('balsam why ID' says which)."
            )
        late = self.source.left_for_time()
        if late:
            some = "1 job was" if late == 1 else f"{late} jobs were"
            self._teller.tell(f"{some} not run for want of time.")
        self._left = self.source.left_for_mpi()
        if self._left:
            some = "1 job was" if self._left == 1 else f"{self._left} jobs were"
            self._teller.tell(f"{some} not run for want of a usable mpirun.")

    def _pause(self) -> float:
        """Seconds until something has to be done even if nothing happens."""
        if self.source.busy and not self.stopping.why:
            return 0.0
        now = time.monotonic()
        due = [self._next_look, self._next_beat, self._next_sessions]
        if len(self.ledger):
            due.append(self._committer.due_at())
        if self.stopping.why and len(self.attempts):
            due.append(now + STOPPING_SECONDS)
        waiting = self.attempts.due()
        if waiting is not None:
            due.append(waiting)
        if self._mpi.deadline is not None:
            due.append(self._mpi.deadline)
        if self.steps.deadline is not None:
            due.append(self.steps.deadline)
        if self.source.deadline is not None:
            due.append(self.source.deadline)
        return max(0.0, min(due) - now)

    # -- looking at the record ------------------------------------------------------------------

    def _look(self) -> None:
        if self._guard.shaken:
            self._disputes.catch_up()
            self._guard.shaken = False
            # As long as we could reach nobody, the others may have been in no better place.
            self._next_sessions = time.monotonic() + self.settings.launcher.lease_seconds
        now = time.monotonic()
        if now >= self._next_look or self.source.is_told:
            seldom = TOLD_SECONDS if self.source.is_told else 0.0
            self._next_look = now + max(seldom, self.settings.launcher.poll_milliseconds / 1000)
            if self.source.changed():
                self._disputes.moved = True
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
        if self._recovery.run(self.session):
            self.source.dirty = self.steps.dirty = True

    def _beat(self) -> None:
        if not sessions.beat(self.session):
            self.attempts.kill_all()
            raise LeaseLost

    def shut(self) -> None:
        """Leave nothing behind: no process, no lease, no journal that is still needed."""
        self.stopping.shut()
        self._teller.progress(final=True)
