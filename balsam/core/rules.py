"""What the fields of a job may hold, for the model, sets of jobs and bulk insertion alike."""

from __future__ import annotations

#: Fields that only the writer of state, or nobody, changes after a job was made.
PROTECTED = frozenset(
    (
        "id",
        "job_id",
        "state",
        "state_timestamp",
        "session_id",
        "attempt",
        "lost_attempts",
    )
)
#: The smallest sensible value of each number.
MINIMUM = {
    "num_nodes": 1,
    "ranks_per_node": 1,
    "threads_per_rank": 1,
    "threads_per_core": 1,
    "node_packing_count": 1,
    "coschedule_num_nodes": 0,
    "gpus_per_rank": 0,
    "wall_time_minutes": 0,
    "time_limit_minutes": 0,
    "max_attempts": 0,
    "signal_before_min": 0,
}
#: What jobs are told apart by: a person always gives it.
NEVER_EMPTY = ("name", "workflow")
FAIL = "fail"
IGNORE = "ignore"
ON_PARENT_FAILURE = (FAIL, IGNORE)
#: Fields that decide, with the edges, whether a job waits for its parents.
WAITING_RULES = frozenset(("wait_for_parents", "on_parent_failure"))
