"""Steps that fail are made again as their rule says: counted once, and not before their time."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest

from balsam import states
from balsam.core import bookkeeping, history, lease, sessions, step_retries, why
from balsam.core.care import fsck
from balsam.core.excuse import NOT_BEGUN, give_again
from balsam.core.lease import Scope
from balsam.core.models import ApplicationDefinition, BalsamJob, EventLog, Session
from balsam.core.sessions import Life
from balsam.errors import LaunchError
from balsam.launcher import journal
from balsam.launcher.ending import could_not_start
from balsam.launcher.entries import End, Entry, StepEnd
from balsam.launcher.ledger import Ledger
from balsam.launcher.recovery import Recovery
from balsam.launcher.steps import WANTED
from balsam.launcher.tasks import from_row
from balsam.outcomes import Outcome
from balsam.platform import node

from .test_backoff import settings

HERE = Life("launcher", "here", node.identity(), 1, node.start_time(1))
WORDS = "preprocess 'x' ended with exit code 3; its output is in 'x.log'"


class Pilot:
    """A session that leases steps, and commits what the test makes of them."""

    def __init__(self, project: Any) -> None:
        self.project = project
        self.session = sessions.open_session(HERE)
        self.journal = journal.Journal(journal.path_of(project.journal_dir, self.session))
        self.ledger = Ledger(self.journal, self.session, 10)

    def lease(self, job: BalsamJob) -> bool:
        found = lease.lease_for_steps(self.session, Scope(job=job.pk), WANTED, 9)
        job.refresh_from_db()
        return found == [(job.pk, job.state)]

    def take(self, job: BalsamJob, *entries: Entry) -> EventLog:
        """Journal and commit entries of a job; the last event."""
        for entry in entries:
            self.ledger.add(entry)
        self.ledger.write()
        self.ledger.commit()
        job.refresh_from_db()
        return last(job)

    def fail(self, job: BalsamJob, cause: str = states.HOOK) -> EventLog:
        """A step of a job fails, whatever it waits for; the event of that."""
        BalsamJob._base_manager.filter(pk=job.pk).update(not_before=None)
        assert self.lease(job)
        return self.take(job, failed(job, cause))

    def end(self, job: BalsamJob, state: str) -> None:
        BalsamJob._base_manager.filter(pk=job.pk).update(not_before=None)
        assert self.lease(job)
        self.take(job, StepEnd(job.pk, job.state, job.attempt, Outcome(state), time.time()))


def failed(job: BalsamJob, cause: str = states.HOOK, message: str = WORDS) -> StepEnd:
    data = {"cause": cause, "returncode": 3, "tail": "no"}
    outcome = Outcome(states.FAILED, message, data)
    return StepEnd(job.pk, job.state, job.attempt, outcome, time.time())


def last(job: BalsamJob) -> EventLog:
    event: EventLog = job.events.order_by("id").last()
    return event


def job(state: str = states.STAGED_IN, **fields: Any) -> BalsamJob:
    """A job that waits for its preprocess script, or with ``state`` for something else."""
    made = BalsamJob.objects.create(**{"preprocess": "x", "postprocess": "x", **fields})
    bookkeeping.pass_jobs([made.pk], 10)
    made.refresh_from_db()
    assert made.state == state
    return made


@pytest.fixture
def pilot(project: Any) -> Pilot:
    return Pilot(project)


def test_a_hook_is_tried_again_with_a_pause_that_doubles(pilot: Pilot) -> None:
    one = job(retry="hook=2:30s")
    event = pilot.fail(one)
    when = event.timestamp + timedelta(seconds=30)
    assert event.message == (
        f"{WORDS}; will be tried again after hook: retry 1 of 2, not before {when:%H:%M:%S} UTC"
    )
    assert (event.from_state, event.to_state) == (states.STAGED_IN, states.STAGED_IN)
    assert event.data == {
        "cause": "hook", "returncode": 3, "tail": "no",
        "retry": 1, "limit": 2, "not_before": when.isoformat(),
    }  # fmt: skip
    assert (one.state, one.session, one.not_before) == (states.STAGED_IN, None, when)
    event = pilot.fail(one)
    assert "retry 2 of 2" in event.message
    assert one.not_before == event.timestamp + timedelta(seconds=60)
    event = pilot.fail(one)
    assert one.state == states.FAILED
    assert event.message == f"{WORDS}; the 2 retries for hook are used up"
    assert event.data == {"cause": "hook", "returncode": 3, "tail": "no"}
    assert fsck.check_project(pilot.project).sound


def test_no_step_before_its_time_and_none_behind_it_waits(pilot: Pilot) -> None:
    first, second = job(retry="hook=2:1h"), job()
    pilot.fail(first)
    assert not pilot.lease(first)
    assert lease.lease_for_steps(pilot.session, Scope(), WANTED, 1) == [(second.pk, second.state)]
    assert lease.next_due(Scope(), history.now(), WANTED) == first.not_before
    assert lease.next_due(Scope(), history.now()) is None
    first.modify("not_before", "now")
    assert pilot.lease(first)


def test_without_a_pause_it_is_had_at_once(pilot: Pilot) -> None:
    one = job(retry="hook=1")
    assert pilot.fail(one).message == f"{WORDS}; will be tried again after hook: retry 1 of 1"
    assert one.not_before is None and pilot.lease(one)
    event = pilot.take(one, failed(one, message="bad.\nmore"))
    assert event.message == "bad; the retry for hook is used up\nmore"


def test_without_a_rule_a_step_that_failed_is_final(pilot: Pilot) -> None:
    ApplicationDefinition.register(name="a", executable="x", retry="hook=1")
    for fields in ({}, {"retry": "staging=3"}, {"application": "a", "retry": "hook=0"}):
        one = job(**fields)
        assert pilot.fail(one).message == WORDS
        assert one.state == states.FAILED


def test_the_job_comes_before_its_application_and_that_before_the_settings(pilot: Pilot) -> None:
    settings(pilot.project, "retry: {hook: 3, staging: {limit: 1, backoff_seconds: 5}}")
    ApplicationDefinition.register(name="a", executable="x", retry="hook=2")
    limits = [
        pilot.fail(job(**fields)).data["limit"]
        for fields in ({"application": "a", "retry": "hook=1"}, {"application": "a"}, {})
    ]
    assert limits == [1, 2, 3]
    staged = job(states.READY, stage_in_url="/data")
    pilot.fail(staged, states.STAGING)
    assert staged.state == states.READY and staged.not_before is not None


def test_each_cause_is_counted_by_itself_and_over_the_whole_life(pilot: Pilot) -> None:
    one = job(states.READY, stage_in_url="/data", retry="hook=1, staging=1")
    assert "staging: retry 1 of 1" in pilot.fail(one, states.STAGING).message
    pilot.end(one, states.STAGED_IN)
    assert "hook: retry 1 of 1" in pilot.fail(one).message
    assert pilot.fail(one).to_state == states.FAILED


def test_a_person_who_retries_starts_the_count_anew(pilot: Pilot) -> None:
    one = job(retry="hook=1")
    pilot.fail(one)
    assert pilot.fail(one).to_state == states.FAILED
    BalsamJob.objects.filter(pk=one.pk).retry()
    assert "retry 1 of 1" in pilot.fail(one).message
    one.update_state(states.JOB_FINISHED)
    one.update_state(states.STAGED_IN)
    assert "retry 1 of 1" in pilot.fail(one).message


@pytest.mark.parametrize("state", [states.PREPROCESSED, states.RESTART_READY])
def test_an_attempt_that_can_not_be_prepared(pilot: Pilot, put: Any, state: str) -> None:
    one = job(retry="staging=1:1h", max_attempts=1)
    put(one, state=state)
    for expected in (state, states.FAILED):
        put(one, not_before=None)
        [row] = lease.lease_runnable(pilot.session, Scope(job=one.pk), 1)
        end = could_not_start(from_row(row, (), None), LaunchError("The disk is full."))
        event = pilot.take(one, end)
        assert (one.state, one.attempt, one.session) == (expected, 0, None)
    assert event.message == "The disk is full; the retry for staging is used up"
    assert lease.lease_runnable(pilot.session, Scope(), 9) == []


def test_what_a_node_that_was_set_aside_refused_does_not_count(pilot: Pilot, put: Any) -> None:
    """But what failed elsewhere does, and who has the job tried again there is no person."""
    one = job(retry="staging=1")
    put(one, state=states.PREPROCESSED)
    for node_, state in (("n1", states.PREPROCESSED), ("n2", states.FAILED)):
        assert lease.lease_runnable(pilot.session, Scope(job=one.pk), 1)
        data = {"cause": states.STAGING, "attempt": 0, "nodes": [node_]}
        outcome = Outcome(states.FAILED, "The disk is full.", data)
        pilot.take(one, End(one.pk, one.state, 0, outcome, time.time()))
        assert one.state == state
    assert give_again([(one.pk, NOT_BEGUN)], "n2", "they all fail there").jobs == 1
    times = step_retries._times([one.pk])
    assert times[one.pk, states.STAGING] == [one.events.get(data__nodes=["n1"]).timestamp]


def test_a_handler_is_tried_again_where_it_is(pilot: Pilot, put: Any) -> None:
    one = job(retry="hook=1:1h, exit=5", post_error_handler=True)
    put(one, state=states.RUN_ERROR, attempt=1)
    pilot.fail(one)
    assert (one.state, one.attempt) == (states.RUN_ERROR, 1)
    assert bookkeeping.pass_jobs([one.pk], 10) == {one.pk: states.RUN_ERROR}
    one.modify("post_error_handler", "false")
    # No attempt ended for hook; nor does a rule for that, if there is no handler any more.
    assert bookkeeping.pass_jobs([one.pk], 10) == {one.pk: states.FAILED}


def test_a_hook_that_moved_its_job_is_not_tried_again(pilot: Pilot, put: Any) -> None:
    one = job(retry="hook=5")
    put(one, state=states.RUN_ERROR)
    assert pilot.lease(one)
    end = failed(one)
    put(one, state=states.RESTART_READY)
    assert pilot.take(one, end).to_state != states.RUN_ERROR
    final = StepEnd(one.pk, one.state, 0, end.outcome, end.time, final=True)
    assert pilot.take(one, final).to_state == states.FAILED


def test_what_is_committed_twice_is_counted_once(pilot: Pilot) -> None:
    one = job(retry="hook=2")
    assert pilot.lease(one)
    end = failed(one)
    pilot.take(one, end)
    assert pilot.lease(one)
    number = one.events.count()
    pilot.take(one, end)
    assert one.events.count() == number and one.session_id == pilot.session


@pytest.mark.parametrize("committed", [False, True])
def test_a_launcher_that_dies_neither_loses_nor_repeats_a_count(
    pilot: Pilot, committed: bool
) -> None:
    one = job(retry="hook=2:10m")
    pilot.fail(one)
    BalsamJob._base_manager.filter(pk=one.pk).update(not_before=None)
    assert pilot.lease(one)
    pilot.ledger.add(failed(one))
    pilot.ledger.write()
    if committed:
        before = pilot.journal.path.read_bytes()
        pilot.ledger.commit()
        # It was killed before it could write that down in its journal.
        pilot.journal.path.write_bytes(before)
    recovery = Recovery(
        "p", pilot.project.journal_dir, HERE,
        lease_seconds=60, crash_limit=5, max_attempts=10, grace_seconds=0,
    )  # fmt: skip
    recovery.recover(Session.objects.get(pk=pilot.session))
    one.refresh_from_db()
    event = last(one)
    assert "retry 2 of 2" in event.message
    assert one.not_before == event.timestamp + timedelta(minutes=20)
    assert (one.state, one.session) == (states.STAGED_IN, None)
    assert "used up" in Pilot(pilot.project).fail(one).message


def test_a_step_that_was_interrupted_is_no_failure(pilot: Pilot) -> None:
    one = job(retry="hook=1")
    assert pilot.lease(one)
    sessions.close_session(pilot.session)
    pilot = Pilot(pilot.project)
    assert "retry 1 of 1" in pilot.fail(one).message


def test_why_tells_what_waits_and_for_what(pilot: Pilot) -> None:
    one = job(retry="hook=2:2h")
    pilot.fail(one)
    reason = why.reason(one)
    assert reason.code == "backoff"
    assert reason.text.startswith("Its preprocess script is next, but not before ")
    assert "ended with exit code 3" in reason.text and "retry 1 of 2" in reason.text
    assert reason.command == f"balsam modify {one.pk} not_before now"
    staged = job(states.READY, stage_in_url="/data", retry="staging=2:2h")
    pilot.fail(staged, states.STAGING)
    assert why.reason(staged).text.startswith("Its files are to be staged, but not before ")
    [count] = why.count(BalsamJob.objects.all())
    assert (count.code, count.jobs) == ("backoff", 2)
    one.modify("not_before", "now")
    assert why.reason(one).code == "hook"


def test_a_user_may_hold_back_staging(pilot: Pilot) -> None:
    later = history.now() + timedelta(hours=1)
    one = job(states.READY, stage_in_url="/data", not_before=later)
    assert not pilot.lease(one)
