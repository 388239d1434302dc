"""``balsam launcher``: run jobs here and now."""

from __future__ import annotations

import os

import click

from balsam.cli import output
from balsam.cli.commands import Command, Invocation
from balsam.cli.limits import COUNT, LARGEST_COUNT, LONGEST_MINUTES, number

#: Options that are not the same for all parts.
_OF_PARTS = ("parts", "limit_nodes", "offset_nodes", "job_mode")


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
    "-j",
    type=click.Choice(["mpi", "serial"]),
    help="mpi: run all through mpirun; serial: run jobs of one rank only. "
    "Left out, each job is run the way it needs.",
)
@click.option(
    "--time-limit-minutes",
    "-t",
    "--wall-time-min",
    type=number(0, LONGEST_MINUTES, whole=False),
    default=0.0,
    show_default=True,
    help="Stop after that long; 0: shortly before the batch job ends, or no limit outside of one.",
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
@click.option(
    "--tag",
    "tags",
    multiple=True,
    metavar="NAME=VALUE",
    help="Run only jobs with this tag. Repeatable: all of them are needed.",
)
@click.option(
    "--limit-nodes", type=COUNT, help="Use at most so many of the nodes of the batch job."
)
@click.option(
    "--offset-nodes",
    type=number(0, LARGEST_COUNT),
    default=0,
    help="Leave out so many nodes at the beginning.",
)
@click.option(
    "--part",
    "-p",
    "parts",
    multiple=True,
    metavar="MODE:NODES[:NAME=VALUE]...",
    help="Start a launcher for each such part of the nodes: mpi, serial or auto (each job the way "
    "it needs), so many nodes, jobs with these tags. Repeatable.",
)
@click.option(
    "--machine",
    metavar="NAME",
    default="",
    help="A machine that 'balsam machines' lists, or a machine file (setting launcher.machine).",
)
@click.option("--persistent", is_flag=True, help="Wait for more jobs instead of ending when idle.")
@click.option("--in-partition", type=number(0, LARGEST_COUNT), hidden=True)
@click.option("--serial-parts", type=number(0, LARGEST_COUNT), default=0, hidden=True)
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
    tags: tuple[str, ...],
    limit_nodes: int | None,
    offset_nodes: int,
    parts: tuple[str, ...],
    machine: str,
    persistent: bool,
    in_partition: int | None,
    serial_parts: int,
    num_workers: int | None,
    nodes_per_worker: int | None,
) -> None:
    """Run jobs that are ready until none is left, the time is over, or it is told to stop.

    One of --consume-all and --wf-filter is needed, or a --tag. TERM or Ctrl-C stops it cleanly, a
    second one at once; the next launcher goes on where it stopped.
    """
    some = bool(tags) or bool(parts) and all(part.count(":") > 1 for part in parts)
    if consume_all and wf_filter or not (consume_all or wf_filter or some):
        raise click.UsageError("Give one of --consume-all and --wf-filter WORKFLOW.")
    if num_workers is not None or nodes_per_worker is not None:
        output.note(
            "Note: --num-workers and --nodes-per-worker are not needed: it finds the nodes."
        )

    from balsam.conf import project as projects
    from balsam.launcher.options import AUTO, LauncherOptions, tag_of

    project = projects.find()
    if parts:
        if job_mode:
            raise click.UsageError(
                "--job-mode does not go with --part, which names a mode for each."
            )
        ctx.exit(_run_parts(ctx, parts, limit_nodes, offset_nodes))

    from balsam.cli.progress import Progress
    from balsam.launcher.main import run_launcher

    options = LauncherOptions(
        wf_filter=wf_filter or "",
        job_mode=job_mode or AUTO,
        time_limit_minutes=time_limit_minutes,
        num_transition_threads=num_transition_threads,
        gpus_per_node=gpus_per_node,
        max_ranks_per_node=max_ranks_per_node,
        persistent=persistent,
        tags=tuple(map(tag_of, tags)),
        limit_nodes=limit_nodes,
        offset_nodes=offset_nodes,
        machine=machine,
        in_partition=in_partition,
        serial_parts=serial_parts,
    )
    period = project.settings().launcher.progress_seconds
    click.echo(f"Starting Balsam launcher [{os.getpid()}]")
    chosen = [f"--wf={wf_filter}"] if wf_filter else []
    chosen += [f"--tag={tag}" for tag in tags]
    with Progress(period, chosen=chosen) as report:
        code = run_launcher(project, options, report)
    ctx.exit(code)


def _run_parts(
    ctx: click.Context, parts: tuple[str, ...], limit_nodes: int | None, offset_nodes: int
) -> int:
    """A launcher for each part, with the options of this one."""
    import time

    from balsam.launcher.partition import Partition, part_of, slices, together
    from balsam.platform import allocation

    given = allocation.detect(os.environ, time.time(), ask=False).nodes
    nodes = allocation.part(given, limit_nodes, offset_nodes)
    made = slices(list(map(part_of, parts)), len(nodes), offset_nodes)
    return Partition(made, [*together(made), *words_of_part(ctx)], click.echo).run()


def words_of_part(ctx: click.Context) -> list[str]:
    """The options of this launcher that each of its parts gets too."""
    words = []
    for param in ctx.command.params:
        value = ctx.params.get(param.name or "")
        # 0 is a value: it equals False, but is not the same.
        if param.name in _OF_PARTS or value is None or value is False or value == param.default:
            continue
        for one in value if isinstance(value, tuple) else (value,):
            words.append(param.opts[0] if one is True else f"{param.opts[0]}={one}")
    if ctx.ensure_object(Invocation).debug:
        words.append("--debug")
    if not (ctx.params["consume_all"] or ctx.params["wf_filter"]):
        words.append("--consume-all")
    return words
