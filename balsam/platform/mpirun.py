"""The machine's mpirun: where it is, of which flavour, and why it failed."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath

from balsam import states
from balsam.errors import LaunchError, MpiUnavailable
from balsam.platform import families
from balsam.platform.commands import Command, Completed
from balsam.platform.flavours import (
    APRUN,
    FLAVOURS,
    INTEL,
    JSRUN,
    MPICH,
    OPEN_MPI_4,
    OPEN_MPI_5,
    PALS,
    SRUN,
    Flavour,
    Launch,
)
from balsam.platform.launch_state import scrub

__all__ = [
    "FAILURE_TAIL_BYTES",
    "FAILURE_TAIL_LINES",
    "FLAVOURS",
    "SETTINGS",
    "Flavour",
    "Launch",
    "Probe",
    "detect",
    "find_mpirun",
    "launch_failure",
    "scrub",
]

#: Where people name an mpirun.
SETTINGS = "mpi.mpirun in settings.yml"
#: ``mpirun --version`` from a cold shared file system takes seconds.
VERSION_TIMEOUT_SECONDS = 30.0
#: How much of an output file ``launch_failure`` wants to see: Open MPI's messages are long.
FAILURE_TAIL_LINES = 80
FAILURE_TAIL_BYTES = 16384

#: The launchers of batch systems, each of use inside an allocation only.
_OF_BATCH_SYSTEMS = (
    ("SLURM_JOB_ID", "srun"),
    ("COBALT_JOBID", "aprun"),
    ("PBS_JOBID", "aprun"),
    ("LSB_JOBID", "jsrun"),
)
_ADVICE = "set mpi.flavour in settings.yml to the one it is most like"
_OPEN_MPI_VERSION = re.compile(r"\((?:Open MPI|OpenRTE)\) v?(\d+)")
#: What the version of other launchers begins with or contains.
_BANNERS = (
    (re.compile(r"Intel\(R\) MPI Library"), INTEL),
    (re.compile(r"HYDRA build details"), MPICH),
    (re.compile(r"^slurm(?:-\w+)? \d", re.MULTILINE), SRUN),
    (re.compile(r"\bPALS\b|^mpiexec version \S+ revision ", re.MULTILINE), PALS),
    (re.compile(r"^aprun \(ALPS\)|\bALPS\b", re.MULTILINE), APRUN),
    (re.compile(r"^jsrun\b|\bJSM\b", re.MULTILINE), JSRUN),
)


def find_mpirun(
    setting: str = "auto", environ: Mapping[str, str] = os.environ, said_by: str = SETTINGS
) -> str:
    """The absolute path of the mpirun to use.

    ``"auto"`` takes the one beside this Python (a virtual environment with an MPI from PyPI, also
    when it is not activated), else the first on PATH, or the launcher of the batch system around
    us; otherwise ``setting`` is a path, or a name on PATH, that ``said_by`` (for people) names.
    Raises MpiUnavailable.
    """
    path = environ.get("PATH", os.defpath)
    if setting == "auto":
        found = next(_candidates(path, environ), None)
        if found is None:
            raise MpiUnavailable(
                "No mpirun beside this Python or on PATH: load an MPI module, or type "
                "pip install 'balsam[mpi]', or set mpi.mpirun in settings.yml."
            )
        return os.path.abspath(found)
    wanted = os.path.expanduser(setting)
    found = shutil.which(wanted, path=path)
    if found is None:
        problem = "may not be executed" if Path(wanted).exists() else "does not exist"
        advice = (
            "correct it, or set it to auto and load an MPI module or type pip install 'balsam[mpi]'"
            if said_by == SETTINGS
            else "load the module that brings it, or name another in a machine file of your own"
        )
        raise MpiUnavailable(f"{said_by} is '{setting}', which {problem}: {advice}.")
    return os.path.abspath(found)


def _candidates(path: str, environ: Mapping[str, str]) -> Iterator[str]:
    # Not resolved: in a virtual environment python is a link to the one outside. mpiexec first:
    # Intel's mpirun from PyPI is a script that needs the activated environment, its mpiexec is not.
    beside = os.path.dirname(sys.executable)
    for place, names in ((beside, ("mpiexec", "mpirun")), (path, ("mpirun", "mpiexec"))):
        for name in names:
            found = shutil.which(name, path=place) if place else None
            if found:
                yield found
    for sign, name in _OF_BATCH_SYSTEMS:
        found = shutil.which(name, path=path) if sign in environ else None
        if found:
            yield found


class Probe:
    """The question of which flavour an mpirun is, asked beside other work.

    ``setting`` is mpi.flavour, which is believed; with "openmpi" only the version is asked for.
    """

    def __init__(
        self,
        mpirun: str,
        setting: str = "auto",
        environ: Mapping[str, str] | None = None,
        timeout_seconds: float = VERSION_TIMEOUT_SECONDS,
    ) -> None:
        self._mpirun = mpirun
        self._setting = setting
        self._command: Command | None = None
        self._trouble: LaunchError | None = None
        if setting not in FLAVOURS:
            try:
                self._command = Command([mpirun, "--version"], timeout_seconds, environ)
            except LaunchError as error:
                self._trouble = error

    @property
    def deadline(self) -> float:
        """When (monotonic) there is an answer at the latest."""
        return self._command.deadline if self._command else 0.0

    def flavour(self, wait: bool = False) -> Flavour | None:
        """The flavour; None while there is no answer (never with ``wait``).

        Raises MpiUnavailable when "auto" meets a launcher that does not answer or is unknown.
        """
        if self._command is None and self._trouble is None:
            return FLAVOURS[self._setting]
        try:
            if self._trouble:
                raise self._trouble
            assert self._command is not None
            answer = self._command.answer(wait)
            while wait and answer is None:
                answer = self._command.answer(wait)
        except LaunchError as error:
            if self._setting == families.OPEN_MPI:
                return OPEN_MPI_4
            raise MpiUnavailable(
                f"{error} Use another mpirun (mpi.mpirun), or {_ADVICE}."
            ) from error
        return None if answer is None else self._judged(answer)

    def _judged(self, answer: Completed) -> Flavour:
        said = answer.stdout + answer.stderr
        flavour = _flavour_of(said, PurePath(self._mpirun).name)
        if self._setting == families.OPEN_MPI:
            # Open MPI 5 still understands the options of 4.
            return OPEN_MPI_5 if flavour is OPEN_MPI_5 else OPEN_MPI_4
        if flavour is None:
            raise MpiUnavailable(
                f"'{self._mpirun} --version' ended with code {answer.returncode} and says "
                f'"{" ".join(said.split())[:100] or "nothing"}", which is no MPI that Balsam '
                f"knows: {_ADVICE}."
            )
        return flavour

    def close(self) -> None:
        """Ask no longer."""
        if self._command:
            self._command.close()


def detect(
    mpirun: str,
    setting: str = "auto",
    environ: Mapping[str, str] | None = None,
    timeout_seconds: float = VERSION_TIMEOUT_SECONDS,
) -> Flavour:
    """The answer to a :class:`Probe`, waited for."""
    with contextlib.closing(Probe(mpirun, setting, environ, timeout_seconds)) as probe:
        flavour = probe.flavour(wait=True)
    assert flavour is not None
    return flavour


def _flavour_of(banner: str, program: str) -> Flavour | None:
    open_mpi = _OPEN_MPI_VERSION.search(banner)
    if open_mpi:
        return OPEN_MPI_5 if int(open_mpi[1]) >= 5 else OPEN_MPI_4
    for pattern, flavour in _BANNERS:
        if pattern.search(banner):
            return flavour
    # These three have no namesakes.
    return FLAVOURS[program] if program in (SRUN.name, APRUN.name, JSRUN.name) else None


def launch_failure(flavour: Flavour, output_tail: str, returncode: int, argv0: str) -> str | None:
    """Whether mpirun failed rather than the program it ran: a cause of ``states``, or None.

    PROGRAM_MISSING when it could not run ``argv0``, MPI_LAUNCH_FAILED when it could not start the
    ranks. ``output_tail`` is the end of the output of both, best FAILURE_TAIL_LINES long;
    ``returncode`` is mpirun's exit code (0 or a signal is never a failed launch).
    """
    if returncode <= 0 or flavour.ran.search(output_tail):
        return None
    if flavour.failure_codes and returncode not in flavour.failure_codes:
        return None
    for pattern in flavour.missing:
        message = pattern.search(output_tail)
        if message:
            # Another program than ours: what we ran did run, and called an mpirun itself.
            named = message.groupdict().get("program")
            ours = named is None or PurePath(named).name == PurePath(argv0).name
            return states.PROGRAM_MISSING if ours else None
    return states.MPI_LAUNCH_FAILED if flavour.refused.search(output_tail) else None
