"""``balsam ls``: what the record holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from balsam.cli import completion
from balsam.cli.commands import Command
from balsam.cli.limits import COUNT
from balsam.cli.selector import selecting

if TYPE_CHECKING:
    from balsam.core.selection import Selection

KINDS = {"jobs": "jobs", "job": "jobs", "apps": "apps", "app": "apps", "wf": "wf"}
METAVAR = "[jobs|apps|wf] [WHICH]..."


@click.command("ls", cls=Command)
@selecting(parts=True, metavar=METAVAR)
@click.option("--by-states", is_flag=True, help="Count jobs by state.")
@click.option("--by-reason", is_flag=True, help="Count jobs by what holds them up.")
@click.option("--history", is_flag=True, help="Show every change of state, and why.")
@click.option("--verbose", is_flag=True, help="Show whole records.")
@click.option("--tree", is_flag=True, help="Show jobs below the jobs they wait for.")
@click.option(
    "--columns",
    metavar="FIELD,...",
    shell_complete=completion.fields,
    help="The columns of the table, also of --json and --csv.",
)
@click.option(
    "--order-by",
    metavar="FIELD,...",
    shell_complete=completion.fields,
    help="Sort by these fields; -FIELD is downwards.",
)
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Write CSV.")
@click.option("--limit", type=COUNT, help="Show at most that many.")
@click.option("--no-pager", is_flag=True, help="Do not page long listings on a terminal.")
def command(
    selection: Selection,
    by_states: bool,
    by_reason: bool,
    history: bool,
    verbose: bool,
    tree: bool,
    columns: str | None,
    order_by: str | None,
    as_json: bool,
    as_csv: bool,
    limit: int | None,
    no_pager: bool,
) -> None:
    """List jobs (also: apps, wf), all or those that are selected.

    \b
    Examples:
      balsam ls --state FAILED --history
      balsam ls 'sim_*' --since 2h --columns id,name,state,num_nodes --order-by -num_nodes
      balsam ls --wf optimise --by-states
      balsam ls apps

    BALSAM_LS_FIELDS=field:field adds columns; BALSAM_LS_LIMIT (5000) is the limit of tables.
    """
    from balsam.cli import listings

    if as_json and as_csv:
        raise click.UsageError("Give one of --json and --csv.")
    form = listings.Form(
        json=as_json,
        csv=as_csv,
        history=history,
        verbose=verbose,
        tree=tree,
        columns=_listed(columns),
        order=_listed(order_by),
        limit=limit,
        pager=not no_pager,
    )
    counts = {"--by-states": by_states, "--by-reason": by_reason}
    shapes = {"--history": history, "--verbose": verbose, "--tree": tree, "--columns": columns}
    _refuse_mixes(counts, shapes, {"--json": as_json, "--csv": as_csv, "--order-by": order_by})
    kind, selection = _kind(selection)
    if kind == "apps":
        listings.apps(selection, form, [*counts.items(), *shapes.items()])
    else:
        show = listings.workflows if kind == "wf" else listings.jobs
        if by_states:
            show = listings.by_states
        elif by_reason:
            show = listings.by_reason
        show(listings.in_workflows(selection) if kind == "wf" else selection, form)


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(word.strip() for word in (text or "").split(",") if word.strip())


def _kind(selection: Selection) -> tuple[str, Selection]:
    """What is listed, out of the first word, and the selection without it."""
    from dataclasses import replace

    if selection.words[:1] == ("queues",):
        raise click.UsageError("This Balsam does not ask the scheduler about its queues yet.")
    if selection.words and selection.words[0] in KINDS:
        return KINDS[selection.words[0]], replace(selection, words=selection.words[1:])
    return "jobs", selection


def _refuse_mixes(
    counts: Mapping[str, object], shapes: Mapping[str, object], ways: Mapping[str, object]
) -> None:
    """Options that would be ignored beside others are refused."""
    counting = [name for name, given in counts.items() if given]
    shaping = [name for name, given in shapes.items() if given]
    wanted = [name for name, given in ways.items() if given]
    clash: list[str] = []
    if counting and (len(counting) > 1 or shaping or "--order-by" in wanted):
        clash = [*counting, *shaping, *(["--order-by"] if "--order-by" in wanted else [])]
    elif "--tree" in shaping and (len(shaping) > 1 or wanted):
        clash = ["--tree", *(name for name in shaping if name != "--tree"), *wanted]
    elif "--columns" in shaping and len(shaping) > 1:
        clash = shaping
    if clash:
        raise click.UsageError(f"{' and '.join(clash[:2])} do not go together.")
