"""Sessions and leases, and the classic manager made of them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections, models, transaction
from django.test.utils import CaptureQueriesContext

from balsam import states
from balsam.core import history, lease, sessions
from balsam.core.lease import Scope
from balsam.core.models import BalsamJob, BatchJob, Session, safe_select
from balsam.core.models.session import ENDED, LIVE, RECOVERING
from balsam.core.offer import Offer
from balsam.core.sessions import Life
from balsam.core.source import JobSource
from balsam.platform import node

Put = Callable[..., None]
Script = Callable[..., str]
EVERYTHING = Scope()


def life(pid: int = 0) -> Life:
    pid = pid or os.getpid()
    return Life("launcher", "host", node.identity(), pid, node.start_time(pid))


def runnable(number: int, put: Put | None = None, **fields: Any) -> list[BalsamJob]:
    jobs = BalsamJob.objects.bulk_create([BalsamJob(**fields) for _ in range(number)])
    BalsamJob.objects.filter(pk__in=[job.pk for job in jobs]).update(state=states.PREPROCESSED)
    return jobs


def test_two_sessions_never_get_the_same_job(project: Any) -> None:
    runnable(50)
    first, second = sessions.open_session(life()), sessions.open_session(life())
    mine: set[int] = set()
    others: set[int] = set()
    while True:
        got = {row[0] for row in lease.lease_runnable(first, EVERYTHING, 7)}
        gotten = {row[0] for row in lease.lease_runnable(second, EVERYTHING, 5)}
        mine, others = mine | got, others | gotten
        if not got and not gotten:
            break
    assert not mine & others and len(mine) + len(others) == 50
    assert set(lease.held(first)) == mine and set(lease.held(second)) == others


GRAB = """
import sys
from balsam.core import lease, sessions
from balsam.core.lease import Scope
from balsam.core.sessions import Life
session = sessions.open_session(Life("launcher", "h", "m", 1, 1))
sys.stdin.readline()
got = []
while rows := lease.lease_runnable(session, Scope(), 10):
    got += [row[0] for row in rows]
