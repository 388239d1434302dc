"""Checks of the machine: clock, disk space, scheduler commands, versions."""

from __future__ import annotations

import getpass
import importlib.metadata
import os
import platform
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import balsam
from balsam.core.care import questions, record
from balsam.doctor.database import LOCK_SECONDS, usable
from balsam.doctor.finding import Finding, ok, problem, warning
from balsam.doctor.patient import Patient
from balsam.errors import LaunchError
from balsam.platform import commands

#: Clocks differ by less than this where the time is kept over the network.
SKEW_SECONDS = 2.0
SCARCE_BYTES, LOW_BYTES = 100 * 1000**2, 1000**3
SCARCE_FILES = 1000
#: A scheduler under load answers slowly.
ANSWER_SECONDS = 20.0
OLDEST_SQLITE = (3, 35)


# -- the clock ----------------------------------------------------------------------------------


def clock(patient: Patient) -> Iterator[Finding]:
    """This host's clock agrees with the file server's, and with those that wrote the record."""
    project = patient.project
    if project is None:
        return
    limit = patient.settings.launcher.heartbeat_seconds
    skews = []
    if project.log.is_dir() and (skew := file_system_skew(project.log)) is not None:
        skews.append((skew, f"of the file system of {project.log}"))
    if usable(project):
        with record.reading(project, timeout_seconds=LOCK_SECONDS) as database:
            times = questions.newest_times(database)
        ahead = max(((at - datetime.now(timezone.utc)).total_seconds() for at in times), default=0)
        if ahead > SKEW_SECONDS:
            skews.append((-ahead, "of the host that wrote the newest entry of the record"))
    worst = [(skew, whose) for skew, whose in skews if abs(skew) > SKEW_SECONDS]
    for skew, whose in worst:
        direction = "ahead of" if skew > 0 else "behind"
        kind = problem if abs(skew) > limit else warning
        yield kind(
            "clock",
            f"this host's clock is {abs(skew):.0f} s {direction} that {whose}",
            "Have the clocks set (NTP): launchers judge by heartbeats whether others are alive.",
        )
    if not worst:
        yield ok("clock", "agrees with the file system and with the record")


def file_system_skew(directory: Path) -> float | None:
    """Seconds by which this host's clock is ahead of the one that stamps files in ``directory``.

    None where no file can be made.
    """
    try:
        before = time.time()
        with tempfile.TemporaryFile(dir=directory) as probe:
            probe.write(b"x")
            probe.flush()
            os.fsync(probe.fileno())
            stamped = os.fstat(probe.fileno()).st_mtime
        after = time.time()
    except OSError:
        return None
    if before - 1.0 <= stamped <= after + 1.0:  # some file systems keep whole seconds
        return 0.0
    return before - stamped if stamped < before else after - stamped


# -- the disk -----------------------------------------------------------------------------------


def disk(patient: Patient) -> Iterator[Finding]:
    """There is room for what Balsam and jobs write."""
    places: dict[str, Path] = {}
    if patient.project is not None:
        places = {"project": patient.project.path, "log": patient.project.log}
        if patient.project.cluster_dir.is_dir():
            places["the Postgres server"] = patient.project.cluster_dir
    places["HOME"] = Path(os.path.expanduser("~"))
    places["temporary files"] = Path(tempfile.gettempdir())
    by_device: dict[int, tuple[list[str], Path]] = {}
    for name, path in places.items():
        if path.is_dir():
            by_device.setdefault(path.stat().st_dev, ([], path))[0].append(name)
    for names, path in by_device.values():
        yield room(", ".join(names), path)


def room(name: str, path: Path, scarce: int = SCARCE_BYTES, low: int = LOW_BYTES) -> Finding:
    """Whether the file system of ``path`` has space and numbers of files left."""
    free = shutil.disk_usage(path).free
    numbers = os.statvfs(path)
    says = f"{free / 1e9:.1f} GB free for {name} ({path})"
    repair = f"Free some space in {path}, or have your quota raised."
    if free < scarce:
        return problem("disk", f"only {free / 1e6:.1f} MB free for {name} ({path})", repair)
    if numbers.f_files and numbers.f_favail < SCARCE_FILES:
        few = f"room for only {numbers.f_favail} more files for {name} ({path})"
        return problem("disk", few, repair)
    return warning("disk", f"only {says}", repair) if free < low else ok("disk", says)


# -- schedulers ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scheduler:
    """The commands of a batch system; ``question`` is one that its server has to answer."""

    label: str
    submit: str
    question: tuple[str, ...]


SCHEDULERS = (
    Scheduler("Slurm", "sbatch", ("squeue", "--noheader", "--user", "{user}")),
    Scheduler("PBS or Cobalt", "qsub", ("qstat", "-Q")),
    Scheduler("LSF", "bsub", ("bqueues",)),
)


def schedulers(
    patient: Patient, environ: Mapping[str, str] = os.environ, seconds: float = ANSWER_SECONDS
) -> Iterator[Finding]:
    """The commands of a scheduler are there, and its server answers; without one is well too."""
    path = environ.get("PATH", os.defpath)
    any_there = False
    for one in SCHEDULERS:
        there = [name for name in (one.submit, one.question[0]) if shutil.which(name, path=path)]
        if there:
            any_there = True
            yield _answers(one, there, environ, seconds)
    if not any_there:
        yield ok("scheduler", "no scheduler's commands on PATH: start launchers by hand")


def _answers(
    one: Scheduler, there: list[str], environ: Mapping[str, str], seconds: float
) -> Finding:
    if len(there) < 2:
        lacking = one.submit if one.submit not in there else one.question[0]
        return warning(
            "scheduler",
            f"{one.label}: {there[0]} is on PATH, but {lacking} is not",
            f"Load the module of {one.label}, or add its directory to PATH.",
        )
    question = [word.format(user=getpass.getuser()) for word in one.question]
    try:
        answer = commands.run(question, seconds, environ)
    except LaunchError as error:
        return warning("scheduler", f"{one.label}: {error}", "Try again later, or ask its admins.")
    if answer.returncode:
        said = (answer.stderr or answer.stdout).strip().splitlines()
        return warning(
            "scheduler",
            f"{one.label}: '{' '.join(question)}' ended with code {answer.returncode}"
            f"{': ' + said[0] if said else ''}",
            "Try again later, or ask its admins.",
        )
    return ok("scheduler", f"{one.label} answers ({question[0]}), and {one.submit} is there")


# -- versions -----------------------------------------------------------------------------------


def versions(patient: Patient) -> Iterator[Finding]:
    """Balsam and what it stands on."""
    words = ", ".join(f"{name} {number}" for name, number in installed().items())
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        yield problem(
            "versions",
            f"SQLite {sqlite3.sqlite_version} is too old ({words})",
            f"Use a Python with SQLite {'.'.join(map(str, OLDEST_SQLITE))} or newer.",
        )
    else:
        yield ok("versions", words)


def installed() -> dict[str, str]:
    """Name -> version of Balsam, Python, SQLite and the packages Balsam uses, as far as known."""
    found = {
        "balsam": balsam.__version__,
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
    }
    for package in ("django", "click", "rich", "psutil", "psycopg", "mpi4py"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "missing"
    return found
