"""What it costs to know what each attempt used: CPU time, memory, and what it read and wrote."""

from __future__ import annotations

import sys
from functools import partial

from tests.benchmarks.options import Options
from tests.benchmarks.project import ROOT, run_peer, scratch
from tests.benchmarks.serial import PEERS
from tests.benchmarks.table import Table, interleave, ratios

#: Longer than other rounds: the difference is small.
ROUND = 4


def measure(options: Options) -> list[Table]:
    """Rates of tasks that are reaped with and without it, in the same rounds."""
    tasks = ROUND * options.tasks
    found = interleave(
        {how: partial(_rate, tasks, options.cores, how) for how in ("bare", "measured")},
        options.repeat,
    )
    table = Table(
        f"The resource use of an attempt: {tasks:,} times /bin/true",
        "Tasks are started and reaped as by a launcher, without any database; the bare loop asks "
        "for no more than the exit status. The processes live for less than a millisecond, so this "
        "is the largest share of anything that it can be.",
    )
    table.add("With CPU time, memory and I/O of each", "/s", found["measured"])
    table.add("With the exit status only", "/s", found["bare"])
    values = ratios(found["measured"], found["bare"])
    table.add("Measured to bare", "x", values, least=0.98)
    return [table]


def _rate(tasks: int, cores: int, how: str) -> float:
    directory = scratch()
    words = [sys.executable, str(PEERS / "reap_loop.py"), str(tasks), str(cores), str(directory)]
    took = run_peer([*words, how], directory, {"PYTHONPATH": str(ROOT)})
    return tasks / float(took)
