"""``balsam rm``: take jobs or applications out of the database."""

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

JOBS, APPS = "jobs", "apps"
KINDS = {"jobs": JOBS, "job": JOBS, "apps": APPS, "app": APPS}


@click.command("rm", cls=Command)
@selecting(metavar="{jobs|apps} [WHICH]...")
@click.option("--all", "everything", is_flag=True, help="All there are.")
@click.option("--force", "--yes", "-y", "force", is_flag=True, help="Do not ask.")
def command(selection: Selection, everything: bool, force: bool) -> None:
    """Remove jobs or applications from the database for ever.

    Jobs that run or are leased are skipped and named: kill them first. Work directories stay. Jobs
    that waited for a removed job fail and say so; an application is not removed while jobs use it.

    \b
    Examples:
      balsam rm jobs 17 18
      balsam rm jobs --wf test --state FAILED
      balsam rm apps --name hello
    """
    from dataclasses import replace

    if not selection.words or selection.words[0] not in KINDS:
        raise click.UsageError("Say what to remove: jobs or apps.")
    kind = KINDS[selection.words[0]]
    selection = replace(selection, words=selection.words[1:])
    if any(not name for name in (*selection.names, *selection.ids)):
        raise click.UsageError("An empty name names nothing; --all is all there are.")
    if selection.workflows and everything:
        everything = False  # of that workflow
    require(selection, everything)
    if kind == APPS:
        _remove_apps(selection, force)
    else:
        _remove_jobs(selection, everything, force)


def _remove_jobs(selection: Selection, everything: bool, force: bool) -> None:
    from balsam.core.models import BalsamJob

    chosen = BalsamJob.objects.matching(selection)
    keys = list(chosen.free().order_by("id").values_list("id", flat=True))
    busy = chosen.busy().labels()
    if not keys and not busy:
        if everything:
            print("No jobs to remove.")
            return
        output.refuse_nothing("jobs", hint=_contained(selection))
    only = chosen.filter(pk=keys[0]).first() if len(keys) == 1 else None
    what = f"job {output.cell(only.cute_id)}" if only else f"{len(keys)} jobs"
    if keys and not consent(f"PERMANENTLY remove {what}?", force, "--yes"):
        print("Delete aborted")
        return
    removed = BalsamJob.objects.all().among(keys).remove()
    if removed:
        print("Deleted." if removed == 1 else f"Deleted {removed} jobs.")
    output.skipped(busy, "running or leased; 'balsam kill' stops them")
    if not removed and not busy:
        raise RecordError(f"{what[:1].upper()}{what[1:]} went or began to run meanwhile.")
    if not removed:
        raise click.exceptions.Exit(1)


def _contained(selection: Selection) -> str:
    """What to type for the jobs that an older Balsam would have removed by a part of a name."""
    from dataclasses import replace

    from balsam.core.models import BalsamJob

    if not selection.names:
        return ""
    found = BalsamJob.objects.matching(replace(selection, parts=True)).count()
    if not found:
        return ""
    name = selection.names[0]
    return f"{found} have it in their name: --name '*{name}*' means those"


def _remove_apps(selection: Selection, force: bool) -> None:
    from balsam.core.models import ApplicationDefinition

    for name in ("workflows", "states", "tags", "parents", "since", "until", "last", "apps"):
        if getattr(selection, name):
            raise click.UsageError("Applications are selected by --name and --id only.")
    apps = list(
        ApplicationDefinition.objects.selected(
            selection.names, (*selection.ids, *selection.words), parts=False
        )
    )
    if not apps:
        if not selection:
            print("No apps to remove.")
            return
        output.refuse_nothing("apps")
    what = f"application{'s' * (len(apps) > 1)} {', '.join(output.cell(app.name) for app in apps)}"
    if not consent(f"PERMANENTLY remove {what}?", force, "--yes"):
        print("Delete aborted")
        return
    ApplicationDefinition.remove(apps)
    print("Deleted.")
