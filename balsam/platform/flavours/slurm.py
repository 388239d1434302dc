"""Slurm's srun, inside an allocation: each launch is a step of the batch job."""

from __future__ import annotations

from collections.abc import Sequence

from balsam.platform.flavours.flavour import Flavour, any_of, option
from balsam.platform.flavours.messages import BROKEN_INSTALLATION, NOT_FOUND


def _masks(ranks: Sequence[Sequence[int]]) -> str:
    """``mask_cpu:0x11,0x22``."""
    return "mask_cpu:" + ",".join(hex(sum(1 << cpu for cpu in set(cpus))) for cpus in ranks)


SRUN = Flavour(
    name="srun",
    label="Slurm (srun)",
    line=(
        option("-n {ranks}"),
        option("--ntasks-per-node {per_node}"),
        option("--gpus-per-task {gpus}", "gpus hosts"),
        option("--nodelist {hosts}", "hosts"),
        option("--nodes {nodes}"),
        # Asking for CPUs confines a step to the first so many, as does the default binding.
        option("--overcommit", "!depth !core !numa"),
        option("--cpus-per-task {threads}", "!none !list !wish"),
        option("--cpu-bind=none", "none"),
        option("--cpu-bind=threads", "depth"),
        option("--cpu-bind=cores", "core"),
        option("--cpu-bind=ldoms", "numa"),
        option("--cpu-bind={cpus}", "list"),
        option("--cpu-bind={wish}", "wish"),
        option("--overlap"),
    ),
    workers_line=(
        option("-n {ranks}"),
        option("--ntasks-per-node 1"),
        option("--nodelist {hosts}", "hosts"),
        option("--nodes {nodes}"),
        option("--cpu-bind=none"),
        option("--overlap"),
        option("--input=0"),
        option("--no-kill"),
        option("--kill-on-bad-exit=0"),
        option("--wait=0"),
    ),
    aliases={
        "n": "n",
        "ntasks": "n",
        "N": "nodes",
        "w": "nodelist",
        "c": "cpus-per-task",
        "O": "overcommit",
        "i": "input",
        "k": "no-kill",
        "K": "kill-on-bad-exit",
        "W": "wait",
    },
    cpu_list=_masks,
    remote=True,
    missing=(any_of(rf"^slurmstepd(?:-\S+)?: error: execve\(\): (?P<program>.+): {NOT_FOUND}$"),),
    refused=any_of(
        r"^srun: fatal: ",
        r"^srun: error: Unable to (?:create step|confirm allocation|allocate resources)",
        r"^srun: error: (?:Invalid node name|Task launch for|Application launch failed)",
        r"^srun: (?:unrecognized option|invalid option|error: Invalid argument)",
        BROKEN_INSTALLATION,
    ),
    lost=any_of(r"^srun: error: Node failure on (?P<node>[^\s,]+)"),
)
