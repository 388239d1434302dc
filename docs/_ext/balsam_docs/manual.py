"""Manual pages: one for ``balsam`` and one for each command, from what the CLI reference shows.

Sphinx reads pages from files, so they are written into ``docs/_generated`` while the ``man``
builder works, and removed when it has ended.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from balsam_docs import commands_page
from balsam_docs.rst import literal, plain

DIRECTORY = "_generated"
SECTION = 1
EXIT_CODES = (
    ("0", "done"),
    ("1", "refused; one sentence says why"),
    ("2", "the command line makes no sense; one sentence says why"),
    ("130", "interrupted from the keyboard"),
    ("141", "whoever read the output closed it"),
)


def man_pages() -> list[tuple[str, str, str, list[str], int]]:
    """What Sphinx is told of the pages: source, name, description, authors, section."""
    return [
        (f"{DIRECTORY}/{name}", name, text.rstrip(".").replace("'", "\u2019"), [], SECTION)
        for name, text in _titles()
    ]


def _titles() -> Iterator[tuple[str, str]]:
    yield "balsam", "run campaigns of many application runs"
    for name, entry in commands_page.entries().items():
        yield f"balsam-{name}", entry.help


def page(name: str) -> list[str]:
    """The source of a page: ``balsam`` or ``balsam-COMMAND``."""
    body = _overview() if name == "balsam" else _command(name.partition("-")[2])
    return [":orphan:", "", name, "=" * len(name), "", *body]


def _command(name: str) -> list[str]:
    command, context = commands_page.found(name)
    lines = _section("Synopsis", [f"``{commands_page.usage(command, context)}``", ""])
    lines += _section("Description", commands_page.help_text(command))
    arguments = [(literal(word), text) for word, text in commands_page.arguments(command, context)]
    if arguments:
        lines += _section("Arguments", _definitions(arguments))
    given = commands_page.options(command, context)
    lines += _section("Options", _definitions([(literal(a), plain(b)) for a, b in given]))
    return lines + _section("See also", [":manpage:`balsam(1)`", ""])


def _overview() -> list[str]:
    lines = _section("Synopsis", ["``balsam [--debug] COMMAND [WORDS]...``", ""])
    for section in commands_page.SECTIONS:
        shown = [
            (f":manpage:`balsam-{name}({SECTION})`", plain(entry.help))
            for name, entry in section.entries.items()
            if not entry.hidden
        ]
        lines += _section(section.title, _definitions(shown))
    codes = [(literal(code), plain(text)) for code, text in EXIT_CODES]
    return lines + _section("Exit codes", _definitions(codes))


def _section(title: str, body: list[str]) -> list[str]:
    return [title, "-" * len(title), "", *body]


def _definitions(rows: list[tuple[str, str]]) -> list[str]:
    return [line for term, text in rows for line in (term, f"   {text}", "")]


def write(app: Any) -> None:
    """Write the sources where the ``man`` builder finds them. Called by Sphinx."""
    if app.builder.name != "man":
        app.config.exclude_patterns.append(DIRECTORY)
        return
    directory = Path(app.srcdir, DIRECTORY)
    directory.mkdir(exist_ok=True)
    for name, _ in _titles():
        (directory / f"{name}.rst").write_text("\n".join(page(name)), encoding="utf-8")


def remove(app: Any, exception: Exception | None) -> None:
    """Remove the sources again. Called by Sphinx."""
    if app.builder.name == "man":
        shutil.rmtree(Path(app.srcdir, DIRECTORY), ignore_errors=True)
