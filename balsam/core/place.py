"""Where the record is: the project behind the open connection, or that of this process."""

from __future__ import annotations

import functools
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


def data_path() -> str:
    """Its path as text, for those who ask for every job."""
    return _as_text(current_project().path)


@functools.lru_cache(maxsize=16)
def _as_text(project: Path) -> str:
    return str(Project(project).data)
