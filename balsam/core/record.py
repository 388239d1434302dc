"""What the layers above may know of the database: transactions, and errors of one in trouble."""

from __future__ import annotations

from django.db import DatabaseError
from django.db.transaction import atomic

from balsam.conf.bootstrap.opening import go_first
from balsam.errors import DatabaseUnavailable

__all__ = ["TROUBLE", "atomic", "go_first"]

#: The database is locked, full or away, or has refused what it was asked.
TROUBLE = (DatabaseError, DatabaseUnavailable)
