"""What a launcher of one job asks the record for: that job, and nobody else's hands on it."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from django.db import DatabaseError

from balsam import states
from balsam.conf.project import Project
from balsam.core import bookkeeping, lease, sessions
from balsam.core.lease import Scope
from balsam.core.models import BalsamJob
from balsam.core.sessions import Life
from balsam.launcher import journal
from balsam.launcher.entries import StepEnd
from balsam.launcher.ledger import Ledger
from balsam.launcher.node_pool import NodePool
from balsam.launcher.source import Source
from balsam.outcomes import Outcome
from balsam.platform.shape import uniform

pytestmark = pytest.mark.usefixtures("project")


@pytest.fixture
def pair(project: Project) -> list[int]:
    """Two sessions."""
    lives = (Life(kind, "h", "m", os.getpid(), 1) for kind in ("run", "other"))
    return [sessions.open_session(life) for life in lives]


def jobs(number: int, put: Callable[..., None], state: str) -> list[BalsamJob]:
    made = [BalsamJob.objects.create(name=f"j{index}") for index in range(number)]
    for job in made:
        put(job, state=state)
    return made


def test_a_scope_of_one_job(pair: list[int], put: Callable[..., None]) -> None:
    made = jobs(3, put, states.PREPROCESSED)
    scope = Scope(job=made[1].pk)
    assert lease.counts(scope) == {states.PREPROCESSED: 1}
    assert [row[0] for row in lease.lease_runnable(pair[0], scope, 10)] == [made[1].pk]
    assert lease.lease_runnable(pair[0], scope, 10) == []
    put(made[2], state=states.RUN_DONE)
    assert lease.lease_for_steps(pair[0], scope, [states.RUN_DONE], 10) == []
    scope = Scope(job=made[2].pk)
    expected = [(made[2].pk, states.RUN_DONE)]
    assert lease.lease_for_steps(pair[0], scope, [states.RUN_DONE], 10) == expected


def test_a_new_job_can_be_leased_before_anybody_sees_it_free(pair: list[int]) -> None:
    job = BalsamJob.objects.create()
    first, second = pair
    assert lease.take(first, job.pk)
    assert not lease.take(second, job.pk)
    bookkeeping.pass_jobs([job.pk], 10)
    assert lease.held(first) == {job.pk: (states.CREATED, 0, 0)}
    sessions.close_session(first)
    assert lease.take(second, job.pk)
    sessions.close_session(second)
    assert not lease.take(second, job.pk)


def test_its_books_are_kept_and_no_others(pair: list[int]) -> None:
    mine, other = BalsamJob.objects.create(), BalsamJob.objects.create()
    source = Source(pair[0], Scope(job=mine.pk), 10, nodes=NodePool(("n",), uniform(2)))
    source.begin()
    source.dirty = False
    assert source.busy
    assert not source.keep_books()  # no step is needed
    assert source.dirty and not source.busy
    assert BalsamJob.objects.states_of([mine.pk, other.pk]) == {
        mine.pk: states.PREPROCESSED,
        other.pk: states.CREATED,
    }
    assert source.unfinished() == 1


def preprocessed(project: Project, session: int, job: int, after: Callable[[], None]) -> Ledger:
    """A ledger with the end of the job's preprocess in it."""
    ledger = Ledger(
        journal.Journal(journal.path_of(project.journal_dir, session)), session, 10, after
    )
    ledger.add(StepEnd(job, states.STAGED_IN, 0, Outcome(states.PREPROCESSED), 1.0))
    ledger.write()
    return ledger


def test_a_job_is_leased_again_in_the_transaction_that_lets_it_go(
    project: Project, pair: list[int], put: Callable[..., None]
) -> None:
    job = jobs(1, put, states.STAGED_IN)[0]
    lease.take(pair[0], job.pk)
    scope = Scope(job=job.pk)
    ledger = preprocessed(
        project, pair[0], job.pk, lambda: lease.lease_runnable(pair[0], scope, 1) and None
    )
    ledger.commit()
    assert lease.held(pair[0]) == {job.pk: (states.PREPROCESSED, 0, 0)}
    assert lease.lease_runnable(pair[1], Scope(), 10) == []


def test_a_failure_to_do_so_leaves_all_to_be_committed_again(
    project: Project, pair: list[int], put: Callable[..., None]
) -> None:
    job = jobs(1, put, states.STAGED_IN)[0]
    lease.take(pair[0], job.pk)
    troubles = [DatabaseError("locked")]

    def after() -> None:
        if troubles:
            raise troubles.pop()

    ledger = preprocessed(project, pair[0], job.pk, after)
    with pytest.raises(DatabaseError):
        ledger.commit()
    assert len(ledger) == 1
    assert lease.held(pair[0]) == {job.pk: (states.STAGED_IN, 0, 0)}
    ledger.commit()
    assert len(ledger) == 0
    assert BalsamJob.objects.states_of([job.pk]) == {job.pk: states.PREPROCESSED}
