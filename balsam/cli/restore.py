"""``balsam restore``: put a copy of the database in its place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from balsam.cli import dialogue, output
from balsam.cli.commands import Command

if TYPE_CHECKING:
    from balsam.conf.project import Project
    from balsam.core.care.backup import Backup


@click.command("restore", cls=Command)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--other-project", is_flag=True, help="Also take the copy of another project.")
@click.option("--force", is_flag=True, help="Go on though launchers or others use the database.")
def command(file: Path, yes: bool, other_project: bool, force: bool) -> None:
    """Put the copy in FILE in the place of the project's database.

    FILE is checked first, and stays. The database that is there is kept in balsamdb, under a name
    that is printed. Refused while launchers or other processes use it, for what they still write
    would be lost. So is a copy of another project, unless --other-project is given.
    """
    from balsam.conf import project as projects
    from balsam.conf.bootstrap import SCHEMA_VERSION
    from balsam.core.care import backup, record
    from balsam.core.care.restore import restore

    project = projects.find()
    copy = backup.inspect(file)
    if copy.project and not copy.belongs_to(project) and not other_project:
        raise click.ClickException(
            f"{copy.file} is not of this project, but of {copy.origin}; choose another copy, or "
            "give --other-project."
        )
    users = _users(project)
    if users and not force:
        raise click.ClickException(
            f"The database of {project.path} is in use by {', '.join(users)}; stop that first, or "
            "give --force."
        )
    if not dialogue.consent(_question(project, copy), yes, "--yes"):
        output.note("Nothing was changed.")
        raise click.exceptions.Exit(1)
    if yes and not copy.project and not copy.belongs_to(project):
        output.note(f"Warning: {copy.file} is {copy.origin}.")
    kept = restore(project, file, in_use=force)
    print(f"Restored {copy.jobs} jobs from {copy.file}: {_origin(project, copy)}")
    if kept is not None:
        print(f"The database as it was is kept in {kept}")
    if copy.schema < SCHEMA_VERSION and not record.is_postgres(project):
        print(f"It is of an older Balsam; now type: balsam init --upgrade {project.path}")


def _origin(project: Project, copy: Backup) -> str:
    if copy.belongs_to(project):
        made = f" of {copy.made}" if copy.made else ""
        return f"a copy{made} of this project's database"
    return copy.origin


def _question(project: Project, copy: Backup) -> str:
    words = f"Put this copy of {copy.jobs} jobs in the place of the database of {project.path}?"
    if copy.project and not copy.belongs_to(project):
        return f"{copy.file} is not of this project, but of {copy.origin}. {words}"
    return f"{copy.file} is {_origin(project, copy)}. {words}"


def _users(project: Project) -> list[str]:
    """Who works with the database, in words: by the record, and by who has it open."""
    from balsam.core.care import record
    from balsam.doctor import users
    from balsam.errors import DatabaseUnavailable

    found = users.processes(project)
    if not record.is_postgres(project) and not project.database_file.exists():
        return found
    try:
        return [*users.launchers(project), *found]
    except DatabaseUnavailable as error:
        output.note(f"Who uses it can not be read there: {error}")
        return found
