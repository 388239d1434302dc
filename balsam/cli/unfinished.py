"""A command line that is still being typed: what its next word may be."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import click
from click.shell_completion import CompletionItem

from balsam.cli import completion
from balsam.cli.commands import Overview
from balsam.cli.options import Grammar, Spelling

Items = completion.Items

_ALTERNATIVES = re.compile(r"[\[{](\w+(?:\|\w+)+)[\]}]")
_FILES = (
    "--args",
    "--cwd",
    "--each-line",
    "--envscript",
    "--executable",
    "--from-csv",
    "--from-yaml",
    "--postprocess",
    "--preprocess",
)


def files(context: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Whatever files the shell finds."""
    return [CompletionItem(incomplete, type="file")]


#: What an option takes whose command does not say so itself.
BY_OPTION: dict[str, Callable[[click.Context, click.Parameter, str], Items]] = {
    "--application": completion.apps,
    "--app": completion.apps,
    "--workflow": completion.workflows,
    "--wf": completion.workflows,
    "--wf-filter": completion.workflows,
    "--state": completion.states,
    **dict.fromkeys(_FILES, files),
}


@dataclass
class Typed:
    """The words before the one being typed: what they have given, and what they wait for."""

    given: list[Spelling] = field(default_factory=list)
    positional: list[str] = field(default_factory=list)
    #: The option whose value comes next.
    waiting: Spelling | None = None
    #: Whether options may still come.
    options: bool = True

    @classmethod
    def of(cls, grammar: Grammar, words: Sequence[str]) -> Typed:
        """Read words leniently; one that makes no sense is passed over."""
        typed = cls()
        queue = deque(words)
        while queue:
            word = queue.popleft()
            if word == "--":
                typed.options = False
                typed.positional.extend(queue)
                break
            option, value = grammar.find(word)
            if option is None:
                typed.positional.append(word)
                if grammar.stop:
                    typed.positional.extend(queue)
                    break
                continue
            typed.given.append(option)
            if option.takes == "words":
                while queue and queue[0] != "--" and grammar.find(queue[0])[0] is None:
                    queue.popleft()
            elif option.takes == "value" and value is None and queue:
                queue.popleft()
                continue
            if not queue and (
                option.takes == "words" or (option.takes == "value" and value is None)
            ):
                typed.waiting = option
        return typed


def candidates(top: click.Command, prog: str, words: Sequence[str], incomplete: str) -> Items:
    """What may stand in the place of ``incomplete``, after ``words`` of the command line."""
    context = click.Context(top, info_name=prog, resilient_parsing=True)
    if isinstance(top, Overview):
        typed = Typed.of(Grammar.of(top.get_params(context), stop=True), words)
        if not typed.positional:
            if incomplete.startswith("-"):
                return _options(top, context, typed, incomplete)
            return _commands(top, incomplete)
        name, *words = typed.positional
        found = top.get_command(context, name.replace("_", "-"))
        if found is None:
            return []
        return _of_command(found, click.Context(found, context, name), words, incomplete)
    return _of_command(top, context, words, incomplete)


def _of_command(
    command: click.Command, context: click.Context, words: Sequence[str], incomplete: str
) -> Items:
    grammar = Grammar.of(command.get_params(context), loose=getattr(command, "loose", False))
    typed = Typed.of(grammar, words)
    may_be_option = typed.options and incomplete.startswith("-")
    if typed.waiting is not None and not (may_be_option and typed.waiting.takes == "words"):
        return _values(command, context, typed.waiting, incomplete)
    if may_be_option:
        option, equals, value = incomplete.partition("=")
        found, _ = grammar.find(option)
        if equals and found is not None:
            return _prefixed(option + equals, _values(command, context, found, value))
        return _options(command, context, typed, incomplete)
    argument = _argument(command, context, len(typed.positional))
    if argument is not None:
        if argument.type is click.UNPROCESSED:  # a command line to run
            return files(context, argument, incomplete)
        kinds = [] if typed.positional else _kinds(argument, incomplete)
        return kinds + argument.shell_complete(context, incomplete)
    return [] if incomplete or not typed.options else _options(command, context, typed, "")


def _commands(top: Overview, incomplete: str) -> Items:
    begin = incomplete.replace("_", "-")
    return [
        CompletionItem(name, help=entry.help)
        for name, entry in top.entries.items()
        if name.startswith(begin) and not entry.hidden
    ]


def _options(
    command: click.Command, context: click.Context, typed: Typed, incomplete: str
) -> Items:
    """Options that begin so, once each, without those that may not be given again."""
    begin = incomplete.replace("_", "-")
    items = []
    for param in command.get_params(context):
        if not isinstance(param, click.Option) or param.hidden:
            continue
        spelling = Spelling.of(param)
        if spelling in typed.given and not param.multiple:
            continue
        names = [name for name in spelling.names if name.startswith(begin or "--")]
        if names:
            items.append(CompletionItem(names[0], help=param.help))
    return items


def _values(
    command: click.Command, context: click.Context, spelling: Spelling, incomplete: str
) -> Items:
    for param in command.get_params(context):
        if isinstance(param, click.Option) and Spelling.of(param) == spelling:
            named = [BY_OPTION[name] for name in spelling.names if name in BY_OPTION]
            found = param.shell_complete(context, incomplete)
            return found or (named[0](context, param, incomplete) if named else [])
    return []


def _argument(command: click.Command, context: click.Context, number: int) -> click.Argument | None:
    """The argument that the positional word of this number (from 0) belongs to."""
    for param in command.get_params(context):
        if isinstance(param, click.Argument):
            if param.nargs < 0 or number < param.nargs:
                return param
            number -= param.nargs
    return None


def _kinds(argument: click.Argument, incomplete: str) -> Items:
    """The words that the first of many may be, by their metavar (``{jobs|apps} [WHICH]...``)."""
    found = _ALTERNATIVES.match(argument.metavar or "") if argument.nargs < 0 else None
    words = found[1].split("|") if found else []
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def _prefixed(prefix: str, items: Items) -> Items:
    return [CompletionItem(prefix + item.value, item.type, item.help) for item in items]
