"""What has to be different before a job that failed is tried again, by the cause of its failure."""

from __future__ import annotations

import math
import re
from typing import Any

from balsam import states
from balsam.core.why import endings
from balsam.core.why.cases import retry

#: Cause -> what comes before trying again.
FIRST = {
    states.PROGRAM_MISSING: "Install the program or correct its path, then try again.",
    states.MPI_LAUNCH_FAILED: "See what 'balsam doctor' says of mpi, then try again.",
    states.STAGING: "Correct what the message names, then try again.",
    states.HOOK: "Correct the script, then try again.",
    states.OOM: "Let it have more memory or need less, then try again.",
}
NO_GPUS = "gpus_per_rank=0"
TELL_OF_GPUS = (
    "If its nodes have GPUs, tell the launcher by --gpus-per-node or a machine file, then try "
    "again; else let it ask for none."
)
_TOO_MUCH = re.compile(r"asks for \d+ (nodes?|ranks? per node|GPUs? per node); \D*(\d+)")


def again(job: Any, cause: str) -> tuple[str, str]:
    """A sentence ('' if none) and the command that lets it try again with a chance."""
    change, first = "", FIRST.get(cause, "")
    if cause == states.UNSATISFIABLE:
        change = _smaller(job)
        if change == NO_GPUS:
            change, first = "", TELL_OF_GPUS
    elif cause == states.JOB_TIME_LIMIT and job.time_limit_minutes > 0:
        change = f"time_limit_minutes={2 * job.time_limit_minutes:g}"
    elif cause == states.OOM and job.node_packing_count > 1:
        change = "node_packing_count=1"
    command = retry([job.pk])
    return first, f"{command} --set {change}" if change else command


def _smaller(job: Any) -> str:
    """The field that was too much, and what there was of it."""
    event = endings.end(job)
    found = _TOO_MUCH.search(event.message) if event else None
    if found is None:
        return ""
    what, there = found[1], int(found[2])
    if what.startswith("node"):
        return f"num_nodes={there}" if job.num_nodes > there else ""
    if what.startswith("rank"):
        return f"ranks_per_node={there}" if job.ranks_per_node > there else ""
    each = math.floor(1000 * there / job.ranks_per_node) / 1000
    return f"gpus_per_rank={each:g}" if job.gpus_per_rank > each else ""
