"""Who uses the record of a project at this moment."""

from __future__ import annotations

import time

from balsam.conf.project import Project
from balsam.core.care import record
from balsam.core.care.database_file import sides
from balsam.doctor import sessions
from balsam.doctor.patient import Patient
from balsam.platform import openfiles

#: A busy server may take so long to see that a client, the last command say, has ended.
LINGER_SECONDS = 2.0
#: So many of each kind are named.
_MOST = 5


def processes(project: Project) -> list[str]:
    """Other processes that have the record open, in words. Raises ServerError.

    With SQLite those of this machine. With Postgres all that are connected: one that has asked
    nothing for a while is not.
    """
    if record.is_postgres(project):
        return _connections(project)
    own = project.database_file
    return [
        f"process {pid} ({openfiles.command_of(pid)[:60]})"
        for pid in openfiles.holders([own, *sides(own)])
    ]


def _connections(project: Project) -> list[str]:
    from balsam.conf.postgres import users

    found = users.connections(project)
    give_up = time.monotonic() + LINGER_SECONDS
    while found and time.monotonic() < give_up:
        time.sleep(0.1)
        found = users.connections(project)
    named = [
        f"{one.program or 'a client'} of {one.user}"
        f"{f' at {one.client}' if one.client else ''} (connected since {one.since:%H:%M:%S})"
        for one in found[:_MOST]
    ]
    return [*named, f"{len(found) - _MOST} more"] if len(found) > _MOST else named


def launchers(project: Project) -> list[str]:
    """The sessions that may be at work, in words. Raises DatabaseUnavailable."""
    return sessions.living_sessions(Patient(project))
