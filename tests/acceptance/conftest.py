"""Real projects and real launchers for the acceptance ring, and diagnoses when they fail."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from balsam import states
from balsam.conf import current
from balsam.conf.project import Project
from balsam.core.care import fsck
from balsam.core.models import ApplicationDefinition, BalsamJob, EventLog, Session
from balsam.core.models.session import ENDED
from balsam.platform import node
from balsam.platform.process import marked_processes, signal_all
from tests import databases
from tests.tools import drill, prepared
from tests.tools.emulated import wait_for
from tests.tools.fixtures import all_hosts, clusters, hosts, slurm

__all__ = ["all_hosts", "clusters", "hosts", "slurm"]

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "programs"
BALSAM = (sys.executable, "-m", "balsam")
#: Longer than anything here takes on a busy machine.
PATIENCE_SECONDS = 60.0

SETTINGS = """\
launcher:
  idle_exit_seconds: {idle_exit_seconds}
  heartbeat_seconds: {heartbeat_seconds}
  lease_seconds: {lease_seconds}
  stop_grace_seconds: {stop_grace_seconds}
  kill_grace_seconds: 0.3
  cores_per_node: {cores_per_node}
  crash_limit: {crash_limit}
  max_launches: {max_launches}
transitions:
  num_workers: {num_workers}
  hook_time_limit_seconds: {hook_time_limit_seconds}
jobs:
  max_attempts: {max_attempts}
mpi:
  mpirun: {mpirun}
logging:
  level: {level}
