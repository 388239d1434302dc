"""``balsam modify``: change one field of jobs or of an application."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from balsam.cli import output
from balsam.cli.commands import Command
from balsam.cli.dialogue import consent
from balsam.cli.options import join_words
from balsam.cli.remove import APPS, JOBS, KINDS
from balsam.cli.selector import selecting

if TYPE_CHECKING:
    from balsam.core.selection import Selection


#: Fields that a run does not depend on, so they may change while it goes on.
HARMLESS = ("state", "description", "tags", "data", "priority", "max_attempts")


@click.command("modify", cls=Command, loose=True)
@selecting(metavar="[ID] FIELD VALUE")
@click.option(
    "--type",
    "kind",
    type=click.Choice([JOBS, APPS]),
    default=JOBS,
    show_default=True,
    help="What ID names: a job, or an application (by name or number).",
)
@click.option("--attr", metavar="FIELD", help="The older form: modify jobs ID --attr F --value V.")
@click.option("--value", metavar="VALUE", help="See --attr.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask when there are several jobs.")
def command(
    selection: Selection, kind: str, attr: str | None, value: str | None, yes: bool
) -> None:
    """Give a field of jobs, or of an application, a new value.

    The value is checked: whole numbers for counts, true or false for switches, JSON for data and
    tags, NAME=VALUE:NAME=VALUE for environ_vars. A new state has to be one the job may go to.
    With options that select jobs, all of them change and no ID is given. Jobs that run or are
    leased are skipped and named, unless the field has nothing to do with the run (state, tags,
    data, description, priority, max_attempts).

    \b
    Examples:
      balsam modify 17 num_nodes 4
      balsam modify --state FAILED wall_time_minutes 120
      balsam modify hello executable ./hello --type apps
    """
    change = _parsed(selection, kind, attr, value)
    if change.kind == APPS:
        _modify_app(change)
    else:
        _modify_jobs(change, yes)


@dataclass(frozen=True)
class Change:
    """What becomes of which field of whom."""

    kind: str
    selection: Selection
    field: str
    text: str


def _parsed(selection: Selection, kind: str, attr: str | None, value: str | None) -> Change:
    """The change out of either form of the command."""
    words = list(selection.words)
    by_options = bool(replace(selection, words=()))
    if attr is None and value is None:
        least = 2 if by_options else 3
        if len(words) < least:
            raise click.UsageError("Give ID FIELD VALUE, or options that select jobs.")
        which, (field, *rest) = ([], words) if by_options else (words[:1], words[1:])
        return Change(kind, _of(selection, which), _underscored(field), join_words(rest))
    if attr is None or value is None or not (by_options or 1 <= len(words) <= 2) or len(words) > 2:
        raise click.UsageError("Give ID FIELD VALUE, or: jobs ID --attr FIELD --value VALUE.")
    if words and (len(words) == 2 or by_options):
        if words[0] not in KINDS:
            raise click.UsageError(f"'{words[0]}' is neither jobs nor apps.")
        kind = KINDS[words.pop(0)]
    return Change(kind, _of(selection, words), _underscored(attr), value)


def _of(selection: Selection, words: list[str]) -> Selection:
    return replace(selection, words=tuple(words))


def _underscored(field: str) -> str:
    return field.replace("-", "_")


def _modify_app(change: Change) -> None:
    from balsam.core.models import ApplicationDefinition

    selection = change.selection
    keys = (*selection.words, *selection.ids, *selection.names)
    if len(keys) != 1:
        raise click.UsageError("Name one application.")
    found = list(ApplicationDefinition.objects.selected((), keys))
    app = found[0] if len(found) == 1 else ApplicationDefinition.objects.named(keys[0])
    print(f"app {change.field} changed to:  {output.cell(app.modify(change.field, change.text))}")


def _modify_jobs(change: Change, yes: bool) -> None:
    from balsam.core.models import BalsamJob
    from balsam.core.written import value_of

    chosen = BalsamJob.objects.matching(change.selection)
    count = chosen.count()
    if not count:
        output.refuse_nothing("jobs")
    # A job that runs may still be told apart and moved; what it runs with is history by now.
    changeable = chosen if change.field in HARMLESS else chosen.free()
    keys = list(changeable.values_list("id", flat=True))
    busy = [] if change.field in HARMLESS else chosen.busy().labels()
    if count == 1 and keys:
        new = changeable.get().modify(change.field, change.text)
        print(f"job {change.field} changed to:  {output.cell(new)}")
        return
    if keys:
        value_of(BalsamJob, change.field, change.text)  # no question about what can not be
        if not consent(f"Change {change.field} of {len(keys)} jobs?", yes, "--yes"):
            print("Modify aborted")
            return
        changed = BalsamJob.objects.all().among(keys).modify(change.field, change.text)
        print(f"{change.field} of {changed} jobs changed to:  {output.cell(change.text)}")
    output.skipped(busy, "running or leased")
    if not keys:
        raise click.exceptions.Exit(1)
