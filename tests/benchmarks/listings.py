"""What people type at a large campaign, from the start of the command to its end."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tests.benchmarks.options import Options
from tests.benchmarks.project import Bench, bench, scratch
from tests.benchmarks.project_database import NAMES
from tests.benchmarks.table import Table

JOBS = 100_000
#: With the default limit of tables (5000) unless they count or say otherwise.
COMMANDS = (
    "ls",
    "ls --by-states",
    "ls --by-reason",
    "ls wf",
    "ls --state FAILED",
    "ls --name job77",
    "ls job*7",
    "ls --wf campaign-0003 --tag group=3",
    "ls --since 1h --order-by -num_nodes,name",
    "ls --parent 50",
    "ls last --verbose",
    "ls --history",
    "ls --verbose",
    "ls --tree",
    "why job999",
    "watch --once",
)
#: Each writes all the jobs.
DUMPS = ("ls --csv", "ls --json")
BAR_SECONDS = 1.0


def measure(options: Options) -> list[Table]:
    """Tables of listings and of bulk commands, on each database."""
    return [table for database in options.databases for table in _measured(database, options)]


def _measured(database: str, options: Options) -> list[Table]:
    with bench(database) as made:
        made.python("campaign", str(made.path), "--jobs", str(JOBS))
        table = Table(
            f"Commands at {JOBS:,} jobs, {NAMES[database]}",
            "With dependencies, tags, and six to twelve events a job. Tables stop at "
            "5000 jobs, as they do by default; --csv and --json write all of them.",
        )
        for line in (*COMMANDS, *DUMPS):
            times = [seconds(made, line.split()) for _ in range(max(3, options.repeat // 2))]
            table.add(f"balsam {line}", "s", times, most=BAR_SECONDS)
        bulk = _bulk(made)
    return [table, bulk]


def _bulk(made: Bench) -> Table:
    name = f"Bulk commands at {JOBS:,} jobs, {NAMES[made.kind]}"
    table = Table(name, "Each once, on the project above.")
    rows = scratch() / "rows.csv"
    rows.write_text("x\n" + "".join(f"{index}\n" for index in range(JOBS)))
    add = f"job --name n{{{{x}}}} --workflow csv --app simulate --from-csv {rows} --yes"
    for name, line in [
        (f"job --from-csv of {JOBS:,} rows", [*add.split(), "--args", "{{ x }}"]),
        ("modify --wf csv num_nodes 2", ["modify", "--wf", "csv", "num_nodes", "2", "--yes"]),
        ("kill --wf csv", ["kill", "--wf", "csv", "--yes"]),
        ("retry --wf csv", ["retry", "--wf", "csv", "--yes"]),
        ("fsck", ["fsck"]),
        ("backup", ["backup", str(Path(scratch()) / "copy.sqlite3")]),
        ("rm jobs --wf csv", ["rm", "jobs", "--wf", "csv", "--force"]),
    ]:
        table.add(f"balsam {name}", "s", [seconds(made, line)])
    return table


def seconds(made: Bench, words: list[str]) -> float:
    """From the start of a command to its end; CalledProcessError if it fails."""
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "balsam", *words],
        env=made.environ, cwd=made.path, check=True, stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - begin
