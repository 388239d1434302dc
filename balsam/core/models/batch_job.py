"""Batch jobs: allocations asked of the scheduler (the older lines' ``QueuedLaunch``)."""

from __future__ import annotations

from django.db import models

from balsam.core.names import NamedModel, NamedQuerySet


class BatchJob(NamedModel):
    """One allocation: what was asked of the scheduler and what became of it. Times are UTC."""

    scheduler_id = models.BigIntegerField(null=True, blank=True)
    project = models.TextField(default="", blank=True)
    queue = models.TextField(default="", blank=True)
    num_nodes = models.IntegerField(default=1)
    wall_time_min = models.IntegerField(default=0)
    job_mode = models.TextField(default="", blank=True)
    wf_filter = models.TextField(default="", blank=True)
    filter_tags = models.JSONField(default=dict, blank=True)
    sched_flags = models.TextField(default="", blank=True)
    optional_params = models.JSONField(default=dict, blank=True)
    partitions = models.JSONField(default=list, blank=True)
    command = models.TextField(default="", blank=True)
    state = models.TextField(default="pending_submission", db_index=True)
    status_info = models.JSONField(default=dict, blank=True)
    start_time = models.DateTimeField(null=True, blank=True)
    end_time = models.DateTimeField(null=True, blank=True)
    prescheduled_only = models.BooleanField(default=True)
    from_balsam = models.BooleanField(default=True)

    ALIASES = {"nodes": ("num_nodes",), "wall_minutes": ("wall_time_min",)}

    objects = models.Manager.from_queryset(NamedQuerySet)()

    class Meta:
        db_table = "balsam_batch_job"
