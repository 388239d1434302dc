"""The project directory: finding it, and what lies where in it."""

from __future__ import annotations

import functools
import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from balsam import errors
from balsam.conf import settings as settings_files

#: The file that makes a directory a project. It is written last, so a project is complete.
MARKER = ".balsam-site"


@dataclass(frozen=True)
class Project:
    """A project directory; ``path`` is absolute and without symbolic links."""

    path: Path

    @property
    def name(self) -> str:
        """What people call it. Raises ProjectError if the marker can not be read."""
        return str(self._marker["name"])

    @property
    def id(self) -> str:
        """32 hex digits that no other project has. Raises ProjectError as ``name`` does."""
        return str(self._marker["id"])

    @property
    def data(self) -> Path:
        """The work directories of jobs."""
        return self.path / "data"

    @property
    def log(self) -> Path:
        """Log files of launchers and services."""
        return self.path / "log"

    @property
    def journal_dir(self) -> Path:
        """Outcome journals, one per launcher session."""
        return self.log / "outcomes"

    @property
    def qsubmit(self) -> Path:
        """Rendered batch scripts and their output."""
        return self.path / "qsubmit"

    @property
    def settings_file(self) -> Path:
        return self.path / "settings.yml"

    @property
    def job_template(self) -> Path:
        """The batch script to render, the user's own to edit."""
        return self.path / "job-template.sh"

    @property
    def database_dir(self) -> Path:
        """Readable for the owner only."""
        return self.path / "balsamdb"

    @property
    def database_file(self) -> Path:
        return self.database_dir / "balsam.sqlite3"

    @property
    def cluster_dir(self) -> Path:
        """The files of the project's own Postgres server."""
        return self.database_dir / "postgres"

    @property
    def server_file(self) -> Path:
        """Where that server is to be found, as long as it runs."""
        return self.database_dir / "server.json"

    @property
    def password_file(self) -> Path:
        """The generated password of its owner; readable for nobody else."""
        return self.database_dir / "password"

    def settings(self) -> settings_files.Settings:
        """The settings, read once per instance. Raises SettingsError."""
        return self._settings

    @functools.cached_property
    def _settings(self) -> settings_files.Settings:
        return settings_files.load(self.settings_file)

    @functools.cached_property
    def _marker(self) -> Mapping[str, Any]:
        marker = self.path / MARKER
        try:
            content = json.loads(marker.read_bytes())
            return {"name": content["name"], "id": content["id"]}
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise errors.ProjectError(
                f"The file {marker}, which names the project, can not be read "
                f"({type(error).__name__}: {error}); restore it from a backup."
            ) from error


def is_project(path: Path) -> bool:
    """Whether ``path`` is a project directory (False also where one may not look)."""
    return os.path.isfile(path / MARKER)


def find(start: Path | None = None, environ: Mapping[str, str] = os.environ) -> Project:
    """The project that ``BALSAM_DB_PATH`` or else ``BALSAM_SITE_PATH`` names, or the one around.

    Without those variables the project is ``start`` (default: the current directory) or the nearest
    directory above it that is one. Raises ProjectNotFound.
    """
    for variable in ("BALSAM_DB_PATH", "BALSAM_SITE_PATH"):
        if value := environ.get(variable):
            path = Path(os.path.realpath(value))
            if is_project(path):
                return Project(path)
            raise errors.ProjectNotFound(
                f"{variable} is {value}, which is not a Balsam project (or not readable for you); "
                f"unset it, or make the project with 'balsam init {shlex.quote(value)}'."
            )
    try:
        here = Path(os.path.realpath(start or os.getcwd()))
    except OSError as error:
        raise errors.ProjectNotFound(
            "The current directory no longer exists; change to a Balsam project, or make one with "
            "'balsam init PATH'."
        ) from error
    for path in (here, *here.parents):
        if is_project(path):
            return Project(path)
    raise errors.ProjectNotFound(
        f"There is no Balsam project in {here} or above it; change to one, or make one with "
        "'balsam init PATH'."
    )
