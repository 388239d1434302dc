"""States that need no work: set-wise moves, as a table.

A job without scripts and staging passes through these by the thousand, each state with its event.
What is left in a processable state afterwards needs a step (see ``balsam.transitions``).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from balsam import states
from balsam.core import advance, backoff
from balsam.core.events import Hop
from balsam.core.record import joined
from balsam.core.sql import among, column, key_list, quoted, rows
from balsam.core.waiting import BROKEN_PARENT, READY_MESSAGE, WAITS

#: A parent may release any number of children: so many are looked at together.
PAGE = 1000
_HAS_PARENTS = "EXISTS (SELECT 1 FROM balsam_dependency edge WHERE edge.child_id = job.id)"


def _has_hook(name: str) -> str:
    return (
        f"(job.{name}_override <> '' OR (job.app_id IS NOT NULL AND job.app_id IN "
        f"(SELECT app.id FROM balsam_app app WHERE app.{name} <> '')))"
    )


NEEDS_STAGE_IN = f"(job.stage_in_url <> '' OR (job.input_files <> '' AND {_HAS_PARENTS}))"
NEEDS_STAGE_OUT = "(job.stage_out_url <> '' AND job.stage_out_files <> '')"
HAS_PREPROCESS = _has_hook("preprocess")
HAS_POSTPROCESS = _has_hook("postprocess")
HANDLES_ERROR = f"(job.post_error_handler AND {HAS_POSTPROCESS})"
HANDLES_TIMEOUT = f"(job.post_timeout_handler AND {HAS_POSTPROCESS})"
#: ``{default}`` is the project's limit; attempts lost or stopped with a launcher do not count.
ATTEMPTS_LEFT = (
    "(job.attempt - job.lost_attempts < "
    "CASE WHEN job.max_attempts > 0 THEN job.max_attempts ELSE {default} END)"
)


#: Where handlers send a job that is to run again: on, or through its preparation once more.
SENT_BACK = (
    states.RESTART_READY,
    states.CREATED,
    states.AWAITING_PARENTS,
    states.READY,
    states.STAGED_IN,
    states.PREPROCESSED,
)


@dataclass(frozen=True, eq=False)  # a row of the table below is itself and no other
class Pass:
    """Jobs in ``state`` for which ``condition`` holds go on to ``next_state``."""

    state: str
    next_state: str
    condition: str
    message: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


#: What leads to a state stands before what leads on from it; of what leads on from one state the
#: first that holds is taken.
PASSES = (
    Pass(
        states.CREATED,
        states.FAILED,
        f"(job.wait_for_parents AND {BROKEN_PARENT})",
        "One or more parent jobs failed",
        {"cause": states.PARENT_FAILED},
    ),
    Pass(states.CREATED, states.AWAITING_PARENTS, WAITS),
    Pass(states.CREATED, states.READY, f"NOT {WAITS}", READY_MESSAGE),
    Pass(
        states.AWAITING_PARENTS,
        states.FAILED,
        f"(job.wait_for_parents AND {BROKEN_PARENT})",
        "One or more parent jobs failed",
        {"cause": states.PARENT_FAILED},
    ),
    Pass(states.AWAITING_PARENTS, states.READY, f"NOT {WAITS}", READY_MESSAGE),
    Pass(states.READY, states.STAGED_IN, f"NOT {NEEDS_STAGE_IN}"),
    Pass(
        states.STAGED_IN,
        states.PREPROCESSED,
        f"NOT {HAS_PREPROCESS}",
        "No preprocess: skipped",
    ),
    Pass(
        states.RUN_ERROR,
        states.FAILED,
        f"NOT {HANDLES_ERROR}",
        "No error handler: run failed",
    ),
    Pass(
        states.RUN_TIMEOUT,
        states.RESTART_READY,
        f"job.auto_timeout_retry AND NOT {HANDLES_TIMEOUT} AND {ATTEMPTS_LEFT}",
        "Timed out: will be run again",
    ),
    Pass(
        states.RUN_TIMEOUT,
        states.FAILED,
        f"NOT {HANDLES_TIMEOUT} AND NOT job.auto_timeout_retry",
        "Timed out: neither retry nor handler was asked for",
    ),
    Pass(
        states.RUN_TIMEOUT,
        states.FAILED,
        f"NOT {HANDLES_TIMEOUT} AND NOT {ATTEMPTS_LEFT}",
        "Timed out, and no attempt is left of those that max_attempts allows",
        {backoff.LIMIT: 0},
    ),
    Pass(
        states.RUN_DONE,
        states.POSTPROCESSED,
        f"NOT {HAS_POSTPROCESS}",
        "No postprocess: skipped",
    ),
    Pass(states.POSTPROCESSED, states.JOB_FINISHED, f"NOT {NEEDS_STAGE_OUT}"),
)
#: What goes on from here asks for nothing that changes on the way here.
_SETTLED = (states.RUN_DONE, states.POSTPROCESSED)
_LEADING_ON = quoted((*states.PROCESSABLE_STATES, *states.RUNNABLE_STATES))


def pass_jobs(ids: Collection[int], max_attempts: int) -> dict[int, str]:
    """Move those of ``ids`` that need no work as far as they go, and children they release.

    Returns the state that each job is in afterwards, for those in a processable or runnable state
    and those that moved.
    """
    here: dict[int, str] = {}
    todo = set(ids)
    with joined():
        while todo:
            page = set(itertools.islice(todo, PAGE))
            todo -= page
            for state, jobs in _by_state(page).items():
                here.update(dict.fromkeys(jobs, state))
                if state in backoff.STATES:
                    again = backoff.make_again(state, jobs, max_attempts, todo)
                    here.update(again)
                    jobs = [job for job in jobs if job not in again]
                # Ends come last: they reach only children that wait by then.
                paths = _paths(state, jobs, max_attempts)
                for path, fitting in sorted(paths, key=_is_end):
                    moved = advance.advance_set(fitting, state, path, released=todo)
                    here.update(dict.fromkeys(moved, path[-1].state))
    return here


def go_on(moves: Iterable[advance.Move], max_attempts: int) -> list[advance.Move]:
    """``moves``, those to the end of a run or of its postprocess on to where no more work is due.

    A row that is written once costs half of one that is written twice.
    """
    moves = list(moves)
    further: dict[int, tuple[Hop, ...]] = {}
    for state in _SETTLED:
        jobs = [move.job for move in moves if move.hops[-1].state == state]
        for hops, fitting in _paths(state, jobs, max_attempts):
            further.update(dict.fromkeys(fitting, hops))
    return [
        replace(move, further=further[move.job]) if move.job in further else move for move in moves
    ]


def _by_state(ids: Collection[int]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for key, state in rows(
        f"""SELECT id, state FROM balsam_job WHERE id {among()}
            AND COALESCE(state, '') IN ({_LEADING_ON}) AND session_id IS NULL""",
        (key_list(ids),),
    ):
        groups.setdefault(state, []).append(key)
    return groups


def _paths(
    state: str, ids: Collection[int], max_attempts: int
) -> list[tuple[tuple[Hop, ...], set[int]]]:
    """How far ``ids``, all in ``state``, can go without work: (hops, ids that go just so far)."""
    steps = _onward(state)
    if not ids or not steps:
        return []
    conditions = (step.condition.format(default=int(max_attempts)) for step in steps)
    alike: dict[tuple[Any, ...], set[int]] = {}
    for row in rows(
        f"SELECT job.id, {', '.join(conditions)} FROM balsam_job job WHERE job.id {among()}",
        (key_list(ids),),
    ):
        alike.setdefault(row[1:], set()).add(row[0])
    found: dict[tuple[Pass, ...], set[int]] = {}
    for holds, jobs in alike.items():
        path = _path(state, [step for step, hold in zip(steps, holds, strict=True) if hold])
        found[path] = found.get(path, set()) | jobs
    return [
        (tuple(Hop(step.next_state, step.message, step.data) for step in path), jobs)
        for path, jobs in found.items()
        if path
    ]


def _is_end(found: tuple[tuple[Hop, ...], set[int]]) -> bool:
    """Whether a path leads to the end of a job."""
    return found[0][-1].state in states.END_STATES


@functools.cache
def _onward(state: str) -> tuple[Pass, ...]:
    """What may lead on from a state, and from where that leads; ``PASSES`` are in that order."""
    found: list[Pass] = []
    reached = {state}
    for step in PASSES:
        if step.state in reached:
            found.append(step)
            reached.add(step.next_state)
    return tuple(found)


def _path(state: str, open_steps: Sequence[Pass]) -> tuple[Pass, ...]:
    """The way from a state, the first of what is open there each time."""
    step = next((step for step in open_steps if step.state == state), None)
    return (step, *_path(step.next_state, open_steps)) if step else ()


def rescued(ids: Collection[int]) -> list[int]:
    """Those of ``ids`` that were sent back because a handler has asked for another attempt."""
    return column(
        f"""SELECT job.id FROM balsam_job job WHERE job.id {among()}
            AND COALESCE(job.state, '') IN ({quoted(SENT_BACK)}) AND (
                SELECT event.to_state FROM balsam_event event WHERE event.job_id = job.id
                AND event.to_state NOT IN ({quoted(SENT_BACK)}) ORDER BY event.id DESC LIMIT 1
            ) IN ({quoted(backoff.STATES)})""",
        (key_list(ids),),
    )


def end_restarts(ids: Collection[int], max_attempts: int) -> set[int]:
    """Fail those of ``ids``, all sent back, that have no attempt left; the ids that failed."""
    condition = f"NOT {ATTEMPTS_LEFT}".format(default=int(max_attempts))
    fitting: dict[str, list[int]] = {}
    for state, job in rows(
        f"""SELECT job.state, job.id FROM balsam_job job WHERE job.id {among()}
            AND COALESCE(job.state, '') IN ({quoted(SENT_BACK)}) AND {condition}""",
        (key_list(ids),),
    ):
        fitting.setdefault(state, []).append(job)
    hop = Hop(states.FAILED, backoff.NONE_LEFT)
    return {
        job for state, jobs in fitting.items() for job in advance.advance_set(jobs, state, [hop])
    }


def backlog(state: str, after: int, limit: int) -> list[int]:
    """Free jobs in ``state`` with ids above ``after``, in order: a page of the work at hand."""
    return column(
        """SELECT id FROM balsam_job WHERE state = %s AND id > %s AND session_id IS NULL
           ORDER BY id LIMIT %s""",
        (state, after, limit),
    )


def changed_since(event: int, limit: int) -> tuple[int, list[int], bool]:
    """Jobs whose state somebody changed after event ``event`` and that may need bookkeeping.

    Returns the last event looked at, the jobs, and whether there are more events to read.
    """
    ids = column("SELECT id FROM balsam_event WHERE id > %s ORDER BY id LIMIT %s", (event, limit))
    if not ids:
        return event, [], False
    jobs = column(
        f"""SELECT DISTINCT job.id FROM balsam_event event
            JOIN balsam_job job ON job.id = event.job_id
            WHERE event.id > %s AND event.id <= %s
            AND job.session_id IS NULL AND COALESCE(job.state, '') IN ({_LEADING_ON})""",
        (event, ids[-1]),
    )
    return ids[-1], jobs, len(ids) == limit


def last_event() -> int:
    """The id of the newest event, 0 if there is none."""
    found: int | None = column("SELECT max(id) FROM balsam_event")[0]
    return found or 0
