"""The task graph from inside a job: what runs now, and what is to run next.

``JOB_ID``, ``TIMEOUT`` and ``ERROR`` come from the environment of a task or hook. ``current_job``,
``parents`` and ``children`` are looked up when they are first asked for; outside a job they are
None. Importing this module asks the database nothing.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from balsam.conf import project as projects
from balsam.conf import registry
from balsam.core import graph
from balsam.core.copying import clone as clone
from balsam.core.copying import copy_of, parents_of
from balsam.core.copying import wf_from_template as wf_from_template
from balsam.core.history import history_line as history_line
from balsam.core.ids import as_uuid
from balsam.core.models import BalsamJob
from balsam.core.names import canonical
from balsam.core.place import current_project
from balsam.core.querysets import JobQuerySet
from balsam.core.registering import add_app as add_app
from balsam.core.registering import get_apps as get_apps
from balsam.errors import NoSuchJob, RecordError, UsageError

__all__ = [
    "ERROR",
    "JOB_ID",
    "TIMEOUT",
    "add_dependency",
    "add_job",
    "children",
    "current_job",
    "kill",
    "parents",
    "spawn_child",
]

#: UUID of the job this process belongs to, '' outside a job.
JOB_ID: uuid.UUID | str = as_uuid(os.environ.get("BALSAM_JOB_ID", "")) or ""
#: Whether this is a hook called because the job timed out, or failed.
TIMEOUT = os.environ.get("BALSAM_JOB_TIMEOUT", "").upper() == "TRUE"
ERROR = os.environ.get("BALSAM_JOB_ERROR", "").upper() == "TRUE"
#: Nodes of the launcher this process runs under, 1 outside one.
LAUNCHER_NODES = int(os.environ.get("BALSAM_LAUNCHER_NODES", "") or 1)

current_job: Any
parents: Any
children: Any


def __getattr__(name: str) -> Any:
    if name not in ("current_job", "parents", "children"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if not JOB_ID:
        return None
    if name == "current_job":
        value = _current()
    else:
        job = globals().get("current_job") or _current()
        value = job.get_parents() if name == "parents" else job.get_children()
    globals()[name] = value
    return value


def _current() -> BalsamJob:
    try:
        job: BalsamJob = BalsamJob.objects.get(job_id=JOB_ID)
    except BalsamJob.DoesNotExist:
        raise NoSuchJob(
            f"BALSAM_JOB_ID is {JOB_ID}, but this project has no such job; is BALSAM_DB_PATH right?"
        ) from None
    globals()["current_job"] = job
    return job


# -- adding jobs --------------------------------------------------------------------------------


def add_job(
    name: str = "",
    workflow: str = "",
    application: str = "",
    description: str = "",
    args: str = "",
    mpi_flags: str = "",
    num_nodes: int = 1,
    ranks_per_node: int | None = None,
    cpu_affinity: str = "depth",
    threads_per_rank: int = 1,
    threads_per_core: int = 1,
    environ_vars: Mapping[str, str] | str | None = None,
    data: dict[str, Any] | None = None,
    save: bool = True,
    **fields: Any,
) -> BalsamJob:
    """Add a job; ``fields`` are any further fields of a job, in the names of any Balsam line.

    Inside a job it belongs to the same batch job (``queued_launch``) as that. ``save=False``
    returns it unsaved, for ``BalsamJob.objects.bulk_create``. Raises UnknownName, InvalidValue and
    NoApplication.
    """
    given = {
        "name": name,
        "workflow": workflow,
        "description": description,
        "mpi_flags": mpi_flags,
        "num_nodes": num_nodes,
        "cpu_affinity": cpu_affinity,
        "threads_per_rank": threads_per_rank,
        "threads_per_core": threads_per_core,
        "environ_vars": environ_vars or {},
        "data": data or {},
        **fields,
    }
    if application:
        given["application"] = application
    if args:
        given["args"] = args
    if ranks_per_node is not None:
        given["ranks_per_node"] = ranks_per_node
    job = _inheriting(BalsamJob(**given), fields)
    if save:
        job.save()
    return job


def _inheriting(job: BalsamJob, fields: Mapping[str, Any]) -> BalsamJob:
    """``job`` in the batch job of the current one, unless ``fields`` say otherwise."""
    named = {canonical(BalsamJob, name) for name in fields}
    if JOB_ID and not named & {"queued_launch", "queued_launch_id"}:
        with contextlib.suppress(NoSuchJob):  # a job of another project
            job.queued_launch_id = (globals().get("current_job") or _current()).queued_launch_id
    return job


def spawn_child(clone: bool = False, **fields: Any) -> BalsamJob:
    """Add a child of the current job, in its workflow.

    Without ``clone`` it has the defaults and ``fields``; with it, it is a copy of the current job,
    which keeps that job's parents too, changed by ``fields``. It belongs to the same batch job.
    ``wait_for_parents=False`` lets it start at once. Raises UsageError outside a job.
    """
    if not JOB_ID:
        raise UsageError(
            "spawn_child works inside a job (its task, preprocess or postprocess), where "
            "BALSAM_JOB_ID is set; elsewhere use add_job and add_dependency."
        )
    parent: BalsamJob = globals().get("current_job") or _current()
    blank = {"workflow": parent.workflow, **fields}
    child = _inheriting(copy_of(parent, fields) if clone else BalsamJob(**blank), fields)
    above = parents_of(parent) if clone else []
    keys = [*above, parent.pk, *BalsamJob.objects.keys_of(child._new_parents)]
    child._new_parents = list(dict.fromkeys(keys))
    BalsamJob.objects.insert([child], f"spawned by {parent.cute_id}")
    return child


# -- the graph ----------------------------------------------------------------------------------


def add_dependency(parent: Any, child: Any) -> None:
    """Make ``child`` wait for ``parent``: jobs, UUIDs, ids as text, or QuerySets of one job.

    Raises DependencyError (a RuntimeError) if the edge exists, would close a cycle, or the child
    has already run.
    """
    graph.add_edges(_one(child, "child"), [_one(parent, "parent")])
    for job in (parent, child):
        if isinstance(job, BalsamJob):
            job.refresh_from_db(fields=["state", "state_timestamp"])


def _one(job: Any, what: str) -> int:
    if isinstance(job, JobQuerySet):
        found = list(job[:2])
        if len(found) != 1:
            raise UsageError(f"The {what} has to be one job, not a QuerySet of {job.count()}.")
        job = found[0]
    if isinstance(job, BalsamJob) and job.pk is None:
        raise UsageError(f"The {what} {job.cute_id} is not saved yet; call save() first.")
    return BalsamJob.objects.keys_of([job])[0]


def kill(job: Any, recursive: bool = True) -> int:
    """Kill a job, and everything below it unless ``recursive`` is False; returns how many.

    A running task is ended, with its whole process group, within a second.
    """
    killed = BalsamJob.objects.filter(pk=_one(job, "job")).kill("killed by user", recursive)
    if isinstance(job, BalsamJob):
        job.refresh_from_db(fields=["state", "state_timestamp"])
    return killed


def detect_circular(job: BalsamJob, path: Iterable[Any] = ()) -> bool:
    """Whether ``job`` depends on itself. Edges that close a cycle are refused, so never."""
    return job.pk in graph.descendants([job.pk])


def breadth_first_iterator(
    roots: Iterable[BalsamJob], max_depth: int | None = None
) -> Iterator[BalsamJob]:
    """The jobs from ``roots`` downwards, level by level, each once; roots are at depth 0."""
    level = list(roots)
    seen = {job.pk for job in level}
    depth = 0
    while level:
        yield from level
        if max_depth is not None and depth >= max_depth:
            return
        depth += 1
        below = BalsamJob.objects.filter(parents__in=[job.pk for job in level])
        level = [job for job in below.distinct().order_by("id") if job.pk not in seen]
        seen.update(job.pk for job in level)


# -- applications and projects ------------------------------------------------------------------


def get_database_paths(verbose: bool = True) -> list[str]:
    """Directories of the projects this user has made or entered; ``verbose`` prints them too."""
    known = registry.projects().values()
    paths = sorted({str(path) for group in known for path in group if projects.is_project(path)})
    if verbose:
        print("\n".join(paths))
    return paths


def get_active_database(verbose: bool = True) -> str:
    """The project directory in use; ProjectNotFound without one."""
    path = str(current_project().path)
    if verbose:
        print(path)
    return path


def submit(
    project: str = "datascience",
    queue: str = "debug-flat-quad",
    nodes: int = 1,
    wall_minutes: int = 30,
    job_mode: str = "mpi",
    wf_filter: str = "",
) -> None:
    """Ask the scheduler for a launcher. Not possible yet: run ``balsam launcher`` instead."""
    raise RecordError(
        "This Balsam does not submit batch jobs yet; put 'balsam launcher --consume-all' into a "
        "batch script of your own and submit that."
    )
