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
            "job": Entry("balsam.cli.jobs", "Add a job, or a whole sweep or workflow of them."),
            "dep": Entry("balsam.cli.dep", "Make one job wait for another."),
            "mkchild": Entry("balsam.cli.mkchild", "Inside a job: add a job that waits for it."),
            "qsub": Entry("balsam.cli.qsub", "Add a command or script, as a queue's qsub would."),
            "make-dummies": Entry("balsam.cli.dummies", "Add jobs that only say hello."),
        },
    ),
    Section(
        "Run it",
        {
            "launcher": Entry("balsam.cli.launcher", "Run the jobs that are ready, on all nodes."),
            "run": Entry("balsam.cli.run", "Add one job, run it here, and show its output."),
            "watch": Entry("balsam.cli.watch", "Follow the progress of all launchers."),
            "wait": Entry("balsam.cli.wait", "Wait until jobs have ended; the exit code tells."),
        },
    ),
    Section(
        "Look at it",
        {
            "ls": Entry("balsam.cli.ls", "List jobs, applications or workflows."),
            "logs": Entry("balsam.cli.logs", "Show what jobs have printed."),
            "why": Entry("balsam.cli.why", "Say what holds a job up, and what would help."),
            "log": Entry("balsam.cli.log", "Follow the log files of launchers."),
        },
    ),
    Section(
        "Change it",
        {
            "modify": Entry("balsam.cli.modify", "Change a field of jobs or of an application."),
            "retry": Entry("balsam.cli.retry", "Let jobs that failed or were killed try again."),
            "kill": Entry("balsam.cli.kill", "Stop jobs for good; their records stay."),
            "killjob": Entry("balsam.cli.kill", "The older name of kill.", hidden=True),
            "rm": Entry("balsam.cli.remove", "Remove jobs or applications from the database."),
        },
    ),
    Section(
        "Take care of it",
        {
            "doctor": Entry("balsam.cli.doctor", "Check project and machine; repair what is safe."),
            "fsck": Entry("balsam.cli.fsck", "Check the database file and what it holds."),
            "machines": Entry("balsam.cli.machines", "List the machines Balsam knows."),
            "backup": Entry("balsam.cli.backup", "Copy the database while others use it."),
            "restore": Entry("balsam.cli.restore", "Put a copy of the database in its place."),
            "db": Entry("balsam.cli.db", "Move the project to SQLite or Postgres ('db copy')."),
            "server": Entry("balsam.cli.server", "Start, stop and share the Postgres server."),
            "dbserver": Entry(
                "balsam.cli.server", "The older name of server.", "dbserver", hidden=True
            ),
            "bug-report": Entry("balsam.cli.bug_report", "Pack up what a bug report needs."),
            "completion": Entry("balsam.cli.shells", "Let the shell complete Balsam's commands."),
        },
    ),
)

_NO_SUBMIT = (
    "This Balsam does not submit batch jobs yet; put 'balsam launcher --consume-all' into a batch "
    "script of your own and submit that"
)
#: Commands of earlier lines that this one does not have, and what to do instead.
MISSING = {
    "submit-launch": _NO_SUBMIT,
    "service": _NO_SUBMIT,
}

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
    missing=MISSING,
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
