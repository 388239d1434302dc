"""Jobs that need no step pass their states set-wise, and each state still has its event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from balsam import states
from balsam.core import backoff, bookkeeping
from balsam.core.events import note
from balsam.core.models import ApplicationDefinition, BalsamJob, EventLog

MAX_ATTEMPTS = 10
Put = Callable[..., None]


def keep_books(*jobs: BalsamJob) -> None:
    keys = [job.pk for job in jobs] or list(BalsamJob.objects.values_list("id", flat=True))
    bookkeeping.pass_jobs(keys, MAX_ATTEMPTS)
    for job in jobs:
        job.refresh_from_db()


def test_plain_jobs_become_runnable_in_a_handful_of_statements(project: Any) -> None:
    BalsamJob.objects.bulk_create([{"name": str(number)} for number in range(1000)])
    with CaptureQueriesContext(connection) as made:
        keep_books()
    assert len(made) < 60
    assert BalsamJob.objects.counts_by_state() == {states.PREPROCESSED: 1000}
    way = [states.CREATED, states.READY, states.STAGED_IN, states.PREPROCESSED]
    for before, after in zip(["", *way], way, strict=False):
        assert EventLog.objects.filter(from_state=before, to_state=after).count() == 1000
    assert EventLog.objects.count() == 4000
    job = BalsamJob.objects.get(name="777")
    assert list(job.get_state_times()) == way


def test_done_jobs_finish_and_release_their_children(project: Any, put: Put) -> None:
    parent = BalsamJob.objects.create()
    child = BalsamJob.objects.create(parents=[parent], input_files="")
    keep_books(child)
    assert child.state == states.AWAITING_PARENTS
    put(parent, state=states.RUN_DONE)
    keep_books(parent)
    child.refresh_from_db()
    assert (parent.state, child.state) == (states.JOB_FINISHED, states.PREPROCESSED)


@pytest.mark.parametrize("end", [states.RUN_DONE, states.RUN_ERROR])
def test_children_are_released_in_pages(
    project: Any, put: Put, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """However many they are, only so many are in memory at a time."""
    monkeypatch.setattr(bookkeeping, "PAGE", 10)
    monkeypatch.setattr("balsam.core.waiting.ROWS", 10)
    parent = BalsamJob.objects.create()
    policy = "fail" if end == states.RUN_DONE else "ignore"
    given = {"parents": [parent], "input_files": "", "on_parent_failure": policy}
    children = BalsamJob.objects.bulk_create([BalsamJob(**given) for _ in range(25)])
    grandchildren = [
        BalsamJob.objects.create(parents=[child], input_files="") for child in children[:3]
    ]
    for job in (*children, *grandchildren):
        put(job, state=states.AWAITING_PARENTS)
    put(parent, state=end)
    with CaptureQueriesContext(connection) as made:
        here = bookkeeping.pass_jobs([parent.pk], 10)
    ended = states.JOB_FINISHED if end == states.RUN_DONE else states.FAILED
    assert here == {parent.pk: ended, **{job.pk: states.PREPROCESSED for job in children}}
    assert sum("SELECT id, state FROM balsam_job" in query["sql"] for query in made) == 4
    for job in grandchildren:
        job.refresh_from_db()
        assert job.state == states.AWAITING_PARENTS


def test_a_child_waits_by_the_time_its_parent_fails(project: Any, put: Put) -> None:
    """Both are new, on the same page; the parent fails with a parent of its own."""
    root = BalsamJob.objects.create()
    parent = BalsamJob.objects.create(parents=[root])
    child = BalsamJob.objects.create(parents=[parent], on_parent_failure="ignore", input_files="")
    put(root, state=states.FAILED)
    keep_books(parent, child)
    assert (parent.state, child.state) == (states.FAILED, states.PREPROCESSED)


def test_what_leads_to_a_state_stands_before_what_leads_on() -> None:
    left = [step.state for step in bookkeeping.PASSES]
    for place, step in enumerate(bookkeeping.PASSES):
        assert step.next_state not in left[: place + 1], step


def waiting(state: str, put: Put, **fields: Any) -> BalsamJob:
    job = BalsamJob.objects.create(**fields)
    put(job, state=state)
    return job


def test_what_needs_a_step_waits_for_it(project: Any, put: Put) -> None:
    ApplicationDefinition.register(name="hooked", executable="x", preprocess="p", postprocess="q")
    parent = waiting(states.JOB_FINISHED, put)
    stays = [
        waiting(states.READY, put, stage_in_url="/x"),
        waiting(states.READY, put, parents=[parent]),
        waiting(states.STAGED_IN, put, preprocess="p"),
        waiting(states.STAGED_IN, put, application="hooked"),
        waiting(states.RUN_DONE, put, application="hooked"),
        waiting(states.RUN_ERROR, put, application="hooked", post_handle_error=True),
        waiting(states.RUN_TIMEOUT, put, postprocess="q", post_handle_timeout=True),
        waiting(states.POSTPROCESSED, put, stage_out_url="/x", stage_out_files="*"),
    ]
    before = [job.state for job in stays]
    keep_books(*stays)
    assert [job.state for job in stays] == before


@pytest.mark.parametrize(
    ("state", "fields", "after"),
    [
        (states.READY, {"input_files": "*"}, states.PREPROCESSED),
        (states.POSTPROCESSED, {"stage_out_url": "/x"}, states.JOB_FINISHED),
        (states.RUN_ERROR, {}, states.FAILED),
        (states.RUN_ERROR, {"post_handle_error": True}, states.FAILED),
        (states.RUN_ERROR, {"postprocess": "q"}, states.FAILED),
        (states.RUN_TIMEOUT, {}, states.RESTART_READY),
        (states.RUN_TIMEOUT, {"auto_timeout_retry": False}, states.FAILED),
        (states.RUN_DONE, {}, states.JOB_FINISHED),
    ],
)
def test_what_needs_none_goes_on(
    project: Any, put: Put, state: str, fields: dict[str, Any], after: str
) -> None:
    job = waiting(state, put, **fields)
    keep_books(job)
    assert job.state == after


def test_timeouts_retry_until_the_limit_without_lost_attempts(project: Any, put: Put) -> None:
    job = waiting(states.RUN_TIMEOUT, put, max_attempts=2)
    put(job, attempt=1)
    keep_books(job)
    assert job.state == states.RESTART_READY
    put(job, state=states.RUN_TIMEOUT, attempt=3, lost_attempts=2)
    keep_books(job)
    assert job.state == states.RESTART_READY
    put(job, state=states.RUN_TIMEOUT, attempt=4, lost_attempts=2)
    keep_books(job)
    assert job.state == states.FAILED
    many = waiting(states.RUN_TIMEOUT, put)
    put(many, attempt=MAX_ATTEMPTS)
    keep_books(many)
    assert many.state == states.FAILED


def test_losses_are_launchers_and_nodes_lost_and_no_others(project: Any, put: Put) -> None:
    lost, stopped, plain = (BalsamJob.objects.create() for _ in range(3))
    for job, cause, times in (
        (lost, states.LAUNCHER_LOST, 1),
        (lost, states.NODE_LOST, 1),
        (lost, states.BATCH_TIME_LIMIT, 1),
        (stopped, states.BATCH_TIME_LIMIT, 3),
    ):
        for _ in range(times):
            note(job.pk, states.RUNNING, "", {"cause": cause})
    found = backoff.losses([lost.pk, stopped.pk, plain.pk])
    assert found == {lost.pk: {states.LAUNCHER_LOST: 1, states.NODE_LOST: 1}}


def test_leased_jobs_are_left_to_their_holder(project: Any) -> None:
    job = BalsamJob.objects.create()
    BalsamJob.source.acquire([job.pk])
    keep_books(job)
    assert job.state == states.CREATED
    BalsamJob.source.release_all_owned()
    keep_books(job)
    assert job.state == states.PREPROCESSED


def test_the_backlog_is_read_in_pages(project: Any) -> None:
    BalsamJob.objects.bulk_create([{} for _ in range(10)])
    first = bookkeeping.backlog(states.CREATED, 0, 6)
    rest = bookkeeping.backlog(states.CREATED, first[-1], 6)
    assert len(first) == 6 and first + rest == sorted(
        BalsamJob.objects.values_list("id", flat=True)
    )


def test_changes_are_found_by_their_events(project: Any) -> None:
    assert bookkeeping.last_event() == 0
    old = BalsamJob.objects.create()
    seen = bookkeeping.last_event()
    assert bookkeeping.changed_since(seen, 10) == (seen, [], False)
    new = BalsamJob.objects.create()
    old.update_state(states.READY)
    last, jobs, more = bookkeeping.changed_since(seen, 10)
    assert (last, sorted(jobs), more) == (bookkeeping.last_event(), [old.pk, new.pk], False)
    middle, jobs, more = bookkeeping.changed_since(seen, 1)
    assert jobs == [new.pk] and more
    assert bookkeeping.changed_since(middle, 10)[1] == [old.pk]
    old.update_state(states.PREPROCESSED)
    last, jobs, _ = bookkeeping.changed_since(last, 10)
    assert jobs == [old.pk]
    old.update_state(states.USER_KILLED)
    assert bookkeeping.changed_since(last, 10)[1] == []
