"""Edges between jobs, cycles, and how a parent's end reaches its children."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from balsam import states
from balsam.core import bookkeeping, graph
from balsam.core.advance import Move, advance
from balsam.core.events import Hop
from balsam.core.models import BalsamJob, Dependency, EventLog
from balsam.errors import DependencyError, NoSuchJob

LONG = 3000
Put = Callable[..., None]


def make(number: int, **fields: Any) -> list[BalsamJob]:
    jobs = [BalsamJob(name=str(index), input_files="", **fields) for index in range(number)]
    return BalsamJob.objects.bulk_create(jobs)


def keep_books() -> None:
    bookkeeping.pass_jobs(list(BalsamJob.objects.values_list("id", flat=True)), 10)


def finish(job: BalsamJob, put: Put) -> None:
    put(job, state=states.POSTPROCESSED)
    assert advance([Move(job.pk, states.POSTPROCESSED, [Hop(states.JOB_FINISHED)])])


def fail(job: BalsamJob, put: Put) -> None:
    put(job, state=states.RUN_ERROR)
    assert advance([Move(job.pk, states.RUN_ERROR, [Hop(states.FAILED)])])


def kill(job: BalsamJob, put: Put) -> None:
    job.update_state(states.USER_KILLED)


def delete(job: BalsamJob, put: Put) -> None:
    job.delete()


def state(job: BalsamJob) -> str:
    return str(BalsamJob.objects.values_list("state", flat=True).get(pk=job.pk))


def test_a_fan_in_waits_for_the_last_of_its_parents(project: Any, put: Put) -> None:
    parents = make(200)
    child = BalsamJob.objects.create(name="child", parents=parents, input_files="")
    keep_books()
    for parent in parents[:-1]:
        finish(parent, put)
    assert state(child) == states.AWAITING_PARENTS
    finish(parents[-1], put)
    assert state(child) == states.READY
    assert child.get_parents().count() == len(child.get_parents_by_id()) == 200
    assert list(child.parents_in_order()) == parents


def test_many_parents_that_finish_together_release_their_child_once(project: Any, put: Put) -> None:
    parents = make(200)
    child = BalsamJob.objects.create(parents=parents, input_files="")
    keep_books()
    for parent in parents:
        put(parent, state=states.POSTPROCESSED)
    hop = [Hop(states.JOB_FINISHED)]
    with CaptureQueriesContext(connection) as made:
        advance([Move(parent.pk, states.POSTPROCESSED, hop) for parent in parents])
    assert len(made) < 200 + 12
    assert child.events.filter(to_state=states.READY).count() == 1


def test_a_diamond_comes_together(project: Any, put: Put) -> None:
    top, left, right, bottom = make(4)
    for child, parents in ((left, [top]), (right, [top]), (bottom, [left, right])):
        graph.add_edges(child.pk, [parent.pk for parent in parents])
    keep_books()
    finish(top, put)
    assert (state(left), state(right), state(bottom)) == (
        states.READY, states.READY, states.AWAITING_PARENTS,
    )  # fmt: skip
    finish(left, put)
    assert state(bottom) == states.AWAITING_PARENTS
    finish(right, put)
    assert state(bottom) == states.READY


def test_a_diamond_fails_once(project: Any, put: Put) -> None:
    top, left, right, bottom = make(4)
    for child, parents in ((left, [top]), (right, [top]), (bottom, [left, right])):
        graph.add_edges(child.pk, [parent.pk for parent in parents])
    keep_books()
    fail(top, put)
    failed = EventLog.objects.filter(to_state=states.FAILED)
    assert sorted(failed.values_list("job", flat=True)) == [top.pk, left.pk, right.pk, bottom.pk]
    event = failed.get(job=left)
    assert top.cute_id in event.message and event.data["cause"] == states.PARENT_FAILED


@pytest.mark.parametrize("end", [fail, kill, delete])
def test_the_end_of_a_root_reaches_the_end_of_a_long_chain(
    project: Any, put: Put, end: Callable[[BalsamJob, Put], None]
) -> None:
    chain = make(LONG)
    Dependency.objects.bulk_create(
        [Dependency(child=below, parent=above) for above, below in zip(chain, chain[1:])]  # noqa: B905
    )
    keep_books()
    assert BalsamJob.objects.counts_by_state()[states.AWAITING_PARENTS] == LONG - 1
    end(chain[0], put)
    assert BalsamJob.objects.filter(state=states.FAILED).exclude(pk=chain[0].pk or 0).count() == (
        LONG - 1
    )
    assert EventLog.objects.filter(data__cause=states.PARENT_FAILED).count() == LONG - 1


@pytest.mark.parametrize("end", [fail, kill, delete])
def test_a_child_may_ignore_that_a_parent_failed(
    project: Any, put: Put, end: Callable[[BalsamJob, Put], None]
) -> None:
    bad, good = make(2)
    child = BalsamJob.objects.create(
        parents=[bad, good], on_parent_failure="ignore", input_files=""
    )
    alone = BalsamJob.objects.create(parents=[bad], on_parent_failure="ignore", input_files="")
    keep_books()
    end(bad, put)
    assert state(alone) == states.READY
    assert state(child) == states.AWAITING_PARENTS
    finish(good, put)
    assert state(child) == states.READY


def test_a_child_that_does_not_wait_is_left_alone(project: Any, put: Put) -> None:
    parent = make(1)[0]
    child = BalsamJob.objects.create(parents=[parent], wait_for_parents=False, input_files="")
    keep_books()
    assert state(child) == states.PREPROCESSED
    fail(parent, put)
    assert state(child) == states.PREPROCESSED
    late = BalsamJob.objects.create(parents=[parent], wait_for_parents=False)
    assert state(late) == states.CREATED


def test_a_child_of_a_broken_parent_fails_at_once(project: Any, put: Put) -> None:
    parent = make(1)[0]
    fail(parent, put)
    child = BalsamJob.objects.create(parents=[parent])
    assert state(child) == states.FAILED
    BalsamJob.objects.bulk_create([{"name": "bulk", "parents": [parent]}])
    assert BalsamJob.objects.get(name="bulk").state == states.FAILED
    other = make(1)[0]
    graph.add_edges(other.pk, [parent.pk])
    assert state(other) == states.FAILED


def test_the_children_of_finished_parents_are_ready_at_once(project: Any, put: Put) -> None:
    parent = make(1)[0]
    finish(parent, put)
    child = BalsamJob.objects.create(parents=[parent], input_files="")
    keep_books()
    assert state(child) == states.PREPROCESSED


def test_deleting_parents_and_children_together_fails_nobody(project: Any) -> None:
    parent = make(1)[0]
    child = BalsamJob.objects.create(parents=[parent])
    grandchild = BalsamJob.objects.create(parents=[child])
    BalsamJob.objects.filter(pk__in=[parent.pk, child.pk]).delete()
    assert state(grandchild) == states.FAILED
    assert "deleted" in grandchild.get_recent_state_str()
    assert Dependency.objects.count() == 0


# -- what may become an edge ----------------------------------------------------------------------


def test_a_cycle_is_refused_however_long(project: Any) -> None:
    chain = make(LONG)
    Dependency.objects.bulk_create(
        [Dependency(child=below, parent=above) for above, below in zip(chain, chain[1:])]  # noqa: B905
    )
    with CaptureQueriesContext(connection) as made, pytest.raises(DependencyError, match="cycle"):
        graph.add_edges(chain[0].pk, [chain[-1].pk])
    assert len(made) < 12
    with pytest.raises(DependencyError, match="cycle"):
        graph.add_edges(chain[3].pk, [chain[7].pk])
    with pytest.raises(DependencyError, match="itself"):
        graph.add_edges(chain[3].pk, [chain[3].pk])
    with pytest.raises(RuntimeError, match="already"):
        graph.add_edges(chain[1].pk, [chain[0].pk])
    assert Dependency.objects.count() == LONG - 1
    graph.add_edges(chain[7].pk, [chain[3].pk])


def test_cycles_in_a_lattice_are_found_without_walking_every_path(project: Any) -> None:
    rows = [make(2) for _ in range(60)]  # 2 ** 60 paths
    Dependency.objects.bulk_create(
        [
            Dependency(child=below, parent=above)
            for upper, lower in zip(rows, rows[1:])  # noqa: B905
            for above in upper
            for below in lower
        ]
    )
    with pytest.raises(DependencyError, match="cycle"):
        graph.add_edges(rows[0][0].pk, [rows[-1][1].pk])
    assert len(graph.descendants([rows[0][0].pk])) == 118


def test_new_jobs_can_not_depend_on_each_other_in_a_circle(project: Any) -> None:
    first, second, third = (uuid.uuid4() for _ in range(3))
    circle = [
        {"job_id": first, "parents": [third]},
        {"job_id": second, "parents": [first]},
        {"job_id": third, "parents": [second]},
    ]
    with pytest.raises(DependencyError):
        BalsamJob.objects.bulk_create(circle)
    with pytest.raises(DependencyError):
        BalsamJob(job_id=first, parents=[first]).save()
    assert BalsamJob.objects.count() == EventLog.objects.count() == 0
    circle[0]["parents"] = []
    BalsamJob.objects.bulk_create(circle)
    assert Dependency.objects.count() == 2


def test_all_edges_of_a_call_are_made_or_none(project: Any) -> None:
    parent, child, other = make(3)
    graph.add_edges(child.pk, [parent.pk])
    with pytest.raises(DependencyError):
        graph.add_edges(parent.pk, [other.pk, child.pk])
    with pytest.raises(NoSuchJob):
        graph.add_edges(parent.pk, [other.pk, 10**6])
    with pytest.raises(NoSuchJob):
        graph.add_edges(10**6, [other.pk])
    assert Dependency.objects.count() == 1


@pytest.mark.parametrize("here", [states.READY, states.STAGED_IN, states.PREPROCESSED])
def test_a_prepared_child_waits_again(project: Any, put: Put, here: str) -> None:
    parent, child = make(2)
    put(child, state=here)
    graph.add_edges(child.pk, [parent.pk])
    assert state(child) == states.AWAITING_PARENTS
    assert child.events.latest("id").from_state == here
    finish(parent, put)
    assert state(child) == states.READY


def test_a_prepared_child_stays_so_under_a_parent_that_finished(project: Any, put: Put) -> None:
    parent, child = make(2)
    finish(parent, put)
    put(child, state=states.PREPROCESSED)
    graph.add_edges(child.pk, [parent.pk])
    assert state(child) == states.PREPROCESSED


def test_a_prepared_child_fails_under_a_parent_that_failed(project: Any, put: Put) -> None:
    parent, child = make(2)
    fail(parent, put)
    put(child, state=states.PREPROCESSED)
    graph.add_edges(child.pk, [parent.pk])
    assert state(child) == states.FAILED


@pytest.mark.parametrize(
    "here",
    [state for state in states.STATES if state not in states.PREPARING_STATES],
)
def test_a_child_that_has_started_gets_no_more_parents(project: Any, put: Put, here: str) -> None:
    parent, child = make(2)
    put(child, state=here)
    with pytest.raises(DependencyError, match=here):
        graph.add_edges(child.pk, [parent.pk])
    with pytest.raises(DependencyError, match=here):
        child.set_parents([parent])
    assert Dependency.objects.count() == 0


# -- the model's own view -------------------------------------------------------------------------


def test_parents_and_children_are_asked_and_set(project: Any) -> None:
    first, second, child = make(3)
    child.set_parents([first, second.job_id])
    assert set(child.get_parents()) == {first, second}
    assert child.get_parents_by_id() == [str(first.job_id), str(second.job_id)]
    child.set_parents([str(second.job_id)])
    assert list(child.get_parents()) == [second]
    assert list(second.get_children()) == [child]
    assert second.get_children_by_id() == [str(child.job_id)]
    assert second.get_child_by_name("2") == child
    assert list(child.parents.all()) == [second] and list(second.children.all()) == [child]
    with pytest.raises(ValueError, match="no child"):
        second.get_child_by_name("x")
    BalsamJob.objects.create(name="2", parents=[second])
    with pytest.raises(ValueError, match="more than one"):
        second.get_child_by_name("2")
    with pytest.raises(DependencyError):
        child.set_parents([child])
    assert list(child.get_parents()) == [second]
    child.set_parents([])
    assert not child.get_parents().exists()


def test_a_child_whose_last_parent_is_taken_away_is_ready(project: Any) -> None:
    parent = make(1)[0]
    child = BalsamJob.objects.create(parents=[parent], input_files="")
    keep_books()
    child.refresh_from_db()
    child.set_parents([])
    keep_books()
    assert state(child) == states.PREPROCESSED


def test_the_environment_of_a_job_names_its_family(project: Any) -> None:
    parent = make(1)[0]
    child = BalsamJob.objects.create(
        parents=[parent], environ_vars={"A": "b:c"}, threads_per_rank=4
    )
    envs = child.get_envs(error=True)
    assert envs["BALSAM_JOB_ID"] == str(child.job_id)
    assert envs["BALSAM_PARENT_IDS"] == f'["{parent.job_id}"]'
    assert envs["BALSAM_CHILD_IDS"] == "[]"
    assert envs["OMP_NUM_THREADS"] == "4" and envs["A"] == "b:c"
    assert envs["BALSAM_JOB_ERROR"] == "TRUE" and "BALSAM_JOB_TIMEOUT" not in envs


def test_a_family_that_no_variable_can_hold_is_left_out(project: Any) -> None:
    jobs = make(LONG + 1)
    some = BalsamJob.objects.create(parents=jobs[:LONG])
    many = BalsamJob.objects.create(parents=jobs)
    assert len(some.get_envs()["BALSAM_PARENT_IDS"]) == 40 * LONG
    assert "BALSAM_PARENT_IDS" not in many.get_envs()
    assert many.get_parents().count() == LONG + 1