print(*got)
"""


def test_processes_that_lease_at_the_same_time_share_the_work(project: Any) -> None:
    jobs = runnable(300)
    connection.close()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", GRAB], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        for _ in range(3)
    ]  # fmt: skip
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    got = [key for process in processes for key in process.communicate(timeout=60)[0].split()]
    assert sorted(map(int, got)) == [job.pk for job in jobs]


def test_work_is_leased_in_order(project: Any) -> None:
    expected = [
        runnable(1, priority=5)[0],
        runnable(1, num_nodes=4)[0],
        runnable(1, num_nodes=2, wall_time_minutes=9)[0],
        runnable(1, num_nodes=2)[0],
        runnable(1, wall_time_minutes=9)[0],
        *runnable(2),
    ]
    session = sessions.open_session(life())
    rows = lease.lease_runnable(session, EVERYTHING, 100)
    assert [row[0] for row in rows] == [job.pk for job in expected]
    assert all(len(row) == len(lease.RUN_COLUMNS) for row in rows)
    sessions.close_session(session)
    session = sessions.open_session(life())
    assert lease.lease_runnable(session, EVERYTHING, 1)[0][0] == expected[0].pk
    serial = lease.lease_runnable(session, EVERYTHING, 100, serial_only=True)
    assert [row[0] for row in serial] == [job.pk for job in expected[4:]]


@pytest.mark.parametrize(
    ("workflow", "taken"),
    [
        ("", {"exp1", "exp10", "other", "exp[1]"}),
        ("exp1", {"exp1"}),
        ("exp1*", {"exp1", "exp10"}),
        ("exp?", {"exp1"}),
        ("exp[!2-9]*", {"exp1", "exp10", "exp[1]"}),
        ("[!e]*", {"other"}),
        ("*", {"exp1", "exp10", "other", "exp[1]"}),
        ("exp", set()),
        ("EXP1*", set()),
    ],
)
def test_a_scope_is_a_workflow_or_a_glob(project: Any, workflow: str, taken: set[str]) -> None:
    for name in ("exp1", "exp10", "other", "exp[1]"):
        runnable(1, workflow=name)
    session = sessions.open_session(life())
    rows = lease.lease_runnable(session, Scope(workflow), 10)
    place = lease.RUN_COLUMNS.index("workflow")
    assert {row[place] for row in rows} == taken
    assert lease.counts(Scope(workflow)) == ({states.PREPROCESSED: len(taken)} if taken else {})


@pytest.mark.parametrize(
    ("tags", "taken"),
    [
        ({"a": "1"}, {"one", "both", "number"}),
        ({"a": "1", "b c": "x y"}, {"both"}),
        ({"a": ""}, set()),
        ({"yes": "true"}, {"switch"}),
        ({"q\"'%": "$.a"}, {"odd"}),
        ({"a.b": "1"}, set()),
    ],
)
def test_a_scope_may_go_by_tags(project: Any, tags: dict[str, str], taken: set[str]) -> None:
    runnable(1, workflow="none")
    runnable(1, workflow="one", tags={"a": "1"})
    runnable(1, workflow="both", tags={"a": "1", "b c": "x y"})
    runnable(1, workflow="number", tags={"a": 1})
    runnable(1, workflow="switch", tags={"yes": True})
    runnable(1, workflow="odd", tags={"q\"'%": "$.a"})
    runnable(1, workflow="other", tags={"a": "2"})
    scope = Scope(tags=tuple(tags.items()))
    offer = Offer(tags=scope.tags)
    assert lease.counts(scope) == ({states.PREPROCESSED: len(taken)} if taken else {})
    chosen = {job.workflow for job in BalsamJob.objects.all() if offer.covers("", job.tags)}
    assert chosen == taken
    wheres, parameters = Scope("one", tags=scope.tags).sql("balsam_job")
    assert BalsamJob.objects.extra(where=[wheres], params=parameters).count() == ("one" in taken)
    session = sessions.open_session(life())
    place = lease.RUN_COLUMNS.index("workflow")
    assert {row[place] for row in lease.lease_runnable(session, scope, 10)} == taken


def test_only_free_runnable_jobs_are_leased(project: Any, put: Put) -> None:
    for state in states.STATES:
        put(BalsamJob.objects.create(name=state), state=state)
    session = sessions.open_session(life())
    rows = lease.lease_runnable(session, EVERYTHING, 100)
    place = lease.RUN_COLUMNS.index("state")
    assert sorted(row[place] for row in rows) == sorted(states.RUNNABLE_STATES)
    wanted = (states.RUN_DONE, states.READY)
    leased = lease.lease_for_steps(session, EVERYTHING, wanted, 1)
    leased += lease.lease_for_steps(session, EVERYTHING, wanted, 5)
    assert [state for _, state in leased] == [states.RUN_DONE, states.READY]
    assert lease.lease_for_steps(session, EVERYTHING, wanted, 5) == []


def test_leases_are_given_back_by_their_holder_only(project: Any) -> None:
    jobs = runnable(3)
    first, second = sessions.open_session(life()), sessions.open_session(life())
    lease.lease_runnable(first, EVERYTHING, 3)
    lease.release(second, [job.pk for job in jobs])
    assert len(lease.held(first)) == 3
    lease.release(first, [jobs[0].pk])
    assert lease.lease_runnable(second, EVERYTHING, 3)[0][0] == jobs[0].pk
    sessions.close_session(first)
    assert lease.held(first) == {} and len(lease.held(second)) == 1
    assert not sessions.beat(first) and sessions.beat(second)
    assert [session.pk for session in sessions.others(None)] == [second]
    assert sessions.others(second) == []


def test_as_long_as_the_database_was_down_nobody_could_live(
    project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session.objects.get(pk=sessions.open_session(life()))
    session.heartbeat_monotonic -= 3600.0
    began = history.now() - timedelta(seconds=60)
    monkeypatch.setattr(type(connections["default"]), "up_since", lambda self: began)
    assert not sessions.expired(session, 120.0) and sessions.expired(session, 30.0)


def test_a_clock_that_jumps_kills_no_session_of_this_machine(
    project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(connections["default"]), "up_since", lambda self: None)
    session = Session.objects.get(pk=sessions.open_session(life()))
    now = history.now()
    elsewhere = Session.objects.get(pk=session.pk)
    elsewhere.machine = "another"
    for hours in (5, -5):
        monkeypatch.setattr(history, "now", lambda by=hours: now + timedelta(hours=by))
        assert not sessions.expired(session, 120.0)
        assert sessions.expired(elsewhere, 120.0) == (hours > 0)


def test_a_dead_session_is_claimed_once(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runnable(2)
    monkeypatch.setattr(type(connections["default"]), "up_since", lambda self: None)
    dead = sessions.open_session(life())
    lease.lease_runnable(dead, EVERYTHING, 2)
    long_ago = models.F("heartbeat_monotonic") - 3600.0
    Session.objects.filter(pk=dead).update(heartbeat_monotonic=long_ago)
    seen, also_seen = Session.objects.get(pk=dead), Session.objects.get(pk=dead)
    assert sessions.expired(seen, 120.0) and not sessions.expired(seen, 7200.0)
    assert sessions.claim(seen, life())
    assert not sessions.claim(also_seen, life())
    assert Session.objects.get(pk=dead).state == RECOVERING
    assert not sessions.beat(dead)
    assert len(lease.held(dead)) == 2
    again = Session.objects.get(pk=dead)
    assert sessions.claim(again, life())
    sessions.close_session(dead)
    assert Session.objects.get(pk=dead).state == ENDED


def test_leasing_a_batch_costs_the_same_for_many_as_for_few(project: Any) -> None:
    runnable(200)
    session = sessions.open_session(life())
    with CaptureQueriesContext(connection) as few:
        lease.lease_runnable(session, EVERYTHING, 2)
    with CaptureQueriesContext(connection) as many:
        lease.lease_runnable(session, EVERYTHING, 150)
    assert len(few) == len(many)


# -- BalsamJob.source -----------------------------------------------------------------------------


@pytest.fixture
def source(project: Any) -> Any:
    source = BalsamJob.source
    # It is that of the whole process, and may know a session of another test's project.
    source.release_all_owned()
    yield source
    source.release_all_owned()
    source.workflow = ""


def test_a_script_acquires_and_releases_jobs(source: JobSource) -> None:
    free, taken = BalsamJob.objects.create(), BalsamJob.objects.create()
    other = sessions.open_session(life())
    BalsamJob._base_manager.filter(id=taken.pk).update(session_id=other)
    assert source.acquire([free.pk, taken.pk]) == [free.pk]
    assert source.acquire([free.job_id]) == []
    free.refresh_from_db()
    assert free.lock == source.lock_str == f"{socket.gethostname()}:{os.getpid()}"
    assert list(source.all()) == [free]
    source.release([free.pk, taken.pk])
    free.refresh_from_db()
    taken.refresh_from_db()
    assert free.lock == "" and taken.session_id == other
    source.acquire([free.pk])
    source.start_tick()
    source.start_tick()
    source.release_all_owned()
    assert not Session.objects.exclude(pk=other).exclude(state=ENDED).exists()
    assert source.acquire([str(free.job_id)]) == [free.pk]


def test_a_script_asks_for_what_it_can_run(source: JobSource) -> None:
    small = runnable(1, workflow="a")[0]
    wide = runnable(1, workflow="b", num_nodes=4, wall_time_minutes=60)[0]
    ranks = runnable(1, workflow="ab", ranks_per_node=4)[0]
    BalsamJob.objects.create(workflow="a")
    assert set(source.by_states(states.RUNNABLE_STATES)) == {small, wide, ranks}
    assert set(source.get_runnable(max_nodes=2)) == {small, ranks}
    assert set(source.get_runnable(max_nodes=9, remaining_minutes=30)) == {small, ranks}
    assert set(source.get_runnable(max_nodes=9, serial_only=True)) == {small}
    assert set(source.get_runnable(max_nodes=9, mpi_only=True)) == {wide, ranks}
    ordered = source.get_runnable(max_nodes=9, order_by=["-num_nodes", "id"])
    assert list(ordered) == [wide, small, ranks]
    assert source.get_runnable(max_nodes=9, order_by="-wall_minutes")[0] == wide
    source.workflow = "a"
    assert source.count() == 2
    source.workflow = "a*"
    assert source.count() == 3


def test_what_dead_scripts_held_is_freed(source: JobSource, script: Script) -> None:
    job, held_by_launcher = BalsamJob.objects.create(), BalsamJob.objects.create()
    script(f"from balsam.core.models import BalsamJob\nBalsamJob.source.acquire([{job.pk}])\n")
    launcher = sessions.open_session(life(pid=2**22))
    BalsamJob._base_manager.filter(id=held_by_launcher.pk).update(session_id=launcher)
    assert source.acquire([job.pk]) == []
    assert source.clear_stale_locks() == 1
    assert source.clear_stale_locks() == 0
    assert source.acquire([job.pk, held_by_launcher.pk]) == [job.pk]
    assert Session.objects.filter(state=LIVE, pk=launcher).exists()


def test_what_a_dead_script_ran_is_left_to_the_next_launcher(
    source: JobSource, script: Any, put: Any
) -> None:
    running, free = BalsamJob.objects.create(), BalsamJob.objects.create()
    for made in (running, free):
        text = f"from balsam.core.models import BalsamJob\nBalsamJob.source.acquire([{made.pk}])\n"
        script(text)
    put(running, state=states.RUNNING)
    # Freed it would be RUNNING for ever: nobody would know of whom.
    assert source.clear_stale_locks() == 1
    running.refresh_from_db()
    free.refresh_from_db()
    assert running.session_id and not free.session_id


def test_the_batch_job_of_a_script_is_found(
    source: JobSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = BatchJob.objects.create(scheduler_id=1234)
    for name in ("COBALT_JOBID", "SLURM_JOB_ID", "PBS_JOBID"):
        monkeypatch.delenv(name, raising=False)
    assert source.check_qLaunch() is None
    monkeypatch.setenv("PBS_JOBID", "1234.server")
    assert source.check_qLaunch() == source.qLaunch == batch
    source.qLaunch = None


def test_safe_select_gives_the_same_rows(project: Any) -> None:
    for name in "abc":
        BalsamJob.objects.create(name=name)
    with transaction.atomic():
        chosen = safe_select(BalsamJob.objects.filter(name__in="ab"))
        chosen.update(name="x")
    assert chosen.count() == BalsamJob.objects.filter(name="x").count() == 2
