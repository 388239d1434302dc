"""What of a job was changed since it was read or last saved; mixed into ``BalsamJob``."""

from __future__ import annotations

import copy
import functools
import operator
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from django.db import models

#: Types of values that never change.
_FIXED = frozenset((str, int, float, bool, type(None)))


@functools.cache
def _columns(meta: Any) -> tuple[list[str], list[str], Callable[[Any], tuple[Any, ...]]]:
    """Attributes of all columns, of those whose values can change in place, and their getter."""
    fields = meta.concrete_fields
    names = [field.attname for field in fields]
    mutable = [field.attname for field in fields if isinstance(field, models.JSONField)]
    return names, mutable, operator.itemgetter(*names)


def _copied(value: Any) -> Any:
    """A copy that does not change with ``value``; copy.deepcopy takes ten times as long."""
    kind = type(value)
    if kind is dict:
        return {key: _copied(one) for key, one in value.items()}
    if kind is list:
        return [_copied(one) for one in value]
    return value if kind in _FIXED else copy.deepcopy(value)


class JobUnsaved:
    """The difference between a job and its row."""

    if TYPE_CHECKING:
        _meta: Any
        _saved: dict[str, Any]

    def _remember(self, names: Iterable[str] | None = None) -> None:
        """Note what the row holds now, in all columns or in the named ones."""
        present, saved = self.__dict__, self._saved
        columns, singly, values_of = _columns(self._meta)
        if names is not None:
            singly = [self._meta.get_field(name).attname for name in names]
        else:
            try:
                saved.update(zip(columns, values_of(present), strict=True))
            except KeyError:  # some are deferred
                singly = columns
        for name in singly:
            if name in present:
                value = present[name]
                saved[name] = _copied(value) if value else type(value)()

    def changed_fields(self) -> list[str]:
        """Columns that differ from what was read or last saved."""
        present = self.__dict__
        names = [field.attname for field in self._meta.concrete_fields]
        return [
            name
            for name in names
            if name in present and (name not in self._saved or self._saved[name] != present[name])
        ]
