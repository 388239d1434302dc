"""``job.parents`` and ``job.children`` as Django's managers, whose changes go through the graph."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from django.db import models, transaction
from django.db.models.fields.related_descriptors import ManyToManyDescriptor
from django.utils.functional import cached_property

from balsam.core import graph


class ParentsField(models.ManyToManyField):
    """The parents of a job; cycles are refused, and jobs wait or go on as edges come and go."""

    def contribute_to_class(self, cls: Any, name: str, **kwargs: Any) -> None:
        super().contribute_to_class(cls, name, **kwargs)
        setattr(cls, self.name, _Links(self.remote_field, reverse=False))

    def contribute_to_related_class(self, cls: Any, related: Any) -> None:
        super().contribute_to_related_class(cls, related)
        setattr(cls, related.get_accessor_name(), _Links(self.remote_field, reverse=True))

    def deconstruct(self) -> Any:
        """As Django's own field: migrations need no more of it."""
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.ManyToManyField", args, kwargs


class _Links(ManyToManyDescriptor):
    @cached_property
    def related_manager_cls(self) -> Any:
        return _through_graph(super().related_manager_cls)


def _through_graph(django_manager: Any) -> Any:
    class LinksManager(django_manager):
        """Jobs are given as objects, ids or UUIDs. Raises DependencyError."""

        def add(self, *jobs: Any, through_defaults: Any = None) -> None:
            """Add edges that are not there yet."""
            with self._changing() as there:
                self._connect([key for key in self._keys(jobs) if key not in there])

        def remove(self, *jobs: Any) -> None:
            """Take edges away."""
            with self._changing() as there:
                self._cut([key for key in self._keys(jobs) if key in there])

        def clear(self) -> None:
            """Take all edges away."""
            with self._changing() as there:
                self._cut(there)

        def set(
            self, objs: Iterable[Any], *, clear: bool = False, through_defaults: Any = None
        ) -> None:
            """Make these the only ones, in this order."""
            with self._changing() as there:
                wanted = self._keys(objs)
                if not self.reverse:
                    graph.set_edges(self.instance.pk, wanted)
                else:
                    self._cut([key for key in there if key not in wanted])
                    self._connect([key for key in wanted if key not in there])

        def _changing(self) -> Any:
            return _Change(self)

        def _keys(self, jobs: Iterable[Any]) -> list[int]:
            return list(dict.fromkeys(self.model._default_manager.keys_of(jobs)))

        def _connect(self, keys: Collection[int]) -> None:
            if self.reverse:
                for child in keys:
                    graph.add_edges(child, [self.instance.pk])
            elif keys:
                graph.add_edges(self.instance.pk, keys)

        def _cut(self, keys: Collection[int]) -> None:
            if self.reverse:
                for child in keys:
                    graph.remove_edges(child, [self.instance.pk])
            elif keys:
                graph.remove_edges(self.instance.pk, keys)

    return LinksManager


class _Change:
    """A transaction that begins with the keys at the other end, and ends in a fresh instance."""

    def __init__(self, manager: Any) -> None:
        self._manager = manager
        self._atomic = transaction.atomic()

    def __enter__(self) -> list[int]:
        self._atomic.__enter__()
        self._manager._remove_prefetched_objects()
        key = self._manager.instance.pk
        if self._manager.reverse:
            return graph.child_keys(key)
        return graph.parent_keys([key]).get(key, [])

    def __exit__(self, *error: Any) -> None:
        self._atomic.__exit__(*error)
        if error[0] is None:
            self._manager.instance.refresh_from_db(fields=["state", "state_timestamp"])
