"""Where the record is: the project behind the open connection, or that of this process."""

from __future__ import annotations

from pathlib import Path

from django.db import connection

from balsam.conf import current
from balsam.conf.project import Project


def current_project() -> Project:
    """The project whose database is open, else the one that this process works in.

    Raises ProjectNotFound.
    """
    opened = getattr(connection, "project", None) if connection.connection is not None else None
    return opened or current.project()


def data_directory() -> Path:
    """The project's ``data`` directory."""
    return current_project().data
