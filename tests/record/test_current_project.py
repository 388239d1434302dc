"""The project of a process, and databases that are not what they should be."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from balsam.conf import current
from balsam.conf.project import Project
from balsam.core import schema
from balsam.core.models import BalsamJob
from balsam.core.place import current_project
from balsam.errors import DatabaseUnavailable, ProjectNotFound
from balsam.launcher import dag
from tests import databases

NOBODY = 65534


@pytest.fixture
def two(template: Path, tmp_path: Path, home: Path, database: None) -> Iterator[tuple[Path, Path]]:
    """Two projects; neither is named by the environment."""
    for name in ("one", "two"):
        databases.copy(template, tmp_path / name)
    yield tmp_path / "one", tmp_path / "two"
    connection.close()
    for name in ("one", "two"):
        databases.drop(databases.name_of(tmp_path / name))


def column(project: Path, query: str) -> list[str]:
    database = sqlite3.connect(project / "balsamdb" / "balsam.sqlite3")
    try:
        return [row[0] for row in database.execute(query)]
    finally:
        database.close()


def names_in(project: Path) -> list[str]:
    connection.close()
    with current.using(Project(project)):
        names = list(BalsamJob.objects.order_by("id").values_list("name", flat=True))
    connection.close()
    return names


def tables(project: Path) -> list[str]:
    return column(project, "SELECT name FROM sqlite_master")


def in_a_thread(name: str) -> None:
    def add() -> None:
        try:
            BalsamJob.objects.create(name=name)
        finally:
            connection.close()

    thread = threading.Thread(target=add)
    thread.start()
    thread.join(timeout=60)
    assert not thread.is_alive()


def test_a_process_stays_in_its_project(
    two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    monkeypatch.chdir(one)
    BalsamJob.objects.create(name="first")
    monkeypatch.chdir(other)
    in_a_thread("second")
    connection.close()
    BalsamJob.objects.create(name="third")
    assert dag.get_active_database(verbose=False) == str(one)
    connection.close()
    assert current_project().path == one
    assert names_in(one) == ["first", "second", "third"] and names_in(other) == []


def in_a_fork(name: str) -> None:
    pid = os.fork()
    if not pid:  # pragma: no cover - the other process
        code = 1
        try:
            BalsamJob.objects.create(name=name)
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_project_named_by_the_environment_is_found_once_too(
    two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    monkeypatch.chdir(one.parent)
    monkeypatch.setenv("BALSAM_DB_PATH", "one")
    BalsamJob.objects.create(name="first")
    monkeypatch.chdir(other)
    in_a_thread("second")
    monkeypatch.setenv("BALSAM_DB_PATH", str(other))
    in_a_thread("third")
    in_a_fork("fourth")
    connection.close()
    BalsamJob.objects.create(name="fifth")
    assert names_in(one) == ["first", "second", "third", "fourth", "fifth"]
    assert names_in(other) == []
    current.forget()
    BalsamJob.objects.create(name="sixth")
    assert names_in(other) == ["sixth"]


def test_no_project_is_not_remembered(
    two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    with pytest.raises(ProjectNotFound):
        BalsamJob.objects.count()
    monkeypatch.chdir(two[0])
    assert BalsamJob.objects.count() == 0


def test_a_new_project_is_made_beside_the_one_in_use(project: Project, tmp_path: Path) -> None:
    BalsamJob.objects.create(name="mine")
    before = dict(os.environ)
    made = schema.create_project(tmp_path / "new", databases.new())
    assert dict(os.environ) == before
    assert names_in(made.path) == [] and BalsamJob.objects.get().name == "mine"
    with current.using(made):
        assert current.project() == made
    assert current.project() == project
    databases.drop(databases.name_of(made.path))


@pytest.mark.sqlite
@pytest.mark.parametrize("content", [b"", None], ids=["empty", "tables of somebody else"])
def test_a_database_without_jobs_is_damaged_not_old(project: Project, content: Any) -> None:
    project.database_file.unlink()
    if content is None:
        database = sqlite3.connect(project.database_file)
        database.execute("CREATE TABLE other (id)")
        database.close()
    else:
        project.database_file.write_bytes(content)
    for ask in (BalsamJob.objects.count, lambda: schema.upgrade_project(project)):
        with pytest.raises(DatabaseUnavailable, match="damaged.*restore"):
            ask()
    assert "balsam_job" not in tables(project.path)


@pytest.mark.sqlite
@pytest.mark.parametrize("start", [0, 100], ids=["header", "tables"])
def test_a_damaged_database_says_what_helps(project: Project, start: int) -> None:
    connection.close()
    with open(project.database_file, "r+b") as file:
        file.seek(start)
        file.write(b"x" * 3000)
    with pytest.raises(DatabaseUnavailable, match="fsck.*restore FILE") as caught:
        BalsamJob.objects.count()
    assert "readable" not in str(caught.value)


@pytest.mark.sqlite
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_unreadable_project_says_so(project: Project) -> None:
    """In a child process, which gives its rights up for good."""
    for path in (project.path, *project.path.parents):
        if path.stat().st_uid == os.geteuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    project.database_dir.chmod(0o700)
    pid = os.fork()
    if not pid:  # pragma: no cover - the other process
        code = 1
        try:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            try:
                BalsamJob.objects.count()
            except DatabaseUnavailable as error:
                code = 0 if "somebody else" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_models_work_inside_an_event_loop(project: Project, script: Any) -> None:
    """As in a notebook, whose cells run in one."""
    text = """
import asyncio
from balsam.core.models import BalsamJob

async def cell():
    BalsamJob.objects.create(name="from a notebook")
    return [job.name for job in BalsamJob.objects.all()]

print(asyncio.run(cell()))
"""
    assert script(text).strip() == "['from a notebook']"
