"""What the layers above may know of the database: transactions, and errors of one in trouble."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from django.db import DatabaseError, connection
from django.db.transaction import atomic

from balsam.conf.bootstrap.opening import go_first
from balsam.errors import DatabaseUnavailable

__all__ = ["TROUBLE", "atomic", "go_first", "meanwhile"]

#: The database is locked, full or away, or has refused what it was asked.
TROUBLE = (DatabaseError, DatabaseUnavailable)


def meanwhile(doze: Callable[[int], None]) -> AbstractContextManager[None]:
    """Have ``doze`` called, inside, with a descriptor that will tell of the database's answer.

    It returns when that is readable, or a moment later, and has not asked the database anything. A
    database that is no process of its own never calls it.
    """
    found: AbstractContextManager[None] = connection.meanwhile(doze)
    return found
