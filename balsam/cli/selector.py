"""Saying which jobs a command is about: the same words and options for every command."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from balsam.cli import completion
from balsam.cli.limits import COUNT
from balsam.cli.times import moment

if TYPE_CHECKING:
    from balsam.core.selection import Selection

_GLOB = "exactly, or with * and ? standing for any text and any character"

#: Each may be given more than once, and then any of its values will do.
_REPEATABLE: tuple[tuple[str, tuple[str, ...], str, Any, str], ...] = (
    ("ids", ("--id",), "ID", completion.jobs, "The job of this number or UUID (or its ends)."),
    ("names", ("--name",), "NAME", completion.names, f"Jobs of this name, {_GLOB}."),
    (
        "workflows",
        ("--wf", "--workflow", "--wf-filter"),
        "W",
        completion.workflows,
        f"Jobs of this workflow, {_GLOB}.",
    ),
    ("apps", ("--app", "--application"), "APP", completion.apps, "Jobs of this application."),
    ("states", ("--state",), "STATE", completion.states, "Jobs in this state."),
    ("tags", ("--tag",), "KEY[=VALUE]", None, "Jobs with this tag."),
    ("parents", ("--parent",), "ID", completion.jobs, "Jobs that wait for this job."),
)
_NAMES = ("words", *(row[0] for row in _REPEATABLE), "since", "until", "last")


def selecting(
    *, words: bool = True, parts: bool = False, metavar: str = "[WHICH]..."
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options that select jobs; it is called with ``selection=``.

    ``words`` lets it take ids, names and ``last`` without an option. With ``parts`` a plain name
    stands for all names that contain it, as it does in listings only.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def bundled(*args: Any, **given: Any) -> Any:
            from balsam.core.selection import Selection

            chosen = {name: given.pop(name) for name in _NAMES if name in given}
            said = {name: value for name, value in chosen.items() if value is not None}
            return function(*args, selection=Selection(**said, parts=parts), **given)

        for option in reversed(_options(parts)):
            bundled = option(bundled)
        if words:
            argument = click.argument(
                "words", nargs=-1, metavar=metavar, shell_complete=completion.jobs
            )
            bundled = argument(bundled)
        return bundled

    return decorate


def _options(parts: bool) -> list[Callable[..., Any]]:
    options: list[Callable[..., Any]] = []
    for name, spellings, metavar, complete, text in _REPEATABLE:
        if parts and name in ("names", "workflows"):
            kind = "name" if name == "names" else "workflow"
            text = f"Jobs with this text in their {kind}, or matching a pattern with * and ?."
        options.append(
            click.option(
                *spellings,
                name,
                multiple=True,
                metavar=metavar,
                help=text,
                shell_complete=complete,
            )
        )
    options += [
        click.option(
            "--since",
            type=moment,
            metavar="TIME",
            help="Jobs whose state changed since: an age (2h, 3d), a date, or a time.",
        ),
        click.option(
            "--until", type=moment, metavar="TIME", help="Jobs whose state last changed before."
        ),
        click.option("--last", type=COUNT, help="The newest so many of them."),
    ]
    return options


def require(selection: Selection, everything: bool = False, all_option: bool = True) -> None:
    """Refuse to act on all jobs unless that was said in so many words."""
    if not selection and not everything:
        more = ", or --all" if all_option else ""
        raise click.UsageError(
            f"Say which jobs: ids, names, or options such as --state FAILED{more}."
        )
    if selection and everything:
        raise click.UsageError("Give --all, or say which jobs, not both.")
