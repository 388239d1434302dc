"""``balsam rm``: take jobs or applications out of the database."""

from __future__ import annotations

import click

from balsam.cli.commands import Command
from balsam.cli.dialogue import consent
from balsam.cli.modify import APPS, KINDS
from balsam.errors import RecordError


@click.command("rm", cls=Command, options_metavar="(--name S | --id ID | --all) [--force]")
@click.argument("kind", type=click.Choice(list(KINDS)), metavar="{jobs|apps}")
@click.option("--name", help="All with this text in their name.")
@click.option("--id", "key", metavar="ID", help="The one with this id.")
@click.option("--all", "everything", is_flag=True, help="All there are.")
@click.option("--wf-filter", metavar="W", help="Only jobs of exactly this workflow.")
@click.option("--force", "--yes", "-y", "force", is_flag=True, help="Do not ask.")
def command(
    kind: str,
    name: str | None,
    key: str | None,
    everything: bool,
    wf_filter: str | None,
    force: bool,
) -> None:
    """Remove jobs or applications from the database for ever.

    Work directories stay. Jobs that waited for a removed job fail and say so; an application is
    not removed while jobs use it.
    """
    if [name is not None, key is not None, everything].count(True) != 1:
        raise click.UsageError("Give one of --name, --id and --all.")
    if KINDS[kind] == APPS:
        if wf_filter is not None:
            raise click.UsageError("--wf-filter goes with jobs only.")
        _remove_apps(name, key, force)
    else:
        _remove_jobs(name, key, wf_filter, force)


def _remove_jobs(name: str | None, key: str | None, workflow: str | None, force: bool) -> None:
    from balsam.core.models import BalsamJob

    jobs = BalsamJob.objects.select(name=name, exact_workflow=workflow)
    if key is not None:
        job = jobs.find(key)
        jobs, what = jobs.select(id=str(job.job_id)), f"job {job.cute_id}"
    else:
        count = jobs.count()
        if not count:
            _nothing("jobs", asked=name is not None or workflow is not None)
            return
        what = f"{count} job{'s' * (count > 1)}"
        what += f" matching '{name}'" if name else ""
        what += f" of workflow '{workflow}'" if workflow else ""
    if _agreed(what, force):
        jobs.delete()
        print("Deleted.")


def _remove_apps(name: str | None, key: str | None, force: bool) -> None:
    from balsam.cli.apps import selected_apps

    apps = selected_apps(name, key)
    if not apps:
        _nothing("apps", asked=name is not None or key is not None)
        return
    what = f"application{'s' * (len(apps) > 1)} {', '.join(app.name for app in apps)}"
    if _agreed(what, force):
        for app in apps:
            app.delete()
        print("Deleted.")


def _agreed(what: str, force: bool) -> bool:
    if consent(f"PERMANENTLY remove {what}?", force, "--force"):
        return True
    print("Delete aborted")
    return False


def _nothing(kind: str, asked: bool) -> None:
    """Removing nothing is a mistake only if something was named."""
    if asked:
        raise RecordError(f"No {kind} found matching query.")
    print(f"No {kind} to remove.")
