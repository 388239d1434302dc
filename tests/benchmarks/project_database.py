"""A plain connection to a project's database, and what the two databases are called."""

from __future__ import annotations

import sqlite3
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tests.benchmarks.options import POSTGRES, SQLITE

NAMES = {SQLITE: "SQLite", POSTGRES: "Postgres"}


class Plain:
    """Statements in SQLite's spelling (``?``), each its own transaction, without the ORM."""

    def __init__(self, path: Path, database: str) -> None:
        self.is_sqlite = database == SQLITE
        self._connection = _sqlite(path) if self.is_sqlite else _postgres(path)

    def execute(self, query: str, parameters: Any = ()) -> Any:
        """A cursor of the driver, after the statement."""
        if not self.is_sqlite:
            query = query.replace("%", "%%").replace("?", "%s") if parameters else query
        return self._connection.execute(query, parameters)

    def columns(self, table: str) -> list[str]:
        """The names of the columns of a table."""
        return [one[0] for one in self.execute(f"SELECT * FROM {table} LIMIT 0").description]

    def close(self) -> None:
        """Let go of the database."""
        self._connection.close()


def _sqlite(path: Path) -> Any:
    file = path / "balsamdb" / "balsam.sqlite3"
    return sqlite3.connect(file, isolation_level=None, timeout=60.0)


def _postgres(path: Path) -> Any:
    import psycopg

    from balsam.conf.postgres import address
    from balsam.conf.project import Project

    return psycopg.connect(**address.parameters(Project(path)), autocommit=True)


def seconds(time: str | datetime) -> float:
    """Epoch seconds of a time as the database keeps it (UTC)."""
    if isinstance(time, str):
        time = datetime.fromisoformat(time).replace(tzinfo=timezone.utc)
    return time.timestamp()
