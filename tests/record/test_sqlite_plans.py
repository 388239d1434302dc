"""SQLite only: what happens all the time never reads every job that happens to be in a state."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from balsam import states
from balsam.core import bookkeeping, lease, misfits
from balsam.core.advance import Move, advance
from balsam.core.events import Hop
from balsam.core.models import BalsamJob

pytestmark = [pytest.mark.sqlite, pytest.mark.usefixtures("project")]
#: A search by state alone, where a key was given too.
WHOLE_STATE = re.compile(r"SCAN (balsam_)?(job|event)|balsam_job_state \(state=\?\)")


def plans(action: Callable[[], Any]) -> list[str]:
    """How SQLite would answer each statement that ``action`` makes."""
    with CaptureQueriesContext(connection) as made:
        action()
    found = []
    for query in made:
        if query["sql"].startswith(("SELECT", "UPDATE", "DELETE")):
            with connection.cursor() as cursor:
                cursor.execute("EXPLAIN QUERY PLAN " + query["sql"].replace("%", "%%"))
                found += [f"{row[3]} for {query['sql']}" for row in cursor.fetchall()]
    return found


@pytest.mark.parametrize("end", [states.JOB_FINISHED, states.FAILED])
def test_the_end_of_a_job_looks_at_its_own_children(put: Callable[..., None], end: str) -> None:
    parent = BalsamJob.objects.create()
    BalsamJob.objects.create(parents=[parent], input_files="")
    put(parent, state=states.POSTPROCESSED)
    made = plans(lambda: advance([Move(parent.pk, states.POSTPROCESSED, [Hop(end)])]))
    assert made and not [plan for plan in made if WHOLE_STATE.search(plan)]


def test_bookkeeping_looks_at_the_jobs_it_is_given() -> None:
    jobs = BalsamJob.objects.bulk_create([BalsamJob() for _ in range(3)])
    made = plans(lambda: bookkeeping.changed_since(0, 10))
    made += plans(lambda: bookkeeping.pass_jobs([job.pk for job in jobs], 10))
    assert made and not [plan for plan in made if WHOLE_STATE.search(plan)]


@pytest.mark.parametrize("workflow", ["", "w", "w*"])
def test_what_can_never_run_is_sought_among_the_jobs_that_are_given(workflow: str) -> None:
    limits, scope = misfits.Limits(1, 8, 0), lease.Scope(workflow)
    made = plans(lambda: misfits.beyond(limits, [1, 2, 3], scope))
    assert any("INTEGER PRIMARY KEY" in plan for plan in made)
    assert not [plan for plan in made if WHOLE_STATE.search(plan) or "runnable" in plan]


@pytest.mark.parametrize("workflow", ["", "w", "w*"])
def test_leasing_reads_runnable_jobs_in_order(workflow: str) -> None:
    made = plans(lambda: lease.lease_runnable(1, lease.Scope(workflow), 10))
    assert any("INDEX balsam_job_runnable" in plan.split(" for ")[0] for plan in made)
    assert not [plan for plan in made if "TEMP B-TREE" in plan or "INDEX balsam_job_state" in plan]
