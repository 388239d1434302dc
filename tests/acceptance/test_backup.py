"""Copies made while others write, put back, and refused; the disk that is full; many jobs."""

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
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection

from balsam import states
from balsam.core.models import BalsamJob
from tests.tools import prepared

from .conftest import BALSAM, PATIENCE_SECONDS, Site
from .terminal_answers import answered

WRITER = """
import itertools
from balsam.core.models import BalsamJob
for number in itertools.count():
    BalsamJob.objects.bulk_create([{"name": f"{number}-{part}"} for part in range(50)])
    BalsamJob.objects.filter(name=f"{number}-0").move("FAILED")
    print(number, flush=True)
"""


@pytest.fixture
def writer(site: Site) -> Iterator[subprocess.Popen[str]]:
    """A process that inserts and moves jobs all the time, and says so."""
    connection.close()
    with subprocess.Popen(
        [sys.executable, "-c", WRITER], cwd=site.path, env=site.env, stdout=subprocess.PIPE,
        text=True,
    ) as process:  # fmt: skip
        assert process.stdout and process.stdout.readline()
        yield process
        process.kill()


@pytest.fixture(params=["wal", "delete"])
def journal_mode(request: pytest.FixtureRequest, site: Site) -> str:
    text = (site.path / "settings.yml").read_text()
    (site.path / "settings.yml").write_text(f"{text}database: {{journal_mode: {request.param}}}\n")
    return str(request.param)


def jobs_in(copy: Path) -> int:
    with contextlib.closing(sqlite3.connect(copy)) as database:
        return int(database.execute("SELECT count(*) FROM balsam_job").fetchone()[0])


def test_copies_while_somebody_writes(
    site: Site, journal_mode: str, writer: subprocess.Popen[str]
) -> None:
    counts = []
    for number in range(3):
        copy = site.home / f"copy{number}.sqlite3"
        said = site.balsam(f"backup {copy}")
        counts.append(jobs_in(copy))
        assert f"Copied {counts[-1]} jobs" in said
        assert counts[-1] % 50 == 0
        assert "No problems." in site.balsam(f"fsck {copy}")
        assert "No problems." in site.balsam("fsck")
        assert writer.stdout and writer.stdout.readline()
    assert counts == sorted(counts) and counts[0] > 0
    assert writer.poll() is None


def test_checks_while_a_launcher_works_raise_no_false_alarm(site: Site) -> None:
    source = site.job("source")
    for number in range(20):
        site.shell(f"child{number}", "sleep 0.05", parents=[source], postprocess="/bin/true")
    site.shells([f"n{number}" for number in range(200)], ":")
    launcher = site.start()
    while launcher.running:
        assert "No problems." in site.balsam("fsck")
    launcher.wait()
    site.all_finished()
    assert "No problems." in site.balsam("fsck")


def test_a_campaign_is_brought_back(site: Site) -> None:
    site.job("done")
    site.launch()
    copy = site.home / "copy.sqlite3"
    site.balsam(f"backup {copy}")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert "exists already" in site.balsam(f"backup {copy}", 1)
    site.balsam("rm jobs --all --yes")
    site.job("later")
    connection.close()
    assert "no terminal" in site.balsam(f"restore {copy}", 1)
    said = site.balsam(f"restore {copy} --yes")
    assert "Restored 1 jobs" in said and "is kept in" in said
    assert site.state("done") == states.JOB_FINISHED
    assert BalsamJob.objects.count() == 1
    site.job("more")
    site.launch()
    site.all_finished()
    site.check_clean()
    assert "No problems." in site.balsam("fsck")


def test_a_damaged_database_is_brought_back(site: Site) -> None:
    site.job("a")
    copy = site.home / "copy.sqlite3"
    site.balsam(f"backup {copy}")
    connection.close()
    for path in (site.path / "balsamdb").iterdir():
        path.write_bytes(b"not a database" * 1000)
    for command in ("fsck", f"backup {site.home}/other", "ls", f"backup --force {copy}"):
        assert len(site.balsam(command, 1).splitlines()) == 1
    site.balsam(f"restore {copy} --yes")
    assert site.state("a") == states.CREATED


