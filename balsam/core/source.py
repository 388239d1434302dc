"""``BalsamJob.source``: the classic line's manager for scripts that claim jobs themselves.

What used to be a text lock with a tick is a lease of a session of kind ``script``; the owner string
``host:pid`` is still what it is called by.
"""

from __future__ import annotations

import fnmatch
import os
import re
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from django.db import connection, models, transaction

from balsam import states
from balsam.core import events, place, waiting
from balsam.core.querysets import JobManager
from balsam.core.sql import among, column, dialect, key_list, rows
from balsam.platform import node

SCRIPT = "script"
#: Where schedulers name the batch job that a process belongs to.
_BATCH_VARIABLES = ("COBALT_JOBID", "SLURM_JOB_ID", "PBS_JOBID")


class JobSource(JobManager):
    """The jobs that are free or this process's own; ``workflow`` narrows them to one workflow.

    ``workflow`` takes a name, or a glob such as ``scan*``.
    """

    def __init__(self, workflow: str = "") -> None:
        super().__init__()
        self.workflow = workflow
        #: The batch job this process belongs to, after ``check_qLaunch()``.
        self.qLaunch: Any = None
        self._session: tuple[int, int] | None = None  # pid, session: a fork is somebody else
        self._ticking: threading.Event | None = None

    @property
    def lock_str(self) -> str:
        """``host:pid``: what ``job.lock`` reads while this process holds a job."""
        return f"{node.this_node().hostname}:{os.getpid()}"

    def check_qLaunch(self) -> Any:
        """Find the batch job that the scheduler's environment names; None outside a known one."""
        from balsam.core.models.batch_job import BatchJob

        for variable in _BATCH_VARIABLES:
            number = re.match(r"\d+", os.environ.get(variable, ""))
            if number:
                found = BatchJob.objects.filter(scheduler_id=int(number[0]))
                self.qLaunch = found.order_by("-id").first()
        return self.qLaunch

    # -- questions ------------------------------------------------------------------------------

    def get_queryset(self) -> Any:
        """Jobs that nobody else has leased."""
        mine = models.Q(session__isnull=True)
        if self.own_session:
            mine |= models.Q(session=self.own_session)
        jobs = super().get_queryset().filter(mine)
        if not self.workflow:
            return jobs
        if any(mark in self.workflow for mark in "*?["):
            names = [name for name, _ in self.model._default_manager.workflows()]
            return jobs.filter(workflow__in=fnmatch.filter(names, self.workflow))
        return jobs.filter(workflow=self.workflow)

    def by_states(self, wanted: Iterable[str]) -> Any:
        """Those of them in one of the states."""
        return self.get_queryset().filter(state__in=list(wanted))

    def get_runnable(
        self,
        *,
        max_nodes: int,
        remaining_minutes: float | None = None,
        mpi_only: bool = False,
        serial_only: bool = False,
        order_by: str | Sequence[str] | None = None,
    ) -> Any:
        """Those that could run on ``max_nodes`` nodes within ``remaining_minutes``."""
        jobs = self.by_states(states.RUNNABLE_STATES).filter(num_nodes__lte=max_nodes)
        if remaining_minutes is not None:
            jobs = jobs.filter(wall_time_minutes__lte=remaining_minutes)
        serial = models.Q(num_nodes=1, ranks_per_node=1)
        if serial_only:
            jobs = jobs.filter(serial)
        if mpi_only:
            jobs = jobs.exclude(serial)
        if order_by is None:
            return jobs
        return jobs.order_by(*([order_by] if isinstance(order_by, str) else order_by))

    # -- leases ---------------------------------------------------------------------------------

    def acquire(self, pks: Iterable[Any]) -> list[int]:
        """Lease those of the jobs that are free; the ids of the jobs won."""
        wanted = self.model._default_manager.keys_of(pks)
        session = self._open()
        with transaction.atomic():
            free = column(
                f"""SELECT id FROM balsam_job WHERE id {among()} AND session_id IS NULL
                    ORDER BY id {dialect().skip_locked}""",
                (key_list(wanted),),
            )
            if free:
                with connection.cursor() as cursor:
                    cursor.execute(
                        f"UPDATE balsam_job SET session_id = %s WHERE id {among()}",
                        (session, key_list(free)),
                    )
        return free

    def release(self, pks: Iterable[Any]) -> None:
        """Give leases of this process back."""
        if self.own_session:
            self.give_back(self.model._default_manager.keys_of(pks))

    def give_back(self, ids: Collection[int], moved: Collection[int] = ()) -> None:
        """Give back those of ``ids`` that this process holds; ``moved`` have just got events."""
        if session := self.own_session:
            with transaction.atomic():
                freed = rows(
                    f"""UPDATE balsam_job SET session_id = NULL
                        WHERE session_id = %s AND id {among()} RETURNING id, state""",
                    (session, key_list(ids)),
                )
                _tell(dict(freed), moved)

    def release_all_owned(self) -> None:
        """Give back every lease of this process, and end its session."""
        if self._ticking is not None:
            self._ticking.set()
            self._ticking = None
        if session := self.own_session:
            _close(session)
            self._session = None

    def start_tick(self) -> None:
        """Keep this process's leases alive, from a thread, until ``release_all_owned``."""
        if self._ticking is None:
            self._ticking = threading.Event()
            seconds = place.current_project().settings().launcher.heartbeat_seconds
            arguments = (self._open(), seconds, self._ticking)
            threading.Thread(target=_tick, args=arguments, daemon=True).start()

    def clear_stale_locks(self) -> int:
        """Free what dead scripts had leased; how many there were.

        Leases of dead launchers wait for the next launcher, which knows how far their jobs got, and
        so do those of scripts that have set a job RUNNING: it has lost an attempt.
        """
        from balsam.core import sessions

        seconds = place.current_project().settings().launcher.lease_seconds
        cleared = 0
        for session in sessions.others(self.own_session):
            gone = session.machine == node.identity() and not node.process_alive(
                session.pid, session.pid_start
            )
            stale = gone or sessions.expired(session, seconds)
            if session.kind != SCRIPT or not stale or _runs_any(int(session.pk)):
                continue
            if sessions.claim(session, sessions.own_life(SCRIPT)):
                _close(int(session.pk))
                cleared += 1
        return cleared

    @property
    def own_session(self) -> int | None:
        """The session that holds this process's leases, if it has any."""
        return self._session[1] if self._session and self._session[0] == os.getpid() else None

    def _open(self) -> int:
        from balsam.core import sessions

        session = self.own_session
        if session is None or not sessions.beat(session):
            session = sessions.open_session(sessions.own_life(SCRIPT))
            self._session = (os.getpid(), session)
        return session


def _runs_any(session: int) -> bool:
    from balsam.core import lease

    return any(row[0] == states.RUNNING for row in lease.held(session).values())


def _close(session: int) -> None:
    """End a session of a script, and free what it held."""
    from balsam.core import lease, sessions

    with transaction.atomic():
        held = lease.held(session)
        sessions.close_session(session)
        _tell({job: row[0] for job, row in held.items()})


def _tell(freed: Mapping[int, str], moved: Collection[int] = ()) -> None:
    """Let jobs (id -> state) that were leased catch up with their parents, and launchers see them.

    A launcher reads events once, and leaves what is leased at that moment alone.
    """
    waiting.settle([job for job, state in freed.items() if state in states.WAITING_STATES])
    events.note_all(
        {
            job: state
            for job, state in freed.items()
            if state in states.PROCESSABLE_STATES and job not in moved
        },
        "the lease of a script was given back",
    )


def _tick(session: int, seconds: float, stopped: threading.Event) -> None:
    from balsam.core import sessions

    try:
        while not stopped.wait(seconds) and sessions.beat(session):
            pass
    finally:
        connection.close()
