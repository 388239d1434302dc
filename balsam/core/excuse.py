"""Attempts that were the fault of a node: given again, and not counted against their jobs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

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
    only, go on; back-offs are over. ``why`` is a sentence without its full stop, for the events.
    Ends that are not committed yet can not be excused. Doing it twice is harmless.
    """
    with transaction.atomic():
        again: set[int] = set()
        excused = 0
        for job, attempt, state, session, ended_by_it in _found(attempts):
            words = f"Attempt {attempt} does not count: {why}; the node {node} was set aside"
            hop = Hop(states.RESTART_READY, words, {EXCUSED: attempt, "node": node})
            _excuse(job)
            excused += 1
            moved: set[int] = set()
            if ended_by_it and session is None:
                actor = states.RETRY if state == states.FAILED else states.BALSAM
                moved = advance.advance_set([job], state, [hop], actor)
            again |= moved
            if not moved:
                events.note(job, state, hop.message, hop.data)
        children = retry.take_back_children(again)
    return GivenAgain(len(again), children, excused)


def _found(
    attempts: Collection[tuple[int, int]],
) -> list[tuple[int, int, str, int | None, bool]]:
    """Those that still matter: job, attempt, state, session, whether the job ended with it."""
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
    came_from, limit = (
        retry.ENDING.format(column=column)
        for column in ("event.from_state", in_json("event.data", LIMIT))
    )
    now = {
        row[0]: row[1:]
        for row in rows(
            f"""SELECT job.id, job.state, job.attempt, job.session_id, {came_from}, {limit}
                FROM balsam_job job WHERE job.id {among()} AND NOT {BROKEN_PARENT}""",
            (jobs,),
        )
    }
    found = []
    for job, attempt in sorted(set(attempts)):
        if job not in now or (job, str(attempt)) in done:
            continue
        state, last, session, before, limited = now[job]
        if state in _OVER or last < attempt:
            continue
        ended = state in _TROUBLED and last == attempt
        if state == states.FAILED and before in _AFTER_ATTEMPT:
            ended = last == attempt or limited is not None
        found.append((job, attempt, state, session, ended))
    return found


def _excuse(job: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE balsam_job SET lost_attempts = lost_attempts + 1, not_before = NULL
               WHERE id = %s""",
            (job,),
        )
