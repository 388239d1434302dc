"""Serial throughput: no-op tasks, each with its output in a file, by Balsam and by its peers."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from tests.benchmarks.options import Options
from tests.benchmarks.project import Bench, bench, run_peer, scratch
from tests.benchmarks.project_database import NAMES
from tests.benchmarks.table import Contender, Table, interleave, ratios

PEERS = Path(__file__).parent / "peers"
#: One long run beside the rounds.
LONG = 10_000
_NOTE = (
    "As many tasks in flight as there are cores, where not said otherwise. Balsam's rate is from "
    "the first RUNNING to the commit of the last JOB_FINISHED, with a work directory and eight "
    "events for each job, each committed; HyperQueue's (its local cluster, no journal) is from "
    "its first output file to its last; GNU parallel's and the loop's are from start to end. "
    "Ratios are taken in each round."
)


def measure(options: Options) -> list[Table]:
    """Rates in tasks per second, all on the same cores in the same rounds."""
    tasks, cores = options.tasks, options.cores
    whole: dict[str, list[float]] = {database: [] for database in options.databases}
    contenders: dict[str, Contender] = {
        database: partial(_balsam, database, tasks, whole[database])
        for database in options.databases
    }
    contenders |= {
        "spawn": lambda: _spawn_loop(tasks, cores),
        "spawn4": lambda: _spawn_loop(tasks, 4),
    }
    if importlib.util.find_spec("hyperqueue"):
        contenders["hyperqueue"] = lambda: _hyperqueue(tasks, cores)
    if shutil.which("parallel"):
        contenders["parallel"] = lambda: parallel_rate(tasks, cores)
    found = interleave(contenders, options.repeat)
    return [_table(tasks, one, found, whole[one]) for one in options.databases]


def _table(
    tasks: int, database: str, found: Mapping[str, Sequence[float]], whole: Sequence[float]
) -> Table:
    table = Table(f"Serial tasks: {tasks:,} times /bin/true, {NAMES[database]}", _NOTE)
    table.add("Balsam", "/s", found[database])
    table.add("Balsam, start and end of the launcher included", "/s", whole)
    names = {
        "hyperqueue": ("HyperQueue", 2.0),
        "parallel": ("GNU parallel", 3.0),
        "spawn": ("a bare posix_spawn loop", 0.5),
        "spawn4": ("a bare posix_spawn loop, 4 in flight", 0.5),
    }
    for key, (name, _) in names.items():
        if key in found:
            table.add(name, "/s", found[key])
    for key, (name, bar) in names.items():
        if key in found:
            values = ratios(found[database], found[key])
            table.add(f"Balsam to {name}", "x", values, least=bar)
    ran: list[float] = []
    table.add(f"Balsam, {LONG:,} tasks in one go", "/s", [_balsam(database, LONG, ran)])
    table.add(f"Balsam, {LONG:,} tasks in one go, from command to prompt", "s", [LONG / ran[0]])
    return table


def _balsam(database: str, tasks: int, whole: list[float]) -> float:
    with bench(database) as made:
        return balsam_rate(made, tasks, whole)


def balsam_rate(made: Bench, tasks: int, whole: list[float] | None = None) -> float:
    """Tasks per second of one launcher on a project to which that many tasks are added."""
    after = made.last_event()
    made.python("add_jobs", str(tasks))
    took = made.run()
    if whole is not None:
        whole.append(tasks / took)
    return tasks / made.span(after, tasks)


def _spawn_loop(tasks: int, in_flight: int) -> float:
    directory = scratch()
    words = [sys.executable, str(PEERS / "spawn_loop.py"), str(tasks), str(in_flight)]
    return tasks / float(run_peer([*words, str(directory)], directory))


def _hyperqueue(tasks: int, cores: int) -> float:
    directory = scratch()
    words = [sys.executable, str(PEERS / "hyperqueue_local.py"), str(tasks), str(cores)]
    return tasks / float(run_peer([*words, str(directory)], directory).split()[-1])


def parallel_rate(tasks: int, cores: int) -> float:
    """Tasks per second of GNU parallel, so many at once."""
    directory = scratch()
    listed = directory / "tasks"
    listed.write_text("".join(f"{index}\n" for index in range(tasks)))
    words = ["parallel", "--will-cite", f"-j{cores}", "-a", str(listed), "/bin/true > {}.out 2>&1"]
    begin = time.perf_counter()
    run_peer(words, directory)
    took = time.perf_counter() - begin
    if sum(1 for _ in directory.glob("*.out")) != tasks:
        raise RuntimeError("GNU parallel left some tasks out")
    return tasks / took
