"""``balsam demo``: a small campaign, made, run and explained."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from balsam.cli import ls, output
from balsam.cli.commands import Command

if TYPE_CHECKING:
    from balsam.conf.project import Project

DEFAULT = Path("balsam-demo")
#: A launcher that takes this long has stuck.
TIME_LIMIT_MINUTES = 10.0


@click.command("demo", cls=Command)
@click.argument("directory", required=False, type=click.Path(path_type=Path), default=DEFAULT)
@click.pass_context
def command(ctx: click.Context, directory: Path) -> None:
    """Make a project in DIRECTORY (balsam-demo), run a campaign in it, and check the result.

    One job makes matrices; its script spawns an MPI job for the eigenvalues of each, and one that
    gathers them. A job fails on purpose; another is rescued by its error handler. Needs numpy and
    an MPI: pip install 'balsam[demo]'.
    """
    from balsam.demo import campaign, requirements, verdict

    here = os.getcwd()
    elsewhere = bool(os.environ.get("BALSAM_DB_PATH") or os.environ.get("BALSAM_SITE_PATH"))
    campaign.refuse_filled(directory)
    requirements.check()
    project = campaign.prepare(directory)
    print(f"A project in {project.path}, with one job. Running it:")
    _launch(project)
    trouble = verdict.problems()
    print("\nThe campaign, as it grew (balsam ls --tree):")
    ctx.invoke(ls.command, tree=True)
    print("\nIts states (balsam ls --by-states):")
    ctx.invoke(ls.command, by_states=True)
    if trouble:
        output.emit(["", *trouble])
        raise click.ClickException(
            f"The demo did not end as it should; the logs are in {project.log}"
        )
    print(f"\n'{verdict.DOOMED}' failed, as planned, and no other job with it:")
    ctx.invoke(ls.command, history=True, names=(verdict.DOOMED,))
    print(f"'{verdict.RESCUED}' failed too, and its error handler ran it again:")
    ctx.invoke(ls.command, history=True, names=(verdict.RESCUED,))
    result = verdict.result_file()
    print(f"The result, {os.path.relpath(result, here)}, agrees with numpy:")
    output.emit(f"  {line}" for line in result.read_text().splitlines())
    output.emit(_what_next(project.path, here, elsewhere))


def _launch(project: Project) -> None:
    from balsam.cli.progress import Progress
    from balsam.launcher.main import run_launcher
    from balsam.launcher.options import LauncherOptions

    with Progress(project.settings().launcher.progress_seconds) as report:
        run_launcher(project, LauncherOptions(time_limit_minutes=TIME_LIMIT_MINUTES), report)


def _what_next(path: Path, here: str, elsewhere: bool) -> list[str]:
    place = f"cd {shlex.quote(os.path.relpath(path, here))}"
    if elsewhere:
        place = f"export BALSAM_DB_PATH={shlex.quote(str(path))}"
    return [
        "",
        "What to try next:",
        f"  {place}",
        "  balsam ls --history --name eigen0",
        "  balsam job --name again --workflow again --application make --args 8",
        "  balsam launcher --consume-all",
        "  balsam ls --by-states",
        "The programs are in programs/; grow.py is the one that spawns the jobs.",
    ]
