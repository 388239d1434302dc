"""The task graph from inside a job: what runs now, and what is to run next.

``JOB_ID``, ``TIMEOUT`` and ``ERROR`` come from the environment of a task or hook. ``current_job``,
``parents`` and ``children`` are looked up when they are first asked for; outside a job they are
None. Importing this module asks the database nothing.
"""

from __future__ import annotations

import contextlib
import copy
import os
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from balsam.conf import project as projects
from balsam.conf import registry
from balsam.core import graph
from balsam.core.history import history_line as history_line
from balsam.core.ids import as_uuid
from balsam.core.models import ApplicationDefinition, BalsamJob
from balsam.core.names import canonical
from balsam.core.place import current_project
from balsam.core.querysets import JobQuerySet
from balsam.core.record import atomic
from balsam.errors import InvalidValue, NoSuchJob, RecordError, UsageError

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

#: Columns that a copy of a job does not take over.
_NOT_COPIED = {
    "id",
    "job_id",
    "state",
    "state_timestamp",
    "attempt",
    "lost_attempts",
    "session_id",
    "queued_launch_id",
    "return_code",
    "last_update",
    "workdir",
    "user_workdir",
    "serialized_return_value",
    "serialized_exception",
}


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
    child = _inheriting(_copy(parent, fields) if clone else BalsamJob(**blank), fields)
    above = _parents(parent) if clone else []
    keys = [*above, parent.pk, *BalsamJob.objects.keys_of(child._new_parents)]
    child._new_parents = list(dict.fromkeys(keys))
    BalsamJob.objects.insert([child], f"spawned by {parent.cute_id}")
    return child


def clone(job: BalsamJob, **fields: Any) -> BalsamJob:
    """An unsaved copy of ``job``, changed by ``fields``: a new job that has done nothing yet.

    It has the same parents, unless ``fields`` name others.
    """
    made = _copy(job, fields)
    if not _names_parents(fields):
        made._new_parents = _parents(job)
    return made


def _parents(job: BalsamJob) -> list[Any]:
    if job.pk is None:
        return list(job._new_parents)
    return graph.parent_keys([job.pk]).get(job.pk, [])


def _names_parents(fields: Mapping[str, Any]) -> bool:
    return "parents" in {canonical(BalsamJob, name) for name in fields}


def _copy(job: BalsamJob, fields: Mapping[str, Any]) -> BalsamJob:
    taken = {canonical(BalsamJob, name) for name in fields}
    given = {"app" if name == "application" else name for name in taken}
    skipped = _NOT_COPIED | {BalsamJob._meta.get_field(name).attname for name in given}
    values = {
        field.attname: copy.deepcopy(getattr(job, field.attname))
        for field in BalsamJob._meta.concrete_fields
        if field.attname not in skipped
    }
    return BalsamJob(**values, **fields)


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


def wf_from_template(source_wf: str, new_wf: str, **changes: Mapping[str, Any]) -> Any:
    """Copy a workflow with its edges; ``changes`` are fields for single jobs, by job name.

    Parents in other workflows are parents of the copies, too. Returns the new jobs as a QuerySet.
    Raises InvalidValue (a ValueError) if the source is empty, names in it are not unique or not
    there, or the target exists.
    """
    source = list(BalsamJob.objects.filter(workflow=source_wf).order_by("id"))
    if not source:
        raise InvalidValue(f"There is no workflow '{source_wf}' to copy.")
    if BalsamJob.objects.filter(workflow=new_wf).exists():
        raise InvalidValue(f"There is a workflow '{new_wf}' already.")
    twice = [name for name, number in Counter(job.name for job in source).items() if number > 1]
    if twice:
        raise InvalidValue(f"'{source_wf}' has more than one job named '{twice[0]}'.")
    missing = set(changes) - {job.name for job in source}
    if missing:
        raise InvalidValue(f"'{source_wf}' has no job named '{sorted(missing)[0]}'.")
    copies = {
        job.pk: _copy(job, {"workflow": new_wf, **changes.get(job.name, {})}) for job in source
    }
    with atomic():
        edges = graph.parent_keys(copies)
        BalsamJob.objects.bulk_create(copies.values())
        graph.link_new(
            {
                copies[job.pk].pk: [copies[key].pk if key in copies else key for key in above]
                for job in source
                if (above := edges.get(job.pk)) and not _names_parents(changes.get(job.name, {}))
            }
        )
    return BalsamJob.objects.filter(workflow=new_wf)


# -- applications and projects ------------------------------------------------------------------


def add_app(
    name: str,
    executable: str,
    description: str = "",
    envscript: str = "",
    preprocess: str = "",
    postprocess: str = "",
    checkexe: bool = False,
) -> ApplicationDefinition:
    """Register an application, or change the one of that name; says which.

    ``checkexe`` raises InvalidValue unless the executable is there.
    """
    if checkexe:
        import shutil

        program = executable.split(" ", 1)[0]
        if shutil.which(os.path.expanduser(program)) is None:
            raise InvalidValue(f"The executable '{program}' is not there or not executable.")
    app, created = ApplicationDefinition.objects.update_or_create(
        name=name,
        defaults={
            "executable": executable,
            "description": description,
            "envscript": envscript,
            "preprocess": preprocess,
            "postprocess": postprocess,
        },
    )
    print(f"{'Created' if created else 'Updated'} application {name}")
    return app


def get_apps(verbose: bool = True) -> list[str]:
    """Names of the registered applications; ``verbose`` prints them too."""
    names = list(ApplicationDefinition.objects.order_by("name").values_list("name", flat=True))
    if verbose:
        print("\n".join(names))
    return names


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


