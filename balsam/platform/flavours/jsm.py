"""IBM's jsrun (Summit), which chooses the nodes of each launch by itself."""

from __future__ import annotations

from balsam.platform import families
from balsam.platform.flavours.flavour import Flavour, any_of, option
from balsam.platform.flavours.messages import BROKEN_INSTALLATION

#: A resource set for each rank. There is no list of hosts: jsrun places, and queues what must wait.
JSRUN = Flavour(
    name=families.JSRUN,
    shares_nodes=False,
    label="IBM JSM (jsrun)",
    rank_variable="JSM_NAMESPACE_RANK",
    line=(
        option("--nrs {ranks}"),
        option("--tasks_per_rs 1"),
        option("--rs_per_host {per_node}"),
        option("--cpu_per_rs {cores}"),
        option("--bind none", "none"),
        option("--bind packed:{cores}", "depth"),
        option("--bind packed:{cores}", "core"),
        option("--bind rs", "numa"),
        option("--bind rs", "list"),
        option("--bind {wish}", "wish"),
        option("--gpu_per_rs {gpus}"),
    ),
    workers_line=(
        option("--nrs {ranks}"),
        option("--tasks_per_rs 1"),
        option("--rs_per_host 1"),
        option("--cpu_per_rs ALL_CPUS"),
        option("--gpu_per_rs ALL_GPUS"),
        option("--bind none"),
    ),
    aliases={
        "n": "nrs",
        "a": "tasks_per_rs",
        "r": "rs_per_host",
        "c": "cpu_per_rs",
        "g": "gpu_per_rs",
        "b": "bind",
    },
    remote=True,
    refused=any_of(BROKEN_INSTALLATION),
)
