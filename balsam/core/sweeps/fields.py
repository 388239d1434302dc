"""The fields of a job that a sweep or workflow file may set, by the names people write."""

from __future__ import annotations

from balsam.core.models import BalsamJob
from balsam.core.names import canonical
from balsam.core.rules import PROTECTED
from balsam.errors import InvalidValue, UnknownName, nearest

#: A name as people write it, for the field behind it.
FIELD_NAMES = {"env": "environ_vars"}


def field_name(name: str) -> str:
    """The field that ``name`` stands for, which a person may set; UnknownName, InvalidValue."""
    if name in FIELD_NAMES:
        return FIELD_NAMES[name]
    if name in ("app", "application"):
        return "application"
    try:
        real = canonical(BalsamJob, name)
    except UnknownName:
        raise UnknownName(f"A job has no field '{name}'{nearest(name, settable())}") from None
    if real not in settable() and real != "parents":
        raise InvalidValue(f"{name} of a job can not be set by hand.")
    return real


def settable() -> list[str]:
    """The fields that a person may set in a new job."""
    kept = {"state_timestamp", "last_update", "return_code"}
    fields = [
        field.name
        for field in BalsamJob._meta.concrete_fields
        if field.attname not in PROTECTED | kept and not field.is_relation
    ]
    return ["application", *fields]


def fillable(name: str) -> str:
    """The field that a column of this name fills, or ''."""
    try:
        field = field_name(name)
    except (UnknownName, InvalidValue):
        return ""
    return "" if field == "parents" else field
