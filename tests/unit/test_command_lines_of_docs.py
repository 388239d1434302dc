"""Command lines in the text of pages are what the commands take; blocks are executed elsewhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from balsam.cli.app import cli
from balsam.cli.commands import Command
from balsam.cli.options import Grammar

DOCS = Path(__file__).parents[2] / "docs"


def command_lines() -> Iterator[tuple[str, str]]:
    """Page and line of each ``balsam ...`` in the text."""
    for page in sorted(DOCS.glob("**/*.rst")):
        for line in re.findall(r"``(balsam [a-z][^`]*)``", page.read_text()):
            yield str(page.relative_to(DOCS)), " ".join(line.split())


def test_there_are_some() -> None:
    pages = [page for page, _ in command_lines()]
    assert pages.count("cheat-sheet.rst") > 30


@pytest.mark.parametrize(("page", "line"), sorted(set(command_lines())))
def test_the_command_takes_it(page: str, line: str) -> None:
    _, name, *words = shlex.split(line.replace(" && ", " ; ").split(" ; ")[0])
    context = click.Context(cli, info_name="balsam")
    command = cli.get_command(context, name.replace("_", "-"))
    assert isinstance(command, Command), f"{page}: there is no command {name}"
    grammar = Grammar.of(command.get_params(click.Context(command)), loose=command.loose)
    wants_value = bool(words) and words[-1].startswith("--")
    try:
        grammar.rewrite([word for word in words if word != "..."])
    except click.UsageError as error:
        assert wants_value, f"{page}: {line}: {error.message}"
        assert "needs a value" in error.message, f"{page}: {line}: {error.message}"
