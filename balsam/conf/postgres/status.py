"""What there is to know of a project's server."""

from __future__ import annotations

from dataclasses import dataclass

from balsam.conf.postgres import logfile, record, server, users
from balsam.conf.postgres.life import Where
from balsam.conf.postgres.url import masked, parse
from balsam.conf.project import Project
from balsam.errors import ServerError


@dataclass(frozen=True)
class Status:
    """What there is to know of a server; None and "" where it does not run or can not be asked.

    ``where`` is stopped, here, elsewhere, ending or external. ``connections`` counts those of
    clients, also the one that asked.
    """

    where: str
    running: bool
    pid: int = 0
    since: str = ""
    host: str = ""
    port: int = 0
    socket: str = ""
    listen: str = ""
    address: str = ""
    tls: bool = False
    tls_note: str = ""
    version: str = ""
    connections: int | None = None
    size_bytes: int | None = None
    problem: str = ""


def status(project: Project) -> Status:
    """How the server is. Raises ServerError if its files can not be read."""
    if project.settings().database.url:
        return _external(project)
    logfile.trim(project)
    found = server.look(project)
    told = found.record
    if found.where is Where.STOPPED or told is None:
        return Status(found.where.value, found.where is Where.HERE, pid=found.pid)
    connections, size, problem = _figures(project)
    return Status(
        found.where.value,
        found.where is Where.HERE or connections is not None,
        pid=found.pid or told.pid,
        since=told.since,
        host=told.host,
        port=told.port,
        socket=str(told.socket(project)),
        listen=told.listen,
        address=told.address,
        tls=told.tls,
        tls_note=told.tls_note,
        version=told.version,
        connections=connections,
        size_bytes=size,
        problem=problem,
    )


def place(project: Project) -> str:
    """Where the server is said to be, in words; nothing is asked, and nothing secret told."""
    if url := project.settings().database.url:
        return masked(url)
    try:
        told = record.read(project)
    except (OSError, ServerError) as error:
        return f"not known ({error})"
    if told is None:
        return "not running"
    by_network = f", {told.address} port {told.port}" if told.address else ""
    return f"{told.host}: {told.socket(project)} port {told.port}{by_network}"


def _external(project: Project) -> Status:
    """What the server that the settings name says of itself."""
    found = parse(project.settings().database.url).parameters()
    connections, size, problem = _figures(project)
    return Status(
        "external",
        connections is not None,
        host=str(found.get("host", "")),
        port=int(found["port"]),
        connections=connections,
        size_bytes=size,
        problem=problem,
    )


def _figures(project: Project) -> tuple[int | None, int | None, str]:
    """Connections of clients, bytes of the database, and why they are unknown, if they are."""
    try:
        with users.connected(project) as connection:
            row = connection.execute(
                "SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND backend_type = 'client backend'), pg_database_size(current_database())"
            ).fetchone()
    except ServerError as error:
        return None, None, str(error)
    return row[0], row[1], ""
