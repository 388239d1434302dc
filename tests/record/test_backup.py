"""Copies are whole and checked, or not there; what is put back takes the place of all there was."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.db import connection

from balsam.conf.bootstrap import SCHEMA_VERSION
from balsam.conf.project import Project
from balsam.core.care import backup, database_file, fsck
from balsam.core.care.restore import restore
from balsam.core.models import BalsamJob
from balsam.errors import DatabaseUnavailable, InvalidValue, SchemaTooNew

pytestmark = pytest.mark.sqlite


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "copies").mkdir()
    return tmp_path / "copies" / "copy.sqlite3"


def names() -> list[str]:
    connection.close()
    return list(BalsamJob.objects.order_by("id").values_list("name", flat=True))


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_copy_is_one_file_that_says_whose_it_is(project: Project, target: Path) -> None:
    BalsamJob.objects.create(name="a")
    made = backup.back_up(project, target)
    assert files(target.parent) == ["copy.sqlite3"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert (made.jobs, made.schema, made.project) == (1, SCHEMA_VERSION, project.id)
    assert backup.inspect(target) == made
    assert made.belongs_to(project)
    assert str(project.path) in made.origin
    assert fsck.check(target, untouched=True).sound
    assert not database_file.header_says_wal(target)
    assert files(target.parent) == ["copy.sqlite3"]


def test_what_is_not_committed_to_the_file_yet_is_in_the_copy(
    project: Project, target: Path
) -> None:
    """It is in the write-ahead log only, while somebody has the database open."""
    BalsamJob.objects.create(name="in the log")
    assert project.database_file.with_name("balsam.sqlite3-wal").stat().st_size
    assert backup.back_up(project, target).jobs == 1


def test_a_copy_replaces_nothing_unless_told(project: Project, target: Path) -> None:
    target.write_text("precious")
    with pytest.raises(InvalidValue, match="--force"):
        backup.back_up(project, target)
    assert target.read_text() == "precious"
    backup.back_up(project, target, replace=True)
    assert backup.inspect(target).jobs == 0
    for wrong in (target.parent, target.parent / "no" / "file"):
        with pytest.raises(InvalidValue):
            backup.back_up(project, wrong, replace=True)
    assert files(target.parent) == ["copy.sqlite3"]


@pytest.mark.parametrize("tail", ["", "-wal"])
def test_a_copy_never_replaces_the_database_itself(project: Project, tail: str) -> None:
    BalsamJob.objects.create(name="a")
    own = project.database_file.with_name(project.database_file.name + tail)
    with pytest.raises(InvalidValue, match="the database itself"):
        backup.back_up(project, own, replace=True)
    assert names() == ["a"]


def test_a_locked_database_is_waited_for_so_long_only(project: Project, target: Path) -> None:
    BalsamJob.objects.create(name="a")
    connection.close()
    holder = sqlite3.connect(project.database_file, isolation_level=None)
    holder.execute("PRAGMA journal_mode = DELETE")
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(DatabaseUnavailable, match="locked"):
        backup.back_up(project, target, timeout_seconds=0.1)
    holder.close()
    assert files(target.parent) == []


def test_a_damaged_database_is_not_copied(project: Project, target: Path) -> None:
    BalsamJob.objects.bulk_create([{"name": f"n{number}" * 50} for number in range(2000)])
    connection.close()
    with project.database_file.open("r+b") as file:
        file.seek(project.database_file.stat().st_size // 2 // 4096 * 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(DatabaseUnavailable, match="damaged"):
        backup.back_up(project, target)
    assert files(target.parent) == []


def test_what_is_restored_is_what_was_copied(project: Project, target: Path) -> None:
    BalsamJob.objects.create(name="before")
    backup.back_up(project, target)
    BalsamJob.objects.create(name="after")
    connection.close()
    kept = restore(project, target)
    assert names() == ["before"]
    assert kept is not None and kept.parent == project.database_dir
    assert backup.inspect(kept).jobs == 2
    assert stat.S_IMODE(project.database_file.stat().st_mode) == 0o600
    assert fsck.check(project.database_file).sound
    with database_file.reading(project.database_file) as database:
        tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master")}
    assert "balsam_backup" not in tables
    connection.close()
    assert restore(project, kept) is not None
    assert names() == ["before", "after"]


def test_a_log_of_the_old_database_is_not_replayed_into_the_new(
    project: Project, target: Path, tmp_path: Path
) -> None:
    """As a crash leaves it: the last commits are in the log beside the file only."""
    backup.back_up(project, target)
    BalsamJob.objects.create(name="only in the log")
    crashed = {path: path.read_bytes() for path in project.database_dir.iterdir()}
    connection.close()
    for path, content in crashed.items():
        path.write_bytes(content)
    assert any(path.name.endswith("-wal") and content for path, content in crashed.items())
    kept = restore(project, target)
    assert names() == []
    assert kept is not None and backup.inspect(kept).jobs == 1
    assert fsck.check(project.database_file).sound


def test_a_damaged_database_is_kept_as_it_is(project: Project, target: Path) -> None:
    BalsamJob.objects.create(name="a")
    backup.back_up(project, target)
    connection.close()
    project.database_file.write_bytes(b"not a database" * 1000)
    log = project.database_file.with_name("balsam.sqlite3-wal")
    log.write_bytes(b"its log")
    kept = restore(project, target)
    assert names() == ["a"]
    assert kept is not None and kept.read_bytes() == b"not a database" * 1000
    assert kept.with_name(kept.name + "-wal").read_bytes() == b"its log"


@pytest.mark.parametrize("directory", [True, False])
def test_a_database_that_is_gone(project: Project, target: Path, directory: bool) -> None:
    BalsamJob.objects.create(name="a")
    backup.back_up(project, target)
    connection.close()
    for path in project.database_dir.iterdir():
        path.unlink()
    if directory:
        project.database_dir.rmdir()
    assert restore(project, target) is None
    assert names() == ["a"]
    assert stat.S_IMODE(project.database_dir.stat().st_mode) == 0o700


def test_a_database_in_use_is_not_exchanged(project: Project, target: Path) -> None:
    BalsamJob.objects.create(name="a")
    backup.back_up(project, target)
    BalsamJob.objects.create(name="b")  # and the connection stays open
    before = files(project.database_dir)
    with pytest.raises(DatabaseUnavailable, match="in use"):
        restore(project, target)
    assert files(project.database_dir) == before
    assert BalsamJob.objects.count() == 2
    kept = restore(project, target, in_use=True)
    # Who had the old file open goes over to the new one with the next transaction.
    assert BalsamJob.objects.create(name="late").pk == 3 and kept is not None
    connection.close()
    assert backup.inspect(kept).jobs == 2
    assert names() == ["a", "late"]
    assert fsck.check(project.database_file).sound


def test_who_waits_for_the_lock_meanwhile_writes_to_the_new_file(
    project: Project, target: Path, script: Callable[..., str]
) -> None:
    BalsamJob.objects.create(name="a")
    backup.back_up(project, target)
    connection.close()
    with contextlib.closing(sqlite3.connect(project.database_file)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(
                script,
                "from balsam.launcher import dag\n"
                "dag.add_job(name='waited', direct_command='true')",
                BALSAM_DB_PATH=project.path,
            )
            log = os.fsencode(f"{project.database_file}-shm")
            wait_until(lambda: any(log in maps for maps in maps_of_others()))
            shutil.copyfile(target, target.with_name("other"))
            target.with_name("other").replace(project.database_file)
            for side in database_file.sides(project.database_file):
                side.unlink(missing_ok=True)
            holder.execute("ROLLBACK")
            waiting.result()
    assert names() == ["a", "waited"]


def maps_of_others() -> Iterator[bytes]:
    """What other processes have mapped into their memory: SQLite's index of its log, if in use."""
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError):
                yield Path("/proc", entry, "maps").read_bytes()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline


