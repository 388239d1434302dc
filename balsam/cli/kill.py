"""``balsam kill``, formerly ``killjob``: stop jobs for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from balsam.cli import output
from balsam.cli.commands import Command
from balsam.cli.dialogue import consent
from balsam.cli.selector import require, selecting

if TYPE_CHECKING:
    from balsam.core.selection import Selection


@click.command("kill", cls=Command)
@selecting()
@click.option("--all", "everything", is_flag=True, help="All jobs that have not ended.")
@click.option("--recursive", is_flag=True, help="Stop the jobs that depend on them as well.")
@click.option("--yes", "--force", "-y", "yes", is_flag=True, help="Do not ask.")
def command(selection: Selection, everything: bool, recursive: bool, yes: bool) -> None:
    """Stop jobs for good, and their processes if they run; their records stay.

    Jobs that wait for a killed one fail, unless they may run without it. 'balsam retry' lets both
    go on.
    """
    require(selection, everything)

    from balsam.core.models import BalsamJob

    chosen = BalsamJob.objects.matching(selection)
    living = chosen.unended()
    count = living.count()
    if not count:
        ended = chosen.first()
        if ended is None:
            output.refuse_nothing("jobs")
        one = f"job {ended.cute_id} has ended ({ended.state})"
        print(f"Nothing to kill: {one if chosen.count() == 1 else 'all of them have ended'}")
        return
    running = living.running().count()
    if count == 1:
        job = living.get()
        question = f"Really kill job {job.name} {job.cute_id} ??"
    else:
        question = f"Really kill {count} jobs ({running} of them running) ??"
    if not consent(question, yes, "--yes"):
        print("Kill aborted")
        return
    # By key: what is selected by state is not selected any more once its parent is killed.
    keys = list(living.values_list("id", flat=True))
    killed = BalsamJob.objects.all().among(keys).kill("killed by user", recursive)
    print("Job killed" if killed == 1 else f"{killed} jobs killed")
