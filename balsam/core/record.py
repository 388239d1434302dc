"""What the layers above may know of the database: transactions, and errors of one in trouble."""

from __future__ import annotations

from django.db import DatabaseError
from django.db.transaction import atomic

__all__ = ["DatabaseError", "atomic"]
