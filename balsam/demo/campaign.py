"""The demonstration's project: its directory, applications and first job."""

from __future__ import annotations

import os
import shlex
import sys
from importlib import resources
from pathlib import Path

from balsam.conf import current
from balsam.conf.project import Project
from balsam.core.models import ApplicationDefinition, BalsamJob
from balsam.core.schema import create_project
from balsam.errors import ProjectExists
from balsam.launcher import dag

WORKFLOW = "demo"
MATRICES = 4

#: Applications by name: what each is for, and its postprocess script.
APPLICATIONS = {
    "make": ("make random matrices", "grow"),
    "eigen": ("all eigenvalues of a matrix, on several MPI ranks", ""),
    "largest": ("the largest eigenvalue, by power iteration", "rescue"),
    "reduce": ("gather the eigenvalues of all matrices", ""),
}


def refuse_filled(directory: Path) -> None:
    """Raise ProjectExists for a directory with something in it."""
    if directory.is_dir() and any(directory.iterdir()):
        raise ProjectExists(
            f"{directory} is not empty; give the demo a directory of its own: balsam demo DIR"
        )


def prepare(directory: Path) -> Project:
    """Make the project in a directory that is new or empty, with one job that will grow the rest.

    The project becomes the one this process and its children work on. Raises what
    ``create_project`` raises.
    """
    project = create_project(directory)
    os.environ["BALSAM_DB_PATH"] = str(project.path)
    current.forget()
    programs = project.path / "programs"
    programs.mkdir()
    for source in resources.files("balsam.demo.programs").iterdir():
        if source.name.endswith(".py") and not source.name.startswith("_"):
            (programs / source.name).write_bytes(source.read_bytes())
    for name, (description, after) in APPLICATIONS.items():
        ApplicationDefinition.register(
            name=name,
            description=description,
            executable=_command(programs, name),
            postprocess=_command(programs, after) if after else "",
        )
    dag.add_job(name="make", workflow=WORKFLOW, application="make", args=str(MATRICES))
    return project


def _command(programs: Path, name: str) -> str:
    return f"{shlex.quote(sys.executable)} {shlex.quote(str(programs / f'{name}.py'))}"


def job(name: str) -> BalsamJob:
    """The demo's job of that name. Raises DoesNotExist while it has not been spawned."""
    found: BalsamJob = BalsamJob.objects.get(workflow=WORKFLOW, name=name)
    return found
