"""Jobs whose parents, or rules about parents, change wait, go on or fail, and launchers see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from balsam import states
from balsam.core import bookkeeping, graph, lease, sessions, sql, waiting
from balsam.core.advance import Move, advance
from balsam.core.events import Hop
from balsam.core.lease import Scope
from balsam.core.models import BalsamJob, EventLog
from balsam.core.sessions import Life
from balsam.errors import DependencyError
from balsam.launcher import dag

Put = Callable[..., None]
LIMIT = 10


@pytest.fixture
def session(project: Any) -> int:
    return sessions.open_session(Life("launcher", "host", "machine", 1, 1))


def job(state: str = states.CREATED, **fields: Any) -> BalsamJob:
    made = BalsamJob.objects.create(input_files="", **fields)
    BalsamJob._base_manager.filter(pk=made.pk).update(state=state)
    made.refresh_from_db()
    return made


def family(**fields: Any) -> tuple[BalsamJob, BalsamJob]:
    """A parent that has not finished, and a child that waits for it."""
    parent = job()
    child = BalsamJob.objects.create(parents=[parent], input_files="", **fields)
    bookkeeping.pass_jobs([child.pk], LIMIT)
    child.refresh_from_db()
    return parent, child


def state(job: BalsamJob) -> str:
    return str(BalsamJob.objects.values_list("state", flat=True).get(pk=job.pk))


def seen_by_a_launcher(change: Callable[[], object]) -> list[int]:
    """The jobs that a running launcher looks at because of ``change``."""
    before = bookkeeping.last_event()
    change()
    return sorted(bookkeeping.changed_since(before, 100)[1])


def finish(job: BalsamJob) -> None:
    BalsamJob._base_manager.filter(pk=job.pk).update(state=states.POSTPROCESSED, session=None)
    assert advance([Move(job.pk, states.POSTPROCESSED, [Hop(states.JOB_FINISHED)])])


# -- a parent that comes while the child is leased ------------------------------------------------


@pytest.mark.parametrize(
    ("here", "done"),
    [(states.READY, states.STAGED_IN), (states.STAGED_IN, states.PREPROCESSED)],
)
def test_a_child_in_a_step_waits_for_a_parent_that_comes_meanwhile(
    session: int, here: str, done: str
) -> None:
    child, parent = job(here), job(states.PREPROCESSED)
    assert lease.lease_for_steps(session, Scope(), [here], 5) == [(child.pk, here)]
    dag.add_dependency(parent, child)
    assert child.state == state(child) == states.AWAITING_PARENTS
    # The step ends, comes too late, and its launcher lets go of the job.
    assert advance([Move(child.pk, here, [Hop(done)], session=session)]) == set()
    lease.release(session, [child.pk])
    bookkeeping.pass_jobs([child.pk], LIMIT)
    assert [row[0] for row in lease.lease_runnable(session, Scope(), 5)] == [parent.pk]
    assert state(child) == states.AWAITING_PARENTS
    finish(parent)
    assert state(child) == states.READY


def test_a_child_whose_parent_came_and_finished_during_its_step_goes_on(session: int) -> None:
    child, parent = job(states.READY), job()
    assert len(lease.lease_for_steps(session, Scope(), [states.READY], 5)) == 1
    dag.add_dependency(parent, child)
    finish(parent)
    assert state(child) == states.AWAITING_PARENTS
    assert seen_by_a_launcher(lambda: sessions.close_session(session)) == [child.pk]
    assert state(child) == states.READY


def test_a_child_that_is_about_to_run_gets_no_parent(session: int) -> None:
    child, parent = job(states.PREPROCESSED), job()
    assert len(lease.lease_runnable(session, Scope(), 5)) == 1
    for change in (
        lambda: dag.add_dependency(parent, child),
        lambda: child.parents.add(parent),
        lambda: child.set_parents([parent]),
    ):
        with pytest.raises(DependencyError, match="about to run"):
            change()
    assert not child.get_parents().exists()
    assert state(child) == states.PREPROCESSED


def test_a_parent_that_has_finished_may_come_at_any_time(session: int) -> None:
    child, parent = job(states.PREPROCESSED), job(states.JOB_FINISHED)
    assert len(lease.lease_runnable(session, Scope(), 5)) == 1
    dag.add_dependency(parent, child)
    assert state(child) == states.PREPROCESSED


# -- what a job waits for is changed --------------------------------------------------------------


CHANGES: dict[str, Callable[[BalsamJob, BalsamJob], object]] = {
    "set_parents": lambda parent, child: child.set_parents([]),
    "clear": lambda parent, child: child.parents.clear(),
    "remove": lambda parent, child: child.parents.remove(parent),
    "set": lambda parent, child: child.parents.set([]),
    "children.remove": lambda parent, child: parent.children.remove(child),
    "children.clear": lambda parent, child: parent.children.clear(),
    "edge": lambda parent, child: child.parent_edges.get().delete(),
    "edges": lambda parent, child: child.parent_edges.all().delete(),
    "modify": lambda parent, child: child.modify("wait_for_parents", "False"),
    "update": lambda parent, child: BalsamJob.objects.filter(pk=child.pk).update(
        wait_for_parents=False
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_child_that_need_not_wait_any_more_is_ready_and_seen(
    project: Any, change: Callable[[BalsamJob, BalsamJob], object]
) -> None:
    parent, child = family()
    assert child.state == states.AWAITING_PARENTS
    assert seen_by_a_launcher(lambda: change(parent, child)) == [child.pk]
    assert state(child) == states.READY
    assert child.get_recent_state_str().endswith("dependencies satisfied")


def test_save_and_bulk_update_of_the_rules_release_children_too(project: Any) -> None:
    _, child = family()
    child.wait_for_parents = False
    assert seen_by_a_launcher(child.save) == [child.pk]
    assert child.state == states.READY
    assert not child.changed_fields()
    _, other = family()
    other.wait_for_parents = False
    assert seen_by_a_launcher(
        lambda: BalsamJob.objects.bulk_update([other], ["wait_for_parents"])
    ) == [other.pk]
    assert state(other) == states.READY


def test_a_child_of_a_broken_parent_fails_when_it_stops_ignoring_that(project: Any) -> None:
    bad = job(states.FAILED, name="bad")
    parent = job()
    child = BalsamJob.objects.create(parents=[bad, parent], on_parent_failure="ignore")
    below = BalsamJob.objects.create(parents=[child])
    bookkeeping.pass_jobs([child.pk, below.pk], LIMIT)
    assert state(child) == states.AWAITING_PARENTS
    child.refresh_from_db()
    child.modify("on_parent_failure", "fail")
    assert child.state == state(below) == states.FAILED
    event = child.events.latest("id")
    assert bad.cute_id in event.message and event.data["cause"] == states.PARENT_FAILED


def test_a_child_that_begins_to_ignore_failures_goes_on(project: Any) -> None:
    parent, child = family()
    BalsamJob._base_manager.filter(pk=parent.pk).update(state=states.USER_KILLED)
    BalsamJob.objects.filter(pk=child.pk).update(on_parent_failure="ignore")
    assert state(child) == states.READY


def test_a_prepared_job_waits_once_it_is_to_wait_for_its_parents(project: Any) -> None:
    parent, child = family(wait_for_parents=False)
    assert child.state == states.PREPROCESSED
    BalsamJob.objects.all().update(wait_for_parents=True)
    assert state(child) == states.AWAITING_PARENTS
    finish(parent)
    assert state(child) == states.READY


def test_replacing_a_parent_by_another_never_lets_the_child_go(project: Any) -> None:
    _, child = family()
    other = job()
    assert seen_by_a_launcher(lambda: child.set_parents([other])) == []
    assert state(child) == states.AWAITING_PARENTS
    assert list(child.get_parents()) == [other]


# -- a script holds the child meanwhile -----------------------------------------------------------


def close_dead(child: BalsamJob) -> None:
    source = BalsamJob.source
    held, source._session = source._session, None
    from balsam.core.models import Session

    Session.objects.update(pid=2**22 + 1, pid_start=1)
    assert source.clear_stale_locks() == 1 and held


@pytest.mark.parametrize(
    "give_back",
    [
        lambda child: BalsamJob.source.release([child.pk]),
        lambda child: BalsamJob.source.release_all_owned(),
        close_dead,
    ],
    ids=["release", "release_all_owned", "clear_stale_locks"],
)
@pytest.mark.parametrize("end", [states.JOB_FINISHED, states.FAILED])
def test_a_child_that_a_script_held_catches_up_with_its_parents(
    project: Any, give_back: Callable[[BalsamJob], object], end: str
) -> None:
    parent, child = family()
    assert BalsamJob.source.acquire([child.pk]) == [child.pk]
    BalsamJob._base_manager.filter(pk=parent.pk).update(state=states.POSTPROCESSED)
    assert advance([Move(parent.pk, states.POSTPROCESSED, [Hop(end)])])
    assert state(child) == states.AWAITING_PARENTS
    give_back(child)
    assert state(child) == (states.READY if end == states.JOB_FINISHED else states.FAILED)


@pytest.mark.parametrize("here", states.PROCESSABLE_STATES)
def test_launchers_see_what_a_script_gives_back(project: Any, here: str) -> None:
    parent = job()
    held = job(here, parents=[parent])
    BalsamJob.source.acquire([held.pk])
    times = held.get_state_times()
    assert seen_by_a_launcher(lambda: BalsamJob.source.release([held.pk])) == [held.pk]
    assert state(held) == here
    assert held.get_state_times() == times
    BalsamJob.source.release_all_owned()


# -- a parent is deleted --------------------------------------------------------------------------


def test_deleting_a_finished_parent_fails_nobody(project: Any) -> None:
    done, other = job(states.JOB_FINISHED), job()
    child = BalsamJob.objects.create(parents=[done, other], input_files="")
    alone = BalsamJob.objects.create(parents=[done], input_files="")
    BalsamJob._base_manager.filter(pk=alone.pk).update(state=states.AWAITING_PARENTS)
    bookkeeping.pass_jobs([child.pk], LIMIT)
    done.delete()
    assert state(child) == states.AWAITING_PARENTS
    assert state(alone) == states.READY
    finish(other)
    assert state(child) == states.READY
    assert not EventLog.objects.filter(to_state=states.FAILED).exists()


def test_deleting_a_parent_that_had_not_finished_fails_its_children(project: Any) -> None:
    done, other = job(states.JOB_FINISHED), job()
    child = BalsamJob.objects.create(parents=[done, other], input_files="")
    BalsamJob.objects.filter(pk__in=[done.pk, other.pk]).delete()
    assert state(child) == states.FAILED


# -- edges through Django's managers --------------------------------------------------------------


def test_managers_of_edges_refuse_cycles(project: Any) -> None:
    first, second, third = job(), job(), job()
    second.parents.add(first)
    third.parents.add(second.job_id)
    for change in (
        lambda: first.parents.add(third),
        lambda: first.parents.add(first),
        lambda: first.parents.set([second]),
        lambda: third.children.add(first),
        lambda: third.children.set([first]),
        lambda: first.parent_edges.create(parent=third),
        lambda: third.child_edges.create(child=first),
    ):
        with pytest.raises(DependencyError):
            change()
    assert not first.get_parents().exists()
    assert graph.descendants([first.pk]) == [second.pk, third.pk]


def test_managers_of_edges_add_take_away_and_let_wait(project: Any) -> None:
    first, second, child = job(), job(), job(states.PREPROCESSED)
    child.parents.add(first)
    assert child.state == state(child) == states.AWAITING_PARENTS
    child.parents.add(first, second)
    assert child.get_parents_by_id() == [str(first.job_id), str(second.job_id)]
    child.parents.set([second])
    assert list(child.parents.all()) == [second]
    child.parents.remove(first)
    made = child.parents.create(name="made")
    assert list(child.parents_in_order()) == [second, made]
    other = job()
    second.children.set([other])
    assert list(second.children.all()) == [other] and list(child.parents.all()) == [made]
    made.children.add(other)
    assert set(other.parents.all()) == {second, made}
    edge = other.parent_edges.get(parent=made)
    with pytest.raises(DependencyError):
        edge.save()
    with pytest.raises(DependencyError):
        other.parent_edges.all().update(parent=first)
    new = child.parent_edges.create(parent=second)
    assert new.pk and list(child.parents_in_order()) == [made, second]


def test_a_child_that_has_started_keeps_its_parents(project: Any) -> None:
    parent, child = family()
    BalsamJob._base_manager.filter(pk=child.pk).update(state=states.RUNNING)
    for change in (
        lambda: child.parents.clear(),
        lambda: child.parents.remove(parent),
        lambda: child.set_parents([]),
        lambda: child.parent_edges.all().delete(),
    ):
        with pytest.raises(DependencyError, match=states.RUNNING):
            change()
    assert list(child.get_parents()) == [parent]


def test_a_job_that_is_not_there_has_no_family(project: Any) -> None:
    stranger, gone = job(), job()
    gone.delete()
    for nobody in (BalsamJob(name="new"), gone):
        assert list(nobody.get_parents()) == list(nobody.get_children()) == []
        assert nobody.get_parents_by_id() == nobody.get_children_by_id() == []
        with pytest.raises(ValueError, match="no child"):
            nobody.get_child_by_name(stranger.name)


def test_children_that_fail_with_a_parent_share_what_is_said_of_it(
    put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "ROWS", 2)
    first, second = job(name="first"), job(name="second")
    of_first = [job(parents=[first]) for _ in range(3)]
    of_both = job(parents=[second, first])
    below = job(parents=[of_both])
    put(first, state=states.FAILED)
    put(second, state=states.USER_KILLED)
    failed: dict[int, Any] = {}
    waiting._fail_in_vain("parent.id", [first.pk, second.pk], failed)
    assert len({id(hop) for _, hop in failed.values()}) == 2
    waiting.fail_children([first.pk, second.pk])
    for one in (*of_first, of_both, below):
        assert state(one) == states.FAILED
    assert all(f"{first.cute_id} is FAILED" in one.state_history for one in of_first)
    assert f"{second.cute_id} is USER_KILLED" in of_both.state_history
    assert f"{of_both.cute_id} is FAILED" in below.state_history
