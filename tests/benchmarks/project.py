"""Throw-away projects, and launchers as processes of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.options import POSTGRES, SQLITE
from tests.benchmarks.project_database import Plain, seconds

ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def workspace(parent: Path | None = None) -> Iterator[Path]:
    """Where all scratch directories are, until the run is over.

    Nothing is removed earlier: on some file systems (ext4 without a journal) making files is
    several times slower for minutes after others were deleted, so one contender would pay for
    another.
    """
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="balsam-benchmark-", dir=parent) as path:
        tempfile.tempdir = path
        try:
            yield Path(path)
        finally:
            tempfile.tempdir = before


def scratch() -> Path:
    """A new directory in the workspace."""
    return Path(tempfile.mkdtemp())


class Bench:
    """A fresh project, the environment for its processes, a plain connection to look at it."""

    def __init__(self, home: Path, database: str = SQLITE) -> None:
        self.kind = database
        self.path = home / "project"
        self.environ = {
            **os.environ,
            "HOME": str(home),
            "PYTHONPATH": str(ROOT),
            "BALSAM_DB_PATH": str(self.path),
        }
        if database == POSTGRES:
            self.balsam("init", str(self.path), "--db", database)
        else:
            self.balsam("init", str(self.path))
        self.database = Plain(self.path, database)

    def balsam(self, *words: str) -> None:
        """Run a command of the command line."""
        subprocess.run(
            [sys.executable, "-m", "balsam", *words],
            env=self.environ,
            cwd=self.path.parent,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def python(self, script: str, *words: str) -> str:
        """Run a script of this directory against the project; what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", f"tests.benchmarks.{script}", *words],
            env=self.environ, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        return done.stdout

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start ``balsam launcher`` for all jobs; end it with :func:`stop`."""
        return subprocess.Popen(
            [sys.executable, "-m", "balsam", "launcher", "--consume-all", *words],
            env=self.environ,
            cwd=self.path,
            stdout=subprocess.DEVNULL,
        )

    def run(self, *words: str) -> float:
        """Run a launcher to its end; the seconds that took."""
        begin = time.perf_counter()
        launcher = self.start(*words)
        if launcher.wait():
            raise RuntimeError(f"the launcher ended with {launcher.returncode}")
        return time.perf_counter() - begin

    def ask(self, query: str, *parameters: Any) -> Any:
        """The first value that a query finds."""
        row = self.database.execute(query, parameters).fetchone()
        return row[0] if row else None

    def span(self, after: int, expected: int) -> float:
        """Seconds from the first RUNNING to the last commit of a finished job, in new events."""
        finished = self.ask(
            "SELECT count(*) FROM balsam_event WHERE id > ? AND to_state = 'JOB_FINISHED'", after
        )
        if finished != expected:
            raise RuntimeError(f"{finished} of {expected} jobs finished")
        first = self.ask(
            "SELECT min(timestamp) FROM balsam_event WHERE id > ? AND to_state = 'RUNNING'", after
        )
        last = self.ask(
            "SELECT max(timestamp) FROM balsam_event WHERE id > ? AND to_state = 'JOB_FINISHED'",
            after,
        )
        return seconds(last) - seconds(first)

    def last_event(self) -> int:
        """The id of the newest event."""
        return self.ask("SELECT max(id) FROM balsam_event") or 0

    def close(self) -> None:
        """Let go of the database, and end its server."""
        self.database.close()
        if self.kind == POSTGRES:
            self.balsam("server", "stop")


@contextlib.contextmanager
def bench(database: str = SQLITE) -> Iterator[Bench]:
    """A project in a directory of its own."""
    made = Bench(scratch(), database)
    try:
        yield made
    finally:
        made.close()


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a launcher that this benchmark started."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    process.wait(30)


def run_peer(words: Sequence[str], cwd: Path, environ: dict[str, str] | None = None) -> str:
    """Run another program to its end; what it prints."""
    done = subprocess.run(
        words, cwd=cwd, env=environ, check=True, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    return done.stdout


def until(condition: Any, what: str, limit: float = 60.0, pause: float = 0.005) -> None:
    """Wait for a condition; TimeoutError says what did not happen."""
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {limit:g} seconds")
        time.sleep(pause)
