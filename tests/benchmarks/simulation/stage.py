"""A project prepared for a simulated allocation, and the environment of its batch job."""

from __future__ import annotations

import time

from tests.benchmarks.project import Bench
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
#: No job is kept from starting by the end of the allocation.
_DAYS = 30


def set_stage(made: Bench, allocation: Allocation) -> None:
    """Describe the machine in the project, and the batch job in the environment of its processes."""
    machines = made.path / "machines"
    machines.mkdir(exist_ok=True)
    (machines / "simulated.yml").write_text(_MACHINE.format(slots=allocation.slots))
    made.environ["SLURM_JOB_ID"] = "1"
    made.environ["SLURM_JOB_NODELIST"] = f"sim[00000-{allocation.nodes - 1:05}]"
    made.environ["SLURM_JOB_END_TIME"] = str(int(time.time() + 86400 * _DAYS))
