"""A project with its own Postgres server, which is killed, stopped, filled up and crowded."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection

from balsam import states
from balsam.conf import current
from balsam.conf.postgres import life, server
from balsam.conf.project import Project
from balsam.core.models import BalsamJob

from .conftest import BALSAM, ROOT, Site

pytestmark = pytest.mark.server
NOTE = 'echo "$BALSAM_JOB_ID" >> "$RUNS"'


def made(path: Path, home: Path) -> Iterator[Site]:
    """A project made by ``balsam init --db postgres``, which this process works on too."""
    connection.close()
    site = Site(path, home)
    subprocess.run(
        [*BALSAM, "init", str(path), "--db", "postgres"],
        cwd=home, env=site.env, check=True, capture_output=True,
    )  # fmt: skip
    before = os.environ.get("BALSAM_DB_PATH")
    os.environ["BALSAM_DB_PATH"] = str(path)
    current.forget()
    own_server(site)
    try:
        yield site
    finally:
        site.close()
        connection.close()
        server.stop(Project(path))
        os.environ.pop("BALSAM_DB_PATH")
        if before is not None:
            os.environ["BALSAM_DB_PATH"] = before
        current.forget()


def own_server(site: Site, **database: object) -> None:
    """Settings for short waits, of a project with a server of its own."""
    site.settings()
    lines = "".join(f"  {name}: {value}\n" for name, value in database.items())
    text = site.settings_file.read_text()
    head, _, rest = text.partition("launcher:\n")
    assert "url" not in head or 'url: ""' in head
    site.settings_file.write_text(f"database:\n  engine: postgres\n{lines}launcher:\n{rest}")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    yield from made(tmp_path / "project", tmp_path)


def postmaster(site: Site) -> int:
    found = life.look(Project(site.path))
    assert found.pid
    return found.pid


def gated(site: Site, number: int) -> Path:
    """Jobs that run until the file is there."""
    gate = site.home / "gate"
    script = f"{NOTE}; while [ ! -f {gate} ]; do sleep 0.02; done"
    site.shells([f"n{index}" for index in range(number)], script)
    return gate


def each_ran_once(site: Site) -> None:
    site.all_finished()
    assert max(Counter(site.ran()).values()) == 1
    assert len(set(site.ran())) == BalsamJob.objects.count()
    site.check_clean()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_killed_server_is_started_again_and_nothing_is_lost(site: Site, number: int) -> None:
    """Killed as soon as the first tasks run, while they run, and again and again."""
    site.shells([f"s{index}" for index in range(60)], f"{NOTE}; sleep 0.05")
    launcher = site.start()
    for round in range(number):
        site.until(lambda r=round: len(site.ran()) > 10 * r, "tasks run")
        connection.close()
        os.kill(postmaster(site), signal.SIGKILL)
    launcher.wait()
    connection.close()
    each_ran_once(site)


def test_a_server_that_is_away_for_longer_than_a_lease_costs_nothing(site: Site) -> None:
    """Nobody starts it; tasks end meanwhile, and two launchers come back at the same time."""
    own_server(site, auto_start="false")
    site.settings_file.write_text(
        site.settings_file.read_text()
        .replace("heartbeat_seconds: 5", "heartbeat_seconds: 0.5")
        .replace("lease_seconds: 60", "lease_seconds: 2")
    )
    gate = gated(site, 4)
    launchers = [site.start(), site.start()]
    site.until(lambda: site.counts().get(states.RUNNING) == 4, "both launchers run two")
    connection.close()
    server.stop(Project(site.path))
    for launcher in launchers:
        site.until(lambda one=launcher: "does not answer" in one.said, "they have noticed")
    gate.touch()
    journals = site.path / "log" / "outcomes"
    site.until(
        lambda: sum(p.read_text().count('"kind":"end"') for p in journals.glob("*")) == 4,
        "the ends are journalled",
    )
    away = [launcher.said.count("does not answer") for launcher in launchers]
    for launcher, said in zip(launchers, away, strict=True):  # a second each: longer than a lease
        site.until(
            lambda one=launcher, n=said: one.said.count("does not answer") >= n + 3, "time passes"
        )
    server.start(Project(site.path))
    for launcher in launchers:
        launcher.wait()
    each_ran_once(site)


@pytest.mark.parametrize("seed", range(2))
def test_a_full_disk_under_the_server_loses_nothing(tmp_path: Path, seed: int) -> None:
    """Before anything else has run, or in the midst of it."""
    after = random.Random(seed).randrange(1, 40) if seed else 0
    directory = tmp_path / "project" / "balsamdb"
    directory.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", str(directory)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small file system")
    try:
        for site in made(tmp_path / "project", tmp_path):
            _fill_up(site, directory / "ballast", after)
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def _fill_up(site: Site, ballast: Path, after: int) -> None:
    gate = gated(site, 2)
    site.shells([f"s{index}" for index in range(200)], f"{NOTE}; seq 3000")
    launcher = site.start()
    site.until(lambda: site.counts().get(states.RUNNING) == 2, "two run")
    if after:
        gate.touch()
        site.until(lambda: len(site.ran()) >= after, "some have run")
    with pytest.raises(OSError, match="No space"), open(ballast, "wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))
    if not after:  # else all that it may begin without a commit may have run by now
        gate.touch()
        full = len(site.ran())
        site.until(lambda: len(site.ran()) > full + 2, "tasks go on for a while")
    site.until(lambda: "does not answer" in launcher.said, "it says that it can not commit")
    ballast.unlink()
    launcher.wait()
    connection.close()
    site.all_finished()
    assert max(Counter(site.ran()).values()) == 1
    site.check_clean()


def test_more_clients_than_connections_are_served_in_turn(site: Site) -> None:
    project = Project(site.path)
    connection.close()
    server.stop(project)
    with open(project.cluster_dir / "postgresql.conf", "a") as configuration:
        configuration.write("max_connections = 8\nsuperuser_reserved_connections = 0\n")
    server.start(project)
    script = (
        "import sys, time\n"
        "from balsam.launcher import dag\n"
        "job = dag.add_job(name=sys.argv[1], direct_command='/bin/true')\n"
        "time.sleep(0.5)\n"  # while it holds its connection
        "assert dag.BalsamJob.objects.get(pk=job.pk).name == sys.argv[1]\n"
    )
    env = {**site.env, "BALSAM_DB_PATH": str(site.path), "PYTHONPATH": str(ROOT)}
    clients = [
        subprocess.Popen(
            [sys.executable, "-c", script, f"client{index}"],
            env=env, stderr=subprocess.PIPE, text=True,
        )
        for index in range(24)
    ]  # fmt: skip
    said = [client.communicate(timeout=120)[1] for client in clients]
    assert [client.returncode for client in clients] == [0] * 24, said
    assert BalsamJob.objects.count() == 24
