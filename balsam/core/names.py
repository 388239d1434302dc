"""Names of every Balsam line, accepted wherever a field name is: constructors, filters, CLI.

A model lists its other names in ``ALIASES``: name -> path of real field names. A name that is
neither is an error that suggests the nearest.
"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import FieldError
from django.db import models
from django.db.models import sql
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
                suggestion = nearest(names[0], sorted(known_names(opts.model)))
                if suggestion:
                    raise FieldError(f"{error}{suggestion}") from None
            raise

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

    def _real_names(self, values: dict[str, Any]) -> dict[str, Any]:
        return {canonical(self.model, name): value for name, value in values.items()}


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
        real = {canonical(type(self), name): value for name, value in values.items()}
        if len(real) < len(values):
            raise UnknownName(
                f"{type(self).__name__} was given one field twice, under two of its names: "
                f"{', '.join(sorted(values))}"
            )
        return real


def _other_name(field: str) -> property:
    def read(row: Any) -> Any:
        return getattr(row, field)

    def write(row: Any, value: Any) -> None:
        setattr(row, field, value)

    return property(read, write, doc=f"Another name of ``{field}``.")
