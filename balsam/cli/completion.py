"""What the shell offers for names of jobs, applications, workflows, states and projects."""

from __future__ import annotations

from typing import Literal

import click
from click.shell_completion import CompletionItem

from balsam import states as state_names

#: More candidates than these help nobody.
MOST = 200
Items = list["CompletionItem[str]"]  # click 8.1 has no such thing at run time


def states(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """States that begin with what was typed, in any case."""
    typed = incomplete.upper().replace("-", "_")
    return [CompletionItem(name) for name in state_names.STATES if name.startswith(typed)]


def apps(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Registered applications."""
    return _from_record("apps", incomplete)


def workflows(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Workflows that have jobs."""
    return _from_record("workflows", incomplete)


def names(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Names of jobs."""
    return _from_record("names", incomplete)


def jobs(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Ids of jobs, the newest first, with their names; then names, once something is typed."""
    ids = _from_record("jobs", incomplete)
    return [*ids, *_from_record("names", incomplete)][:MOST] if incomplete else ids


def fields(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Fields of a job, after the last comma; ``-`` before one sorts downwards."""
    before, comma, last = incomplete.rpartition(",")
    sign = "-" if last.startswith("-") else ""
    found = _from_record("fields", last.lstrip("-"))
    return [CompletionItem(f"{before}{comma}{sign}{item.value}") for item in found]


def projects(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Projects of this user."""
    from balsam.conf import registry

    found = registry.projects()
    return [
        CompletionItem(name, help=str(paths[0]))
        for name, paths in sorted(found.items())
        if name.startswith(incomplete) and paths
    ][:MOST]


def _from_record(
    kind: Literal["apps", "workflows", "names", "jobs", "fields"], incomplete: str
) -> Items:
    """Candidates of a kind; none where there is no project, or one that does not answer."""
    try:
        from balsam.core import candidates

        found = getattr(candidates, kind)(incomplete, MOST)
    except Exception:  # noqa: BLE001 (a prompt is no place for messages: TAB then does nothing)
        return []
    return [CompletionItem(word, help=text or None) for word, text in found if _typable(word)]


def _typable(word: str) -> bool:
    """Whether a name can be put on a command line as it is, or in quotes."""
    return bool(word.strip()) and word.isprintable()
