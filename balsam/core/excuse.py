"""Attempts that were the fault of a node: given again, and not counted against their jobs."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db import connection, transaction

from balsam import states
from balsam.core import advance, events, retry
from balsam.core.backoff import EXCUSED, LIMIT
from balsam.core.events import Hop
from balsam.core.sql import among, in_json, key_list, rows
from balsam.core.waiting import BROKEN_PARENT

_TROUBLED = (states.RUN_ERROR, states.RUN_TIMEOUT)
#: Where an attempt ended if the job failed because of it.
_AFTER_ATTEMPT = (states.RUNNING, *_TROUBLED)
#: In place of the number of an attempt that could not even begin.
NOT_BEGUN = 0
#: Jobs that no longer need it.
_OVER = (states.JOB_FINISHED, states.USER_KILLED)


@dataclass(frozen=True)
class GivenAgain:
    """Jobs that go on although they had ended, their children that do too, and those for which an
    attempt less counts.
    """

    jobs: int = 0
    children: int = 0
    excused: int = 0


def give_again(attempts: Collection[tuple[int, int]], node: str, why: str) -> GivenAgain:
    """Excuse ``attempts``, pairs of (job, attempt), that failed because of ``node``.

    Each no longer counts: not for max_attempts, and not for the limit of its cause. Jobs that
    FAILED with it, or because it used up a limit, are RESTART_READY; children that failed for them
    only, go on; back-offs are over. One with the number NOT_BEGUN could not begin on the node.
    ``why`` is a sentence without its full stop, for the events.
    Ends that are not committed yet can not be excused. Doing it twice is harmless.
    """
    with transaction.atomic():
        again: set[int] = set()
        excused = 0
        for one in _found(attempts, node):
            what = "What could not begin is tried again"
            data: dict[str, Any] = {"node": node, EXCUSED: one.attempt}
            if one.attempt != NOT_BEGUN:
                what = f"Attempt {one.attempt} does not count"
                _excuse(one.job)
                excused += 1
            words = f"{what}: {why}; the node {node} was set aside"
            hop = Hop(states.RESTART_READY, words, data)
            moved: set[int] = set()
            if one.ended and one.session is None:
                actor = states.RETRY if one.state == states.FAILED else states.BALSAM
                moved = advance.advance_set([one.job], one.state, [hop], actor)
            again |= moved
            if not moved:
                events.note(one.job, one.state, hop.message, hop.data)
        children = retry.take_back_children(again)
    return GivenAgain(len(again), children, excused)


class _Found(NamedTuple):
    """An attempt, and its job as it is now; ``ended``: it waits or has failed because of it."""

    job: int
    attempt: int
    state: str
    session: int | None
    ended: bool


def _found(attempts: Collection[tuple[int, int]], node: str) -> list[_Found]:
    """Those that still matter."""
    jobs = key_list({job for job, _ in attempts})
    given_again = in_json("data", EXCUSED)
    done = {
        (job, str(attempt))
        for job, attempt in rows(
            f"""SELECT job_id, {given_again} FROM balsam_event
                WHERE job_id {among()} AND {given_again} IS NOT NULL""",
            (jobs,),
        )
    }
    columns = ["event.from_state", in_json("event.data", LIMIT), in_json("event.data", "nodes")]
    ending = ", ".join(retry.ENDING.format(column=column) for column in columns)
    now = {
        row[0]: row[1:]
        for row in rows(
            f"""SELECT job.id, job.state, job.attempt, job.session_id, {ending}
                FROM balsam_job job WHERE job.id {among()} AND NOT {BROKEN_PARENT}""",
            (jobs,),
        )
    }
    found = []
    for job, attempt in sorted(set(attempts)):
        if job not in now:
            continue
        state, last, session, before, limited, nodes = now[job]
        if attempt == NOT_BEGUN:
            refused = state == states.FAILED and before in states.RUNNABLE_STATES
            if refused and node in json.loads(nodes or "[]"):
                found.append(_Found(job, attempt, state, session, True))
            continue
        if (job, str(attempt)) in done or state in _OVER or last < attempt:
            continue
        ended = state in _TROUBLED and last == attempt
        if state == states.FAILED and before in _AFTER_ATTEMPT:
            ended = last == attempt or limited is not None
        found.append(_Found(job, attempt, state, session, ended))
    return found


def _excuse(job: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE balsam_job SET lost_attempts = lost_attempts + 1, not_before = NULL
               WHERE id = %s""",
            (job,),
        )
