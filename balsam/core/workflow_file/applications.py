"""The applications that a workflow file describes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from balsam.conf.yaml_nodes import Node
from balsam.core.models import ApplicationDefinition
from balsam.core.sweeps.fields import FIELD_NAMES
from balsam.core.values import checked
from balsam.core.workflow_file.reading import At, known, variables

#: Makes a program that is named relative to the current directory one that runs from anywhere.
Resolve = Callable[[str, str], str]

_APP_TEXTS = ("name", "executable", "description", "preprocess", "postprocess", "envscript")
APP_KEYS = (*_APP_TEXTS, "environ_vars", "env", "retry")


class Apps:
    """The applications of a file."""

    def __init__(self, resolve: Resolve | None) -> None:
        self.resolve = resolve or (lambda text, option: text)
        self.made: list[dict[str, Any]] = []
        self.lines: dict[str, Node] = {}

    def read(self, node: Node) -> None:
        items = known(node, "an application", APP_KEYS)
        app: dict[str, Any] = {}
        for key, value in items.items():
            name = FIELD_NAMES.get(key, key)
            if name in app:
                raise value.error(f"{name} is given twice, under two of its names.")
            if key in _APP_TEXTS:
                app[name] = value.written(key)
            else:
                app[name] = value.plain() if key == "retry" else variables(value, key)
            with At(value):
                if key in ("executable", "preprocess", "postprocess"):
                    app[name] = self.resolve(app[name], key)
                app[name] = checked(ApplicationDefinition._meta.get_field(name), app[name])
        for key, what in (("name", "a name"), ("executable", "an executable")):
            if not str(app.get(key, "")).strip():
                raise items.get(key, node).error(f"an application needs {what}.")
        if app["name"] in self.lines:
            first = self.lines[app["name"]].line
            raise node.error(f"the application '{app['name']}' is in line {first} already.")
        self.lines[app["name"]] = node
        self.made.append(app)
