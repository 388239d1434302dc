"""Settings changed in their file by a program: the lines of others and all comments stay."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from balsam.conf import undoable
from balsam.conf.settings import parse
from balsam.errors import SettingsError

_INDENT = "  "
_WORD = re.compile(r"[a-z]+")


def changed(text: str, path: str, section: str, values: Mapping[str, Any]) -> str:
    """The text of a settings file with these settings of a section, and all others as they are.

    Raises SettingsError for a text that is written in a way this can not change.
    """
    before = parse(text, path)
    new = dataclasses.replace(getattr(before, section), **values)
    try:
        for name, value in values.items():
            text = _with(text, section, name, _scalar(value))
        done = parse(text, path) == dataclasses.replace(before, **{section: new})
    except (SettingsError, yaml.YAMLError):
        done = False
    if not done:
        listed = ", ".join(f"{name}: {_scalar(value)}" for name, value in values.items())
        raise SettingsError(
            f"The section '{section}' of {path} is written in a way that a program can not change; "
            f"give each setting a line of its own, and try again (it is to get {listed})."
        )
    return text


def _with(text: str, section: str, name: str, scalar: str) -> str:
    """The text with one setting; wrong for some ways to write a file, as the caller sees."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    entries = root.value if isinstance(root, yaml.MappingNode) else []
    node = next((value for key, value in entries if key.value == section), None)
    if node is None:
        end = "" if not text or text.endswith("\n") else "\n"
        return f"{text}{end}\n{section}:\n{_INDENT}{name}: {scalar}\n"
    if not isinstance(node, yaml.MappingNode):  # empty
        return _inserted(text, node.end_mark.index, f"{_INDENT}{name}: {scalar}")
    for key, value in node.value:
        if key.value == name:
            start, end = value.start_mark.index, value.end_mark.index
            return f"{text[:start]}{' ' if start == end else ''}{scalar}{text[end:]}"
    if node.flow_style:
        start = node.start_mark.index + 1
        return f"{text[:start]}{name}: {scalar}, {text[start:]}"
    first, value = node.value[0]
    line = f"{' ' * first.start_mark.column}{name}: {scalar}"
    return _inserted(text, value.end_mark.index, line)


def _inserted(text: str, after: int, line: str) -> str:
    """The text with a line more, below the one that ``after`` is in."""
    end = text.find("\n", after)
    if end < 0:
        return f"{text}\n{line}\n"
    return f"{text[: end + 1]}{line}\n{text[end + 1 :]}"


def _scalar(value: Any) -> str:
    """A value as it is written in YAML."""
    return value if isinstance(value, str) and _WORD.fullmatch(value) else json.dumps(value)


def replace(path: Path, text: str) -> None:
    """Put a new text in the place of the file's, all or nothing, with its mode. Raises OSError."""
    target = Path(os.path.realpath(path))
    with undoable.replacing(target, f".{target.name}-") as stream:
        os.fchmod(stream.fileno(), target.stat().st_mode & 0o7777)
        stream.write(text.encode())
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
