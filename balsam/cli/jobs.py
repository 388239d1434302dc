"""``balsam job``: add a job to the record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from balsam.cli import output
from balsam.cli.apps import environment
from balsam.cli.commands import Command
from balsam.cli.dialogue import ask, interactive
from balsam.cli.limits import COUNT, MINUTES, OR_NONE, number
from balsam.cli.options import WordsOption, join_plain
from balsam.cli.words import resolved_program

if TYPE_CHECKING:
    from balsam.core.models import BalsamJob

#: What a job's record shows, in this order; what is not set is left out below the first part.
ALWAYS = (
    "workflow",
    "name",
    "description",
    "application",
    "args",
    "num_nodes",
    "ranks_per_node",
    "threads_per_rank",
    "threads_per_core",
    "node_packing_count",
    "gpus_per_rank",
    "mpi_flags",
    "wall_time_minutes",
    "environ_vars",
    "input_files",
    "stage_in_url",
    "stage_out_url",
    "stage_out_files",
    "wait_for_parents",
    "post_error_handler",
    "post_timeout_handler",
    "auto_timeout_retry",
    "state",
)


@click.command("job", cls=Command)
@click.option("--name", required=True, help="A label; part of the work directory's name.")
@click.option("--workflow", required=True, help="The group of jobs it belongs to.")
@click.option("--application", required=True, metavar="APP", help="A registered application.")
@click.option(
    "--wall-time-minutes",
    "--wall-minutes",
    "wall_time_minutes",
    type=MINUTES,
    default=1,
    show_default=True,
    help="How long it will take, about.",
)
@click.option("--num-nodes", type=COUNT, default=1, show_default=True, help="Nodes it needs.")
@click.option(
    "--coschedule-num-nodes",
    type=OR_NONE,
    default=0,
    help="Nodes of the allocation it would like to run in.",
)
@click.option(
    "--node-packing-count",
    type=COUNT,
    default=1,
    show_default=True,
    help="How many such jobs fit on one node.",
)
@click.option(
    "--ranks-per-node",
    "--processes-per-node",
    "ranks_per_node",
    type=COUNT,
    default=1,
    show_default=True,
    help="MPI ranks on each node.",
)
@click.option(
    "--threads-per-rank", type=COUNT, default=1, show_default=True, help="Threads of each rank."
)
@click.option(
    "--threads-per-core", type=COUNT, default=1, show_default=True, help="Threads on each core."
)
@click.option(
    "--gpus-per-rank",
    type=number(0, 10_000, whole=False),
    default=0.0,
    help="GPUs of each rank; less than 1 shares one.",
)
@click.option("--mpi-flags", cls=WordsOption, default="", help="More options for mpirun.")
@click.option("--args", cls=WordsOption, default="", help="Arguments of this run.")
@click.option(
    "--post-handle-error", is_flag=True, help="Let the postprocess script handle a failed run."
)
@click.option(
    "--post-handle-timeout", is_flag=True, help="Let the postprocess script handle a timeout."
)
@click.option(
    "--disable-auto-timeout-retry", is_flag=True, help="Do not run it again after a timeout."
)
@click.option(
    "--input-files",
    cls=WordsOption,
    join=join_plain,
    default="*",
    show_default=True,
    help="Patterns of the parents' files to link.",
)
@click.option("--stage-in-url", "--url-in", "stage_in_url", default="", help="Files to copy in.")
@click.option(
    "--stage-out-url", "--url-out", "stage_out_url", default="", help="Where to copy files to."
)
@click.option(
    "--stage-out-files",
    cls=WordsOption,
    join=join_plain,
    default="",
    help="Patterns of the files to copy out.",
)
@click.option(
    "--env", "env", multiple=True, metavar="VAR=VAL", help="A variable for the run. Repeatable."
)
@click.option("--description", cls=WordsOption, join=join_plain, default="", help="What it is.")
@click.option("--preprocessor", default="", hidden=True)
@click.option("--postprocessor", default="", hidden=True)
@click.option("--allowed-site", hidden=True, expose_value=False)
@click.option("--yes", "-y", is_flag=True, help="Add it without asking.")
def command(
    yes: bool,
    env: tuple[str, ...],
    disable_auto_timeout_retry: bool,
    preprocessor: str,
    postprocessor: str,
    **fields: Any,
) -> None:
    """Add a job: one planned run of a registered application.

    Words after --args, --mpi-flags and --description need no quotes; the next option of this
    command ends them. On a terminal the job is shown and added when you confirm it.
    """
    from balsam.core.models import BalsamJob

    job = BalsamJob(
        **fields,
        environ_vars=environment(env),
        auto_timeout_retry=not disable_auto_timeout_retry,
        preprocess=resolved_program(preprocessor, "--preprocessor"),
        postprocess=resolved_program(postprocessor, "--postprocessor"),
    )
    job.get_application()
    output.emit(record(job))
    if not yes and interactive():
        count = dict(BalsamJob.objects.workflows()).get(job.workflow, 0)
        print(f'[INFO]: The workflow "{job.workflow}" currently has {count} jobs in the database')
        if not ask("Confirm adding job to DB"):
            print("Add job aborted")
            return
    job.save()
    print(f"Added job {job.id} {job.cute_id} to database")


def record(job: BalsamJob) -> Any:
    """The lines that show a whole job."""
    fields = [("id", job.id)] if job.id else []
    fields += [(name, getattr(job, name)) for name in ALWAYS]
    for name in ("preprocess", "postprocess", "envscript", "data", "tags"):
        if getattr(job, name):
            fields.append((name, getattr(job, name)))
    return output.job_record(job.job_id, fields, job.app_cmd, job.working_directory)
