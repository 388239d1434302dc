"""Values of fields out of the nodes of a workflow file, with errors that name the line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import models

from balsam.conf.yaml_nodes import Node
from balsam.core.fields import EnvironField
from balsam.core.models import BalsamJob
from balsam.core.rules import MINIMUM
from balsam.core.sweeps import Sweep
from balsam.core.sweeps.templates import has_templates, is_template
from balsam.core.values import checked
from balsam.errors import BalsamError, DependencyError, nearest


def known(node: Node, what: str, keys: Iterable[str]) -> dict[str, Node]:
    """A mapping's items; InvalidValue for a key that is not among ``keys``."""
    found = dict(node.items(what))
    for key, value in found.items():
        if key not in keys:
            hint = nearest(key, keys) or f"; it has {', '.join(keys)}."
            raise value.error(f"{what} has no '{key}'{hint}")
    return found


def variables(node: Node, what: str) -> Any:
    """Environment variables: a mapping, or NAME=VALUE text."""
    if node.text is not None:
        return node.written(what)
    return {name: value.written(f"{what} {name}") for name, value in node.items(what)}


class At:
    """A block whose errors are about the value of a node, and of a row of a sweep."""

    def __init__(self, node: Node, sweep: Sweep | None = None) -> None:
        self.node = node
        self.sweep = sweep

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, BalsamError) and not isinstance(error, DependencyError):
            text = str(error)
            if text.startswith(f"{self.node.path}, line "):
                return
            if self.sweep is not None and not text.startswith(self.sweep.place):
                text = f"{self.sweep.place}: {text}"
            raise self.node.error(text) from error


def value_of(name: str, key: str, node: Node, sweeping: bool) -> Any:
    """The value of a field; InvalidValue if the field can not hold it."""
    if name == "application":
        found: Any = node.written(key)
        if not sweeping:
            refuse_template(found, node)
        return found
    column = BalsamJob._meta.get_field(name)
    if isinstance(column, models.TextField):
        found = node.written(key)
    elif isinstance(column, EnvironField):
        found = variables(node, key)
    else:
        found = node.plain()
    if sweeping and has_templates(found) and not isinstance(column, EnvironField):
        return found  # checked when it is filled in
    _refuse_templates(found, node, sweeping)
    with At(node):
        return checked(column, found, MINIMUM.get(name))


def _refuse_templates(value: Any, node: Node, sweeping: bool) -> None:
    if sweeping:
        return
    if isinstance(value, dict):
        value = [*value, *value.values()]
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, (dict, list)):
            _refuse_templates(one, node, sweeping)
        else:
            refuse_template(one, node)


def refuse_template(value: Any, node: Node) -> None:
    if is_template(value):
        raise node.error(f"nothing fills in '{value}': give the job a sweep.")
