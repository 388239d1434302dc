"""The task graph: edges, cycles, and what a parent's end means for its children."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from django.db import connection, transaction

from balsam import states
from balsam.core.advance import Hop, advance_each, advance_set
from balsam.core.ids import SHORT_DIGITS
from balsam.core.sql import column, key_list, keys, quoted, rows
from balsam.errors import DependencyError, NoSuchJob

FAIL = "fail"
IGNORE = "ignore"
READY_MESSAGE = "dependencies satisfied"

_WAITING = quoted(states.WAITING_STATES)
_BROKEN = quoted(states.BROKEN_STATES)
#: Keeps the planner of SQLite from reading every waiting job instead of the few children.
_STATE = "COALESCE(job.state, '')"
#: A parent that still keeps its child (aliased ``job``) waiting.
UNFINISHED_PARENT = f"""
EXISTS (SELECT 1 FROM balsam_dependency edge JOIN balsam_job parent ON parent.id = edge.parent_id
    WHERE edge.child_id = job.id AND parent.state <> '{states.JOB_FINISHED}'
    AND NOT (job.on_parent_failure = '{IGNORE}' AND parent.state IN ({_BROKEN})))
"""
#: A parent that will never finish, for a child that does not want to run without it.
BROKEN_PARENT = f"""
(job.on_parent_failure = '{FAIL}' AND EXISTS (
    SELECT 1 FROM balsam_dependency edge JOIN balsam_job parent ON parent.id = edge.parent_id
    WHERE edge.child_id = job.id AND parent.state IN ({_BROKEN})))
