"""MPI tasks: Balsam's rate against a shell loop over the same mpirun lines."""

from __future__ import annotations

import importlib.util
import os
import shlex
import sys
import time

from balsam.errors import MpiUnavailable
from balsam.platform import mpirun
from tests.benchmarks.options import Options
from tests.benchmarks.project import bench, run_peer, scratch
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
    table = Table(
        f"MPI tasks of {RANKS} ranks",
        f"{flavour.label}. The loop is bash with ``wait -n`` and runs the very lines that Balsam runs, "
        "each with its output in a file; its time is from start to end, Balsam's from the first "
        "RUNNING to the last commit. Ratios are taken in each round.",
    )
    cases = [("/bin/true", options.tasks // 5)]
    if importlib.util.find_spec("mpi4py"):
        cases.append((f"{sys.executable} -c '{IMPORT}'", max(10, options.tasks // 50)))
    for command, tasks in cases:
        words = shlex.split(command)
        line = flavour.command(program, words, ranks=RANKS, ranks_per_node=RANKS)
        for at_once in (1, 2):
            found = interleave(
                {
                    "balsam": lambda: _balsam(command, tasks, at_once),
                    "shell": lambda: _shell(line, flavour.environ(), tasks, at_once),
                },
                options.repeat,
            )
            what = f"{os.path.basename(words[0])} x {tasks}, {at_once} at once"
            if len(words) > 1:
                what = f"Python importing mpi4py x {tasks}, {at_once} at once"
            table.add(f"Balsam: {what}", "/s", found["balsam"])
            table.add(f"shell loop: {what}", "/s", found["shell"])
            values = ratios(found["balsam"], found["shell"])
            table.add(f"Balsam to the shell loop: {what}", "x", values, least=0.9)
    return [table]


def _balsam(command: str, tasks: int, at_once: int) -> float:
    with bench() as made:
        made.python("add_jobs", str(tasks), command, str(RANKS), str(at_once))
        made.run()
        return tasks / made.span(0, tasks)


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
