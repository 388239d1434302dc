"""The classic reports, from events."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from balsam import states
from balsam.core.advance import Move, advance
from balsam.core.events import Hop
from balsam.core.models import (
    BalsamJob,
    error_report,
    process_job_times,
    throughput_report,
    utilization_report,
)

NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def run(name: str, start: float, end: float, how: str = states.RUN_DONE, **fields: Any) -> None:
    """A job that ran from ``start`` to ``end``, in seconds after noon."""
    job = BalsamJob.objects.create(name=name, **fields)
    job.update_state(states.PREPROCESSED)
    hops = [Hop(states.RUNNING, time=at(start)), Hop(how, time=at(end))]
    assert advance([Move(job.pk, states.PREPROCESSED, hops)])


@pytest.fixture
def campaign(project: Any) -> None:
    run("a", 0, 10)
    run("b", 5, 30, workflow="w")
    run("c", 20, 25, states.RUN_ERROR)
    run("d", 21, 100, states.RUN_TIMEOUT)
    run("e", 22, 150, states.RUN_ERROR)
    run("f", 23, 40, states.RESTART_READY)


def test_times_are_listed_by_state(campaign: None) -> None:
    times = process_job_times()
    assert len(times[states.CREATED]) == 6
    assert times[states.RUNNING] == [at(second) for second in (0, 5, 20, 21, 22, 23)]
    assert times[states.RUN_DONE] == [at(10), at(30)]
    assert states.JOB_FINISHED not in times
    some = process_job_times(BalsamJob.objects.filter(workflow="w").order_by("name"))
    assert some[states.RUN_DONE] == [at(30)] and len(some[states.CREATED]) == 1


def test_utilisation_rises_and_falls_with_running_jobs(campaign: None) -> None:
    seconds = (0, 5, 10, 20, 21, 22, 23, 25, 30, 40, 100, 150)
    counts = [1, 2, 1, 2, 3, 4, 5, 4, 3, 2, 1, 0]
    assert utilization_report() == ([at(second) for second in seconds], counts)
    assert utilization_report(process_job_times()) == utilization_report()
    plain = {states.RUNNING: [at(0), at(1)], states.RUN_ERROR: [at(3)], states.RUN_DONE: [at(2)]}
    assert utilization_report(plain) == ([at(0), at(1), at(2), at(3)], [1, 2, 1, 0])


def test_a_killed_job_no_longer_runs(project: Any) -> None:
    run("a", 0, 1, states.RUN_ERROR)
    job = BalsamJob.objects.create()
    job.update_state(states.PREPROCESSED)
    advance([Move(job.pk, states.PREPROCESSED, [Hop(states.RUNNING)])])
    assert utilization_report()[1] == [1, 0, 1]
    BalsamJob.objects.get(pk=job.pk).update_state(states.USER_KILLED)
    assert utilization_report()[1] == [1, 0, 1, 0]


def test_throughput_counts_runs_done(campaign: None) -> None:
    assert throughput_report() == ([at(10), at(30)], [1, 2])


def test_errors_are_counted_by_the_minute(campaign: None) -> None:
    assert error_report() == ([at(25), at(85), at(145)], [1, 0, 1])


def test_without_events_reports_are_empty(project: Any) -> None:
    assert process_job_times() == {}
    assert utilization_report() == throughput_report() == ([], [])
    assert error_report() is None
    assert utilization_report({}) == throughput_report({}) == ([], [])
    assert error_report({}) is None
