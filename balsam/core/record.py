"""What the layers above may know of the database: transactions, and errors of one in trouble."""

from __future__ import annotations

from django.db import DatabaseError
from django.db.transaction import atomic

from balsam.errors import DatabaseUnavailable

__all__ = ["TROUBLE", "atomic"]

#: The database is locked, full or away, or has refused what it was asked.
TROUBLE = (DatabaseError, DatabaseUnavailable)
