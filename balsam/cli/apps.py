"""``balsam app``: register an application."""

from __future__ import annotations

import click

from balsam import retries
from balsam.cli import output
from balsam.cli.commands import Command
from balsam.cli.job_options import environment, retry_option
from balsam.cli.options import WordsOption, join_plain
from balsam.cli.words import program_trouble, resolved_file, resolved_program
from balsam.errors import InvalidValue

FIELDS = ("name", "description", "executable", "preprocess", "envscript", "postprocess")


@click.command("app", cls=Command)
@click.option("--name", required=True, help="A new name; jobs refer to it.")
@click.option(
    "--executable",
    required=True,
    help="The program, with arguments that all runs share. A .py file is run by this Python.",
)
@click.option("--preprocess", default="", help="A script to run before each job.")
@click.option("--postprocess", default="", help="A script to run after each job.")
@click.option("--envscript", default="", help="A shell file to source before each run.")
@click.option("--description", cls=WordsOption, join=join_plain, default="", help="What it is for.")
@click.option(
    "--env", "env", multiple=True, metavar="VAR=VAL", help="A variable for every run. Repeatable."
)
@retry_option()
def command(
    name: str,
    executable: str,
    preprocess: str,
    postprocess: str,
    envscript: str,
    description: str,
    env: tuple[str, ...],
    retry: str,
) -> None:
    """Register an application that jobs can run.

    A file named relative to this directory is stored with its full path; a bare name that is found
    on PATH stays as it is.
    """
    if not executable.strip():
        raise InvalidValue("--executable is empty; give the program that jobs will run.")
    programs = {
        option: resolved_program(text, f"--{option}")
        for option, text in [
            ("executable", executable),
            ("preprocess", preprocess),
            ("postprocess", postprocess),
        ]
    }
    variables = environment(env)
    limits = retries.rules(retry)

    from balsam.core.models import ApplicationDefinition

    app = ApplicationDefinition.register(
        name=name,
        description=description,
        envscript=resolved_file(envscript),
        environ_vars=variables,
        retry=limits,
        **programs,
    )
    fields = [(field, getattr(app, field)) for field in FIELDS]
    if variables:
        fields.append(("environ_vars", variables))
    if app.retry:
        fields.append(("retry", app.retry))
    output.emit(output.app_record(app.pk, fields))
    print("Added app to database")
    for option, text in programs.items():
        trouble = program_trouble(text)
        if trouble:
            output.note(f"Note: --{option}: {trouble}; jobs fail unless they find it otherwise.")
