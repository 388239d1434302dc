"""The task graph: its edges, made and taken away, without cycles."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping

from django.db import connection, transaction

from balsam import states
from balsam.core import waiting
from balsam.core.advance import advance_set
from balsam.core.events import Hop
from balsam.core.rules import FAIL
from balsam.core.sql import among, column, insert, is_sqlite, key_list, quoted, rows
from balsam.errors import DependencyError, NoSuchJob

_WAITING = quoted(states.WAITING_STATES)


def add_edges(child: int, parents: Iterable[int]) -> None:
    """Make ``child`` depend on ``parents``, all or none.

    A child that was prepared already waits again; one that ran, or is about to, can not. Raises
    DependencyError and NoSuchJob.
    """
    wanted = list(dict.fromkeys(parents))
    with transaction.atomic():
        _check_changeable(child, _known(child, wanted))
        _check_new(child, wanted)
        _check_paths(child, wanted)
        _write((child, parent) for parent in wanted)
        waiting.reconsider([child], "a dependency was added")


def link_new(parents: Mapping[int, Collection[int]]) -> None:
    """Make new jobs (child -> its parents, each once), on which no others depend yet, dependent.

    In as many statements for a million edges as for one. Raises DependencyError if the new jobs
    depend on each other in a circle, and NoSuchJob.
    """
    refuse_cycles(parents)
    wanted = {parent for above in parents.values() for parent in above}
    with transaction.atomic():
        found = dict(
            rows(f"SELECT id, state FROM balsam_job WHERE id {among()}", (key_list(wanted),))
        )
        for parent in wanted - found.keys():
            raise NoSuchJob(f"There is no job {parent} to depend on.")
        _write((child, parent) for child, above in parents.items() for parent in above)
        broken = {job for job, state in found.items() if state in states.BROKEN_STATES}
        if broken:
            waiting.settle([job for job, above in parents.items() if not broken.isdisjoint(above)])


def set_edges(child: int, parents: Iterable[int]) -> None:
    """Make ``parents``, in this order, the only ones; as :func:`add_edges` otherwise."""
    wanted = list(dict.fromkeys(parents))
    with transaction.atomic():
        _check_changeable(child, _known(child, wanted))
        _check_paths(child, wanted)
        _erase(child, None)
        _write((child, parent) for parent in wanted)
        waiting.reconsider([child], "its parents were changed")


def remove_edges(child: int, parents: Collection[int] | None = None) -> None:
    """Let ``child`` depend on ``parents`` (None: on any) no more; what is no parent is ignored.

    Raises DependencyError if the child has started, and NoSuchJob.
    """
    with transaction.atomic():
        _check_changeable(child, _known(child, ()))
        _erase(child, parents)
        waiting.reconsider([child], "a dependency was removed")


def refuse_cycles(parents: Mapping[int, Collection[int]]) -> None:
    """Raise DependencyError if jobs (child -> parents) depend on each other in a circle.

    For new jobs, on which no others depend yet; the time is linear in the number of edges.
    """
    left = {child: {key for key in keys if key in parents} for child, keys in parents.items()}
    below: dict[int, list[int]] = {}
    for child, above in left.items():
        for parent in above:
            below.setdefault(parent, []).append(child)
    free = [child for child, above in left.items() if not above]
    while free:
        parent = free.pop()
        del left[parent]
        for child in below.get(parent, ()):
            left[child].discard(parent)
            if not left[child]:
                free.append(child)
    if left:
        raise DependencyError(
            f"{len(left)} of the new jobs depend on themselves, directly or through others."
        )


def parents_of(children: Collection[int]) -> dict[int, list[str]]:
    """Child id -> UUIDs of its parents as text, for the children that have any."""
    found: dict[int, list[str]] = {}
    for child, parent in rows(
        f"""SELECT edge.child_id, parent.job_id FROM balsam_dependency edge
            JOIN balsam_job parent ON parent.id = edge.parent_id
            WHERE edge.child_id {among()} ORDER BY edge.id""",
        (key_list(children),),
    ):
        found.setdefault(child, []).append(str(uuid.UUID(str(parent))))
    return found


def parent_keys(children: Collection[int]) -> dict[int, list[int]]:
    """Child id -> ids of its parents in the order they were added, for those that have any."""
    return _neighbours("child_id", "parent_id", children)


def children_of(parents: Collection[int]) -> dict[int, list[int]]:
    """Parent id -> ids of its children in the order they were added, for those that have any."""
    return _neighbours("parent_id", "child_id", parents)


def _neighbours(near: str, far: str, ids: Collection[int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for here, there in rows(
        f"SELECT {near}, {far} FROM balsam_dependency WHERE {near} {among()} ORDER BY id",
        (key_list(ids),),
    ):
        found.setdefault(here, []).append(there)
    return found


def child_keys(parent: int) -> list[int]:
    """Ids of the children of a job, in the order they were added."""
    return column(
        "SELECT child_id FROM balsam_dependency WHERE parent_id = %s ORDER BY id", (parent,)
    )


def _next_below() -> str:
    """One step down, in a recursive query of the jobs ``below``: an index is asked for each.

    Postgres expects such a recursion to reach everything, and would read all edges.
    """
    if is_sqlite():
        return (
            "SELECT edge.child_id FROM balsam_dependency edge JOIN below "
            "ON edge.parent_id = below.id"
        )
    return (
        "SELECT edge.child_id FROM below CROSS JOIN LATERAL "
        "(SELECT child_id FROM balsam_dependency WHERE parent_id = below.id OFFSET 0) edge"
    )


def descendants(ids: Collection[int]) -> list[int]:
    """Every job below ``ids``, each once, without ``ids`` themselves unless below another."""
    return column(
        f"""WITH RECURSIVE below (id) AS (
                SELECT child_id FROM balsam_dependency WHERE parent_id {among()}
                UNION {_next_below()})
            SELECT id FROM below""",
        (key_list(ids),),
    )


def forget(ids: Collection[int]) -> None:
    """Delete jobs with their events and edges; children they kept waiting fail, and say why.

    Whatever waited for a parent that had finished goes on as if it were still there.
    """
    doomed = set(ids)
    listed = key_list(doomed)
    with transaction.atomic():
        waited = f"{waiting.STATE} IN ({_WAITING})"
        orphans = [child for child in waiting.children(doomed, waited) if child not in doomed]
        _fail_orphans(orphans, doomed)
        with connection.cursor() as cursor:
            for statement in (
                f"DELETE FROM balsam_event WHERE job_id {among()}",
                f"DELETE FROM balsam_dependency WHERE child_id {among()}",
                f"DELETE FROM balsam_dependency WHERE parent_id {among()}",
                f"DELETE FROM balsam_job WHERE id {among()}",
            ):
                cursor.execute(statement, (listed,))
        waiting.settle(orphans)


def _fail_orphans(orphans: Collection[int], doomed: Collection[int]) -> None:
    """Fail those of ``orphans`` that lose a parent which will never finish now."""
    failing = column(
        f"""SELECT DISTINCT job.id FROM balsam_dependency link
            JOIN balsam_job job ON job.id = link.child_id
            JOIN balsam_job parent ON parent.id = link.parent_id
            WHERE link.child_id {among()} AND link.parent_id {among()}
            AND parent.state <> '{states.JOB_FINISHED}' AND job.on_parent_failure = '{FAIL}'""",
        (key_list(orphans), key_list(doomed)),
    )
    for state in states.WAITING_STATES:
        hop = Hop(states.FAILED, "A parent job was deleted", {"cause": states.PARENT_FAILED})
        advance_set(failing, state, [hop])


# -- what may become of the edges of a job --------------------------------------------------------


def _known(child: int, parents: Iterable[int]) -> dict[int, tuple[str, bool]]:
    """Job -> (state, whether it waits for parents); NoSuchJob for what is not there."""
    wanted = [*parents, child]
    known = {
        key: (state, bool(waits))
        for key, state, waits in rows(
            f"SELECT id, state, wait_for_parents FROM balsam_job WHERE id {among()}",
            (key_list(wanted),),
        )
    }
    for job in wanted:
        if job not in known:
            what = "to make dependent" if job == child else "to depend on"
            raise NoSuchJob(f"There is no job {job} {what}.")
    return known


def _check_changeable(child: int, known: Mapping[int, tuple[str, bool]]) -> None:
    state, waits = known[child]
    if waits and state not in states.PREPARING_STATES:
        raise DependencyError(
            f"Job {child} is {state}: its parents can not change any more once it has started."
        )


def _check_new(child: int, parents: Collection[int]) -> None:
    for parent in column(
        f"""SELECT parent_id FROM balsam_dependency
            WHERE child_id = %s AND parent_id {among()}""",
        (child, key_list(parents)),
    ):
        raise DependencyError(f"Job {child} depends on job {parent} already.")


def _check_paths(child: int, parents: Collection[int]) -> None:
    if child in parents:
        raise DependencyError(f"Job {child} can not depend on itself.")
    cycle = column(
        f"""WITH RECURSIVE below (id) AS (
                SELECT child_id FROM balsam_dependency WHERE parent_id = %s
                UNION {_next_below()})
            SELECT id FROM below WHERE id {among()} LIMIT 1""",
        (child, key_list(parents)),
    )
    if cycle:
        raise DependencyError(
            f"Job {cycle[0]} depends on job {child} already, directly or through others: "
            "the dependency would close a cycle."
        )


def _write(edges: Iterable[tuple[int, int]]) -> None:
    insert("balsam_dependency", ("child_id", "parent_id"), list(edges))


def _erase(child: int, parents: Collection[int] | None) -> None:
    which = "child_id = %s" if parents is None else f"child_id = %s AND parent_id {among()}"
    parameters = [child] if parents is None else [child, key_list(parents)]
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM balsam_dependency WHERE {which}", parameters)
