"""The address of a server that is not the project's own, as one writes it: ``postgres://...``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from balsam.errors import InvalidValue

SCHEMES = ("postgres", "postgresql")
FORM = "postgres://USER@HOST:PORT/DATABASE"
#: What may follow the question mark, as libpq names it.
OPTIONS = ("host", "sslmode", "sslrootcert", "sslcert", "sslkey", "target_session_attrs")


@dataclass(frozen=True)
class ServerUrl:
    """A server and a database on it. There is never a password in it."""

    database: str
    host: str = ""
    port: int = 5432
    user: str = ""
    options: tuple[tuple[str, str], ...] = field(default=())

    def parameters(self) -> dict[str, Any]:
        """Keywords for ``psycopg.connect``; what is not given is left to libpq."""
        given = {"host": self.host, "port": self.port, "dbname": self.database, "user": self.user}
        return {**{name: value for name, value in given.items() if value}, **dict(self.options)}


def looks_like_url(text: str) -> bool:
    """Whether ``text`` is meant as the address of a server."""
    return "://" in text


def parse(text: str) -> ServerUrl:
    """The parts of ``text``. Raises InvalidValue, which never repeats a password."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise InvalidValue(
            f"'{masked(text)}' is no address of a Postgres server; write {FORM}."
        ) from error
    if parts.password is not None:
        raise InvalidValue(
            "A password does not belong into the address of a server, where others see it: put it "
            "into a file of mode 0600 and give --password-file (database.password_file in "
            "settings.yml), or into PGPASSFILE or ~/.pgpass."
        )
    if parts.scheme not in SCHEMES:
        raise InvalidValue(f"'{masked(text)}' is no address of a Postgres server; write {FORM}.")
    database = unquote(parts.path.lstrip("/"))
    if not database or "/" in database or "\0" in text or parts.fragment:
        raise InvalidValue(f"'{masked(text)}' does not name one database; write {FORM}.")
    options = parse_qsl(parts.query, keep_blank_values=True)
    unknown = [name for name, _ in options if name not in OPTIONS]
    if unknown:
        raise InvalidValue(
            f"'{unknown[0]}' is no option of a server's address; there are {', '.join(OPTIONS)}."
        )
    return ServerUrl(
        database,
        unquote(parts.hostname or ""),
        port or 5432,
        unquote(parts.username or ""),
        tuple(options),
    )


def masked(text: str) -> str:
    """``text`` for a message or a log: without what might be a password."""
    return re.sub(r"(://[^:@/]*):.*@", r"\1:***@", text, flags=re.DOTALL)