"""
DEFAULTS: dict[str, object] = {
    "idle_exit_seconds": 0.5,
    "heartbeat_seconds": 5,
    "lease_seconds": 60,
    "stop_grace_seconds": 2,
    "cores_per_node": 2,
    "crash_limit": 5,
    "max_launches": 0,
    "num_workers": 2,
    "hook_time_limit_seconds": 60,
    "max_attempts": 10,
    "mpirun": "auto",
    "level": "INFO",
}


class Launcher:
    """A launcher process; what it prints is kept in a file.

    It is forked (see ``prepared``), and may be killed at a call, unless a program is to start it.
    """

    def __init__(
        self,
        site: Site,
        arguments: tuple[str, ...],
        program: tuple[str, ...] = (),
        killed_at: drill.Point | None = None,
    ) -> None:
        self.site = site
        self.screen = site.home / f"screen-{uuid.uuid4().hex[:8]}.txt"
        words = ("launcher", *arguments)
        self.process: subprocess.Popen[bytes] | prepared.Command
        with open(self.screen, "wb") as screen:
            if not program:
                streams = [screen.fileno(), screen.fileno()]
                self.process = prepared.Command(words, site.path, site.env, streams, killed_at)
                return
            self.process = subprocess.Popen(
                [*program, *words],
                cwd=site.path,
                env=site.env,
                stdin=subprocess.DEVNULL,
                stdout=screen,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        """What it has printed."""
        return self.screen.read_text()

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def signal(self, number: int) -> None:
        """Send it, and only it, a signal."""
        self.process.send_signal(number)

    def wait(self, code: int = 0, seconds: float = PATIENCE_SECONDS) -> str:
        """What it printed, once it has ended with ``code``."""
        try:
            found = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the launcher did not end in {seconds:g} s\n{self.site.diagnosis()}")
        if found != code:
            pytest.fail(f"the launcher ended with {found}, not {code}\n{self.site.diagnosis()}")
        return self.said

    def close(self) -> None:
        """Leave no process of it behind."""
        if self.running:
            self.process.kill()
        self.process.wait()


def _is_free(database: Path) -> bool:
    """Whether one can write to an SQLite database soon."""
    with contextlib.closing(sqlite3.connect(database, timeout=1.0)) as other:
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
    return True


class Site:
    """A project, the environment its commands run in, and questions about its record."""

    def __init__(self, path: Path, home: Path) -> None:
        self.path = path
        self.home = home
        self.settings_file = path / "settings.yml"
        self.runs = home / "runs.txt"
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("BALSAM")}
        self.env.update(HOME=str(home), PYTHONPATH=str(ROOT), RUNS=str(self.runs))
        self._launchers: list[Any] = []

    # -- doing ----------------------------------------------------------------------------------

    def settings(self, database: dict[str, object] | None = None, **changed: object) -> None:
        """Write settings for short waits, with these changed."""
        text = SETTINGS.format(**{**DEFAULTS, **changed})
        databases.write_settings(Project(self.path), text, **(database or {}))

    def balsam(self, line: str, code: int = 0) -> str:
        """What a command prints, which has to end with ``code``."""
        done = prepared.run_text(
            shlex.split(line), cwd=self.path, env=self.env, timeout=PATIENCE_SECONDS
        )
        assert done.returncode == code, f"{line}: {done.returncode} {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def start(
        self,
        *arguments: str,
        program: tuple[str, ...] = (),
        killed_at: drill.Point | None = None,
    ) -> Launcher:
        """Start a launcher (of all jobs, if no arguments are given)."""
        launcher = Launcher(self, arguments or ("--consume-all",), program, killed_at)
        self._launchers.append(launcher)
        return launcher

    def adopt(self, launcher: Any) -> None:
        """Tell of and close a launcher that was started in another way."""
        self._launchers.append(launcher)

    def launch(self, *arguments: str, code: int = 0, seconds: float = PATIENCE_SECONDS) -> str:
        """Run a launcher to its end; what it printed."""
        return self.start(*arguments).wait(code, seconds)

    def drill(self, target: str, when: str, number: int, *arguments: str) -> Launcher:
        """Start a launcher that is killed at the ``number``-th call of a target."""
        return self.start(*arguments, killed_at=(target, when, number))

    def app(self, name: str, executable: str, **fields: Any) -> str:
        """Register an application; its name."""
        ApplicationDefinition.register(name=name, executable=executable, **fields)
        return name

    def job(self, name: str, command: str = "/bin/true", **fields: Any) -> BalsamJob:
        """Add a job of a direct command, or of an application."""
        job = BalsamJob(name=name, **_described(command, fields))
        job.save()
        return job

    def shell(self, name: str, script: str, **fields: Any) -> BalsamJob:
        """Add a job that runs a shell script."""
        return self.job(name, f"/bin/sh -c {shlex.quote(script)}", **fields)

    def shells(self, names: list[str], script: str, **fields: Any) -> None:
        """Add many such jobs at once."""
        command = f"/bin/sh -c {shlex.quote(script)}"
        given = {"workflow": "w", "direct_command": command, **fields}
        BalsamJob.objects.bulk_create([{"name": name, **given} for name in names])

    # -- asking ---------------------------------------------------------------------------------

    def named(self, name: str) -> BalsamJob:
        """The job of that name, as it is now."""
        job: BalsamJob = BalsamJob.objects.get(name=name)
        return job

    def state(self, name: str) -> str:
        """The state of the job of that name."""
        return str(BalsamJob.objects.values_list("state", flat=True).get(name=name))

    def path_of(self, name: str) -> list[str]:
        """The states the job of that name went through."""
        events = EventLog.objects.filter(job__name=name).order_by("id")
        return [event.to_state for event in events if event.from_state != event.to_state]

    def ends(self, name: str) -> list[EventLog]:
        """The events that say why attempts of the job (or the job itself) ended."""
        events = EventLog.objects.filter(job__name=name).order_by("id")
        return [event for event in events if "cause" in event.data]

    def end(self, name: str) -> EventLog:
        """The last of them."""
        ends = self.ends(name)
        if not ends:
            pytest.fail(f"nothing says why {name} ended\n{self.diagnosis()}")
        return ends[-1]

    def output(self, name: str, number: str = "") -> str:
        """What the last attempt of a job printed, or an earlier one (``.1``)."""
        return (Path(self.named(name).working_directory) / f"{name}.out{number}").read_text()

    def counts(self) -> dict[str, int]:
        """State -> number of jobs."""
        return dict(BalsamJob.objects.counts_by_state())

    def ran(self) -> list[str]:
        """The lines that tasks have appended to $RUNS."""
        return self.runs.read_text().splitlines() if self.runs.exists() else []

    def processes(self) -> list[int]:
        """Living tasks and hooks of this project."""
        return [
            pid for pid in marked_processes("BALSAM_SITE_PATH", str(self.path)) if not _zombie(pid)
        ]

    def family(self, name: str) -> list[tuple[int, int]]:
        """Pids and start times of all processes of a job that is ``family.sh``, once they run."""
        pids = Path(self.named(name).working_directory, "family.pids")
        self.until(pids.exists, f"{name} runs")
        return [(pid, node.start_time(pid)) for pid in map(int, pids.read_text().split())]

    # -- judging --------------------------------------------------------------------------------

    def until(
        self, condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS
    ) -> float:
        """Wait for a condition; the seconds that took."""
        begin = time.monotonic()
        if not wait_for(condition, seconds):
            pytest.fail(f"not in {seconds:g} s: {what}\n{self.diagnosis()}")
        return time.monotonic() - begin

    def suspend(self, launcher: Any) -> None:
        """Stop a launcher, but not within a transaction: in SQLite that keeps out everybody."""

        def outside() -> bool:
            launcher.signal(signal.SIGSTOP)
            if connection.vendor != "sqlite" or _is_free(Project(self.path).database_file):
                return True
            launcher.signal(signal.SIGCONT)
            return False

        self.until(outside, "it is stopped outside of its transactions")

    def until_state(self, name: str, *wanted: str) -> None:
        """Wait until a job is in one of these states."""
        self.until(lambda: self.state(name) in wanted, f"{name} becomes {' or '.join(wanted)}")

    def check_clean(self) -> None:
        """No process, lease, open session or journal is left behind; the record is sound."""
        self.until(lambda: not self.processes(), "tasks and hooks end", 5)
        leased = list(BalsamJob.objects.filter(session__isnull=False).values_list("name", "state"))
        living = list(Session.objects.exclude(state=ENDED).values_list("id", "state"))
        journals = [path.name for path in (self.path / "log" / "outcomes").glob("*")]
        if leased or living or journals:
            pytest.fail(f"left: {leased=} {living=} {journals=}\n{self.diagnosis()}")
        self.check_paths()
        report = fsck.check_project(Project(self.path))
        if not report.sound:
            pytest.fail(f"{report.findings}\n{self.diagnosis()}")

    def check_paths(self) -> None:
        """Every history is a path of the state machine that ends where the job is."""
        here = dict.fromkeys(BalsamJob.objects.values_list("id", flat=True), "")
        for event in EventLog.objects.order_by("id"):
            if event.from_state == event.to_state:
                continue
            legal = not event.from_state or any(
                states.is_legal(event.from_state, event.to_state, actor) for actor in states.MOVES
            )
            if not legal or here[event.job_id] != event.from_state:
                pytest.fail(
                    f"job {event.job_id} went from {here[event.job_id]!r} by an event "
                    f"{event.from_state!r} -> {event.to_state!r}\n{self.diagnosis()}"
                )
            here[event.job_id] = event.to_state
        assert here == dict(BalsamJob.objects.values_list("id", "state"))

    def all_finished(self) -> None:
        """Every job is JOB_FINISHED."""
        counts = self.counts()
        if set(counts) - {states.JOB_FINISHED}:
            pytest.fail(f"not all finished: {counts}\n{self.diagnosis()}")

    def diagnosis(self) -> str:
        """What is there to know: screens, the log, and the histories of what did not go well."""
        parts = [f"--- counts: {self.counts()}"]
        parts += [f"alive: {pid} {' '.join(words(pid))}" for pid in self.processes()]
        for launcher in self._launchers:
            code = launcher.process.poll()
            parts.append(f"--- screen of {launcher.process.pid} ({code}):\n{launcher.said}")
        for log in sorted((self.path / "log").glob("*.log")):
            parts.append(f"--- {log.name}:\n{log.read_text()[-4000:]}")
        jobs = BalsamJob.objects.exclude(state=states.JOB_FINISHED).order_by("id")
        parts += [f"--- {job.cute_id}:\n{job.state_history}" for job in jobs[:8]]
        return "\n".join(parts)

    def close(self) -> None:
        """End what is left of the launchers and their tasks."""
        with contextlib.ExitStack() as all_of_it:
            all_of_it.callback(lambda: signal_all(self.processes(), signal.SIGKILL))
            for launcher in self._launchers:
                all_of_it.callback(launcher.close)


def gone(members: list[tuple[int, int]]) -> bool:
    """Whether none of these processes lives."""
    return not any(node.process_alive(*member) for member in members)


def _described(command: str, fields: dict[str, Any]) -> dict[str, Any]:
    given = {"workflow": "w", **fields}
    return given if "application" in given else {"direct_command": command, **given}


def words(pid: int) -> list[str]:
    """The command line of a process, empty once it is dead."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
    except OSError:
        return []


