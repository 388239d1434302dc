"""The command line as a page, made from the click commands of ``balsam/cli``."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from balsam.cli.app import SECTIONS, cli
from balsam.cli.commands import Entry
from balsam_docs.rst import literal, plain, table


def commands_page() -> list[str]:
    """Every command in the order of ``balsam --help``, and the older names, as rst."""
    lines: list[str] = []
    for section in SECTIONS:
        shown = [name for name, entry in section.entries.items() if not entry.hidden]
        lines += [f".. rubric:: {plain(section.title)}", ""]
        for name in shown:
            lines += command_text(*found(name))
    return lines + older_names()


def entries() -> dict[str, Entry]:
    """The commands that are shown, by name."""
    return {name: entry for name, entry in cli.entries.items() if not entry.hidden}


def found(name: str) -> tuple[click.Command, click.Context]:
    """A command by name, with the context its usage is told in."""
    top = click.Context(cli, info_name="balsam")
    command = cli.get_command(top, name)
    assert command is not None
    return command, click.Context(command, info_name=name, parent=top)


def command_text(command: click.Command, context: click.Context) -> list[str]:
    """One command: usage, help, arguments and options, as rst."""
    lines = [f".. _cli-{context.info_name}:", "", f".. object:: {usage(command, context)}", ""]
    body = help_text(command)
    if names := arguments(command, context):
        body += table(["Argument", "What it is"], [[literal(a), b] for a, b in names], [38, 62])
    rows = [[literal(option), plain(text)] for option, text in options(command, context)]
    body += table(["Option", "Meaning"], rows, [38, 62])
    return [*lines, *(f"   {line}".rstrip() for line in body), ""]


def usage(command: click.Command, context: click.Context) -> str:
    """``balsam ls [OPTIONS] ...``"""
    return f"{context.command_path} {' '.join(command.collect_usage_pieces(context))}"


def options(command: click.Command, context: click.Context) -> list[tuple[str, str]]:
    """The options that are shown, each with its help."""
    return [
        record
        for param in command.get_params(context)
        if isinstance(param, click.Option)
        and (record := param.get_help_record(context)) is not None
    ]


def arguments(command: click.Command, context: click.Context) -> list[tuple[str, str]]:
    """The words that are no options: how they are written, and what is known of them."""
    return [
        (param.make_metavar(context), _about(param))
        for param in command.get_params(context)
        if isinstance(param, click.Argument)
    ]


def _about(param: click.Argument) -> str:
    parts = []
    if isinstance(param.type, click.Choice):
        parts.append("one of " + ", ".join(f"``{choice}``" for choice in param.type.choices))
    if param.nargs != 1:
        parts.append("any number of them")
    elif not param.required:
        parts.append("may be left out")
    return "; ".join(parts) or "one word"


def help_text(command: click.Command) -> list[str]:
    """The help text; paragraphs marked with a backspace keep their lines."""
    lines: list[str] = []
    for paragraph in paragraphs(command):
        if not paragraph.startswith("\b"):
            lines += [plain(" ".join(paragraph.split())), ""]
            continue
        intro, *rest = paragraph.splitlines()[1:]
        if intro.startswith(" ") or not intro.rstrip().endswith(":"):
            rest = [intro, *rest]
        else:
            lines += [plain(intro), ""]
        lines += [".. code-block:: text", "", *(f"   {line}" for line in _dedented(rest)), ""]
    return lines


def paragraphs(command: click.Command) -> Iterator[str]:
    """The paragraphs of a command's help."""
    text = inspect.cleandoc(command.help or "").partition("\f")[0]
    yield from (part.strip("\n") for part in text.split("\n\n") if part.strip())


def _dedented(lines: list[str]) -> list[str]:
    return inspect.cleandoc("\n" + "\n".join(lines)).splitlines()


def older_names() -> list[str]:
    """The commands that are not shown in the overview, each with the one it stands for."""
    rows = [
        [literal(f"balsam {name}"), plain(entry.help)]
        for name, entry in cli.entries.items()
        if entry.hidden
    ]
    return [".. rubric:: Older names", "", *table(["Command", "Meaning"], rows, [38, 62])]
