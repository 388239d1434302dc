"""Whether this machine can run the demonstration: numpy, mpi4py, and an mpirun that fits it."""

from __future__ import annotations

import importlib.util
import os
import sys

from balsam.errors import BalsamError, MpiUnavailable
from balsam.platform import commands, mpirun
from balsam.platform.flavours import Launch

HOW = "pip install 'balsam[demo]'"
RANKS = 2
#: The first import of numpy or MPI from a cold shared file system takes its time.
PROBE_SECONDS = 60.0

_PROBE = "from mpi4py import MPI; print(f'<{MPI.COMM_WORLD.size}>', flush=True)"


def check() -> None:
    """Raise a BalsamError that says what is missing and how to get it."""
    for module, what in (("numpy", "computes with numpy"), ("mpi4py", "runs MPI through mpi4py")):
        if importlib.util.find_spec(module) is None:
            raise BalsamError(f"The demo {what}, which this Python does not have: type {HOW}.")
    environ = mpirun.scrub(os.environ)
    try:
        program = mpirun.find_mpirun("auto", environ)
        flavour = mpirun.detect(program, environ=environ)
    except MpiUnavailable as error:
        raise MpiUnavailable(
            f"The demo's main step is an MPI program, and there is no MPI to run it: type {HOW}, "
            f"or load an MPI module. ({str(error).rstrip('.')}.)"
        ) from error
    launch = Launch(RANKS, RANKS)
    line = flavour.run(program, [sys.executable, "-c", _PROBE], launch)
    answer = commands.run(line, PROBE_SECONDS, {**flavour.environ(launch), **environ})
    if answer.stdout.count(f"<{RANKS}>") == RANKS:
        return
    lines = (answer.stdout + answer.stderr).splitlines()
    said = next((line for line in reversed(lines) if "Error" in line), "")
    problem = f" ({said.strip()})" if answer.returncode and said else ""
    raise MpiUnavailable(
        f"The demo's main step is an MPI program, but the {RANKS} ranks that {program} starts do "
        f"not find each other through mpi4py{problem}: use the mpirun of the MPI that mpi4py was "
        f"built for, or type {HOW} in a fresh environment."
    )
