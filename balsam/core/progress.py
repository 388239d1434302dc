"""How the campaign goes at this moment: a snapshot for whoever watches, cheap at any size.

Nothing here reads more than the newest events, the jobs that run, and an index of states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from balsam import states
from balsam.core import bookkeeping
from balsam.core.models import BalsamJob, EventLog
from balsam.core.sql import quoted, rows
from balsam.core.why import endings
from balsam.core.why.situation import LAUNCHER, Situation, observe

#: The rate is that of the last minute, or of so many events if they are fewer.
WINDOW = timedelta(seconds=60)
MOST_EVENTS = 10_000
#: Failures older than the newest events are looked for only among so many.
MOST_FAILED = 2_000
_ENDS = quoted(states.END_STATES)


@dataclass(frozen=True)
class Running:
    """A job that runs; ``nodes`` as its launcher named them."""

    id: int
    label: str
    nodes: str
    seconds: float
    attempt: int


@dataclass(frozen=True)
class Failure:
    """A job that failed, and of what."""

    id: int
    label: str
    seconds_ago: float
    why: str


@dataclass(frozen=True)
class Launcher:
    """A launcher by host and process. ``seconds_left`` is None without a time limit."""

    session: int
    host: str
    pid: int
    alive: bool
    state: str
    running: int
    workflows: str
    seconds_left: float | None
    heartbeat_age: float


@dataclass(frozen=True)
class Progress:
    """Counts by state in the order of life, ends per minute, who runs what, and what failed."""

    time: datetime
    counts: dict[str, int]
    per_minute: float
    running: Sequence[Running]
    launchers: Sequence[Launcher]
    failures: Sequence[Failure]

    @property
    def total(self) -> int:
        """All jobs."""
        return sum(self.counts.values())

    @property
    def ended(self) -> int:
        """Jobs that have ended, well or not."""
        return sum(self.counts.get(state, 0) for state in states.END_STATES)


def look(jobs: Any = None, most: int = 10) -> Progress:
    """The progress of ``jobs`` (a QuerySet; all by default), naming up to ``most`` of a kind."""
    situation = observe()
    whole = jobs is None
    jobs = BalsamJob.objects.all() if whole else jobs
    counts = jobs.counts_by_state()
    recent, span = _recent_ends(situation.now)
    ended = len(recent) if whole else jobs.among([job for job, _ in recent]).count()
    failed = [job for job, state in reversed(recent) if state == states.FAILED]
    return Progress(
        time=situation.now,
        counts=counts,
        per_minute=ended * WINDOW / span,
        running=_running(jobs, situation, most),
        launchers=_launchers(situation),
        failures=_failures(jobs, failed, counts.get(states.FAILED, 0), situation.now, most),
    )


def _recent_ends(now: datetime) -> tuple[list[tuple[int, str]], timedelta]:
    """(job, end state) of the ends within the window, oldest first, and how long that was."""
    newest = bookkeeping.last_event()
    first = max(_first_since(now - WINDOW, newest), newest - MOST_EVENTS)
    ends = rows(
        f"""SELECT job_id, to_state FROM balsam_event
            WHERE id >= %s AND to_state IN ({_ENDS}) AND from_state <> to_state ORDER BY id""",
        (first,),
    )
    window = WINDOW
    if first == newest - MOST_EVENTS and first > 0:
        begin = EventLog.objects.filter(id__gte=first).order_by("id").first()
        window = min(WINDOW, max(timedelta(seconds=1), now - begin.timestamp)) if begin else WINDOW
    return [(job, state) for job, state in ends], window


def _first_since(time: datetime, newest: int) -> int:
    """The first event after ``time``: events are in the order of time, give or take a moment."""
    low, high = 0, newest + 1
    while low < high:
        middle = (low + high) // 2
        event = EventLog.objects.filter(id__gte=middle).order_by("id")
        found = event.values_list("id", "timestamp").first()
        if found is None or found[1] >= time:
            high = middle
        else:
            low = found[0] + 1
    return low


def _running(jobs: Any, situation: Situation, most: int) -> list[Running]:
    longest = jobs.filter(state=states.RUNNING).order_by("state_timestamp")[:most]
    found = []
    for job in longest.only("id", "job_id", "name", "attempt", "state_timestamp", "session_id"):
        begun = endings.start(job)
        nodes = begun.message.rpartition(" on ")[2] if begun else ""
        if not nodes and job.session_id in situation.members:
            nodes = situation.members[job.session_id].session.host
        seconds = max(0.0, (situation.now - job.state_timestamp).total_seconds())
        found.append(Running(job.pk, job.cute_id, nodes, seconds, job.attempt))
    return found


def _launchers(situation: Situation) -> list[Launcher]:
    running = dict(
        rows(
            f"""SELECT session_id, count(*) FROM balsam_job WHERE session_id IS NOT NULL
                AND COALESCE(state, '') = '{states.RUNNING}' GROUP BY session_id"""
        )
    )
    return [
        Launcher(
            session=key,
            host=member.session.host,
            pid=member.session.pid,
            alive=not member.dead,
            state=member.session.state,
            running=running.get(key, 0),
            workflows=member.offer.wf_filter,
            seconds_left=member.offer.seconds_left(situation.now),
            heartbeat_age=max(0.0, (situation.now - member.session.heartbeat).total_seconds()),
        )
        for key, member in situation.members.items()
        if member.session.kind == LAUNCHER
    ]


def _failures(
    jobs: Any, recent: Sequence[int], total: int, now: datetime, most: int
) -> list[Failure]:
    failed = jobs.filter(state=states.FAILED)
    keys = list(dict.fromkeys(recent))[:MOST_FAILED]
    there = list(failed.among(keys).order_by("-state_timestamp", "-id")[:most]) if keys else []
    if len(there) < min(most, total):
        newest = "-state_timestamp" if total <= MOST_FAILED else "-id"
        there = list(failed.order_by(newest, "-id")[:most])
    return [
        Failure(
            job.pk,
            job.cute_id,
            max(0.0, (now - job.state_timestamp).total_seconds()),
            endings.summary(job),
        )
        for job in there
    ]
