"""``balsam init``: make a project, or bring an older one up to date."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from balsam.cli import output
from balsam.cli.commands import Command

if TYPE_CHECKING:
    from balsam.conf.project import Project

#: As the classic line called it.
_OLDER_NAMES = {"sqlite3": "sqlite"}


@click.command("init", cls=Command)
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option(
    "--db",
    "--db-type",
    "engine",
    default="sqlite",
    show_default=True,
    metavar="sqlite|postgres|URL",
    help="The database: SQLite, a private Postgres server of the project, or postgres://USER@HOST:"
    "PORT/DATABASE of a server that is there already.",
)
@click.option(
    "--password-file",
    type=click.Path(path_type=Path),
    help="The file (mode 0600) with the password for that server; without one, PGPASSFILE or "
    "~/.pgpass is asked.",
)
@click.option("--name", help="What to call the project (default: the directory's name).")
@click.option("--upgrade", is_flag=True, help="Bring the database of an older project up to date.")
def command(
    path: Path | None, engine: str, password_file: Path | None, name: str | None, upgrade: bool
) -> None:
    """Make PATH a project: a directory with its database, settings and work directories."""
    if upgrade:
        _upgrade(path)
        return
    if path is None:
        raise click.UsageError("Give the directory to make, for example 'balsam init campaign'.")

    from balsam.conf.new_project import engine_of

    database = engine_of(
        _OLDER_NAMES.get(engine, engine), str(password_file.absolute()) if password_file else ""
    )
    if password_file and not database.url:
        raise click.UsageError("--password-file goes with the address of a Postgres server.")

    from balsam.core.schema import create_project

    project = create_project(path, database, name)
    output.emit(_next_steps(project))


def _upgrade(path: Path | None) -> None:
    from balsam.conf import project as projects
    from balsam.core.schema import upgrade_project

    project = projects.find(path, os.environ if path is None else {})
    backup = upgrade_project(project)
    if backup is None:
        print(f"{project.path} is up to date.")
    else:
        print(f"Upgraded {project.path}; the database as it was is kept in {backup}")


def _next_steps(project: Project) -> list[str]:
    lines = [f"Successfully created Balsam DB at: {project.path}", "What to type next:"]
    elsewhere = os.environ.get("BALSAM_DB_PATH") or os.environ.get("BALSAM_SITE_PATH")
    if elsewhere:
        lines.append(f"  export BALSAM_DB_PATH={shlex.quote(str(project.path))}")
    elif Path.cwd().resolve() != project.path:
        lines.append(f"  cd {shlex.quote(os.path.relpath(project.path))}")
    return [
        *lines,
        "  balsam app --name hello --executable 'echo hello'",
        "  balsam job --name first --workflow demo --application hello --args world",
        "  balsam launcher --consume-all",
        "  balsam ls --history",
    ]
