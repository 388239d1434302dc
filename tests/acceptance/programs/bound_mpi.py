"""An MPI program whose ranks stay where they were put, or go to the CPUs that are named: 0,1."""

import os
import sys
import time

# Before anything that takes its time: it is in their beginning that ranks are looked at.
if len(sys.argv) > 1:
    os.sched_setaffinity(0, map(int, sys.argv[1].split(",")))

from mpi4py import MPI

met = MPI.COMM_WORLD.Ibarrier()
while not met.Test():  # others need the processors
    time.sleep(0.01)
# As long as it may take until they have been looked at twice.
time.sleep(7)
