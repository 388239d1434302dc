"""The launcher: one process that leases jobs, runs them, and commits what became of them.

It sleeps until a child ends, a worker answers, the database changes, or a timer is due.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable
from datetime import timedelta

from balsam import states
from balsam.conf.logs import close_log, open_log
from balsam.conf.project import Project
from balsam.core import history, lease
from balsam.core.lease import Life, Scope
from balsam.core.offer import Offer
from balsam.core.record import DatabaseError
from balsam.errors import BalsamError, MpiUnavailable
from balsam.launcher import journal, recovery, runs
from balsam.launcher.attempts import Attempts, could_not_start
from balsam.launcher.disputes import Disputes
from balsam.launcher.ledger import Ledger
from balsam.launcher.mpi import MpiFinder
from balsam.launcher.node_pool import NodePool
from balsam.launcher.options import MPI, SERIAL, LauncherOptions, Report, Snapshot, silent
from balsam.launcher.progress import Progress
from balsam.launcher.source import Source
from balsam.launcher.steps import Steps
from balsam.launcher.tasks import Preparer
from balsam.launcher.wakeup import Wakeup
from balsam.platform import mpirun, node
from balsam.transitions.pool import StepPool

__all__ = ["Launcher", "LauncherOptions", "Snapshot", "run_launcher"]

logger = logging.getLogger(__name__)

#: More uncommitted entries than this, and nothing new is started until the database answers.
MAX_UNCOMMITTED = 5000
#: Tasks are leased for so long ahead at the present rate: enough not to ask for each one.
AHEAD_SECONDS = 0.25
#: With no unfinished job left in scope, how long to wait for a last hook or user to add one.
DONE_SECONDS = 0.5
#: Between two tries to reach a database that does not answer.
RETRY_SECONDS = 1.0
#: How long a stopping launcher tries to commit.
GIVE_UP_SECONDS = 20.0
#: Interrupted steps start again later, so a stopping launcher does not wait for them long.
STEP_GRACE_SECONDS = 2.0



def run_launcher(project: Project, options: LauncherOptions, report: Report = silent) -> int:
    """Run a launcher on this node until its work or its time is over; the exit code.

    Raises BalsamError for what keeps it from starting.
    """
    log = open_log(project.log, "launcher", project.settings().logging.level)
    logger.info("launcher %s in %s: %s", os.getpid(), project.path, options)
    leave_outer_mpi()
    try:
        with Wakeup() as wakeup:
            launcher = Launcher(project, options, wakeup, report, worker_log=str(log))
            return launcher.run()
    except BalsamError:
        logger.exception("the launcher could not go on")
        raise
    finally:
        close_log()


def leave_outer_mpi() -> None:
    """Workers and their hooks inherit this environment: drop an enclosing mpirun's variables."""
    clean = mpirun.scrub(os.environ)
    for name in set(os.environ) - set(clean):
        del os.environ[name]


