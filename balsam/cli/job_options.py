"""Options that describe one job, for the commands that add jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from balsam.cli import completion
from balsam.cli.commands import SETTINGS, Command
from balsam.cli.limits import (
    COUNT,
    LARGEST_PRIORITY,
    LONGEST_MINUTES,
    MINUTES,
    OR_NONE,
    number,
)
from balsam.cli.options import Grammar, Join, WordsOption, join_plain, join_words
from balsam.errors import InvalidValue

__all__ = [
    "Wrapping",
    "app_option",
    "env_option",
    "environment",
    "job_options",
    "labels",
    "name_option",
    "resources",
    "retry_option",
    "workflow_option",
]

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
Kind = Callable[[str], Any]


def _as_it_is(kind: Kind) -> Kind:
    return kind


class Wrapping(Command):
    """A command that ends with another command line, which is left as it was typed."""

    def __init__(self, *args: Any, **attrs: Any) -> None:
        settings = {**SETTINGS, "allow_interspersed_args": False}
        super().__init__(*args, context_settings=settings, **attrs)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            rewritten = Grammar.of(self.get_params(ctx), stop=True).rewrite(args)
        except click.UsageError as error:
            error.ctx = ctx
            raise
        return click.Command.parse_args(self, ctx, rewritten)


def _applied(options: list[Decorator]) -> Decorator:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def resources(
    *, words: bool = False, numeric: Callable[[Kind], Kind] = _as_it_is, join: Join = join_words
) -> Decorator:
    """What a run takes: nodes, ranks, threads, GPUs, time.

    ``words`` lets ``--mpi-flags`` take all words up to the next option, made one text by ``join``,
    for a command that has no words of its own. ``numeric`` makes the types of numbers.
    """
    flags: dict[str, Any] = {"cls": WordsOption, "join": join} if words else {"metavar": "TEXT"}
    count = numeric(COUNT)
    return _applied(
        [
            click.option(
                "--num-nodes", "-n", type=count, default=1, show_default=True, help="Nodes."
            ),
            click.option(
                "--ranks-per-node",
                "--processes-per-node",
                "ranks_per_node",
                type=count,
                default=1,
                show_default=True,
                help="MPI ranks on each node; more than one rank is run through mpirun.",
            ),
            click.option(
                "--threads-per-rank",
                type=count,
                default=1,
                show_default=True,
                help="Threads of each rank.",
            ),
            click.option(
                "--threads-per-core",
                type=count,
                default=1,
                show_default=True,
                help="Threads on each core.",
            ),
            click.option(
                "--gpus-per-rank",
                type=numeric(number(0, 10_000, whole=False)),
                default=0.0,
                help="GPUs of each rank; less than 1 shares one.",
            ),
            click.option("--mpi-flags", default="", help="More options for mpirun.", **flags),
            click.option(
                "--wall-time-minutes",
                "--wall-minutes",
                "wall_time_minutes",
                type=numeric(MINUTES),
                default=1,
                show_default=True,
                help="How long it will take, about.",
            ),
            click.option(
                "--time-limit-minutes",
                type=numeric(number(0, LONGEST_MINUTES, whole=False)),
                default=0.0,
                help="Stop it after that long; 0 means no limit.",
            ),
        ]
    )


def job_options(
    *, numeric: Callable[[Kind], Kind] = _as_it_is, join: Join = join_words
) -> Decorator:
    """Everything else that describes a job of an application (name and place apart).

    ``numeric`` and ``join`` are those of :func:`resources`.
    """
    return _applied(
        [
            click.option(
                "--coschedule-num-nodes",
                type=numeric(OR_NONE),
                default=0,
                help="Nodes of the allocation it would like to run in.",
            ),
            click.option(
                "--node-packing-count",
                type=numeric(COUNT),
                default=1,
                show_default=True,
                help="How many such jobs fit on one node.",
            ),
            click.option(
                "--args", cls=WordsOption, join=join, default="", help="Arguments of this run."
            ),
            click.option(
                "--post-handle-error",
                is_flag=True,
                help="Let the postprocess script handle a failed run.",
            ),
            click.option(
                "--post-handle-timeout",
                is_flag=True,
                help="Let the postprocess script handle a timeout.",
            ),
            click.option(
                "--disable-auto-timeout-retry",
                is_flag=True,
                help="Do not run it again after a timeout.",
            ),
            retry_option(),
            click.option(
                "--signal",
                default="",
                metavar="NAME",
                help="A signal it gets before its launcher ends (USR1).",
            ),
            click.option(
                "--signal-before-min",
                type=numeric(number(0, LONGEST_MINUTES, whole=False)),
                default=0.0,
                help="How many minutes before the end.",
            ),
            click.option(
                "--input-files",
                cls=WordsOption,
                join=join_plain,
                default="*",
                show_default=True,
                help="Patterns of the parents' files to link.",
            ),
            click.option(
                "--stage-in-url", "--url-in", "stage_in_url", default="", help="Files to copy in."
            ),
            click.option(
                "--stage-out-url",
                "--url-out",
                "stage_out_url",
                default="",
                help="Where to copy files to.",
            ),
            click.option(
                "--stage-out-files",
                cls=WordsOption,
                join=join_plain,
                default="",
                help="Patterns of the files to copy out.",
            ),
            env_option(),
            click.option(
                "--tag",
                "tags",
                multiple=True,
                metavar="NAME=VALUE",
                help="A label that 'balsam ls' and launchers choose by. Repeatable.",
            ),
            click.option(
                "--priority",
                type=numeric(number(-LARGEST_PRIORITY, LARGEST_PRIORITY)),
                default=0,
                show_default=True,
                help="Jobs of a higher one run first.",
            ),
            click.option(
                "--description", cls=WordsOption, join=join_plain, default="", help="What it is."
            ),
            click.option("--preprocessor", default="", hidden=True),
            click.option("--postprocessor", default="", hidden=True),
            click.option("--allowed-site", hidden=True, expose_value=False),
        ]
    )


def env_option() -> Decorator:
    """``--env VAR=VAL``."""
    return click.option(
        "--env", "env", multiple=True, metavar="VAR=VAL", help="A variable for the run. Repeatable."
    )


def retry_option() -> Decorator:
    """``--retry 'oom=2:30s, exit=1'``."""
    return click.option(
        "--retry",
        default="",
        metavar="CAUSE=LIMIT:PAUSE",
        help="How often to try again, by cause: 'oom=2:30s, exit=1, hook=1'.",
    )


def name_option(text: str, *others: str, **attrs: Any) -> Decorator:
    """``--name``, and other spellings of it; '' is no name."""
    return click.option("--name", *others, callback=_not_empty, help=text, **attrs)


def workflow_option(text: str, **attrs: Any) -> Decorator:
    """``--workflow``, with its shorter name; '' is none."""
    return click.option(
        "--workflow",
        "--wf",
        "workflow",
        shell_complete=completion.workflows,
        callback=_not_empty,
        help=text,
        **attrs,
    )


def _not_empty(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """``value``, unless it is a typed text with nothing in it."""
    typed = ctx.get_parameter_source(param.name or "") == click.core.ParameterSource.COMMANDLINE
    if typed and not str(value).strip():
        raise click.UsageError(f"{param.opts[0]} can not be empty.")
    return value


def app_option(text: str) -> Decorator:
    """``--application``, with its shorter names."""
    return click.option(
        "--application",
        "--app",
        "application",
        metavar="APP",
        default="",
        shell_complete=completion.apps,
        help=text,
    )


def environment(given: tuple[str, ...]) -> dict[str, str]:
    """Variables from repeated VAR=VAL; InvalidValue for one without a name."""
    return _named(given, "--env")


def labels(given: tuple[str, ...]) -> dict[str, str]:
    """Tags from repeated NAME=VALUE; InvalidValue for one without a name."""
    return _named(given, "--tag")


def _named(given: tuple[str, ...], option: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise InvalidValue(f"{option} takes NAME=VALUE, not '{pair}'.")
        if found.get(name.strip(), value) != value:
            raise InvalidValue(f"{option} gives {name.strip()} two values.")
        found[name.strip()] = value
    return found
