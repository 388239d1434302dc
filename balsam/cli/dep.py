"""``balsam dep``: the task graph by hand."""

from __future__ import annotations

import click

from balsam.cli import completion, output
from balsam.cli.commands import Command


@click.command("dep", cls=Command)
@click.argument("parent", shell_complete=completion.jobs)
@click.argument("child", shell_complete=completion.jobs)
def command(parent: str, child: str) -> None:
    """Make the job CHILD wait until the job PARENT has finished.

    Each is a job's number or name, or the first or last digits of its UUID. The number of a job is
    never taken for a name.
    """
    from balsam.core.models import BalsamJob
    from balsam.core.selection import Selection
    from balsam.launcher import dag

    everything = BalsamJob.objects.all()
    first, then = (Selection(words=(text,)).one_of(everything) for text in (parent, child))
    dag.add_dependency(first, then)
    print(f"Created link {output.cell(first.cute_id)} --> {output.cell(then.cute_id)}")
