"""What both databases have in common when they are opened: whose they are, and which schema."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from balsam.conf import current
from balsam.conf.bootstrap import SCHEMA_VERSION
from balsam.conf.project import Project
from balsam.errors import BalsamError, DatabaseUnavailable, SchemaTooNew, SchemaTooOld

_any_schema = False
_urgent = False
_begun = False
#: How long this process waits for others, where its settings allow more.
_patience_seconds: float | None = None
#: Connections of the process that this one was forked from, never to be used or closed here.
_of_parents: list[Any] = []


def go_first(urgent: bool = True) -> None:
    """Let the transactions of this process, a launcher, go before those of its clients.

    It has other things to do while there is no database: a process that was connected once does not
    wait for a server any more.
    """
    global _urgent
    _urgent = urgent


def is_urgent() -> bool:
    """Whether :func:`go_first` was called."""
    return _urgent


def lose_patience(seconds: float | None) -> None:
    """Let connections opened from now on wait for others no longer than this; None: as is set."""
    global _patience_seconds
    _patience_seconds = seconds


def patience_seconds(project: Project) -> float:
    """How long to wait for others before it is an error."""
    setting = project.settings().database.busy_timeout_seconds
    return setting if _patience_seconds is None else min(setting, _patience_seconds)


def was_connected() -> None:
    """Note that the database was reached."""
    global _begun
    _begun = True


def may_wait() -> bool:
    """Whether this process has nothing better to do than to wait for a server."""
    return not (_urgent and _begun)


@contextlib.contextmanager
def any_schema() -> Iterator[None]:
    """Let connections opened inside see a database of any version (``init`` and ``--upgrade``)."""
    global _any_schema
    before, _any_schema = _any_schema, True
    try:
        yield
    finally:
        _any_schema = before


def is_any_schema() -> bool:
    """Whether :func:`any_schema` is in force."""
    return _any_schema


def check_schema(found: int | None, project: Project, where: object) -> None:
    """Refuse a database of schema ``found`` (None: it holds no record) that is not ours to read.

    Raises SchemaTooNew, SchemaTooOld, DatabaseUnavailable.
    """
    if found == SCHEMA_VERSION:
        return
    if found is None:
        raise DatabaseUnavailable(
            f"The database {where} is damaged: it holds no record of Balsam; "
            "put a backup in its place with 'balsam restore FILE'."
        )
    if found > SCHEMA_VERSION:
        raise SchemaTooNew(
            f"The project {project.path} was made by a newer Balsam (schema {found}, "
            f"this one knows {SCHEMA_VERSION}); use that version or a newer one."
        )
    raise SchemaTooOld(
        f"The project {project.path} was made by an older Balsam (schema {found}, this "
        f"one needs {SCHEMA_VERSION}); run 'balsam init --upgrade {project.path}'."
    )


def readable(connection: Any, seconds: float = 0.0) -> bool:
    """Wait until there is something to read from a connection; whether there is."""
    poll = select.poll()  # select takes no descriptor above 1023
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(max(0.0, seconds) * 1000))


class OfProject:
    """A Django connection that belongs to a project and goes when it is closed.

    The next one is made for the project of that moment, which may live in the other database.
    """

    #: As the settings name it.
    ENGINE = ""

    project: Project | None = None
    alias: str
    autocommit: bool
    connection: Any
    in_atomic_block: bool
    savepoint_ids: list[Any]
    atomic_blocks: list[Any]
    needs_rollback: bool
    _forgotten = False
    _pid = 0

    def found_project(self) -> Project:
        """The project at hand, which must live in this database.

        A connection that is refused here leaves its place to one that fits. Raises ProjectNotFound
        and DatabaseUnavailable.
        """
        try:
            project = current.project()
            if project.settings().database.engine != self.ENGINE:
                raise DatabaseUnavailable(
                    f"The project {project.path} was found only after its database was asked for; "
                    "ask again."
                )
        except BalsamError:
            self.forget()
            raise
        return project

    # -- what Postgres does in its own way ------------------------------------------------------

    def take_turn(self) -> None:
        """Wait until no other transaction is in progress, and keep others waiting until its end."""

    @contextlib.contextmanager
    def out_of_turn(self) -> Iterator[None]:
        """Transactions begun inside need not wait for others, where the database allows it."""
        yield

    def up_since(self) -> datetime | None:
        """When the server of the database was started; None where there is none."""
        return None

    def listener(self) -> Any:
        """What becomes readable when somebody else has committed; None if one has to look."""
        return None

    def close(self) -> None:
        """Close it, and be forgotten, but inside a transaction."""
        super().close()  # type: ignore[misc]
        if not self.in_atomic_block:
            self.forget()

    def connect(self) -> None:
        """Connect, for this process."""
        self._pid = os.getpid()
        super().connect()  # type: ignore[misc]

    def ensure_connection(self) -> None:
        """Connect, also in a fork, which shares the connection of its parent with it."""
        self.leave_parent()
        super().ensure_connection()  # type: ignore[misc]

    def leave_parent(self) -> None:
        """In a fork: leave the connection to the process that opened it."""
        if self.connection is not None and self._pid != os.getpid():
            _of_parents.append(self.connection)
            self.connection = None
            self.in_atomic_block = False
            self.savepoint_ids = []
            self.atomic_blocks = []
            self.needs_rollback = False

    def set_autocommit(
        self, autocommit: bool, force_begin_transaction_with_broken_autocommit: bool = False
    ) -> None:
        """As Django's; it also ends a transaction that broke down, whose place is taken by now."""
        if self._forgotten and autocommit and self.connection is None:
            self.autocommit = True
            return
        super().set_autocommit(  # type: ignore[misc]
            autocommit, force_begin_transaction_with_broken_autocommit
        )

    def forget(self) -> None:
        """Leave this thread's place for the next connection, if it is ours."""
        from django.db import connections

        mine: Any = getattr(connections._connections, self.alias, None)
        if mine is self:
            del connections[self.alias]
        self._forgotten = True
