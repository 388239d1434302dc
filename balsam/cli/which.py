"""``balsam which``: the project commands here work on, and the others there are."""

from __future__ import annotations

import os
from pathlib import Path

import click

from balsam.cli import output
from balsam.cli.commands import Command
from balsam.errors import ProjectNotFound, nearest


@click.command("which", cls=Command)
@click.option("--list", "listed", is_flag=True, help="List the projects you made or used.")
@click.option("--name", metavar="S", help="Print the path of the one project S names.")
def command(listed: bool, name: str | None) -> None:
    """Say which project commands here work on, and how it was found."""
    from balsam.conf import project as projects

    if name is not None:
        print(_named(name))
        return
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
        output.note("Projects of yours:")
        for path in known:
            output.note(f"  {path}")
        raise click.exceptions.Exit(1) from None
    if listed:
        print([str(path) for path in dict.fromkeys([*known, project.path])])
        return
    print(f"Current Balsam DB: {project.path}")
    database = project.settings().database
    output.emit(
        output.labelled([("name", project.name), ("id", project.id), ("database", database.engine)])
    )
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
