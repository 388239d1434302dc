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

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.db import transaction

from balsam.conf.yaml_nodes import Node, parse
from balsam.core import insert
from balsam.core.models import ApplicationDefinition, BalsamJob
from balsam.core.sweeps import axes
from balsam.core.workflow_file.applications import Apps, Resolve
from balsam.core.workflow_file.jobs import Jobs
from balsam.core.workflow_file.linking import Linker
from balsam.core.workflow_file.reading import known
from balsam.errors import NoApplication, nearest

TOP = ("workflow", "applications", "jobs")


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
    top = known(root, "a workflow file", TOP)
    if "workflow" in top and not workflow:
        workflow = top["workflow"].written("workflow")
    apps = Apps(resolve)
    for node in top["applications"].elements("applications") if "applications" in top else []:
        apps.read(node)
    if "jobs" not in top:
        raise root.error("there are no jobs; list them under 'jobs:', each after '- name:'.")
    jobs = Jobs(workflow, directory)
    for node in top["jobs"].elements("jobs"):
        jobs.read(node)
    if not jobs.made:
        raise top["jobs"].error("the list of jobs is empty.")
    Linker(jobs).link()
    return Plan(path, apps.made, jobs.made, jobs.used, apps.lines)
