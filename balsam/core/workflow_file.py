"""Workflow files: applications and jobs with their dependencies, in YAML.

::

    workflow: fit
    applications:
      - name: simulate
        executable: ./simulate.py
    jobs:
      - name: 'sim_{{ x }}'
        application: simulate
        args: --x {{ x }}
        sweep: {range: {x: 0:10}}
      - name: summary
        application: simulate
        parents: ['sim_*']

A parent is the name of a job in the file, a pattern of such names, or the name of an entry with a
sweep, which means all its jobs. Every error names the line.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.db import models, transaction

from balsam.conf.yaml_nodes import Node, parse
from balsam.core import ids, insert
from balsam.core.fields import EnvironField
from balsam.core.lookups import is_glob
from balsam.core.models import ApplicationDefinition, BalsamJob
from balsam.core.rules import MINIMUM, check_policy
from balsam.core.sweeps import FIELD_NAMES, Rows, Sweep, axes, field_name, settable
from balsam.core.sweeps.templates import is_template
from balsam.core.values import checked
from balsam.errors import BalsamError, DependencyError, NoApplication, nearest

#: Makes a program that is named relative to the current directory one that runs from anywhere.
Resolve = Callable[[str, str], str]

TOP = ("workflow", "applications", "jobs")
_APP_TEXTS = ("name", "executable", "description", "preprocess", "postprocess", "envscript")
APP_KEYS = (*_APP_TEXTS, "environ_vars", "env")
SWEEP_KEYS = ("range", "values", "each_line", "from_csv", "zip")


@dataclass
class Plan:
    """What a workflow file describes, checked.

    ``jobs`` are dicts for ``bulk_create``: their ``parents`` are ``job_id``s among them.
    """

    path: str
    applications: list[dict[str, Any]]
    jobs: list[dict[str, Any]]
    #: Names of the applications that jobs use -> where.
    used: dict[str, Node] = field(repr=False)
    lines: dict[str, Node] = field(repr=False)

    def new_applications(self) -> list[dict[str, Any]]:
        """The applications that have to be registered.

        Raises InvalidValue for one that is registered already and different, and NoApplication
        for one that a job uses and nobody describes.
        """
        there = {app.name: app for app in ApplicationDefinition.objects.all()}
        names = [*there, *(app["name"] for app in self.applications)]
        for name, node in self.used.items():
            if name not in names:
                where = f"{node.path}, line {node.line}"
                raise NoApplication(
                    f"{where}: no application '{name}' is registered or in the file"
                    f"{nearest(name, names) or '.'}"
                )
        new = []
        for app in self.applications:
            known = there.get(app["name"])
            if known is None:
                new.append(app)
                continue
            for key, value in app.items():
                if getattr(known, key) != value:
                    raise self.lines[app["name"]].error(
                        f"an application '{known.name}' is registered already, with another {key} "
                        f"({getattr(known, key)}); change the file, or the application with "
                        f"'balsam modify {known.name} {key} ... --type apps'."
                    )
        return new

    def check(self) -> int:
        """Raise what :meth:`add` would, writing nothing; the number of jobs."""
        self.new_applications()
        return len(self.jobs)

    def add(self, progress: insert.Progress | None = None) -> int:
        """Register the applications and insert the jobs, all or nothing; how many jobs."""
        with transaction.atomic():
            for app in self.new_applications():
                ApplicationDefinition.register(**app)
            return insert.stream(BalsamJob, self.jobs, progress=progress)


def load(path: str | Path, workflow: str = "", resolve: Resolve | None = None) -> Plan:
    """Read and check a workflow file (``-`` is standard input); nothing is written.

    ``workflow`` is for the jobs instead of the file's own at its top. Programs in the file are
    passed through ``resolve``. Raises InvalidValue and DependencyError, with file and line.
    """
    file = axes.TextFile(str(path))
    with file.open() as stream:
        text = "".join(file.lines(stream))
    return described(text, file.name, workflow, resolve, Path(path).parent)


def described(
    text: str,
    path: str,
    workflow: str = "",
    resolve: Resolve | None = None,
    directory: Path = Path(),
) -> Plan:
    """The plan in a text; see :func:`load`. Files of sweeps are looked for in ``directory``."""
    root = parse(text, path)
    top = _known(root, "a workflow file", TOP)
    if "workflow" in top and not workflow:
        workflow = top["workflow"].written("workflow")
    apps = _Apps(resolve)
    for node in top["applications"].elements("applications") if "applications" in top else []:
        apps.read(node)
    if "jobs" not in top:
        raise root.error("there are no jobs; list them under 'jobs:', each after '- name:'.")
    jobs = _Jobs(workflow, directory)
    for node in top["jobs"].elements("jobs"):
        jobs.read(node)
    if not jobs.made:
        raise top["jobs"].error("the list of jobs is empty.")
    jobs.link()
    return Plan(path, apps.made, jobs.made, jobs.used, apps.lines)


def _known(node: Node, what: str, keys: Iterable[str]) -> dict[str, Node]:
    """A mapping's items; InvalidValue for a key that is not among ``keys``."""
    found = dict(node.items(what))
    for key, value in found.items():
        if key not in keys:
            hint = nearest(key, keys) or f"; it has {', '.join(keys)}."
            raise value.error(f"{what} has no '{key}'{hint}")
    return found


def _variables(node: Node, what: str) -> Any:
    """Environment variables: a mapping, or NAME=VALUE text."""
    if node.text is not None:
        return node.written(what)
    return {name: value.written(f"{what} {name}") for name, value in node.items(what)}


