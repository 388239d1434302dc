"""Serial tasks through an ensemble of 4 ranks: their rate, and what waiting costs."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from functools import partial

from balsam.errors import MpiUnavailable
from balsam.launcher.far import MOST_AHEAD
from balsam.platform import mpirun
from tests.benchmarks import nodes
from tests.benchmarks.options import Options
from tests.benchmarks.project import ROOT, run_peer, scratch
from tests.benchmarks.project_database import NAMES
from tests.benchmarks.serial import PEERS, parallel_rate
from tests.benchmarks.table import Contender, Table, interleave, ratios

RANKS = 4
#: A launcher gets so many times the tasks, for its nodes do not begin at once.
LAUNCHER_ROUNDS = 12
_NOTE = (
    f"{RANKS} ranks on this host, each with a keeper, one task at a time on each, and {MOST_AHEAD} "
    "more that wait for its end, as many as a launcher sends ahead of such short ones. The driver "
    "of the ensemble commits nothing. Waiting is measured when nothing has happened for a while: "
    "from the order to start a task to its start on the node, from its end to when the launcher "
    "knows, and the CPU time of ranks and keepers."
)


_LAUNCHER_NOTE = (
    f"{RANKS} emulated hosts of this machine, one task at a time on each. As with one node, every "
    "job gets a work directory and eight events, each committed, and the time is from the first "
    "RUNNING to the commit of the last JOB_FINISHED."
)
_PEERS = {
    "spawn": (f"a bare posix_spawn loop, {RANKS} in flight", 0.5),
    "spawn2": ("a bare posix_spawn loop", 0.5),
    "hyperqueue": ("HyperQueue", 2.0),
    "parallel": ("GNU parallel", 3.0),
}


def measure(options: Options) -> list[Table]:
    """Rates in tasks per second, waiting in milliseconds; no table where there is no mpirun."""
    try:
        program = mpirun.find_mpirun("auto", os.environ)
        label = mpirun.detect(program, "auto").label
    except MpiUnavailable as error:
        print(f"No benchmark of ensembles: {error}")
        return []
    return [*_launchers(options, label), _drivers(options, program, label)]


def _peers(options: Options) -> dict[str, Contender]:
    tasks = options.tasks
    peers: dict[str, Contender] = {
        "spawn": lambda: _peer("spawn_loop.py", tasks, RANKS),
        "spawn2": lambda: _peer("spawn_loop.py", tasks, options.cores),
    }
    if importlib.util.find_spec("hyperqueue"):
        peers["hyperqueue"] = lambda: _peer("hyperqueue_local.py", tasks, options.cores)
    return peers


def _compare(table: Table, name: str, found: Mapping[str, Sequence[float]], own: str) -> None:
    table.add(name, "/s", found[own])
    there = {key: peer for key, peer in _PEERS.items() if key in found}
    for key, (peer, _) in there.items():
        table.add(peer, "/s", found[key])
    for key, (peer, bar) in there.items():
        table.add(f"{name} to {peer}", "x", ratios(found[own], found[key]), least=bar)


def _launchers(options: Options, label: str) -> list[Table]:
    """Whole launchers; no table where no hosts can be emulated."""
    tasks, of_peers = LAUNCHER_ROUNDS * options.tasks, options.tasks
    with nodes.emulated(RANKS) as hosts:
        if hosts is None:
            return []
        contenders = _peers(options)
        if shutil.which("parallel"):
            contenders["parallel"] = lambda: parallel_rate(of_peers, options.cores)
        for database in options.databases:
            contenders[database] = partial(nodes.rate, hosts, tasks, database)
        found = interleave(contenders, options.repeat)
    tables = []
    for database in options.databases:
        title = f"A launcher over {RANKS} nodes: {tasks:,} times /bin/true, {NAMES[database]}"
        table = Table(title, f"{label}. {_LAUNCHER_NOTE}")
        _compare(table, "Balsam", found, database)
        tables.append(table)
    return tables


def _drivers(options: Options, program: str, label: str) -> Table:
    """The ensemble alone."""
    tasks, waits = options.tasks, list[dict[str, float]]()
    contenders = {"own": partial(_ensemble, program, tasks, waits), **_peers(options)}
    found = interleave(contenders, options.repeat)
    table = Table(f"Ensemble of {RANKS} ranks: {tasks:,} times /bin/true", f"{label}. {_NOTE}")
    _compare(table, "Ensemble", found, "own")
    table.add("mpirun to all nodes ready", "s", [wait["ready"] for wait in waits])
    table.add("order to start, median", "ms", [wait["start"] for wait in waits], most=10)
    table.add("end to known, median", "ms", [wait["end"] for wait in waits], most=10)
    table.add("a rank and its keeper idle", "% of a core", [w["idle"] for w in waits], most=2)
    return table


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
