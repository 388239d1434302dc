"""Checks of a Postgres server: whether it answers, who can reach it, how near its limits are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from balsam.conf.bootstrap import SCHEMA_VERSION
from balsam.conf.postgres.binaries import OLDEST
from balsam.conf.postgres.status import Status, status
from balsam.conf.postgres.url import masked
from balsam.conf.project import Project
from balsam.core.care import database_server, questions
from balsam.doctor.database import LOCK_SECONDS, other_schema
from balsam.doctor.finding import Finding, ok, problem, warning
from balsam.doctor.patient import Patient
from balsam.errors import BalsamError

#: The part of its connections at which a server is said to be near its limit.
CROWDED = 0.8
#: A client that has begun a transaction and then asks nothing for so long keeps others waiting.
FORGOTTEN_SECONDS = 120

_RESTORE = "Put a backup in its place with 'balsam restore FILE'."
_FACTS = """
SELECT split_part(current_setting('server_version'), ' ', 1),
    current_setting('server_version_num')::int / 10000,
    current_setting('max_connections')::int,
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
    pg_database_size(current_database()), current_setting('data_checksums') = 'on',
    coalesce((SELECT checksum_failures FROM pg_stat_database
        WHERE datname = current_database()), 0),
    pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on'
"""
_FORGOTTEN = f"""
SELECT pid, coalesce(application_name, ''), extract(epoch FROM now() - state_change)::int
FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
AND state LIKE 'idle in transaction%' AND state_change < now() - interval '{FORGOTTEN_SECONDS} s'
"""


@dataclass(frozen=True)
class Facts:
    """What a server says of itself and of this database."""

    version: str
    major: int
    most_connections: int
    connections: int
    size_bytes: int
    checksums: bool
    checksum_failures: int
    read_only: bool


def server(patient: Patient) -> Iterator[Finding]:
    """The server of a project on Postgres answers, and holds a record of this version."""
    project = patient.project
    if project is None or patient.settings.database.engine != "postgres":
        return
    try:
        with database_server.connected(project, timeout_seconds=LOCK_SECONDS) as connection:
            facts = Facts(*connection.execute(_FACTS).fetchone())
            forgotten = connection.execute(_FORGOTTEN).fetchall()
            found = list(_record(project, facts, connection))
    except BalsamError as error:
        yield problem("server", str(error), _start(patient))
        return
    told = status(project)
    yield from _reached(project, told, facts)
    yield from _room(facts, forgotten)
    yield from found


def _start(patient: Patient) -> str:
    if patient.settings.database.url:
        return "Check database.url and the password in settings.yml, or ask who runs that server."
    return "balsam server start; what it says on failing is in log/postgres.log too."


def _reached(project: Project, told: Status, facts: Facts) -> Iterator[Finding]:
    if facts.major < OLDEST:
        yield problem(
            "server",
            f"Postgres {facts.version} is too old; Balsam needs {OLDEST}",
            "Have the server upgraded, or move the project: balsam db copy --to sqlite",
        )
        return
    if told.where == "external":
        place = masked(project.settings().database.url)
        yield ok("server", f"Postgres {facts.version} at {place}")
        return
    says = f"Postgres {facts.version} on {told.host} (process {told.pid}, since {told.since})"
    if not told.address:
        yield ok("server", f"{says}, reached through its socket only")
    elif told.tls:
        yield ok("server", f"{says}, listens at {told.address} port {told.port} with TLS")
    else:
        why = f" ({told.tls_note})" if told.tls_note else ""
        yield warning(
            "server",
            f"{says}, listens at {told.address} port {told.port} without TLS{why}: passwords are "
            "not sent in clear, the record is",
            "Listen only while compute nodes need it: balsam server restart --listen none",
        )


def _room(facts: Facts, forgotten: list[Any]) -> Iterator[Finding]:
    says = f"{facts.connections} of {facts.most_connections} in use"
    if facts.connections >= CROWDED * facts.most_connections:
        yield warning(
            "connections",
            says,
            "'balsam server --list-active-connections' shows whose they are; end what is not "
            "needed, or raise max_connections in balsamdb/postgres/postgresql.conf.",
        )
    else:
        yield ok("connections", says)
    for pid, program, seconds in forgotten:
        yield warning(
            "connections",
            f"{program or 'a client'} (server process {pid}) has kept a transaction open for "
            f"{seconds} s without a question, and others waiting",
            "End that program.",
        )


def _record(project: Project, facts: Facts, connection: Any) -> Iterator[Finding]:
    if not database_server.is_balsam(connection):
        yield problem("database", "it holds no tables of Balsam", _RESTORE)
        return
    schema = database_server.schema_version(connection)
    if schema != SCHEMA_VERSION:
        yield other_schema(project, schema)
        return
    if facts.checksum_failures:
        yield problem(
            "database",
            f"{facts.checksum_failures} page(s) read from the disk were damaged",
            f"Check the disk, and see 'balsam fsck'. {_RESTORE}",
        )
        return
    if facts.read_only:
        yield problem(
            "database", "the server takes no changes", "Ask who runs it; it may be a standby."
        )
        return
    jobs = questions.number_of_jobs(connection)
    checked = "pages with checksums" if facts.checksums else "no checksums of pages"
    yield ok(
        "database", f"{jobs} jobs in {facts.size_bytes / 1e6:.1f} MB, schema {schema}, {checked}"
    )
