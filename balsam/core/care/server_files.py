"""A server of the project's own for a record that is about to come, or that has gone elsewhere."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from balsam.conf.postgres import cluster, server
from balsam.conf.postgres.life import Where
from balsam.conf.project import Project
from balsam.conf.settings import Database
from balsam.core.care.restore import kept_name
from balsam.errors import DatabaseUnavailable

#: Lies in balsamdb as long as a record is being copied to a new server: that is nobody's yet.
UNFINISHED = "postgres.unfinished"


def make_server(project: Project, undo: ExitStack) -> None:
    """Make and start a new server; ``undo`` removes it again.

    What a copying that was killed has left in its place is removed; anything else is put aside.
    """
    marker = project.database_dir / UNFINISHED
    remove_unfinished(project)
    if os.path.lexists(project.cluster_dir) or os.path.lexists(project.password_file):
        set_aside(project)
    marker.touch(0o600)
    undo.callback(marker.unlink, missing_ok=True)
    undo.callback(cluster.remove, project)
    cluster.make(project)
    undo.callback(server.stop, project)
    server.start(project)


def is_unfinished(project: Project) -> bool:
    """Whether the server there is what a copying has left that did not come to its end."""
    return (project.database_dir / UNFINISHED).exists()


def remove_unfinished(project: Project) -> None:
    """Stop and remove the server that a copying has left that did not come to its end."""
    if is_unfinished(project):
        with _stopped(project):
            cluster.remove(project)
            finished(project)


def with_database(project: Project, database: Database) -> Project:
    """The project as if its settings named another database."""
    other = Project(project.path)
    other.__dict__["_settings"] = dataclasses.replace(project.settings(), database=database)
    return other


@contextlib.contextmanager
def _stopped(project: Project) -> Iterator[None]:
    """A block in which the server in the project, whatever that works with, is not started."""
    if not project.cluster_dir.is_dir():
        yield
        return
    own = dataclasses.replace(project.settings().database, engine="postgres", url="")
    with server.stopped(with_database(project, own)):
        yield


def finished(project: Project) -> None:
    """The server belongs to the project from now on."""
    (project.database_dir / UNFINISHED).unlink(missing_ok=True)


def need_here(project: Project) -> None:
    """Raises DatabaseUnavailable if the project's server runs on another host."""
    found = server.look(project)
    if found.where is Where.ELSEWHERE and found.record is not None:
        raise DatabaseUnavailable(
            f"The server of {project.path} runs on {found.record.host}; type this command there."
        )


def set_aside(project: Project) -> Path:
    """Stop the server, and put its files where nobody starts it; where that is."""
    with _stopped(project):
        place = kept_name(project.database_file, time.time()).with_suffix(".postgres")
        place.mkdir(0o700)
        for path in (project.cluster_dir, project.password_file):
            if os.path.lexists(path):
                os.rename(path, place / path.name)
    return place
