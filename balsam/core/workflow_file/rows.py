"""The sweep of a job in a workflow file, as rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from balsam.conf.yaml_nodes import Node
from balsam.core.sweeps import Rows, axes
from balsam.core.workflow_file.reading import At, known

SWEEP_KEYS = ("range", "values", "each_line", "from_csv", "zip")


def rows_of(node: Node, directory: Path) -> Rows:
    """The rows of a sweep; its files are looked for in ``directory``."""
    items = known(node, "a sweep", SWEEP_KEYS)
    made: list[axes.Axis] = []
    for key, read in (("each_line", axes.Lines), ("from_csv", axes.Table)):
        if key in items:
            with At(items[key]):
                made.append(read(str(directory / items[key].written(key))))
    for key, name, one in _pairs(items, "range"):
        with At(one):
            made.append(axes.Span(f"{name}={one.written(key)}"))
    for key, name, one in _pairs(items, "values"):
        with At(one):
            if isinstance(one.value, list):
                words = [value.written(key) for value in one.value]
                made.append(axes.Values.of(name, words))
            else:
                made.append(axes.Values(f"{name}={one.written(key)}"))
    zipped = items["zip"].value if "zip" in items else False
    if not isinstance(zipped, bool):
        raise items["zip"].error("zip is true or false.")
    if not made:
        raise node.error("the sweep has no values: give range, values, each_line or from_csv.")
    with At(node):
        return Rows(made, zipped)


def _pairs(items: Mapping[str, Node], key: str) -> Iterator[tuple[str, str, Node]]:
    if key in items:
        for name, node in items[key].items(key):
            yield key, name, node
