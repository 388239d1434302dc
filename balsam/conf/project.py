"""The project directory: finding it, making it, and what lies where in it."""

from __future__ import annotations

import datetime
import functools
import json
import os
import shlex
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import balsam
from balsam import errors
from balsam.conf import filesystem, templates, undoable
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


def create(path: Path, *, engine: str = "sqlite", name: str | None = None) -> Project:
    """Make ``path``, new or an ordinary directory, a project without database tables yet.

    Files already there are kept. Raises ProjectExists, LockingUnavailable, or another BalsamError
    that says why not; whatever this call made is gone then.
    """
    with creating(path, engine=engine, name=name) as project:
        return project


@contextmanager
def creating(path: Path, *, engine: str = "sqlite", name: str | None = None) -> Iterator[Project]:
    """``create`` for a ``with`` block: if the block fails, the new project is removed again."""
    if engine == "postgres":
        raise errors.BalsamError(
            "Postgres projects come in a later release; use --db sqlite until then."
        )
    if engine != "sqlite":
        raise errors.InvalidValue(f"Unknown database '{engine}'; use --db sqlite.")
    with ExitStack() as undo:
        try:
            project = Project(Path(os.path.realpath(path)))
            undoable.make_directory(project.path, undo)
            with undoable.only_one(project.path):
                _fill(project, engine, name, undo)
        except errors.BalsamError:
            raise
        except (OSError, ValueError) as error:
            where = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
            reason = (isinstance(error, OSError) and error.strerror) or error
            raise errors.ProjectError(
                f"No project can be made in {path}: {reason}{where}; choose another directory, or "
                "mend that first."
            ) from error
        yield project
        undo.pop_all()


def _fill(project: Project, engine: str, name: str | None, undo: ExitStack) -> None:
    """Put everything but tables into the directory, the marker last."""
    _refuse_what_is_there(project)
    marker = _marker_text(_name_of(project.path) if name is None else name)
    journal = filesystem.journal_mode(project.path)
    undoable.make_directory(project.database_dir, undo, 0o700)
    project.database_dir.chmod(0o700)
    undoable.remove_later(project.database_dir, project.database_file.name + "*", undo)
    if not filesystem.locking_works(project.database_dir):
        raise errors.LockingUnavailable(
            f"The file system of {project.path} ({filesystem.kind(project.path)}) does not lock "
            "files, so a database there would be corrupted; make the project on another one."
        )
    for directory in (project.data, project.log, project.journal_dir, project.qsubmit):
        undoable.make_directory(directory, undo)
    _make_settings(project, engine, journal, undo)
    if not project.job_template.exists():
        script = templates.text("job-template/local.sh")
        undoable.make_file(project.job_template, script, undo, 0o777)
    undoable.make_file(project.path / MARKER, marker, undo, 0o440)


def _refuse_what_is_there(project: Project) -> None:
    if is_project(project.path):
        raise errors.ProjectExists(
            f"{project.path} is a Balsam project already; work in it as it is, or choose another "
            "directory for the new one."
        )
    if project.database_dir.is_dir() and any(project.database_dir.iterdir()):
        raise errors.ProjectExists(
            f"{project.database_dir} holds a database already, perhaps an older Balsam's; choose "
            "another directory, or move it away."
        )


def _make_settings(project: Project, engine: str, journal: str, undo: ExitStack) -> None:
    """Write settings.yml, or make sure that the one already there fits."""
    file = project.settings_file
    if not file.exists():
        values = {"engine": engine, "journal_mode": journal}
        text = templates.render(templates.text("settings.yml"), values, name="settings.yml")
        undoable.make_file(file, text, undo)
        return
    database = project.settings().database
    if database.engine != engine:
        raise errors.SettingsError(
            f"{file}: database.engine is {database.engine}; expected {engine}, as this project is "
            "to have."
        )
    if journal == "delete" and database.journal_mode != journal:
        raise errors.SettingsError(
            f"{file}: database.journal_mode is {database.journal_mode}; expected delete, because "
            f"{project.path} may be shared between hosts ({filesystem.kind(project.path)})."
        )


def _name_of(path: Path) -> str:
    return "".join(c if c.isprintable() else "_" for c in path.name).strip() or "balsam"


def _marker_text(name: str) -> str:
    """Raises InvalidValue for a name that can not be shown in one line."""
    if not name.strip() or not name.isprintable():
        raise errors.InvalidValue(
            f"A project can not be called {name!r}; give it a name of printable characters."
        )
    content = {
        "id": uuid.uuid4().hex,
        "name": name,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "balsam": balsam.__version__,
    }
    return json.dumps(content, indent=1) + "\n"
