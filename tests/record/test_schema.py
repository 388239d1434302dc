"""SQLite only: tables of other versions are refused in words, or upgraded after a backup."""

from __future__ import annotations

import shutil
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder

from balsam.conf import current
from balsam.conf.bootstrap import SCHEMA_VERSION
from balsam.conf.bootstrap.opening import any_schema
from balsam.core import history, schema
from balsam.core.models import ApplicationDefinition, BalsamJob, EventLog, Session
from balsam.errors import DatabaseUnavailable, ProjectExists, SchemaTooNew, SchemaTooOld
from tests import databases


def pretend(project: Any, number: int) -> None:
    connection.close()
    if databases.POSTGRES:
        with any_schema():
            if number > SCHEMA_VERSION:
                MigrationRecorder(connection).record_applied("core", f"{number:04}_newer")
            else:
                executor = MigrationExecutor(connection)
                names = [name for app, name in executor.loader.graph.nodes if app == "core"]
                [name] = [name for name in names if name.startswith(f"{number:04}_")]
                executor.migrate([("core", name)])
        connection.close()
        return
    database = sqlite3.connect(project.database_file)
    database.execute(f"PRAGMA user_version = {number}")
    database.commit()
    database.close()


def test_a_new_project_carries_the_schema_of_this_version(project: Any) -> None:
    assert schema.version(project) == SCHEMA_VERSION
    assert schema.upgrade_project(project) is None
    assert list(project.database_dir.glob("backup*")) == []
    modes = {project.database_dir: 0o700}
    if not databases.POSTGRES:
        modes[project.database_file] = 0o600
    for path, mode in modes.items():
        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_migrations_are_committed(project: Any) -> None:
    call_command("makemigrations", "core", check=True, dry_run=True, verbosity=0)


def test_a_newer_schema_is_refused(project: Any) -> None:
    pretend(project, SCHEMA_VERSION + 1)
    with pytest.raises(SchemaTooNew, match="newer Balsam"):
        BalsamJob.objects.count()
    with pytest.raises(SchemaTooNew, match="newer Balsam"):
        schema.upgrade_project(project)
    assert schema.version(project) == SCHEMA_VERSION + 1


def test_an_older_schema_is_refused_until_it_is_upgraded_after_a_backup(project: Any) -> None:
    BalsamJob.objects.create(name="kept")
    pretend(project, SCHEMA_VERSION - 1)
    with pytest.raises(SchemaTooOld, match=f"balsam init --upgrade {project.path}"):
        BalsamJob.objects.count()
    backup = schema.upgrade_project(project)
    assert backup is not None and backup.parent == project.database_dir
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert schema.version(project) == SCHEMA_VERSION
    assert BalsamJob.objects.get().name == "kept"
    copy = sqlite3.connect(backup)
    assert copy.execute("SELECT name FROM balsam_job").fetchall() == [("kept",)]
    copy.close()


def test_a_project_of_schema_1_is_upgraded_with_all_it_holds(project: Any) -> None:
    BalsamJob.objects.create(name="kept")
    Session.objects.create(started=history.now(), heartbeat=history.now(), offer={"nodes": 1})
    with any_schema():
        MigrationExecutor(connection).migrate([("core", "0001_initial")])
    pretend(project, 1)
    with pytest.raises(SchemaTooOld, match=f"balsam init --upgrade {project.path}"):
        Session.objects.count()
    backup = schema.upgrade_project(project)
    assert backup is not None and backup.name.startswith("backup-schema1-")
    assert schema.version(project) == SCHEMA_VERSION
    assert Session.objects.get().offer == {}
    assert BalsamJob.objects.get().name == "kept"
    copy = sqlite3.connect(backup)
    columns = [row[1] for row in copy.execute("PRAGMA table_info(balsam_session)")]
    copy.close()
    assert "heartbeat" in columns and "offer" not in columns


def test_a_project_is_made_in_words_or_not_at_all(
    home: Path, database: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = schema.create_project(tmp_path / "p", name="mine")
    monkeypatch.setenv("BALSAM_DB_PATH", str(made.path))
    assert BalsamJob.objects.count() == EventLog.objects.count() == 0
    assert ApplicationDefinition.objects.count() == 0
    with pytest.raises(ProjectExists):
        schema.create_project(tmp_path / "p")
    assert sorted(path.name for path in (home / ".balsam").iterdir()) == [
        "projects.json", "projects.lock",
    ]  # fmt: skip


@pytest.mark.sqlite
def test_a_project_without_its_database_says_so(project: Any) -> None:
    connection.close()
    project.database_file.unlink()
    with pytest.raises(DatabaseUnavailable, match="backup"):
        BalsamJob.objects.count()
    assert not project.database_file.exists()
    with pytest.raises(DatabaseUnavailable):
        schema.version(project)


@pytest.mark.sqlite
def test_a_file_that_is_no_database_says_so(project: Any) -> None:
    connection.close()
    for path in project.database_dir.iterdir():
        path.unlink()
    project.database_file.write_text("not a database" * 1000)
    with pytest.raises(DatabaseUnavailable):
        BalsamJob.objects.count()
    with pytest.raises(DatabaseUnavailable):
        schema.version(project)


def test_a_project_can_be_moved(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    job = BalsamJob.objects.create(name="a")
    connection.close()
    moved = project.path.with_name("moved")
    shutil.move(project.path, moved)
    current.forget()
    monkeypatch.setenv("BALSAM_DB_PATH", str(moved))
    assert BalsamJob.objects.get() == job
    assert BalsamJob.objects.get().working_directory.startswith(str(moved))
