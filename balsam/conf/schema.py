"""How a settings file is read: YAML in, checked values out, errors that name the line.

The dataclasses it fills are in ``settings.py`` and ``machine_file.py``; this module knows only how
their fields are marked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import yaml

from balsam import errors

#: The longest period, in seconds: SQLite and poll(2) count milliseconds in 31 bits.
LONGEST_SECONDS = 2_000_000.0
LARGEST_COUNT = 1_000_000

#: An example of an ill-typed value is shown up to this many characters.
_SHOWN = 60


def setting(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] = (),
    least: float = 0,
    above: bool = False,
    check: Callable[[Any], Any] | None = None,
    spell: Callable[[Any], str] = str,
) -> Any:
    """A field; ``least`` is the smallest value, or with ``above`` the one that is too small.

    ``check`` raises InvalidValue for what a text may not say, and returns what it means. With it,
    a mapping may be written as well, whose checked form ``spell`` makes a text of.
    """
    most = LONGEST_SECONDS if isinstance(default, float) else LARGEST_COUNT
    limits = {"help": help, "choices": choices, "least": least, "above": above, "most": most}
    limits.update(check=check, spell=spell)
    return dataclasses.field(default=default, metadata=limits)


def texts(help: str, kind: type = str) -> Any:
    """A field that is a list of texts, or of whole numbers; empty by default."""
    return dataclasses.field(default=(), metadata={"help": help, "each": kind})


def pairs(help: str) -> Any:
    """A field that gives names a text each; empty by default."""
    return dataclasses.field(default_factory=dict, metadata={"help": help, "pairs": True})


def group(kind: type, help: str) -> Any:
    """A field that is a section of its own."""
    return dataclasses.field(default_factory=kind, metadata={"help": help, "group": kind})


def table(kind: type, help: str) -> Any:
    """A field that gives names a section each; empty by default."""
    return dataclasses.field(default_factory=dict, metadata={"help": help, "table": kind})


def read(text: str, path: str, sections: Mapping[str, type]) -> dict[str, Any]:
    """The sections that ``text`` has, each as its dataclass; ``path`` names the file in errors.

    Raises SettingsError, and nothing else.
    """
    reader = _Reader(path)
    values: dict[str, Any] = {}
    for name, node in reader.items(reader.root(text), ""):
        if name not in sections:
            raise reader.error(node, _unknown("section", name, list(sections), "sections"))
        values[name] = reader.section(name, node, sections[name])
    return values


def read_as(text: str, path: str, kind: type, what: str) -> tuple[Any, Mapping[str, int]]:
    """A whole file as one dataclass, and the lines its keys are on; ``what`` names it in errors.

    A key in a section is 'section.key'. Raises SettingsError, and nothing else.
    """
    reader = _Reader(path, what)
    return reader.section("", reader.root(text), kind), reader.lines


class _Reader:
    """Reads values from a YAML tree; keeps to the tree so that errors can name lines."""

    def __init__(self, path: str, what: str = "settings.yml") -> None:
        self.path = path
        self.what = what
        self.lines: dict[str, int] = {}

    def error(self, node: yaml.Node, message: str) -> errors.SettingsError:
        return errors.SettingsError(f"{self.path}, line {node.start_mark.line + 1}: {message}")

    def root(self, text: str) -> yaml.Node | None:
        """The tree, or None of an empty file."""
        try:
            return yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = f", line {mark.line + 1}" if mark else ""
            message = f"{self.path}{line}: not valid YAML: {error.problem or error.context}."
            raise errors.SettingsError(message) from error
        except yaml.reader.ReaderError as error:
            line_number = text.count("\n", 0, error.position) + 1
            message = f"{self.path}, line {line_number}: not valid YAML: {error.reason}."
            raise errors.SettingsError(message) from error
        except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
            raise errors.SettingsError(f"{self.path}: not valid YAML: {error}.") from error

    def items(self, node: yaml.Node | None, section: str) -> Iterator[tuple[str, yaml.Node]]:
        """The keys of a mapping with their values; what is empty has none."""
        if node is None or (_is_scalar(node) and self.scalar(node) is None):
            return
        what = section or self.what
        if not isinstance(node, yaml.MappingNode):
            plain = section or self.what != "settings.yml"
            expected = "lines of the form 'name: value'" if plain else "sections of settings"
            raise self.error(node, f"{what} is {_describe(node)}; expected {expected}.")
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value) if _is_scalar(key) else _describe(key)
            if name in seen:
                raise self.error(key, f"{what} has {_show(name)} twice; keep one of them.")
            seen.add(name)
            # An alias carries the position of its anchor; the key's line is the one to look at.
            yield name, _at(key, value)

    def section(self, name: str, node: yaml.Node | None, kind: type) -> Any:
        fields = {field.name: field for field in dataclasses.fields(kind)}
        values: dict[str, Any] = {}
        for key, value in self.items(node, name):
            if key not in fields:
                these = f"{name} settings" if name else f"settings of {self.what}"
                raise self.error(value, _unknown("setting", key, list(fields), these))
            full = f"{name}.{key}" if name else key
            self.lines[full] = value.start_mark.line + 1
            values[key] = self.value(full, fields[key], value)
        return kind(**values)

    def value(self, name: str, field: dataclasses.Field[Any], node: yaml.Node) -> Any:
        rule = field.metadata
        if rule.get("check"):
            return self.meant(name, rule, node)
        if "group" in rule:
            return self.section(name, node, rule["group"])
        if "table" in rule:
            return {
                key: self.section(f"{name}.{key}", value, rule["table"])
                for key, value in self.items(node, name)
            }
        if "pairs" in rule:
            return {
                key: self._text(f"{name}.{key}", value) for key, value in self.items(node, name)
            }
        if "each" in rule:
            return self._list(name, rule["each"], node)
        return self._one(name, field, node)

    def _list(self, name: str, kind: type, node: yaml.Node) -> tuple[Any, ...]:
        if not isinstance(node, yaml.SequenceNode):
            what = "a list of whole numbers" if kind is int else "a list of texts"
            raise self.error(node, f"{name} is {_describe(node)}; expected {what}, as in [a, b].")
        found = [self._text(f"an element of {name}", one) for one in node.value]
        if kind is int:
            for text, one in zip(found, node.value, strict=True):
                if not (text.isascii() and text.isdecimal() and len(text) < 9):
                    raise self.error(one, f"{name} has {_show(text)}; expected a whole number.")
        return tuple(map(kind, found))

    def _text(self, name: str, node: yaml.Node) -> str:
        """A word or number as it was written."""
        if not _is_scalar(node) or self.scalar(node) is None or "\0" in node.value:
            shown = "empty" if _is_scalar(node) and not node.value else _describe(node)
            raise self.error(node, f"{name} is {shown}; expected text.")
        return str(node.value)

    def _one(self, name: str, field: dataclasses.Field[Any], node: yaml.Node) -> Any:
        shown = _describe(node)
        if _is_scalar(node):
            written = self.scalar(node)
            shown = _show(written) if isinstance(written, str) else _clip(node.value) or "empty"
            try:
                return _checked(field, written)
            except ValueError:
                pass
        raise self.error(node, f"{name} is {shown}; expected {expected(field)}.")

    def meant(self, name: str, rule: Mapping[str, Any], node: yaml.Node) -> str:
        """The text of a setting that has a check of its own, also if written as a mapping.

        Left empty, it is empty, as a section is.
        """
        empty = _is_scalar(node) and self.scalar(node) in (None, "")
        if _is_scalar(node) and not empty:
            self._text(name, node)
        try:
            given = "" if empty else yaml.SafeLoader("").construct_document(node)
            checked = rule["check"](given)
        except (yaml.YAMLError, ValueError, LookupError, AttributeError, OverflowError) as error:
            raise self.error(node, f"{name}: {error}") from error
        return str(rule["spell"](checked))

    def scalar(self, node: yaml.Node) -> Any:
        """The Python value of a word or number."""
        try:
            return yaml.SafeLoader("").construct_object(node)
        except (yaml.YAMLError, ValueError, LookupError, AttributeError, OverflowError) as error:
            shown, tag = _show(node.value), str(node.tag).rpartition(":")[2]
            raise self.error(node, f"{shown} is not a value of type {tag[:_SHOWN]}.") from error


def expected(field: dataclasses.Field[Any]) -> str:
    """What may stand for a setting, in words."""
    rule = field.metadata
    if rule.get("choices"):
        return "one of " + ", ".join(choice or "''" for choice in rule["choices"])
    if rule.get("each"):
        return "a list of whole numbers" if rule["each"] is int else "a list of texts"
    if "pairs" in rule:
        return "lines of the form 'name: text'"
    if "group" in rule or "table" in rule:
        return "a section" + (" for each name" if "table" in rule else "")
    if isinstance(field.default, str):
        return "text (in quotes, if it looks like a number or like yes and no)"
    if isinstance(field.default, bool):
        return "true or false"
    noun = "a whole number" if isinstance(field.default, int) else "a number"
    lower = "above" if rule["above"] else "of at least"
    return f"{noun} {lower} {rule['least']:g} and at most {rule['most']:.0f}"


def _checked(field: dataclasses.Field[Any], value: object) -> object:
    """``value`` as the type of the field. Raises ValueError."""
    rule = field.metadata
    if isinstance(field.default, str):
        if _good_text(rule["choices"], value):
            return value
    # To Python a bool is an int; to someone who writes 'yes' for a number it is a mistake.
    elif isinstance(field.default, bool) or isinstance(value, bool):
        if type(value) is type(field.default):
            return value
    else:
        if isinstance(value, int) and _in_range(rule, value):
            return value if isinstance(field.default, int) else float(value)
        if isinstance(value, float) and isinstance(field.default, float) and _in_range(rule, value):
            return value
    raise ValueError(value)


def _good_text(choices: tuple[str, ...], value: object) -> bool:
    return isinstance(value, str) and "\0" not in value and (not choices or value in choices)


def _in_range(rule: Mapping[str, Any], number: float) -> bool:
    """Whether a number is allowed; the ones that are none (nan) are not."""
    least: float = rule["least"]
    return least <= number <= rule["most"] and not (rule["above"] and number == least)


def _unknown(noun: str, name: str, known: list[str], these: str) -> str:
    suggestion = errors.nearest(name[:_SHOWN], known)
    return f"unknown {noun} {_show(name)}{suggestion} (the {these} are {', '.join(known)})."


def _is_scalar(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode)


def _describe(node: yaml.Node) -> str:
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return "a group of settings" if isinstance(node, yaml.MappingNode) else _show(node.value)


def _show(text: object) -> str:
    return _clip(repr(text))


def _clip(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _at(key: yaml.Node, value: yaml.Node) -> yaml.Node:
    """``value``, placed on the line of ``key``."""
    return type(value)(value.tag, value.value, key.start_mark, value.end_mark)
