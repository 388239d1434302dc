"""Names of every Balsam line, accepted wherever a field name is: constructors, filters, CLI.

A model lists its other names in ``ALIASES``: name -> path of real field names. A name that is
neither is an error that suggests the nearest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.core.exceptions import FieldError
from django.db import models
from django.db.models import sql
from django.db.models.constants import LOOKUP_SEP
from django.db.models.expressions import Col

from balsam.core.ids import as_uuid
from balsam.errors import UnknownName, nearest


def known_names(model: type[models.Model]) -> set[str]:
    """Every name that ``model`` answers to: fields, their columns and aliases."""
    fields = model._meta.get_fields()
    names = {field.name for field in fields}
    names |= {field.attname for field in fields if hasattr(field, "attname")}
    return names | set(getattr(model, "ALIASES", ())) | {"pk"}


def unknown(model: type[models.Model], name: str) -> UnknownName:
    """The error for a name that ``model`` does not have."""
    return UnknownName(
        f"{model.__name__} has no field '{name}'{nearest(name, sorted(known_names(model)))}"
    )


def canonical(model: type[models.Model], name: str) -> str:
    """The real field behind ``name``, for reading and writing one row.

    Raises UnknownName.
    """
    path = getattr(model, "ALIASES", {}).get(name, (name,))
    if len(path) == 1 and path[0] in known_names(model):
        return str(path[0])
    if name in getattr(model, "ALIASES", {}):
        return name
    raise unknown(model, name)


def real_names(model: type[models.Model], values: dict[str, Any]) -> dict[str, Any]:
    """``values`` by the names of real fields; UnknownName if one is given under two names."""
    real = {canonical(model, name): value for name, value in values.items()}
    if len(real) < len(values):
        raise twice(model, values)
    return real


def twice(model: type[models.Model], names: Iterable[str]) -> UnknownName:
    """The error for a field that was given under two of its names."""
    return UnknownName(
        f"{model.__name__} was given one field twice, under two of its names: "
        f"{', '.join(sorted(names))}"
    )


class NamedQuery(sql.Query):
    """Django's query, with the model's other names and with keys given as UUIDs."""

    def names_to_path(
        self, names: list[str], opts: Any, allow_many: bool = True, fail_on_missing: bool = False
    ) -> Any:
        aliases = getattr(opts.model, "ALIASES", {})
        if names and names[0] in aliases:
            names = [*aliases[names[0]], *names[1:]]
        try:
            return super().names_to_path(names, opts, allow_many, fail_on_missing)
        except FieldError as error:
            if names and names[0] not in known_names(opts.model) and not self.annotations:
                raise self._suggesting(error, names[0], opts.model) from None
            raise

    def add_fields(self, field_names: Any, allow_m2m: bool = True) -> None:
        field_names = list(field_names)
        try:
            super().add_fields(field_names, allow_m2m)
        except FieldError as error:
            wrong = [name for name in field_names if name not in known_names(self.model)]
            if len(wrong) != 1 or LOOKUP_SEP in wrong[0]:
                raise
            raise self._suggesting(error, wrong[0], self.model) from None

    @staticmethod
    def _suggesting(error: FieldError, name: str, model: type[models.Model]) -> FieldError:
        suggestion = nearest(name, sorted(known_names(model)))
        text = str(error)
        return FieldError(text if suggestion in text else f"{text}{suggestion}")

    def build_lookup(self, lookups: Any, lhs: Any, rhs: Any) -> Any:
        uuid_field = getattr(self.model, "UUID_KEY", None)
        if uuid_field and isinstance(lhs, Col) and lhs.target.primary_key:
            as_uuids = _uuids(rhs)
            if as_uuids is not None and lhs.target.model is self.model:
                field = self.model._meta.get_field(uuid_field)
                lhs, rhs = field.get_col(lhs.alias), as_uuids
        return super().build_lookup(lookups, lhs, rhs)


def _uuids(value: Any) -> Any:
    if isinstance(value, (list, tuple, set, frozenset)) or type(value).__name__ == "dict_keys":
        found = [as_uuid(item) for item in value]
        return found if found and all(found) else None
    return as_uuid(value)


class NamedQuerySet(models.QuerySet):
    """The full Django QuerySet, asked in any of the model's names."""

    def __init__(
        self, model: Any = None, query: Any = None, using: Any = None, hints: Any = None
    ) -> None:
        super().__init__(model, query or NamedQuery(model), using, hints)

    def only(self, *fields: str) -> Any:
        """Django's only, in any of the model's names."""
        return super().only(*map(self._real_path, fields))

    def defer(self, *fields: Any) -> Any:
        """Django's defer, in any of the model's names."""
        return super().defer(*map(self._real_path, fields))

    def _real_path(self, name: Any) -> Any:
        path = getattr(self.model, "ALIASES", {}).get(name)
        return LOOKUP_SEP.join(path) if path else name

    def _real_names(self, values: dict[str, Any]) -> dict[str, Any]:
        return real_names(self.model, values)


class NamedModel(models.Model):
    """A model whose constructor takes any of its names and refuses all others."""

    ALIASES: dict[str, tuple[str, ...]] = {}

    class Meta:
        abstract = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for alias, path in cls.ALIASES.items():
            if len(path) == 1 and not hasattr(cls, alias):
                setattr(cls, alias, _other_name(path[0]))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if kwargs:
            kwargs = self._construct_names(kwargs)
        super().__init__(*args, **kwargs)

    def _construct_names(self, values: dict[str, Any]) -> dict[str, Any]:
        return real_names(type(self), values)


def _other_name(field: str) -> property:
    def read(row: Any) -> Any:
        return getattr(row, field)

    def write(row: Any, value: Any) -> None:
        setattr(row, field, value)

    return property(read, write, doc=f"Another name of ``{field}``.")
