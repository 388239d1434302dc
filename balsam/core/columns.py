"""Converters for whole columns: a value checked and turned into what the driver takes.

The common case of each type costs one comparison; everything else goes the way that all values go
(``values.checked``), with its messages.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from django.db import models

from balsam.core.fields import (
    ChoiceField,
    CommandField,
    DirectoryField,
    EnvironField,
    LaunchParamsField,
    RetryField,
    SignalField,
)
from balsam.core.sql import Dialect, Postgres
from balsam.core.values import ABSURD, LARGEST, REFUSED, UNSTORABLE, checked, refused
from balsam.errors import InvalidValue
from balsam.platform.commandline import QUOTING

Convert = Callable[[Any], Any]

_quoted_or_refused = re.compile(f"{QUOTING.pattern}|{REFUSED.pattern}").search

# What goes round in circles ends as a RecursionError, without a look at each value.
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode


def converters(
    fields: Mapping[str, Any], minimum: Mapping[str, int], spelling: Dialect
) -> dict[str, Convert]:
    """Name -> converter, which raises InvalidValue for what the field can not hold."""
    return {name: _converter(field, minimum.get(name), spelling) for name, field in fields.items()}


def _converter(field: Any, least: int | None, spelling: Dialect) -> Convert:
    if isinstance(field, models.JSONField):
        return _json(field, spelling)
    if isinstance(field, models.UUIDField):
        return _exact(field, uuid.UUID, spelling.uuid)
    if isinstance(field, models.DateTimeField):
        return _exact(field, datetime, spelling.time)
    if isinstance(field, ChoiceField):
        return _choice(field)
    if isinstance(field, models.TextField) and not isinstance(field, (DirectoryField, SignalField)):
        return _text(field)
    if isinstance(field, models.IntegerField) and not field.primary_key:
        return _integer(field, least)
    return lambda value: checked(field, value, least)


def _exact(field: Any, kind: type, spell: Convert) -> Convert:
    def convert(value: Any) -> Any:
        if value is None and field.null:
            return None
        if type(value) is kind and kind is not datetime:
            return spell(value)
        found = checked(field, value)
        if isinstance(found, kind):
            return spell(found)
        if found is None:
            return None
        raise InvalidValue(f"{field.name} is a {kind.__name__}, not {value!r}.")

    return convert


def _text(field: Any) -> Convert:
    unusual = _quoted_or_refused if isinstance(field, CommandField) else refused

    def convert(value: Any) -> Any:
        return value if type(value) is str and not unusual(value) else checked(field, value)

    return convert


def _choice(field: Any) -> Convert:
    allowed = field.allowed

    def convert(value: Any) -> Any:
        return value if type(value) is str and value in allowed else checked(field, value)

    return convert


def _integer(field: Any, least: int | None) -> Convert:
    low = -LARGEST if least is None else least
    high = LARGEST if least is None else ABSURD

    def convert(value: Any) -> Any:
        return (
            value if type(value) is int and low <= value <= high else checked(field, value, least)
        )

    return convert


def _json(field: Any, spelling: Dialect) -> Convert:
    special = isinstance(field, (EnvironField, LaunchParamsField, RetryField))
    plain = not special and not issubclass(spelling, Postgres)
    kind = type(field.get_default())

    def convert(value: Any) -> Any:
        if type(value) is kind:
            if not value:
                return spelling.json(value)
            if plain:
                try:
                    text = _encode(value)
                except (TypeError, ValueError, RecursionError):
                    pass  # said by what follows
                else:
                    if not UNSTORABLE(text):
                        return text
        return spelling.json(checked(field, value))

    return convert
