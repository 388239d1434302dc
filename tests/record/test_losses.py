"""Attempts lost with a node or a launcher, and starts without a program, as they are committed."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connections, models

from balsam import states
from balsam.core import bookkeeping, history, lease, sessions
from balsam.core.lease import Scope
from balsam.core.models import BalsamJob, EventLog, Session
from balsam.core.models.session import LIVE
from balsam.core.offer import Offer
from balsam.core.retry import retry
from balsam.core.sessions import Life
from balsam.launcher import dag, journal
from balsam.launcher import recovery as recoveries
from balsam.launcher.entries import End, Start
from balsam.launcher.ledger import Ledger
from balsam.launcher.recovery import Recovery
from balsam.launcher.rulings import node_lost
from balsam.outcomes import Outcome
from balsam.platform import node

CRASH_LIMIT = 3
HERE = Life("launcher", "here", node.identity(), 1, node.start_time(1))
DEAD = Life("launcher", "here", node.identity(), 2**22, 1)
ELSEWHERE = Life("launcher", "node17", "another machine", 4711, 1)


class Run:
    """One session with its ledger."""

    def __init__(self, project: Any, life: Life = HERE) -> None:
        self.project = project
        self.session = sessions.open_session(life)
        self.path = journal.path_of(project.journal_dir, self.session)
        self.ledger = Ledger(journal.Journal(self.path), self.session, 10, crash_limit=CRASH_LIMIT)

    def begin(self, job: BalsamJob) -> int:
        """Lease and start it; the number of its attempt."""
        job.refresh_from_db()
        BalsamJob._base_manager.filter(pk=job.pk).update(not_before=None)
        assert lease.lease_runnable(self.session, Scope(job=job.pk), 1)
        self.ledger.add(Start(job.pk, job.state, job.attempt, 1, time.time()))
        self.ledger.commit()
        return job.attempt + 1

    def lose(self, job: BalsamJob) -> EventLog:
        """Start it, and lose it with its node; the event of that."""
        number = self.begin(job)
        data = {"nodes": ["n3"], "cores": 1}
        self.ledger.add(node_lost(job.pk, number, "n3", "no answer for 30 s", data, time.time()))
        self.ledger.write()
        self.ledger.commit()
        job.refresh_from_db()
        event: EventLog = job.events.filter(data__cause=states.NODE_LOST).order_by("-id").first()
        return event


@pytest.fixture
def run(project: Any) -> Run:
    return Run(project)


def job(**fields: Any) -> BalsamJob:
    made = BalsamJob.objects.create(**fields)
    bookkeeping.pass_jobs([made.pk], 10)
    made.refresh_from_db()
    return made


def test_what_a_lost_node_ran_is_run_again_and_counts_as_no_attempt(run: Run) -> None:
    lost = job(max_attempts=1)
    event = run.lose(lost)
    assert (lost.state, lost.attempt, lost.lost_attempts) == (states.RESTART_READY, 1, 1)
    assert lost.session is None
    assert event.message == (
        "Attempt 1 was lost with its node n3 (no answer for 30 s): will be run again"
    )
    assert event.data["lost_node"] == "n3" and event.data["nodes"] == ["n3"]


def test_at_the_crash_limit_it_fails(run: Run) -> None:
    lost = job()
    child = BalsamJob.objects.create(parents=[lost])
    for number in range(1, CRASH_LIMIT + 1):
        event = run.lose(lost)
        assert lost.state == (states.FAILED if number == CRASH_LIMIT else states.RESTART_READY)
    assert event.message == f"Its node was lost {CRASH_LIMIT} times while it ran (crash_limit)"
    child.refresh_from_db()
    assert child.state == states.FAILED


def test_a_job_may_have_a_limit_of_its_own_and_a_pause(run: Run) -> None:
    lost = job(retry={"node_lost": {"limit": 1, "backoff_seconds": 600}})
    event = run.lose(lost)
    assert lost.state == states.RESTART_READY and "not before" in event.message
    assert lost.not_before - history.now() > timedelta(seconds=500)
    event = run.lose(lost)
    assert lost.state == states.FAILED
    assert event.message == "Its node was lost 2 times while it ran (retry: node_lost=1)"


def test_a_rule_for_one_kind_of_loss_does_not_count_the_other(run: Run, project: Any) -> None:
    lost = job(retry="node_lost=1")
    other = Run(project, ELSEWHERE)
    other.begin(lost)
    recovery(project).recover(Session.objects.get(pk=other.session))
    run.lose(lost)
    assert lost.state == states.RESTART_READY
    run.lose(lost)
    assert lost.state == states.FAILED


def test_who_lets_it_try_again_begins_to_count_anew(run: Run) -> None:
    lost = job()
    for _ in range(CRASH_LIMIT):
        run.lose(lost)
    assert lost.state == states.FAILED
    retry(BalsamJob.objects.filter(pk=lost.pk))
    bookkeeping.pass_jobs([lost.pk], 10)
    for number in range(1, CRASH_LIMIT + 1):
        run.lose(lost)
        assert lost.state == (states.FAILED if number == CRASH_LIMIT else states.RESTART_READY)


def test_losses_with_node_and_launcher_are_counted_together(run: Run, project: Any) -> None:
    lost = job()
    run.lose(lost)
    for number in (2, 3):
        other = Run(project, ELSEWHERE)
        other.begin(lost)
        recovery(project).recover(Session.objects.get(pk=other.session))
        lost.refresh_from_db()
        assert lost.lost_attempts == number
    assert lost.state == states.FAILED


def test_a_loss_in_the_journal_is_replayed_with_its_limit(project: Any) -> None:
    lost = job(retry="node_lost=0")
    other = Run(project, ELSEWHERE)
    number = other.begin(lost)
    other.ledger.add(node_lost(lost.pk, number, "n3", "gone", {}, time.time()))
    other.ledger.write()
    recovery(project).recover(Session.objects.get(pk=other.session))
    lost.refresh_from_db()
    assert (lost.state, lost.lost_attempts) == (states.FAILED, 1)


def recovery(project: Any, patience: float = 0.0) -> Recovery:
    return Recovery(
        "id", Path(project.journal_dir), HERE, lease_seconds=120, crash_limit=CRASH_LIMIT,
        max_attempts=10, grace_seconds=0, patience_seconds=patience,
    )  # fmt: skip


def test_recovery_says_where_an_attempt_may_go_on(project: Any) -> None:
    lost, near = job(), job()
    for one, life in ((lost, ELSEWHERE), (near, HERE)):
        other = Run(project, life)
        other.begin(one)
        recovery(project).recover(Session.objects.get(pk=other.session))
    event = lost.events.order_by("-id").first()
    assert event.message == (
        "Attempt 1 was lost with its launcher: will be run again; it may go on running on node17 "
        "until its launcher there notices"
    )
    assert event.data["host"] == "node17"
    assert near.events.order_by("-id").first().message == (
        "Attempt 1 was lost with its launcher: will be run again"
    )


def test_a_handler_that_died_with_its_launcher_gives_no_attempt_too_many(project: Any) -> None:
    dead = sessions.open_session(ELSEWHERE)
    found = {}
    other = BalsamJob.objects.create(name="other")
    for name, was, limit, *back in (
        ("spent", states.RUN_ERROR, 1, states.RESTART_READY),
        ("left", states.RUN_TIMEOUT, 2, states.RESTART_READY),
        ("retried", states.FAILED, 1, states.RESTART_READY),
        ("prepared", states.RUN_TIMEOUT, 1, states.PREPROCESSED),
        ("twice", states.RUN_ERROR, 1, states.CREATED, states.PREPROCESSED),
        ("waits", states.RUN_ERROR, 1, states.READY),
    ):
        one = BalsamJob.objects.create(name=name, max_attempts=limit)
        BalsamJob._base_manager.filter(pk=one.pk).update(state=was, attempt=1, session=dead)
        path = {"from_state": states.RUNNING, "to_state": was}
        EventLog.objects.create(job=one, timestamp=history.now(), **path)
        one.refresh_from_db()
        for state in back:
            one.update_state(state)
        if name == "waits":
            dag.add_dependency(other, one)
            one.refresh_from_db()
            assert one.state == states.AWAITING_PARENTS
        found[name] = one
    recovery(project).recover(Session.objects.get(pk=dead))
    for one in found.values():
        one.refresh_from_db()
        assert one.session is None
    ends = {name: one.state for name, one in found.items()}
    again = states.RESTART_READY
    gone = states.FAILED
    assert ends == {
        **dict.fromkeys(("spent", "prepared", "twice", "waits"), gone),
        **dict.fromkeys(("left", "retried"), again),
    }
    for name in ("spent", "prepared", "twice", "waits"):
        assert "max_attempts" in found[name].state_history


def test_what_somebody_else_has_still_to_commit_is_left_to_them(project: Any) -> None:
    lost = job()
    dead = Run(project, DEAD)
    dead.begin(lost)
    # Root may read every file; this is none that anybody may.
    dead.path.rename(dead.path.with_suffix(".kept"))
    dead.path.mkdir()
    look = recovery(project)
    assert look.run(None) == look.run(None) == 0
    assert Session.objects.get(pk=dead.session).state == LIVE
    dead.path.rmdir()
    dead.path.with_suffix(".kept").rename(dead.path)
    assert look.run(None) == 1
    lost.refresh_from_db()
    assert lost.state == states.RESTART_READY and not dead.path.exists()


def test_a_job_is_not_to_be_had_before_its_back_off_is_known(
    project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = job(retry={"launcher_lost": {"limit": 3, "backoff_seconds": 600}})
    dead = Run(project, DEAD)
    dead.begin(lost)

    def fail(moves: Any) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(recoveries, "hold_back", fail)
    with pytest.raises(OperationalError):
        recovery(project).recover(Session.objects.get(pk=dead.session))
    monkeypatch.undo()
    lost.refresh_from_db()
    assert lost.state == states.RUNNING
    recovery(project).recover(Session.objects.get(pk=dead.session))
    lost.refresh_from_db()
    assert lost.state == states.RESTART_READY and lost.not_before > history.now()


# -- clocks that jump ---------------------------------------------------------------------------


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock by which recovery looks on, as a list of one; the database has always been up."""
    found = [time.monotonic()]
    monkeypatch.setattr("balsam.launcher.recovery.time.monotonic", lambda: found[0])
    monkeypatch.setattr(type(connections["default"]), "up_since", lambda self: None)
    return found