class Launcher:
    """A pilot on one node: ``step`` does what is due, ``run`` steps until nothing is left to do."""

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
        self._report = report
        machine = node.this_node()
        config = self.settings.launcher
        gpus = options.gpus_per_node
        nodes = NodePool(
            machine.hostname,
            config.cores_per_node or machine.cores,
            config.gpus_per_node if gpus is None else gpus,
            options.max_ranks_per_node or config.max_ranks_per_node,
        )
        self._mpi = MpiFinder(self.settings.mpi, os.environ)
        if self._needs_mpi():
            self._await_mpi()
        self._life = Life(
            self.KIND, machine.hostname, node.identity(), os.getpid(), node.start_time(os.getpid())
        )
        self._recovery = recovery.Recovery(
            project.id,
            project.journal_dir,
            self._life,
            lease_seconds=config.lease_seconds,
            crash_limit=config.crash_limit,
            max_attempts=self.settings.jobs.max_attempts,
            grace_seconds=config.kill_grace_seconds,
        )
        self._recovery.run(None)
        self._recovery.tidy()
        self.session = lease.open_session(self._life, self._offer(nodes))
        self._scope = self._choose()
        self._journal = journal.Journal(journal.path_of(project.journal_dir, self.session))
        self.ledger = Ledger(
            self._journal, self.session, self.settings.jobs.max_attempts, self._hold
        )
        self.source = Source(
            self.session,
            self._scope,
            self.settings.jobs.max_attempts,
            nodes,
            serial_only=options.job_mode == SERIAL,
        )
        self._open_workshop(nodes, worker_log)
        self._disputes = Disputes(
            self.session,
            self.settings.jobs.max_attempts,
            config.kill_grace_seconds,
            self.source,
            self.attempts,
            self.steps,
            self.ledger,
        )
        self._progress = Progress(self._scope, self._limit_seconds())
        self._stopping = ""
        self._patience = 0
        self._give_up_at = 0.0
        self._unfinished = 0
        self._left = 0
        self._idle_since: float | None = None
        self._retry_at = 0.0
        self._write_at = 0.0
        self._shaken = False
        now = time.monotonic()
        self._next_look = self._next_beat = self._next_sessions = now
        self.source.begin()

    def _needs_mpi(self) -> bool:
        """Whether nothing at all can run without an mpirun."""
        return self.options.job_mode == MPI

    def _await_mpi(self) -> None:
        """Wait for mpirun's answer, or a signal. Raises MpiUnavailable."""
        while self._mpi.get() is None and not self._wakeup.stop_requests:
            self._wakeup.wait((self._mpi.deadline or 0.0) - time.monotonic())

    def _choose(self) -> Scope:
        """What to work on; the session is open by now."""
        return Scope(self.options.wf_filter)

    def _hold(self) -> None:
        """Called in the transaction of every commit, so that nobody can come between."""

    def _open_workshop(self, nodes: NodePool, worker_log: str | None) -> None:
        mark = recovery.mark(self.project.id, self.session)
        marks = {
            recovery.SESSION_MARK: mark,
            "BALSAM_DB_PATH": str(self.project.path),
            "BALSAM_SITE_PATH": str(self.project.path),
            "BALSAM_LAUNCHER_NODES": "1",
            "BALSAM_JOB_MODE": self.options.job_mode,
        }
        self.attempts = Attempts(
            nodes,
            Preparer(self.project.data, runs.own_environ(dict(os.environ), marks), mark),
            self.settings.launcher,
            self._mpi,
            self.options.job_mode,
        )
        self._wakeup.on_stop = self.attempts.stop_requested
        steps = self.settings.transitions
        number = self.options.num_transition_threads
        self.steps = Steps(
            StepPool(
                steps.num_workers if number is None else max(1, number),
                steps.worker_crash_limit,
                log=worker_log,
            ),
            self.session,
            self._scope,
            self.project.data,
            marks,
            steps.hook_time_limit_seconds,
        )

    def _offer(self, nodes: NodePool) -> Offer:
        limit = self._limit_seconds()
        return Offer(
            nodes=1,
            cores_per_node=nodes.cores,
            gpus_per_node=nodes.gpus,
            max_ranks_per_node=nodes.max_ranks,
            wf_filter=self.options.wf_filter,
            job_mode=self.options.job_mode,
            ends=history.now() + timedelta(seconds=limit) if limit else None,
        )

    def _limit_seconds(self) -> float | None:
        minutes = self.options.time_limit_minutes
        return minutes * 60 if minutes else None

    # -- the loop -------------------------------------------------------------------------------

    def run(self) -> int:
        """Step until the work or the time is over, then stop cleanly; the exit code.

        It is 1 if work is left for want of an mpirun.
        """
        similar = self.source.similar_workflows()
        if similar:
            self._tell(
                f"No workflow is named '{self._scope.workflow}'; there are {', '.join(similar)} "
                f"(a glob such as '{self._scope.workflow}*' matches several)."
            )
        self._with_record(self._progress.begin)
        try:
            while not self.finished():
                self.step()
            if not self._stopping:
                self._with_record(self._count_left)
        finally:
            self._shut()
        return 1 if self._left else 0

    def step(self) -> None:
        """Wait for the next thing to happen, and do what is due."""
        self._wakeup.watch(self.steps.fds())
        self._wakeup.wait(self._pause())
        self._heed()
        self._reap()
        for end in self.steps.poll():
            self.ledger.add(end)
        self._with_record(self._look)
        if not self._stopping:
            self._mpi.poll()
            self._with_record(self._start)
            self._tell_news()
        self._timers()
        self._write()
        if self._commit_due():
            self._with_record(self._commit)
        self._tell_progress()

    def finished(self) -> bool:
        """Whether there is nothing more to do, now or soon."""
        if self._stopping:
            late = time.monotonic() >= self._give_up_at
            return not (len(self.attempts) or (len(self.ledger) and not late))
        busy = len(self.attempts) or len(self.ledger) or self.steps.jobs() or self.source.stock
        if busy or self.source.busy or self.source.dirty or self.steps.dirty:
            self._idle_since = None
            return False
        if self.options.persistent:
            return False
        now = time.monotonic()
        if self._idle_since is None:
            self._idle_since = now
            self._unfinished = 1
            self._with_record(self._count_unfinished)
        wait = self.settings.launcher.idle_exit_seconds if self._unfinished else DONE_SECONDS
        return now - self._idle_since >= wait

    def _count_unfinished(self) -> None:
        self._unfinished = self.source.unfinished()

    def _count_left(self) -> None:
        self._left = self.source.left_for_mpi()
        if self._left:
            some = "1 job was" if self._left == 1 else f"{self._left} jobs were"
            self._tell(f"{some} not run for want of a usable mpirun.")

    def _pause(self) -> float:
        """Seconds until something has to be done even if nothing happens."""
        if self.source.busy and not self._stopping:
            return 0.0
        now = time.monotonic()
        config = self.settings.launcher
        due = [self._next_look, self._next_beat, self._next_sessions]
        if len(self.ledger):
            due.append(max(self.ledger.oldest + config.commit_milliseconds / 1000, self._retry_at))
        due += self.attempts.due()
        if self._mpi.deadline is not None:
            due.append(self._mpi.deadline)
        if self.steps.deadline is not None:
            due.append(self.steps.deadline)
        return max(0.0, min(due) - now)

    def _with_record(self, action: Callable[[], None]) -> bool:
        """Do something with the database; False if it is locked, full or away for the moment.

        Tasks go on meanwhile, and what they come to is journalled until commits work again.
        """
        if time.monotonic() < self._retry_at:
            return False
        try:
            action()
        except DatabaseError as error:
            self._retry_at = time.monotonic() + RETRY_SECONDS
            self._shaken = True
            logger.error("the database does not answer: %s", error)
            self._tell(f"The database does not answer ({error}); tasks go on, trying again.")
            return False
        return True

    # -- looking at the record ------------------------------------------------------------------

    def _look(self) -> None:
        if self._shaken:
            self._disputes.catch_up()
            self._shaken = False
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + self.settings.launcher.poll_milliseconds / 1000
            if self.source.changed():
                self._disputes.reconcile()
        if self._stopping:
            return
        if self.source.keep_books():
            self.steps.dirty = True
        for end in self.steps.fill():
            self.ledger.add(end)
        if self.steps.moved:
            self._disputes.release(self.steps.moved)
            self.steps.moved = set()

    # -- running --------------------------------------------------------------------------------

    def _start(self) -> None:
        """Start what fits, in order; what is at the head waits for its share."""
        if len(self.ledger) > MAX_UNCOMMITTED or time.monotonic() < self._retry_at:
            return
        started = False
        while self.source.stock or self._lease():
            if self._wakeup.stop_requests > self._patience:
                break
            task = self.source.stock[0]
            try:
                start = self.attempts.start(task, self.source.application(task.app_id))
                if start is None:
                    break
                self.ledger.add(start)
                started = True
            except MpiUnavailable as error:
                if self._scope.job is None:
                    self._leave_to_mpi(error)
                    continue
                self.ledger.add(could_not_start(task, error))
            except BalsamError as error:
                self.ledger.add(could_not_start(task, error))
            self.source.stock.popleft()
        if started:
            self.attempts.settle()

    def _leave_to_mpi(self, error: MpiUnavailable) -> None:
        """Leave what needs an mpirun to a launcher that has one."""
        self.source.without_mpi = True
        left = [task for task in self.source.stock if self.attempts.needs_mpi(task)]
        self.source.give_back(left)
        self.source.drop({task.id for task in left})
        self.source.dirty = True
        self._tell(f"{error} Jobs that need one are left for a launcher that has it.")

    def _lease(self) -> bool:
        room = self.attempts.room()
        if not room or not self.source.dirty:
            return False
        ahead = int(self._progress.rate() * AHEAD_SECONDS)
        return self.source.lease(max(room, ahead)) > 0

    def _reap(self) -> None:
        for end in self.attempts.reap():
            self.ledger.add(end)
            self._progress.ended()

    # -- committing -----------------------------------------------------------------------------

    def _write(self) -> None:
        if time.monotonic() < self._write_at:
            return
        try:
            self.ledger.write()
        except OSError as error:
            logger.error("the outcome journal: %s", error)
            self._tell(f"The outcome journal {self._journal.path} can not be written: {error}.")
            self._write_at = time.monotonic() + RETRY_SECONDS

    def _commit_due(self) -> bool:
        now = time.monotonic()
        if not len(self.ledger) or now < self._retry_at:
            return False
        waited = now - self.ledger.oldest
        return waited >= self.settings.launcher.commit_milliseconds / 1000 or bool(self._stopping)

    def _commit(self) -> None:
        committed = self.ledger.commit()
        self.source.dirty |= bool(committed.runnable)
        self.steps.dirty |= committed.steps
        if committed.late:
            self._disputes.too_late(committed.late)
        self.source.turn_away(committed.runnable)

    # -- time -----------------------------------------------------------------------------------

    def _heed(self) -> None:
        """Stop if asked to; before reaping, for a scheduler sends its TERM to our tasks as well."""
        if self._wakeup.stop_requests > self._patience:
            self._patience = self._wakeup.stop_requests
            self._stop("it was asked to stop")

    def _timers(self) -> None:
        now = time.monotonic()
        self.attempts.timers()
        limit = self._progress.seconds_left()
        if limit is not None and limit <= 0 and not self._stopping:
            self._stop("its time limit is reached")
        if now >= self._next_beat:
            self._next_beat = now + self.settings.launcher.heartbeat_seconds
            self.attempts.watch_memory()
            self._with_record(self._beat)
        if now >= self._next_sessions:
            self._next_sessions = now + self.settings.launcher.heartbeat_seconds / 3
            self._with_record(self._recover)

    def _recover(self) -> None:
        if self._recovery.run(self.session):
            self.source.dirty = self.steps.dirty = True

    def _beat(self) -> None:
        if not lease.beat(self.session):
            self.attempts.kill_all()
            raise BalsamError(
                "This launcher's lease has run out (it was suspended, or the clock jumped) and "
                "another has taken its jobs over; its tasks were ended. Start it again."
            )

    def _stop(self, why: str) -> None:
        """Stop starting, and end what runs; asked again, end it at once."""
        grace = 0.0 if self._stopping else self.settings.launcher.stop_grace_seconds
        if not self._stopping:
            logger.info("stopping: %s", why)
            self._tell(f"Stopping the launcher: {why}.")
            self._stopping = why
            # A database that stays away does not hold the node: the journal keeps the outcomes.
            self._give_up_at = time.monotonic() + grace + GIVE_UP_SECONDS
            self._with_record(lambda: self.source.give_back(self.source.stock))
            self.source.stock.clear()
        else:
            self._give_up_at = 0.0
        self._mpi.close()
        self.attempts.stop_all(states.BATCH_TIME_LIMIT, grace)
        for end in self.steps.close(min(grace, STEP_GRACE_SECONDS)):
            self.ledger.add(end)

    def _shut(self) -> None:
        """Leave nothing behind: no process, no lease, no journal that is still needed."""
        self._mpi.close()
        self.attempts.kill_all()
        self.steps.close(0.0)
        if not len(self.attempts):
            with contextlib.suppress(OSError):
                self.ledger.write()
            with contextlib.suppress(DatabaseError):
                self.ledger.commit()
                # Unless somebody is recovering it at this moment.
                if lease.beat(self.session):
                    lease.close_session(self.session)
        self._journal.close(keep=bool(len(self.attempts) or len(self.ledger)))
        self._tell_progress(final=True)

    # -- telling --------------------------------------------------------------------------------

    def _tell(self, notice: str) -> None:
        self._report(self._progress.snapshot(len(self.attempts), notice=notice))

    def _tell_news(self) -> None:
        news, self._mpi.news = self._mpi.news, ""
        if news:
            self._tell(news)

    def _tell_progress(self, final: bool = False) -> None:
        if final or self._progress.due():
            with contextlib.suppress(DatabaseError):
                self._progress.count()
            self._report(self._progress.snapshot(len(self.attempts), final=final))
