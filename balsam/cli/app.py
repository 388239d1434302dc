"""The ``balsam`` command and the table of its subcommands."""

from __future__ import annotations

import click

import balsam
from balsam.cli.commands import Entry, Overview, Section

SECTIONS = (
    Section(
        "Start",
        {
            "init": Entry("balsam.cli.init", "Make a project: a directory with its database."),
            "demo": Entry("balsam.cli.demo", "Make and run a small campaign that shows it all."),
            "which": Entry("balsam.cli.which", "Say which project commands here work on."),
        },
    ),
    Section(
        "Describe the work",
        {
            "app": Entry("balsam.cli.apps", "Register an application, with its scripts."),
            "job": Entry("balsam.cli.jobs", "Add a job: one run of an application."),
            "dep": Entry("balsam.cli.graph", "Make one job wait for another.", "dep"),
        },
    ),
    Section(
        "Run it",
        {
            "launcher": Entry("balsam.cli.launcher", "Run the jobs that are ready, on this node."),
        },
    ),
    Section(
        "Look at it and change it",
        {
            "ls": Entry("balsam.cli.listing", "List jobs, applications or workflows."),
            "modify": Entry("balsam.cli.modify", "Change a field of a job or an application."),
            "killjob": Entry("balsam.cli.graph", "Stop a job for good; keep its record.", "kill"),
            "rm": Entry("balsam.cli.remove", "Remove jobs or applications from the database."),
        },
    ),
)

EPILOG = """\b
A first campaign:
  balsam init campaign && cd campaign
  balsam app --name hello --executable 'echo hello'
  balsam job --name first --workflow demo --application hello --args world
  balsam launcher --consume-all
  balsam ls

Options may be shortened to any unique prefix; 'balsam COMMAND --help' shows them all."""


@click.group(
    cls=Overview,
    sections=SECTIONS,
    invoke_without_command=True,
    epilog=EPILOG,
    options_metavar="[--debug]",
    subcommand_metavar="COMMAND [WORDS]...",
)
@click.version_option(balsam.__version__, "-V", "--version", message="balsam %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Run campaigns of many application runs inside HPC allocations."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
