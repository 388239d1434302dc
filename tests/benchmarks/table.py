"""Measurements as tables: medians with their spread, and ratios taken round by round."""

from __future__ import annotations

import re
import statistics
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

Contender = Callable[[], float]


@dataclass(frozen=True)
class Row:
    """Values of one thing measured several times; ``bar`` is what it is held to, in words."""

    name: str
    unit: str
    values: Sequence[float]
    bar: str = ""
    met: bool | None = None

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    def cells(self) -> tuple[str, str, str, str, str]:
        """Name, median with its unit, smallest and largest value, bar, whether it is met."""
        low, high = number(min(self.values)), number(max(self.values))
        spread = f"{low} .. {high}" if len(self.values) > 1 else ""
        verdict = "" if self.met is None else ("yes" if self.met else "no")
        return self.name, f"{number(self.median)} {self.unit}".strip(), spread, self.bar, verdict


@dataclass
class Table:
    """Rows under a title, with what a reader has to know about how they were measured."""

    title: str
    note: str = ""
    rows: list[Row] = field(default_factory=list)

    def add(
        self,
        name: str,
        unit: str,
        values: Sequence[float],
        *,
        least: float | None = None,
        most: float | None = None,
    ) -> Row:
        """Append a row whose median should be at ``least`` or at ``most`` so much."""
        middle = statistics.median(values)
        bar, met = "", None
        if least is not None:
            bar, met = f"at least {number(least)} {unit}".strip(), middle >= least
        elif most is not None:
            bar, met = f"at most {number(most)} {unit}".strip(), middle <= most
        row = Row(name, unit, list(values), bar, met)
        self.rows.append(row)
        return row

    def text(self) -> str:
        """For a terminal."""
        head = ("what", "median", "min .. max", "bar", "met")
        lines = [head, *(row.cells() for row in self.rows)]
        widths = [max(len(line[index]) for line in lines) for index in range(len(head))]
        body = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        rule = "  ".join("-" * width for width in widths)
        return "\n".join([self.title, body[0], rule, *body[1:], ""])

    def rst(self) -> str:
        """For the documentation: a section with a list-table."""
        lines = [self.title, "-" * len(self.title), ""]
        if self.note:
            lines += [*textwrap.wrap(self.note, 100), ""]
        lines += [".. list-table::", "   :header-rows: 1", "   :widths: 40 18 20 18 6", ""]
        head = ("what", "median", "min .. max", "bar", "met")
        for cells in (head, *(row.cells() for row in self.rows)):
            lines += [
                f"   {'*' if not index else ' '} - {cell}".rstrip()
                for index, cell in enumerate(cells)
            ]
        return "\n".join([*lines, ""])


def page(facts: Sequence[tuple[str, str]], tables: Sequence[Table]) -> str:
    """What the documentation includes: how it was measured, then the tables."""
    lines = [".. Written by the benchmarks; see benchmarks.rst.", ""]
    lines += [f":{name}: {value}" for name, value in facts]
    return "\n".join([*lines, "", *(table.rst() for table in tables)])


def merged(old: str, new: str) -> str:
    """The page ``old`` with what ``new`` measured again in its place, and the rest of it behind."""
    facts, sections = _parts(old)
    newer_facts, newer = _parts(new)
    return "\n".join([newer_facts or facts, *{**sections, **newer}.values()])


def _parts(text: str) -> tuple[str, dict[str, str]]:
    """What stands before the first section, and title -> section."""
    head, *rest = re.split(r"^(?=\S.*\n-{4,}\n)", text, flags=re.MULTILINE)
    return head.rstrip("\n") + "\n", {
        part.partition("\n")[0]: part.rstrip("\n") + "\n" for part in rest
    }


def number(value: float) -> str:
    """Three digits that matter, thousands apart."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3f}"


def interleave(contenders: Mapping[str, Contender], repeat: int) -> dict[str, list[float]]:
    """Measure A B C, A B C, ...: what the machine does meanwhile happens to all of them."""
    values: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeat):
        for name, measure in contenders.items():
            values[name].append(measure())
    return values


def ratios(values: Sequence[float], to: Sequence[float]) -> list[float]:
    """The ratio of each round."""
    return [one / other for one, other in zip(values, to, strict=True)]
