"""Parent relations between jobs, as rows."""

from __future__ import annotations

from django.db import models


class Dependency(models.Model):
    """The child waits for the parent and may link its files; indexed both ways."""

    child = models.ForeignKey(
        "BalsamJob", on_delete=models.CASCADE, related_name="parent_edges", db_index=False
    )
    parent = models.ForeignKey("BalsamJob", on_delete=models.CASCADE, related_name="child_edges")

    class Meta:
        db_table = "balsam_dependency"
        constraints = [
            models.UniqueConstraint(fields=["child", "parent"], name="balsam_dependency_once")
        ]