"""


def _children(parents: Collection[int], condition: str) -> list[int]:
    return column(
        f"""SELECT DISTINCT job.id FROM balsam_dependency link
            JOIN balsam_job job ON job.id = link.child_id
            WHERE link.parent_id IN ({keys()}) AND job.wait_for_parents AND {condition}""",
        (key_list(parents),),
    )


def release_children(finished: Collection[int]) -> set[int]:
    """Make the children READY whose last unfinished parent is among ``finished``."""
    waiting = f"{_STATE} = '{states.AWAITING_PARENTS}' AND NOT {UNFINISHED_PARENT}"
    ids = _children(finished, waiting)
    hop = Hop(states.READY, READY_MESSAGE)
    return advance_set(ids, states.AWAITING_PARENTS, [hop]) if ids else set()


def fail_children(broken: Collection[int]) -> set[int]:
    """Fail the waiting children of jobs that ended badly, and theirs in turn.

    Returns those that run all the same and became READY.
    """
    failed: dict[int, tuple[str, Hop]] = {}
    level: Collection[int] = broken
    while level:
        level = _fail_below(level, failed)
    if failed:
        advance_each(failed)
    return release_children({*broken, *failed})


def _fail_below(level: Collection[int], failed: dict[int, tuple[str, Hop]]) -> list[int]:
    """Add to ``failed`` the waiting children that fail with these parents; who they are."""
    below: list[int] = []
    for child, state, parent_id, name, job_id, parent_state in rows(
        f"""SELECT job.id, job.state, parent.id, parent.name, parent.job_id, parent.state
            FROM balsam_dependency link
            JOIN balsam_job job ON job.id = link.child_id
            JOIN balsam_job parent ON parent.id = link.parent_id
            WHERE link.parent_id IN ({keys()}) AND job.wait_for_parents
            AND {_STATE} IN ({_WAITING}) AND job.on_parent_failure = '{FAIL}'
            AND job.session_id IS NULL ORDER BY link.id""",
        (key_list(level),),
    ):
        if child in failed:
            continue
        short = str(job_id).replace("-", "")[-SHORT_DIGITS:]
        parent = f"[{name} | {short}]" if name else f"[{short}]"
        ended = states.FAILED if parent_id in failed else parent_state
        message = f"One or more parent jobs failed: {parent} is {ended}"
        failed[child] = (state, Hop(states.FAILED, message, {"cause": states.PARENT_FAILED}))
        below.append(child)
    return below


def add_edges(child: int, parents: Iterable[int], *, fresh: bool = False) -> None:
    """Make ``child`` depend on ``parents``, all or none.

    A child that was prepared already waits again; one that ran can not. ``fresh`` promises that the
    child was made in this transaction, so no path can lead back to it. Raises DependencyError.
    """
    wanted = list(dict.fromkeys(parents))
    with transaction.atomic():
        known = {row[0]: row for row in _nodes([*wanted, child])}
        for parent in wanted:
            if parent not in known:
                raise NoSuchJob(f"There is no job {parent} to depend on.")
        if not fresh:
            _check_edges(child, wanted, known)
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO balsam_dependency (child_id, parent_id) VALUES (%s, %s)",
                [(child, parent) for parent in wanted],
            )
        if not fresh:
            _wait_again(child, known[child])
        broken = [job for job in wanted if known[job][3] in states.BROKEN_STATES]
        if broken:
            fail_children(broken)


def refuse_cycles(parents: Mapping[int, Collection[int]]) -> None:
    """Raise DependencyError if jobs (child -> parents) depend on each other in a circle.

    For new jobs, on which no others depend yet; the time is linear in the number of edges.
    """
    waiting = {child: {key for key in keys if key in parents} for child, keys in parents.items()}
    below: dict[int, list[int]] = {}
    for child, above in waiting.items():
        for parent in above:
            below.setdefault(parent, []).append(child)
    free = [child for child, above in waiting.items() if not above]
    while free:
        parent = free.pop()
        del waiting[parent]
        for child in below.get(parent, ()):
            waiting[child].discard(parent)
            if not waiting[child]:
                free.append(child)
    if waiting:
        raise DependencyError(
            f"{len(waiting)} of the new jobs depend on themselves, directly or through others."
        )


def _nodes(ids: Collection[int]) -> list[tuple[Any, ...]]:
    return rows(
        f"""SELECT id, name, job_id, state, wait_for_parents, session_id FROM balsam_job
            WHERE id IN ({keys()})""",
        (key_list(ids),),
    )


def _check_edges(child: int, parents: list[int], known: Mapping[int, tuple[object, ...]]) -> None:
    if child not in known:
        raise NoSuchJob(f"There is no job {child} to make dependent.")
    state = known[child][3]
    if state not in states.PREPARING_STATES and known[child][4]:
        raise DependencyError(
            f"Job {child} is {state}: it can not wait for more parents once it has started."
        )
    if child in parents:
        raise DependencyError(f"Job {child} can not depend on itself.")
    listed = key_list(parents)
    for (parent,) in rows(
        f"""SELECT parent_id FROM balsam_dependency
            WHERE child_id = %s AND parent_id IN ({keys()})""",
        (child, listed),
    ):
        raise DependencyError(f"Job {child} depends on job {parent} already.")
    cycle = column(
        f"""WITH RECURSIVE below (id) AS (
                SELECT child_id FROM balsam_dependency WHERE parent_id = %s
                UNION SELECT edge.child_id FROM balsam_dependency edge
                    JOIN below ON edge.parent_id = below.id)
            SELECT id FROM below WHERE id IN ({keys()}) LIMIT 1""",
        (child, listed),
    )
    if cycle:
        raise DependencyError(
            f"Job {cycle[0]} depends on job {child} already, directly or through others: "
            "the dependency would close a cycle."
        )


def _wait_again(child: int, row: tuple[object, ...]) -> None:
    state, waits, session = row[3], row[4], row[5]
    if not waits or state in states.WAITING_STATES or session is not None:
        return
    unfinished = column(
        f"SELECT job.id FROM balsam_job job WHERE job.id = %s AND {UNFINISHED_PARENT}", (child,)
    )
    if unfinished:
        hop = Hop(states.AWAITING_PARENTS, "a dependency was added")
        advance_set([child], str(state), [hop])


def descendants(ids: Collection[int]) -> list[int]:
    """Every job below ``ids``, each once, without ``ids`` themselves unless below another."""
    return column(
        f"""WITH RECURSIVE below (id) AS (
                SELECT child_id FROM balsam_dependency WHERE parent_id IN ({keys()})
                UNION SELECT edge.child_id FROM balsam_dependency edge
                    JOIN below ON edge.parent_id = below.id)
            SELECT id FROM below""",
        (key_list(ids),),
    )


def forget(ids: Collection[int]) -> None:
    """Delete jobs with their events and edges; children that waited for them fail, and say why."""
    doomed = set(ids)
    listed = key_list(doomed)
    with transaction.atomic():
        orphans = [
            child
            for child in _children(doomed, f"{_STATE} IN ({_WAITING})")
            if child not in doomed
        ]
        for state in states.WAITING_STATES:
            hop = Hop(states.FAILED, "A parent job was deleted", {"cause": states.PARENT_FAILED})
            advance_set(_failing(orphans), state, [hop])
        with connection.cursor() as cursor:
            for statement in (
                f"DELETE FROM balsam_event WHERE job_id IN ({keys()})",
                f"DELETE FROM balsam_dependency WHERE child_id IN ({keys()})",
                f"DELETE FROM balsam_dependency WHERE parent_id IN ({keys()})",
                f"DELETE FROM balsam_job WHERE id IN ({keys()})",
            ):
                cursor.execute(statement, (listed,))
        free = column(
            f"""SELECT job.id FROM balsam_job job WHERE job.id IN ({keys()})
                AND job.state = '{states.AWAITING_PARENTS}' AND NOT {UNFINISHED_PARENT}""",
            (key_list(orphans),),
        )
        if free:
            advance_set(free, states.AWAITING_PARENTS, [Hop(states.READY, READY_MESSAGE)])


def _failing(children: Collection[int]) -> list[int]:
    return column(
        f"""SELECT id FROM balsam_job WHERE id IN ({keys()}) AND on_parent_failure = '{FAIL}'""",
        (key_list(children),),
    )
