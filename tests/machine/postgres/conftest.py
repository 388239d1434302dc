"""Real servers for the tests of this folder, none of which is left running."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from balsam.conf.postgres import address, binaries, cluster, life, server
from balsam.conf.project import MARKER, Project
from balsam.errors import ServerError

ROOT = Path(__file__).parents[3]
PATIENCE_SECONDS = 60.0
#: For programs that import Balsam.
PYTHONPATH = ":".join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))

Make = Callable[..., Project]


def until(condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for a condition."""
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            pytest.fail(f"not in {seconds:g} s: {what}")
        time.sleep(0.01)


def ask(project: Project, statement: str, **changed: Any) -> list[Any]:
    """What a statement gives, over a connection of its own."""
    import psycopg

    words = {**address.parameters(project), **changed}
    with psycopg.connect(**words, autocommit=True) as connection:
        cursor = connection.execute(statement)  # type: ignore[call-overload]
        return list(cursor.fetchall()) if cursor.description else []


def pid_of(project: Project) -> int:
    """The first process of the server that runs here."""
    found = server.look(project)
    assert found.where is life.Where.HERE
    return found.pid


def bare(path: Path, settings: str = "") -> Project:
    """A project without a database, as far as a server needs one."""
    for directory in (path / "balsamdb", path / "log"):
        directory.mkdir(parents=True, mode=0o700)
    (path / MARKER).write_text(json.dumps({"id": uuid.uuid4().hex, "name": path.name}))
    (path / "settings.yml").write_text(f"database:\n  engine: postgres\n{settings}")
    return Project(path)


@pytest.fixture(scope="session")
def short_dir() -> Iterator[Path]:
    """A directory with a short name that other users can look into, unlike pytest's."""
    path = Path(tempfile.mkdtemp(prefix="bt-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def pristine(short_dir: Path) -> Path:
    """The files of a server, to be copied; making them takes a second."""
    project = bare(short_dir / "pristine")
    try:
        cluster.make(project)
    except ServerError as error:
        if "There is no Postgres" in str(error):
            pytest.skip("Postgres is not installed")
        raise
    return project.path


@pytest.fixture
def make(pristine: Path, short_dir: Path) -> Iterator[Make]:
    """Make projects with a server that does not run yet; it is stopped in the end."""
    made: list[Path] = []

    def one(settings: str = "", path: Path | None = None) -> Project:
        path = path or short_dir / uuid.uuid4().hex[:8]
        shutil.copytree(pristine, path)
        (path / "settings.yml").write_text(f"database:\n  engine: postgres\n{settings}")
        made.append(path)
        return Project(path)

    yield one
    for path in made:
        finish(Project(path))


@pytest.fixture
def project(make: Make) -> Project:
    """One of them."""
    return make()


def finish(project: Project) -> None:
    """Stop a server, whatever a test did to it, and remove everything."""
    if project.cluster_dir.is_dir():
        life.kill_rest(project)
    shutil.rmtree(project.path, ignore_errors=True)


def programs_of_wheel() -> list[Path]:
    """The folders of programs that the extra ``postgres`` brings."""
    return list(binaries._of_wheel())


class Other:
    """Another user of this machine, in whose name programs are run."""

    def __init__(self) -> None:
        if os.geteuid() != 0:
            pytest.skip("root may become another user; whoever runs this may not")
        self.account = pwd.getpwnam("nobody")
        self.prefix = (
            "setpriv",
            f"--reuid={self.account.pw_uid}",
            f"--regid={self.account.pw_gid}",
            "--clear-groups",
        )

    def run(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """A program run by that user."""
        return subprocess.run(
            [*self.prefix, *words],
            cwd="/",
            env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )

    def python(self) -> tuple[str, str]:
        """A Python that this user can run, and the PYTHONPATH that has Balsam in it."""
        packages = next(path for path in sys.path if path.endswith("site-packages"))
        path = f"{PYTHONPATH}:{packages}"
        system = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
        for program in (sys.executable, system):
            # By env, so that it is started as it starts itself, without rights left from root.
            words = ("env", program, "-c", "import django, click, psutil, psycopg, yaml, balsam")
            if os.access(program, os.X_OK) and self.run(*words, PYTHONPATH=path).returncode == 0:
                return program, path
        pytest.skip("root may have a Python that no other user can run")


@pytest.fixture
def other() -> Other:
    """Another user."""
    return Other()
