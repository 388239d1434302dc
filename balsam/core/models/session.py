"""Sessions: the registered lives of launchers and services, which own leases."""

from __future__ import annotations

from django.db import models

from balsam.core.models.batch_job import BatchJob

LIVE = "live"
RECOVERING = "recovering"
ENDED = "ended"


class Session(models.Model):
    """One process that may lease jobs. Times are UTC; it is dead once its heartbeat is too old."""

    kind = models.TextField(default="launcher")
    state = models.TextField(default=LIVE)
    lock = models.TextField(default="")  # "host:pid", the older lines' owner string
    host = models.TextField(default="")
    machine = models.TextField(default="")  # where `pid` means something: boot and pid namespace
    pid = models.BigIntegerField(default=0)
    pid_start = models.BigIntegerField(default=0)
    started = models.DateTimeField()
    heartbeat = models.DateTimeField()
    # The same by the clock of `machine` that nobody sets; 0 of sessions that did not tell.
    heartbeat_monotonic = models.FloatField(default=0.0)
    offer = models.JSONField(default=dict)  # what a launcher can run: see balsam.core.offer
    batch_job = models.ForeignKey(BatchJob, null=True, blank=True, on_delete=models.SET_NULL)

    class Meta:
        db_table = "balsam_session"
        indexes = [models.Index(fields=["state"], name="balsam_session_state")]
