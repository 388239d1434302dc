"""Each rank says hello; with an argument, all then end with that exit code."""

from __future__ import annotations

import sys

from mpi4py import MPI

world = MPI.COMM_WORLD
print(f"hello from rank {world.Get_rank()} of {world.Get_size()}", flush=True)
world.Barrier()
if len(sys.argv) > 1:
    sys.exit(int(sys.argv[1]))
