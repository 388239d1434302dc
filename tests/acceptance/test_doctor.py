"""The doctor on real projects: in order, damaged, locked, after kill -9, with work going on."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection

from balsam import states
from balsam.core import history, lease, sessions
from balsam.core.models import BalsamJob, Session
from balsam.core.models.session import ENDED, LIVE

from .conftest import Site


def examined(site: Site, code: int, words: str = "") -> dict[str, list[dict[str, str]]]:
    """Check -> its findings."""
    connection.close()
    return by_check(site.balsam(f"doctor --json {words}", code))


def by_check(text: str) -> dict[str, list[dict[str, str]]]:
    """The same from what was printed; what comes after it is of stderr."""
    found: dict[str, list[dict[str, str]]] = {}
    for finding in json.JSONDecoder().raw_decode(text)[0]:
        found.setdefault(finding["check"], []).append(finding)
    return found


def problems(found: dict[str, list[dict[str, str]]]) -> dict[str, str]:
    """Check -> what the first problem says."""
    return {
        check: finding["says"]
        for check, findings in reversed(found.items())
        for finding in reversed(findings)
        if finding["status"] == "problem"
    }


def change(site: Site, *statements: str) -> None:
    connection.close()
    with contextlib.closing(sqlite3.connect(site.path / "balsamdb" / "balsam.sqlite3")) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


def killed_while_running(site: Site) -> int:
    """A launcher was killed with kill -9 while a job ran; its session."""
    site.shell("long", 'test "$BALSAM_ATTEMPT" = 2 || exec sleep 600')
    launcher = site.start()
    site.until_state("long", states.RUNNING)
    launcher.signal(signal.SIGKILL)
    launcher.wait(-signal.SIGKILL)
    return int(Session.objects.latest("id").pk)


def test_a_project_in_order(site: Site) -> None:
    found = examined(site, 0)
    assert problems(found) == {}
    assert {finding["status"] for finding in found["database"]} == {"ok"}
    assert "starts 2 ranks" in found["mpi"][0]["says"]
    text = site.balsam("doctor")
    assert text.splitlines()[0].startswith("ok       project       ")


def test_a_launcher_killed_with_kill_9_is_recovered(site: Site) -> None:
    session = killed_while_running(site)
    survivors = site.processes()
    assert survivors
    found = examined(site, 1)
    assert f"launcher {session} on" in problems(found)["sessions"]
    assert "is dead" in problems(found)["sessions"]
    assert site.state("long") == states.RUNNING and site.processes() == survivors
    assert "balsam doctor --fix" in site.balsam("doctor", 1)

    found = examined(site, 0, "--fix")
    fixed = [one["says"] for one in found["sessions"] if one["status"] == "fixed"]
    assert len(fixed) == 1 and f"recovered session {session}, which held 1 job" in fixed[0]
    assert site.state("long") == states.RESTART_READY
    site.until(lambda: not site.processes(), "what it left behind ends")
    history = site.named("long").state_history
    assert f"balsam doctor took back the lease of session {session}" in history
    assert "was lost with its launcher" in history
    (log,) = (site.path / "log").glob("doctor_*.log")
    assert f"recovered session {session}" in log.read_text()

    assert problems(examined(site, 0)) == {}
    assert "No problems." in site.balsam("fsck")
    site.launch()
    site.all_finished()
    site.check_clean()


def test_the_work_of_a_living_launcher_is_not_touched(site: Site) -> None:
    gate = site.home / "gate"
    site.shell("waits", f"while [ ! -f {gate} ]; do sleep 0.02; done")
    launcher = site.start()
    site.until_state("waits", states.RUNNING)
    before = site.named("waits").state_history, site.processes()[0]
    found = examined(site, 0, "--fix")
    assert "1 alive: launcher" in found["sessions"][0]["says"]
    assert not [one for findings in found.values() for one in findings if one["status"] == "fixed"]
    assert (site.named("waits").state_history, site.processes()[0]) == before
    gate.touch()
    launcher.wait()
    site.all_finished()
    assert site.named("waits").attempt == 1
    site.check_clean()


def test_a_launcher_that_is_only_stopped_is_left_alone(site: Site) -> None:
    site.settings(lease_seconds=3, heartbeat_seconds=1)
    site.shell("long", "exec sleep 600")
    launcher = site.start()
    site.until_state("long", states.RUNNING)
    launcher.signal(signal.SIGSTOP)
    change(site, "UPDATE balsam_session SET heartbeat = '2026-01-01 00:00:00'")
    found = examined(site, 0, "--fix")
    assert found["sessions"][0]["status"] == "warning"
    assert f"kill {launcher.process.pid}" in found["sessions"][0]["repair"]
    assert site.state("long") == states.RUNNING
    assert Session.objects.latest("id").state == LIVE


def test_leases_that_nobody_would_give_back(site: Site) -> None:
    for name in ("ended", "missing", "homeless"):
        site.job(name)
    site.launch()
    now = "'2026-01-01 00:00:00'"
    event = "INSERT INTO balsam_event (job_id, timestamp, from_state, to_state, message, data)"
    run = f"SELECT id, {now}, state, 'RUNNING', '', '{{}}' FROM balsam_job WHERE name = 'homeless'"
    change(
        site,
        "UPDATE balsam_event SET to_state = 'RESTART_READY' WHERE to_state = 'JOB_FINISHED'",
        "UPDATE balsam_job SET state = 'RESTART_READY'",
        "UPDATE balsam_job SET session_id = 1 WHERE name = 'ended'",
        "UPDATE balsam_job SET session_id = 77 WHERE name = 'missing'",
        f"{event} {run}",
        "UPDATE balsam_job SET state = 'RUNNING', attempt = 2 WHERE name = 'homeless'",
    )
    assert set(problems(examined(site, 1))) == {"leases"}
    found = examined(site, 0, "--fix")
    assert [one["status"] for one in found["leases"]] == ["fixed"] * 3
    assert set(site.counts()) == {states.RESTART_READY}
    assert not BalsamJob.objects.filter(session__isnull=False).exists()
    assert not Session.objects.exclude(state=ENDED).exists()
    assert "took back the lease of session 77" in site.named("missing").state_history
    assert problems(examined(site, 0)) == {}
    site.launch()
    site.all_finished()
    site.check_clean()


@pytest.mark.parametrize("beats", [False, True], ids=["silent", "its clock is behind"])
def test_a_launcher_of_another_machine_is_judged_by_what_it_does(site: Site, beats: bool) -> None:
    """Its heartbeat is an hour old by our clock; that may be the fault of the clocks."""
    site.settings(heartbeat_seconds=1, lease_seconds=3)
    job = site.job("job")
    job.update_state(states.PREPROCESSED)
    life = sessions.Life("launcher", "elsewhere", "another machine", 4242, 1)
    session = sessions.open_session(life)
    assert lease.lease_runnable(session, lease.Scope(), 1)
    row = Session.objects.filter(pk=session)
    begin = time.monotonic()

    def beat() -> None:
        passed = time.monotonic() - begin if beats else 0.0
        row.update(heartbeat=history.now() - timedelta(hours=1, seconds=-passed))

    beat()
    assert "is dead" in problems(examined(site, 1))["sessions"]
    done = threading.Event()

    def go_on() -> None:
        while not done.wait(0.2):
            beat()
        connection.close()

    beating = threading.Thread(target=go_on)
    if beats:
        beating.start()
    try:
        said = site.balsam("doctor --json --fix")
    finally:
        done.set()
        if beats:
            beating.join()
    assert "whether 1 launcher is dead, with all that ran on other nodes: 2 s at most." in said
    found = by_check(said)
    assert ("came back to life" in found["sessions"][0]["says"]) == beats
    assert row.get().state == (LIVE if beats else ENDED)
    assert BalsamJob.objects.filter(session=session).exists() == beats


def test_outcomes_in_journals(site: Site) -> None:
    """A journal of a session that is over is only in the way."""
    stray = site.path / "log" / "outcomes" / "session-99.jsonl"
    stray.write_text('{"kind":"end","job":1}\n')
    assert examined(site, 0)["outcomes"][0]["status"] == "warning"
    assert examined(site, 0, "--fix")["outcomes"][0]["status"] == "fixed"
    assert not stray.exists()


def test_outcomes_that_a_killed_launcher_owed_are_committed(site: Site) -> None:
    site.shell("once", 'echo ran >> "$RUNS"')
    launcher = site.drill("balsam.launcher.journal:Journal.append", "after", 2)
    launcher.wait(-signal.SIGKILL)
    assert "could not commit" in problems(examined(site, 1))["outcomes"]
    found = examined(site, 0, "--fix")
    assert found["outcomes"][0]["status"] == "ok"
    site.launch()
    site.all_finished()
    assert site.ran() == ["ran"]
    site.check_clean()


# -- projects that are not as they should be ------------------------------------------------------


def replace_file(site: Site) -> None:
    for path in (site.path / "balsamdb").iterdir():
        path.write_bytes(b"not a database" * 1000)


def remove_file(site: Site) -> None:
    for path in (site.path / "balsamdb").iterdir():
        path.unlink()


def other_tables(site: Site) -> None:
    remove_file(site)
    change(site, "CREATE TABLE x (id INTEGER)")


BROKEN: list[tuple[Callable[[Site], object], str, str]] = [
    (replace_file, "database", "file is not a database"),
    (remove_file, "database", "is missing"),
    (other_tables, "database", "holds no tables of Balsam"),
    (
        lambda site: (site.path / "balsamdb").rename(site.path / "moved"),
        "database",
        "balsam.sqlite3 is missing",
    ),
    (lambda site: change(site, "PRAGMA user_version = 99"), "database", "a newer Balsam"),
    (lambda site: change(site, "PRAGMA user_version = 0"), "database", "an older Balsam"),
    (lambda site: change(site, "DROP TABLE balsam_event"), "database", "no tables of Balsam"),
    (lambda site: (site.path / "settings.yml").write_text("launcher: [1"), "settings", "YAML"),
    (lambda site: (site.path / "settings.yml").unlink(), "settings", "missing"),
    (lambda site: (site.path / "settings.yml").write_text("x: 1"), "settings", "unknown section"),
    (lambda site: (site.path / ".balsam-site").write_text("?"), "project", "can not be read"),
]


@pytest.mark.parametrize(("spoil", "check", "words"), BROKEN)
def test_whatever_is_broken_the_doctor_says_so_and_goes_on(
    site: Site, spoil: Callable[[Site], object], check: str, words: str
) -> None:
    site.job("a")
    connection.close()
    spoil(site)
    for options in ("", "--fix"):
        found = examined(site, 1, options)
        assert words in problems(found)[check]
        assert not [one for one in found.values() if "check itself failed" in one[0]["says"]]
        assert {"mpi", "disk", "versions", "clock"} <= set(found)


def test_without_a_project(site: Site) -> None:
    (site.path / ".balsam-site").rename(site.path / "aside")
    found = examined(site, 1)
    assert "no Balsam project" in problems(found)["project"]
    assert {"mpi", "disk", "versions"} <= set(found)


def test_directories_and_permissions_are_put_right(site: Site) -> None:
    connection.close()
    (site.path / "qsubmit").rmdir()
    (site.path / "balsamdb").chmod(0o755)
    (site.path / "balsamdb" / "balsam.sqlite3").chmod(0o444)
    old = site.path / "balsamdb" / ".balsam-copy-x"
    old.touch()
    os.utime(old, (0, 0))
    assert set(problems(examined(site, 1))) >= {"project", "permissions"}
    examined(site, 0, "--fix")
    assert (site.path / "qsubmit").is_dir() and not old.exists()
    assert (site.path / "balsamdb").stat().st_mode & 0o777 == 0o700
    assert (site.path / "balsamdb" / "balsam.sqlite3").stat().st_mode & 0o777 == 0o600
    assert problems(examined(site, 0)) == {}


@pytest.fixture
def read_only(site: Site) -> Iterator[Path]:
    """The database where nothing can be written."""
    site.job("a")
    connection.close()
    directory = site.path / "balsamdb"
    if os.geteuid():
        directory.chmod(0o500)
        yield directory
        directory.chmod(0o700)
        return
    bind = ["mount", "--bind", "-o", "ro", str(directory), str(directory)]
    if subprocess.run(bind, capture_output=True).returncode:
        pytest.skip("root may write everywhere, and can not mount here")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


def test_a_database_that_can_not_be_written(site: Site, read_only: Path) -> None:
    for options in ("", "--fix"):
        found = examined(site, 1 if os.geteuid() == 0 or not options else 0, options)
        if os.geteuid() == 0:
            assert list(problems(found)) == ["project"]
            (only,) = found["project"]
            assert "balsamdb (Read-only file system)" in only["says"]
            assert only["repair"] == "Have its file system mounted for writing."
            assert "locking" not in found
    assert "a" in site.balsam("ls")
    if os.geteuid() == 0:
        said = site.balsam("rm jobs --all --yes", 1)
        assert len(said.splitlines()) == 1 and "you may not write there" in said
    assert "No problems." in site.balsam("fsck")
    site.balsam(f"backup {site.home}/copy.sqlite3")


def test_a_disk_that_is_full_is_told_once(site: Site) -> None:
    small = site.home / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(small)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("root may mount a small file system, others may not")
    try:
        site.balsam(f"init {small}/p --name p")
        site.env["BALSAM_DB_PATH"] = str(small / "p")
        with contextlib.suppress(OSError), open(small / "filler", "wb", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))
        found = examined(site, 1)
        assert set(problems(found)) == {"project", "disk"}
        (only,) = found["project"]
        assert f"{small}/p (No space left" in only["says"] and "chmod" not in only["repair"]
        assert json.loads(site.balsam("ls --json")) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_database_that_is_locked(site: Site) -> None:
    site.job("a")
    connection.close()
    holder = sqlite3.connect(site.path / "balsamdb" / "balsam.sqlite3", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    found = examined(site, 1)
    assert "locked by another process" in problems(found)["database"]
    assert f"{os.getpid()}: " in found["database"][0]["repair"]
    holder.close()


def test_a_clock_that_is_behind(site: Site) -> None:
    site.job("a")
    change(site, "UPDATE balsam_event SET timestamp = '2999-01-01 00:00:00'")
    assert "behind that of the host that wrote" in problems(examined(site, 1))["clock"]


def test_the_commands_of_a_scheduler(site: Site) -> None:
    programs = site.home / "bin"
    programs.mkdir()
    for name, script in (("qsub", "exit 0"), ("qstat", "echo no server >&2; exit 3")):
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    site.env["PATH"] = f"{programs}:{site.env['PATH']}"
    # The machine may have another scheduler beside it.
    found = [one for one in examined(site, 0)["scheduler"] if "no server" in one["says"]]
    assert [one["status"] for one in found] == ["warning"]
