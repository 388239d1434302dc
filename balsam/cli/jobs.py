"""``balsam job``: add a job, or many, to the record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from balsam.cli import output
from balsam.cli.commands import Command
from balsam.cli.dialogue import ask, interactive
from balsam.cli.job_options import (
    app_option,
    environment,
    job_options,
    labels,
    name_option,
    resources,
    workflow_option,
)
from balsam.cli.sweeping import (
    add_sweep,
    add_workflow,
    is_sweep,
    join_templates,
    refuse_missing,
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
#: What it shows if there is something to show.
SOMETIMES = (
    "time_limit_minutes",
    "preprocess",
    "postprocess",
    "envscript",
    "data",
    "tags",
    "priority",
    "retry",
    "signal",
    "signal_before_min",
    "not_before",
)


@click.command("job", cls=Command)
@name_option("A label; part of the work directory's name.", default="")
@workflow_option("The group of jobs it belongs to.", default="")
@app_option("A registered application.")
@resources(words=True, numeric=templated, join=join_templates)
@job_options(numeric=templated, join=join_templates)
@sweep_options
@click.option("--yes", "-y", is_flag=True, help="Add it without asking.")
@click.pass_context
def command(ctx: click.Context, /, yes: bool, **given: Any) -> None:
    """Add a job: one planned run of a registered application.

    Words after --args, --mpi-flags and --description need no quotes; the next option of this
    command ends them (-n is a word there: write --num-nodes). On a terminal the job is shown and
    added when you confirm it.

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
        refuse_missing(chosen)
        refuse_templates({name: given[name] for name in given if name in chosen}, _NUMBERS)
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
    "time_limit_minutes",
    "signal_before_min",
    "priority",
)


def _option(ctx: click.Context, name: str) -> str:
    return next(param.opts[0] for param in ctx.command.params if param.name == name)


def _fields(options: dict[str, Any]) -> dict[str, Any]:
    """The fields of a job that these options give."""
    fields = dict(options)
    if "env" in fields:
        fields["environ_vars"] = environment(fields.pop("env"))
    if "tags" in fields:
        fields["tags"] = labels(fields["tags"])
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
    shown = list(record(job))
    if dry_run:
        insert.check(BalsamJob, [fields])
        output.emit([*shown, "1 job would be added; nothing was written"])
        return
    if not yes and interactive():
        output.emit(shown)
        shown = []
        count = dict(BalsamJob.objects.workflows()).get(job.workflow, 0)
        print(f'[INFO]: The workflow "{job.workflow}" currently has {count} jobs in the database')
        if not ask("Confirm adding job to DB"):
            print("Add job aborted")
            return
    job.save()
    # Only now: whoever reads this may stop reading after the first line.
    output.emit([*shown, f"Added job {job.id} {output.cell(job.cute_id)} to database"])


def record(job: BalsamJob) -> Any:
    """The lines that show a whole job."""
    fields = [("id", job.id)] if job.id else []
    fields += [(name, getattr(job, name)) for name in ALWAYS]
    for name in SOMETIMES:
        if getattr(job, name):
            fields.append((name, getattr(job, name)))
    return output.job_record(job.job_id, fields, job.app_cmd, job.working_directory)
