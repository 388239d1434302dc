"""``balsam launcher``: run jobs here and now."""

from __future__ import annotations

import os

import click

from balsam.cli import output
from balsam.cli.commands import Command
from balsam.cli.limits import COUNT, LONGEST_MINUTES, number


@click.command("launcher", cls=Command)
@click.option("--consume-all", is_flag=True, help="Run all jobs of the project.")
@click.option(
    "--wf-filter",
    "--wf-name",
    "wf_filter",
    metavar="W",
    help="Run the jobs of this workflow; * and ? stand for any text and any character.",
)
@click.option(
    "--job-mode",
    type=click.Choice(["mpi", "serial"]),
    help="mpi: run all through mpirun; serial: run jobs of one rank only. "
    "Left out, each job is run the way it needs.",
)
@click.option(
    "--time-limit-minutes",
    type=number(0, LONGEST_MINUTES, whole=False),
    default=0.0,
    show_default=True,
    help="Stop after that long; 0 means no limit.",
)
@click.option(
    "--num-transition-threads",
    type=number(0, 1000),
    help="Workers for staging and scripts (setting transitions.num_workers).",
)
@click.option(
    "--gpus-per-node",
    type=number(0, 1000),
    help="GPUs to hand out (setting launcher.gpus_per_node).",
)
@click.option(
    "--max-ranks-per-node",
    type=COUNT,
    help="Never run more ranks than this on a node at a time.",
)
@click.option("--persistent", is_flag=True, help="Wait for more jobs instead of ending when idle.")
@click.option("--num-workers", type=int, hidden=True)
@click.option("--nodes-per-worker", type=int, hidden=True)
@click.pass_context
def command(
    ctx: click.Context,
    consume_all: bool,
    wf_filter: str | None,
    job_mode: str | None,
    time_limit_minutes: float,
    num_transition_threads: int | None,
    gpus_per_node: int | None,
    max_ranks_per_node: int | None,
    persistent: bool,
    num_workers: int | None,
    nodes_per_worker: int | None,
) -> None:
    """Run jobs that are ready until none is left, the time is over, or it is told to stop.

    One of --consume-all and --wf-filter is needed. TERM or Ctrl-C stops it cleanly, a second one
    at once; the next launcher goes on where it stopped.
    """
    if consume_all == bool(wf_filter):
        raise click.UsageError("Give one of --consume-all and --wf-filter WORKFLOW.")
    if num_workers is not None or nodes_per_worker is not None:
        output.note("Note: --num-workers and --nodes-per-worker mean nothing on one node.")

    from balsam.cli.progress import Progress
    from balsam.conf import project as projects
    from balsam.launcher.main import run_launcher
    from balsam.launcher.options import AUTO, LauncherOptions

    project = projects.find()
    options = LauncherOptions(
        wf_filter=wf_filter or "",
        job_mode=job_mode or AUTO,
        time_limit_minutes=time_limit_minutes,
        num_transition_threads=num_transition_threads,
        gpus_per_node=gpus_per_node,
        max_ranks_per_node=max_ranks_per_node,
        persistent=persistent,
    )
    period = project.settings().launcher.progress_seconds
    click.echo(f"Starting Balsam launcher [{os.getpid()}]")
    with Progress(period) as report:
        code = run_launcher(project, options, report)
    ctx.exit(code)