def other_database(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE something (id INTEGER)")
    database.close()


def newer(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    database.commit()
    database.close()


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9000])


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (lambda path: path.unlink() or other_database(path), InvalidValue, "not one of Balsam"),
        (lambda path: path.write_bytes(b"x" * 5000), InvalidValue, "no sound database"),
        (lambda path: path.write_bytes(b""), InvalidValue, "not one of Balsam"),
        (damaged, InvalidValue, "choose another copy"),
        (newer, SchemaTooNew, "newer Balsam"),
        (lambda path: path.unlink(), InvalidValue, "no file"),
    ],
)
def test_what_can_not_be_restored_changes_nothing(
    project: Project, target: Path, spoil: object, error: type[Exception], words: str
) -> None:
    BalsamJob.objects.bulk_create([{"name": f"n{number}" * 9} for number in range(200)])
    backup.back_up(project, target)
    BalsamJob.objects.create(name="present")
    connection.close()
    spoil(target)  # type: ignore[operator]
    before = files(project.database_dir)
    with pytest.raises(error, match=words):
        restore(project, target)
    assert files(project.database_dir) == before
    assert names()[-1] == "present"


def test_a_newer_project_is_named_when_it_can_not_be_copied(project: Project, target: Path) -> None:
    newer(project.database_file)
    with pytest.raises(SchemaTooNew) as caught:
        backup.back_up(project, target)
    assert str(caught.value).startswith(f"{project.database_file} is of a newer Balsam")


def test_the_database_is_not_restored_from_itself(project: Project) -> None:
    BalsamJob.objects.create(name="a")
    connection.close()
    with pytest.raises(InvalidValue, match="already"):
        restore(project, project.database_file)
    assert names() == ["a"]


def test_an_exchange_that_fails_puts_everything_back(
    project: Project, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    BalsamJob.objects.create(name="a")
    backup.back_up(project, target)
    BalsamJob.objects.create(name="b")
    connection.close()

    def refuse(*names: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    before = files(project.database_dir)
    with (
        monkeypatch.context() as patch,
        pytest.raises(DatabaseUnavailable, match="Nothing was changed"),
    ):
        patch.setattr(os, "replace", refuse)
        restore(project, target)
    assert files(project.database_dir) == before
    assert names() == ["a", "b"]


def test_a_copy_of_another_project_or_of_none_is_told_apart(project: Project, target: Path) -> None:
    backup.back_up(project, target)
    database = sqlite3.connect(target)
    database.execute("UPDATE balsam_backup SET value = 'x' WHERE name = 'project'")
    database.commit()
    assert not backup.inspect(target).belongs_to(project)
    database.execute("DROP TABLE balsam_backup")
    database.commit()
    database.close()
    plain = backup.inspect(target)
    assert not plain.belongs_to(project)
    assert "does not say" in plain.origin
    beside = project.database_dir / "backup-schema1-x.sqlite3"
    target.rename(beside)
    assert backup.inspect(beside).belongs_to(project)
