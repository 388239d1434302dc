"""Snapshots of the campaign: what they say, and that they neither write nor read everything."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from balsam import states
from balsam.core import history, progress, sessions
from balsam.core.advance import Move, advance
from balsam.core.events import Hop
from balsam.core.models import BalsamJob, EventLog
from balsam.core.offer import Offer
from balsam.core.sessions import Life
from balsam.platform import node
from tests import databases

pytestmark = pytest.mark.usefixtures("project")


def launcher(alive: bool = True, **offer: object) -> int:
    pid = os.getpid()
    life = Life("launcher", "n1", node.identity(), pid, node.start_time(pid) if alive else 1)
    return sessions.open_session(life, Offer(nodes=1, **offer))  # type: ignore[arg-type]


def running(put: Callable[..., None], session: int, name: str = "a", **fields: object) -> BalsamJob:
    job: BalsamJob = BalsamJob.objects.create(name=name, **fields)
    put(job, state=states.PREPROCESSED, session=session)
    hop = Hop(states.RUNNING, "MPI run on n1, n2", {"attempt": 1})
    advance([Move(job.pk, states.PREPROCESSED, [hop], 0, session, True, 1)])
    return job


def ended(job: BalsamJob, session: int, *hops: Hop) -> None:
    advance([Move(job.pk, states.RUNNING, hops, 1, session)])


def test_a_project_without_anything() -> None:
    found = progress.look()
    assert (found.counts, found.total, found.per_minute) == ({}, 0, 0)
    assert not (found.running or found.launchers or found.failures)


def test_what_runs_and_what_failed(put: Callable[..., None]) -> None:
    ends = history.now() + timedelta(minutes=5)
    mine, dead = launcher(wf_filter="w", ends=ends), launcher(alive=False)
    stays = running(put, mine, "stays", workflow="w")
    fails = running(put, mine, "fails")
    cause = {"cause": "exit", "returncode": 7}
    ended(
        fails, mine, Hop(states.RUN_ERROR, "RETURN CODE 7: oh\ntail", cause),
        Hop(states.FAILED, "No error handler: run failed"),
    )  # fmt: skip
    done = running(put, mine, "done")
    path = (states.RUN_DONE, states.POSTPROCESSED, states.JOB_FINISHED)
    ended(done, mine, *[Hop(state) for state in path])
    found = progress.look()
    assert found.counts == {states.RUNNING: 1, states.JOB_FINISHED: 1, states.FAILED: 1}
    assert (found.total, found.ended, found.per_minute) == (3, 2, 2)
    (shown,) = found.running
    assert (shown.id, shown.label, shown.nodes, shown.attempt) == (
        stays.pk, stays.cute_id, "n1, n2", 1
    )  # fmt: skip
    assert 0 <= shown.seconds < 60
    (failure,) = found.failures
    assert (failure.id, failure.why) == (fails.pk, "exit: RETURN CODE 7: oh")
    first, second = found.launchers
    assert (first.session, first.alive, first.running, first.workflows) == (mine, True, 1, "w")
    assert first.seconds_left is not None and 200 < first.seconds_left <= 300
    assert (second.session, second.alive, second.running) == (dead, False, 0)
    some = progress.look(BalsamJob.objects.filter(workflow="w"))
    assert (some.counts, some.per_minute, some.failures) == ({states.RUNNING: 1}, 0, [])


def test_the_rate_is_of_the_last_minute(put: Callable[..., None]) -> None:
    mine = launcher()
    for age in (300, 90, 30, 1):
        job = running(put, mine)
        ended(job, mine, Hop(states.RUN_ERROR), Hop(states.FAILED))
        then = history.now() - timedelta(seconds=age)
        EventLog.objects.filter(job=job).update(timestamp=then)
    assert progress.look().per_minute == 2


def test_more_events_than_are_read(
    put: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rate is then that of the time that these events cover."""
    monkeypatch.setattr(progress, "MOST_EVENTS", 4)
    mine = launcher()
    jobs = [running(put, mine) for _ in range(6)]
    for job in jobs:
        ended(job, mine, Hop(states.FAILED))
    EventLog.objects.all().update(timestamp=history.now() - timedelta(seconds=30))
    assert progress.look().per_minute == pytest.approx(2 * 5, rel=0.1)


def test_old_failures_are_still_shown(put: Callable[..., None]) -> None:
    jobs = [BalsamJob.objects.create(name=f"f{number}") for number in range(5)]
    for days, job in enumerate(jobs):
        put(job, state=states.FAILED, state_timestamp=history.now() - timedelta(days=days))
    assert [one.id for one in progress.look(most=2).failures] == [jobs[0].pk, jobs[1].pk]


def test_looking_writes_nothing_and_reads_no_whole_table(put: Callable[..., None]) -> None:
    running(put, launcher())
    with CaptureQueriesContext(connection) as made:
        progress.look()
    assert made.captured_queries
    for query in made:
        assert query["sql"].startswith("SELECT"), query["sql"]
        if databases.POSTGRES:
            continue
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN QUERY PLAN " + query["sql"].replace("%", "%%"))
            plan = [row[3] for row in cursor.fetchall()]
        whole = [line for line in plan if re.search(r"SCAN balsam_(job|event)$", line)]
        assert not whole, (query["sql"], plan)