def test_nothing_is_restored_under_a_launcher(site: Site) -> None:
    site.shell("long", "exec sleep 600")
    copy = site.home / "copy.sqlite3"
    launcher = site.start()
    site.until_state("long", states.RUNNING)
    site.balsam(f"backup {copy}")
    connection.close()
    said = site.balsam(f"restore {copy} --yes", 1)
    assert "in use by launcher 1 on" in said and "--force" in said
    assert site.state("long") == states.RUNNING
    launcher.signal(signal.SIGTERM)
    launcher.wait()
    connection.close()
    site.balsam(f"restore {copy} --yes")
    # As it was: the launcher that ran it then is dead now, and its job is given out again.
    assert site.state("long") == states.RUNNING
    site.balsam("doctor --fix")
    assert site.state("long") == states.RESTART_READY


def test_nothing_is_restored_under_a_script(site: Site, writer: subprocess.Popen[str]) -> None:
    copy = site.home / "copy.sqlite3"
    site.balsam(f"backup {copy}")
    assert f"in use by process {writer.pid}" in site.balsam(f"restore {copy} --yes", 1)
    kept = site.balsam(f"restore {copy} --yes --force").split("is kept in ")[1].strip()
    writer.kill()
    writer.wait()
    assert BalsamJob.objects.count() >= jobs_in(copy)
    connection.close()
    assert "No problems." in site.balsam("fsck")
    assert "No problems." in site.balsam(f"fsck {kept}")


def test_a_copy_of_another_project_is_named_and_asked_about(site: Site) -> None:
    copy = site.home / "copy.sqlite3"
    site.job("theirs")
    site.balsam(f"backup {copy}")
    site.balsam("init other --name other")
    site.env["BALSAM_DB_PATH"] = str(site.path / "other")
    said = site.balsam(f"restore {copy}", 1)
    assert f"not of this project, but of the project project ({site.path})" in said
    assert "--other-project" in said
    assert "--other-project" in site.balsam(f"restore {copy} --yes", 1)
    assert json.loads(site.balsam("ls --json")) == []
    arguments = [*BALSAM, "restore", str(copy), "--other-project"]
    code, screen = answered(arguments, site.path, site.env, "n\n")
    assert code == 1 and "Nothing was changed" in screen
    code, screen = answered(arguments, site.path, site.env, "y\n")
    assert code == 0 and "Restored 1 jobs" in screen
    assert "theirs" in site.balsam("ls")


def test_a_copy_that_does_not_say_whose_it_is_is_warned_of(site: Site) -> None:
    site.job("a")
    connection.close()
    copy = site.home / "plain.sqlite3"
    with contextlib.closing(sqlite3.connect(site.path / "balsamdb" / "balsam.sqlite3")) as own:
        own.execute("VACUUM INTO ?", (str(copy),))
    origin = "a database that does not say of which project it is"
    assert origin in site.balsam(f"restore {copy}", 1)
    said = site.balsam(f"restore {copy} --yes")
    assert f"Restored 1 jobs from {copy}: {origin}" in said


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("backup", "Missing argument"),
        ("restore /does/not/exist --yes", "no file"),
        ("restore settings.yml --yes", "no sound database"),
        ("backup /does/not/exist/file", "no directory"),
        ("backup .", "is a directory"),
        ("backup balsamdb/balsam.sqlite3 --force", "the database itself"),
        ("fsck settings.yml", "not a database"),
    ],
)
def test_bad_input_is_one_sentence(site: Site, command: str, words: str) -> None:
    site.job("a")
    connection.close()
    said = site.balsam(command, 2 if words.startswith("Missing") else 1)
    assert words in said and len(said.splitlines()) == 1
    assert site.state("a") == states.CREATED


#: Where a restoring process passes from one state of the directory to the next.
POINTS = [
    ("copy", "before"),
    ("copy", "after"),
    ("finish", "after"),
    ("os.link", "before"),
    ("os.link", "after"),
    ("os.replace", "before"),
    ("os.replace", "after"),
]


