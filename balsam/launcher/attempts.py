"""The attempts in progress on this node: placed, started, stopped and reaped."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping

from balsam import states
from balsam.conf.settings import Launcher as LauncherSettings
from balsam.errors import (
    BalsamError,
    LaunchError,
    MpiUnavailable,
    ProgramMissing,
    Unsatisfiable,
)
from balsam.launcher import runs
from balsam.launcher.ledger import End, Start
from balsam.launcher.mpi import MpiFinder
from balsam.launcher.node_pool import NodePool, never, slots
from balsam.launcher.options import MPI
from balsam.launcher.runs import Run
from balsam.launcher.tasks import Application, Draft, Preparer, Task
from balsam.outcomes import Outcome
from balsam.platform import evidence, process

logger = logging.getLogger(__name__)

#: What was prepared longer ago than this is prepared anew: files and programs come and go.
DRAFT_SECONDS = 0.5


class Attempts:
    """What runs, by job. Nothing here knows the database."""

    def __init__(
        self,
        nodes: NodePool,
        preparer: Preparer,
        config: LauncherSettings,
        mpi: MpiFinder,
        job_mode: str,
    ) -> None:
        self.nodes = nodes
        self._preparer = preparer
        self._config = config
        self._mpi = mpi
        self._job_mode = job_mode
        self._running: dict[int, Run] = {}
        self._recent: deque[Task] = deque(maxlen=16)
        self._draft: Draft | None = None
        self._oom = evidence.OomWatch()
        self._oom.refresh()
        self._stop_requested = False

    def __len__(self) -> int:
        return len(self._running)

    def __contains__(self, job: int) -> bool:
        return job in self._running

    def jobs(self) -> set[int]:
        """The jobs that run."""
        return set(self._running)

    def room(self) -> int:
        """How many more tasks like the recent ones could start now."""
        return slots(self.nodes, [task.request for task in self._recent])

    # -- starting -------------------------------------------------------------------------------

    def start(self, task: Task, app: Application) -> Start | None:
        """Start a task if its share of the node, and a process to run it, is free.

        None means later: then, or when mpirun has said what it is. Raises BalsamError, for
        :func:`could_not_start`, if it can not run at all; MpiUnavailable, if not without an mpirun.
        """
        self.nodes.check(task.request)
        needs_mpi = self.needs_mpi(task)
        mpi = self._mpi.get() if needs_mpi else None
        if needs_mpi and (mpi is None or self._mpiruns() >= self._config.max_concurrent_mpiruns):
            return None
        placement = self.nodes.place(task.request)
        if placement is None:
            return None
        try:
            draft = self._take_draft(task, app)
            spec = self._preparer.spec(draft, placement, mpi)
            run = runs.start(task, placement, spec, mpi, task.time_limit_minutes)
        except BaseException as error:
            self.nodes.give_back(placement)
            if self._running and isinstance(error, LaunchError) and process.shortage(error):
                return None
            raise
        self._running[task.id] = run
        self._recent.append(task)
        words = f"{'MPI' if mpi else 'Serial'} run on {', '.join(placement.nodes)}"
        return Start(task.id, task.state, task.attempt, run.pid, run.started, words)

    def prepare(self, task: Task, app: Application) -> None:
        """Do what can be done of a start that has to wait; what speaks against it is told then."""
        self._draft = self._fresh_draft(task, app)
        if self._draft is None:
            with contextlib.suppress(BalsamError):
                self._draft = self._preparer.draft(task, app)

    def _take_draft(self, task: Task, app: Application) -> Draft:
        draft, self._draft = self._fresh_draft(task, app), None
        return draft or self._preparer.draft(task, app)

    def _fresh_draft(self, task: Task, app: Application) -> Draft | None:
        draft = self._draft
        if draft is None or draft.task is not task or draft.app is not app:
            return None
        return draft if time.monotonic() < draft.made + DRAFT_SECONDS else None

    def _mpiruns(self) -> int:
        return sum(run.mpi is not None for run in self._running.values())

    def needs_mpi(self, task: Task) -> bool:
        """Whether it is run by mpirun."""
        return task.mpirun and (task.ranks > 1 or self._job_mode == MPI)

    # -- ending ---------------------------------------------------------------------------------

    def reap(self) -> Iterator[End]:
        """The attempts that have ended since this was last asked."""
        for job, run in list(self._running.items()):
            end = process.reap(run.pid, run.begun)
            if end is None:
                continue
            if self._stop_requested:
                run.stopping = run.stopping or states.BATCH_TIME_LIMIT
            if run.stopping or (run.mpi is not None and end.returncode):
                run.kill_leftovers()
            del self._running[job]
            self.nodes.give_back(run.placement)
            outcome = runs.outcome(run, end, self._oom, self._config.error_tail_lines)
            if outcome.state != states.RUN_DONE:
                logger.info("%s: %s", run.task.label, outcome.message.split("\n", 1)[0])
            yield End(job, states.RUNNING, run.attempt, outcome, end.time)

    def stop_requested(self) -> None:
        """The launcher got a signal; to be called in its handler.

        A scheduler sends its TERM to our tasks as well. So what was not reaped before was stopped,
        also if it saved its work in the meantime and exited with 0: it is better run again than
        taken for a result.
        """
        self._stop_requested = True

    def stop(self, job: int, cause: str, grace_seconds: float) -> None:
        """End one attempt, by force after the grace."""
        run = self._running.get(job)
        if run:
            run.stop(cause, grace_seconds)

    def stop_all(self, cause: str, grace_seconds: float) -> None:
        """End every attempt, by force after the grace."""
        for run in self._running.values():
            run.stop(cause, grace_seconds, even_ended=self._stop_requested)
        self.timers()

    def kill_all(self) -> None:
        """KILL everything at once."""
        for run in self._running.values():
            run.kill()

    def let_go(self, held: Mapping[int, tuple[str, int, int]], still: Collection[str]) -> None:
        """End the attempts of jobs that are no longer held in one of the states ``still``."""
        for job, run in self._running.items():
            if held.get(job, ("",))[0] not in still and not run.stopping:
                run.stop(states.KILLED, self._config.kill_grace_seconds)

    # -- time -----------------------------------------------------------------------------------

    def due(self) -> list[float]:
        """When (monotonic) :meth:`timers` has something to do."""
        times = [run.kill_at for run in self._running.values()]
        times += [run.deadline for run in self._running.values()]
        return [time for time in times if time is not None]

    def timers(self) -> None:
        """Enforce the tasks' own time limits, and KILL what did not heed its TERM."""
        now = time.monotonic()
        for run in self._running.values():
            if run.deadline is not None and now >= run.deadline:
                run.deadline = None
                run.stop(states.JOB_TIME_LIMIT, self._config.stop_grace_seconds)
            run.escalate(now)

    def watch_memory(self) -> None:
        """Forget the out-of-memory kills so far; later ones may be our tasks'."""
        self._oom.refresh()

    def settle(self) -> None:
        """Go back to where relative paths mean nothing: starting tasks changes directories."""
        os.chdir(self._preparer.data)


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
