"""Runnable jobs that ask for more than an allocation has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from balsam import states
from balsam.core import misfits
from balsam.core.lease import Scope
from balsam.core.misfits import Limits
from balsam.core.models import BalsamJob

pytestmark = pytest.mark.usefixtures("project")
Put = Callable[..., None]
LIMITS = Limits(nodes=2, ranks=8, gpus=1)


def runnable(put: Put, state: str = states.PREPROCESSED, **fields: Any) -> BalsamJob:
    job = BalsamJob.objects.create(**fields)
    put(job, state=state)
    return job


def beyond(limits: Limits = LIMITS, scope: Scope | None = None, **how: bool) -> list[int]:
    keys = list(BalsamJob.objects.values_list("id", flat=True))
    return [job.id for job in misfits.beyond(limits, keys, scope or Scope(), **how)]


def test_what_asks_for_too_much(put: Put) -> None:
    too_much = [
        runnable(put, num_nodes=3),
        runnable(put, states.RESTART_READY, ranks_per_node=9),
        runnable(put, gpus_per_rank=2),
        runnable(put, gpus_per_rank=0.25, ranks_per_node=5),
    ]
    runnable(put, num_nodes=2, ranks_per_node=8, gpus_per_rank=0.125)
    runnable(put, states.READY, num_nodes=3)
    assert beyond() == [job.pk for job in too_much]
    assert beyond(Limits(2, 0, 1)) == [job.pk for job in too_much if job.ranks_per_node != 9]


def test_what_is_none_of_its_business(put: Put) -> None:
    runnable(put, num_nodes=3, workflow="other")
    held = runnable(put, num_nodes=3, workflow="mine")
    serial = runnable(put, gpus_per_rank=2, workflow="mine")
    BalsamJob.source.acquire([held.pk])
    assert beyond(scope=Scope("mine")) == [serial.pk]
    BalsamJob.source.release_all_owned()
    assert beyond(scope=Scope("mine"), serial_only=True) == [serial.pk]


def test_they_fail_together_with_what_waits_for_them(put: Put) -> None:
    jobs = [runnable(put, num_nodes=3) for _ in range(50)]
    child = BalsamJob.objects.create(parents=[jobs[0]])
    put(child, state=states.AWAITING_PARENTS)
    shapes = misfits.beyond(LIMITS, [job.pk for job in jobs], Scope())
    put(jobs[1], state=states.USER_KILLED)
    with CaptureQueriesContext(connection) as made:
        assert misfits.fail(dict.fromkeys(shapes, "too wide")) == set()
    assert len(made) < 20
    counts = {states.FAILED: len(jobs), states.USER_KILLED: 1}  # the child as well
    assert BalsamJob.objects.counts_by_state() == counts
    child.refresh_from_db()
    assert child.state == states.FAILED
    end = jobs[0].events.last()
    assert (end.message, end.data) == ("too wide", {"cause": "unsatisfiable", "attempt": 0})
