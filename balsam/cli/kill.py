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
        alone = f"job {output.cell(ended.cute_id)} has ended ({ended.state})"
        print(f"Nothing to kill: {alone if chosen.count() == 1 else 'all of them have ended'}")
        return
    running = living.running().count()
    one = living.first() if count == 1 else None
    if one is not None:
        name, known_as = output.cell(one.name), output.cell(one.cute_id)
        question = f"Really kill job {name} {known_as} ??"
    else:
        question = f"Really kill {count} jobs ({running} of them running) ??"
    if not consent(question, yes, "--yes"):
        print("Kill aborted")
        return
    # By key: what is selected by state is not selected any more once its parent is killed.
    keys = list(living.values_list("id", flat=True))
    killed = BalsamJob.objects.all().among(keys).kill("killed by user", recursive)
    if killed:
        print("Job killed" if killed == 1 else f"{killed} jobs killed")
    else:
        print("Nothing to kill: it has just ended" if count == 1 else "Nothing to kill: all ended")
