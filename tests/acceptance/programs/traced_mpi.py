"""traced.sh as an MPI program: each rank has its own file, and begins and ends with the others.

traced_mpi.py TENTHS [GATE [ATTEMPTS]]
"""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

from mpi4py import MPI


def environ_of(pid: int) -> dict[str, str]:
    words = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(word.split("=", 1) for word in words if "=" in word)


def this_node() -> str:
    if not os.environ.get("TRACE_NODENAME"):
        return socket.gethostname()
    # A launcher's own variables may be passed on to ranks: who started this one knows better.
    above = environ_of(os.getppid()).get("SLURMD_NODENAME")
    return above or os.environ["SLURMD_NODENAME"]


def meet(world: MPI.Comm) -> None:
    """A barrier that uses no processor while it waits, of which there are few for many ranks."""
    met = world.Ibarrier()
    while not met.Test():
        time.sleep(0.01)


def main(tenths: str, gate: str = "", attempts: str = "1000") -> None:
    world = MPI.COMM_WORLD
    name, attempt = os.environ["BALSAM_JOB_ID"], os.environ["BALSAM_ATTEMPT"]
    node = this_node()
    path = f"{os.environ['TRACES']}/{name}.{attempt}.{node}.{os.getpid()}.{time.time()}"
    with open(path, "a", buffering=1) as file:

        def note(what: str) -> None:
            file.write(f"{what} {time.time():.6f} {node} {world.rank} {world.size}\n")

        note("B")
        meet(world)
        closed = gate if int(attempt) <= int(attempts) else ""
        done = 0
        while done < int(tenths) or (closed and not os.path.exists(closed)):
            time.sleep(0.1)
            done += 1
            note("T")
        meet(world)
        note("E")


main(*sys.argv[1:])
