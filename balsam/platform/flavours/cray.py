"""Cray's launchers: aprun (ALPS) and the mpiexec of PALS."""

from __future__ import annotations

import re
from collections.abc import Sequence

from balsam.platform import families
from balsam.platform.flavours.flavour import Flavour, any_of, option
from balsam.platform.flavours.messages import BROKEN_INSTALLATION


def _colons(ranks: Sequence[Sequence[int]]) -> str:
    """``0,32:1,33``."""
    return ":".join(",".join(map(str, cpus)) for cpus in ranks)


def _node_id(host: str) -> str:
    """aprun knows nodes by number: ``nid00042`` is 42."""
    digits = re.search(r"(\d+)$", host)
    return str(int(digits[1])) if digits else host


APRUN = Flavour(
    name=families.APRUN,
    shares_nodes=False,
    label="Cray ALPS (aprun)",
    rank_variable="ALPS_APP_PE",
    line=(
        option("-n {ranks}"),
        option("-N {per_node}"),
        option("-L {hosts}", "hosts"),
        option("-cc none", "none"),
        option("-cc depth", "depth"),
        option("-cc cpu", "core"),
        option("-cc numa_node", "numa"),
        option("-cc {cpus}", "list"),
        option("-cc {wish}", "wish"),
        option("-d {threads}"),
        option("-j {threads_per_core}"),
    ),
    workers_line=(
        option("-n {ranks}"),
        option("-N 1"),
        option("-L {hosts}", "hosts"),
        option("-cc none"),
    ),
    spell=_node_id,
    params="plain",
    cpu_list=_colons,
    aliases={
        "pes": "n",
        "pes-per-node": "N",
        "node-list": "L",
        "cpu-binding": "cc",
        "depth": "d",
        "cpus-per-cu": "j",
    },
    remote=True,
    missing=(any_of(r"^aprun: file (?P<program>.+) not found"),),
    refused=any_of(r"^(?:apsched|aprun): ", BROKEN_INSTALLATION),
    lost=any_of(r"node event ec_node_(?:failed|halt|unavailable) for nid (\d+)"),
)

PALS = Flavour(
    name=families.PALS,
    label="HPE PALS (mpiexec)",
    rank_variable="PALS_RANKID",
    line=(
        option("-np {ranks}"),
        option("-ppn {per_node}"),
        option("--hosts {hosts}", "listed"),
        option("--hostfile {hosts_file}", "filed"),
        option("--cpu-bind none", "none"),
        option("--cpu-bind depth", "depth"),
        option("--cpu-bind core", "core"),
        option("--cpu-bind numa", "numa"),
        option("--cpu-bind list:{cpus}", "list"),
        option("--cpu-bind {wish}", "wish"),
        # With "core" it counts cores, otherwise hardware threads.
        option("-d {cores}", "core"),
        option("-d {threads}", "!core"),
        option("--envall"),
    ),
    workers_line=(
        option("-np {ranks}"),
        option("-ppn 1"),
        option("--hosts {hosts}", "listed"),
        option("--hostfile {hosts_file}", "filed"),
        option("--cpu-bind none"),
        option("--envall"),
    ),
    params="values",
    cpu_list=_colons,
    aliases={
        "n": "np",
        "host": "hosts",
        "hostfile": "hosts",
        "perhost": "ppn",
        "depth": "d",
        "genvall": "envall",
    },
    remote=True,
    # Seen on Polaris and Aurora, in the documentation of both and in reports of their users.
    refused=any_of(
        r"^launch failed on ", r"^mpiexec: (?:unrecognized|invalid) ", BROKEN_INSTALLATION
    ),
    ran=any_of(r"^\S+: rank \d+ (?:died from signal|exited with code) \d+"),
    lost=any_of(
        r"^ping failed on [^:\s]+: Couldn't forward RPC .* to child ([^:\s]+)",
        r"^ping failed on ([^:\s]+): No reply",
        r"^ping RPC timeout from (\S+) after",
        r"^([^:\s]+): shepherd died from signal",
    ),
)
