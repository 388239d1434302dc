"""``balsam modify``: change one field of a job or an application."""

from __future__ import annotations

import click

from balsam.cli import output
from balsam.cli.apps import selected_apps
from balsam.cli.commands import Command
from balsam.cli.options import join_words

JOBS, APPS = "jobs", "apps"
KINDS = {"jobs": JOBS, "job": JOBS, "apps": APPS, "app": APPS}


@click.command("modify", cls=Command, loose=True, options_metavar="[--type jobs|apps]")
@click.argument("words", nargs=-1, required=True, metavar="ID FIELD VALUE")
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
def command(words: tuple[str, ...], kind: str, attr: str | None, value: str | None) -> None:
    """Give a field of a job or an application a new value.

    The value is checked: whole numbers for counts, true or false for switches, JSON for data and
    tags, NAME=VALUE:NAME=VALUE for environ_vars. A new state has to be one the job may go to.
    """
    kind, key, field, text = _parsed(words, kind, attr, value)

    from balsam.core.models import ApplicationDefinition, BalsamJob

    if kind == APPS:
        apps = selected_apps(None, key)
        app = apps[0] if len(apps) == 1 else ApplicationDefinition.objects.named(key)
        new = app.modify(field, text)
    else:
        new = BalsamJob.objects.find(key).modify(field, text)
    print(f"{kind[:-1]} {field} changed to:  {output.cell(new)}")


def _parsed(
    words: tuple[str, ...], kind: str, attr: str | None, value: str | None
) -> tuple[str, str, str, str]:
    """Kind, id, field and text out of either form of the command."""
    if attr is None and value is None:
        if len(words) < 3:
            raise click.UsageError("Give ID FIELD VALUE.")
        return kind, words[0], _dashed(words[1]), join_words(words[2:])
    if attr is None or value is None or not 1 <= len(words) <= 2:
        raise click.UsageError("Give ID FIELD VALUE, or: jobs ID --attr FIELD --value VALUE.")
    if len(words) == 2:
        if words[0] not in KINDS:
            raise click.UsageError(f"'{words[0]}' is neither jobs nor apps.")
        kind = KINDS[words[0]]
    return kind, words[-1], _dashed(attr), value


def _dashed(field: str) -> str:
    return field.replace("-", "_")
