"""The database behind the record, as Django asks for it: SQLite's or Postgres' backend.

Django knows one engine for a process; which of the two it is depends on the project, so it is
chosen when the first question is asked.
"""

from __future__ import annotations

from typing import Any

from balsam.conf import current
from balsam.errors import ProjectNotFound, SettingsError

POSTGRES = "postgres"


def DatabaseWrapper(settings_dict: dict[str, Any], alias: str) -> Any:
    """A connection for the project at hand, not opened yet; Django wants it under this name.

    Without a project, or with settings that can not be read, it is one that says so when it is to
    be opened.
    """
    try:
        engine = current.project().settings().database.engine
    except (ProjectNotFound, SettingsError):
        engine = ""
    own = {**settings_dict, "OPTIONS": {}}
    if engine == POSTGRES:
        from balsam.conf.bootstrap import postgres

        return postgres.DatabaseWrapper(own, alias)
    from balsam.conf.bootstrap import sqlite

    return sqlite.DatabaseWrapper(own, alias)
