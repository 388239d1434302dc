"""Results of simulated runs as a table, for a terminal and for the documentation."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Result = Mapping[str, Any]


def efficiency(result: Result, results: Sequence[Result]) -> float | None:
    """Use of the allocation, relative to the smallest one with the same kind of tasks."""
    kin = [one for one in results if one["kind"] == result["kind"]]
    smallest = min(kin, key=lambda one: one["nodes"])
    return result["use"]["busy"] / smallest["use"]["busy"] if smallest is not result else None


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _seconds(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


Cell = Callable[[Result, Sequence[Result]], str]
#: Head -> what stands below it.
COLUMNS: dict[str, Cell] = {
    "tasks": lambda one, _: one["kind"],
    "nodes": lambda one, _: f"{one['nodes']:,}",
    "number": lambda one, _: f"{one['tasks']:,}",
    "hours": lambda one, _: f"{one['use']['makespan'] / 3600:.2f}",
    "used %": lambda one, _: _percent(one["use"]["busy"]),
    "weak scaling %": lambda one, all_: _percent(efficiency(one, all_)),
    "of ideal %": lambda one, _: _percent(one["of_ideal"]),
    "lost in gaps %": lambda one, _: f"{100 * one['use']['gaps']:.2f}",
    "tail %": lambda one, _: _percent(one["use"]["tail"]),
    "tail s": lambda one, _: _seconds(one["use"]["makespan"] - one["use"]["last_start"]),
    "every node after s": lambda one, _: _seconds(one["use"]["every_node_at"]),
    "full after s": lambda one, _: _seconds(one["use"]["full_at"]),
    "tasks/s": lambda one, _: _seconds(one["tasks"] / one["use"]["makespan"]),
    "CPU %": lambda one, _: _percent(one["cpu_seconds"] / one["elapsed_seconds"]),
    "MB": lambda one, _: f"{one['rss_mb']:.0f}",
    "longest wait of a wide job s": lambda one, _: (
        _seconds(one["wide_wait"]) if one["wide_wait"] is not None else ""
    ),
}


def cells(results: Sequence[Result]) -> list[list[str]]:
    """Head and rows, without columns that are empty."""
    rows = [[cell(one, results) for cell in COLUMNS.values()] for one in results]
    kept = [index for index in range(len(COLUMNS)) if any(row[index] for row in rows)]
    return [[row[index] for index in kept] for row in [list(COLUMNS), *rows]]


def text(title: str, results: Sequence[Result]) -> str:
    """For a terminal."""
    lines = cells(results)
    widths = [max(len(line[index]) for line in lines) for index in range(len(lines[0]))]
    body = [
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    ]
    return "\n".join([title, *body, ""])


def rst(title: str, note: str, results: Sequence[Result]) -> str:
    """For the documentation: a section with a list-table."""
    lines = [title, "-" * len(title), "", *textwrap.wrap(note, 100), ""]
    lines += [".. list-table::", "   :header-rows: 1", ""]
    for row in cells(results):
        lines += [f"   {' ' if index else '*'} - {cell}".rstrip() for index, cell in enumerate(row)]
    return "\n".join([*lines, ""])


def phases(result: Result) -> str:
    """Where the master's time went, by task."""
    number = max(1, result["tasks"])
    lines = [f"{'':32} {'seconds':>9} {'us/task':>9} {'calls':>9}"]
    for name, seconds in sorted(result["phases"].items(), key=lambda item: -item[1]):
        each = 1e6 * seconds / number
        lines.append(f"{name:32} {seconds:9.2f} {each:9.1f} {result['calls'][name]:9,}")
    return "\n".join([*lines, ""])
