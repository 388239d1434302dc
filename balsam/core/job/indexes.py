"""The indexes of the table of jobs, by what launchers and people look for."""

from __future__ import annotations

from django.db import models

from balsam import states

INDEXES = [
    # With the id, for pages of the jobs in one state; SQLite would have it there anyhow.
    models.Index(fields=["state", "id"], name="balsam_job_state"),
    models.Index(fields=["workflow", "state"], name="balsam_job_workflow"),
    models.Index(
        fields=["session"],
        name="balsam_job_session",
        condition=models.Q(session__isnull=False),
    ),
    models.Index(
        fields=["queued_launch"],
        name="balsam_job_queued_launch",
        condition=models.Q(queued_launch__isnull=False),
    ),
    # When the next of the jobs that wait for their back-off may start. Few jobs have a time.
    models.Index(
        fields=["not_before"],
        name="balsam_job_not_before",
        condition=models.Q(not_before__isnull=False),
    ),
    models.Index(
        models.F("priority").desc(),
        models.F("num_nodes").desc(),
        models.F("wall_time_minutes").desc(),
        models.F("id"),
        name="balsam_job_runnable",
        condition=models.Q(state__in=list(states.RUNNABLE_STATES), session__isnull=True),
    ),
    models.Index(
        models.F("workflow"),
        models.F("priority").desc(),
        models.F("num_nodes").desc(),
        models.F("wall_time_minutes").desc(),
        models.F("id"),
        name="balsam_job_runnable_workflow",
        condition=models.Q(state__in=list(states.RUNNABLE_STATES), session__isnull=True),
    ),
]
