"""Jobs that ended badly go on: each where it stopped, and the children it had taken down."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import connection, transaction

from balsam import states
from balsam.core.advance import advance_set
from balsam.core.events import Hop
from balsam.core.sql import among, in_json, key_list, rows
from balsam.core.waiting import BROKEN_PARENT

if TYPE_CHECKING:
    from balsam.core.querysets import JobQuerySet

#: A column of the event (or what is made of one) that brought ``job`` into its state.
ENDING = """
    (SELECT {column} FROM balsam_event event
     WHERE event.job_id = job.id AND event.from_state <> event.to_state
     ORDER BY event.id DESC LIMIT 1)
"""


@dataclass(frozen=True)
class Retried:
    """How many jobs go on, and how many of their children, failed for their sake alone, do too."""

    jobs: int
    children: int


def retry(jobs: JobQuerySet, *, from_start: bool = False, message: str = "retried") -> Retried:
    """Let those of ``jobs`` that failed or were killed, and that nobody holds, go on.

    A job goes on with the step that failed, in its old work directory, and at once; ``from_start``
    lets it go through all of its life again. Attempts go on being counted.
    """
    with transaction.atomic():
        broken = jobs.filter(state__in=states.BROKEN_STATES, session=None)
        ids = list(broken.order_by("id").values_list("id", flat=True))
        moved: set[int] = set()
        for (state, before), members in _endings(ids).items():
            goal = states.CREATED if from_start else states.RETRY_FROM.get(before, states.CREATED)
            moved |= _move(members, state, goal, message)
        _end_pauses(moved)
        children = take_back_children(moved)
    return Retried(len(moved), children)


def _end_pauses(ids: Collection[int]) -> None:
    """Let nothing wait for a time that was set before it ended."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""UPDATE balsam_job SET not_before = NULL
                WHERE id {among()} AND not_before IS NOT NULL""",
            (key_list(ids),),
        )


def _endings(ids: Collection[int]) -> dict[tuple[str, str], list[int]]:
    """(state now, state before it ended) -> jobs."""
    found: dict[tuple[str, str], list[int]] = {}
    for job, state, before in rows(
        f"""SELECT job.id, job.state, {ENDING.format(column="event.from_state")} FROM balsam_job job
            WHERE job.id {among()} ORDER BY job.id""",
        (key_list(ids),),
    ):
        found.setdefault((state, before or ""), []).append(job)
    return found


def take_back_children(parents: Collection[int]) -> int:
    """Take back the failures that followed from failures which are taken back; how many."""
    total = 0
    level = parents
    while level:
        level = _move(
            _failed_for_parents(level), states.FAILED, states.CREATED, "a parent is retried"
        )
        total += len(level)
    return total


def _failed_for_parents(parents: Collection[int]) -> list[int]:
    """Children of ``parents`` that failed because of parents, none of which is broken any more."""
    cause = in_json("event.data", "cause")
    return [
        row[0]
        for row in rows(
            f"""SELECT DISTINCT job.id FROM balsam_dependency link
                JOIN balsam_job job ON job.id = link.child_id
                WHERE link.parent_id {among()} AND job.state = '{states.FAILED}'
                AND job.session_id IS NULL AND {ENDING.format(column=cause)} = %s
                AND NOT {BROKEN_PARENT}""",
            (key_list(parents), states.PARENT_FAILED),
        )
    ]


def _move(ids: Collection[int], old: str, new: str, message: str) -> set[int]:
    return advance_set(ids, old, [Hop(new, message)], states.RETRY) if ids else set()
