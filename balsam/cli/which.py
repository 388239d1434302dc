"""``balsam which``: where things are: this project, the other projects, the files of a job."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from balsam.cli import completion, output
from balsam.cli.commands import Command
from balsam.errors import AmbiguousId, BalsamError, NoSuchJob, ProjectNotFound, nearest

if TYPE_CHECKING:
    from balsam.conf.project import Project

#: What a shell may take for more than itself in a prompt.
_UNSAFE_IN_PROMPT = re.compile(r"[^\w .,:+@=/-]")


@click.command("which", cls=Command)
@click.option("--list", "listed", is_flag=True, help="List the projects you made or used.")
@click.option(
    "--name",
    metavar="S",
    shell_complete=completion.projects,
    help="Print the path of the one project that has this name, or this text in its path.",
)
@click.option(
    "--job",
    metavar="ID",
    shell_complete=completion.jobs,
    help="Print the work directory of a job, given by id, or by a name that is no id.",
)
@click.option("--activate", metavar="NAME|PATH", hidden=True)  # asked by scripts/balsamactivate
def command(listed: bool, name: str | None, job: str | None, activate: str | None) -> None:
    """Say which project commands here work on, and how it was found.

    \b
    Examples:
      balsam which --list
      cd "$(balsam which --name campaign)"
      ls "$(balsam which --job 17)"
    """
    if sum((listed, *(given is not None for given in (name, job, activate)))) > 1:
        raise click.UsageError("Give one of --list, --name and --job.")
    if activate is not None:
        _activate(activate)
    elif name is not None:
        print(_named(name))
    elif job is not None:
        print(_directory(job))
    else:
        _here(listed)


def _here(listed: bool) -> None:
    """Print the project commands here work on, or all that are known."""
    from balsam.conf import project as projects

    known = _known()
    try:
        project = projects.find()
    except ProjectNotFound as error:
        if listed:
            print([str(path) for path in known])
            return
        if not known:
            raise
        output.note(str(error))
        _note_known(known)
        raise click.exceptions.Exit(1) from None
    if listed:
        print([str(path) for path in dict.fromkeys([*known, project.path])])
        return
    print(f"Current Balsam DB: {project.path}")
    database = project.settings().database
    lines = [("name", project.name), ("id", project.id), ("database", database.engine)]
    if database.engine == "postgres":
        from balsam.conf.postgres import status

        lines.append(("server", status.place(project)))
    output.emit(output.labelled(lines))
    for variable in ("BALSAM_DB_PATH", "BALSAM_SITE_PATH"):
        if os.environ.get(variable):
            print(f"(named by {variable})")
            break


def _known() -> list[Path]:
    """The registered projects that still exist."""
    from balsam.conf import project as projects
    from balsam.conf import registry

    paths = [path for group in registry.projects().values() for path in group]
    return [path for path in dict.fromkeys(paths) if projects.is_project(path)]


def _note_known(known: list[Path]) -> None:
    output.note("Projects of yours:")
    for path in known:
        output.note(f"  {path}")


def _named(text: str) -> Path:
    """The one project of exactly that name, else with that text in its path."""
    from balsam.conf import registry

    known = _known()
    names = registry.projects()
    found = [path for path in names.get(text, []) if path in known]
    found = found or [path for path in known if text in str(path)]
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(map(str, found))
        raise ProjectNotFound(f"'{text}' names more than one project: {listed}")
    raise ProjectNotFound(
        f"No project named '{text}'{nearest(text, names)}; 'balsam which --list' shows them"
    )


def _activate(text: str) -> None:
    """Print the name of a project for a prompt, and on the next line its path."""
    if not text:
        output.note("Usage: source balsamactivate NAME|PATH")
        known = _known()
        if known:
            _note_known(known)
        raise click.exceptions.Exit(1)
    project = _in_directory(text) or _project(_named(text))
    if project.settings().database.engine == "postgres":
        from balsam.conf.postgres import server

        if server.connect(project):
            output.note(f"Launched the database server of {project.path}")
    print(_UNSAFE_IN_PROMPT.sub("_", project.name))
    print(project.path)


def _in_directory(text: str) -> Project | None:
    """The project in the directory ``text``; none if that is a name rather than a path."""
    from balsam.conf import project as projects
    from balsam.conf import registry

    path = Path(os.path.realpath(os.path.expanduser(text)))
    if projects.is_project(path):
        if path not in _known():
            registry.add(_project(path))
        return _project(path)
    if os.sep in text or text in (os.curdir, os.pardir):
        raise ProjectNotFound(f"{path} is not a Balsam project; 'balsam which --list' shows yours")
    return None


def _project(path: Path) -> Project:
    from balsam.conf import project as projects

    return projects.Project(path)


def _directory(text: str) -> Path:
    """The work directory of the one job that ``text`` names, by id or by name."""
    from balsam.core.models import BalsamJob
    from balsam.core.selection import Selection

    found = list(BalsamJob.objects.matching(Selection(words=(text,)))[:3])
    if not found:
        raise NoSuchJob(f"No job has the id or the name '{text}'; 'balsam ls' lists both.")
    if len(found) > 1:
        some = ", ".join(f"{job.id} {job.cute_id}" for job in found[:2])
        raise AmbiguousId(f"'{text}' is the name of more than one job ({some}, ...); give an id.")
    path = Path(found[0].working_directory)
    if not path.is_dir():
        raise BalsamError(
            f"The work directory of {found[0].cute_id}, {path}, has not been made yet: the job is "
            f"{found[0].state}."
        )
    return path
