"""Where the record is: the project behind the open connection, or the one found here."""

from __future__ import annotations

from pathlib import Path

from django.db import connection

from balsam.conf import project as projects


def current_project() -> projects.Project:
    """The project whose database is open, else the one found from here.

    Raises ProjectNotFound.
    """
    opened = getattr(connection, "project", None) if connection.connection is not None else None
    return opened or projects.find()


def data_directory() -> Path:
    """The project's ``data`` directory."""
    return current_project().data
