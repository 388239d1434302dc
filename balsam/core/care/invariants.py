"""The rules that hold for what is in the record, as data: each a statement that finds breaches."""

from __future__ import annotations

from dataclasses import dataclass

from balsam import states
from balsam.core.models import ApplicationDefinition, BalsamJob, BatchJob, EventLog, Session
from balsam.core.models.dependency import Dependency
from balsam.core.models.session import ENDED, LIVE, RECOVERING
from balsam.core.rules import FAIL
from balsam.core.sql import quoted
from balsam.core.waiting import UNFINISHED_PARENT

RESTORE = "Put a sound copy in its place with 'balsam restore FILE'."
REPORT = "Nothing in Balsam writes this: please report it with 'balsam bug-report'."
DOCTOR = "'balsam doctor --fix' gives such jobs out again."
LAUNCHER = "The next launcher moves them: 'balsam launcher --consume-all'."

MODELS = (ApplicationDefinition, BalsamJob, BatchJob, Dependency, EventLog, Session)


@dataclass(frozen=True)
class Rule:
    """An invariant: ``statement`` selects the rows that break it, ``words`` describe one."""

    check: str
    says: str
    statement: str
    words: str
    repair: str = REPORT


_STATES = quoted(states.STATES)
_WAITS = f"job.state = '{states.AWAITING_PARENTS}' AND job.session_id IS NULL"
_BROKEN = quoted(states.BROKEN_STATES)
_LEGAL = ", ".join(
    f"'{old}>{new}'"
    for old in states.STATES
    for new in states.STATES
    if any(states.is_legal(old, new, actor) for actor in states.MOVES)
)

RULES = (
    Rule(
        "unique-ids",
        "no two jobs have the same job_id",
        "SELECT job_id, count(*) FROM balsam_job GROUP BY job_id HAVING count(*) > 1",
        "job_id {} is that of {} jobs",
        RESTORE,
    ),
    Rule(
        "known-states",
        "every state is one that Balsam knows",
        f"""SELECT 'job', id, state FROM balsam_job WHERE state NOT IN ({_STATES})
            UNION ALL SELECT 'event', id, to_state FROM balsam_event
                WHERE to_state NOT IN ({_STATES})
            UNION ALL SELECT 'session', id, state FROM balsam_session
                WHERE state NOT IN ('{LIVE}', '{RECOVERING}', '{ENDED}')""",
        "{} {} is '{}'",
    ),
    Rule(
        "events",
        "every event is of a job that is there",
        """SELECT id, job_id FROM balsam_event event
            WHERE NOT EXISTS (SELECT 1 FROM balsam_job WHERE id = event.job_id)""",
        "event {} is of job {}",
    ),
    Rule(
        "state-of-events",
        "every job is in the state that its newest event led to",
        # + 0: else Postgres may look for it among all events, from the newest on, for each job.
        """SELECT job.id, job.state, COALESCE(event.to_state, 'no event')
            FROM balsam_job job LEFT JOIN balsam_event event ON event.id =
                (SELECT max(id + 0) FROM balsam_event WHERE job_id = job.id)
            WHERE event.id IS NULL OR event.to_state <> job.state""",
        "job {} is {}, its newest event says {}",
    ),
    Rule(
        "history",
        f"every history begins with {states.CREATED}, and each event goes on where the last ended",
        f"""SELECT job_id, from_state, to_state, COALESCE(earlier, 'no event') FROM (
                SELECT job_id, from_state, to_state,
                    lag(to_state) OVER (PARTITION BY job_id ORDER BY id) AS earlier
                FROM balsam_event) chain
            WHERE (earlier IS NULL AND (from_state <> '' OR to_state <> '{states.CREATED}'))
            OR earlier <> from_state""",
        "job {} went from '{}' to {} after {}",
    ),
    Rule(
        "moves",
        "every move of a job is one that Balsam or a user may make",
        f"""SELECT job_id, from_state, to_state FROM balsam_event
            WHERE from_state <> to_state AND from_state <> ''
            AND from_state || '>' || to_state NOT IN ({_LEGAL})""",
        "job {} went from {} to {}",
    ),
    Rule(
        "running",
        f"every job that is {states.RUNNING} is leased by a session",
        f"SELECT id FROM balsam_job WHERE state = '{states.RUNNING}' AND session_id IS NULL",
        "job {}",
        DOCTOR,
    ),
    Rule(
        "leases",
        "every lease is of a session that has not ended",
        f"""SELECT id, session_id FROM balsam_job WHERE session_id IS NOT NULL
            AND session_id NOT IN (SELECT id FROM balsam_session WHERE state <> '{ENDED}')""",
        "job {} is leased by session {}",
        DOCTOR,
    ),
    Rule(
        "attempts",
        f"every job has had as many attempts as it was {states.RUNNING}",
        f"""SELECT job.id, job.attempt, COALESCE(runs.number, 0) FROM balsam_job job
            LEFT JOIN (SELECT job_id, count(*) AS number FROM balsam_event
                WHERE to_state = '{states.RUNNING}' AND from_state <> to_state
                GROUP BY job_id) runs ON runs.job_id = job.id
            WHERE job.attempt <> COALESCE(runs.number, 0)""",
        "job {} is at attempt {}, its events show {}",
    ),
    Rule(
        "lost-attempts",
        "no job has lost more attempts than it had",
        """SELECT id, lost_attempts, attempt FROM balsam_job
            WHERE lost_attempts < 0 OR lost_attempts > attempt""",
        "job {} has lost {} of {}",
    ),
    Rule(
        "broken-parents",
        "no job waits for a parent that has failed or was killed, unless it is to ignore that",
        f"""SELECT DISTINCT job.id, parent.id, parent.state FROM balsam_job job
            JOIN balsam_dependency edge ON edge.child_id = job.id
            JOIN balsam_job parent ON parent.id = edge.parent_id
            WHERE {_WAITS} AND job.wait_for_parents AND job.on_parent_failure = '{FAIL}'
            AND COALESCE(parent.state, '') IN ({_BROKEN})""",  # see waiting.STATE
        "job {} waits for job {}, which is {}",
        LAUNCHER,
    ),
    Rule(
        "waiting",
        "every job that waits has a parent to wait for",
        f"SELECT job.id FROM balsam_job job WHERE {_WAITS} AND NOT {UNFINISHED_PARENT}",
        "job {}",
        LAUNCHER,
    ),
)