class _Apps:
    """The applications of a file."""

    def __init__(self, resolve: Resolve | None) -> None:
        self.resolve = resolve or (lambda text, option: text)
        self.made: list[dict[str, Any]] = []
        self.lines: dict[str, Node] = {}

    def read(self, node: Node) -> None:
        items = _known(node, "an application", APP_KEYS)
        app: dict[str, Any] = {}
        for key, value in items.items():
            name = FIELD_NAMES.get(key, key)
            if name in app:
                raise value.error(f"{name} is given twice, under two of its names.")
            app[name] = value.written(key) if key in _APP_TEXTS else _variables(value, key)
            with _At(value):
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


class _Jobs:
    """The jobs of a file, and who their parents are."""

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
        self.patterns: dict[str, list[int]] = {}

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
        rows = self._rows(items.pop("sweep")) if "sweep" in items else None
        parents = self._parents(items.pop("parents")) if "parents" in items else []
        fields = self._fields(items, rows is not None)
        self._complete(node, fields)
        self.groups[name] = []
        if rows is None:
            for text, where in parents:
                _refuse_template(text, where)
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
            fields[name] = _value(name, key, node, sweeping)
        return fields

    def _parents(self, node: Node) -> list[tuple[str, Node]]:
        nodes = [node] if node.text is not None else node.elements("parents")
        return [(one.written("a parent"), one) for one in nodes]

    def _rows(self, node: Node) -> Rows:
        items = _known(node, "a sweep", SWEEP_KEYS)
        made: list[axes.Axis] = []
        for key, read in (("each_line", axes.Lines), ("from_csv", axes.Table)):
            if key in items:
                with _At(items[key]):
                    made.append(read(str(self.directory / items[key].written(key))))
        for key, name, one in _pairs(items, "range"):
            with _At(one):
                made.append(axes.Span(f"{name}={one.written(key)}"))
        for key, name, one in _pairs(items, "values"):
            with _At(one):
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
        with _At(node):
            return Rows(made, zipped)

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
        with _At(node):
            sweep = Sweep(template, rows)
        check = insert.checker(BalsamJob)
        made = iter(sweep)
        while True:
            with _At(node, sweep):
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

    # -- dependencies ---------------------------------------------------------------------------

    def link(self) -> None:
        """Turn names of parents into jobs; InvalidValue for unknown ones, DependencyError."""
        above: list[list[int]] = []
        total = 0
        for index, parents in enumerate(self.parents):
            found: dict[int, None] = {}
            for text, node in parents:
                found.update(dict.fromkeys(self._named(text.strip(), node, index)))
            total += len(found)
            if total > axes.LARGEST:
                raise self.entries[index].error(f"there are more than {axes.LARGEST:,} edges.")
            above.append(list(found))
            if found:
                self.made[index]["parents"] = [self.made[one]["job_id"] for one in found]
        circle = _circle(above)
        if circle:
            names = " -> ".join(self.made[index]["name"] for index in [*circle, circle[0]])
            node = self.entries[circle[0]]
            raise DependencyError(
                f"{node.path}, line {node.line}: these jobs wait for each other in a circle: "
                f"{names}."
            )

    def _named(self, text: str, node: Node, child: int) -> Iterable[int]:
        if text in self.groups:
            return self.groups[text]
        if text in self.places:
            return [self.places[text]]
        if is_glob(text):
            if text not in self.patterns:
                self.patterns[text] = [
                    self.places[name] for name in fnmatch.filter(self.places, text)
                ]
            found = [index for index in self.patterns[text] if index != child]
            if found:
                return found
        raise node.error(
            f"the parent '{text}' of '{self.made[child]['name']}' is no job of this file"
            f"{nearest(text, [*self.groups, *self.places]) or '.'}"
        )


def _pairs(items: Mapping[str, Node], key: str) -> Iterator[tuple[str, str, Node]]:
    if key in items:
        for name, node in items[key].items(key):
            yield key, name, node


class _At:
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


def _value(name: str, key: str, node: Node, sweeping: bool) -> Any:
    """The value of a field; InvalidValue if the field can not hold it."""
    if name == "application":
        found: Any = node.written(key)
        if not sweeping:
            _refuse_template(found, node)
        return found
    column = BalsamJob._meta.get_field(name)
    if isinstance(column, models.TextField):
        found = node.written(key)
    elif isinstance(column, EnvironField):
        found = _variables(node, key)
    else:
        found = node.plain()
    if sweeping and is_template(found):
        return found
    _refuse_templates(found, node, sweeping)
    with _At(node):
        if name == "on_parent_failure":
            check_policy(found)
        return checked(column, found, MINIMUM.get(name))


def _refuse_templates(value: Any, node: Node, sweeping: bool) -> None:
    if sweeping:
        return
    if isinstance(value, dict):
        value = list(value.values())
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, (dict, list)):
            _refuse_templates(one, node, sweeping)
        else:
            _refuse_template(one, node)


def _refuse_template(value: Any, node: Node) -> None:
    if is_template(value):
        raise node.error(f"nothing fills in '{value}': give the job a sweep.")


def _circle(above: list[list[int]]) -> list[int]:
    """Some jobs that depend on each other in a circle, each on the next; empty if none do."""
    done = [False] * len(above)
    for start in range(len(above)):
        path: list[int] = []
        on_path: dict[int, int] = {}
        stack = [(start, iter(above[start]))] if not done[start] else []
        if stack:
            path, on_path = [start], {start: 0}
        while stack:
            job, rest = stack[-1]
            parent = next(rest, None)
            if parent is None:
                stack.pop()
                path.pop()
                del on_path[job]
                done[job] = True
            elif parent in on_path:
                return path[on_path[parent] :]
            elif not done[parent]:
                on_path[parent] = len(path)
                path.append(parent)
                stack.append((parent, iter(above[parent])))
    return []
