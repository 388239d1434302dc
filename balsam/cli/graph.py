"""``balsam dep`` and ``balsam killjob``: the task graph by hand."""

from __future__ import annotations

import click

from balsam.cli.commands import Command
from balsam.cli.dialogue import consent


@click.command("dep", cls=Command)
@click.argument("parent")
@click.argument("child")
def dep(parent: str, child: str) -> None:
    """Make the job CHILD wait until the job PARENT has finished.

    Jobs are named by number, or by the first or last digits of their UUID.
    """
    from balsam.core.models import BalsamJob
    from balsam.launcher import dag

    first, then = BalsamJob.objects.find(parent), BalsamJob.objects.find(child)
    dag.add_dependency(first, then)
    print(f"Created link {first.cute_id} --> {then.cute_id}")


@click.command("killjob", cls=Command)
@click.option("--id", "job", required=True, metavar="ID", help="The job to stop.")
@click.option("--recursive", is_flag=True, help="Stop the jobs that depend on it as well.")
@click.option("--yes", "--force", "-y", "yes", is_flag=True, help="Do not ask.")
def kill(job: str, recursive: bool, yes: bool) -> None:
    """Stop a job for good, and its processes if it runs; its record stays.

    The jobs that wait for it fail, unless they may run without it.
    """
    from balsam.core.models import BalsamJob
    from balsam.launcher import dag

    found = BalsamJob.objects.find(job)
    if not consent(f"Really kill job {found.name} {found.cute_id} ??", yes, "--yes"):
        print("Kill aborted")
        return
    if dag.kill(found, recursive=recursive):
        print("Job killed")
    else:
        print(f"Nothing to kill: job {found.cute_id} has ended ({found.state})")
