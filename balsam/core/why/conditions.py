"""The one condition that holds a job: found in the same way for one job and for all of them.

Every job has exactly one, by a code of ``LABELS``; ``balsam.core.why`` says more about one job.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from django.core.exceptions import EmptyResultSet

from balsam import states
from balsam.core.bookkeeping import (
    HANDLES_ERROR,
    HANDLES_TIMEOUT,
    HAS_POSTPROCESS,
    HAS_PREPROCESS,
    NEEDS_STAGE_IN,
    NEEDS_STAGE_OUT,
)
from balsam.core.models.session import RECOVERING
from balsam.core.sql import dialect, in_json, quoted, rows
from balsam.core.waiting import BROKEN_PARENT, UNFINISHED_PARENT
from balsam.core.why.situation import LAUNCHER, Member, Situation, fits, observe

PARENTS = "parents"
PARENT_BROKEN = "parent_broken"
BACKOFF = "backoff"
BOOKKEEPING = "bookkeeping"
STAGING = "staging"
STAGING_RUNS = "staging_runs"
HOOK = "hook"
HOOK_RUNS = "hook_runs"
NO_LAUNCHER = "no_launcher"
OTHER_WORKFLOW = "other_workflow"
JOB_MODE = "job_mode"
RESOURCES = "resources"
TIME_LEFT = "time_left"
IN_LINE = "in_line"
STARTING = "starting"
RUNNING = "running"
HELD = "held"
DEAD_LEASE = "dead_lease"
RECOVERY = "recovery"
LOST = "lost"
FAILED = "failed"
KILLED = "killed"
FINISHED = "finished"

#: Code -> a few words; in this order they are listed. ``failed`` is completed by the cause.
LABELS = {
    PARENTS: "waits for parents",
    PARENT_BROKEN: "a parent failed or was killed",
    BACKOFF: "waits before it is tried again",
    NO_LAUNCHER: "no launcher is alive",
    OTHER_WORKFLOW: "no launcher runs its workflow",
    JOB_MODE: "no launcher runs jobs of its kind",
    RESOURCES: "asks for more than any launcher has",
    TIME_LEFT: "needs more time than any launcher has left",
    DEAD_LEASE: "held by a session that is dead",
    RECOVERY: "is being recovered",
    LOST: "running, but nobody holds it",
    HELD: "held by a script",
    BOOKKEEPING: "goes on at once",
    STAGING: "staging waits for a worker",
    STAGING_RUNS: "staging",
    HOOK: "a hook waits for a worker",
    HOOK_RUNS: "a hook is running",
    IN_LINE: "in line for a launcher",
    STARTING: "next to start",
    RUNNING: "running",
    FAILED: "failed",
    KILLED: "killed",
    FINISHED: "finished",
}
#: State -> what has to be so for a job to need a step there, and what it needs then.
STEPS = {
    states.READY: (NEEDS_STAGE_IN, STAGING),
    states.STAGED_IN: (HAS_PREPROCESS, HOOK),
    states.RUN_DONE: (HAS_POSTPROCESS, HOOK),
    states.RUN_ERROR: (HANDLES_ERROR, HOOK),
    states.RUN_TIMEOUT: (HANDLES_TIMEOUT, HOOK),
    states.POSTPROCESSED: (NEEDS_STAGE_OUT, STAGING),
}
_RUNNING_STEP = {STAGING: STAGING_RUNS, HOOK: HOOK_RUNS}

_OF_WAITING = " ".join(
    f"WHEN '{state}' THEN CASE WHEN job.wait_for_parents AND {BROKEN_PARENT} "
    f"THEN '{PARENT_BROKEN}' WHEN job.wait_for_parents AND {UNFINISHED_PARENT} "
    f"THEN '{PARENTS}' ELSE '' END"
    for state in states.WAITING_STATES
)
_OF_RUNNABLE = " ".join(
    f"WHEN '{state}' THEN CASE WHEN job.not_before > {{present}} THEN '{BACKOFF}' ELSE '' END"
    for state in states.RUNNABLE_STATES
)
_OF_STEPS = " ".join(
    f"WHEN '{state}' THEN CASE WHEN NOT {wanted} THEN '' "
    f"WHEN job.session_id IS NULL AND job.not_before > {{present}} THEN '{BACKOFF}' "
    f"ELSE '{need}' END"
    for state, (wanted, need) in STEPS.items()
)
_NEEDS = f"CASE job.state {_OF_WAITING} {_OF_RUNNABLE} {_OF_STEPS} ELSE '' END"
_ENDED = quoted(states.END_STATES)
_ENDINGS = {
    states.JOB_FINISHED: FINISHED, states.USER_KILLED: KILLED, states.FAILED: FAILED,
}  # fmt: skip
_SETTLED = quoted((states.JOB_FINISHED, states.USER_KILLED))
#: Named, for an index finds them then.
_UNSETTLED = quoted(
    state for state in states.STATES if state not in (states.JOB_FINISHED, states.USER_KILLED)
)
_RUNNABLE = quoted(states.RUNNABLE_STATES)


class Facts(NamedTuple):
    """What the condition of a job depends on, besides who is there to run it."""

    state: str
    session: int
    need: str
    cause: str
    workflow: str
    num_nodes: int
    ranks_per_node: int
    gpus_per_rank: float
    minutes: float
    tags: str = ""  # in JSON, where launchers go by them


class Count(NamedTuple):
    """How many jobs a condition holds."""

    code: str
    text: str
    jobs: int


def facts(key: int) -> Facts | None:
    """The facts of one job; None if there is no such job."""
    found = rows(f"{_select(tags=True)} WHERE job.id = %s", (key,))
    return Facts(*found[0]) if found else None


def count(jobs: Any, situation: Situation | None = None) -> list[Count]:
    """How many of the jobs of a QuerySet each condition holds, without zeros."""
    situation = situation or observe()
    where, parameters = _among(jobs)
    select = _select(tags=situation.by_tags)
    names = ", ".join(Facts._fields)
    numbers: dict[tuple[str, str], int] = {}
    # Most jobs of a large campaign have ended well, and nothing more is asked about those.
    for state, number in rows(
        f"""SELECT state, count(*) FROM balsam_job job {where} AND job.state IN ({_SETTLED})
            GROUP BY state""",
        parameters,
    ):
        numbers[_ENDINGS[state], ""] = number
    for *values, number in rows(
        f"""SELECT {names}, count(*) FROM (
            {select} {where} AND job.state IN ({_UNSETTLED})) facts GROUP BY {names}""",
        parameters,
    ):
        found = Facts(*values)
        key = (code_of(found, situation), found.cause)
        numbers[key] = numbers.get(key, 0) + number
    order = list(LABELS)
    return [
        Count(code, label(code, cause), number)
        for (code, cause), number in sorted(
            numbers.items(), key=lambda item: (order.index(item[0][0]), -item[1], item[0][1])
        )
    ]


def _among(jobs: Any) -> tuple[str, Sequence[Any]]:
    if not (jobs.query.where or jobs.query.is_sliced):
        return "WHERE 1 = 1", ()
    ids = jobs if jobs.query.is_sliced else jobs.order_by()
    try:
        chosen, parameters = ids.values("id").query.sql_with_params()
    except EmptyResultSet:
        return "WHERE job.id IN (NULL)", ()
    return f"WHERE job.id IN ({chosen})", parameters


def label(code: str, cause: str = "") -> str:
    """A condition in a few words."""
    return f"{LABELS[code]}: {cause}" if cause else LABELS[code]


def code_of(job: Facts, situation: Situation) -> str:
    """The one condition that holds a job."""
    if job.state in states.END_STATES:
        return _ENDINGS[job.state]
    if job.session:
        return _leased(job, situation.members.get(job.session))
    if job.state == states.RUNNING:
        return LOST
    if job.need in (PARENTS, PARENT_BROKEN, BACKOFF):
        return job.need
    if not situation.launchers:
        return NO_LAUNCHER
    if not job.need and job.state not in states.RUNNABLE_STATES:
        return BOOKKEEPING
    return _unleased(job, situation)


def _leased(job: Facts, holder: Member | None) -> str:
    if holder is None or holder.dead:
        return DEAD_LEASE
    if holder.session.state == RECOVERING:
        return RECOVERY
    if holder.session.kind != LAUNCHER:
        return HELD
    if job.state == states.RUNNING:
        return RUNNING
    if job.state in states.RUNNABLE_STATES:
        return STARTING
    return _RUNNING_STEP.get(job.need, BOOKKEEPING)


def _unleased(job: Facts, situation: Situation) -> str:
    there = situation.meant_for(job.workflow, json.loads(job.tags or "{}"))
    if not there:
        return OTHER_WORKFLOW
    if job.need:
        return job.need
    there = [member for member in there if member.offer.takes(job)]
    if not there:
        return JOB_MODE
    there = fits(there, job)
    if not there:
        return RESOURCES
    if not situation.in_time(there, job.minutes):
        return TIME_LEFT
    return IN_LINE


#: How long a job may take.
_MINUTES = """CASE WHEN job.time_limit_minutes > 0
    AND job.time_limit_minutes < job.wall_time_minutes
    THEN job.time_limit_minutes ELSE job.wall_time_minutes END"""


def _select(tags: bool) -> str:
    """The facts of jobs; those that play no part are left blank, so that jobs alike are equal."""
    waits = f"job.session_id IS NULL AND job.state NOT IN ({_ENDED}, '{states.RUNNING}')"
    runs = f"job.session_id IS NULL AND job.state IN ({_RUNNABLE})"
    written = "CAST(job.tags AS TEXT)" if tags else "''"
    shape = {name: f"job.{name}" for name in ("num_nodes", "ranks_per_node", "gpus_per_rank")}
    shape["minutes"] = _MINUTES
    blank = ", ".join(
        f"CASE WHEN {runs} THEN {value} ELSE 0 END AS {name}" for name, value in shape.items()
    )
    return f"""SELECT job.state AS state,
        CASE WHEN job.state IN ({_ENDED}) THEN 0 ELSE COALESCE(job.session_id, 0) END AS session,
        {_NEEDS.format(present=dialect().present)} AS need,
        CASE WHEN job.state = '{states.FAILED}' THEN COALESCE({_cause()}, '') ELSE '' END AS cause,
        CASE WHEN {waits} THEN job.workflow ELSE '' END AS workflow, {blank},
        CASE WHEN {waits} THEN {written} ELSE '' END AS tags
        FROM balsam_job job"""


def _cause() -> str:
    """Why the last attempt ended, or what else the job failed of; NULL where that ended well."""
    cause = in_json("event.data", "cause")
    return f"""NULLIF((SELECT {cause} FROM balsam_event event
        WHERE event.job_id = job.id AND {cause} IS NOT NULL ORDER BY event.id DESC LIMIT 1),
        '{states.OK}')"""
