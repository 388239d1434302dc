"""Jobs that nobody will give back: leased by a session that has ended, or running without one."""

from __future__ import annotations

from collections.abc import Collection

from django.db import connection

from balsam import states
from balsam.core.models import Session
from balsam.core.models.session import ENDED
from balsam.core.sql import column


def abandoned() -> list[Session]:
    """Sessions that have ended, or are not even there any more, and still hold jobs."""
    keys = column(
        f"""SELECT DISTINCT session_id FROM balsam_job WHERE session_id IS NOT NULL
            AND session_id NOT IN (SELECT id FROM balsam_session WHERE state <> '{ENDED}')
            ORDER BY session_id"""
    )
    return [Session(pk=key, state=ENDED) for key in keys]


def adopt_running(session: int) -> int:
    """Lease the jobs that run without a session to this one; how many there were."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE balsam_job SET session_id = %s WHERE state = %s AND session_id IS NULL",
            (session, states.RUNNING),
        )
        return int(cursor.rowcount)


def of(sessions: Collection[int]) -> list[Session]:
    """These sessions, as they are now, but for those that have ended."""
    return list(Session.objects.filter(pk__in=list(sessions)).exclude(state=ENDED))
