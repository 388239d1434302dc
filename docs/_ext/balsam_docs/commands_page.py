"""The command line as a page, made from the click commands of ``balsam/cli``."""

from __future__ import annotations

import inspect

import click

from balsam.cli.app import SECTIONS, cli
from balsam_docs.rst import literal, plain, table


def commands_page() -> list[str]:
    """Every command in the order of ``balsam --help``, as rst."""
    top = click.Context(cli, info_name="balsam")
    lines: list[str] = []
    for section in SECTIONS:
        lines += [f".. rubric:: {plain(section.title)}", ""]
        for name in section.entries:
            command = cli.get_command(top, name)
            assert command is not None
            lines += command_text(command, click.Context(command, info_name=name, parent=top))
    return lines


def command_text(command: click.Command, context: click.Context) -> list[str]:
    """One command: usage, help and options, as rst."""
    name = context.command_path
    usage = f"{name} {' '.join(command.collect_usage_pieces(context))}"
    lines = [f".. _cli-{context.info_name}:", "", f".. object:: {usage}", ""]
    lines += [f"   {line}".rstrip() for line in _help(command)]
    records = [
        record
        for param in command.get_params(context)
        if isinstance(param, click.Option)
        and (record := param.get_help_record(context)) is not None
    ]
    rows = [[literal(option), plain(text)] for option, text in records]
    lines += ["", *(f"   {line}".rstrip() for line in table(["Option", "Meaning"], rows, [38, 62]))]
    return lines


def _help(command: click.Command) -> list[str]:
    """The help text; paragraphs marked with a backspace keep their lines."""
    lines: list[str] = []
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        if paragraph.startswith("\b"):
            lines += [f"| {plain(line)}" for line in paragraph.splitlines()[1:]]
        else:
            lines.append(plain(" ".join(paragraph.split())))
        lines.append("")
    return lines
