"""Users of a project's database besides its owner, and who is connected."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from balsam.conf import database_errors
from balsam.conf.postgres import address, cluster, external, passwords
from balsam.conf.postgres.url import masked
from balsam.conf.project import Project
from balsam.errors import InvalidValue, ServerError, ServerStopped


@dataclass(frozen=True)
class User:
    """A role that may log in; ``owner`` of the database or not, and how often it is connected."""

    name: str
    owner: bool
    connections: int


@dataclass(frozen=True)
class Connection:
    """A client of the database. ``client`` is its address, empty by the socket."""

    pid: int
    user: str
    program: str
    client: str
    state: str
    since: datetime


@contextlib.contextmanager
def connected(project: Project, start: bool = False) -> Iterator[Any]:
    """A connection that commits each statement; with ``start`` the server is started if need be.

    Errors of the database, also inside the block, become ServerErrors.
    """
    psycopg = external.driver()
    from balsam.conf.postgres import server

    def connect() -> Any:
        return psycopg.connect(**address.parameters(project), autocommit=True)

    try:
        try:
            connection = connect()
        except (psycopg.OperationalError, ServerStopped):
            if not start:
                raise
            server.ensure(project)
            connection = connect()
        with connection:
            yield connection
    except psycopg.Error as error:
        raise ServerError(explain(project, error)) from error


def explain(project: Project, error: Exception) -> str:
    """One sentence about an error of the driver: what, where, and what to do next."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # Below the reason libpq asks whether the server is running, which is what we are about to say.
    told = [line for line in lines if "FATAL:" in line or "ERROR:" in line]
    told += [line for line in lines if not line.endswith("?") and "Multiple connection" not in line]
    said = (told or lines or [type(error).__name__])[0]
    advice = next((told for sign, told in _ADVICE.items() if sign in str(error)), "")
    advice = advice or database_errors.advice(error)
    url = project.settings().database.url
    server = f"The server of {masked(url)}" if url else f"The database server of {project.path}"
    if advice:
        return f"{server} refused ({said}): {advice}."
    if url:
        return (
            f"{server} does not answer or failed ({said}); check the address, and that you may "
            "use it."
        )
    return f"{server} does not answer or failed ({said}); 'balsam server status' says how it is."


#: Part of a message -> what to do; more is in ``database_errors``.
_ADVICE = {
    "starting up": "it is about to start; try again in some seconds",
    "shutting down": "it is about to stop; try again in some seconds",
    "certificate verify failed": (
        "it is another server than this project's, or has a new certificate; 'balsam server "
        "status' tells more"
    ),
    "unsupported startup parameter": (
        "it is a pooler that does not pass on what Balsam asks for; give the address of the server "
        "itself"
    ),
    "permission denied": "this user may not do that; the owner of the project can",
}


def add(project: Project, name: str) -> str:
    """Let a user read and write the record; the generated password, which is nowhere else.

    Raises ServerError, InvalidValue for a name that can not be one.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}", name) or name.startswith("pg_"):
        raise InvalidValue(
            f"'{name}' can not be the name of a user: use letters, digits, '_', '.' and '-', 63 at "
            "most, with a letter first."
        )
    _need_own_server(project)
    password = passwords.generate()
    with connected(project, start=True) as connection, connection.transaction():
        if _exists(connection, name):
            raise ServerError(
                f"There is a user '{name}' already; 'balsam server --drop-user {name}' removes it."
            )
        for statement in _GRANTS:
            _execute(connection, statement, name, passwords.verifier(password))
    return password


def _need_own_server(project: Project) -> None:
    if project.settings().database.url:
        raise ServerError(
            f"The database of {project.path} is on a server of somebody else's, who alone gives "
            "and takes its accounts."
        )


def drop(project: Project, name: str) -> None:
    """Remove a user and end its connections. What it wrote stays. Raises ServerError."""
    _need_own_server(project)
    if name == cluster.OWNER:
        raise ServerError(f"'{name}' is the owner of the database, and stays.")
    with connected(project, start=True) as connection:
        if not _exists(connection, name) or name.startswith("pg_"):
            known = ", ".join(user.name for user in _users(connection))
            raise ServerError(f"There is no user '{name}'; the users are {known}.")
        _execute(connection, "ALTER ROLE {name} NOLOGIN", name)
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s",
            [name],
        )
        with connection.transaction():
            for statement in (
                "REASSIGN OWNED BY {name} TO {owner}",
                "DROP OWNED BY {name}",
                "DROP ROLE {name}",
            ):
                _execute(connection, statement, name)


def users(project: Project) -> list[User]:
    """All users that may log in, the owner first. Raises ServerError."""
    with connected(project, start=True) as connection:
        return _users(connection)


def connections(project: Project) -> list[Connection]:
    """The clients of the database but this one, the oldest first. Raises ServerError."""
    with connected(project, start=True) as connection:
        rows = connection.execute(
            "SELECT pid, coalesce(usename, ''), coalesce(application_name, ''), "
            "coalesce(host(client_addr), ''), coalesce(state, ''), backend_start "
            "FROM pg_stat_activity WHERE datname = current_database() "
            "AND backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY backend_start"
        ).fetchall()
    return [Connection(*row) for row in rows]


_GRANTS = (
    "CREATE ROLE {name} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD {secret}",
    "GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {name}",
    "GRANT USAGE ON SCHEMA public TO {name}",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {name}",
    "GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA public TO {name}",
    # Of tables that an upgrade makes later.
    "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public "
    "GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {name}",
    "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public "
    "GRANT USAGE, SELECT, UPDATE ON SEQUENCES TO {name}",
)


def _execute(connection: Any, statement: str, name: str, secret: str = "") -> None:
    from psycopg import sql

    connection.execute(
        sql.SQL(statement).format(
            name=sql.Identifier(name),
            owner=sql.Identifier(cluster.OWNER),
            database=sql.Identifier(connection.info.dbname),
            secret=sql.Literal(secret),
        )
    )


def _exists(connection: Any, name: str) -> bool:
    row = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone()
    return row is not None


def _users(connection: Any) -> list[User]:
    rows = connection.execute(
        "SELECT rolname, rolsuper, (SELECT count(*) FROM pg_stat_activity "
        "WHERE usename = rolname AND pid <> pg_backend_pid()) "
        "FROM pg_roles WHERE rolcanlogin ORDER BY NOT rolsuper, rolname"
    ).fetchall()
    return [User(*row) for row in rows]
