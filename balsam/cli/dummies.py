"""``balsam make_dummies``: jobs that only say hello, to try things out with."""

from __future__ import annotations

import click

from balsam.cli.commands import Command
from balsam.cli.limits import number

#: More would be a slip of the finger.
MOST = 10_000_000
APP = "dummy"


@click.command("make-dummies", cls=Command)
@click.argument("count", metavar="N", type=number(1, MOST))
def command(count: int) -> None:
    """Add N jobs named dummy0, dummy1, ... that run 'echo hello', in the workflow dummy."""
    from balsam.core.models import ApplicationDefinition, BalsamJob

    app, _ = ApplicationDefinition.objects.get_or_create(
        name=APP, defaults={"executable": "echo", "description": "Says hello."}
    )
    BalsamJob.objects.bulk_create(
        {
            "name": f"dummy{index}",
            "description": "Added by balsam make_dummies",
            "workflow": APP,
            "application": app,
            "args": "hello",
            "node_packing_count": 64,
        }
        for index in range(count)
    )
    print(f"Added {count} dummy jobs to the DB")
