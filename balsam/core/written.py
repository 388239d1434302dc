"""New values for fields of jobs, as a person writes them."""

from __future__ import annotations

from typing import Any

from balsam import states
from balsam.core.names import canonical
from balsam.core.rules import MINIMUM, NEVER_EMPTY, PROTECTED
from balsam.core.values import checked, from_text
from balsam.errors import InvalidValue, nearest

MESSAGE = "User mutated state from command line"
#: Names as options and workflow files have them, for the fields behind them.
_SHORT = {"env": "environ_vars"}


def assignment(text: str) -> tuple[str, str]:
    """Name and written value out of ``FIELD=VALUE``. Raises InvalidValue."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise InvalidValue(f"A new value is given as FIELD=VALUE, not '{text}'.")
    return name.strip().replace("-", "_"), value


def field_of(model: Any, name: str) -> str:
    """The field that a person means by ``name``. Raises UnknownName."""
    if name == "application":
        return name
    return canonical(model, _SHORT.get(name, name))


def value_of(model: Any, name: str, text: str) -> Any:
    """The value of a job's field that ``text`` spells. Raises UnknownName and InvalidValue."""
    if name == "state":
        state = text.upper()
        if state not in states.STATES:
            raise InvalidValue(f"There is no state '{text}'{nearest(state, states.STATES)}.")
        return state
    if name == "application":
        return text
    real = field_of(model, name)
    fields = {field.name: field for field in model._meta.concrete_fields}
    if real not in fields or fields[real].attname in PROTECTED or fields[real].is_relation:
        raise InvalidValue(f"{name} of a job can not be changed by hand.")
    if real in NEVER_EMPTY and not text.strip():
        raise InvalidValue(f"The {real} of a job can not be emptied; give another.")
    field = fields[real]
    return checked(field, from_text(field, text), MINIMUM.get(field.attname))
