"""Slurm's srun, inside an allocation: each launch is a step of the batch job."""

from __future__ import annotations

from collections.abc import Sequence

from balsam.platform import families
from balsam.platform.flavours.flavour import Flavour, any_of, mask, option
from balsam.platform.flavours.messages import BROKEN_INSTALLATION, NOT_FOUND


def _masks(ranks: Sequence[Sequence[int]]) -> str:
    """``mask_cpu:0x11,0x22``."""
    return "mask_cpu:" + ",".join(map(mask, ranks))


SRUN = Flavour(
    name=families.SRUN,
    label="Slurm (srun)",
    rank_variable="SLURM_PROCID",
    line=(
        option("-n {ranks}"),
        option("--ntasks-per-node {per_node}"),
        option("--gpus-per-task {gpus}", "gpus !given_gpus"),
        option("--gpu-bind=mask_gpu:{gpu_masks}", "rank_gpus"),
        option("--nodelist {hosts}", "hosts"),
        option("--nodes {nodes}"),
        # Asking for CPUs confines a step to the first so many, as does the default binding.
        option("--overcommit", "!depth !core"),
        option("--cpus-per-task {threads}", "depth"),
        option("--cpus-per-task {threads}", "core"),
        # Slurm's CPUs are hardware threads, which it deals core by core.
        option("--threads-per-core 1", "depth single"),
        option("--threads-per-core 1", "core single"),
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
    folds_hosts=True,
    overwrites_masks=True,
    missing=(
        any_of(r"^slurmstepd(?:-\S+)?: error: execve\(\): bad interpreter"),
        any_of(rf"^slurmstepd(?:-\S+)?: error: execve\(\): (?P<program>.+): {NOT_FOUND}$"),
    ),
    refused=any_of(
        r"^srun: fatal: ",
        r"^srun: error: (?:Invalid generic resource|Invalid numeric value|Invalid MPI type)",
        r"^srun: error: Unable to (?:create step|confirm allocation|allocate resources)",
        r"^srun: error: (?:Invalid node name|Task launch for|Application launch failed)",
        r"^srun: (?:unrecognized option|invalid option|error: Invalid argument)",
        BROKEN_INSTALLATION,
    ),
    # 2, 8 and 13 are also the codes of a program that could not be run.
    ran=any_of(
        r"^srun: error: [^:\n]+: tasks? [^:\n]+: Exited with exit code (?!(?:2|8|13)$)\d+$",
        r"^srun: error: [^:\n]+: tasks? [^:\n]+: (?!Exited)\w+",
    ),
    lost=any_of(r"^srun: error: Node failure on ([^\s,]+)"),
    oom=any_of(
        r"^srun: error: [^:\n]+: tasks? [^:\n]+: Out Of Memory$",
        r"^slurmstepd(?:-\S+)?: error: Detected \d+ oom[-_]kill event",
    ),
)
