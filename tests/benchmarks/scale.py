"""What a long history costs: throughput, memory and idle CPU of a launcher as the rows grow."""

from __future__ import annotations

import contextlib
import subprocess
import time

import psutil

from tests.benchmarks import history
from tests.benchmarks.memory import peak_of
from tests.benchmarks.options import Options
from tests.benchmarks.project import Bench, bench, stop, until
from tests.benchmarks.project_database import NAMES
from tests.benchmarks.serial import balsam_rate
from tests.benchmarks.table import Table, interleave, ratios

SMALL, MIDDLE = 1_000, 100_000
IDLE_SECONDS = 10.0
#: How long a launcher is watched that has a million jobs to pass on and to run.
WATCH_SECONDS = 30.0


def measure(options: Options) -> list[Table]:
    """Tables of throughput, and of what a launcher needs."""
    return [table for database in options.databases for table in _tables(options, database)]


def _tables(options: Options, database: str) -> list[Table]:
    with contextlib.ExitStack() as stack:
        middle, large = (stack.enter_context(bench(database)) for _ in range(2))
        history.add_finished(middle, MIDDLE)
        history.add_finished(large, options.rows)
        rates = interleave(
            {
                "small": lambda: _fresh(options.tasks, database),
                "middle": lambda: balsam_rate(middle, options.tasks),
                "large": lambda: balsam_rate(large, options.tasks),
            },
            options.repeat,
        )
        table = Table(
            f"{options.tasks:,} serial tasks in projects of different size, {NAMES[database]}",
            "The other jobs of each project have finished, with all their events.",
        )
        table.add(f"{SMALL:,} jobs", "/s", rates["small"])
        for name, number in (("middle", MIDDLE), ("large", options.rows)):
            table.add(f"{number:,} jobs", "/s", rates[name])
        for name, number in (("middle", MIDDLE), ("large", options.rows)):
            values = ratios(rates[name], rates["small"])
            table.add(f"{number:,} jobs to {SMALL:,}", "x", values, least=0.9)
        return [table, _needs(large, options)]


def _fresh(tasks: int, database: str) -> float:
    with bench(database) as made:
        history.add_finished(made, SMALL)
        return balsam_rate(made, tasks)


def _needs(large: Bench, options: Options) -> Table:
    table = Table(
        f"What a launcher needs, {NAMES[large.kind]}",
        "Memory is the largest resident set of the launcher's own process, CPU is of the launcher "
        "and its step workers, in percent of a core.",
    )
    large.python("add_jobs", str(options.tasks))
    launcher = large.start()
    peak = 0.0
    while launcher.poll() is None:
        peak = peak_of(launcher.pid) or peak
        time.sleep(0.05)
    what = f"memory: {options.rows:,} finished jobs, {options.tasks:,} run"
    table.add(what, "MB", [peak], most=200)
    _add_waiting(table, options, large.kind)
    with bench(large.kind) as made:
        table.add("idle CPU: empty project", "%", _idle(made), most=5)
    table.add(f"idle CPU: {options.rows:,} jobs", "%", _idle(large), most=5)
    return table


def _add_waiting(table: Table, options: Options, database: str) -> None:
    with bench(database) as made:
        history.add_waiting(made, options.rows)
        begin = time.monotonic()
        launcher = made.start("--persistent")
        try:
            begun = "SELECT 1 FROM balsam_job WHERE state IN ('RUNNING', 'JOB_FINISHED') LIMIT 1"
            until(lambda: made.ask(begun), "the first task", limit=600, pause=0.02)
            first = time.monotonic() - begin
            until(
                lambda: not made.ask("SELECT 1 FROM balsam_job WHERE state = 'CREATED' LIMIT 1"),
                "the way of all jobs to PREPROCESSED", limit=600, pause=0.5,
            )  # fmt: skip
            ready = time.monotonic() - begin
            time.sleep(max(0.0, WATCH_SECONDS - ready))
            peak = peak_of(launcher.pid)
        finally:
            stop(launcher)
    table.add(f"memory: {options.rows:,} new jobs", "MB", [peak], most=200)
    table.add(f"{options.rows:,} new jobs: start of the launcher to the first task", "s", [first])
    table.add(f"{options.rows:,} new jobs: start of the launcher to all runnable", "s", [ready])


def _idle(made: Bench) -> list[float]:
    launcher = made.start("--persistent")
    try:
        time.sleep(3.0)
        before = _cpu_seconds(launcher)
        begin = time.monotonic()
        time.sleep(IDLE_SECONDS)
        return [100 * (_cpu_seconds(launcher) - before) / (time.monotonic() - begin)]
    finally:
        stop(launcher)


def _cpu_seconds(launcher: subprocess.Popen[bytes]) -> float:
    process = psutil.Process(launcher.pid)
    total = 0.0
    for member in (process, *process.children(recursive=True)):
        times = member.cpu_times()
        total += times.user + times.system
    return total
