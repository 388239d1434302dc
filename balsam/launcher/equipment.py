"""What a launcher consists of: its parts made in order and connected, or nothing left of them."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import replace

from balsam.conf.project import Project
from balsam.core import overlap, sessions
from balsam.core.lease import Scope
from balsam.core.record import TROUBLE
from balsam.core.sessions import Life
from balsam.errors import LaunchError
from balsam.launcher import journal, parts, resources
from balsam.launcher.committing import Committer
from balsam.launcher.disputes import Disputes
from balsam.launcher.guard import Guard
from balsam.launcher.health import NodeHealth
from balsam.launcher.idling import Idling
from balsam.launcher.ledger import Ledger
from balsam.launcher.mpi import MpiFinder
from balsam.launcher.node_pool import NodePool
from balsam.launcher.onlookers import NOBODY_LOOKS, Onlookers
from balsam.launcher.options import AUTO, MPI, SERIAL, LauncherOptions, Report
from balsam.launcher.progress import Progress
from balsam.launcher.recovery import recovery_by
from balsam.launcher.resources import Resources
from balsam.launcher.source import Source
from balsam.launcher.starting import Starter
from balsam.launcher.stopping import Stopping
from balsam.launcher.suspicion import Suspicion
from balsam.launcher.tasks import Mpi
from balsam.launcher.telling import Teller
from balsam.launcher.wakeup import Wakeup


class Equipment:
    """The parts of one launcher. If one can not be made, the others are closed again."""

    #: How its sessions are known.
    KIND = "launcher"

    def __init__(
        self,
        project: Project,
        options: LauncherOptions,
        wakeup: Wakeup,
        report: Report,
        worker_log: str | None,
    ) -> None:
        self.project = project
        self.options = options
        self.settings = project.settings()
        self._wakeup = wakeup
        #: So many requests to stop were heeded.
        self._patience = 0
        #: What a person should know of the way it runs.
        self._notices: list[str] = []
        with contextlib.ExitStack() as undo:
            self._equip(undo, report, worker_log)
            self._ready()
            undo.pop_all()

    def _equip(self, undo: contextlib.ExitStack, report: Report, worker_log: str | None) -> None:
        project = self.project
        given = resources.find(project, self.options)
        self._mpi = parts.finder(given.mpi)
        undo.callback(self._mpi.close)
        workers = self._find_mpi(given)
        life = sessions.own_life(self.KIND)
        self._recovery = recovery_by(project, life)
        self._recovery.run(None)
        self._recovery.tidy()
        self.session = self._open(undo, life, given)
        self._scope = self._choose()
        marks = parts.marks(project, self.options, given, self.session)
        nodes = parts.node_pool(given, self.options.job_mode)
        hands = parts.hands(project, given, workers, self.session, marks) if workers else None
        if hands:
            undo.callback(hands.close, 0.0)
        onlookers = None if hands else self._look_on(given, marks)
        if onlookers:
            undo.callback(onlookers.close, 0.0)
        self.attempts = parts.attempts(
            project, self.options, given, nodes, self._mpi, marks, hands, onlookers
        )
        self.steps = parts.steps(
            project, self.options, self.session, self._scope, marks, worker_log
        )
        undo.callback(self.steps.close, 0.0)
        written = journal.Journal(journal.path_of(project.journal_dir, self.session))
        undo.callback(written.close, keep=False)
        self._keep_record(given, nodes, written)
        self._progress = Progress(self._scope, given.seconds_left(time.time()))
        if self._scope.job is None:
            # One job that was asked for by name is started however long it takes.
            self.source.seconds_left = self._progress.seconds_left
        self._teller = Teller(report, self._progress, self.attempts)
        self._guard = Guard(self._teller.tell, self.settings.launcher.lease_seconds)
        self._connect(given, nodes)
        self._connect_ends(written)
        self.attempts.news += filter(None, (given.notice, *self._notices))
        self._wakeup.on_stop = self.attempts.stop_requested
        self.source.begin()

    def _find_mpi(self, given: Resources) -> Mpi | None:
        """What starts the workers on other nodes, if there are to be any. Raises MpiUnavailable."""
        if self._needs_mpi():
            self._await(self._mpi)
        if parts.is_here(given) or self._needs_mpi():
            return None
        workers = self._workers(given)
        if workers and self.options.job_mode == AUTO and not workers.flavour.shares_nodes:
            # The workers would keep every mpirun from their nodes.
            self.options = replace(self.options, job_mode=MPI)
            self._notices.append(
                f"{workers.flavour.name} runs one program on a node at a time, so it starts every "
                "job; --part serial:N --part mpi:M gives serial jobs nodes to share."
            )
            return None
        return workers

    def _look_on(self, given: Resources, marks: dict[str, str]) -> Onlookers | None:
        """Workers that look at ranks, where mpirun starts every job and is not counted."""
        wanted = self.options.job_mode == MPI and self.settings.launcher.watch_ranks
        if not wanted or given.max_launches or parts.is_here(given):
            return None
        try:
            workers = self._workers(given)
            if workers is None or not workers.flavour.shares_nodes:
                return None
            hands = parts.hands(self.project, given, workers, self.session, marks)
        except LaunchError as error:
            self._notices.append(f"{error} {NOBODY_LOOKS}")
            return None
        return Onlookers(hands, given.nodes)

    def _keep_record(self, given: Resources, nodes: NodePool, written: journal.Journal) -> None:
        """What goes into the record, and comes from there."""
        config, max_attempts = self.settings.launcher, self.settings.jobs.max_attempts
        self.ledger = Ledger(written, self.session, max_attempts, self._hold, config.crash_limit)
        self.source = Source(
            self.session,
            self._scope,
            max_attempts,
            nodes,
            serial_only=self.options.job_mode == SERIAL,
            mpi_only=self.options.job_mode == MPI,
            sort_by=config.sort_by,
            # Nobody else is to run one job that was asked for by name.
            leave_large=bool(given.scheduler) and self._scope.job is None,
        )

    def _connect(self, given: Resources, nodes: NodePool) -> None:
        """What starts tasks, and looks at what others and the nodes do to them."""
        config = self.settings.launcher
        self._disputes = Disputes(
            self.session,
            self.settings.jobs.max_attempts,
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
            self.attempts.on_loss = self._suspicion.health.remove
        self.starter = Starter(
            self.source,
            self.attempts,
            self.ledger,
            self._progress,
            self._teller.tell,
            lambda: self._wakeup.stop_requests > self._patience,
        )

    def _connect_ends(self, written: journal.Journal) -> None:
        """What writes down what became of them, and knows when to stop."""
        config = self.settings.launcher
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
            self.options.persistent,
            self.source,
            self.attempts,
            self.steps,
            self.ledger,
            self._guard,
            self._recovery,
        )

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

    def _open(self, undo: contextlib.ExitStack, life: Life, given: Resources) -> int:
        """Its session. Raises AllocationError where another launcher has the same nodes."""
        offer = resources.offer(given, self.options)
        session = sessions.open_session(life, offer)
        undo.callback(_close, session)
        if self.KIND == Equipment.KIND:
            lease = self.settings.launcher.lease_seconds
            beside = overlap.look(session, offer, lease, life.machine)
            if beside and not self.settings.launcher.cores_per_node:
                self._notices.append(
                    f"{beside}: launcher.cores_per_node in the settings says how many each has."
                )
        return session

    def _choose(self) -> Scope:
        """What to work on; the session is open by now."""
        return Scope(self.options.wf_filter, tags=self.options.tags)

    def _hold(self) -> None:
        """Called in the transaction of every commit, so that nobody can come between."""

    def _ready(self) -> None:
        """Called when all is there."""


def _close(session: int) -> None:
    """End a session; if the database does not answer either, its process is gone all the same."""
    with contextlib.suppress(*TROUBLE):
        sessions.close_session(session)
