"""The names that other Balsam lines have for the fields of a job."""

from __future__ import annotations

ALIASES = {
    "application": ("app", "name"),
    "lock": ("session", "lock"),
    "tick": ("session", "heartbeat"),
    "application_args": ("args",),
    "preprocess": ("preprocess_override",),
    "preprocessor": ("preprocess_override",),
    "postprocess": ("postprocess_override",),
    "postprocessor": ("postprocess_override",),
    "processes_per_node": ("ranks_per_node",),
    "procs_per_node": ("ranks_per_node",),
    "wall_minutes": ("wall_time_minutes",),
    "wall_time_min": ("wall_time_minutes",),
    "post_handle_error": ("post_error_handler",),
    "post_handle_timeout": ("post_timeout_handler",),
    "url_in": ("stage_in_url",),
    "url_out": ("stage_out_url",),
    "batch_job": ("queued_launch",),
    "batch_job_id": ("queued_launch_id",),
    "parent_ids": ("parents",),
}

#: Names that are views of events, and what queries ask for instead.
NOT_STORED = {
    "state_history": "events__message, events__to_state or events__timestamp",
    "state_data": "events__data",
}
