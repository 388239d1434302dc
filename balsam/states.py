"""The state machine of a job, as data.

``MOVES`` says which state may follow which, and who may make the move: ``BALSAM`` (launcher, steps
and recovery), ``USER`` (the command line and the Python API) or ``RETRY`` (a person who wants jobs
that ended badly to go on). The diagram in the documentation and the exhaustive tests are made from
these tables.
"""

from __future__ import annotations

CREATED = "CREATED"
AWAITING_PARENTS = "AWAITING_PARENTS"
READY = "READY"
STAGED_IN = "STAGED_IN"
PREPROCESSED = "PREPROCESSED"
RUNNING = "RUNNING"
RUN_DONE = "RUN_DONE"
RUN_ERROR = "RUN_ERROR"
RUN_TIMEOUT = "RUN_TIMEOUT"
RESTART_READY = "RESTART_READY"
POSTPROCESSED = "POSTPROCESSED"
JOB_FINISHED = "JOB_FINISHED"
FAILED = "FAILED"
USER_KILLED = "USER_KILLED"

#: Every state, in the order of a job's life.
STATES = (
    CREATED,
    AWAITING_PARENTS,
    READY,
    STAGED_IN,
    PREPROCESSED,
    RESTART_READY,
    RUNNING,
    RUN_DONE,
    RUN_ERROR,
    RUN_TIMEOUT,
    POSTPROCESSED,
    JOB_FINISHED,
    FAILED,
    USER_KILLED,
)

ACTIVE_STATES = (RUNNING,)
RUNNABLE_STATES = (PREPROCESSED, RESTART_READY)
END_STATES = (JOB_FINISHED, FAILED, USER_KILLED)
PROCESSABLE_STATES = (
    CREATED,
    AWAITING_PARENTS,
    READY,
    STAGED_IN,
    RUN_DONE,
    POSTPROCESSED,
    RUN_TIMEOUT,
    RUN_ERROR,
)

#: Not started yet, and still to be prepared; parents may be added here.
WAITING_STATES = (CREATED, AWAITING_PARENTS)
PREPARING_STATES = (CREATED, AWAITING_PARENTS, READY, STAGED_IN, PREPROCESSED)
#: Ended without success; a child that waits for such a job can not run.
BROKEN_STATES = (FAILED, USER_KILLED)

BALSAM = "balsam"
USER = "user"
RETRY = "retry"

#: What Balsam itself does: the life of a job, one arrow a row.
BALSAM_MOVES: dict[str, tuple[str, ...]] = {
    CREATED: (AWAITING_PARENTS, READY, FAILED),
    AWAITING_PARENTS: (READY, FAILED),
    READY: (STAGED_IN, AWAITING_PARENTS, FAILED),
    STAGED_IN: (PREPROCESSED, AWAITING_PARENTS, FAILED),
    PREPROCESSED: (RUNNING, AWAITING_PARENTS, FAILED),
    RESTART_READY: (RUNNING, FAILED),
    RUNNING: (RUN_DONE, RUN_ERROR, RUN_TIMEOUT, RESTART_READY, FAILED),
    RUN_DONE: (POSTPROCESSED, FAILED),
    RUN_ERROR: (RESTART_READY, FAILED),
    RUN_TIMEOUT: (RESTART_READY, FAILED),
    POSTPROCESSED: (JOB_FINISHED, FAILED),
    JOB_FINISHED: (),
    FAILED: (),
    USER_KILLED: (),
}

_BEFORE_RUN = (CREATED, READY, STAGED_IN, PREPROCESSED, JOB_FINISHED, FAILED, USER_KILLED)
_AFTER_RUN = (
    CREATED,
    READY,
    STAGED_IN,
    PREPROCESSED,
    RESTART_READY,
    RUN_DONE,
    POSTPROCESSED,
    JOB_FINISHED,
    FAILED,
    USER_KILLED,
)

#: What a person or a hook may ask for. A running job can only be killed; a killed one stays so.
USER_MOVES: dict[str, tuple[str, ...]] = {
    CREATED: _BEFORE_RUN,
    AWAITING_PARENTS: _BEFORE_RUN,
    READY: _BEFORE_RUN,
    STAGED_IN: _BEFORE_RUN,
    PREPROCESSED: _BEFORE_RUN,
    RESTART_READY: _AFTER_RUN,
    RUNNING: (USER_KILLED,),
    RUN_DONE: _AFTER_RUN,
    RUN_ERROR: _AFTER_RUN,
    RUN_TIMEOUT: _AFTER_RUN,
    POSTPROCESSED: _AFTER_RUN,
    JOB_FINISHED: _AFTER_RUN,
    FAILED: _AFTER_RUN,
    USER_KILLED: (),
}

#: Where a job that ended badly goes on when it is tried again: state it ended in -> state to go on.
RETRY_FROM: dict[str, str] = {
    CREATED: CREATED,
    AWAITING_PARENTS: CREATED,
    READY: READY,
    STAGED_IN: STAGED_IN,
    PREPROCESSED: PREPROCESSED,
    RESTART_READY: RESTART_READY,
    RUNNING: RESTART_READY,
    RUN_ERROR: RESTART_READY,
    RUN_TIMEOUT: RESTART_READY,
    RUN_DONE: RUN_DONE,
    POSTPROCESSED: POSTPROCESSED,
}
RETRY_MOVES: dict[str, tuple[str, ...]] = {
    state: tuple(dict.fromkeys(RETRY_FROM.values())) if state in BROKEN_STATES else ()
    for state in STATES
}

MOVES: dict[str, dict[str, tuple[str, ...]]] = {
    BALSAM: BALSAM_MOVES,
    USER: USER_MOVES,
    RETRY: RETRY_MOVES,
}


def is_legal(old: str, new: str, actor: str = BALSAM) -> bool:
    """Whether ``actor`` may move a job from ``old`` to ``new`` (staying put is no move)."""
    return old != new and new in MOVES[actor].get(old, ())


# Why an attempt ended: the closed list.
OK = "ok"
EXIT = "exit"
SIGNAL = "signal"
OOM = "oom"
JOB_TIME_LIMIT = "job_time_limit"
BATCH_TIME_LIMIT = "batch_time_limit"
NODE_LOST = "node_lost"
LAUNCHER_LOST = "launcher_lost"
PROGRAM_MISSING = "program_missing"
MPI_LAUNCH_FAILED = "mpi_launch_failed"
STAGING = "staging"
HOOK = "hook"
KILLED = "killed"
PARENT_FAILED = "parent_failed"
UNSATISFIABLE = "unsatisfiable"

CAUSES = (
    OK,
    EXIT,
    SIGNAL,
    OOM,
    JOB_TIME_LIMIT,
    BATCH_TIME_LIMIT,
    NODE_LOST,
    LAUNCHER_LOST,
    PROGRAM_MISSING,
    MPI_LAUNCH_FAILED,
    STAGING,
    HOOK,
    KILLED,
    PARENT_FAILED,
    UNSATISFIABLE,
)
