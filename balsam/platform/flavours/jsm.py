"""IBM's jsrun (Summit), which chooses the nodes of each launch by itself."""

from __future__ import annotations

from balsam.errors import LaunchError
from balsam.platform import families
from balsam.platform.flavours.flavour import Flavour, any_of, option
from balsam.platform.flavours.launch import Launch
from balsam.platform.flavours.messages import BROKEN_INSTALLATION

#: People write 0.33 for a third.
_ROUNDING = 0.05


def _rank_set(launch: Launch) -> tuple[int, int]:
    """The ranks that share a GPU are one resource set; otherwise each rank is one."""
    wanted, there = launch.gpus_per_rank, launch.ranks_per_node
    if wanted == int(wanted):
        return 1, int(wanted)
    sharing = round(1 / wanted)
    together = min(sharing, there)
    if abs(wanted * sharing - 1) > _ROUNDING or there % together:
        raise LaunchError(
            f"jsrun can not give {wanted:g} GPUs to each of {there} ranks on a node: gpus_per_rank "
            "has to be a whole number, or 1/k for a k that divides the ranks of a node."
        )
    return together, 1


#: Resource sets of ranks. There is no list of hosts: jsrun places, and queues what must wait.
JSRUN = Flavour(
    name=families.JSRUN,
    shares_nodes=False,
    label="IBM JSM (jsrun)",
    rank_variable="JSM_NAMESPACE_RANK",
    line=(
        option("--nrs {sets}"),
        option("--tasks_per_rs {ranks_per_set}"),
        option("--rs_per_host {sets_per_node}"),
        option("--cpu_per_rs {cores_per_set}"),
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
    rank_set=_rank_set,
    refused=any_of(BROKEN_INSTALLATION),
)
