"""Ending attempts before they end by themselves, and what could not even begin."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Collection, Mapping

from balsam import states
from balsam.conf.settings import Launcher as LauncherSettings
from balsam.errors import BalsamError, MpiUnavailable, ProgramMissing, Unsatisfiable
from balsam.launcher import runs
from balsam.launcher.entries import End
from balsam.launcher.node_pool import never
from balsam.launcher.runs import Run
from balsam.launcher.tasks import Task
from balsam.launcher.timers import Timers
from balsam.outcomes import Outcome

logger = logging.getLogger(__name__)


class Endings:
    """Ends those of the ``running`` attempts, by job, whose time is over or that nobody wants.

    ``ends`` is the end of the launcher (monotonic), if there is one.
    """

    def __init__(
        self, running: Mapping[int, Run], config: LauncherSettings, ends: float | None
    ) -> None:
        self._running = running
        self._config = config
        self.ends = ends
        self._timers = Timers()

    def begun(self, run: Run) -> None:
        """What has to be done with an attempt that has begun, and when."""
        task = run.task
        if task.signal and self.ends is not None:
            when = self.ends - 60 * task.signal_before_min
            # One that begins later than that is not ready for a signal yet.
            run.signal_at = when if when > run.since else None
        self._timers.set(run.due, task.id)
        if self._timers.is_crowded(len(self._running)):
            due = ((run.due, job) for job, run in self._running.items())
            self._timers.renew((when, job) for when, job in due if when is not None)

    def stop(self, job: int, cause: str, grace_seconds: float) -> None:
        """End one attempt, by force after the grace."""
        run = self._running.get(job)
        if run:
            self._end(run, cause, grace_seconds)

    def stop_all(self, cause: str, grace_seconds: float, *, even_ended: bool) -> None:
        """End every attempt, by force after the grace; see :meth:`Run.stop` for ``even_ended``."""
        for run in self._running.values():
            self._end(run, cause, grace_seconds, even_ended=even_ended)
        self.timers(time.monotonic())

    def _end(self, run: Run, cause: str, grace: float, *, even_ended: bool = False) -> None:
        run.stop(cause, grace, even_ended=even_ended)
        self._timers.set(run.kill_at, run.task.id)

    def leave(self, node: str, cause: str, grace_seconds: float) -> None:
        """End the attempts on a node."""
        for run in self._running.values():
            if node in run.placement.nodes:
                self._end(run, cause, grace_seconds)

    def let_go(self, jobs: Collection[int]) -> None:
        """End the attempts of those of some jobs that run, for others have moved them."""
        for job in jobs:
            run = self._running.get(job)
            if run and not run.stopping:
                self._end(run, states.KILLED, self._config.kill_grace_seconds)

    def due(self) -> float | None:
        """When (monotonic) :meth:`timers` has something to do."""
        return self._timers.first()

    def timers(self, now: float) -> None:
        """Enforce the tasks' own time limits, and KILL what did not heed its TERM."""
        stubborn: list[Run] = []
        for job in list(self._timers.due(now)):
            run = self._running.get(job)
            if run is None:
                continue
            if run.signal_at is not None and now >= run.signal_at:
                run.signal_at = None
                self._warn(run)
            if run.deadline is not None and now >= run.deadline:
                run.deadline = None
                run.stop(states.JOB_TIME_LIMIT, self._config.stop_grace_seconds)
            if run.escalate(now):
                stubborn.append(run)
            self._timers.set(run.due, job)
        runs.kill(stubborn)

    def _warn(self, run: Run) -> None:
        """Send the signal that the job wants before the end of the allocation."""
        number = signal.Signals[f"SIG{run.task.signal}"]
        logger.info("%s: %s, the end is near", run.task.label, number.name)
        run.warn(number)


def could_not_start(task: Task, error: BalsamError) -> End:
    """The end of a task that can not run at all, and why."""
    if isinstance(error, Unsatisfiable):
        cause, words = states.UNSATISFIABLE, never(error)
    elif isinstance(error, ProgramMissing | MpiUnavailable):
        cause, words = states.PROGRAM_MISSING, str(error)
    else:
        cause, words = states.STAGING, str(error)
    logger.warning("%s: %s", task.label, words)
    outcome = Outcome(states.FAILED, words, {"cause": cause, "attempt": task.attempt})
    return End(task.id, task.state, task.attempt, outcome, time.time())
