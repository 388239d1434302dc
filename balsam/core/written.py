"""New values for fields of jobs, as a person writes them."""

from __future__ import annotations

from typing import Any

from balsam import states
from balsam.core.names import canonical
from balsam.core.rules import PROTECTED
from balsam.core.values import from_text
from balsam.errors import InvalidValue, nearest

MESSAGE = "User mutated state from command line"


def assignment(text: str) -> tuple[str, str]:
    """Name and written value out of ``FIELD=VALUE``. Raises InvalidValue."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise InvalidValue(f"A new value is given as FIELD=VALUE, not '{text}'.")
    return name.strip().replace("-", "_"), value


def value_of(model: Any, name: str, text: str) -> Any:
    """The value of a job's field that ``text`` spells. Raises UnknownName and InvalidValue."""
    if name == "state":
        state = text.upper()
        if state not in states.STATES:
            raise InvalidValue(f"There is no state '{text}'{nearest(state, states.STATES)}.")
        return state
    if name == "application":
        return text
    real = canonical(model, name)
    fields = {field.name: field for field in model._meta.concrete_fields}
    if real not in fields or fields[real].attname in PROTECTED or fields[real].is_relation:
        raise InvalidValue(f"{name} of a job can not be changed by hand.")
    return from_text(fields[real], text)
