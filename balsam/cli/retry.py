"""``balsam retry``: let jobs that ended badly go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from balsam.cli import output
from balsam.cli.commands import Command
from balsam.cli.dialogue import consent
from balsam.cli.selector import require, selecting
from balsam.errors import RecordError

if TYPE_CHECKING:
    from balsam.core.selection import Selection


@click.command("retry", cls=Command)
@selecting()
@click.option("--all", "everything", is_flag=True, help="All that failed or were killed.")
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Change this field first. Repeatable.",
)
@click.option("--from-start", is_flag=True, help="Begin again with staging and preprocessing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def command(
    selection: Selection, everything: bool, changes: tuple[str, ...], from_start: bool, yes: bool
) -> None:
    """Let jobs that failed or were killed try again.

    Each goes on with the step that failed, in its work directory: staging, the preprocess script,
    the run, or what follows it. Children that failed only because of it go on too.

    \b
    Examples:
      balsam retry 17
      balsam retry --state FAILED --since 2h --set wall_time_minutes=120
    """
    require(selection, everything)

    from balsam.core.models import BalsamJob
    from balsam.core.record import atomic
    from balsam.core.written import assignment, value_of

    new_values = [assignment(text) for text in changes]
    for name, text in new_values:
        value_of(BalsamJob, name, text)  # no question about what can not be
    chosen = BalsamJob.objects.matching(selection)
    broken = chosen.broken()
    keys = list(broken.order_by("id").values_list("id", flat=True))
    if not keys:
        first = chosen.first()
        if first is None:
            output.refuse_nothing("jobs")
        one = chosen.count() == 1
        who = f"Job {first.id} {first.cute_id} is {first.state}" if one else "None of them failed"
        raise RecordError(f"{who}; only jobs that failed or were killed can be tried again.")
    what = f"{len(keys)} job{'s' * (len(keys) > 1)}"
    if len(keys) > 1 and not consent(f"Retry {what}?", yes, "--yes"):
        print("Retry aborted")
        return
    with atomic():
        jobs = BalsamJob.objects.all().among(keys)
        for name, text in new_values:
            jobs.modify(name, text)
        busy = jobs.busy().labels()
        done = jobs.retry(from_start=from_start, message="retried by user")
    print(f"{done.jobs} job{'s' * (done.jobs != 1)} will be tried again")
    if done.children:
        print(f"{done.children} that failed because of them will wait for them again")
    output.skipped(busy, "a launcher is still busy with them")
