"""The jobs that a workflow file describes, with the parents that they name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from balsam.conf.yaml_nodes import Node
from balsam.core import ids, insert
from balsam.core.models import BalsamJob
from balsam.core.sweeps import Rows, Sweep
from balsam.core.sweeps.fields import FIELD_NAMES, field_name, settable
from balsam.core.sweeps.templates import is_template
from balsam.core.workflow_file.reading import At, refuse_template, value_of
from balsam.core.workflow_file.rows import rows_of
from balsam.errors import BalsamError, nearest


class Jobs:
    """The jobs of a file, and the parents that each names."""

    def __init__(self, workflow: str, directory: Path) -> None:
        self.workflow = workflow
        self.directory = directory
        self.made: list[dict[str, Any]] = []
        self.used: dict[str, Node] = {}
        #: Of each job: its entry, and the parents as written, each with its place.
        self.entries: list[Node] = []
        self.parents: list[list[tuple[str, Node]]] = []
        self.places: dict[str, int] = {}
        #: What the entries are called -> their jobs.
        self.groups: dict[str, list[int]] = {}

    def read(self, node: Node) -> None:
        items = dict(node.items("a job"))
        if "name" not in items:
            raise node.error("a job needs a name: write '- name: NAME'.")
        name = items["name"].written("name")
        if not name.strip():
            raise items["name"].error("the name of the job is empty.")
        if name in self.groups:
            first = self.entries[self.groups[name][0]].line
            raise items["name"].error(f"there is a job '{name}' in line {first} already.")
        rows = rows_of(items.pop("sweep"), self.directory) if "sweep" in items else None
        parents = self._parents(items.pop("parents")) if "parents" in items else []
        fields = self._fields(items, rows is not None)
        self._complete(node, fields)
        self.groups[name] = []
        if rows is None:
            for text, where in parents:
                refuse_template(text, where)
            self._add(name, items["name"], fields, parents)
        else:
            self._sweep(name, items["name"], fields, parents, rows)
        for used in (self.made[index]["application"] for index in self.groups[name]):
            if used:
                self.used.setdefault(used, items.get("application", node))

    def _complete(self, node: Node, fields: dict[str, Any]) -> None:
        fields.setdefault("workflow", self.workflow)
        fields.setdefault("application", "")
        if not fields["workflow"]:
            raise node.error("the job has no workflow: write 'workflow: NAME' at the top.")
        if not fields["application"] and not fields.get("direct_command"):
            raise node.error("the job has no application.")

    def _fields(self, items: Mapping[str, Node], sweeping: bool) -> dict[str, Any]:
        keys = (*settable(), *FIELD_NAMES, "parents", "sweep")
        fields: dict[str, Any] = {}
        for key, node in items.items():
            try:
                name = field_name(key)
            except BalsamError as error:
                hint = nearest(key, keys) if key not in BalsamJob.ALIASES else ""
                raise node.error(f"a job has no '{key}' to set{hint or '.'}") from error
            if name in fields:
                raise node.error(f"{name} is given twice, under two of its names.")
            fields[name] = value_of(name, key, node, sweeping)
        return fields

    def _parents(self, node: Node) -> list[tuple[str, Node]]:
        nodes = [node] if node.text is not None else node.elements("parents")
        return [(one.written("a parent"), one) for one in nodes]

    def _sweep(
        self,
        name: str,
        node: Node,
        fields: dict[str, Any],
        parents: list[tuple[str, Node]],
        rows: Rows,
    ) -> None:
        template = {**fields, "parents": [text for text, _ in parents]}
        app = {}
        if not is_template(fields["application"]):
            app["application"] = template.pop("application")  # may be one that is yet to be made
        with At(node):
            sweep = Sweep(template, rows)
        check = insert.checker(BalsamJob)
        made = iter(sweep)
        while True:
            with At(node, sweep):
                job = next(made, None)
                if job is None:
                    return
                check({key: value for key, value in job.items() if key != "application"})
            texts = job.pop("parents")
            named = [
                (text, where)
                for text, (_, where) in zip(texts, parents, strict=True)
                if text.strip()
            ]
            self._add(name, node, {**job, **app}, named)

    def _add(
        self, entry: str, node: Node, job: dict[str, Any], parents: list[tuple[str, Node]]
    ) -> None:
        index = len(self.made)
        other = self.places.setdefault(job["name"], index)
        if other != index:
            line = self.entries[other].line
            raise node.error(f"two jobs are named '{job['name']}'; the other is of line {line}.")
        job["job_id"] = ids.new_uuid()
        self.groups[entry].append(index)
        self.made.append(job)
        self.entries.append(node)
        self.parents.append(parents)
