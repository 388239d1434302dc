"""``balsam job``: add a job, or many, to the record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from balsam.cli import completion, output
from balsam.cli.apps import environment
from balsam.cli.commands import Command
from balsam.cli.dialogue import ask, interactive
from balsam.cli.limits import COUNT, MINUTES, OR_NONE, number
from balsam.cli.options import WordsOption, join_plain
from balsam.cli.sweeping import (
    add_sweep,
    add_workflow,
    is_sweep,
    join_templates,
    refuse_templates,
    sweep_options,
    templated,
)
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


#: Numbers, or what a sweep fills in.
NUMBER = templated(COUNT)


@click.command("job", cls=Command)
@click.option("--name", default="", help="A label; part of the work directory's name.")
@click.option(
    "--workflow",
    default="",
    help="The group of jobs it belongs to.",
    shell_complete=completion.workflows,
)
@click.option(
    "--application",
    default="",
    metavar="APP",
    help="A registered application.",
    shell_complete=completion.apps,
)
@click.option(
    "--wall-time-minutes",
    "--wall-minutes",
    "wall_time_minutes",
    type=templated(MINUTES),
    default=1,
    show_default=True,
    help="How long it will take, about.",
)
@click.option("--num-nodes", type=NUMBER, default=1, show_default=True, help="Nodes it needs.")
@click.option(
    "--coschedule-num-nodes",
    type=templated(OR_NONE),
    default=0,
    help="Nodes of the allocation it would like to run in.",
)
@click.option(
    "--node-packing-count",
    type=NUMBER,
    default=1,
    show_default=True,
    help="How many such jobs fit on one node.",
)
@click.option(
    "--ranks-per-node",
    "--processes-per-node",
    "ranks_per_node",
    type=NUMBER,
    default=1,
    show_default=True,
    help="MPI ranks on each node.",
)
@click.option(
    "--threads-per-rank", type=NUMBER, default=1, show_default=True, help="Threads of each rank."
)
@click.option(
    "--threads-per-core", type=NUMBER, default=1, show_default=True, help="Threads on each core."
)
@click.option(
    "--gpus-per-rank",
    type=templated(number(0, 10_000, whole=False)),
    default=0.0,
    help="GPUs of each rank; less than 1 shares one.",
)
@click.option(
    "--mpi-flags",
    cls=WordsOption,
    join=join_templates,
    default="",
    help="More options for mpirun.",
)
@click.option(
    "--args", cls=WordsOption, join=join_templates, default="", help="Arguments of this run."
)
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
@sweep_options
@click.option("--yes", "-y", is_flag=True, help="Add it without asking.")
@click.pass_context
def command(ctx: click.Context, /, yes: bool, **given: Any) -> None:
    """Add a job: one planned run of a registered application.

    Words after --args, --mpi-flags and --description need no quotes; the next option of this
    command ends them. On a terminal the job is shown and added when you confirm it.

    With --range, --values, --each-line or --from-csv it adds a job for each combination of values:
    {{ NAME }} in any option stands for the value, {{ index }} for the number of the job, from 0. A
    --name without {{ }} gets that number appended. All are added, or none.
    """
    chosen = {name for name in given if ctx.get_parameter_source(name) == _TYPED}
    sweep = {name: given.pop(name) for name in _SWEEP}
    if sweep["from_yaml"]:
        others = sorted(chosen - {"from_yaml", "dry_run", "workflow"})
        if others:
            raise click.UsageError(
                f"--from-yaml takes --workflow, --dry-run and --yes, not {_option(ctx, others[0])}."
            )
        add_workflow(sweep["from_yaml"], given["workflow"], sweep["dry_run"], yes)
    elif is_sweep(sweep):
        add_sweep(_fields({name: given[name] for name in given if name in chosen}), sweep, yes)
    else:
        for name in ("name", "workflow", "application"):
            if name not in chosen:
                raise click.UsageError(f"Missing option '--{name}'.")
        refuse_templates(given, _NUMBERS)
        _add_one(_fields(given), sweep["dry_run"], yes)


_TYPED = click.core.ParameterSource.COMMANDLINE
_SWEEP = ("each_line", "from_csv", "ranges", "values", "zipped", "product", "from_yaml", "dry_run")
_NUMBERS = (
    "wall_time_minutes",
    "num_nodes",
    "coschedule_num_nodes",
    "node_packing_count",
    "ranks_per_node",
    "threads_per_rank",
    "threads_per_core",
    "gpus_per_rank",
)


def _option(ctx: click.Context, name: str) -> str:
    return next(param.opts[0] for param in ctx.command.params if param.name == name)


def _fields(options: dict[str, Any]) -> dict[str, Any]:
    """The fields of a job that these options give."""
    fields = dict(options)
    if "env" in fields:
        fields["environ_vars"] = environment(fields.pop("env"))
    if "disable_auto_timeout_retry" in fields:
        fields["auto_timeout_retry"] = not fields.pop("disable_auto_timeout_retry")
    for name in ("preprocess", "postprocess"):
        if f"{name}or" in fields:
            fields[name] = resolved_program(fields.pop(f"{name}or"), f"--{name}or")
    return fields


def _add_one(fields: dict[str, Any], dry_run: bool, yes: bool) -> None:
    from balsam.core import insert
    from balsam.core.models import BalsamJob

    job = BalsamJob(**fields)
    job.get_application()
    output.emit(record(job))
    if dry_run:
        insert.check(BalsamJob, [fields])
        print("1 job would be added; nothing was written")
        return
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
