"""Django's Postgres backend, opened in the project that the environment or the directory names.

Transactions take turns, as those of SQLite do: what is decided in one (a child becomes READY for
its last parent has finished) was not decided at the same time in another, and events are numbered
in the order in which they become visible. Turns are served in the order in which they were asked
for, those of launchers first. Single statements outside transactions wait for nobody.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from balsam.conf import database_errors
from balsam.conf.bootstrap import opening
from balsam.conf.bootstrap.opening import OfProject, check_schema, is_any_schema
from balsam.conf.project import Project
from balsam.errors import DatabaseUnavailable, ServerError

try:
    import psycopg
    from django.db import DatabaseError
    from django.db.backends.postgresql import base
    from django.db.backends.postgresql.psycopg_any import get_adapters_template
except ImportError as error:
    raise DatabaseUnavailable(
        f"The record of this project is in Postgres, which needs the package psycopg ({error}); "
        "install it with \"pip install 'balsam[postgres]'\"."
    ) from error

#: The advisory lock by which transactions take turns, in each database, and that by which all but
#: launchers queue for it: a launcher waits for one of them, however many there are.
TURN = 0x62616C73
GATE = TURN + 1
#: Where the triggers of migration 0004 tell of commits.
CHANNEL = "balsam"
#: Never the same for two connections of a process.
_versions = itertools.count(1)
#: Between two tries to get a connection that the server has none left for.
MOST_PATIENCE_SECONDS = 2.0
#: A client that asks nothing for so long is disconnected, and comes back when it has a question:
#: a job that computes for hours holds no connection.
IDLE_SECONDS = 30
#: How long a launcher waits for a connection while its tasks go on; libpq knows no shorter time.
_HURRY_SECONDS = 2
_TABLE = "SELECT to_regclass('balsam_job') IS NOT NULL"
_VERSION = "SELECT max(left(name, 4)::int) FROM django_migrations WHERE app = 'core'"


class DatabaseWrapper(OfProject, base.DatabaseWrapper):
    """A connection to the project's server, which is started if need be."""

    ENGINE = "postgres"

    #: Whether a transaction that begins now waits for its turn.
    take_turns = True
    _listening: Any = None
    _version = 0

    def get_connection_params(self) -> dict[str, Any]:
        from django.conf import settings

        self.project = self.found_project()
        wait = max(1, int(1000 * opening.patience_seconds(self.project)))
        hold = int(1000 * self.project.settings().database.busy_timeout_seconds)
        return {
            **self._address(self.project),
            "client_encoding": "UTF8",
            "cursor_factory": base.Cursor,
            "context": get_adapters_template(settings.USE_TZ, self.timezone),
            "options": f"-c TimeZone=UTC -c lock_timeout={wait} -c client_min_messages=warning "
            f"-c idle_session_timeout={IDLE_SECONDS * 1000} "
            # Who stops in the middle of a transaction loses it before the others lose patience.
            f"-c idle_in_transaction_session_timeout={max(1, hold // 2)} -c jit=off",
            # Of what was sent and not acknowledged, as keepalives are of silence.
            "tcp_user_timeout": min(60_000, wait),
            "prepare_threshold": None,
        }

    @staticmethod
    def _address(project: Project) -> dict[str, Any]:
        from balsam.conf.postgres import server

        found = server.parameters(project, wait=opening.may_wait())
        if not opening.may_wait():
            found["connect_timeout"] = min(_HURRY_SECONDS, found["connect_timeout"])
        return found

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        assert self.project is not None
        patience = time.monotonic() + opening.patience_seconds(self.project)
        pause = 0.05
        started = False
        while True:
            try:
                connection = super().get_new_connection(conn_params)
                break
            except psycopg.OperationalError as error:
                if not database_errors.is_crowded(error):
                    if started or not self._start():
                        raise self._unavailable(error) from error
                    started = True
                    conn_params = self.get_connection_params()
                elif time.monotonic() > patience or not opening.may_wait():
                    raise self._unavailable(error) from error
                else:
                    # Everybody who was turned away comes back at another moment.
                    time.sleep(pause * random.uniform(0.5, 1.5))
                    pause = min(2 * pause, MOST_PATIENCE_SECONDS)
        try:
            if not is_any_schema():
                check_schema(_schema(connection), self.project, f"of {self.project.path}")
        except BaseException:
            connection.close()
            raise
        opening.was_connected()
        return connection

    def _start(self) -> bool:
        """Have the project's own server run; False if it is not ours. Raises ServerError."""
        from balsam.conf.postgres import server

        assert self.project is not None
        return server.ensure(self.project, wait=opening.may_wait())

    def _unavailable(self, error: psycopg.Error) -> DatabaseUnavailable:
        from balsam.conf.postgres import users

        assert self.project is not None
        return ServerError(users.explain(self.project, error))

    def found_schema(self) -> int | None:
        """The number of the schema that is there; None without a record."""
        self.ensure_connection()
        return _schema(self.connection)

    # -- staying connected ----------------------------------------------------------------------

    def ensure_connection(self) -> None:
        """Connect, also anew if the server has hung up since the last question."""
        self.leave_parent()
        if self.connection is not None and not self.in_atomic_block and self._hung_up():
            with contextlib.suppress(psycopg.Error):
                self.connection.close()
            self.connection = None
        super().ensure_connection()

    def _hung_up(self) -> bool:
        """Whether the connection is known to be dead, without asking the server anything."""
        connection = self.connection
        if connection.closed or connection.broken:
            return True
        if not opening.readable(connection):
            return False
        # A farewell may follow upon notifications.
        return (not self._drained() or opening.readable(connection)) and not self.is_usable()

    def chunked_cursor(self) -> Any:
        """As Django's; who reads a large answer slowly is not taken for idle."""
        with self.cursor() as cursor:
            cursor.execute("SET idle_session_timeout = 0")
        return super().chunked_cursor()

    def _drained(self) -> bool:
        """Take notifications in; whether there were any."""
        pgconn, heard = self.connection.pgconn, False
        with contextlib.suppress(psycopg.Error):
            pgconn.consume_input()
            while note := pgconn.notifies():
                self._hear_of(note.be_pid)
                heard = True
        return heard

    # -- hearing of changes ---------------------------------------------------------------------

    def heard(self) -> int:
        """A number that changes when another connection has committed."""
        self.ensure_connection()
        connection = self.connection
        if self._listening is not connection:
            connection.add_notify_handler(self._hear)
            with self.wrap_database_errors:
                connection.execute(f"LISTEN {CHANNEL}")
            self._listening = connection
            self._version = next(_versions)  # whatever happened before, nobody told us
        self._drained()
        return self._version

    def listener(self) -> Any:
        alive = self._listening is self.connection is not None and not self.connection.closed
        return self._listening if alive else None

    def _hear(self, note: psycopg.Notify) -> None:
        self._hear_of(note.pid)

    def _hear_of(self, pid: int) -> None:
        if pid != self.connection.pgconn.backend_pid:
            self._version = next(_versions)

    def up_since(self) -> datetime | None:
        with self.cursor() as cursor:
            cursor.execute("SELECT pg_postmaster_start_time()")
            (began,) = cursor.fetchone()
        return began

    # -- taking turns ---------------------------------------------------------------------------

    def set_autocommit(
        self, autocommit: bool, force_begin_transaction_with_broken_autocommit: bool = False
    ) -> None:
        super().set_autocommit(autocommit, force_begin_transaction_with_broken_autocommit)
        if not autocommit and self.take_turns:
            try:
                self.take_turn()
            except BaseException:
                with contextlib.suppress(psycopg.Error, DatabaseError):
                    self.connection.rollback()
                    super().set_autocommit(True)
                raise

    def take_turn(self) -> None:
        """Wait until no other transaction is in progress, and keep others waiting until its end."""
        first = "" if opening.is_urgent() else f"pg_advisory_xact_lock({GATE}), "
        with self.wrap_database_errors:
            self.connection.execute(f"SELECT {first}pg_advisory_xact_lock({TURN})")

    @contextlib.contextmanager
    def out_of_turn(self) -> Iterator[None]:
        """Transactions begun inside wait for nobody, but for the rows they touch."""
        before, self.take_turns = self.take_turns, False
        try:
            yield
        finally:
            self.take_turns = before


def _schema(connection: Any) -> int | None:
    (there,) = connection.execute(_TABLE).fetchone()
    found = connection.execute(_VERSION).fetchone()[0] if there else None
    if not connection.autocommit:
        connection.rollback()
    return found if found is None else int(found)
