"""MPI tasks: Balsam's rate against a shell loop over the same mpirun lines."""

from __future__ import annotations

import importlib.util
import os
import shlex
import sys
import time
from functools import partial

from balsam.errors import MpiUnavailable
from balsam.platform import mpirun
from balsam.platform.flavours import Flavour, Launch
from tests.benchmarks.options import Options
from tests.benchmarks.project import Bench, bench, run_peer, scratch, stop, until
from tests.benchmarks.project_database import NAMES
from tests.benchmarks.table import Table, interleave, ratios

RANKS = 2
IMPORT = "from mpi4py import MPI"


def measure(options: Options) -> list[Table]:
    """Rates in tasks per second; no table where there is no mpirun."""
    try:
        program = mpirun.find_mpirun("auto", os.environ)
        flavour = mpirun.detect(program, "auto")
    except MpiUnavailable as error:
        print(f"No MPI benchmark: {error}")
        return []
    return [_table(options, one, program, flavour) for one in options.databases]


def _table(options: Options, database: str, program: str, flavour: Flavour) -> Table:
    table = Table(
        f"MPI tasks of {RANKS} ranks, {NAMES[database]}",
        f"{flavour.label}. The loop is bash with ``wait -n`` and runs the very lines that Balsam "
        "runs, each with its output in a file; its time is from start to end. Balsam's launcher "
        "waits for jobs, and its time is from the first RUNNING to the last commit. Many short "
        "rounds, ratios taken in each.",
    )
    cases = [("true", "/bin/true", max(10, options.tasks // 10))]
    if importlib.util.find_spec("mpi4py"):
        python = f"{sys.executable} -c '{IMPORT}'"
        cases.append(("Python importing mpi4py", python, max(10, options.tasks // 100)))
    for name, command, tasks in cases:
        launch = Launch(RANKS, RANKS)
        line = flavour.run(program, shlex.split(command), launch)
        for at_once in (1, 2):
            with bench(database) as made:
                launcher = made.start("--persistent")
                try:
                    found = interleave(
                        {
                            "balsam": partial(_balsam, made, command, tasks, at_once),
                            "shell": partial(_shell, line, flavour.environ(launch), tasks, at_once),
                        },
                        3 * options.repeat,
                    )
                finally:
                    stop(launcher)
            what = f"{name} x {tasks}, {at_once} at once"
            table.add(f"Balsam: {what}", "/s", found["balsam"])
            table.add(f"shell loop: {what}", "/s", found["shell"])
            values = ratios(found["balsam"], found["shell"])
            table.add(f"Balsam to the shell loop: {what}", "x", values, least=0.9)
    return table


def _balsam(made: Bench, command: str, tasks: int, at_once: int) -> float:
    after = made.last_event()
    made.python("add_jobs", str(tasks), command, str(RANKS), str(at_once))
    unfinished = "SELECT count(*) FROM balsam_job WHERE state <> 'JOB_FINISHED'"
    until(lambda: not made.ask(unfinished), "the end of the MPI jobs", limit=600, pause=0.25)
    return tasks / made.span(after, tasks)


def _shell(line: list[str], environ: dict[str, str], tasks: int, at_once: int) -> float:
    directory = scratch()
    loop = directory / "loop.sh"
    loop.write_text(
        f"for i in $(seq {tasks}); do\n"
        f"  {shlex.join(line)} > $i.out 2>&1 < /dev/null &\n"
        f"  (( ++running > {at_once} - 1 )) && wait -n\n"
        "done\n"
        "wait\n"
    )
    begin = time.perf_counter()
    run_peer(["bash", str(loop)], directory, {**os.environ, **environ})
    return tasks / (time.perf_counter() - begin)
