"""A launcher of one new job, which it never lets out of its hands while it can go on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from balsam import states
from balsam.conf.logs import close_log, open_log
from balsam.conf.project import Project
from balsam.core import bookkeeping, lease
from balsam.core.lease import Scope
from balsam.core.models import BalsamJob
from balsam.core.record import TROUBLE, atomic
from balsam.errors import BalsamError
from balsam.launcher.main import leave_outer_mpi
from balsam.launcher.options import LauncherOptions, Report
from balsam.launcher.pilot import Launcher
from balsam.launcher.wakeup import Wakeup
from balsam.platform.launch_params import MPIRUN


def run_single(
    project: Project,
    options: LauncherOptions,
    job: BalsamJob,
    report: Report,
    begun: Callable[[], None],
    abandoned: Callable[[], bool],
) -> int:
    """Add ``job`` and run it here to its end; the signal that ended it early, or 0.

    ``begun`` is called once it is in the record. Once ``abandoned`` says that nobody wants its
    output any more, it is ended like by a SIGPIPE. Raises BalsamError for what keeps a launcher
    from starting.
    """
    log = open_log(project.log, "run", project.settings().logging.level)
    leave_outer_mpi()
    try:
        with Wakeup() as wakeup:
            launcher = Single(project, options, wakeup, report, str(log), job, abandoned)
            begun()
            launcher.run()
        return launcher.interrupted
    finally:
        close_log()


class Single(Launcher):
    """A launcher that adds a job, works on nothing else, and ends with it.

    The job is leased in the transaction that adds it, and again in each that commits what it came
    to, so that no other launcher can take it. Should that happen all the same (this one was taken
    for dead), this one waits for the job's end.
    """

    KIND = "run"

    def __init__(
        self,
        project: Project,
        options: LauncherOptions,
        wakeup: Wakeup,
        report: Report,
        worker_log: str | None,
        job: BalsamJob,
        abandoned: Callable[[], bool],
    ) -> None:
        self.job = job
        #: The signal that ended the job before its time.
        self.interrupted = 0
        self._abandoned = abandoned
        super().__init__(project, options, wakeup, report, worker_log)

    def _ready(self) -> None:
        with atomic():
            lease.release(self.session, [self.job.pk])
            bookkeeping.pass_jobs([self.job.pk], self.settings.jobs.max_attempts)
            self._hold()

    def _needs_mpi(self) -> bool:
        if self.job.launch_params.get(MPIRUN) is False:
            return False
        return self.job.num_nodes * self.job.ranks_per_node > 1 or super()._needs_mpi()

    def _choose(self) -> Scope:
        with atomic():
            self.job.save()
            lease.take(self.session, self.job.pk)
        return Scope(job=self.job.pk)

    def _hold(self) -> None:
        if not self.source.stock:
            self.source.lease(1)
            self.steps.hold()

    def _commit(self) -> None:
        try:
            super()._commit()
        except TROUBLE:
            self.source.stock.clear()
            self.steps.let_go()
            raise

    def step(self) -> None:
        """Wait for the next thing to happen, and do what is due."""
        super().step()
        if not self.interrupted and self._abandoned():
            self._interrupt(signal.SIGPIPE)

    def finished(self) -> bool:
        """Whether the job has ended, here or elsewhere, and all that is in the record."""
        if self.stopping.why:
            return super().finished()
        if self.idling.busy() or not self._guard.run(self.idling.count):
            return False
        return not self.idling.unfinished

    def _beat(self) -> None:
        try:
            super()._beat()
        except BalsamError as error:
            raise BalsamError(
                f"'balsam run' was suspended for so long that its job was given to another "
                f"launcher; 'balsam logs -f {self.job.pk}' follows it there."
            ) from error

    def _tell_news(self) -> None:
        """Which mpirun it is stays in the log: this is one command, and no campaign."""
        self._mpi.news = ""

    def _heed(self) -> None:
        if self._wakeup.stop_requests > self._patience:
            self._patience = self._wakeup.stop_requests
            self._interrupt(self._wakeup.stop_signal)

    def _interrupt(self, number: int) -> None:
        """Kill the job as a user does; asked again, at once."""
        grace = 0.0 if self.interrupted else self.settings.launcher.stop_grace_seconds
        self.interrupted = self.interrupted or number
        self.attempts.stop_all(states.KILLED, grace)
        if not self._guard.run(self._kill):
            self.stopping.stop(f"it got {signal.Signals(number).name}")

    def _kill(self) -> None:
        name = signal.Signals(self.interrupted).name
        BalsamJob.objects.among([self.job.pk]).kill(f"'balsam run' [{os.getpid()}] got {name}")
        self._disputes.reconcile()
