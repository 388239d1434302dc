"""What the commit of a launcher writes."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from balsam import states
from balsam.core import bookkeeping, lease, sessions
from balsam.core.lease import Scope
from balsam.core.models import ApplicationDefinition, BalsamJob
from balsam.core.sessions import Life
from balsam.launcher import journal
from balsam.launcher.entries import End, Start
from balsam.launcher.ledger import Ledger
from balsam.outcomes import Outcome
from balsam.platform import node

MAX_ATTEMPTS = 10
DONE = Outcome(states.RUN_DONE, "", {"returncode": 0})
BAD = Outcome(states.RUN_ERROR, "", {"returncode": 1, "cause": states.EXIT})


class Run:
    """A session that runs jobs."""

    def __init__(self, project: Any) -> None:
        life = Life("launcher", "here", node.identity(), 1, node.start_time(1))
        self.session = sessions.open_session(life)
        book = journal.Journal(journal.path_of(project.journal_dir, self.session))
        self.ledger = Ledger(book, self.session, MAX_ATTEMPTS)

    def begin(self, *jobs: BalsamJob) -> None:
        """Lease and start them."""
        bookkeeping.pass_jobs([job.pk for job in jobs], MAX_ATTEMPTS)
        for job in jobs:
            job.refresh_from_db()
            assert lease.lease_runnable(self.session, Scope(job=job.pk), 1)
            self.ledger.add(Start(job.pk, job.state, job.attempt, 1, time.time()))

    def end(self, *jobs: BalsamJob, outcome: Outcome = DONE) -> None:
        for job in jobs:
            self.ledger.add(End(job.pk, states.RUNNING, job.attempt + 1, outcome, time.time()))


@pytest.fixture
def run(project: Any) -> Run:
    return Run(project)


def test_a_job_that_needs_no_more_steps_is_finished_in_one_go(run: Run) -> None:
    jobs = [BalsamJob.objects.create(name=str(number)) for number in range(5)]
    child = BalsamJob.objects.create(name="child", parents=[jobs[0]], input_files="")
    bookkeeping.pass_jobs([child.pk], MAX_ATTEMPTS)
    run.begin(*jobs)
    run.ledger.commit()
    run.end(*jobs)
    with CaptureQueriesContext(connection) as made:
        committed = run.ledger.commit()
    updates = [query for query in made.captured_queries if "UPDATE balsam_job" in query["sql"]]
    parents = [query for query in updates if "'JOB_FINISHED'" in query["sql"]]
    assert len(parents) <= len(jobs)
    assert {job.state for job in BalsamJob.objects.exclude(pk=child.pk)} == {states.JOB_FINISHED}
    for job in BalsamJob.objects.exclude(pk=child.pk):
        *_, run_done, passed, finished = job.events.order_by("id")
        assert run_done.to_state == states.RUN_DONE
        assert (passed.to_state, passed.message) == (
            states.POSTPROCESSED, "No postprocess: skipped",
        )  # fmt: skip
        assert finished.to_state == states.JOB_FINISHED
    # What that releases goes on as well.
    assert list(committed.runnable) == [child.pk]


def test_a_commit_keeps_no_page_for_a_savepoint(run: Run) -> None:
    """A first commit at 1.2 million jobs took 70 MB for that."""
    good, bad = (BalsamJob.objects.create(name=name) for name in ("good", "bad"))
    for name, parent in (("next", good), ("in vain", bad)):
        child = BalsamJob.objects.create(name=name, parents=[parent], input_files="")
        bookkeeping.pass_jobs([child.pk], MAX_ATTEMPTS)
    run.begin(good, bad)
    run.ledger.commit()
    run.end(good)
    run.end(bad, outcome=BAD)
    with CaptureQueriesContext(connection) as made:
        run.ledger.commit()
    found = dict(BalsamJob.objects.values_list("name", "state"))
    assert found["next"] in states.RUNNABLE_STATES and found["in vain"] == states.FAILED
    assert not [query for query in made.captured_queries if "SAVEPOINT" in query["sql"]]


def test_a_job_with_a_postprocess_waits_for_it(run: Run) -> None:
    ApplicationDefinition.register(name="hooked", executable="x", postprocess="true")
    job = BalsamJob.objects.create(name="x", application="hooked")
    run.begin(job)
    run.end(job)
    committed = run.ledger.commit()
    job.refresh_from_db()
    assert (job.state, committed.steps) == (states.RUN_DONE, True)
    assert job.session is None


def test_a_job_that_was_moved_by_others_does_not_go_on(run: Run) -> None:
    job = BalsamJob.objects.create(name="x")
    run.begin(job)
    run.ledger.commit()
    BalsamJob.objects.get(pk=job.pk).update_state(states.USER_KILLED)
    run.end(job)
    assert [entry.job for entry in run.ledger.commit().late] == [job.pk]
    job.refresh_from_db()
    assert job.state == states.USER_KILLED
