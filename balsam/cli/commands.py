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
class Invocation:
    """What one invocation knows besides its options; click carries it as ``ctx.obj``."""

    debug: bool = False


@dataclass(frozen=True)
class Entry:
    """A command by name: where its code is, and what the overview says about it."""

    module: str
    help: str
    attribute: str = "command"
    hidden: bool = False


@dataclass(frozen=True)
class Section:
    """Commands that people look for together."""

    title: str
    entries: Mapping[str, Entry] = field(default_factory=dict)


def _set_debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(Invocation).debug = True


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

    def __init__(
        self,
        *args: Any,
        sections: tuple[Section, ...],
        missing: Mapping[str, str] | None = None,
        **attrs: Any,
    ) -> None:
        attrs.setdefault("context_settings", SETTINGS)
        super().__init__(*args, **attrs)
        self.sections = sections
        self.missing = missing or {}
        self.params.append(debug_option(hidden=False))

    @property
    def entries(self) -> dict[str, Entry]:
        return {name: entry for part in self.sections for name, entry in part.entries.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, entry in self.entries.items() if not entry.hidden]

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
        if name == "help":  # as other tools have it
            if len(args) == 1:
                click.echo(ctx.get_help())
                ctx.exit()
            return self.resolve_command(ctx, [args[1], "--help"])
        command = self.get_command(ctx, name)
        if command is None and name in self.missing:
            raise click.UsageError(self.missing[name], ctx)
        if command is None:
            near = nearest(name, self.list_commands(ctx))
            raise click.UsageError(f"There is no command '{args[0]}'{near}", ctx)
        return name, command, args[1:]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        grammar = Grammar.of(self.get_params(ctx), stop=True)
        return super().parse_args(ctx, _rewritten(grammar, args, ctx))

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """How to start comes first, the options last."""
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        self.format_epilog(ctx, formatter)
        self.format_commands(ctx, formatter)
        self._format_own_options(ctx, formatter)

    def _format_own_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        records = (param.get_help_record(ctx) for param in self.get_params(ctx))
        with formatter.section("Options"):
            formatter.write_dl([record for record in records if record is not None])

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for part in self.sections:
            with formatter.section(part.title):
                shown = [(name, one.help) for name, one in part.entries.items() if not one.hidden]
                formatter.write_dl(shown)
