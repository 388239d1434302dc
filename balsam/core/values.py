"""Values of fields: read from text as a person types it, and checked before they are stored."""

from __future__ import annotations

import json
import numbers
import operator
import os
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from django.db import models

from balsam import retries
from balsam.core.fields import (
    ChoiceField,
    CommandField,
    DirectoryField,
    EnvironField,
    LaunchParamsField,
    RetryField,
    SignalField,
    parse_environ,
    signal_name,
)
from balsam.errors import InvalidValue

_TRUE = {"true", "yes", "y", "1", "on"}
_FALSE = {"false", "no", "n", "0", "off"}
_INTEGERS = (models.IntegerField,)
#: A request larger than this is a slip of the finger on any machine there is.
ABSURD = 10_000_000
#: What an integer column holds in every database.
LARGEST = 2**31 - 1


def from_text(field: Any, text: str) -> Any:
    """The value of ``field`` that ``text`` spells; InvalidValue says what was expected."""
    if isinstance(field, models.BooleanField):
        word = text.strip().lower()
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
        raise InvalidValue(f"{field.name} is true or false, not '{text}'.")
    if isinstance(field, EnvironField):
        return parse_environ(text)
    if isinstance(field, (RetryField, SignalField)):
        return checked(field, text)
    if isinstance(field, models.JSONField):
        try:
            value = json.loads(text)
        except ValueError:
            raise InvalidValue(f"{field.name} is given as JSON, not '{text}'.") from None
        return checked(field, value)
    if isinstance(field, _INTEGERS):
        try:
            return checked(field, int(text))
        except ValueError as error:
            if isinstance(error, InvalidValue):
                raise
            raise InvalidValue(f"{field.name} is a whole number, not '{text}'.") from None
    if isinstance(field, models.FloatField):
        try:
            return checked(field, float(text))
        except ValueError as error:
            if isinstance(error, InvalidValue):
                raise
            raise InvalidValue(f"{field.name} is a number, not '{text}'.") from None
    if isinstance(field, models.TextField):
        return text
    if isinstance(field, models.DateTimeField) and field.null:
        return _time(field, text)
    raise InvalidValue(f"{field.name} can not be changed by hand.")


def _time(field: Any, text: str) -> datetime | None:
    """ISO 8601, in UTC unless it says where; ``now`` and '' are no time to wait for."""
    word = text.strip()
    if word in ("", "now"):
        return None
    try:
        found = datetime.fromisoformat(word.replace("Z", "+00:00"))
    except ValueError:
        raise InvalidValue(
            f"{field.name} is a time such as 2026-03-01T14:00, or now, not '{text}'."
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)


REFUSED = re.compile("[\0\ud800-\udfff]")
#: Whether a text holds what no database takes.
refused = REFUSED.search
#: Whether a JSON text may hold such a thing, among others that are well.
UNSTORABLE = re.compile(r"\\u(?:0000|d[89a-f])").search


def checked(field: Any, value: Any, minimum: int | None = None) -> Any:
    """``value`` if ``field`` can hold it; InvalidValue otherwise."""
    if value is None:
        if field.null:
            return value
        raise InvalidValue(f"{field.name} can not be None.")
    if isinstance(field, models.BooleanField):
        if value not in (True, False):
            raise InvalidValue(f"{field.name} is True or False, not {value!r}.")
        return bool(value)
    if isinstance(field, _INTEGERS):
        return _in_range(field, _whole(field, value), minimum)
    if isinstance(field, models.FloatField):
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or value != value:
            raise InvalidValue(f"{field.name} is a number, not {value!r}.")
        return _in_range(field, value if isinstance(value, int) else float(value), minimum)
    if isinstance(field, EnvironField):
        return parse_environ(value)
    if isinstance(field, RetryField):
        return retries.rules(value)
    if isinstance(field, SignalField):
        return signal_name(value)
    if isinstance(field, models.JSONField):
        if not isinstance(value, type(field.get_default())):
            kind = type(field.get_default()).__name__
            raise InvalidValue(f"{field.name} is a {kind}, not {value!r}.")
        if isinstance(field, LaunchParamsField):
            field.check_params(value)
        return _as_json(field, value)
    if isinstance(field, models.TextField):
        return _checked_text(field, value)
    if isinstance(field, models.DateTimeField):
        return _checked_time(field, value)
    return value


def _checked_time(field: Any, value: Any) -> datetime | None:
    if isinstance(value, str) and field.null:
        return _time(field, value)
    if not isinstance(value, datetime):
        raise InvalidValue(f"{field.name} is a datetime, not {value!r}.")
    if value.tzinfo is None:
        raise InvalidValue(f"{field.name} is a time with its zone (tzinfo), not {value!r}.")
    return value.astimezone(timezone.utc)


def _whole(field: Any, value: Any) -> int:
    """Integers of any library; True and 1.0 are none."""
    if not isinstance(value, bool):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise InvalidValue(f"{field.name} is a whole number, not {value!r}.")


def _checked_text(field: Any, value: Any) -> str:
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str):
        raise InvalidValue(f"{field.name} is text, not {value!r}.")
    text = str.__str__(text)  # of numpy, or an Enum, perhaps
    if "\0" in text:
        raise InvalidValue(f"{field.name} holds a NUL character, which no program can take.")
    if refused(text):
        raise InvalidValue(
            f"{field.name} holds half of a character, perhaps of a file name that is not in UTF-8: "
            f"{text!r}."
        )
    if isinstance(field, CommandField):
        field.check_words(text)
    elif isinstance(field, ChoiceField):
        field.check_choice(text)
    return field.absolute(text) if isinstance(field, DirectoryField) else text


def _as_json(field: Any, value: Any) -> Any:
    if value:
        try:
            text = json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidValue(f"{field.name} can not be stored as JSON: {error}.") from error
        if UNSTORABLE(text) and storable(value) != value:
            raise InvalidValue(
                f"{field.name} holds a NUL character or half of a character, which no database "
                "takes."
            )
    return value


def storable(value: Any) -> Any:
    """``value``, text or JSON, with ``�`` for what Postgres refuses: NUL, halves of characters.

    SQLite would take some of it, but no record is to depend on where it is kept.
    """
    if isinstance(value, str):
        return REFUSED.sub("\ufffd", value)
    if isinstance(value, Mapping):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [storable(item) for item in value]
    return value


def _in_range(field: Any, value: Any, minimum: int | None) -> Any:
    if isinstance(field, _INTEGERS) and not -LARGEST - 1 <= value <= LARGEST:
        raise InvalidValue(f"{field.name} is at most {LARGEST} either way, not {value}.")
    if minimum is not None and value < minimum:
        raise InvalidValue(f"{field.name} is at least {minimum}, not {value}.")
    if minimum is not None and value > ABSURD:
        raise InvalidValue(f"{field.name} is at most {ABSURD}, not {value}.")
    return value
