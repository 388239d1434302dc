"""Sessions: processes that may hold leases, and what becomes of those when they die."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import timedelta

from django.db import connection, transaction

from balsam import states
from balsam.core import history, waiting
from balsam.core.models import Session
from balsam.core.models.session import ENDED, LIVE, RECOVERING
from balsam.core.offer import Offer
from balsam.core.sql import column, quoted
from balsam.platform import node

_WAITING = quoted(states.WAITING_STATES)
_LIVE = "SELECT 1 FROM balsam_session WHERE id = %s AND state = %s"


@dataclass(frozen=True)
class Life:
    """A process that may hold leases, and where its pid means something."""

    kind: str
    host: str
    machine: str
    pid: int
    pid_start: int


def own_life(kind: str) -> Life:
    """This process, as others see it in the record."""
    pid = os.getpid()
    return Life(kind, node.this_node().hostname, node.identity(), pid, node.start_time(pid))


def open_session(life: Life, offer: Offer | None = None) -> int:
    """Register a life, and what it offers to run; its id is what leases are made out to.

    In a transaction, for these take turns: who has a lower id is in the record before.
    """
    with transaction.atomic():
        stamp = history.now()
        session = Session.objects.create(
            kind=life.kind,
            host=life.host,
            machine=life.machine,
            pid=life.pid,
            pid_start=life.pid_start,
            lock=f"{life.host}:{life.pid}",
            started=stamp,
            heartbeat=stamp,
            heartbeat_monotonic=time.monotonic(),
            offer=offer.to_dict() if offer else {},
        )
    return int(session.pk)


def beat(session: int) -> bool:
    """Renew a session; False if it was declared dead, so nothing it holds is its own any more."""
    return bool(
        Session.objects.filter(pk=session, state=LIVE).update(
            heartbeat=history.now(), heartbeat_monotonic=time.monotonic()
        )
    )


def hold(session: int) -> bool:
    """Whether a session may still commit; until the transaction ends, nobody can declare it dead.

    Its rows do not tell: they stay its own until whoever took it over has recovered them.
    """
    shared = " FOR SHARE" if connection.features.has_select_for_update else ""
    with connection.cursor() as cursor:
        cursor.execute(_LIVE + shared, (session, LIVE))
        return cursor.fetchone() is not None


def close_session(session: int) -> None:
    """End a session and release whatever it still holds.

    Jobs that began to wait under its lease catch up with what became of their parents meanwhile.
    """
    with transaction.atomic():
        waited = column(
            f"SELECT id FROM balsam_job WHERE session_id = %s AND state IN ({_WAITING})", (session,)
        )
        _free(session)
        if waited:
            waiting.settle(waited)
        Session.objects.filter(pk=session).update(state=ENDED, heartbeat=history.now())


def _free(session: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE balsam_job SET session_id = NULL WHERE session_id = %s", (session,))


def others(session: int | None) -> list[Session]:
    """Sessions that have not ended, without this one."""
    open_sessions = Session.objects.exclude(state=ENDED)
    return list(open_sessions.exclude(pk=session) if session else open_sessions)


def claim(dead: Session, recoverer: Life) -> bool:
    """Take a dead session over for recovery; only one claimant gets it.

    The session then carries the recoverer's pid: should that die too, the next one sees it.
    """
    unchanged = Session.objects.filter(pk=dead.pk, state=dead.state, heartbeat=dead.heartbeat)
    return bool(
        unchanged.update(
            state=RECOVERING,
            heartbeat=history.now(),
            heartbeat_monotonic=time.monotonic(),
            host=recoverer.host,
            machine=recoverer.machine,
            pid=recoverer.pid,
            pid_start=recoverer.pid_start,
        )
    )


def expired(session: Session, lease_seconds: float) -> bool:
    """Whether there was no heartbeat for longer than a lease lasts.

    A session of this machine is asked by the clock that nobody sets, others by the time of day.
    As long as the database was down, there could be no heartbeat.
    """
    lease = timedelta(seconds=lease_seconds)
    began = connection.up_since()
    if began and history.now() - began <= lease:
        return False
    if session.heartbeat_monotonic and session.machine == node.identity():
        return time.monotonic() - session.heartbeat_monotonic > lease_seconds
    return history.now() - session.heartbeat > lease
