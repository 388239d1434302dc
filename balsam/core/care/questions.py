"""Questions that whoever takes care of a record asks it, in either database.

Connections are those of ``record.reading``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from balsam import states
from balsam.core.models.session import ENDED


@dataclass(frozen=True)
class SessionRow:
    """A session as the record has it, with the number of jobs it holds."""

    id: int
    kind: str
    state: str
    host: str
    machine: str
    pid: int
    pid_start: int
    heartbeat: datetime
    jobs: int


@dataclass(frozen=True)
class Span:
    """When a session lived, as far as its heartbeats tell."""

    host: str
    start: datetime
    end: datetime


#: So many of the last sessions are looked at.
_NEWEST = 2000


def newest_spans(connection: Any) -> list[Span]:
    """The lives of the launchers that began last."""
    rows = connection.execute(
        f"""SELECT host, started, heartbeat FROM balsam_session WHERE kind = 'launcher'
            ORDER BY id DESC LIMIT {_NEWEST}"""
    )
    return [Span(host, _time(start), _time(end)) for host, start, end in rows]


def number_of_jobs(connection: Any) -> int:
    return int(connection.execute("SELECT count(*) FROM balsam_job").fetchone()[0])


def counts_by_state(connection: Any) -> dict[str, int]:
    """State -> number of jobs, whatever states there are."""
    return dict(connection.execute("SELECT state, count(*) FROM balsam_job GROUP BY state"))


def open_sessions(connection: Any) -> list[SessionRow]:
    """Sessions that have not ended, oldest first."""
    rows = connection.execute(
        f"""SELECT id, kind, state, host, machine, pid, pid_start, heartbeat,
                (SELECT count(*) FROM balsam_job WHERE session_id = balsam_session.id)
            FROM balsam_session WHERE state <> '{ENDED}' ORDER BY id"""
    )
    return [SessionRow(*(*row[:7], _time(row[7]), row[8])) for row in rows]


def stale_leases(connection: Any) -> list[tuple[int, int]]:
    """(session, number of jobs) of leases whose session has ended or is not there."""
    return list(
        connection.execute(
            f"""SELECT session_id, count(*) FROM balsam_job WHERE session_id IS NOT NULL
                AND session_id NOT IN (SELECT id FROM balsam_session WHERE state <> '{ENDED}')
                GROUP BY session_id"""
        )
    )


def running_without_lease(connection: Any) -> int:
    """How many jobs run according to the record, though nobody runs them."""
    statement = f"""SELECT count(*) FROM balsam_job
        WHERE state = '{states.RUNNING}' AND session_id IS NULL"""
    return int(connection.execute(statement).fetchone()[0])


def newest_times(connection: Any) -> list[datetime]:
    """When the newest event and the newest heartbeat were written, by the clocks of their hosts."""
    (event,) = connection.execute(
        "SELECT timestamp FROM balsam_event ORDER BY id DESC LIMIT 1"
    ).fetchone() or (None,)
    (beat,) = connection.execute("SELECT max(heartbeat) FROM balsam_session").fetchone()
    return [_time(text) for text in (event, beat) if text]


def records(connection: Any, statement: str) -> list[dict[str, Any]]:
    """The rows of a query as dicts."""
    cursor = connection.execute(statement)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def _time(value: str | datetime) -> datetime:
    """A time in UTC, which SQLite keeps as text."""
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc)
    return datetime.fromisoformat(value).replace(tzinfo=timezone.utc)
