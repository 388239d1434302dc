"""Run the benchmarks: ``python -m tests.benchmarks [--only serial,mpi] [--rst FILE]``.

Each prints a table; nothing here fails because the machine is slow.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import (
    concurrency,
    creation,
    ensemble,
    large,
    latency,
    listings,
    machine,
    mpi,
    scale,
    serial,
    startup,
    usage,
    writers,
)
from tests.benchmarks.options import DATABASES, Options
from tests.benchmarks.project import workspace
from tests.benchmarks.table import Table, merged, page

BENCHMARKS: dict[str, Callable[[Options], list[Table]]] = {
    "serial": serial.measure,
    "ensemble": ensemble.measure,
    "mpi": mpi.measure,
    "latency": latency.measure,
    "usage": usage.measure,
    "creation": creation.measure,
    "startup": startup.measure,
    "listings": listings.measure,
    "scale": scale.measure,
    "large": large.measure,
    "concurrency": concurrency.measure,
    "writers": writers.measure,
}

#: Of a developer's shell: with them every command would compile all of Balsam, which pip has done
#: once for whoever installed it, and write each line by itself.
NOT_A_USERS = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")


def main() -> None:
    for name in NOT_A_USERS:
        os.environ.pop(name, None)
    default = Options()
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", default=",".join(BENCHMARKS), help="names, separated by commas")
    parser.add_argument("--tasks", type=int, default=default.tasks, help="tasks in a round")
    parser.add_argument("--repeat", type=int, default=default.repeat, help="rounds")
    parser.add_argument("--cores", type=int, default=default.cores, help="tasks at once")
    parser.add_argument("--rows", type=int, default=default.rows, help="jobs of the largest one")
    parser.add_argument("--campaign", type=int, default=default.campaign, help="its jobs")
    parser.add_argument("--db", default=",".join(default.databases), help="sqlite,postgres")
    parser.add_argument("--scratch", type=Path, help="where to put projects and output files")
    parser.add_argument(
        "--rst", type=Path, help="write the tables there, for the documentation; its others stay"
    )
    given = parser.parse_args()
    names = given.only.split(",")
    for name in names:
        if name not in BENCHMARKS:
            parser.error(f"there is no benchmark '{name}'; there are {', '.join(BENCHMARKS)}")
    databases = tuple(given.db.split(","))
    for name in databases:
        if name not in DATABASES:
            parser.error(f"there is no database '{name}'; there are {', '.join(DATABASES)}")
    options = Options(given.tasks, given.repeat, given.cores, given.rows, given.campaign, databases)
    facts = machine.describe()
    for what, value in facts:
        print(f"{what}: {value}")
    tables: list[Table] = []
    if given.scratch:
        given.scratch.mkdir(parents=True, exist_ok=True)
    with workspace(given.scratch):
        for name in names:
            for table in BENCHMARKS[name](options):
                print(f"\n{table.text()}", flush=True)
                tables.append(table)
    facts.append(("load when it ended", " ".join(f"{load:.1f}" for load in os.getloadavg())))
    print(f"{facts[-1][0]}: {facts[-1][1]}")
    if given.rst:
        old = given.rst.read_text() if given.rst.exists() else ""
        given.rst.write_text(merged(old, page(facts, tables)))


if __name__ == "__main__":
    main()
