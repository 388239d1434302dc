"""The tool that forks commands ends them, tells of them and comes back after a failure."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from django.db import connection

import balsam
from tests.tools import prepared

from .conftest import Site

SECONDS = 60


def test_code_streams_and_environment(tmp_path: Path) -> None:
    env = {**os.environ, "HOME": str(tmp_path)}
    done = prepared.run_text(["--version"], cwd=tmp_path, env=env, timeout=SECONDS)
    assert (done.returncode, done.stderr) == (0, "") and balsam.__version__ in done.stdout
    done = prepared.run_text(["ls"], cwd=tmp_path, env=env, timeout=SECONDS)
    assert done.returncode == 1 and "balsam init" in done.stderr
    done = prepared.run_text(["init", "here"], cwd=tmp_path, env=env, timeout=SECONDS)
    assert done.returncode == 0 and (tmp_path / "here" / "settings.yml").is_file()
    env["BALSAM_DB_PATH"] = str(tmp_path / "here")
    done = prepared.run_text(["which"], cwd=tmp_path, env=env, timeout=SECONDS)
    assert str(tmp_path / "here") in done.stdout
    assert "BALSAM_DB_PATH" not in os.environ


def test_what_hangs_is_ended_and_the_next_gets_its_own_answer(site: Site) -> None:
    site.job("never")
    connection.close()
    begin = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        prepared.run(["wait", "never"], cwd=site.path, env=site.env, timeout=3)
    assert time.monotonic() - begin < 30
    assert b"launcher" in (caught.value.stderr or b"") + (caught.value.output or b"")
    assert site.balsam("ls --by-states").split() == ["CREATED", "1"]


def test_what_is_forked_is_told_as_a_process_that_was_started(site: Site) -> None:
    site.shell("job", "exec sleep 600")
    ends = (signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGKILL, -signal.SIGKILL)
    for number, code in ends:
        launcher = site.start()
        site.until_state("job", "RUNNING")
        assert launcher.running and os.getpgid(launcher.process.pid) == launcher.process.pid
        with pytest.raises(subprocess.TimeoutExpired):
            launcher.process.wait(0.01)
        launcher.signal(number)
        assert launcher.process.wait(SECONDS) == launcher.process.returncode == code
        launcher.signal(signal.SIGTERM)  # to nobody
    launcher = site.start("--no-such-option")
    assert "--no-such-option" in launcher.wait(2)


def test_a_process_is_killed_at_the_call_it_was_told(site: Site) -> None:
    words = ["ls"]
    named = {"cwd": site.path, "env": site.env, "timeout": SECONDS}
    for when, code in (("before", -signal.SIGKILL), ("after", -signal.SIGKILL)):
        point = ("balsam.core.models:BalsamJob.objects.all", when, 10_000)
        assert prepared.run(words, killed_at=point, **named).returncode == 0
        point = ("balsam.conf.project:Project.__init__", when, 1)
        assert prepared.run(words, killed_at=point, **named).returncode == code
    assert prepared.run(words, **named).returncode == 0
