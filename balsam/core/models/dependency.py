"""Parent relations between jobs, as rows."""

from __future__ import annotations

from typing import Any

from django.db import models, transaction

from balsam.core import graph
from balsam.core.names import NamedQuerySet
from balsam.errors import DependencyError


class DependencyQuerySet(NamedQuerySet):
    """Edges; they go through the graph, as single ones do."""

    def update(self, **values: Any) -> int:
        """Refused: DependencyError."""
        raise DependencyError("An edge does not change; use set_parents of the child.")

    def delete(self) -> tuple[int, dict[str, int]]:
        """Take these edges away; their children go on if nothing keeps them waiting any more."""
        edges: dict[int, list[int]] = {}
        with transaction.atomic():
            for child, parent in self.values_list("child_id", "parent_id"):
                edges.setdefault(child, []).append(parent)
            for child, parents in edges.items():
                graph.remove_edges(child, parents)
        self._result_cache = None
        number = sum(map(len, edges.values()))
        return number, {self.model._meta.label: number}

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]


class Dependency(models.Model):
    """The child waits for the parent and may link its files; indexed both ways."""

    child = models.ForeignKey(
        "BalsamJob", on_delete=models.CASCADE, related_name="parent_edges", db_index=False
    )
    parent = models.ForeignKey("BalsamJob", on_delete=models.CASCADE, related_name="child_edges")

    objects = models.Manager.from_queryset(DependencyQuerySet)()

    class Meta:
        db_table = "balsam_dependency"
        constraints = [
            models.UniqueConstraint(fields=["child", "parent"], name="balsam_dependency_once")
        ]

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Add the edge as ``add_dependency`` does; one that is there does not change.

        Raises DependencyError and NoSuchJob.
        """
        if not self._state.adding:
            raise DependencyError("An edge does not change; use set_parents of the child.")
        graph.add_edges(self.child_id, [self.parent_id])
        self.pk = type(self).objects.get(child=self.child_id, parent=self.parent_id).pk
        self._state.adding, self._state.db = False, "default"

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Take the edge away; the child goes on if nothing keeps it waiting any more."""
        graph.remove_edges(self.child_id, [self.parent_id])
        self.pk = None
        return 1, {self._meta.label: 1}