@pytest.mark.parametrize("hours", [6, -6])
def test_no_jump_of_the_clock_ends_a_session_that_lives(
    project: Any, ticks: list[float], monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    look = recovery(project, patience=20)
    keys = [sessions.open_session(life) for life in (HERE, ELSEWHERE)]
    now = history.now() + timedelta(hours=hours)
    monkeypatch.setattr(history, "now", lambda: now)
    for _ in range(30):  # the living beat by their own clocks, which nobody has set
        assert [look.is_dead(session) for session in Session.objects.filter(pk__in=keys)] == [
            False, False,
        ]  # fmt: skip
        ticks[0] += 10
        there = Session.objects.filter(pk__in=keys)
        there.update(
            heartbeat=models.F("heartbeat") + timedelta(seconds=10),
            heartbeat_monotonic=models.F("heartbeat_monotonic") + 10,
        )


def test_a_session_elsewhere_whose_heartbeat_stands_still_is_dead_whatever_its_clock_says(
    project: Any, ticks: list[float]
) -> None:
    look = recovery(project, patience=20)
    key = sessions.open_session(ELSEWHERE)
    Session.objects.filter(pk=key).update(heartbeat=history.now() + timedelta(hours=5))
    session = Session.objects.get(pk=key)
    assert not look.is_dead(session)
    ticks[0] += 119
    assert not look.is_dead(session)
    ticks[0] += 2
    assert look.is_dead(session)


def test_nobody_waits_for_a_session_elsewhere_whose_clock_is_behind(
    project: Any, ticks: list[float]
) -> None:
    look = recovery(project, patience=20)
    key = sessions.open_session(ELSEWHERE)
    beat = history.now() - timedelta(seconds=60)
    waited = []
    for _ in range(3):
        Session.objects.filter(pk=key).update(heartbeat=beat)
        assert look.run(None) == 0
        waited.append(look.waiting)
        ticks[0] += 15
        beat += timedelta(seconds=15)
    # At first it may be dead; then its heartbeat moves.
    assert waited == [True, False, False]
    ticks[0] += 10
    assert look.run(None) == 0 and look.waiting


def test_a_process_that_runs_and_is_late_may_be_coming_back(
    project: Any, ticks: list[float]
) -> None:
    """As long as the database was away, nobody could beat: the first to be back takes no jobs."""
    look = recovery(project, patience=20)
    key = sessions.open_session(HERE)
    Session.objects.filter(pk=key).update(heartbeat_monotonic=time.monotonic() - 130)
    session = Session.objects.get(pk=key)
    assert look.run(None) == 0 and look.waiting
    ticks[0] += 19
    assert not look.is_dead(session)
    ticks[0] += 2
    assert look.is_dead(session)
    # Who has beaten since is back.
    session.heartbeat_monotonic += 140
    session.heartbeat = history.now()
    assert not look.is_dead(session)


@pytest.mark.parametrize(("names", "seconds"), [("", 0), ("here", 0), ("n3", 68), ("here,n3", 68)])
def test_what_runs_elsewhere_is_given_out_again_only_when_it_has_been_ended_there(
    project: Any, ticks: list[float], monkeypatch: pytest.MonkeyPatch, names: str, seconds: int
) -> None:
    """Also where the only node of a launcher is not that on which it ran, as that of a part."""
    monkeypatch.setattr(recoveries, "has_this_node", lambda nodes: "here" in nodes)
    look = recovery(project, patience=20)
    number = max(1, len(names.split(",")))
    key = sessions.open_session(HERE, Offer(nodes=number, node_names=names))
    session = Session.objects.get(pk=key)
    session.pid_start = 2  # its process is gone
    assert look.is_dead(session) == (not seconds) and look.waiting == bool(seconds)
    ticks[0] += seconds - 1
    assert look.is_dead(session) == (not seconds)
    ticks[0] += 2
    assert look.is_dead(session)


# -- programs that are missing ------------------------------------------------------------------


def missing(run: Run, one: BalsamJob) -> None:
    one.refresh_from_db()
    assert lease.lease_runnable(run.session, Scope(job=one.pk), 1)
    data = {"cause": states.PROGRAM_MISSING, "attempt": one.attempt}
    outcome = Outcome(states.FAILED, "The program 'x' can not be run.", data)
    run.ledger.add(End(one.pk, one.state, one.attempt, outcome, time.time()))
    run.ledger.commit()
    one.refresh_from_db()


def test_a_program_that_is_missing_is_final_unless_a_rule_says_more(run: Run) -> None:
    plain, patient = job(), job(retry="program_missing=1")
    missing(run, plain)
    assert (plain.state, plain.attempt) == (states.FAILED, 0)
    missing(run, patient)
    assert (patient.state, patient.attempt) == (states.RESTART_READY, 1)
    missing(run, patient)
    assert (patient.state, patient.attempt) == (states.FAILED, 2)
    way = [event.to_state for event in patient.events.order_by("id")]
    assert way[-6:] == [
        states.RUNNING, states.RUN_ERROR, states.RESTART_READY,
        states.RUNNING, states.RUN_ERROR, states.FAILED,
    ]  # fmt: skip
