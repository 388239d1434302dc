"""How long applications take: what is expected of the next attempt, from those that ended well."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from balsam import states
from balsam.core.bookkeeping import last_event
from balsam.core.queue import NOT_GIVEN
from balsam.core.sql import among, in_json, key_list, rows

#: Events, and finished jobs, that are looked through at most.
NEWEST = 5000
#: Attempts by which an application is judged.
SAMPLE = 300
QUANTILE = 0.95
Sample = list[tuple[int, float]]


def since(event: int) -> tuple[int, Sample]:
    """The newest event, and (application, wall seconds) of what ended well after ``event``.

    Only the newest events are looked through; oldest first.
    """
    newest = last_event()
    # Events first: of its own choice a database may begin with the jobs.
    return newest, _measured(
        f"""SELECT job.app_id, {_wall_seconds()} FROM balsam_event event
            CROSS JOIN balsam_job job WHERE job.id = event.job_id AND job.app_id IS NOT NULL
            AND event.id > %s AND event.id <= %s AND event.to_state = '{states.RUN_DONE}'
            ORDER BY event.id""",
        (max(event, newest - NEWEST), newest),
    )


def of_finished_jobs() -> Sample:
    """The same of the newest jobs that are finished: their events may be long past."""
    newest = rows(
        """SELECT id, app_id FROM balsam_job WHERE state = %s ORDER BY id DESC LIMIT %s""",
        (states.JOB_FINISHED, NEWEST),
    )
    jobs: defaultdict[int | None, list[int]] = defaultdict(list)
    for job, app in newest:
        if len(jobs[app]) < SAMPLE:
            jobs[app].append(job)
    jobs.pop(None, None)
    wanted = [job for some in jobs.values() for job in some]
    return _measured(
        f"""SELECT job.app_id, {_wall_seconds()} FROM balsam_job job
            CROSS JOIN balsam_event event WHERE event.job_id = job.id
            AND job.id {among()} AND event.to_state = '{states.RUN_DONE}'
            ORDER BY job.id""",
        (key_list(wanted),),
    )


def _wall_seconds() -> str:
    return f"CAST({in_json('event.data', 'wall_seconds')} AS double precision)"


def _measured(statement: str, parameters: tuple[object, ...]) -> Sample:
    found = rows(statement, parameters)
    return [(app, float(seconds)) for app, seconds in found if seconds is not None]


def percentile(values: Iterable[float], quantile: float = QUANTILE) -> float:
    """The smallest of the values that so large a part of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(quantile * len(ordered)) - 1)]


@dataclass
class Durations:
    """What is known of the applications, by their keys; :meth:`refresh` it now and then."""

    expected: dict[int, float] = field(default_factory=dict)
    _samples: dict[int, deque[float]] = field(default_factory=dict)
    _event: int | None = None

    def refresh(self) -> bool:
        """Take in the attempts that have ended since; whether that changed anything."""
        before = dict(self.expected)
        if self._event is None:
            self._add(of_finished_jobs())
        self._event, ended = since(self._event or 0)
        self._add(ended)
        return self.expected != before

    def _add(self, sample: Sample) -> None:
        for app, seconds in sample:
            self._samples.setdefault(app, deque(maxlen=SAMPLE)).append(seconds)
        for app in {app for app, _ in sample}:
            self.expected[app] = percentile(self._samples[app])

    def longer_than(self, seconds: float) -> tuple[int, ...]:
        """The applications that take longer."""
        return tuple(app for app, expected in self.expected.items() if expected > seconds)

    def within(self, seconds: float) -> tuple[int, ...]:
        """The applications that are known not to take longer."""
        return tuple(app for app, expected in self.expected.items() if expected <= seconds)

    def of(self, app: int | None, wall_time_minutes: int, limit_minutes: float) -> float | None:
        """Seconds that a job will take: as its user said, else as its application does."""
        seconds: float | None = wall_time_minutes * 60.0
        if wall_time_minutes <= NOT_GIVEN:
            seconds = self.expected.get(app) if app is not None else None
        if limit_minutes > 0 and seconds is not None:
            return min(seconds, limit_minutes * 60)
        return seconds
