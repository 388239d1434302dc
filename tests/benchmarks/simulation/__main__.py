"""Simulate launchers on large allocations.

``python -m tests.benchmarks.simulation --nodes 128,1024 --lengths 360 --db sqlite`` prints a table;
each run is the real launcher on a project of its own, see docs/simulation.rst.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tests.benchmarks import machine
from tests.benchmarks.options import DATABASES
from tests.benchmarks.project import bench, workspace
from tests.benchmarks.project_database import NAMES
from tests.benchmarks.simulation import ideal, plot, report
from tests.benchmarks.simulation.case import Allocation
from tests.benchmarks.simulation.stage import set_stage
from tests.benchmarks.simulation.waits import longest_wait
from tests.benchmarks.simulation.workload import SHORT, Workload

NOTE = (
    "Used: the share of all cores, from the launcher's begin to the end of the last task, in which "
    "a task ran. Of ideal: what a launcher without any delay would have needed for the same tasks "
    "in the same order, to what this one did. CPU is the launcher's share of one core."
)


@dataclass(frozen=True)
class Kind:
    """Tasks of one kind: their mean seconds, how many at once on a node, how many in turn."""

    seconds: float
    slots: int = 1
    waves: int = 10
    wide: bool = False

    @property
    def name(self) -> str:
        """As the table says it."""
        length = f"{self.seconds / 60:g} min" if self.seconds >= 60 else f"{self.seconds:g} s"
        many = f", {self.slots} a node" if self.slots > 1 else ""
        return f"{length}{many}{', some wide' if self.wide else ''}"

    def workload(self, nodes: int, spread: float) -> Workload:
        """As many tasks as fill all slots ``waves`` times."""
        plain = Workload(nodes * self.slots * self.waves, self.seconds, spread)
        if not self.wide:
            return plain
        # A quarter of the work is done by jobs of 2 nodes up to half of the allocation.
        widths = tuple(width for width in (2, nodes // 16, nodes // 4, nodes // 2) if width > 1)
        wide = len(widths) * max(1, round(plain.number / 4 / sum(widths)))
        narrow = round((plain.number - wide * sum(widths) / len(widths)) / ((1 + SHORT) / 2))
        return replace(plain, number=narrow + wide, wide=wide, widths=widths)


#: What the documentation shows; the lengths are those of the reports on earlier Balsam.
KINDS = (
    Kind(360.0),
    Kind(60.0),
    Kind(360.0, wide=True),
    Kind(360.0, slots=64, waves=2),
    Kind(9.0, slots=64, waves=4),
)


def simulate(kind: Kind, nodes: int, database: str, given: argparse.Namespace) -> dict[str, Any]:
    """One run, in a project and processes of its own."""
    workload = kind.workload(nodes, given.spread)
    allocation = Allocation(nodes, kind.slots, profile=given.profile or "")
    with bench(database) as made:
        set_stage(made.path, made.environ, allocation)
        made.python("simulation.workload", workload.dump())
        found: dict[str, Any] = json.loads(
            made.python("simulation.case", json.dumps(asdict(allocation)))
        )
        finished = made.ask("SELECT count(*) FROM balsam_job WHERE state = 'JOB_FINISHED'")
        if found["code"] or finished != workload.number:
            raise RuntimeError(f"{finished} of {workload.number} jobs finished: {found['code']}")
        waited = longest_wait(made.database.execute) if kind.wide else None
    best = None
    if not kind.wide:
        best = ideal.makespan(workload.lengths(), nodes * kind.slots) / found["use"]["makespan"]
    return {**found, "kind": kind.name, "database": database, "of_ideal": best, "wide_wait": waited}


def _kinds(given: argparse.Namespace) -> Iterator[Kind]:
    if not given.lengths:
        yield from KINDS
        return
    for length in given.lengths.split(","):
        yield Kind(float(length), given.slots, given.waves, given.wide)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.simulation")
    parser.add_argument("--nodes", default="128,1024,4096,8192", help="separated by commas")
    parser.add_argument("--lengths", help="mean seconds of the tasks; those of the page if none")
    parser.add_argument("--spread", type=float, default=0.2, help="of the lengths, 0 to 1")
    parser.add_argument("--slots", type=int, default=1, help="tasks at once on a node")
    parser.add_argument("--waves", type=int, default=10, help="tasks in turn on each slot")
    parser.add_argument("--wide", action="store_true", help="a quarter of the work is wide jobs")
    parser.add_argument("--db", default="sqlite", help="sqlite,postgres")
    parser.add_argument("--most-tasks", type=int, default=700_000, help="leave out larger runs")
    parser.add_argument("--scratch", type=Path, help="where to put the projects")
    parser.add_argument("--profile", help="write the launcher's profile (cProfile) there")
    parser.add_argument("--phases", action="store_true", help="show where its time went")
    parser.add_argument("--json", type=Path, help="write the results there, a line each")
    parser.add_argument("--read", type=Path, help="take results from such a file, run nothing")
    parser.add_argument("--rst", type=Path, help="write the tables there")
    parser.add_argument("--svg", type=Path, help="draw there; needs matplotlib")
    given = parser.parse_args()
    databases = given.db.split(",")
    if not set(databases) <= set(DATABASES):
        parser.error(f"the databases are {', '.join(DATABASES)}")
    facts = machine.describe()
    for what, value in facts:
        print(f"{what}: {value}")
    if given.read:
        results = [json.loads(line) for line in given.read.read_text().splitlines()]
    else:
        results = _simulate_all(given, databases)
    _publish(given, facts, databases, results)


def _simulate_all(given: argparse.Namespace, databases: list[str]) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    for kind in _kinds(given):
        for nodes in sorted(map(int, given.nodes.split(","))):
            for database in databases:
                if nodes * kind.slots * kind.waves > given.most_tasks:
                    continue
                with workspace(given.scratch):
                    found = simulate(kind, nodes, database, given)
                results.append(found)
                kin = [one for one in results if one["database"] == database]
                print(report.text(f"{NAMES[database]}, {kind.name}", kin[-1:]), flush=True)
                if given.phases:
                    print(report.phases(found), flush=True)
                if given.json:
                    with given.json.open("a") as lines:
                        print(json.dumps(found), file=lines)
    return results


def _publish(
    given: argparse.Namespace,
    facts: list[tuple[str, str]],
    databases: list[str],
    results: list[dict[str, Any]],
) -> None:
    pages = [".. Written by the simulation; see simulation.rst.", ""]
    pages += [f":{name}: {value}" for name, value in facts]
    pages.append("")
    for database in databases:
        kin = [one for one in results if one["database"] == database]
        if kin:
            print(report.text(NAMES[database], kin))
            pages.append(report.rst(NAMES[database], NOTE, kin))
    if given.rst:
        given.rst.write_text("\n".join(pages))
    if given.svg:
        plot.draw([one for one in results if one["database"] == databases[0]], given.svg)


if __name__ == "__main__":
    main()
