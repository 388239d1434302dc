"""Tests of the record run against a real project with a real database."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.db import connection

import balsam
from balsam.conf import current
from balsam.conf import project as projects
from balsam.conf.project import Project
from balsam.core import schema
from balsam.core.models import ApplicationDefinition, BalsamJob
from tests import databases

ROOT = Path(balsam.__file__).parent.parent
SECONDS = 60
#: What finds a project, or says that this process is a job, in the environment of a developer.
VARIABLES = (
    "BALSAM_DB_PATH",
    "BALSAM_SITE_PATH",
    "BALSAM_JOB_ID",
    "BALSAM_JOB_TIMEOUT",
    "BALSAM_JOB_ERROR",
    "BALSAM_LAUNCHER_NODES",
)
Script = Callable[..., str]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: object) -> Path:
    """A project to copy: the migrations take longer than most tests."""
    home = tmp_path_factory.mktemp("home-of-template")
    with pytest.MonkeyPatch.context() as patch, django_db_blocker.unblock():  # type: ignore[attr-defined]
        patch.setenv("HOME", str(home))
        connection.close()
        where = tmp_path_factory.mktemp("template") / "project"
        path = schema.create_project(where, databases.new()).path
        connection.close()
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty HOME, and no project or job in the environment."""
    path = tmp_path / "home"
    path.mkdir()
    monkeypatch.setenv("HOME", str(path))
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return path


@pytest.fixture
def database(django_db_blocker: object) -> Iterator[None]:
    """Leave to open databases, with none open before or after."""
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        connection.close()
        current.forget()
        yield
        connection.close()
        current.forget()


@pytest.fixture
def project(
    template: Path, tmp_path: Path, home: Path, database: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Project]:
    """A new project, in use."""
    path = tmp_path / "project"
    databases.copy(template, path)
    marker = path / projects.MARKER
    text = marker.read_text().replace(Project(template).id, uuid.uuid4().hex)
    marker.chmod(stat.S_IRUSR | stat.S_IWUSR)
    marker.write_text(text)
    monkeypatch.setenv("BALSAM_DB_PATH", str(path))
    used = databases.name_of(path)
    yield Project(path)
    connection.close()
    databases.drop(used)


@pytest.fixture
def app(project: Project) -> ApplicationDefinition:
    """An application without hooks, named ``echo``."""
    return ApplicationDefinition.register(name="echo", executable="/bin/echo")


@pytest.fixture
def put(project: Project) -> Callable[..., None]:
    """Set columns of a job behind the back of the record: ``put(job, state=...)``."""

    def put(job: BalsamJob, **columns: object) -> None:
        BalsamJob._base_manager.filter(id=job.id).update(**columns)
        job.refresh_from_db()

    return put


@pytest.fixture
def script(home: Path, tmp_path: Path) -> Script:
    """Run Python text in a process of its own, with more environment; what it printed."""

    def run(text: str, **environ: object) -> str:
        given = {name: str(value) for name, value in environ.items()}
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", text],
            env={**os.environ, "PYTHONPATH": str(ROOT), **given},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
