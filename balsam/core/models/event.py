"""Events: one row for each change of a job's state."""

from __future__ import annotations

from django.db import models

from balsam.core.models.job import BalsamJob
from balsam.core.names import NamedModel, NamedQuerySet


class EventLog(NamedModel):
    """A change of state: when (UTC, microseconds), from what, to what, why.

    ``data`` of the event that ends an attempt holds ``attempt``, ``returncode``, ``cause``,
    ``nodes``, ``cores``, ``gpus``, ``wall_seconds``, ``cpu_seconds``, ``max_rss_kb``,
    ``read_bytes``, ``write_bytes`` and ``tail``, and ``warned`` (a signal's name) if it was.
    """

    # Events are written together with what they tell of, and removed with it; having the database
    # look up the job of each again takes a third of a commit.
    job = models.ForeignKey(
        BalsamJob, on_delete=models.CASCADE, related_name="events", db_constraint=False
    )
    timestamp = models.DateTimeField()
    from_state = models.TextField(default="")
    to_state = models.TextField()
    message = models.TextField(default="")
    data = models.JSONField(default=dict)

    ALIASES = {"time": ("timestamp",)}

    objects = models.Manager.from_queryset(NamedQuerySet)()

    class Meta:
        db_table = "balsam_event"
