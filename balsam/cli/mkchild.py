"""``balsam mkchild``: inside a job, add another that waits for it."""

from __future__ import annotations

from typing import Any

import click

from balsam.cli import output
from balsam.cli.commands import Command
from balsam.cli.job_options import (
    app_option,
    environment,
    job_options,
    labels,
    name_option,
    resources,
    workflow_option,
)
from balsam.cli.words import resolved_program


@click.command("mkchild", cls=Command)
@name_option("A label; part of the work directory's name.", required=True)
@workflow_option("Its group; by default the current job's.")
@app_option("A registered application; by default the current job's.")
@resources(words=True)
@job_options()
@click.option("--yes", "-y", is_flag=True, expose_value=False, hidden=True)
def command(
    name: str,
    workflow: str | None,
    application: str,
    env: tuple[str, ...],
    tags: tuple[str, ...],
    disable_auto_timeout_retry: bool,
    preprocessor: str,
    postprocessor: str,
    **fields: Any,
) -> None:
    """Inside a job (its task, preprocess or postprocess): add a job that waits for it."""
    from balsam.errors import UsageError
    from balsam.launcher import dag

    if not dag.JOB_ID:
        raise UsageError(
            "'balsam mkchild' works inside a running job or its scripts, where BALSAM_JOB_ID is "
            "set; elsewhere use 'balsam job' and 'balsam dep'."
        )
    parent = dag.current_job
    if not application and not parent.application:
        raise UsageError(
            f"The current job {parent.cute_id} runs a direct command; say which application its "
            "child runs, with --application."
        )
    if workflow is not None:
        fields["workflow"] = workflow
    child = dag.spawn_child(
        name=name,
        application=application or parent.application,
        environ_vars=environment(env),
        tags=labels(tags),
        auto_timeout_retry=not disable_auto_timeout_retry,
        preprocess=resolved_program(preprocessor, "--preprocessor"),
        postprocess=resolved_program(postprocessor, "--postprocessor"),
        **fields,
    )
    added, beside = output.cell(child.cute_id), output.cell(parent.cute_id)
    print(f"Added job {child.id} {added} to database, as a child of {beside}")
