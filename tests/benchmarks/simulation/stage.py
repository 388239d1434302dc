"""A project prepared for a simulated allocation, and the environment of its batch job."""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from pathlib import Path

from tests.benchmarks.simulation.case import Allocation

_MACHINE = """\
title: Simulated nodes
node:
  cores: {slots}
mpi:
  mpirun: mpirun
  flavour: mpich
workers:
  mpirun: mpirun
  flavour: mpich
"""
#: Wide jobs come between narrow ones, as they would from several users, and have to wait for nodes.
UNSORTED = "  # sort_by: wide_first"
#: No job is kept from starting by the end of the allocation.
_DAYS = 30


def set_stage(project: Path, environ: MutableMapping[str, str], allocation: Allocation) -> None:
    """Describe the machine in a project, and the batch job in the environment of its processes."""
    settings = project / "settings.yml"
    text = settings.read_text()
    if UNSORTED not in text:
        raise RuntimeError("the template of the settings has no sort_by")
    settings.write_text(text.replace(UNSORTED, "  sort_by: fifo"))
    machines = project / "machines"
    machines.mkdir(exist_ok=True)
    (machines / "simulated.yml").write_text(_MACHINE.format(slots=allocation.slots))
    environ["SLURM_JOB_ID"] = "1"
    environ["SLURM_JOB_NODELIST"] = f"sim[00000-{allocation.nodes - 1:05}]"
    environ["SLURM_JOB_END_TIME"] = str(int(time.time() + 86400 * _DAYS))
