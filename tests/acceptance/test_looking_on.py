"""``why``, ``wait`` and ``watch`` beside real launchers, as people type them."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from balsam import states
from balsam.core.models import BalsamJob, Session

from .conftest import BALSAM, PATIENCE_SECONDS, Launcher, Site

#: Runs until the file ``go`` is in the home directory.
UNTIL_TOLD = 'while [ ! -e "$HOME/go" ]; do sleep 0.05; done'
Waiting = Callable[..., subprocess.Popen[str]]
Terminal = Callable[..., tuple[subprocess.Popen[bytes], int]]


def go(site: Site) -> None:
    """Let the jobs end that wait to be told."""
    (site.home / "go").touch()


def reasons(site: Site, *which: str) -> dict[str, dict[str, Any]]:
    """What ``balsam why --json`` says, by the name of the job."""
    return {one["name"]: one for one in json.loads(site.balsam(f"why --json {' '.join(which)}"))}


@pytest.fixture
def waiting(site: Site) -> Iterator[Waiting]:
    """``balsam wait`` in the background; what is left of it is ended."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*BALSAM, "wait", *arguments],
            cwd=site.path, env=site.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def busy(site: Site, *names: str) -> Launcher:
    """A launcher whose two cores are busy with two jobs of these names."""
    for name in names:
        site.shell(name, UNTIL_TOLD)
    launcher = site.start("--consume-all", "--time-limit-minutes", "30")
    for name in names:
        site.until_state(name, states.RUNNING)
    return launcher


def test_why_beside_a_launcher(site: Site) -> None:
    site.shell("failed", "echo some words; exit 7")
    launcher = busy(site, "first", "second")
    third = site.shell("third", "true")
    site.job("child", parents=[third])
    site.shell("long", "true", wall_time_minutes=60, priority=-1)
    site.until_state("failed", states.FAILED)
    site.until_state("long", states.PREPROCESSED)
    site.until_state("child", states.AWAITING_PARENTS)
    found = reasons(site, "--wf", "w")
    assert {name: one["code"] for name, one in found.items()} == {
        "first": "running",
        "second": "running",
        "third": found["third"]["code"],
        "child": "parents",
        "long": "time_left",
        "failed": "failed",
    }
    # It may be leased already, and wait for a core in the launcher's stock.
    assert found["third"]["code"] in ("in_line", "starting")
    assert f"launcher {launcher.process.pid}" in found["first"]["reason"]
    assert "root" not in found["child"]["reason"] and "third" in found["child"]["reason"]
    assert found["failed"]["reason"].endswith("ended with:\nsome words")
    assert found["failed"]["command"] == f"balsam retry {found['failed']['id']}"
    offer = Session.objects.get().offer
    assert (offer["nodes"], offer["cores_per_node"], offer["job_mode"]) == (1, 2, "auto")
    go(site)
    launcher.wait()
    site.check_clean()
    assert Session.objects.get().offer == offer


def test_why_after_a_launcher_was_killed(site: Site) -> None:
    launcher = busy(site, "first")
    launcher.signal(signal.SIGKILL)
    launcher.wait(-signal.SIGKILL)
    text = site.balsam("why first")
    assert f"launcher {launcher.process.pid}" in text and "which is dead" in text
    assert "$ balsam doctor --fix" in text
    assert "dead, heard of" in site.balsam("watch --once")


def test_why_in_words(site: Site) -> None:
    for number in range(25):
        site.job(f"j{number}")
    text = site.balsam("why j0")
    first, why, what = text.splitlines()
    assert first == f"1 {site.named('j0').cute_id} CREATED"
    assert why == "    It can go on, but no launcher is alive."
    assert what == "    $ balsam launcher --consume-all"
    assert "(5 more; 'balsam ls --by-reason' counts them" in site.balsam("why 'j*'")
    assert "(24 more" in site.balsam("why 'j*' --limit 1")
    assert len(reasons(site, "'j*'")) == 25
    assert "No job matches" in site.balsam("why --state FAILED", 1)
    assert "Say which jobs" in site.balsam("why", 2)


