"""Starts a project's server in a process of its own, for callers with other things to do."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from balsam.conf.project import Project
from balsam.errors import LaunchError
from balsam.platform.commands import Command

#: Longer than a start may take by its own limits.
_SECONDS = 900.0
_START = """
import sys
from pathlib import Path
from balsam.conf.postgres import server
from balsam.conf.project import Project
from balsam.errors import BalsamError
try:
    server.start(Project(Path(sys.argv[1])))
except BalsamError as error:
    sys.exit(str(error))
"""
#: Starts that go on, by project.
_starts: dict[Path, Command] = {}


def begin(project: Project) -> str:
    """Have the server started, unless that goes on already; one sentence about how far it is.

    A start that failed is told of once, and begun anew by the next call.
    """
    command = _starts.get(project.path)
    if command is None:
        argv = [sys.executable, "-c", _START, str(project.path)]
        try:
            _starts[project.path] = Command(argv, _SECONDS)
        except LaunchError as error:
            return str(error)
        return f"The database server of {project.path} did not run, and is being started."
    try:
        answer = command.answer()
    except LaunchError as error:
        said = str(error)
    else:
        if answer is None:
            return f"The database server of {project.path} is being started."
        said = answer.stderr.strip() or (
            f"The database server of {project.path} was started and does not answer yet."
        )
    with contextlib.closing(_starts.pop(project.path)):
        return said.splitlines()[-1]
