"""The classic reports: utilisation, throughput and errors over time, from the events of jobs.

Times are aware, in UTC, oldest first. Each report is two lists of one length, made for
``matplotlib.pyplot.step(*report())``; without events both are empty.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any

from django.db import models, transaction

from balsam import states

Report = tuple[list[datetime], list[int]]
MINUTE = timedelta(minutes=1)
_RUN_ENDS = (states.RUN_DONE, states.RUN_ERROR, states.RUN_TIMEOUT)


class JobTimes(dict[str, list[datetime]]):
    """State -> when jobs entered it; ``run_ends`` are the times when jobs left RUNNING for any."""

    def __init__(self) -> None:
        super().__init__()
        self.run_ends: list[datetime] = []


def process_job_times(qs: Any = None, only: Collection[str] | None = None) -> JobTimes:
    """When the jobs of ``qs`` (all by default) entered each state, as often as they did.

    States that no job entered are absent, as are those that are not among ``only``.
    """
    from balsam.core.models.event import EventLog

    events = EventLog.objects.exclude(from_state=models.F("to_state"))
    if qs is not None:
        events = events.filter(job__in=qs)
    if only is not None:
        wanted = models.Q(to_state__in=only)
        if states.RUNNING in only:
            wanted |= models.Q(from_state=states.RUNNING)
        events = events.filter(wanted)
    times = JobTimes()
    columns = events.order_by("timestamp", "id").values_list("timestamp", "from_state", "to_state")
    for time, old, new in columns.iterator(chunk_size=10_000):
        if only is None or new in only:
            times.setdefault(new, []).append(time)
        if old == states.RUNNING:
            times.run_ends.append(time)
    return times


def utilization_report(time_data: dict[str, list[datetime]] | None = None) -> Report:
    """(times, number of running jobs from each on). ``time_data`` is of ``process_job_times``."""
    times = process_job_times(only=[states.RUNNING]) if time_data is None else time_data
    if isinstance(times, JobTimes):
        ends = times.run_ends
    else:
        ends = [time for state in _RUN_ENDS for time in times.get(state, ())]
    steps = [(time, 1) for time in times.get(states.RUNNING, ())]
    steps += [(time, -1) for time in ends]
    steps.sort()
    return [time for time, _ in steps], list(accumulate(step for _, step in steps))


def throughput_report(time_data: dict[str, list[datetime]] | None = None) -> Report:
    """(times, number of runs done by each)."""
    times = process_job_times(only=[states.RUN_DONE]) if time_data is None else time_data
    done = sorted(times.get(states.RUN_DONE, ()))
    return done, list(range(1, len(done) + 1))


def error_report(time_data: dict[str, list[datetime]] | None = None) -> Report | None:
    """(beginnings of minutes, runs that ended in error within each); None without any error.

    Minutes are counted from the first error on, up to that of the last.
    """
    times = process_job_times(only=[states.RUN_ERROR]) if time_data is None else time_data
    errors = sorted(times.get(states.RUN_ERROR, ()))
    if not errors:
        return None
    counts = [0] * ((errors[-1] - errors[0]) // MINUTE + 1)
    for time in errors:
        counts[(time - errors[0]) // MINUTE] += 1
    return [errors[0] + number * MINUTE for number in range(len(counts))], counts


def safe_select(qs: Any) -> Any:
    """The same rows as a QuerySet by key; inside a transaction they are locked, in key order."""
    with transaction.atomic():
        keys = list(qs.select_for_update(of=("self",)).order_by("pk").values_list("pk", flat=True))
    return qs.model._default_manager.filter(pk__in=keys)
