"""Several launchers and many clients at one record: throughput, the worst wait, and errors."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import IO

from tests.benchmarks.options import Options
from tests.benchmarks.project import ROOT, Bench, bench, stop
from tests.benchmarks.project_database import NAMES
from tests.benchmarks.stopwatch import read
from tests.benchmarks.table import Table

LAUNCHERS, CLIENTS, SECONDS = 3, 64, 30.0
ROWS = 100_000
#: Nobody waits longer for one write, in milliseconds; SQLite gives up after 60,000.
WORST_WAIT = 10_000.0


@dataclass
class Found:
    """What came of one run: times in milliseconds, and everything that went wrong."""

    writes: list[float] = field(default_factory=list)
    reads: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    finished: int = 0


def measure(options: Options) -> list[Table]:
    """One table for all databases."""
    rows = min(ROWS, options.campaign)
    table = Table(
        f"{LAUNCHERS} launchers and {CLIENTS} dag clients at once",
        f"For {SECONDS:.0f} seconds, at a campaign of {rows:,} jobs on two cores. Each client adds "
        "jobs with dependencies, changes and asks for them, and sleeps a quarter of a second in "
        "between; the launchers run all there is. An error is a client or launcher that ends with "
        "one, or a locked database in a log.",
    )
    for database in options.databases:
        with bench(database) as made:
            made.python("campaign", str(made.path), "--jobs", str(rows))
            found = _together(made)
        name = NAMES[database]
        table.add(f"{name}: writes of the clients", "/s", [len(found.writes) / SECONDS])
        for what, times in (("write", found.writes), ("read", found.reads)):
            table.add(f"{name}: {what} of a client", "ms", times)
            ordered = sorted(times)
            table.add(f"{name}: {what}, 99 in 100", "ms", [ordered[len(ordered) * 99 // 100]])
        worst = max(found.writes)
        table.add(f"{name}: longest wait for a write", "ms", [worst], most=WORST_WAIT)
        table.add(f"{name}: jobs finished meanwhile", "/s", [found.finished / SECONDS])
        table.add(f"{name}: errors", "", [len(found.errors)], most=0)
        for error, number in Counter(found.errors).most_common(10):
            print(f"{number} times: {error}", file=sys.stderr)
    return [table]


def _together(made: Bench) -> Found:
    found = Found()
    with tempfile.TemporaryFile("w+") as complaints:
        made.python("client", "first", "0")  # makes the application
        clients = [_client(made, f"{index:02d}", complaints) for index in range(CLIENTS)]
        for client in clients:
            if _stream(client.stdout).readline() != "ready\n":
                found.errors.append("a client could not begin")
        launchers = [made.start("--persistent") for _ in range(LAUNCHERS)]
        try:
            time.sleep(5.0)  # into their stride
            before = _finished(made)
            for client in clients:
                if client.poll() is None:
                    _stream(client.stdin).write("go\n")
                    _stream(client.stdin).flush()
            _gather(clients, found)
            found.finished = _finished(made) - before
        finally:
            for launcher in launchers:
                stop(launcher)
        found.errors += [
            f"a launcher ended with {one.returncode}" for one in launchers if one.returncode
        ]
        complaints.seek(0)  # what they say is of more interest than their exit codes
        found.errors[:0] = [line.rstrip() for line in complaints if "rror" in line]
    for log in (made.path / "log").glob("*.log"):
        lines = log.read_text(errors="replace").splitlines()
        found.errors += [line for line in lines if "locked" in line or "deadlock" in line]
    return found


def _gather(clients: list[subprocess.Popen[str]], found: Found) -> None:
    for client in clients:
        printed, _ = client.communicate(timeout=SECONDS + 300)
        if client.returncode:
            found.errors.append(f"a client ended with {client.returncode}")
            continue
        times = read(printed)
        found.writes += times["write"]
        found.reads += times["read"]


def _client(made: Bench, name: str, complaints: IO[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.client", name, str(SECONDS), "wait"],
        env=made.environ, cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints,
    )  # fmt: skip


def _stream(one: IO[str] | None) -> IO[str]:
    assert one is not None
    return one


def _finished(made: Bench) -> int:
    return int(made.ask("SELECT count(*) FROM balsam_job WHERE state = 'JOB_FINISHED'"))
