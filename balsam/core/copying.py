"""Copies of jobs, one by one or as a whole workflow: new jobs that have done nothing yet."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from typing import Any

from balsam.core import graph
from balsam.core.models import BalsamJob
from balsam.core.names import canonical
from balsam.core.record import atomic
from balsam.errors import InvalidValue

#: Columns that a copy of a job does not take over.
_NOT_COPIED = {
    "id",
    "job_id",
    "state",
    "state_timestamp",
    "attempt",
    "lost_attempts",
    "not_before",
    "session_id",
    "queued_launch_id",
    "return_code",
    "last_update",
    "workdir",
    "user_workdir",
    "serialized_return_value",
    "serialized_exception",
}


def clone(job: BalsamJob, **fields: Any) -> BalsamJob:
    """An unsaved copy of ``job``, changed by ``fields``: a new job that has done nothing yet.

    It has the same parents, unless ``fields`` name others.
    """
    made = copy_of(job, fields)
    if not _names_parents(fields):
        made._new_parents = parents_of(job)
    return made


def parents_of(job: BalsamJob) -> list[Any]:
    """What ``job`` waits for, saved or not: keys, or what it was made with."""
    if job.pk is None:
        return list(job._new_parents)
    return graph.parent_keys([job.pk]).get(job.pk, [])


def _names_parents(fields: Mapping[str, Any]) -> bool:
    return "parents" in {canonical(BalsamJob, name) for name in fields}


def copy_of(job: BalsamJob, fields: Mapping[str, Any]) -> BalsamJob:
    """An unsaved copy of ``job``, changed by ``fields``, without its parents."""
    taken = {canonical(BalsamJob, name) for name in fields}
    given = {"app" if name == "application" else name for name in taken}
    skipped = _NOT_COPIED | {BalsamJob._meta.get_field(name).attname for name in given}
    values = {
        field.attname: copy.deepcopy(getattr(job, field.attname))
        for field in BalsamJob._meta.concrete_fields
        if field.attname not in skipped
    }
    return BalsamJob(**values, **fields)


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
        job.pk: copy_of(job, {"workflow": new_wf, **changes.get(job.name, {})}) for job in source
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
