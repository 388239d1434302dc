"""The code blocks of a reStructuredText page, read without Sphinx.

The tests execute them. As a program, with a page and a name as arguments, it prints the block of
that name, which is how ``.ci/run`` gets the commands of the README.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_DIRECTIVE = re.compile(r"(?P<indent> *)\.\. code-block::(?: +(?P<language>\S+))?\s*")
_OPTION = re.compile(r" +:(?P<name>[\w-]+):(?: +(?P<value>.*?))?\s*")
#: Other ways to show code, which would escape the tests.
_OTHERS = re.compile(r" *(?:\.\. (?:code|sourcecode|highlight|parsed-literal)::|(?!\.\. ).*::\s*$)")


@dataclass(frozen=True)
class Block:
    """A code block: its page, the line it begins in (from 1), language, options and text."""

    page: str
    line: int
    language: str
    text: str
    options: dict[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """``page:line``, as tools print it."""
        return f"{self.page}:{self.line}"


def read(path: Path) -> list[Block]:
    """The code blocks of a page, in order."""
    return list(parse(path.read_text(encoding="utf-8"), path.name))


def parse(text: str, page: str = "page") -> Iterator[Block]:
    """The code blocks of a page's text."""
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        found = _DIRECTIVE.fullmatch(lines[number])
        number += 1
        if found is None:
            continue
        first, indent = number, len(found["indent"])
        options: dict[str, str] = {}
        while number < len(lines) and (option := _OPTION.fullmatch(lines[number])):
            options[option["name"]] = option["value"] or ""
            number += 1
        body: list[str] = []
        while number < len(lines) and _inside(lines[number], indent):
            body.append(lines[number])
            number += 1
        content = textwrap.dedent("\n".join(body)).strip("\n")
        yield Block(page, first, found["language"] or "", content, options)


def _inside(line: str, indent: int) -> bool:
    return not line.strip() or len(line) - len(line.lstrip(" ")) > indent


def other_code(text: str) -> list[int]:
    """Lines (from 1) that show code by other means than ``code-block``."""
    inside: set[int] = set()
    for block in parse(text):
        inside.update(range(block.line, block.line + len(block.text.splitlines()) + 3))
    return [
        number
        for number, line in enumerate(text.splitlines(), 1)
        if number not in inside and _OTHERS.match(line)
    ]


def named(path: Path, name: str) -> str:
    """The text of the one block with ``:name: NAME``; LookupError if there is not exactly one."""
    found = [block.text for block in read(path) if block.options.get("name") == name]
    if len(found) != 1:
        raise LookupError(f"{path} has {len(found)} code blocks named '{name}'; one is needed")
    return found[0]


if __name__ == "__main__":
    print(named(Path(sys.argv[1]), sys.argv[2]))
