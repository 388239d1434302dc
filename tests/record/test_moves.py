"""The one writer of state: what it allows, what it refuses, and the event it never forgets."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from balsam import states
from balsam.core.advance import Move, advance, advance_set
from balsam.core.events import Hop
from balsam.core.models import BalsamJob, EventLog
from balsam.errors import IllegalMove, InvalidValue, JobChanged

Put = Callable[..., None]


def path(job: BalsamJob) -> list[tuple[str, str]]:
    return list(job.events.order_by("id").values_list("from_state", "to_state"))


@pytest.mark.parametrize("old", states.STATES)
def test_balsam_makes_its_own_moves_and_no_others(project: Any, put: Put, old: str) -> None:
    for new in states.STATES:
        job = BalsamJob.objects.create(name=new)
        put(job, state=old)
        if states.is_legal(old, new):
            assert advance([Move(job.pk, old, [Hop(new, "why", {"n": 1})])]) == {job.pk}
            event = job.events.latest("id")
            assert (event.from_state, event.to_state, event.message) == (old, new, "why")
            assert event.data == {"n": 1}
        else:
            for move in (
                lambda job=job, new=new: advance([Move(job.pk, old, [Hop(new)])]),
                lambda job=job, new=new: advance_set([job.pk], old, [Hop(new)]),
            ):
                with pytest.raises(IllegalMove):
                    move()
            assert job.events.count() == 1
        job.refresh_from_db()
        assert job.state == (new if states.is_legal(old, new) else old)


@pytest.mark.parametrize("old", states.STATES)
def test_a_user_makes_the_moves_of_users_and_no_others(project: Any, put: Put, old: str) -> None:
    for new in states.STATES:
        job = BalsamJob.objects.create(name=new)
        put(job, state=old)
        legal = states.is_legal(old, new, states.USER)
        if new == states.USER_KILLED and old in states.END_STATES:
            legal = False
            job.update_state(new, "killing what has ended does nothing")
        elif old == new:
            job.update_state(new, "staying put does nothing")
        elif legal:
            job.update_state(new, "why")
            event = job.events.latest("id")
            assert (event.from_state, event.to_state, event.message) == (old, new, "why")
        else:
            with pytest.raises(IllegalMove):
                job.update_state(new)
            if old != states.USER_KILLED:
                with pytest.raises(IllegalMove):
                    BalsamJob.objects.filter(pk=job.pk).update(state=new)
        read = BalsamJob.objects.get(pk=job.pk)
        assert read.state == job.state == (new if legal else old)
        assert read.events.count() == 1 + legal


def test_a_state_nobody_knows_suggests_the_nearest(project: Any) -> None:
    job = BalsamJob.objects.create()
    with pytest.raises(InvalidValue, match=states.RESTART_READY):
        job.update_state("RESTART_REDY")
    with pytest.raises((InvalidValue, IllegalMove)):
        BalsamJob.objects.update(state="RESTART_REDY")


def test_an_illegal_move_names_what_is_possible(project: Any, put: Put) -> None:
    job = BalsamJob.objects.create()
    put(job, state=states.RUNNING)
    with pytest.raises(IllegalMove, match=f"from RUNNING to READY; possible: {states.USER_KILLED}"):
        job.update_state(states.READY)


def test_a_stale_copy_can_not_move_a_job_but_can_kill_it(project: Any) -> None:
    BalsamJob.objects.create()
    first, second, third = (BalsamJob.objects.get() for _ in range(3))
    first.update_state(states.READY)
    with pytest.raises(JobChanged, match=f"{states.READY} by now"):
        second.update_state(states.STAGED_IN)
    assert second.state == states.READY
    second.update_state(states.STAGED_IN)
    third.update_state(states.USER_KILLED, "enough")
    assert third.state == BalsamJob.objects.get().state == states.USER_KILLED
    assert path(first)[-1] == (states.STAGED_IN, states.USER_KILLED)
    with pytest.raises((JobChanged, IllegalMove)):
        first.update_state(states.PREPROCESSED)


def test_moving_a_deleted_job_says_so(project: Any) -> None:
    job = BalsamJob.objects.create()
    BalsamJob.objects.all().delete()
    with pytest.raises((JobChanged, BalsamJob.DoesNotExist)):
        job.update_state(states.READY)
    assert EventLog.objects.count() == 0


def test_a_roll_back_takes_state_and_event_together(project: Any) -> None:
    job = BalsamJob.objects.create()
    other = BalsamJob.objects.create()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        job.update_state(states.READY)
        advance([Move(other.pk, states.CREATED, [Hop(states.READY)])])
        assert EventLog.objects.count() == 4
        raise ZeroDivisionError
    assert EventLog.objects.count() == 2
    assert set(BalsamJob.objects.values_list("state", flat=True)) == {states.CREATED}


def test_each_part_of_compare_and_swap_counts(project: Any, put: Put) -> None:
    job = BalsamJob.objects.create()
    (key,) = BalsamJob.source.acquire([job.pk])
    put(job, state=states.RUNNING, attempt=2)
    session = job.session_id
    done = [Hop(states.RUN_DONE)]
    for wrong in (
        Move(key, states.RESTART_READY, [Hop(states.RUNNING)], 2, session),
        Move(key, states.RUNNING, done, 1, session),
        Move(key, states.RUNNING, done, 3, session),
        Move(key, states.RUNNING, done, 2, session + 1),
        Move(key, states.RUNNING, done, 2, None),
        Move(key + 1, states.RUNNING, done, 2, session),
    ):
        assert advance([wrong]) == set()
    assert job.events.count() == 1
    right = Move(key, states.RUNNING, done, 2, session, return_code=0)
    assert advance([right]) == {key}
    assert advance([right]) == set()
    job.refresh_from_db()
    assert (job.state, job.attempt, job.session_id, job.return_code) == (
        states.RUN_DONE, 2, None, 0,
    )  # fmt: skip
    assert job.events.count() == 2


def test_one_move_may_take_several_hops_and_keep_its_lease(project: Any, put: Put) -> None:
    job = BalsamJob.objects.create()
    BalsamJob.source.acquire([job.pk])
    put(job, state=states.PREPROCESSED)
    start = datetime(2024, 1, 1, 12, tzinfo=timezone.utc)
    begun = Move(
        job.pk, states.PREPROCESSED, [Hop(states.RUNNING, time=start)], 0, job.session_id,
        keep_lease=True, next_attempt=1,
    )  # fmt: skip
    assert advance([begun]) == {job.pk}
    job.refresh_from_db()
    assert job.attempt == 1 and job.lock and job.state_timestamp == start
    hops = [
        Hop(states.RUN_TIMEOUT, "late", {"cause": states.JOB_TIME_LIMIT}, start + timedelta(1)),
        Hop(states.RESTART_READY, "again", time=start + timedelta(2)),
    ]
    ended = Move(job.pk, states.RUNNING, hops, 1, job.session_id, lost_attempts=1)
    assert advance([ended]) == {job.pk}
    job.refresh_from_db()
    assert (job.state, job.lost_attempts, job.lock) == (states.RESTART_READY, 1, "")
    assert path(job)[-2:] == [
        (states.RUNNING, states.RUN_TIMEOUT),
        (states.RUN_TIMEOUT, states.RESTART_READY),
    ]
    times = job.get_state_times()
    assert times[states.RUN_TIMEOUT] - times[states.RUNNING] == timedelta(1)


#: Nothing that a message may hold is anything to a database, or to the driver; two characters that
#: no database takes are replaced.
ODD = "100 % of {it}: 'a' \"b\" \\c \\u0041 %s ? \t\nÄ€😀 \0 \ud800"
TAKEN = ODD.replace("\0", "\ufffd").replace("\ud800", "\ufffd")


@pytest.mark.parametrize("number", [1, 3, 7])
@pytest.mark.parametrize("each", [True, False], ids=["each its own", "all the same"])
def test_events_of_many_are_written_in_order_as_they_were_given(
    project: Any, number: int, each: bool
) -> None:
    """Their ids are in the order of the hops of each job; histories are read in that order."""
    jobs = sorted(BalsamJob.objects.create().pk for _ in range(number))
    when = datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=timezone.utc)
    hops = [
        Hop(states.READY, ODD, {"words": ODD, "number": 0.1, "none": None, "list": [1, "a"]}, when),
        Hop(states.STAGED_IN),
        Hop(states.PREPROCESSED, "third", time=when - timedelta(microseconds=123456)),
    ]
    if each:
        assert advance([Move(job, states.CREATED, hops) for job in jobs]) == set(jobs)
    else:
        assert advance_set(jobs, states.CREATED, hops) == set(jobs)
    for job in jobs:
        first, second, third = EventLog.objects.filter(job_id=job).order_by("id")[1:]
        ways = [(event.from_state, event.to_state) for event in (first, second, third)]
        assert ways == [
            (states.CREATED, states.READY),
            (states.READY, states.STAGED_IN),
            (states.STAGED_IN, states.PREPROCESSED),
        ]
        words = {"words": TAKEN, "number": 0.1, "none": None, "list": [1, "a"]}
        assert (first.message, first.data, first.timestamp) == (TAKEN, words, when)
        assert (second.message, second.data) == ("", {})
        assert abs(second.timestamp - datetime.now(timezone.utc)) < timedelta(minutes=1)
        assert (third.message, third.timestamp) == ("third", when.replace(microsecond=0))
    written = (
        EventLog.objects.exclude(from_state="").order_by("id").values_list("job_id", flat=True)
    )
    assert list(written) == [job for job in jobs for _ in hops]


def test_two_moves_of_one_job_are_made_one_after_the_other(project: Any) -> None:
    job, other = BalsamJob.objects.create(), BalsamJob.objects.create()
    moves = [
        Move(job.pk, states.CREATED, [Hop(states.READY)]),
        Move(job.pk, states.READY, [Hop(states.STAGED_IN)]),
        Move(other.pk, states.CREATED, [Hop(states.READY)]),
        Move(job.pk, states.READY, [Hop(states.STAGED_IN)]),
    ]
    assert advance(moves) == {job.pk, other.pk}
    assert path(job)[1:] == [
        (states.CREATED, states.READY),
        (states.READY, states.STAGED_IN),
    ]
    assert path(other)[1:] == [(states.CREATED, states.READY)]
    again = Move(other.pk, states.READY, [Hop(states.READY, "try", again=True)])
    assert advance([again, again]) == {other.pk}
    assert path(other)[2:] == [(states.READY, states.READY)] * 2


def test_one_illegal_move_of_many_stops_all(project: Any) -> None:
    jobs = [BalsamJob.objects.create() for _ in range(3)]
    moves = [Move(job.pk, states.CREATED, [Hop(states.READY)]) for job in jobs[:2]]
    with pytest.raises(IllegalMove):
        advance([*moves, Move(jobs[2].pk, states.CREATED, [Hop(states.RUN_DONE)])])
    with pytest.raises(IllegalMove):
        BalsamJob.batch_update_state([job.pk for job in jobs], states.RUN_DONE)
    assert EventLog.objects.count() == 3


def test_balsam_moves_no_set_that_somebody_leased(project: Any) -> None:
    free, held = BalsamJob.objects.create(), BalsamJob.objects.create()
    BalsamJob.source.acquire([held.pk])
    keys = [free.pk, held.pk]
    assert advance_set(keys, states.CREATED, [Hop(states.READY)]) == {free.pk}
    killed = advance_set(keys, states.CREATED, [Hop(states.USER_KILLED)], states.USER)
    assert killed == {held.pk}
    held.refresh_from_db()
    assert held.lock


def test_batch_update_state_moves_many_and_skips_the_killed(project: Any) -> None:
    jobs = [BalsamJob.objects.create() for _ in range(5)]
    jobs[0].update_state(states.USER_KILLED)
    jobs[1].update_state(states.READY)
    keys = [job.pk for job in jobs[:3]] + [jobs[3].job_id, str(jobs[4].job_id)]
    moved = BalsamJob.batch_update_state(keys[:3], states.READY, "go")
    moved += BalsamJob.batch_update_state(keys[3:], states.READY, "go")
    assert moved == 3
    assert BalsamJob.objects.counts_by_state() == {states.READY: 4, states.USER_KILLED: 1}
    assert EventLog.objects.filter(message="go", to_state=states.READY).count() == 3


def test_history_is_a_view_of_events(project: Any) -> None:
    job = BalsamJob.objects.create()
    job.update_state(states.READY, "first")
    job.update_state(states.PREPROCESSED, "second")
    lines = job.state_history.splitlines()
    assert [line.split("] ", 1)[-1] for line in lines[1:]] == ["first", "second"]
    assert job.get_recent_state_str() == lines[-1]
    assert list(job.get_state_times()) == [states.CREATED, states.READY, states.PREPROCESSED]
    assert job.runtime_seconds is None


def test_the_states_of_many_jobs_cost_one_query(project: Any) -> None:
    BalsamJob.objects.bulk_create([{} for _ in range(10_000)])
    keys = list(BalsamJob.objects.values_list("id", flat=True))
    with CaptureQueriesContext(connection) as made:
        found = BalsamJob.objects.states_of([*keys, 10**7])
    assert len(made) == 1
    assert found == dict.fromkeys(keys, states.CREATED)
    assert BalsamJob.objects.states_of(range(1, 300_001)) == found
    assert BalsamJob.objects.states_of([]) == {}


def test_moving_many_costs_few_statements(project: Any) -> None:
    BalsamJob.objects.bulk_create([{} for _ in range(3000)])
    with CaptureQueriesContext(connection) as made:
        assert BalsamJob.objects.all().update(state=states.READY) == 3000
    assert len(made) < 12
    assert EventLog.objects.filter(to_state=states.READY).count() == 3000


# -- modify ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("wait_for_parents", "False", False),
        ("post_handle_error", "true", True),
        ("wall_minutes", "7", 7),
        ("application_args", "a 'b  c'", "a 'b  c'"),
        ("environ_vars", "URL=http://h:80:B=2", {"URL": "http://h:80", "B": "2"}),
        ("data", '{"x": 1}', {"x": 1}),
        ("name", "007", "007"),
        ("application", "echo", "echo"),
    ],
)
def test_modify_reads_text_as_the_field_means_it(
    app: Any, name: str, text: str, value: object
) -> None:
    job = BalsamJob.objects.create()
    assert job.modify(name, text) == value
    assert getattr(BalsamJob.objects.get(), name) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("wait_for_parents", "perhaps"),
        ("num_nodes", "0"),
        ("num_nodes", "many"),
        ("attempt", "1"),
        ("id", "1"),
        ("job_id", "1"),
        ("lock", "x"),
        ("tick", "x"),
        ("parents", "1"),
        ("session", "1"),
        ("nmae", "x"),
        ("state", "NOWHERE"),
    ],
)
def test_modify_refuses_the_rest(project: Any, name: str, text: str) -> None:
    job = BalsamJob.objects.create()
    before = BalsamJob.objects.values().get()
    with pytest.raises(ValueError):
        job.modify(name, text)
    assert BalsamJob.objects.values().get() == before


def test_modify_moves_state_like_a_user(project: Any) -> None:
    job = BalsamJob.objects.create()
    job.modify("state", states.READY)
    assert job.events.latest("id").to_state == states.READY
    job.modify("state", states.USER_KILLED)
    with pytest.raises(IllegalMove, match="killed"):
        job.modify("state", states.READY)
