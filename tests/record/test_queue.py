"""The queue of runnable jobs: what may be leased now, in which order, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from balsam import states
from balsam.core import durations, history, lease, queue, sessions
from balsam.core.durations import Durations
from balsam.core.lease import Scope
from balsam.core.models import ApplicationDefinition, BalsamJob, EventLog
from balsam.core.queue import Bounds

pytestmark = pytest.mark.usefixtures("project")
Put = Callable[..., None]


@pytest.fixture
def session(project: object) -> int:
    return sessions.open_session(sessions.Life("launcher", "h", "m", 1, 1))


def runnable(put: Put, **fields: Any) -> BalsamJob:
    job = BalsamJob.objects.create(**fields)
    put(job, state=states.PREPROCESSED)
    return job


def leased(session: int, bounds: Bounds = queue.NO_BOUNDS, **how: Any) -> list[int]:
    got = [row[0] for row in lease.lease_runnable(session, Scope(), 100, bounds=bounds, **how)]
    lease.release(session, got)
    return got


def app(name: str) -> ApplicationDefinition:
    return ApplicationDefinition.objects.create(name=name, executable="/bin/true")


# -- what may be leased ---------------------------------------------------------------------------


def test_no_wider_than_the_nodes_that_are_free(put: Put, session: int) -> None:
    jobs = [runnable(put, num_nodes=nodes) for nodes in (8, 4, 2, 1)]
    assert leased(session, Bounds(nodes=2)) == [job.pk for job in jobs[2:]]
    assert leased(session, Bounds(nodes=0)) == []


def test_no_longer_than_the_time_left(put: Put, session: int) -> None:
    long, short = (runnable(put, wall_time_minutes=minutes) for minutes in (60, 5))
    said_nothing = [runnable(put), runnable(put, wall_time_minutes=0)]
    some = [short.pk, *(job.pk for job in said_nothing)]
    assert leased(session, Bounds(seconds=3600.0)) == [long.pk, *some]
    assert leased(session, Bounds(seconds=3599.0)) == some
    assert leased(session, Bounds(seconds=10.0)) == some[1:]


def test_who_gave_no_time_takes_what_the_application_does(put: Put, session: int) -> None:
    slow, quick, new = app("slow"), app("quick"), app("new")
    told = runnable(put, app=slow, wall_time_minutes=2)
    jobs = [runnable(put, app=one) for one in (slow, quick, new)]
    no_app = runnable(put, direct_command="true")
    bounds = Bounds(seconds=120.0, too_long=(slow.pk,))
    assert leased(session, bounds) == [told.pk, jobs[1].pk, jobs[2].pk, no_app.pk]
    bounds = Bounds(seconds=120.0, known=(quick.pk,))
    assert leased(session, bounds) == [told.pk, jobs[1].pk]
    assert leased(session, Bounds(seconds=120.0, known=())) == [told.pk]


def test_what_does_not_fit_the_time_is_counted(put: Put) -> None:
    slow = app("slow")
    for fields in ({"wall_time_minutes": 60}, {"app": slow}, {"app": app("quick")}):
        runnable(put, **fields)
    assert lease.left(Scope(), Bounds(seconds=600.0, too_long=(slow.pk,))) == 2
    assert lease.left(Scope(), Bounds(seconds=3600.0)) == 0


def test_no_job_takes_longer_than_its_limit(put: Put, session: int) -> None:
    slow = app("slow")
    told = {"wall_time_minutes": 120}
    [limited, _, _, unsaid] = [
        runnable(put, time_limit_minutes=limit, **fields).pk
        for limit, fields in ((30.0, told), (0.0, told), (90.0, told), (30.0, {"app": slow}))
    ]
    bounds = Bounds(seconds=1800.0, too_long=(slow.pk,))
    assert leased(session, bounds) == [limited, unsaid]
    assert lease.left(Scope(), bounds) == 2
    assert leased(session, Bounds(seconds=1799.0, too_long=(slow.pk,))) == []
    # Of an application that nothing is known of it may be anything up to that.
    assert leased(session, Bounds(seconds=1800.0, known=())) == [limited]


def test_not_before_its_time(put: Put, session: int) -> None:
    soon, later = (history.now() + timedelta(minutes=minutes) for minutes in (5, 10))
    past = runnable(put, not_before=history.now() - timedelta(seconds=1))
    runnable(put, not_before=later)
    runnable(put, not_before=soon, workflow="w")
    now = runnable(put)
    assert leased(session) == [past.pk, now.pk]
    since = history.now()
    assert lease.next_due(Scope(), since) == soon == lease.next_due(Scope("w"), since)
    assert lease.next_due(Scope("other"), since) is None
    # What has come due after one had looked is not overlooked.
    assert lease.next_due(Scope(), past.not_before - timedelta(seconds=1)) == past.not_before


# -- in which order -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sort_by", "order"),
    [
        ("wide_first", [3, 1, 2, 0, 4]),
        ("long_large_first", [3, 2, 1, 0, 4]),
        ("short_first", [3, 0, 4, 1, 2]),
        ("fifo", [3, 0, 1, 2, 4]),
    ],
)
def test_orders(put: Put, session: int, sort_by: str, order: list[int]) -> None:
    shapes = [(1, 5, 0), (4, 10, 0), (2, 20, 0), (1, 5, 7), (1, 5, 0)]
    jobs = [
        runnable(put, num_nodes=nodes, wall_time_minutes=minutes, priority=priority)
        for nodes, minutes, priority in shapes
    ]
    queue.prepare(sort_by)
    queue.prepare(sort_by)
    assert leased(session, sort_by=sort_by) == [jobs[index].pk for index in order]
    first = lease.lease_runnable(session, Scope(), 2, sort_by=sort_by)
    assert [row[0] for row in first] == [jobs[index].pk for index in order[:2]]


@pytest.mark.parametrize("sort_by", queue.ORDERS)
@pytest.mark.parametrize("bounds", [Bounds(), Bounds(2, 600.0, (1,)), Bounds(2, 600.0, (), (1,))])
def test_no_order_sorts_all_that_is_runnable(session: int, sort_by: str, bounds: Bounds) -> None:
    queue.prepare(sort_by)
    if connection.vendor != "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("SET enable_seqscan = off")
            cursor.execute("SET enable_bitmapscan = off")
    made: list[tuple[str, Any]] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        made.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        lease.lease_runnable(session, Scope(), 5, bounds=bounds, sort_by=sort_by)
    sql, params = next(one for one in made if "ORDER BY" in one[0])
    explain = "EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN "
    with connection.cursor() as cursor:
        cursor.execute(explain + sql, params)
        plan = "\n".join(str(row[-1]) for row in cursor.fetchall())
    assert queue.ORDERS[sort_by].index in plan
    if connection.vendor == "sqlite":
        assert "TEMP B-TREE" not in plan


# -- how long applications take -------------------------------------------------------------------


def ended(job: BalsamJob, seconds: float | None, state: str = states.RUN_DONE) -> None:
    data = {} if seconds is None else {"wall_seconds": seconds, "cause": states.OK}
    EventLog.objects.create(
        job=job, timestamp=history.now(), from_state=states.RUNNING, to_state=state, data=data
    )


def test_what_an_application_takes() -> None:
    one, other = app("one"), app("other")
    job, another = (BalsamJob.objects.create(app=it) for it in (one, other))
    known = Durations()
    assert not known.refresh() and known.of(one.pk, 1, 0) is None
    for seconds in range(1, 101):
        ended(job, float(seconds))
    ended(job, None)
    ended(job, 9999.0, states.RUN_ERROR)
    ended(BalsamJob.objects.create(direct_command="true"), 5.0)
    assert known.refresh()
    assert known.expected == {one.pk: 95.0}
    assert not known.refresh()
    ended(another, 7.0)
    assert known.refresh()
    assert known.longer_than(10) == (one.pk,) and known.within(10) == (other.pk,)
    assert known.of(other.pk, 0, 0) == 7.0
    assert known.of(other.pk, 3, 0) == 180.0 and known.of(other.pk, 3, 2) == 120.0
    assert known.of(None, 1, 2) is None and known.of(None, 2, 0) == 120.0


def test_what_was_long_ago_is_found_by_the_jobs_that_finished(
    put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = app("one")
    job = BalsamJob.objects.create(app=one)
    ended(job, 3.0)
    put(job, state=states.JOB_FINISHED)
    monkeypatch.setattr(durations, "NEWEST", 2)
    for _ in range(3):
        ended(BalsamJob.objects.create(), None, states.READY)
    known = Durations()
    assert known.refresh() and known.expected == {one.pk: 3.0}


@pytest.mark.parametrize("quantile", [0.0, 0.5, 0.95, 1.0])
def test_percentiles(quantile: float) -> None:
    values = list(range(1, 21))
    assert durations.percentile(values, quantile) == max(1, round(quantile * 20))
    assert durations.percentile([4.0], quantile) == 4.0
