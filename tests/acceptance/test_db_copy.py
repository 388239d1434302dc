"""``balsam db copy``, and care of a project on a Postgres server of its own: real processes."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import sqlite3
import stat
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.db import connection

from balsam import states
from balsam.conf import current
from balsam.conf.postgres import address, life
from balsam.conf.postgres.url import parse
from balsam.conf.project import Project
from balsam.core.care import server_files
from balsam.core.models import BalsamJob
from tests import databases
from tests.tools import prepared

from .conftest import BALSAM, PATIENCE_SECONDS, Site
from .test_backup import WRITER, jobs_in
from .test_doctor import examined, problems

#: They begin on SQLite, and go to a server of their own from there.
pytestmark = [pytest.mark.sqlite, pytest.mark.server]


@pytest.fixture
def moving(site: Site) -> Iterator[Site]:
    """A project with a campaign, some of it done; whatever server it has at the end is stopped."""
    first = site.job("first", tags={"note": 'it\'s\t"quoted" \\N'})
    site.shell("second", "exit 3", parents=[first])
    site.launch()
    site.job("third")
    connection.close()
    yield site
    connection.close()
    stop(site)


def stop(site: Site) -> None:
    project = Project(site.path)
    life.kill_rest(project)
    if project.cluster_dir.is_dir() and life.look(project).where is life.Where.HERE:
        subprocess.run([*BALSAM, "server", "stop"], cwd=site.path, env=site.env, check=False)


def forget() -> None:
    """See the settings as they are now."""
    connection.close()
    current.forget()


def engine(site: Site) -> str:
    return Project(site.path).settings().database.engine


def listed(site: Site) -> list[dict[str, object]]:
    """All jobs with their histories, as a command sees them."""
    found = json.loads(site.balsam("ls --json --history"))
    assert isinstance(found, list)
    return found


def on_server(site: Site) -> None:
    """Have the project on a server of its own."""
    site.balsam("db copy --to postgres")
    forget()


def test_a_project_moves_to_a_server_of_its_own_and_back(moving: Site) -> None:
    before = listed(moving)
    comment = "# mine\n"
    moving.settings_file.write_text(comment + moving.settings_file.read_text())
    said = moving.balsam("db copy --to postgres")
    kept = Path(said.split("is kept: ")[1].strip())
    assert "Moved 3 jobs" in said and "on Postgres now" in said
    assert "No problems." in moving.balsam(f"fsck {kept}")
    assert engine(moving) == "postgres" and listed(moving) == before
    assert moving.settings_file.read_text().startswith(comment)
    assert "No problems." in moving.balsam("fsck")
    assert "already" in moving.balsam("db copy --to postgres", 1)
    forget()
    assert problems(examined(moving, 0)) == {}
    moving.launch()
    assert moving.state("third") == states.JOB_FINISHED
    forget()
    moving.job("fourth")
    connection.close()
    before = listed(moving)
    said = moving.balsam("db copy --to sqlite")
    assert "Moved 4 jobs" in said and "on SQLite now" in said
    kept = Path(said.split("is kept: ")[1].strip())
    assert (kept / "postgres" / "PG_VERSION").is_file() and (kept / "password").is_file()
    assert engine(moving) == "sqlite" and listed(moving) == before
    assert not moving.path.joinpath("balsamdb", "postgres").exists()
    assert "No problems." in moving.balsam("fsck")
    forget()
    moving.launch()
    assert moving.state("fourth") == states.JOB_FINISHED
    connection.close()
    assert "Moved 4 jobs" in moving.balsam("db copy --to postgres")
    forget()
    assert BalsamJob.objects.count() == 4


def test_a_project_moves_to_a_server_of_somebody_else_and_to_its_own(moving: Site) -> None:
    other = databases.on_server()
    before = listed(moving)
    words = f"--url '{other.url}' --password-file {other.password_file}"
    said = moving.balsam(f"db copy --to postgres {words}")
    assert Path(other.password_file).read_text() not in said
    assert Project(moving.path).settings().database.url == other.url
    assert listed(moving) == before
    on_server(moving)
    assert Project(moving.path).settings().database.url == ""
    assert listed(moving) == before and "No problems." in moving.balsam("fsck")
    # The tables it had there were put aside, so it can come back.
    moving.balsam(f"db copy --to postgres {words}")
    assert listed(moving) == before
    # Where others are at home it can not.
    on_server(moving)
    other = databases.on_server()
    with psycopg.connect(
        **parse(other.url).parameters(), password=Path(other.password_file).read_text()
    ) as server:
        server.execute("CREATE TABLE somebodys (number int)")
    words = f"--url '{other.url}' --password-file {other.password_file}"
    said = moving.balsam(f"db copy --to postgres {words}", 1)
    assert "holds tables already" in said and len(said.splitlines()) == 1


def test_nothing_moves_under_a_launcher(moving: Site) -> None:
    for _ in range(2):
        moving.shell("long", "exec sleep 600")
        launcher = moving.start()
        moving.until_state("long", states.RUNNING)
        forget()
        to = "postgres" if engine(moving) == "sqlite" else "sqlite"
        said = moving.balsam(f"db copy --to {to}", 1)
        assert "in use by launcher" in said and len(said.splitlines()) == 1
        launcher.signal(signal.SIGTERM)
        launcher.wait()
        moving.balsam("rm jobs --name long --yes")
        forget()
        if to == "postgres":
            on_server(moving)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("", 2, "Say where to"),
        ("--to mysql", 2, "mysql"),
        ("--to sqlite", 1, "in SQLite already"),
        ("--to sqlite --url postgres://a@b/c", 2, "go with"),
        ("--to postgres --password-file x", 2, "goes with --url"),
        ("--to postgres --url nonsense", 1, "Unknown database"),
        ("--to postgres --url postgres://a:secret@b/c", 1, "password"),
        ("--to postgres --url postgres://nobody@127.0.0.1:1/x", 1, "Connection refused"),
    ],
)
def test_bad_input_is_one_sentence(site: Site, words: str, code: int, said: str) -> None:
    site.job("a")
    connection.close()
    before = sorted(site.path.joinpath("balsamdb").iterdir())
    text = site.balsam(f"db copy {words}", code)
    assert said in text and len(text.splitlines()) == 1 and "secret" not in text
    assert sorted(site.path.joinpath("balsamdb").iterdir()) == before
    assert engine(site) == "sqlite" and site.state("a") == states.CREATED


def test_without_a_postgres_nothing_happens(site: Site) -> None:
    site.job("a")
    connection.close()
    site.env["POSTGRES_BIN"] = str(site.home)
    before = sorted(site.path.joinpath("balsamdb").iterdir())
    text = site.balsam("db copy --to postgres", 1)
    assert "POSTGRES_BIN" in text and len(text.splitlines()) == 1
    assert sorted(site.path.joinpath("balsamdb").iterdir()) == before
    assert engine(site) == "sqlite" and site.state("a") == states.CREATED


# -- kill -9 -------------------------------------------------------------------------------------


def killed(site: Site, target: str, when: str, *words: str) -> None:
    connection.close()
    done = prepared.run_text(
        words, cwd=site.path, env=site.env, timeout=PATIENCE_SECONDS,
        killed_at=(f"balsam.core.care.{target}", when, 1),
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
    forget()


@pytest.mark.parametrize(
    ("target", "when"),
    [
        ("server_files:cluster.make", "before"),
        ("server_files:cluster.make", "after"),
        ("server_files:server.start", "after"),
        ("load:streams.to_server", "after"),
        ("move:load", "after"),
        ("move:server_files.finished", "after"),
        ("move:settings_edit.replace", "before"),
        ("move:settings_edit.replace", "after"),
        ("move:sync", "after"),
    ],
)
def test_a_copying_to_postgres_that_is_killed(moving: Site, target: str, when: str) -> None:
    before = listed(moving)
    killed(moving, target, when, "db", "copy", "--to", "postgres")
    switched = (target, when) in (
        ("move:settings_edit.replace", "after"), ("move:sync", "after")
    )  # fmt: skip
    assert engine(moving) == ("postgres" if switched else "sqlite")
    assert listed(moving) == before
    assert "No problems." in moving.balsam("fsck")
    forget()
    if not switched:
        moving.job("later")
        connection.close()
        assert "Moved 4 jobs" in moving.balsam("db copy --to postgres")
        forget()
    assert BalsamJob.objects.count() == 4 - switched
    assert not server_files.is_unfinished(Project(moving.path))


@pytest.mark.parametrize(
    ("target", "when"),
    [
        ("move:export", "before"),
        ("move:export", "after"),
        ("move:os.replace", "after"),
        ("move:settings_edit.replace", "before"),
        ("move:settings_edit.replace", "after"),
        ("move:server_files.set_aside", "before"),
        ("move:server_files.set_aside", "after"),
    ],
)
def test_a_copying_to_sqlite_that_is_killed(moving: Site, target: str, when: str) -> None:
    on_server(moving)
    before = listed(moving)
    killed(moving, target, when, "db", "copy", "--to", "sqlite")
    switched = "set_aside" in target or (target, when) == ("move:settings_edit.replace", "after")
    assert engine(moving) == ("sqlite" if switched else "postgres")
    assert listed(moving) == before
    assert "No problems." in moving.balsam("fsck")
    if not switched:
        assert "Moved 3 jobs" in moving.balsam("db copy --to sqlite")
    forget()
    for path in moving.path.joinpath("balsamdb").glob(".balsam-copy-*"):
        os.utime(path, (0, 0))
    examined(moving, 0, "--fix")
    names = sorted(path.name for path in moving.path.joinpath("balsamdb").iterdir())
    assert not [name for name in names if name in ("postgres", "password") or "copy-" in name]
    assert BalsamJob.objects.count() == 3


def test_what_a_killed_copying_left_is_removed_by_the_doctor(moving: Site) -> None:
    killed(moving, "move:load", "before", "db", "copy", "--to", "postgres")
    project = Project(moving.path)
    assert project.cluster_dir.is_dir()
    os.utime(project.database_dir / server_files.UNFINISHED, (0, 0))
    found = examined(moving, 0)
    assert "killed" in found["leftovers"][0]["says"]
    examined(moving, 0, "--fix")
    assert not project.cluster_dir.exists() and not project.password_file.exists()
    assert [one["status"] for one in examined(moving, 0)["leftovers"]] == ["ok"]


@pytest.mark.parametrize(
    ("target", "when"),
    [
        ("restore_server:load", "before"),
        ("restore_server:load", "after"),
        ("restore_server:publish", "after"),
        ("load:streams.to_server", "after"),
    ],
)
def test_a_restoring_to_postgres_that_is_killed_changes_nothing(
    moving: Site, target: str, when: str
) -> None:
    on_server(moving)
    copy = moving.home / "copy.sqlite3"
    moving.balsam(f"backup {copy}")
    moving.job("newer")
    killed(moving, target, when, "restore", str(copy), "--yes")
    assert len(listed(moving)) == 4
    assert "No problems." in moving.balsam("fsck")
    forget()
    moving.job("newest")
    connection.close()
    said = moving.balsam(f"restore {copy} --yes")
    assert "Restored 3 jobs" in said
    assert jobs_in(Path(said.split("is kept in ")[1].strip())) == 5
    assert len(listed(moving)) == 3


# -- backups -------------------------------------------------------------------------------------


@pytest.fixture
def writer(moving: Site) -> Iterator[subprocess.Popen[str]]:
    """A process that inserts and moves jobs on a server all the time, and says so."""
    on_server(moving)
    connection.close()
    with subprocess.Popen(
        [sys.executable, "-c", WRITER], cwd=moving.path, env=moving.env, stdout=subprocess.PIPE,
        text=True,
    ) as process:  # fmt: skip
        assert process.stdout and process.stdout.readline()
        yield process
        process.kill()


def test_copies_of_a_server_while_somebody_writes(
    moving: Site, writer: subprocess.Popen[str]
) -> None:
    counts = []
    for number in range(2):
        copy = moving.home / f"copy{number}.sqlite3"
        said = moving.balsam(f"backup {copy}")
        counts.append(jobs_in(copy))
        assert f"Copied {counts[-1]} jobs" in said and (counts[-1] - 3) % 50 == 0
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        assert "No problems." in moving.balsam(f"fsck {copy}")
        assert "No problems." in moving.balsam("fsck")
        assert writer.stdout and writer.stdout.readline()
    assert counts == sorted(counts) and counts[0] > 3
    assert "in use by" in moving.balsam(f"restore {copy} --yes", 1)
    assert "in use by" in moving.balsam("db copy --to sqlite", 1)
    assert writer.poll() is None


def test_a_connection_that_is_about_to_end_is_no_user(moving: Site) -> None:
    """A server may take a moment to see that the last command has ended."""
    on_server(moving)
    last = psycopg.connect(**address.parameters(Project(moving.path)))
    ending = threading.Timer(1.0, last.close)
    ending.start()
    try:
        moving.balsam("db copy --to sqlite")
        assert engine(moving) == "sqlite"
    finally:
        ending.join()
        forget()


def test_a_copy_of_one_kind_is_restored_into_a_project_of_the_other(moving: Site) -> None:
    copy = moving.home / "copy.sqlite3"
    moving.balsam(f"backup {copy}")
    before = listed(moving)
    moving.balsam("init other --db postgres")
    moving.env["BALSAM_DB_PATH"] = str(moving.path / "other")
    try:
        assert "--other-project" in moving.balsam(f"restore {copy} --yes", 1)
        moving.balsam(f"restore {copy} --yes --other-project")
        assert listed(moving) == before
        assert "No problems." in moving.balsam("fsck")
        back = moving.home / "back.sqlite3"
        moving.balsam(f"backup {back}")
    finally:
        moving.balsam("server stop")
    del moving.env["BALSAM_DB_PATH"]
    moving.balsam("rm jobs --all --yes")
    moving.balsam(f"restore {back} --yes --other-project")
    assert listed(moving) == before


def test_a_file_that_may_not_grow_leaves_everything(moving: Site) -> None:
    copy = moving.home / "copy.sqlite3"
    moving.shells([f"n{number}" for number in range(2000)], ":")
    connection.close()
    moving.balsam(f"backup {copy}")
    on_server(moving)
    database = moving.path / "balsamdb"
    before = sorted(path.name for path in database.iterdir())
    for words in (f"backup {moving.home}/new", "db copy --to sqlite", f"restore {copy} --yes"):
        line = shlex.join([*BALSAM, *shlex.split(words)])
        done = subprocess.run(
            ["/bin/sh", "-c", f"ulimit -f 256; exec {line}"], cwd=moving.path, env=moving.env,
            capture_output=True, text=True, timeout=PATIENCE_SECONDS,
        )  # fmt: skip
        assert done.returncode == 1, words
        assert len(done.stderr.splitlines()) == 1 and "disk is full" in done.stderr
        assert sorted(path.name for path in database.iterdir()) == before
        assert not (moving.home / "new").exists()
    assert engine(moving) == "postgres" and "No problems." in moving.balsam("fsck")


# -- the doctor and the report -------------------------------------------------------------------


def test_a_server_that_does_not_answer_is_one_sentence(moving: Site) -> None:
    on_server(moving)
    text = moving.settings_file.read_text()
    moving.settings_file.write_text(text.replace("database:", "database:\n  auto_start: false"))
    moving.balsam("server stop")
    for words in ("fsck", f"backup {moving.home}/x", "db copy --to sqlite"):
        said = moving.balsam(words, 1)
        assert len(said.splitlines()) == 1 and "balsam server start" in said, said
    found = examined(moving, 1)
    assert "does not run" in problems(found)["server"]
    assert "balsam server start" in found["server"][0]["repair"]
    moving.balsam("server start")
    password = moving.path / "balsamdb" / "password"
    kept = password.read_text()
    password.write_text("wrong-password\n")
    said = moving.balsam("fsck", 1)
    assert len(said.splitlines()) == 1 and "password" in said and "wrong-password" not in said
    assert "password" in problems(examined(moving, 1))["server"]
    password.write_text(kept)
    assert problems(examined(moving, 0)) == {}


def test_a_launcher_killed_on_postgres_is_recovered_by_the_doctor(moving: Site) -> None:
    on_server(moving)
    moving.shell("long", 'test "$BALSAM_ATTEMPT" = 2 || exec sleep 600')
    launcher = moving.start()
    moving.until_state("long", states.RUNNING)
    launcher.signal(signal.SIGKILL)
    launcher.wait(-signal.SIGKILL)
    assert "is dead" in problems(examined(moving, 1))["sessions"]
    examined(moving, 0, "--fix")
    assert moving.state("long") == states.RESTART_READY
    assert problems(examined(moving, 0)) == {}


def test_a_report_of_a_server_holds_no_password(moving: Site) -> None:
    on_server(moving)
    connection.close()
    password = (moving.path / "balsamdb" / "password").read_text().strip()
    (moving.path / "log" / "x.log").write_text(f"somebody logged {password}\n")
    moving.balsam(f"bug-report {moving.home}/report.tar.gz --with-jobs")
    with tarfile.open(moving.home / "report.tar.gz") as archive:
        texts = {
            Path(member.name).name: content.read()
            for member in archive.getmembers()
            if (content := archive.extractfile(member))
        }
    assert not [name for name, text in texts.items() if password.encode() in text]
    assert b"somebody logged ***" in texts["x.log"]
    assert json.loads(texts["server.json"])["where"] == "here"
    assert json.loads(texts["fsck.json"])["problems"] == []
    assert b"balsam_job.state text" in texts["schema.sql"]
    assert json.loads(texts["states.json"]) == {"JOB_FINISHED": 1, "FAILED": 1, "CREATED": 1}
    assert len(json.loads(texts["jobs-in-full.json"])) == 3


def test_the_doctor_says_when_sqlite_is_at_its_limits(moving: Site) -> None:
    connection.close()
    found = examined(moving, 0)["limits"]
    assert [one["status"] for one in found] == ["ok"] and "1 launcher(s)" in found[0]["says"]
    with contextlib.closing(
        sqlite3.connect(moving.path / "balsamdb" / "balsam.sqlite3")
    ) as database:
        for _ in range(9):
            database.execute(
                """INSERT INTO balsam_session (kind, state, lock, host, machine, pid, pid_start,
                       started, heartbeat, offer)
                   SELECT 'launcher', 'ended', '', host, machine, 1, 1, started, heartbeat, '{}'
                   FROM balsam_session WHERE id = 1"""
            )
        database.commit()
    (warned,) = examined(moving, 0)["limits"]
    assert warned["status"] == "warning" and "10 launchers" in warned["says"]
    assert "balsam db copy --to postgres" in warned["repair"]
