"""Latencies of an idle launcher: from a new job to RUNNING, and from an exit to its commit."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from dataclasses import dataclass, field

from tests.benchmarks.options import Options
from tests.benchmarks.project import ROOT, Bench, bench, seconds, stop, until
from tests.benchmarks.project_database import NAMES
from tests.benchmarks.table import Table

JOBS = 50
_STATE = "SELECT state FROM balsam_job WHERE id = ?"
_RUNNING = "SELECT timestamp FROM balsam_event WHERE job_id = ? AND to_state = 'RUNNING'"


@dataclass
class Times:
    """Milliseconds, one value for each job."""

    started: list[float] = field(default_factory=list)
    seen_running: list[float] = field(default_factory=list)
    committed: list[float] = field(default_factory=list)


def measure(options: Options) -> list[Table]:
    """Latencies in milliseconds, of jobs that come one at a time, on each database."""
    return [_measured(database) for database in options.databases]


def _measured(database: str) -> Table:
    times = Times()
    with bench(database) as made, _creator(made) as creator:
        _answer(creator)
        launcher = made.start("--persistent")
        try:
            _one(made, creator, Times())  # the launcher's own start is no latency
            for _ in range(JOBS):
                _one(made, creator, times)
        finally:
            stop(launcher)
            assert creator.stdin is not None
            creator.stdin.close()
    table = Table(
        f"An idle launcher: {JOBS} jobs, one at a time, {NAMES[database]}",
        "The jobs are created by another process through the Python API; each prints the time as "
        "its last act. What others see is found by asking the database every millisecond.",
    )
    table.add("begin of job.save() to its process started", "ms", times.started, most=100)
    table.add("begin of job.save() to RUNNING seen by others", "ms", times.seen_running, most=100)
    table.add("a task's last act to its outcome seen by others", "ms", times.committed, most=100)
    return table


def _creator(made: Bench) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.create_one_by_one"],
        env=made.environ,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _answer(creator: subprocess.Popen[str], question: str = "") -> str:
    assert creator.stdin is not None and creator.stdout is not None
    if question:
        print(question, file=creator.stdin, flush=True)
    return creator.stdout.readline()


def _one(made: Bench, creator: subprocess.Popen[str], times: Times) -> None:
    time.sleep(random.uniform(0.1, 0.2))  # meet the launcher's timers at any phase
    key, begin = _answer(creator, "next").split()
    seen = _seen(made, key, ("RUNNING",))
    done = _seen(made, key, ("RUN_DONE", "POSTPROCESSED", "JOB_FINISHED"))
    until(lambda: made.ask(_STATE, key) == "JOB_FINISHED", "the end of a job")
    (output,) = (made.path / "data" / "bench").glob(f"t{key}_*/t{key}.out")
    times.started.append(1e3 * (seconds(made.ask(_RUNNING, key)) - float(begin)))
    times.seen_running.append(1e3 * (seen - float(begin)))
    times.committed.append(1e3 * (done - float(output.read_text())))


def _seen(made: Bench, key: str, wanted: tuple[str, ...]) -> float:
    """When another process first saw the job in one of these states (epoch seconds)."""
    until(lambda: made.ask(_STATE, key) in wanted, f"{wanted[0]} of job {key}", pause=0.001)
    return time.time()
