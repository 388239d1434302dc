"""Whether a server that is not the project's own can keep a record."""

from __future__ import annotations

from typing import Any

from balsam.conf.postgres import binaries, users
from balsam.conf.postgres.url import masked
from balsam.conf.project import Project
from balsam.errors import ServerError

_PID = "SELECT pg_backend_pid()"


def need_fit(project: Project) -> None:
    """Raises ServerError if the server is too old, or serves each transaction by another process.

    Locks and notifications belong to one process of the server. A pooler that gives a client
    another one for each transaction would lose them, without any error.
    """
    place = masked(project.settings().database.url)
    with users.connected(project) as first, users.connected(project) as second:
        version = first.info.server_version // 10000
        if version < binaries.OLDEST:
            raise ServerError(
                f"The server of {place} is Postgres {version}, and Balsam needs "
                f"{binaries.OLDEST} or newer; choose another server."
            )
        if shares_processes(first, second):
            raise ServerError(
                f"{place} is reached through a pooler that gives each transaction another "
                "connection (as PgBouncer does in its mode 'transaction'), which loses locks and "
                "notifications; give the address of the server itself, or use the mode 'session'."
            )


def shares_processes(first: Any, second: Any) -> bool:
    """Whether two idle connections may be served by the same process of the server, in turn."""
    before = first.execute(_PID).fetchone()
    with second.transaction():
        others = second.execute(_PID).fetchone()
        after = first.execute(_PID).fetchone()
    return bool(others == before or after != before)