@pytest.mark.parametrize(("target", "when"), POINTS)
def test_a_restoring_process_that_is_killed_leaves_the_old_or_the_new(
    site: Site, target: str, when: str
) -> None:
    site.job("old")
    copy = site.home / "copy.sqlite3"
    site.balsam(f"backup {copy}")
    site.job("newer")
    connection.close()
    done = prepared.run_text(
        ["restore", str(copy), "--yes"], cwd=site.path, env=site.env, timeout=PATIENCE_SECONDS,
        killed_at=(f"balsam.core.care.restore:{target}", when, 1),
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert "No problems." in site.balsam("fsck")
    exchanged = (target, when) == ("os.replace", "after")
    assert BalsamJob.objects.count() == (1 if exchanged else 2)
    connection.close()
    for path in (site.path / "balsamdb").iterdir():
        if path.name.startswith(".balsam-copy-"):
            os.utime(path, (0, 0))
        if path.name.startswith("replaced-") and not exchanged:
            path.rename(path.with_name("replaced-20260101T000000000000Z.sqlite3"))
            assert "a second name of the database itself" in site.balsam("doctor", 1)
    site.balsam("doctor --fix")
    left = sorted(path.name for path in (site.path / "balsamdb").iterdir())
    assert left[0] == "balsam.sqlite3" and len(left) == 1 + exchanged


# -- disks ---------------------------------------------------------------------------------------


def test_a_file_that_may_not_grow_leaves_nothing(site: Site) -> None:
    site.shells([f"n{number}" for number in range(2000)], ":")
    connection.close()
    place = site.home / "copies"
    place.mkdir()
    line = shlex.join([*BALSAM, "backup", str(place / "copy.sqlite3")])
    done = subprocess.run(
        ["/bin/sh", "-c", f"ulimit -f 256; exec {line}"], cwd=site.path, env=site.env,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and "disk is full" in done.stderr
    assert list(place.iterdir()) == []


@pytest.fixture
def small_disk(site: Site) -> Iterator[Path]:
    directory = site.home / "small"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(directory)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("root may mount a small file system, others may not")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


def test_a_full_disk_leaves_nothing(site: Site, small_disk: Path) -> None:
    site.shells([f"n{number}" for number in range(2000)], ":")
    connection.close()
    said = site.balsam(f"backup {small_disk}/copy.sqlite3", 1)
    assert len(said.splitlines()) == 1 and "disk is full" in said
    assert list(small_disk.iterdir()) == []


def test_a_full_disk_under_the_project_keeps_the_database(site: Site, small_disk: Path) -> None:
    site.shells([f"n{number}" for number in range(2000)], ":")
    copy = site.home / "copy.sqlite3"
    site.balsam(f"backup {copy}")
    site.balsam(f"init {small_disk}/p --name p")
    site.env["BALSAM_DB_PATH"] = str(small_disk / "p")
    before = sorted(path.name for path in (small_disk / "p" / "balsamdb").iterdir())
    said = site.balsam(f"restore {copy} --yes --other-project", 1)
    assert "disk is full" in said and "Nothing was changed" in said
    assert sorted(path.name for path in (small_disk / "p" / "balsamdb").iterdir()) == before
    assert json.loads(site.balsam("ls --json")) == []


# -- many ----------------------------------------------------------------------------------------


def test_damage_is_told_in_json_and_by_the_exit_code(site: Site) -> None:
    site.job("a")
    connection.close()
    with contextlib.closing(sqlite3.connect(site.path / "balsamdb" / "balsam.sqlite3")) as database:
        database.execute("UPDATE balsam_job SET state = 'FAILED'")
        database.commit()
    found = {one["check"]: one for one in json.loads(site.balsam("fsck --json", 1))}
    broken = [name for name, one in found.items() if one["status"] == "problem"]
    assert broken == ["state-of-events"]
    (example,) = found["state-of-events"]["examples"]
    assert example == "job 1 is FAILED, its newest event says CREATED"
    assert "1 problem(s)." in site.balsam("fsck", 1)
