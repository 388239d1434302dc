"""Names of every Balsam line, accepted wherever a field name is: constructors, filters, CLI.

A model lists its other names in ``ALIASES``: name -> path of real field names. A name that is
neither is an error that suggests the nearest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import FieldError
from django.db import models
from django.db.models import sql
from django.db.models.constants import LOOKUP_SEP
from django.db.models.expressions import Col

from balsam.core.ids import as_uuid
from balsam.core.sql import among, key_list
from balsam.errors import UnknownName, nearest

#: Longer lists of keys travel as one parameter.
_LONG = 500
#: Keys have 64 bits: what is beyond is none.
_KEYS = 1 << 63
#: Collecting names takes longer than all the rest of making a job.
_known: dict[Any, frozenset[str]] = {}


def known_names(model: type[models.Model]) -> frozenset[str]:
    """Every name that ``model`` answers to: fields, their columns and aliases."""
    if model not in _known:
        fields = model._meta.get_fields()
        names = {field.name for field in fields}
        names |= {field.attname for field in fields if hasattr(field, "attname")}
        _known[model] = frozenset(names | set(getattr(model, "ALIASES", ())) | {"pk"})
    return _known[model]


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
    meant = {name: canonical(model, name) for name in values}
    real = {meant[name]: value for name, value in values.items()}
    if len(real) < len(values):
        raise twice(model, meant)
    return real


def twice(model: type[models.Model], meant: Mapping[str, str]) -> UnknownName:
    """The error for a field that was given under two of its names; ``meant``: name -> field."""
    times = Counter(meant.values())
    names = sorted(name for name, field in meant.items() if times[field] > 1)
    return UnknownName(
        f"{model.__name__} was given one field twice, under two of its names: {', '.join(names)}"
    )


class NamedQuery(sql.Query):
    """Django's query, with the models' other names and with keys given as UUIDs, at every step."""

    def names_to_path(
        self, names: list[str], opts: Any, allow_many: bool = True, fail_on_missing: bool = False
    ) -> Any:
        real, wrong = _real_steps(names, opts.model)
        try:
            return super().names_to_path(real, opts, allow_many, fail_on_missing)
        except FieldError as error:
            if wrong and not self.annotations:
                raise self._suggesting(error, *wrong) from None
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
        instead = getattr(model, "NOT_STORED", {}).get(name)
        if instead:
            return FieldError(f"{name} is not stored in the row of a job; ask for {instead}.")
        suggestion = nearest(name, sorted(known_names(model)))
        text = str(error)
        return FieldError(text if suggestion in text else f"{text}{suggestion}")

    def build_filter(self, filter_expr: Any, *args: Any, **options: Any) -> Any:
        if isinstance(filter_expr, tuple):
            path, value = filter_expr
            if isinstance(value, str) and not value:
                filter_expr = _none_instead(path, self.model) or filter_expr
        return super().build_filter(filter_expr, *args, **options)

    def build_lookup(self, lookups: Any, lhs: Any, rhs: Any) -> Any:
        model = _keyed_model(lhs) if isinstance(lhs, Col) else None
        if model is not None:
            wanted = _uuids(rhs)
            if wanted is not None:
                field = model._meta.get_field(model.UUID_KEY)
                if lhs.target.primary_key and lhs.target.model is model:
                    lhs, rhs = field.get_col(lhs.alias), wanted
                else:
                    rhs = _keys_by_uuid(model, wanted).resolve_expression(self)
            elif list(lookups) == ["in"] and _many_keys(rhs):
                return _Among(lhs, [key for key in rhs if -_KEYS <= key < _KEYS])
        try:
            return super().build_lookup(lookups, lhs, rhs)
        except FieldError as error:
            other = getattr(lhs.output_field, "related_model", None)
            if other is None or not lookups or lookups[0] in known_names(other):
                raise
            raise self._suggesting(error, lookups[0], other) from None


def _real_steps(
    names: list[str], model: Any
) -> tuple[list[str], tuple[str, type[models.Model]] | None]:
    """The path of real names, and the first name, with its model, that is none of its fields."""
    real: list[str] = []
    left = list(names)
    while left and model is not None:
        name = left.pop(0)
        first, *rest = getattr(model, "ALIASES", {}).get(name, (name,))
        left = [*rest, *left]
        real.append(first)
        if first not in known_names(model):
            return [*real, *left], (first, model)
        model = _related(model, first)
    return [*real, *left], None


def _related(model: Any, name: str) -> Any:
    if name == "pk":
        return None
    return getattr(model._meta.get_field(name), "related_model", None)


def _none_instead(path: str, model: Any) -> models.Q | None:
    """What asks for rows without a relation, for an alias of its text that is asked to be ''."""
    names = path.split(LOOKUP_SEP)
    if names[-1] == "exact":
        names.pop()
    *steps, last = names
    real, _ = _real_steps(steps, model)
    for name in real:
        model = _related(model, name) if model and name in known_names(model) else None
    alias = getattr(model, "ALIASES", {}).get(last, ())
    if len(alias) < 2:
        return None
    none = models.Q((LOOKUP_SEP.join([*real, alias[0], "isnull"]), True))
    # A row without any relative has none of which this is true.
    return models.Q((LOOKUP_SEP.join([*real, "isnull"]), False)) & none if real else none


def _keyed_model(column: Col) -> Any:
    """The model whose integer key a column holds, if its rows have a UUID as well."""
    field = column.output_field
    model: Any = field.related_model if field.is_relation else field.model
    if not (field.is_relation or field.primary_key):
        return None
    return model if getattr(model, "UUID_KEY", None) else None


def _keys_by_uuid(model: Any, wanted: Any) -> Any:
    """A subquery of the integer keys behind UUIDs."""
    many = isinstance(wanted, list)
    rows = model._base_manager.filter(**{f"{model.UUID_KEY}{'__in' if many else ''}": wanted})
    keys = rows.order_by().values("pk")
    return (keys if many else keys[:1]).query


class _Among(models.Lookup):
    """``in`` for many integer keys, as one parameter.

    SQLite limits how many parameters there are, and Postgres' driver quotes each by itself.
    """

    lookup_name = "in"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        column, params = self.process_lhs(compiler, connection)
        return f"{column} {among()}", [*params, key_list(self.rhs)]


def _many_keys(rhs: Any) -> bool:
    if not isinstance(rhs, (list, tuple, set, frozenset, range)) or len(rhs) <= _LONG:
        return False
    return all(type(item) is int for item in rhs)


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
