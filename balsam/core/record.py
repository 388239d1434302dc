"""What the layers above may know of the database: transactions, and errors of one in trouble."""

from __future__ import annotations

from functools import partial

from django.db import DatabaseError, connection
from django.db.transaction import atomic

from balsam.conf.bootstrap import opening
from balsam.conf.bootstrap.opening import go_first
from balsam.errors import DatabaseUnavailable

__all__ = ["TROUBLE", "atomic", "go_first", "joined", "lose_patience"]

#: The database is locked, full or away, or has refused what it was asked.
TROUBLE = (DatabaseError, DatabaseUnavailable)

#: A transaction, or a part of the one around it, all of which an error in it then undoes. The
#: savepoint that ``atomic()`` would make there keeps each page of SQLite twice while it lasts (70
#: MB for 2500 jobs), and costs two more questions to a server.
joined = partial(atomic, savepoint=False)


def lose_patience(seconds: float | None) -> None:
    """Wait no longer than this for others who write, from now on; None: as the settings say."""
    opening.lose_patience(seconds)
    connection.close()
