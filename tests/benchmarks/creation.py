"""Bulk creation: jobs per second from dicts, objects and CSV files, against Django's own."""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from tests.benchmarks.options import POSTGRES, SQLITE, Options
from tests.benchmarks.project import Bench, bench, scratch
from tests.benchmarks.project_database import NAMES
from tests.benchmarks.table import Contender, Table, interleave, ratios

#: Jobs per second from rows, with their events.
BARS = {SQLITE: 20_000, POSTGRES: 30_000}
HOW = ("dicts", "stream", "objects", "django", "rows")
#: A file has so many more rows than a call: the start of the command counts, too.
FILE = 5


def measure(options: Options) -> list[Table]:
    """Rates in jobs per second on each database."""
    number = 20 * options.tasks
    table = Table(
        f"Bulk creation of {number:,} jobs",
        "One call in a process of its own. Balsam checks each value and writes the first event of "
        "each job too; Django's (``QuerySet.bulk_create`` of the same model objects) checks and "
        "writes none. Bare rows are tuples that are there already, given to the driver "
        "(``executemany`` on SQLite, ``COPY`` on Postgres), without events. The file has "
        f"{FILE * number:,} rows, and the time is that of the whole command.",
    )
    for database in options.databases:
        with bench(database) as made:
            contenders: dict[str, Contender] = {
                how: partial(_rate, made, how, number) for how in HOW
            }
            contenders["file"] = partial(_file_rate, made, FILE * number)
            rates = interleave(contenders, options.repeat)
        _add(table, database, rates)
    return [table]


def _add(table: Table, database: str, rates: dict[str, list[float]]) -> None:
    name, bar = NAMES[database], BARS[database]
    table.add(f"{name}: bulk_create of dicts, with events", "/s", rates["dicts"], least=bar)
    table.add(f"{name}: a stream of dicts, with events", "/s", rates["stream"], least=bar)
    table.add(f"{name}: balsam job --from-csv", "/s", rates["file"], least=bar)
    table.add(f"{name}: bulk_create of BalsamJob objects, with events", "/s", rates["objects"])
    table.add(f"{name}: Django's bulk_create of the same objects", "/s", rates["django"])
    table.add(f"{name}: bare rows", "/s", rates["rows"])
    table.add(
        f"{name}: objects to Django's", "x", ratios(rates["objects"], rates["django"]), least=3.0
    )


def _rate(made: Bench, how: str, number: int) -> float:
    return float(made.python("create_many", how, str(number)))


def _file_rate(made: Bench, number: int) -> float:
    rows = scratch() / "rows.csv"
    rows.write_text("x\n" + "".join(f"{index}\n" for index in range(number)))
    begin = time.perf_counter()
    _import(made, rows)
    return number / (time.perf_counter() - begin)


def _import(made: Bench, rows: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "balsam", "job", "--name", "t{{x}}", "--workflow", "bench", "--app",
         "task", "--args", "--index {{ x }}", "--from-csv", str(rows), "--yes"],
        env=made.environ, cwd=made.path, check=True, stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