def test_wait_until_all_have_ended(site: Site, waiting: Waiting) -> None:
    launcher = busy(site, "first", "second")
    both = waiting("--wf", "w")
    any_one = waiting("first", "second", "--any", "--timeout", "60s")
    time_over = waiting("first", "--timeout", "0.3")
    assert "Not ended in 0.3 s: 0 of 1 job ended; 1 running" in time_over.communicate()[1]
    assert time_over.returncode == 3
    assert site.balsam("wait first second --for running") == "0 of 2 jobs ended; 2 running\n"
    assert both.poll() is None and any_one.poll() is None
    site.shell("late", "true")
    go(site)
    for process, said in ((both, "3 of 3 jobs ended: 3 finished\n"), (any_one, None)):
        out, error = process.communicate(timeout=PATIENCE_SECONDS)
        assert (process.returncode, error) == (0, "")
        assert said in (None, out)
    launcher.wait()


def test_wait_tells_of_failures(site: Site, waiting: Waiting) -> None:
    site.shell("bad", "exit 7")
    site.job("good")
    site.shell("slow", UNTIL_TOLD)
    fast = waiting("--wf", "w", "--for", "finished")
    launcher = site.start()
    out, error = fast.communicate(timeout=PATIENCE_SECONDS)
    assert (fast.returncode, out) == (1, "")
    bad = site.named("bad")
    assert f"({bad.pk} {bad.cute_id} FAILED); 'balsam why {bad.pk}' says why." in error
    go(site)
    launcher.wait()
    assert "3 of 3 jobs ended: 2 finished, 1 failed" in site.balsam("wait --wf w", 1)
    assert site.balsam("wait good") == "1 of 1 job ended: 1 finished\n"
    assert "No job matches" in site.balsam("wait --name nosuch", 1)


def test_wait_without_a_launcher_says_so_once(site: Site, waiting: Waiting) -> None:
    job = site.job("alone")
    alone = waiting("alone")
    assert alone.stderr is not None
    assert "no launcher is alive" in alone.stderr.readline()
    job.update_state(states.USER_KILLED)
    out, error = alone.communicate(timeout=PATIENCE_SECONDS)
    assert alone.returncode == 1
    assert "no launcher" not in error and "1 of 1 job ended: 1 killed" in error


def test_wait_can_be_interrupted(site: Site, waiting: Waiting) -> None:
    site.job("alone")
    process = waiting("alone")
    assert process.stderr is not None
    process.stderr.readline()  # the note about launchers: it is waiting by now
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=PATIENCE_SECONDS)[1] == "Interrupted.\n"
    assert process.returncode == 130


def test_watch_once(site: Site) -> None:
    site.shell("bad", "exit 7")
    launcher = busy(site, "first")
    site.until_state("bad", states.FAILED)
    text = site.balsam("watch --once")
    assert "1 of 2 jobs ended, 1 per minute\nRUNNING 1  FAILED 1\n" in text
    line = rf"process {launcher.process.pid}: 1 running, all workflows, (29|30) min.* left, heard"
    assert re.search(line, text), text
    first, bad = site.named("first"), site.named("bad")
    assert f"{first.pk} {first.cute_id} on " in text
    assert f"{bad.pk} {bad.cute_id} exit: RETURN CODE 7" in text
    found = json.loads(site.balsam("watch --once --json --name first"))
    assert found["counts"] == {states.RUNNING: 1}
    assert found["launchers"][0]["pid"] == launcher.process.pid
    assert "--once" in site.balsam("watch --json", 2)
    go(site)
    launcher.wait()


