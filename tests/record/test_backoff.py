"""Attempts that end for a cause are made again as its rule says, and each event tells."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from balsam import states
from balsam.conf import current
from balsam.core import backoff, bookkeeping, history, why
from balsam.core.advance import Move, advance
from balsam.core.backoff import Rule
from balsam.core.events import Hop
from balsam.core.excuse import NOT_BEGUN, GivenAgain, give_again
from balsam.core.models import ApplicationDefinition, BalsamJob, EventLog
from balsam.errors import InvalidValue
from balsam.launcher import dag

Put = Callable[..., None]
MAX_ATTEMPTS = 10


def attempt(job: BalsamJob, cause: str, state: str = states.RUN_ERROR, **data: Any) -> BalsamJob:
    """One more attempt of a runnable job that ended for ``cause``; books are kept then."""
    job.refresh_from_db()
    end = {"cause": cause, "attempt": job.attempt + 1, **data}
    hops = (Hop(states.RUNNING), Hop(state, f"ended with {cause}", end))
    done = advance(
        [Move(job.pk, job.state, hops, attempt=job.attempt, next_attempt=job.attempt + 1)]
    )
    assert done == {job.pk}
    bookkeeping.pass_jobs([job.pk], MAX_ATTEMPTS)
    job.refresh_from_db()
    return job


def runnable(**fields: Any) -> BalsamJob:
    job = BalsamJob.objects.create(**fields)
    bookkeeping.pass_jobs([job.pk], MAX_ATTEMPTS)
    job.refresh_from_db()
    assert job.state == states.PREPROCESSED
    return job


def last(job: BalsamJob) -> EventLog:
    event: EventLog = job.events.order_by("id").last()
    return event


def settings(project: Any, line: str) -> None:
    text = project.settings_file.read_text()
    project.settings_file.write_text(text.replace("\njobs:\n", f"\njobs:\n  {line}\n"))
    connection.close()
    current.forget()


def test_a_rule_lets_attempts_be_made_again_with_a_pause_that_doubles(project: Any) -> None:
    job = runnable(retry="oom=2:30s")
    before = history.now()
    attempt(job, states.OOM)
    assert job.state == states.RESTART_READY
    assert timedelta(seconds=29) < job.not_before - before < timedelta(seconds=35)
    event = last(job)
    assert event.message == (
        f"Will be run again after oom: attempt 2 of 3, not before {job.not_before:%H:%M:%S} UTC"
    )
    assert event.data == {
        "after": "oom", "retry": 1, "limit": 2, "not_before": job.not_before.isoformat(),
    }  # fmt: skip
    attempt(job, states.OOM)
    assert timedelta(seconds=59) < job.not_before - before < timedelta(seconds=75)
    assert "attempt 3 of 3" in last(job).message
    attempt(job, states.OOM)
    assert job.state == states.FAILED
    assert last(job).message == "Attempt 3 of 3 ended with oom, which may be tried again 2 times"


def test_each_cause_is_counted_by_itself(project: Any) -> None:
    job = runnable(retry={"oom": 1, "exit": {"limit": 1}})
    attempt(job, states.OOM)
    attempt(job, states.EXIT)
    assert job.state == states.RESTART_READY and job.not_before is None
    attempt(job, states.OOM)
    assert job.state == states.FAILED


def test_without_a_rule_an_error_is_final(project: Any) -> None:
    job = attempt(runnable(retry="oom=3"), states.EXIT)
    assert (job.state, last(job).message) == (states.FAILED, "No error handler: run failed")
    assert attempt(runnable(), states.SIGNAL).state == states.FAILED


def test_the_job_comes_before_its_application_and_that_before_the_settings(project: Any) -> None:
    settings(project, "retry: {exit: 3, signal: {limit: 1, backoff_seconds: 5}}")
    ApplicationDefinition.register(name="a", executable="x", retry="exit=2")
    own = attempt(runnable(application="a", retry="exit=1"), states.EXIT)
    apps = attempt(runnable(application="a"), states.EXIT)
    general = attempt(runnable(), states.EXIT)
    limits = [last(job).data["limit"] for job in (own, apps, general)]
    assert limits == [1, 2, 3]
    assert attempt(runnable(application="a", retry="exit=0"), states.EXIT).state == states.FAILED
    assert attempt(runnable(application="a"), states.SIGNAL).not_before is not None


def test_a_launch_that_mpi_failed_is_tried_again_without_a_word_about_it(project: Any) -> None:
    job = attempt(runnable(), states.MPI_LAUNCH_FAILED)
    assert job.state == states.RESTART_READY and job.not_before is not None
    assert "attempt 2 of 3" in last(job).message


def test_pauses_have_a_limit(project: Any) -> None:
    settings(project, "max_backoff_seconds: 40")
    job = runnable(retry="oom=9:30")
    attempt(job, states.OOM)
    before = history.now()
    attempt(job, states.OOM)
    assert job.not_before - before < timedelta(seconds=45)


def test_max_attempts_caps_all_rules(project: Any) -> None:
    job = runnable(retry="oom=5, exit=5", max_attempts=2)
    attempt(job, states.OOM)
    attempt(job, states.EXIT)
    assert job.state == states.FAILED
    assert last(job).message == "No attempt is left of those that max_attempts allows (exit)"


def test_handlers_come_first(project: Any) -> None:
    job = runnable(retry="exit=5", post_handle_error=True, postprocess="fix")
    assert attempt(job, states.EXIT).state == states.RUN_ERROR


@pytest.mark.parametrize("cause", [states.JOB_TIME_LIMIT, states.BATCH_TIME_LIMIT])
def test_rules_for_timeouts(project: Any, cause: str) -> None:
    plain = attempt(runnable(), cause, states.RUN_TIMEOUT)
    assert last(plain).message == "Timed out: will be run again"
    once = runnable(retry={cause: 1})
    attempt(once, cause, states.RUN_TIMEOUT)
    assert once.state == states.RESTART_READY
    assert attempt(once, cause, states.RUN_TIMEOUT).state == states.FAILED
    never = attempt(runnable(retry={cause: 0}), cause, states.RUN_TIMEOUT)
    assert never.state == states.FAILED
    off = runnable(retry={cause: 3}, auto_timeout_retry=False)
    assert attempt(off, cause, states.RUN_TIMEOUT).state == states.FAILED


def test_a_person_who_retries_starts_the_count_anew(project: Any) -> None:
    job = runnable(retry="exit=1")
    attempt(job, states.EXIT)
    attempt(job, states.EXIT)
    assert job.state == states.FAILED
    BalsamJob.objects.filter(pk=job.pk).retry()
    assert attempt(job, states.EXIT).state == states.RESTART_READY


def test_no_pause_outlives_a_kill_and_a_copy_has_none(project: Any) -> None:
    job = attempt(runnable(name="a", workflow="w", retry="exit=1:1h"), states.EXIT)
    assert job.not_before is not None
    assert dag.clone(job, name="b").not_before is None
    assert dag.wf_from_template("w", "copy").get().not_before is None
    dag.kill(job)
    BalsamJob.objects.retry()
    job.refresh_from_db()
    assert (job.state, job.not_before) == (states.RESTART_READY, None)


def test_children_follow_a_job_that_gave_up(project: Any) -> None:
    job = runnable(retry="exit=1")
    child = BalsamJob.objects.create(parents=[job])
    attempt(job, states.EXIT)
    child.refresh_from_db()
    assert child.state != states.FAILED
    attempt(job, states.EXIT)
    child.refresh_from_db()
    assert child.state == states.FAILED


def test_a_thousand_failures_take_a_handful_of_statements(project: Any) -> None:
    made = BalsamJob.objects.bulk_create([BalsamJob(retry="exit=1:9") for _ in range(1000)])
    keys = [job.pk for job in made]
    bookkeeping.pass_jobs(keys, MAX_ATTEMPTS)
    data = {"cause": states.EXIT, "attempt": 1}
    hops = (Hop(states.RUNNING), Hop(states.RUN_ERROR, "", data))
    advance([Move(key, states.PREPROCESSED, hops, next_attempt=1) for key in keys])
    with CaptureQueriesContext(connection) as asked:
        here = bookkeeping.pass_jobs(keys, MAX_ATTEMPTS)
    assert set(here.values()) == {states.RESTART_READY} and len(here) == 1000
    assert len(asked) < 20
    assert BalsamJob.objects.filter(not_before=None).count() == 0


def test_why_tells_of_the_pause(project: Any) -> None:
    job = attempt(runnable(retry="exit=2:2h"), states.EXIT)
    reason = why.reason(job)
    assert reason.code == "backoff"
    assert "not before" in reason.text and "after exit: attempt 2 of 3" in reason.text
    assert reason.command == f"balsam modify {job.pk} not_before now"
    [count] = why.count(BalsamJob.objects.all())
    assert (count.code, count.jobs) == ("backoff", 1)
    job.modify("not_before", "now")
    assert why.reason(job).code == "no_launcher"


def test_losses_have_a_limit_of_the_jobs_own(project: Any) -> None:
    own = runnable(retry={"node_lost": {"limit": 3}})
    other = runnable()
    past = backoff.past_losses([own.pk, other.pk], states.NODE_LOST, 5)
    assert {key: tuple(one) for key, one in past.items()} == {
        own.pk: (Rule(states.NODE_LOST, 3), 0),
        other.pk: (Rule(states.NODE_LOST, 4, setting="crash_limit"), 0),
    }


# -- the fields ---------------------------------------------------------------------------------


def test_fields_are_checked_wherever_they_are_given(project: Any) -> None:
    assert BalsamJob(signal="sigusr1").signal == BalsamJob(signal=10).signal == "USR1"
    assert BalsamJob(retry="oom=2:30s, exit=1").retry == {
        "oom": {"limit": 2, "backoff_seconds": 30.0}, "exit": {"limit": 1},
    }  # fmt: skip
    with pytest.raises(InvalidValue, match="did you mean 'USR2'"):
        BalsamJob(signal="USR3")
    with pytest.raises(InvalidValue, match="no cause 'ooom'; did you mean 'oom'"):
        BalsamJob(retry="ooom=2")
    with pytest.raises(InvalidValue, match="takes no limit for 'unsatisfiable'"):
        BalsamJob.objects.bulk_create([{"retry": {"unsatisfiable": 1}}])
    [made] = BalsamJob.objects.bulk_create([{"retry": "exit=3", "signal": "12"}])
    job = BalsamJob.objects.get()
    assert (job.retry, job.signal) == ({"exit": {"limit": 3}}, "USR2")
    job.retry = {"exit": 4}
    job.signal = "term"
    job.save()
    job.refresh_from_db()
    assert (job.retry, job.signal) == ({"exit": {"limit": 4}}, "TERM")
    assert job.modify("retry", "") == {}
    with pytest.raises(InvalidValue, match="at least 0"):
        job.modify("signal_before_min", "-1")
    assert BalsamJob.objects.filter(signal="TERM", retry={}).count() == 1
    BalsamJob.objects.bulk_create([{"name": "text", "not_before": "2036-01-01T00:00:00Z"}])
    assert BalsamJob.objects.get(name="text").not_before.year == 2036
    until = datetime(2036, 1, 1, tzinfo=timezone.utc)
    later = BalsamJob.objects.create(not_before=until)
    later.refresh_from_db()
    assert later.not_before == until
    with pytest.raises(InvalidValue, match="zone"):
        BalsamJob.objects.create(not_before=datetime(2036, 1, 1))  # noqa: DTZ001
    assert later.modify("not_before", "2036-02-01T12:00") == datetime(
        2036, 2, 1, 12, tzinfo=timezone.utc
    )


# -- the fault of a node ------------------------------------------------------------------------

WHY = "5 of 5 attempts failed on n1, and 0 % elsewhere"


def test_attempts_that_convicted_a_node_are_given_again(project: Any) -> None:
    failed = attempt(runnable(max_attempts=1), states.EXIT)
    child = BalsamJob.objects.create(parents=[failed])
    grandchild = BalsamJob.objects.create(parents=[child])
    for job in (child, grandchild):
        bookkeeping.pass_jobs([job.pk], MAX_ATTEMPTS)
        job.refresh_from_db()
        assert job.state == states.FAILED
    done = give_again([(failed.pk, 1)], "n1", WHY)
    assert (done.jobs, done.children, done.excused) == (1, 2, 1)
    for job in (failed, child, grandchild):
        job.refresh_from_db()
    assert (failed.state, failed.attempt, failed.lost_attempts) == (states.RESTART_READY, 1, 1)
    assert (child.state, grandchild.state) == (states.CREATED, states.CREATED)
    assert "n1 was set aside" in last(failed).message and WHY in last(failed).message
    assert give_again([(failed.pk, 1)], "n1", WHY) == GivenAgain()
    attempt(failed, states.OK, states.RUN_DONE)
    assert failed.state == states.JOB_FINISHED


def test_what_could_not_begin_on_a_bad_node_goes_on_without_a_lost_attempt(project: Any) -> None:
    job = runnable()
    data = {"cause": states.PROGRAM_MISSING, "attempt": 0, "nodes": ["n1"]}
    failed = Move(job.pk, states.PREPROCESSED, [Hop(states.FAILED, "no such program", data)])
    assert advance([failed]) == {job.pk}
    assert give_again([(job.pk, NOT_BEGUN)], "n2", WHY) == GivenAgain()
    assert give_again([(job.pk, NOT_BEGUN)], "n1", WHY) == GivenAgain(1, 0, 0)
    job.refresh_from_db()
    assert (job.state, job.attempt, job.lost_attempts) == (states.RESTART_READY, 0, 0)
    assert "could not begin" in last(job).message and WHY in last(job).message
    assert give_again([(job.pk, NOT_BEGUN)], "n1", WHY) == GivenAgain()
    # Its first attempt is still to come: that it fails elsewhere is another matter.
    attempt(job, states.EXIT, nodes=["n1"])
    assert give_again([(job.pk, NOT_BEGUN)], "n1", WHY) == GivenAgain()
    assert give_again([(job.pk, 1)], "n1", WHY) == GivenAgain(1, 0, 1)


def test_excused_attempts_count_for_no_limit(project: Any) -> None:
    job = runnable(retry="exit=1:1h")
    attempt(job, states.EXIT)
    assert job.not_before is not None
    assert give_again([(job.pk, 1)], "n1", WHY) == GivenAgain(0, 0, 1)
    job.refresh_from_db()
    assert (job.state, job.lost_attempts, job.not_before) == (states.RESTART_READY, 1, None)
    assert last(job).from_state == last(job).to_state
    attempt(job, states.EXIT)
    assert job.state == states.RESTART_READY and "attempt 2 of 2" in last(job).message
    assert attempt(job, states.EXIT).state == states.FAILED


@pytest.mark.parametrize("begun", [True, False])
def test_an_excuse_leaves_what_else_counts(project: Any, put: Put, begun: bool) -> None:
    """It leads out of FAILED as a person does, who has all counted anew."""
    job = runnable(retry="exit=2", max_attempts=9)
    for cause in (states.NODE_LOST, states.NODE_LOST, states.EXIT):
        attempt(job, cause, states.RESTART_READY)
    number = NOT_BEGUN
    if begun:
        number = attempt(job, states.OOM).attempt
    else:
        data = {"cause": states.PROGRAM_MISSING, "attempt": 3, "nodes": ["n1"]}
        failed = Move(job.pk, job.state, [Hop(states.FAILED, "no program", data)], job.attempt)
        assert advance([failed]) == {job.pk}
    job.refresh_from_db()
    assert job.state == states.FAILED
    assert give_again([(job.pk, number)], "n1", WHY).jobs == 1
    assert backoff.losses([job.pk]) == {job.pk: {states.NODE_LOST: 2}}
    counted = backoff._failures([job.pk])[job.pk]
    assert (counted[states.NODE_LOST], counted[states.EXIT]) == (2, 1)
    put(job, state=states.FAILED)
    BalsamJob.objects.filter(pk=job.pk).retry()
    assert backoff.losses([job.pk]) == {} == backoff._failures([job.pk])[job.pk]


def test_each_node_may_be_at_fault_that_a_job_can_not_begin(project: Any) -> None:
    job = runnable()
    for node in ("n1", "n2"):
        job.refresh_from_db()
        data = {"cause": states.PROGRAM_MISSING, "attempt": 0, "nodes": [node]}
        assert advance([Move(job.pk, job.state, [Hop(states.FAILED, "no program", data)])])
        assert give_again([(job.pk, NOT_BEGUN)], node, WHY) == GivenAgain(1, 0, 0)


def test_what_went_on_meanwhile_is_left_alone(project: Any, put: Put) -> None:
    finished = runnable(retry="exit=1")
    attempt(finished, states.EXIT)
    attempt(finished, states.OK, states.RUN_DONE)
    later = runnable(retry="exit=1")
    attempt(later, states.EXIT)
    attempt(later, states.EXIT)
    killed = attempt(runnable(retry="exit=1"), states.EXIT)
    killed.update_state(states.USER_KILLED)
    handled = attempt(runnable(post_handle_error=True, postprocess="x"), states.EXIT)
    asked = [(finished.pk, 1), (later.pk, 1), (killed.pk, 1), (handled.pk, 1), (99, 1)]
    assert give_again(asked, "n1", WHY) == GivenAgain(2, 0, 2)
    for job, state in (
        (finished, states.JOB_FINISHED),
        (later, states.RESTART_READY),  # its second attempt would not have been its last
        (killed, states.USER_KILLED),
        (handled, states.RESTART_READY),
    ):
        job.refresh_from_db()
        assert job.state == state
