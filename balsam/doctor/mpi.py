"""The check of MPI: two ranks of a tiny program, started as the launcher starts a job."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping

from balsam.conf.settings import Mpi
from balsam.doctor.finding import Finding, ok, problem, warning
from balsam.doctor.patient import Patient
from balsam.errors import LaunchError, MpiUnavailable
from balsam.platform import commands, mpirun
from balsam.platform.flavours import Flavour, Launch

RANKS = 2
#: Loading MPI from a cold shared file system takes its time.
RUN_SECONDS = 60.0

_HELLO = "print('<balsam>', flush=True)"
_TOGETHER = "from mpi4py import MPI; print(f'<{MPI.COMM_WORLD.size}>', flush=True)"


def ranks(
    patient: Patient, environ: Mapping[str, str] = os.environ, seconds: float = RUN_SECONDS
) -> Iterator[Finding]:
    """mpirun starts two ranks, and through mpi4py (if it is there) they find each other."""
    settings = patient.settings.mpi
    clean = mpirun.scrub(environ)
    try:
        program = mpirun.find_mpirun(settings.mpirun, clean)
    except MpiUnavailable as error:
        kind = warning if settings.mpirun == "auto" else problem
        yield kind("mpi", str(error), "Until then only jobs of one rank can run.")
        return
    flavour = mpirun.detect(program, settings.flavour, clean, seconds)
    said = _run(program, flavour, settings, _HELLO, clean, seconds)
    if isinstance(said, Finding):
        yield said
        return
    if said.count("<balsam>") != RANKS:
        yield problem(
            "mpi",
            f"{program} was to start {RANKS} ranks, and {said.count('<balsam>')} answered",
            "Correct mpi.mpirun, mpi.flavour or mpi.flags in settings.yml.",
        )
        return
    yield ok("mpi", f"{program} ({flavour.label}) starts {RANKS} ranks")
    if importlib.util.find_spec("mpi4py") is not None:
        yield _together(program, flavour, settings, clean, seconds)


def _together(
    program: str, flavour: Flavour, settings: Mpi, clean: Mapping[str, str], seconds: float
) -> Finding:
    said = _run(program, flavour, settings, _TOGETHER, clean, seconds)
    if not isinstance(said, Finding) and said.count(f"<{RANKS}>") == RANKS:
        return ok("mpi", f"the {RANKS} ranks find each other through mpi4py")
    return warning(
        "mpi",
        "the ranks do not find each other through mpi4py: it was built for another MPI",
        "Python programs that use MPI need mpi4py built for this mpirun, or another mpirun "
        "(mpi.mpirun in settings.yml). Other programs do not care.",
    )


def _run(
    program: str,
    flavour: Flavour,
    settings: Mpi,
    code: str,
    clean: Mapping[str, str],
    seconds: float,
) -> str | Finding:
    """What the ranks printed, or how that failed."""
    launch = Launch(RANKS, RANKS, flags=settings.flags.split())
    line = flavour.run(program, [sys.executable, "-c", code], launch)
    try:
        answer = commands.run(line, seconds, {**flavour.environ(launch), **clean})
    except LaunchError as error:
        return problem("mpi", str(error), "Check mpi.mpirun and mpi.flags in settings.yml.")
    if answer.returncode:
        lines = (answer.stderr + answer.stdout).strip().splitlines()
        return problem(
            "mpi",
            f"{program} ended with code {answer.returncode}{': ' + lines[0] if lines else ''}",
            "Check mpi.mpirun, mpi.flavour and mpi.flags in settings.yml.",
        )
    return answer.stdout
