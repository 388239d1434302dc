"""``balsam backup``: copy the database while others use it."""

from __future__ import annotations

from pathlib import Path

import click

from balsam.cli.commands import Command


@click.command("backup", cls=Command)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
def command(file: Path, force: bool) -> None:
    """Copy the database to FILE, whole and checked, while launchers and commands go on.

    Work directories are not in it. 'balsam restore FILE' puts it back, into this project or (with
    --other-project) any other, whether on SQLite or Postgres. FILE is complete or not there at all,
    and readable for you only.
    """
    from balsam.conf import project as projects
    from balsam.core.care import backup
    from balsam.doctor.patient import Patient

    project = projects.find()
    # Settings that can not be read are no reason not to save the database.
    seconds = Patient(project).settings.database.busy_timeout_seconds
    made = backup.back_up(project, file, replace=force, timeout_seconds=seconds)
    size = made.file.stat().st_size
    print(f"Copied {made.jobs} jobs ({size / 1e6:.1f} MB, schema {made.schema}) to {made.file}")
