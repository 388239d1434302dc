"""The database that the tests of the record run on: SQLite, or a Postgres server of their own.

``BALSAM_TEST_DB=postgres`` runs them on Postgres: one server for all, one database for each test.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from balsam.conf.new_project import SQLITE, Engine
from balsam.conf.project import Project

POSTGRES = os.environ.get("BALSAM_TEST_DB") == "postgres"
_numbers = itertools.count(1)


@cache
def _server() -> dict[str, Any]:
    """Where the server of this test run is; it ends with the run."""
    from balsam.conf.postgres import address, cluster, server

    directory = Path(tempfile.mkdtemp(prefix="bpg-"))
    project = Project(directory)
    project.database_dir.mkdir(0o700)
    project.log.mkdir()
    project.settings_file.write_text("database:\n  engine: postgres\n")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    cluster.make(project)
    server.start(project)
    atexit.register(server.stop, project)
    where = address.parameters(project)
    # The machine is not going to fail, and each test makes and drops a database: two flushes.
    _execute(
        where,
        "ALTER SYSTEM SET fsync = off",
        "ALTER SYSTEM SET full_page_writes = off",
        "SELECT pg_reload_conf()",
    )
    return where


@cache
def _as_files() -> str:
    """A copy through the log, as is usual from Postgres 15 on, takes twice as long."""
    import psycopg

    with psycopg.connect(**_server()) as connection:
        return "STRATEGY file_copy" if connection.info.server_version >= 150000 else ""


def execute(statement: str) -> None:
    """Let the owner of the server do something."""
    _execute(_server(), statement)


def _execute(where: dict[str, Any], *statements: str) -> None:
    import psycopg

    with psycopg.connect(**where, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[call-overload]


def new(template: Path | None = None) -> Engine:
    """A database for one project, a copy of that of a ``template`` project if one is given."""
    return on_server(template) if POSTGRES else SQLITE


def on_server(template: Path | None = None) -> Engine:
    """A database on the Postgres server, whatever the tests run on."""
    from urllib.parse import urlencode

    name = f"test_{os.getpid()}_{next(_numbers)}"
    source = f"TEMPLATE {database_of(template)} {_as_files()}" if template else ""
    execute(f"CREATE DATABASE {name} {source}")
    where = _server()
    query = urlencode({"host": where["host"]})
    url = f"postgres://{where['user']}@:{where['port']}/{name}?{query}"
    return Engine("postgres", url, str(_password_file()))


@cache
def _password_file() -> Path:
    """Holds the password of the server of this test run, and goes with it."""
    path = Path(_server()["host"], "password-of-tests")
    path.touch(0o600)
    path.write_text(str(_server().get("password", "")))
    return path


def database_of(project: Path) -> str:
    """The name of a project's database on the server."""
    from balsam.conf.postgres.url import parse

    return parse(Project(project).settings().database.url).database


def copy(template: Path, path: Path) -> None:
    """Make ``path`` a project like ``template``, with a database of its own."""
    shutil.copytree(template, path)
    if POSTGRES:
        engine = new(template)
        settings = path / "settings.yml"
        old = Project(template).settings().database
        text = settings.read_text().replace(old.url, engine.url)
        settings.write_text(text.replace(old.password_file, engine.password_file))


def write_settings(project: Project, text: str, **database: object) -> None:
    """Give a project these settings, beside those that say where its database is."""
    now = project.settings().database
    if now.engine == "postgres":
        here = {"engine": now.engine, "url": now.url, "password_file": now.password_file}
        database = {**here, **database}
    if database:
        lines = "".join(f"  {name}: {json.dumps(value)}\n" for name, value in database.items())
        text = f"database:\n{lines}{text}"
    project.settings_file.write_text(text)


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep everybody else from writing to a project's record."""
    if not POSTGRES:
        with contextlib.closing(
            sqlite3.connect(path / "balsamdb" / "balsam.sqlite3", isolation_level=None)
        ) as holder:
            holder.execute("BEGIN IMMEDIATE")
            yield
            holder.execute("ROLLBACK")
        return
    import psycopg

    from balsam.conf.bootstrap.postgres import TURN
    from balsam.conf.postgres import address

    with psycopg.connect(**address.parameters(Project(path))) as holder:
        holder.execute(f"SELECT pg_advisory_xact_lock({TURN})")
        yield
        holder.rollback()


def is_being_written(path: Path) -> bool:
    """Whether somebody is in the middle of writing to a project's record."""
    if POSTGRES:
        import psycopg

        from balsam.conf.postgres import address

        with psycopg.connect(**address.parameters(Project(path))) as connection:
            others = "SELECT count(*) FROM pg_stat_activity WHERE backend_xid IS NOT NULL"
            return bool(connection.execute(others).fetchone() != (0,))
    with contextlib.closing(
        sqlite3.connect(path / "balsamdb" / "balsam.sqlite3", timeout=0, isolation_level=None)
    ) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return True
        return False


def name_of(path: Path) -> str:
    """What :func:`drop` has to be told, also once the project is elsewhere or broken."""
    return database_of(path) if POSTGRES else ""


def drop(name: str) -> None:
    """Remove the database of a project that is done with."""
    if name:
        execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
