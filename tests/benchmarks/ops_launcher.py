"""Run in a project: do what a launcher does to the record, and print how long it took: REPEAT."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterable
from typing import Any

from django.db import models, transaction

from balsam import states
from balsam.core import bookkeeping, history, lease, misfits, sessions
from balsam.core.advance import Move, advance
from balsam.core.events import Hop
from balsam.core.graph import parents_of
from balsam.core.lease import Scope
from balsam.core.models import BalsamJob, EventLog
from balsam.core.record import atomic
from tests.benchmarks.stopwatch import Stopwatch

MOST_ATTEMPTS = 10
LEASED, COMMITTED = 1_000, 500
_END = {
    "cause": "ok", "attempt": 1, "returncode": 0, "nodes": ["node01"], "cores": 1.0, "gpus": [],
    "wall_seconds": 0.0, "cpu_seconds": 0.002, "max_rss_kb": 45_932,
}  # fmt: skip


def main(repeat: int) -> None:
    """Each operation as often as ``repeat`` says."""
    watch = Stopwatch()
    session = sessions.open_session(sessions.Life("launcher", "bench", "bench", 1, 1))
    for _ in range(repeat):
        _leases(watch, session)
        _outcomes(watch, session)
        _bookkeeping(watch)
        with watch("renew the heartbeat"):
            sessions.beat(session)
    sessions.close_session(session)
    watch.tell()


def _leases(watch: Stopwatch, session: int) -> None:
    scope = Scope()
    with watch(f"lease {LEASED:,} runnable jobs"):
        rows = lease.lease_runnable(session, scope, LEASED)
    with watch("parents of the jobs leased"):
        parents_of([row[0] for row in rows])
    with watch("what the session holds"):
        lease.held(session)
    with watch("give them back"):
        lease.release(session, [row[0] for row in rows])
    with watch(f"peer: lease {LEASED:,} by Django's ORM"), transaction.atomic():
        _lease_by_orm(session)
        transaction.set_rollback(True)
    with watch(f"lease {LEASED:,} of one workflow by a glob"):
        rows = lease.lease_runnable(session, Scope("campaign-*"), LEASED)
    lease.release(session, [row[0] for row in rows])
    with watch("lease for steps, of which there are none"):
        taken = lease.lease_for_steps(session, scope, (states.READY, states.STAGED_IN), LEASED)
    lease.release(session, [job for job, _ in taken])
    with watch("count of jobs that only an mpirun can start"):
        lease.left_for_mpi(scope)
    with watch("count of all jobs by state"):
        lease.counts(scope)


def _lease_by_orm(session: int) -> None:
    free = models.QuerySet(BalsamJob).filter(state__in=states.RUNNABLE_STATES, session__isnull=True)
    order = ("-priority", "-num_nodes", "-wall_time_minutes", "id")
    keys = list(free.order_by(*order).values_list("id", flat=True)[:LEASED])
    chosen = models.QuerySet(BalsamJob).filter(id__in=keys)
    models.QuerySet.update(chosen, session=session)
    list(chosen.values_list(*lease.RUN_COLUMNS))


def _outcomes(watch: Stopwatch, session: int) -> None:
    rows = lease.lease_runnable(session, Scope(), COMMITTED)
    jobs = [(row[0], row[4], row[5]) for row in rows]
    with watch(f"commit {COMMITTED} starts"), atomic():
        advance(
            Move(job, state, [Hop(states.RUNNING, "Serial run on node01", {"pid": 4711})], attempt,
                 session, keep_lease=True, next_attempt=attempt + 1)
            for job, state, attempt in jobs
        )  # fmt: skip
    with watch(f"peer: {COMMITTED} outcomes by Django's bulk_update"), transaction.atomic():
        _commit_by_orm([job for job, _, _ in jobs])
        transaction.set_rollback(True)
    with watch(f"commit {COMMITTED} outcomes, with what follows"), atomic():
        ended = advance(
            Move(job, states.RUNNING, [Hop(states.RUN_DONE, "", _outcome(job), history.now())],
                 attempt + 1, session, return_code=0)
            for job, _, attempt in jobs
        )  # fmt: skip
        bookkeeping.pass_jobs(ended, MOST_ATTEMPTS)


def _outcome(job: int) -> dict[str, Any]:
    return {**_END, "wall_seconds": 1 + job / 1e6}


def _commit_by_orm(keys: list[int]) -> None:
    """The rows and events of the same outcomes, without what follows for children."""
    jobs = list(models.QuerySet(BalsamJob).filter(id__in=keys))
    now = history.now()
    way = (states.RUNNING, states.RUN_DONE, states.POSTPROCESSED, states.JOB_FINISHED)
    for job in jobs:
        job.state, job.state_timestamp, job.last_update = way[-1], now, now
        job.return_code, job.session_id = 0, None
    fields = ["state", "state_timestamp", "last_update", "return_code", "session"]
    models.QuerySet.bulk_update(models.QuerySet(BalsamJob), jobs, fields)
    models.QuerySet(EventLog).bulk_create(
        EventLog(job_id=job.id, timestamp=now, from_state=old, to_state=new, data=_outcome(job.id))
        for job in jobs
        for old, new in itertools.pairwise(way)
    )


def _bookkeeping(watch: Stopwatch) -> None:
    last = bookkeeping.last_event()
    BalsamJob.objects.bulk_create(_new(LEASED))
    with watch("newest event"):
        bookkeeping.last_event()
    with watch(f"jobs of {LEASED:,} new events"):
        _, jobs, _ = bookkeeping.changed_since(last, LEASED)
    with watch(f"{LEASED:,} new jobs to runnable"):
        bookkeeping.pass_jobs(jobs, MOST_ATTEMPTS)
    with watch(f"those of {LEASED:,} that can never run"):
        misfits.beyond(misfits.Limits(4, 64, 0), jobs, Scope())
    with watch("a page of the work at hand"):
        bookkeeping.backlog(states.CREATED, 0, LEASED)


def _new(number: int) -> Iterable[dict[str, Any]]:
    stamp = time.time_ns()
    return (
        {"name": f"new{stamp}-{index}", "workflow": "new", "application": "simulate"}
        for index in range(number)
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
