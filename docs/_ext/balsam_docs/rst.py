"""Pieces of reStructuredText: tables and escaped text."""

from __future__ import annotations

import re
from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int]) -> list[str]:
    """A ``list-table`` with one header row; cells are one line of rst each."""
    shares = " ".join(map(str, widths))
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {shares}", ""]
    for row in (head, *rows):
        for number, cell in enumerate(row):
            lines.append(f"   {'*' if number == 0 else ' '} - {cell}".rstrip())
    return [*lines, ""]


def plain(text: str) -> str:
    """``text`` so that rst shows it as it is."""
    return re.sub(r"([*`|_\\])", r"\\\1", text)


def literal(text: str) -> str:
    """``text`` in the type of code; nothing for nothing."""
    return f"``{text}``" if text.strip() else ""
