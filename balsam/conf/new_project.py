"""New projects: a directory with all that belongs into it but the tables."""

from __future__ import annotations

import datetime
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import balsam
from balsam import errors
from balsam.conf import filesystem, templates, undoable
from balsam.conf.postgres.url import FORM, looks_like_url, parse
from balsam.conf.project import MARKER, Project, is_project


@dataclass(frozen=True)
class Engine:
    """The database that a project is to have; ``url`` names a Postgres server of somebody else."""

    name: str = "sqlite"
    url: str = ""
    password_file: str = ""

    @property
    def own_server(self) -> bool:
        """Whether it is a Postgres server of the project's own."""
        return self.name == "postgres" and not self.url


SQLITE = Engine()


def engine_of(text: str, password_file: str = "") -> Engine:
    """``sqlite``, ``postgres``, or the address of a Postgres server. Raises InvalidValue."""
    if looks_like_url(text):
        parse(text)
        return Engine("postgres", text, password_file)
    if text not in ("sqlite", "postgres"):
        raise errors.InvalidValue(
            f"Unknown database '{text}'; use sqlite, postgres, or {FORM} for a server that is "
            "there already."
        )
    return Engine(text)


def create(path: Path, *, engine: Engine = SQLITE, name: str | None = None) -> Project:
    """Make ``path``, new or an ordinary directory, a project without database tables yet.

    Files already there are kept. Raises ProjectExists, LockingUnavailable, or another BalsamError
    that says why not; whatever this call made is gone then.
    """
    with creating(path, engine=engine, name=name) as project:
        return project


@contextmanager
def creating(path: Path, *, engine: Engine = SQLITE, name: str | None = None) -> Iterator[Project]:
    """``create`` for a ``with`` block: if the block fails, the new project is removed again."""
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


def _fill(project: Project, engine: Engine, name: str | None, undo: ExitStack) -> None:
    """Put everything but tables into the directory, the marker last."""
    _refuse_what_is_there(project)
    marker = _marker_text(_name_of(project.path) if name is None else name)
    journal = filesystem.journal_mode(project.path)
    undoable.make_directory(project.database_dir, undo, 0o700)
    project.database_dir.chmod(0o700)
    if engine == SQLITE:
        undoable.remove_later(project.database_dir, project.database_file.name + "*", undo)
        _need_locks(project)
    for directory in (project.data, project.log, project.journal_dir, project.qsubmit):
        undoable.make_directory(directory, undo)
    _make_settings(project, engine, journal, undo)
    if not project.job_template.exists():
        script = templates.text("job-template/local.sh")
        undoable.make_file(project.job_template, script, undo, 0o777)
    undoable.make_file(project.path / MARKER, marker, undo, 0o440)
    if engine.own_server:
        _make_server(project, undo)


def _need_locks(project: Project) -> None:
    if not filesystem.locking_works(project.database_dir):
        raise errors.LockingUnavailable(
            f"The file system of {project.path} ({filesystem.kind(project.path)}) does not lock "
            "files, so a database there would be corrupted; make the project on another one."
        )


def _make_server(project: Project, undo: ExitStack) -> None:
    """Make and start the project's own Postgres server; undone, there is nothing left of it."""
    from balsam.conf.postgres import cluster, external, server

    external.driver()
    undoable.remove_later(project.log, "postgres.log*", undo)
    undo.callback(cluster.remove, project)
    undo.callback(server.stop, project)
    cluster.make(project)
    server.start(project)


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


def _make_settings(project: Project, engine: Engine, journal: str, undo: ExitStack) -> None:
    """Write settings.yml, or make sure that the one already there fits."""
    file = project.settings_file
    if not file.exists():
        values = {
            "engine": engine.name,
            "journal_mode": journal,
            "url": engine.url,
            "password_file": engine.password_file,
        }
        text = templates.render(templates.text("settings.yml"), values, name="settings.yml")
        undoable.make_file(file, text, undo)
        return
    database = project.settings().database
    for setting, value in (("engine", engine.name), ("url", engine.url)):
        found = getattr(database, setting)
        if found != value:
            raise errors.SettingsError(
                f"{file}: database.{setting} is '{found}'; expected '{value}', as this project is "
                "to have."
            )
    if engine == SQLITE and journal == "delete" and database.journal_mode != journal:
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