def _zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.fixture(scope="module", autouse=True)
def record_allowed(django_db_blocker: Any) -> Iterator[None]:
    """These projects are real: pytest-django's guard of a test database has no part in it."""
    with django_db_blocker.unblock():
        yield


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty project to copy, made by ``balsam init``."""
    home = tmp_path_factory.mktemp("pristine")
    env = {k: v for k, v in os.environ.items() if not k.startswith("BALSAM")}
    env.update(HOME=str(home), PYTHONPATH=str(ROOT))
    engine = databases.new()
    where = ["--db", engine.url, "--password-file", engine.password_file] if engine.url else []
    command = [*BALSAM, "init", "project", *where]
    subprocess.run(command, cwd=home, env=env, check=True, capture_output=True)
    return home / "project"


def copy_project(pristine: Path, directory: Path) -> Path:
    """A copy that is a project of its own."""
    path = directory / "project"
    databases.copy(pristine, path)
    marker = path / ".balsam-site"
    identity = {**json.loads(marker.read_text()), "id": uuid.uuid4().hex}
    marker.unlink()
    marker.write_text(json.dumps(identity))
    return path


def opened(pristine: Path, directory: Path) -> Iterator[Site]:
    """A project of its own, which this process works on too."""
    before = os.environ.get("BALSAM_DB_PATH")
    connection.close()
    site = Site(copy_project(pristine, directory), directory)
    os.environ["BALSAM_DB_PATH"] = str(site.path)
    current.forget()
    used = databases.name_of(site.path)
    site.settings()
    try:
        yield site
    finally:
        site.close()
        connection.close()
        databases.drop(used)
        os.environ.pop("BALSAM_DB_PATH")
        if before is not None:
            os.environ["BALSAM_DB_PATH"] = before
        current.forget()


@pytest.fixture
def site(pristine: Path, tmp_path: Path) -> Iterator[Site]:
    """An empty project with settings for short waits."""
    yield from opened(pristine, tmp_path)