def test_watch_without_a_terminal_prints_lines_when_something_changed(site: Site) -> None:
    settings = site.path / "settings.yml"
    settings.write_text(
        settings.read_text().replace("launcher:\n", "launcher:\n  progress_seconds: 0.05\n", 1)
    )
    job = site.job("a")
    process = subprocess.Popen(
        [*BALSAM, "watch"], cwd=site.path, env=site.env, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert "0 running, 0 done, 0 failed, 1 waiting" in process.stdout.readline()
    job.update_state(states.USER_KILLED)
    assert "0 done, 1 failed, 0 waiting" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=PATIENCE_SECONDS)[0] == ""
    assert process.returncode == 0


def test_watch_on_a_terminal(site: Site, terminal: Terminal) -> None:
    job = site.job("a")
    process, screen = terminal("watch")
    read_until(screen, "CREATED 1")
    job.update_state(states.USER_KILLED)
    read_until(screen, "USER_KILLED 1")
    process.send_signal(signal.SIGINT)
    said = read_until(screen, None)
    assert "Traceback" not in said and "Interrupted" not in said
    assert process.wait(PATIENCE_SECONDS) == 0


def test_wait_on_a_terminal(site: Site, terminal: Terminal) -> None:
    jobs = [site.job(name) for name in ("a", "b")]
    process, screen = terminal("wait", "--wf", "w")
    read_until(screen, "0 of 2 jobs ended")
    assert "\r\n" in read_until(screen, "--consume-all")  # a line of its own
    jobs[0].update_state(states.JOB_FINISHED)
    read_until(screen, "1 of 2 jobs ended: 1 finished")
    jobs[1].update_state(states.JOB_FINISHED)
    assert read_until(screen, None).rstrip().endswith("2 of 2 jobs ended: 2 finished")
    assert process.wait(PATIENCE_SECONDS) == 0


@pytest.fixture
def terminal(site: Site) -> Iterator[Terminal]:
    """Start a command on a terminal of its own; the process, and what to read the screen from."""
    started: list[tuple[subprocess.Popen[bytes], int]] = []

    def start(*words: str) -> tuple[subprocess.Popen[bytes], int]:
        leader, follower = pty.openpty()
        process = subprocess.Popen(
            [*BALSAM, *words], cwd=site.path,
            env={**site.env, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"},
            stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
        )  # fmt: skip
        os.close(follower)
        started.append((process, leader))
        return process, leader

    yield start
    for process, leader in started:
        process.kill()
        process.wait()
        os.close(leader)


def read_until(terminal: int, wanted: str | None) -> str:
    """What comes from a terminal until these words do (None: until it is closed)."""
    said, end = "", time.monotonic() + PATIENCE_SECONDS
    while wanted is None or wanted not in said:
        if time.monotonic() > end:
            pytest.fail(f"no {wanted!r} in {said!r}")
        if not select.select([terminal], [], [], 0.1)[0]:
            continue
        try:
            more = os.read(terminal, 65536)
        except OSError:  # Linux says so when the last process has left
            more = b""
        if not more:
            if wanted is None:
                return said
            pytest.fail(f"it ended without {wanted!r}: {said!r}")
        said += more.decode(errors="replace")
    return said


@pytest.mark.sqlite
def test_a_project_of_an_older_schema_is_refused_and_upgraded(site: Site) -> None:
    import sqlite3

    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    from balsam.conf.bootstrap.opening import any_schema

    site.job("kept")
    with any_schema():
        MigrationExecutor(connection).migrate([("core", "0001_initial")])
    connection.close()
    file = Path(site.path / "balsamdb" / "balsam.sqlite3")
    database = sqlite3.connect(file)
    database.execute("PRAGMA user_version = 1")
    database.commit()
    database.close()
    assert f"run 'balsam init --upgrade {site.path}'" in site.balsam("ls", 1)
    assert "backup-schema1-" in site.balsam(f"init --upgrade {site.path}")
    assert "kept" in site.balsam("ls")
    assert len(list(file.parent.glob("backup-schema1-*"))) == 1
    assert BalsamJob.objects.count() == 1
    site.launch()
    assert site.state("kept") == states.JOB_FINISHED
