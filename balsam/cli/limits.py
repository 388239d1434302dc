"""Numbers on the command line: whole or not, within limits that the message names."""

from __future__ import annotations

import math
from collections.abc import Callable

import click

#: More nodes, ranks or threads than any machine has.
LARGEST_COUNT = 10_000_000
#: What each database has room for.
LARGEST_PRIORITY = 2**31 - 1
#: More minutes than the life of any machine.
LONGEST_MINUTES = 5_000_000


def number(least: float, most: float, whole: bool = True) -> Callable[[str], int | float]:
    """An option type: numbers from ``least`` to ``most``, whole ones unless ``whole`` is false."""

    def n(value: str) -> int | float:
        try:
            found = int(value) if whole else float(value)
        except (ValueError, OverflowError):
            kind = "a whole number" if whole else "a number"
            raise click.BadParameter(f"'{value}' is not {kind}.") from None
        if math.isnan(found) or not least <= found <= most:
            raise click.BadParameter(f"{value} is not from {least} to {most}.")
        return found

    return n  # click shows the function's name in upper case as what to type


COUNT = number(1, LARGEST_COUNT)
OR_NONE = number(0, LARGEST_COUNT)
MINUTES = number(0, LONGEST_MINUTES)
