"""How to connect to the database of a project."""

from __future__ import annotations

import getpass
import os
from typing import Any

from balsam.conf.postgres import certificates, cluster, external, life, listening, locks, record
from balsam.conf.postgres.record import Record
from balsam.conf.project import Project
from balsam.errors import ServerError, ServerStopped

#: Who connects to a project that is somebody else's; the default is the name of the login.
USER_VARIABLE = "BALSAM_USER"

#: For all connections: a peer that vanished is noticed within a minute, and nothing that the
#: environment says of other servers (PGHOSTADDR, PGAPPNAME, ...) is taken for this one.
_COMMON: dict[str, Any] = {
    "application_name": "balsam",
    "hostaddr": "",
    "gssencmode": "disable",
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
_OWN: dict[str, Any] = {**_COMMON, "dbname": cluster.DATABASE}


def parameters(project: Project) -> dict[str, Any]:
    """The keywords for ``psycopg.connect``, password included: never print or log them.

    The socket on the machine where the server runs, else TCP. Nothing is started or asked: whether
    the server answers is seen on connecting. Raises ServerStopped if no server is on record,
    another ServerError if it can not be reached from here.
    """
    settings = project.settings().database
    timeout = {"connect_timeout": settings.connect_timeout_seconds}
    if settings.url:
        return {**_COMMON, **timeout, **external.parameters(project)}
    try:
        told = record.read(project)
    except PermissionError:
        return {**_OWN, **timeout, **_only_proof(), **_as_guest(project)}
    if told is None or _ended_with_its_machine(project, told):
        raise ServerStopped(
            f"The database server of {project.path} does not run; type 'balsam server start'."
        )
    secret = {"user": cluster.OWNER, "password": cluster.password(project)}
    return {**_OWN, **timeout, **_only_proof(), **secret, **_way(project, told)}


def _only_proof() -> dict[str, Any]:
    """Prove to know the password, and give it to nobody who merely asks for it.

    Another program may have taken the port while the server was down. libpq knows this from 16 on.
    """
    return {"require_auth": "scram-sha-256"} if external.libpq_version() >= 160000 else {}


def _ended_with_its_machine(project: Project, told: Record) -> bool:
    """Whether the machine was started again since, and the server can not be asked."""
    return (
        not told.address
        and not life.same_kernel(told)
        and life.surely_gone(project, told)
        and not locks.lives(project.database_dir)
    )


def _way(project: Project, told: Record) -> dict[str, Any]:
    """By the socket or by TCP."""
    if life.same_kernel(told):
        directory = told.socket(project)
        owner = project.database_dir.stat().st_uid
        if not told.address or listening.is_private(directory, owner):
            if not told.socket_dir or listening.is_private(directory, owner):
                return {"host": str(directory), "port": told.port, "sslmode": "disable"}
            raise ServerError(
                f"The directory of the server's socket, {directory}, is gone or not private to "
                "you; type 'balsam server restart'."
            )
    if not told.address:
        from balsam.conf.postgres.server import elsewhere

        raise ServerError(elsewhere(project, told))
    certificate = certificates.certificate(project)
    return {"host": told.address, "port": told.port, **_tls(told.tls, str(certificate))}


def _as_guest(project: Project) -> dict[str, Any]:
    """For a user with an account, who may not read the owner's files."""
    try:
        content = record.published(project)
    except PermissionError:
        content = None
    if content is None:
        raise ServerError(
            f"The project {project.path} is somebody else's; its owner can share it by 'balsam "
            "server start --listen auto' and 'balsam server --add-user NAME'."
        )
    certificate = record.certificate_file(project)
    return {
        "host": content.host,
        "port": content.port,
        "dbname": content.database,
        # The password is in the user's own ~/.pgpass or PGPASSFILE, where the library looks.
        "user": os.environ.get(USER_VARIABLE) or getpass.getuser(),
        **_tls(content.tls, str(certificate)),
    }


def _tls(used: bool, certificate: str) -> dict[str, Any]:
    """The certificate is pinned, so no name has to match."""
    if not used:
        return {"sslmode": "disable"}
    return {"sslmode": "verify-ca", "sslrootcert": certificate, "sslcrl": ""}
