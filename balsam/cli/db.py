"""``balsam db copy``: move a project to SQLite or to Postgres."""

from __future__ import annotations

from pathlib import Path

import click

from balsam.cli.commands import Command


@click.command("db", cls=Command)
@click.argument("action", type=click.Choice(["copy"]), metavar="copy")
@click.option(
    "--to",
    "name",
    type=click.Choice(["sqlite", "postgres"]),
    help="The database to copy to.",
)
@click.option(
    "--url",
    metavar="URL",
    help="With postgres: postgres://USER@HOST:PORT/DATABASE of a server that is there already, and "
    "an empty database on it (default: a private server of the project).",
)
@click.option(
    "--password-file",
    type=click.Path(path_type=Path),
    help="With --url: the file (mode 0600) with the password; without one, PGPASSFILE or ~/.pgpass "
    "is asked.",
)
def command(action: str, name: str | None, url: str | None, password_file: Path | None) -> None:
    """Copy all that the project has to another database, and work with that from now on.

    Jobs, histories, applications, sessions and numbers are copied, read again and compared; then
    settings.yml is switched. The database that was there is kept, and it is printed where. Nobody
    may use the project meanwhile: stop launchers and scripts first. Whatever fails before the end,
    the project stays as it was.
    """
    from balsam.conf import project as projects
    from balsam.conf.new_project import engine_of
    from balsam.core.care.move import move
    from balsam.doctor import users

    if name is None:
        raise click.UsageError("Say where to: --to sqlite or --to postgres.")
    if (url or password_file) and name != "postgres":
        raise click.UsageError("--url and --password-file go with '--to postgres'.")
    if password_file and not url:
        raise click.UsageError("--password-file goes with --url.")
    engine = engine_of(url or name, str(password_file.absolute()) if password_file else "")
    project = projects.find()
    using = [*users.launchers(project), *users.processes(project)]
    if using:
        raise click.ClickException(
            f"The database of {project.path} is in use by {', '.join(using)}; stop that first."
        )
    moved = move(project, engine)
    where = projects.Project(project.path).settings().database
    place = "SQLite" if where.engine == "sqlite" else "Postgres"
    print(f"Moved {moved.jobs} jobs; the project {project.path} is on {place} now")
    print(f"The database as it was is kept: {moved.kept}")
