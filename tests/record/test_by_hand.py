"""Moves that people and scripts make: from the true state, with leases kept or given back."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.exceptions import ObjectDoesNotExist

from balsam import states
from balsam.core import bookkeeping
from balsam.core.advance import Move, advance
from balsam.core.events import Hop, note
from balsam.core.models import ApplicationDefinition, BalsamJob, EventLog, NoApplication
from balsam.errors import IllegalMove, InvalidValue, JobChanged, UnknownName, UsageError

Put = Callable[..., None]


@pytest.fixture
def source(project: Any) -> Iterator[Any]:
    yield BalsamJob.source
    BalsamJob.source.release_all_owned()


def test_a_script_runs_what_it_has_leased(source: Any, put: Put) -> None:
    job = BalsamJob.objects.create()
    put(job, state=states.PREPROCESSED)
    with pytest.raises(IllegalMove):
        job.update_state(states.RUNNING)
    assert source.acquire([job.pk]) == [job.pk]
    job.update_state(states.RUNNING, "by hand")
    assert (job.state, job.attempt) == (states.RUNNING, 1)
    assert job.lock == source.lock_str
    job.update_state(states.RUN_DONE, data={"returncode": 0}, release=True)
    job.refresh_from_db()
    assert (job.state, job.lock, job.return_code) == (states.RUN_DONE, "", 0)
    data = job.events.order_by("id").values_list("data", flat=True)
    assert list(data)[1:] == [{"attempt": 1}, {"attempt": 1, "returncode": 0}]
    bookkeeping.pass_jobs([job.pk], 10)
    job.refresh_from_db()
    assert job.state == states.JOB_FINISHED


def test_a_script_runs_many_that_it_has_leased(source: Any) -> None:
    mine, others = BalsamJob.objects.bulk_create([BalsamJob(), BalsamJob()]), BalsamJob()
    others.save()
    BalsamJob._base_manager.update(state=states.PREPROCESSED)
    keys = [job.pk for job in mine]
    source.acquire(keys)
    assert BalsamJob.batch_update_state(keys, states.RUNNING) == 2
    with pytest.raises(IllegalMove):
        BalsamJob.batch_update_state([*keys, others.pk], states.RUNNING)
    before = bookkeeping.last_event()
    assert BalsamJob.batch_update_state(keys, states.RUN_DONE, release=True) == 2
    assert sorted(bookkeeping.changed_since(before, 100)[1]) == keys
    assert not BalsamJob.objects.filter(session__isnull=False).exists()
    assert set(BalsamJob.objects.among(keys).values_list("attempt", flat=True)) == {1}


def test_release_gives_back_without_a_move_too(source: Any) -> None:
    job = BalsamJob.objects.create()
    source.acquire([job.pk])
    job.update_state(job.state, release=True)
    assert not job.lock
    source.acquire([job.pk])
    assert BalsamJob.batch_update_state([job.pk], job.state, release=True) == 0
    assert not BalsamJob.objects.get().lock


def test_release_leaves_the_leases_of_others(project: Any, script: Any) -> None:
    job = BalsamJob.objects.create()
    script(
        "from balsam.core.models import BalsamJob\n"
        f"assert BalsamJob.source.acquire([{job.pk}]) == [{job.pk}]"
    )
    job.update_state(states.READY, release=True)
    assert job.state == states.READY and job.lock


def test_a_stale_object_does_not_move_even_to_the_state_it_shows(project: Any) -> None:
    job = BalsamJob.objects.create()
    stale = BalsamJob.objects.get()
    job.update_state(states.FAILED)
    with pytest.raises(JobChanged, match=f"{states.FAILED} by now, not {states.CREATED}"):
        stale.update_state(states.CREATED)
    assert stale.state == states.FAILED
    stale.update_state(states.CREATED)
    assert BalsamJob.objects.get().state == states.CREATED
    with pytest.raises(UsageError, match="not saved"):
        BalsamJob().update_state(states.READY)


@pytest.mark.parametrize("data", [{"x": math.nan}, {"x": object()}, [1], 3])
def test_event_data_is_checked(project: Any, data: Any) -> None:
    job = BalsamJob.objects.create()
    with pytest.raises(InvalidValue, match="data of an event"):
        job.update_state(states.READY, data=data)
    with pytest.raises(InvalidValue, match="data of an event"):
        advance([Move(job.pk, states.CREATED, [Hop(states.READY, data=data)])])
    with pytest.raises(InvalidValue, match="data of an event"):
        note(job.pk, states.CREATED, "", data)
    assert BalsamJob.objects.get().state == states.CREATED and EventLog.objects.count() == 1


@pytest.mark.parametrize("code", [True, 2**31, 2**63, -(2**40), 1.0, "0", None])
def test_what_is_no_return_code_stays_in_the_event(source: Any, put: Put, code: Any) -> None:
    job = BalsamJob.objects.create()
    put(job, state=states.PREPROCESSED)
    source.acquire([job.pk])
    job.update_state(states.RUNNING)
    job.update_state(states.RUN_DONE, data={"returncode": code})
    job.refresh_from_db()
    assert (job.state, job.return_code) == (states.RUN_DONE, None)
    assert job.events.order_by("id").last().data["returncode"] == code


def test_an_event_has_a_message_of_text(project: Any) -> None:
    job = BalsamJob.objects.create()
    for change in (
        lambda: job.update_state(states.READY, None),
        lambda: BalsamJob.batch_update_state([job.pk], states.READY, message=None),
    ):
        with pytest.raises(InvalidValue, match="message"):
            change()
    assert BalsamJob.objects.get().state == states.CREATED and EventLog.objects.count() == 1


# -- modify ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["children", "parents", "parent_edges", "events", "pk", "id", "job_id", "session", "lock",
     "queued_launch", "app", "attempt", "state_history"],
)  # fmt: skip
def test_what_is_no_column_is_not_modified(project: Any, name: str) -> None:
    job = BalsamJob.objects.create()
    for change in (
        lambda: job.modify(name, "4"),
        lambda: BalsamJob.objects.all().modify(name, "4"),
    ):
        with pytest.raises((InvalidValue, UnknownName)):
            change()
    assert BalsamJob.objects.get().pk == job.pk


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("name", "other", "registered already"),
        ("name", " ", "needs a name"),
        ("executable", "", "needs an executable"),
        ("jobs", "3", "by hand"),
        ("pk", "77", "by hand"),
        ("id", "77", "by hand"),
        ("environ_vars", "x", "NAME=VALUE"),
    ],
)
def test_an_application_is_modified_as_it_is_registered(
    app: ApplicationDefinition, name: str, text: str, words: str
) -> None:
    ApplicationDefinition.register(name="other", executable="x")
    with pytest.raises(InvalidValue, match=words):
        app.modify(name, text)
    assert (app.name, app.executable) == ("echo", "/bin/echo")
    assert ApplicationDefinition.objects.get(name="echo").executable == "/bin/echo"
    assert app.modify("name", "echo") == "echo" and app.modify("name", "new") == "new"


# -- applications ---------------------------------------------------------------------------------


def test_an_application_counts_from_the_moment_it_is_assigned(project: Any) -> None:
    ApplicationDefinition.register(
        name="a", executable="a", preprocess="before", postprocess="after",
        envscript="env.sh", environ_vars={"A": "1"},
    )  # fmt: skip
    job = BalsamJob.objects.create(args="x")
    job.application = "a"
    assert (job.app_cmd, job.preprocess, job.postprocess) == ("a x", "before", "after")
    assert (job.envscript, job.get_envs()["A"]) == ("env.sh", "1")
    job.save()
    assert BalsamJob.objects.get().application == "a"
    job.application = "unknown"
    for _ in range(2):
        with pytest.raises(NoApplication, match="unknown"):
            job.app_cmd  # noqa: B018
        with pytest.raises(NoApplication, match="unknown"):
            job.save()
    job.application = ""
    assert job.app_cmd == "x"
    assert BalsamJob(application="a").app_cmd == "a"


def test_a_missing_application_is_what_django_says_it_is(project: Any) -> None:
    job = BalsamJob.objects.create()
    with pytest.raises(ObjectDoesNotExist):
        BalsamJob.objects.create(application="nothing")
    with pytest.raises(ApplicationDefinition.DoesNotExist):
        job.get_application()
