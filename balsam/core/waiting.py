"""What parents mean for their children: whether a job waits, goes on, or fails with a parent."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from balsam import states
from balsam.core.advance import advance_each, advance_set
from balsam.core.events import Hop
from balsam.core.ids import label
from balsam.core.record import joined
from balsam.core.rules import FAIL, IGNORE
from balsam.core.sql import ROWS, among, column, key_list, quoted, rows
from balsam.errors import DependencyError

READY_MESSAGE = "dependencies satisfied"
#: Prepared without parents to wait for; back to waiting if one comes.
_PREPARED = tuple(state for state in states.PREPARING_STATES if state not in states.WAITING_STATES)
_WAITING = quoted(states.WAITING_STATES)
_BROKEN = quoted(states.BROKEN_STATES)
#: Keeps the planner of SQLite from reading every waiting job instead of the few children.
STATE = "COALESCE(job.state, '')"
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
#: Whether a job has to wait.
WAITS = f"(job.wait_for_parents AND {UNFINISHED_PARENT})"


def children(parents: Collection[int], condition: str) -> list[int]:
    """The children of ``parents`` that wait for them at all and meet ``condition`` on ``job``."""
    return column(
        f"""SELECT job.id FROM balsam_job job WHERE job.id IN (
                SELECT link.child_id FROM balsam_dependency link
                WHERE link.parent_id {among()})
            AND job.wait_for_parents AND {condition}""",
        (key_list(parents),),
    )


def release_children(finished: Collection[int]) -> set[int]:
    """Make the children READY whose last unfinished parent is among ``finished``."""
    awaiting = f"{STATE} = '{states.AWAITING_PARENTS}' AND NOT {UNFINISHED_PARENT}"
    return _ready(children(finished, awaiting))


def fail_children(broken: Collection[int]) -> set[int]:
    """Fail the waiting children of jobs that ended badly, and theirs in turn.

    Returns those that run all the same and became READY.
    """
    return _fail(broken, {})


def reconsider(jobs: Collection[int], why: str) -> None:
    """Let jobs whose parents, or whose rules about them, have changed wait, go on or fail.

    A job that is leased for a step waits at once: its holder finds the state changed. One that is
    leased to be run can not wait any more: DependencyError.
    """
    with joined():
        for state, members in _prepared_too_early(jobs).items():
            hop = Hop(states.AWAITING_PARENTS, why)
            advance_set(members, state, [hop], leased_too=True)
        settle(jobs)


def settle(jobs: Collection[int]) -> None:
    """Let those of ``jobs`` that wait go on if they need not, or fail if it is in vain."""
    with joined():
        failed: dict[int, tuple[str, Hop]] = {}
        doomed = _fail_in_vain("job.id", jobs, failed)
        if doomed:
            _fail(doomed, failed)
        _ready(
            column(
                f"""SELECT job.id FROM balsam_job job WHERE job.id {among()}
                    AND {STATE} = '{states.AWAITING_PARENTS}' AND NOT {WAITS}""",
                (key_list(jobs),),
            )
        )


def _ready(jobs: Collection[int]) -> set[int]:
    hop = Hop(states.READY, READY_MESSAGE)
    left, ready = list(jobs), set[int]()
    for start in range(0, len(left), ROWS):
        page = left[start : start + ROWS]
        ready |= advance_set(page, states.AWAITING_PARENTS, [hop])
    return ready


def _prepared_too_early(jobs: Collection[int]) -> dict[str, list[int]]:
    """State -> those of ``jobs`` that were prepared and have a parent to wait for."""
    found: dict[str, list[int]] = {}
    for job, name, job_id, state, session in rows(
        f"""SELECT job.id, job.name, job.job_id, job.state, job.session_id FROM balsam_job job
            WHERE job.id {among()} AND {STATE} IN ({quoted(_PREPARED)}) AND {WAITS}""",
        (key_list(jobs),),
    ):
        if session is not None and state in states.RUNNABLE_STATES:
            raise DependencyError(
                f"{label(name, _uuid(job_id))} is leased and about to run: it can not wait for "
                "parents any more."
            )
        found.setdefault(state, []).append(job)
    return found


def _fail(broken: Collection[int], failed: dict[int, tuple[str, Hop]]) -> set[int]:
    """Fail what is below ``broken``, and what is in ``failed`` already."""
    level: Collection[int] = broken
    while level:
        level = _fail_in_vain("parent.id", level, failed)
    if failed:
        advance_each(failed)
    return release_children({*broken, *failed})


def _fail_in_vain(
    which: str, ids: Collection[int], failed: dict[int, tuple[str, Hop]]
) -> list[int]:
    """Add to ``failed`` the free jobs that wait in vain for a parent that is broken, or in it.

    ``which`` of ``job.id`` and ``parent.id`` is to be one of ``ids``. Returns who they are.
    """
    found: dict[int, tuple[str, int]] = {}
    below = which == "parent.id"
    for child, state, parent in rows(
        f"""SELECT job.id, job.state, parent.id
            FROM balsam_dependency link
            JOIN balsam_job job ON job.id = link.child_id
            JOIN balsam_job parent ON parent.id = link.parent_id
            WHERE {"link.parent_id" if below else "link.child_id"} {among()}
            {"" if below else f"AND COALESCE(parent.state, '') IN ({_BROKEN})"}
            AND job.wait_for_parents AND {STATE} IN ({_WAITING})
            AND job.on_parent_failure = '{FAIL}' AND job.session_id IS NULL ORDER BY link.id""",
        (key_list(ids),),
    ):
        if child not in failed:
            found.setdefault(child, (state, parent))
    hops = _failures({parent for _, parent in found.values()}, failed) if found else {}
    alike: dict[tuple[str, int], tuple[str, Hop]] = {}
    for child, (state, parent) in found.items():
        failed[child] = alike.setdefault((state, parent), (state, hops[parent]))
    return list(found)


def _failures(parents: Collection[int], failed: Collection[int]) -> dict[int, Hop]:
    """What becomes of children of each of the ``parents``, which are broken or ``failed``.

    All children of a parent share it: they may be very many.
    """
    found = {}
    for parent, name, job_id, state in rows(
        f"SELECT id, name, job_id, state FROM balsam_job WHERE id {among()}", (key_list(parents),)
    ):
        ended = states.FAILED if parent in failed else state
        message = f"One or more parent jobs failed: {label(name, _uuid(job_id))} is {ended}"
        found[parent] = Hop(states.FAILED, message, {"cause": states.PARENT_FAILED})
    return found


def _uuid(value: object) -> uuid.UUID:
    """What the driver gives for a UUID column, as one."""
    return value if isinstance(value, uuid.UUID) else uuid.UUID(str(value))
