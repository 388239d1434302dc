"""Serial tasks through an ensemble of 4 ranks on this host: their rate, and what waiting costs."""

from __future__ import annotations

import importlib.util
import json
import os
import sys

from balsam.errors import MpiUnavailable
from balsam.platform import mpirun
from tests.benchmarks.options import Options
from tests.benchmarks.project import ROOT, run_peer, scratch
from tests.benchmarks.serial import PEERS
from tests.benchmarks.table import Contender, Table, interleave, ratios

RANKS = 4
_NOTE = (
    f"{RANKS} ranks on this host, each with a keeper, one task at a time on each, and one more "
    "that waits for its end. The driver of the ensemble commits nothing. Waiting is measured when "
    "nothing has happened for a while: from the order to start a task to "
    "its start on the node, from its end to when the launcher knows, and the CPU time of ranks and "
    "keepers."
)


def measure(options: Options) -> list[Table]:
    """Rates in tasks per second, waiting in milliseconds; no table where there is no mpirun."""
    try:
        program = mpirun.find_mpirun("auto", os.environ)
        label = mpirun.detect(program, "auto").label
    except MpiUnavailable as error:
        print(f"No benchmark of ensembles: {error}")
        return []
    tasks, waits = options.tasks, list[dict[str, float]]()
    contenders: dict[str, Contender] = {
        "ensemble": lambda: _ensemble(program, tasks, waits),
        "spawn": lambda: _peer("spawn_loop.py", tasks, RANKS),
        "spawn2": lambda: _peer("spawn_loop.py", tasks, options.cores),
    }
    if importlib.util.find_spec("hyperqueue"):
        contenders["hyperqueue"] = lambda: _peer("hyperqueue_local.py", tasks, options.cores)
    found = interleave(contenders, options.repeat)
    table = Table(f"Ensemble of {RANKS} ranks: {tasks:,} times /bin/true", f"{label}. {_NOTE}")
    names = {
        "spawn": (f"a bare posix_spawn loop, {RANKS} in flight", 0.5),
        "spawn2": ("a bare posix_spawn loop", 0.5),
        "hyperqueue": ("HyperQueue", 2.0),
    }
    table.add("Ensemble", "/s", found["ensemble"])
    for key, (name, _) in names.items():
        if key in found:
            table.add(name, "/s", found[key])
    for key, (name, bar) in names.items():
        if key in found:
            values = ratios(found["ensemble"], found[key])
            table.add(f"Ensemble to {name}", "x", values, least=bar)
    table.add("mpirun to all nodes ready", "s", [wait["ready"] for wait in waits])
    table.add("order to start, median", "ms", [wait["start"] for wait in waits], most=10)
    table.add("end to known, median", "ms", [wait["end"] for wait in waits], most=10)
    table.add("a rank and its keeper idle", "% of a core", [w["idle"] for w in waits], most=2)
    return [table]


def _ensemble(program: str, tasks: int, waits: list[dict[str, float]]) -> float:
    directory = scratch()
    words = [sys.executable, "-m", "tests.benchmarks.ensemble_driver", program, str(RANKS)]
    said = run_peer(
        [*words, str(tasks), str(directory)], ROOT, {**os.environ, "PYTHONPATH": str(ROOT)}
    )
    found = json.loads(said.splitlines()[-1])
    waits.append(found)
    return float(found["rate"])


def _peer(script: str, tasks: int, in_flight: int) -> float:
    directory = scratch()
    words = [sys.executable, str(PEERS / script), str(tasks), str(in_flight), str(directory)]
    return tasks / float(run_peer(words, directory).split()[-1])
