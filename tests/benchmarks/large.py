"""A campaign of more than a million jobs: making it, working on it, asking it, deleting of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from tests.benchmarks import listings, memory
from tests.benchmarks.options import POSTGRES, SQLITE, Options
from tests.benchmarks.project import Bench, bench
from tests.benchmarks.project_database import NAMES
from tests.benchmarks.stopwatch import read
from tests.benchmarks.table import Table

#: Milliseconds that an operation may take, by database; the rest is measured without a bar.
BARS: dict[str, dict[str, float]] = {
    "lease 1,000 runnable jobs": {SQLITE: 20, POSTGRES: 60},
    "counts by state": {SQLITE: 1000, POSTGRES: 1000},
    "workflows with their counts": {SQLITE: 1000, POSTGRES: 1000},
}
PEER = "peer: "


def measure(options: Options) -> list[Table]:
    """Tables of operations, questions, commands and memory, both databases in each."""
    jobs = f"{options.campaign:,} jobs"
    making = Table(
        f"A campaign of {jobs}",
        "Workflows of singles, chains, diamonds and fans, with tags; most have finished, with six "
        "to twelve events each. All the following is measured on it.",
    )
    parts: dict[str, Table] = {
        "ops_launcher": Table(
            f"What a launcher does to a record of {jobs}",
            "Each with its commit. The peers do the same by Django's own means, in the same round.",
        ),
        "ops_graph": Table(f"Large graphs, added to a record of {jobs}"),
        "ops_questions": Table(
            f"Questions to a record of {jobs}",
            "From Python, in a process that is there already. Analytics read every event, as a "
            "user would have it do by SQL, the ORM or the classic reports.",
        ),
    }
    commands = Table(
        f"Commands at {jobs}",
        "From the start of the command to its end. Tables stop at 5000 jobs, as by default.",
    )
    needs = Table(
        f"Memory of each process at {jobs}", "The largest resident set of the process itself."
    )
    for database in options.databases:
        with bench(database) as made:
            _make(made, making, options)
            for script, table in parts.items():
                _operations(made, table, script, options)
            _commands(made, commands, options)
            memory.measure(made, needs)
            _delete(made, commands, options)
    return [making, *parts.values(), commands, needs]


def _make(made: Bench, table: Table, options: Options) -> None:
    name = NAMES[made.kind]
    rate = made.python("campaign", str(made.path), "--jobs", str(options.campaign)).split()[-1]
    table.add(f"{name}: generated, jobs", "/s", [float(rate)])
    for what in ("job", "dependency", "event"):
        rows = made.ask(f"SELECT count(*) FROM balsam_{what}")
        table.add(f"{name}: rows of the table of {what}s", "", [rows])
    if made.kind == SQLITE:
        made.database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = (made.path / "balsamdb" / "balsam.sqlite3").stat().st_size
    else:
        size = made.ask("SELECT pg_database_size(current_database())")
    table.add(f"{name}: size", "MB", [size / 1e6])
    table.add(f"{name}: balsam fsck", "s", [_seconds(lambda: made.balsam("fsck"))])


def _operations(made: Bench, table: Table, script: str, options: Options) -> None:
    repeat = options.repeat if script != "ops_graph" else max(1, options.repeat // 3)
    times = read(made.python(script, str(repeat)))
    _add(table, made.kind, times)


def _add(table: Table, database: str, times: Mapping[str, list[float]]) -> None:
    for name, values in times.items():
        bar = BARS.get(name, {}).get(database)
        table.add(f"{NAMES[database]}: {name}", "ms", values, most=bar)


def _commands(made: Bench, table: Table, options: Options) -> None:
    for line in listings.COMMANDS:
        times = [listings.seconds(made, line.split()) for _ in range(max(3, options.repeat // 3))]
        table.add(f"{NAMES[made.kind]}: balsam {line}", "s", times, most=listings.BAR_SECONDS)


def _delete(made: Bench, table: Table, options: Options) -> None:
    largest = "campaign-0000"
    number = made.ask("SELECT count(*) FROM balsam_job WHERE workflow = ?", largest)
    took = _seconds(lambda: made.balsam("rm", "jobs", "--wf", largest, "--force"))
    table.add(f"{NAMES[made.kind]}: balsam rm of a workflow of {number:,} jobs", "s", [took])


def _seconds(action: Callable[[], None]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin
