"""The click classes every command is made with: free spelling, ``--debug``, commands on demand."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import click

from balsam.cli.options import Grammar
from balsam.errors import nearest

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@dataclass
class Session:
    """What one invocation knows besides its options; click carries it as ``ctx.obj``."""

    debug: bool = False


@dataclass(frozen=True)
class Entry:
    """A command by name: where its code is, and what the overview says about it."""

    module: str
    help: str
    attribute: str = "command"


@dataclass(frozen=True)
class Section:
    """Commands that people look for together."""

    title: str
    entries: Mapping[str, Entry] = field(default_factory=dict)


def _set_debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(Session).debug = True


def debug_option(hidden: bool = True) -> click.Option:
    """``--debug``, which every command takes: a traceback instead of one sentence."""
    return click.Option(
        ["--debug"],
        is_flag=True,
        hidden=hidden,
        is_eager=True,
        expose_value=False,
        callback=_set_debug,
        help="Show the traceback of an error.",
    )


def _rewritten(grammar: Grammar, args: list[str], ctx: click.Context) -> list[str]:
    try:
        return grammar.rewrite(args)
    except click.UsageError as error:
        error.ctx = ctx  # so that the message names the command
        raise


class Command(click.Command):
    """A command whose options may be abbreviated, in one grammar for all commands."""

    def __init__(self, *args: Any, loose: bool = False, **attrs: Any) -> None:
        attrs.setdefault("context_settings", SETTINGS)
        super().__init__(*args, **attrs)
        self.loose = loose
        self.params.append(debug_option())

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        grammar = Grammar.of(self.get_params(ctx), loose=self.loose)
        return super().parse_args(ctx, _rewritten(grammar, args, ctx))


class Overview(click.Group):
    """The top command: imports a command's module when that command is asked for."""

    def __init__(self, *args: Any, sections: tuple[Section, ...], **attrs: Any) -> None:
        attrs.setdefault("context_settings", SETTINGS)
        super().__init__(*args, **attrs)
        self.sections = sections
        self.params.append(debug_option(hidden=False))

    @property
    def entries(self) -> dict[str, Entry]:
        return {name: entry for part in self.sections for name, entry in part.entries.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self.entries.get(cmd_name)
        if entry is None:
            return None
        command = getattr(importlib.import_module(entry.module), entry.attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0].replace("_", "-")
        command = self.get_command(ctx, name)
        if command is None:
            near = nearest(name, self.entries)
            raise click.UsageError(f"There is no command '{args[0]}'{near}", ctx)
        return name, command, args[1:]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        grammar = Grammar.of(self.get_params(ctx), stop=True)
        return super().parse_args(ctx, _rewritten(grammar, args, ctx))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for part in self.sections:
            with formatter.section(part.title):
                formatter.write_dl([(name, entry.help) for name, entry in part.entries.items()])
