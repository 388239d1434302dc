"""What makes the value of a job's field of a row, by the templates in the description."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from typing import Any

from django.db import models

from balsam.core.models import BalsamJob
from balsam.core.rules import NEVER_EMPTY
from balsam.core.sweeps.templates import Template, is_template
from balsam.core.values import from_text
from balsam.errors import InvalidValue

Fill = Callable[[Mapping[str, Any]], Any]


def fill_of(name: str, value: Any) -> tuple[list[Template], Fill]:
    """The templates in the value of a field, and what makes its value of a row."""
    templates: list[Template] = []
    fill = _nested(value, _shown(name), templates)
    if not is_template(value):
        return templates, fill
    if name in NEVER_EMPTY:
        return templates, _filling(name, fill)
    if name == "application":
        return templates, fill
    field = BalsamJob._meta.get_field(name)
    if name == "args":
        return templates, _splitting(value, fill)
    if isinstance(field, models.TextField):
        return templates, fill
    return templates, lambda row: from_text(field, fill(row).strip())


def _nested(value: Any, where: str, templates: list[Template]) -> Fill:
    if is_template(value):
        template = Template(value, where)
        templates.append(template)
        return template
    if isinstance(value, Mapping):
        for key in filter(is_template, value):
            raise InvalidValue(f"{where}: '{key}' is a name, in which nothing is filled in.")
        parts = {key: _nested(part, f"{where} {key}", templates) for key, part in value.items()}
        return lambda row: {key: part(row) for key, part in parts.items()}
    if isinstance(value, list):
        items = [_nested(part, where, templates) for part in value]
        return lambda row: [part(row) for part in items]
    return lambda row: value


def _filling(name: str, fill: Fill) -> Fill:
    """``fill`` for a field that a value has to leave something in."""

    def filled(row: Mapping[str, Any]) -> str:
        text: str = fill(row)
        if not text.strip():
            raise InvalidValue(f"The {name} of a job can not be empty.")
        return text

    return filled


def _splitting(template: str, fill: Fill) -> Fill:
    """``fill`` for words of a shell: a quote among the values must not end in a broken command."""
    quotes = [(mark, template.count(mark)) for mark in ("'", '"', "\\")]

    def filled(row: Mapping[str, Any]) -> str:
        text: str = fill(row)
        if any(text.count(mark) != count for mark, count in quotes):
            try:
                shlex.split(text)
            except ValueError as error:
                raise InvalidValue(
                    f"The quotes in the arguments {text} do not match ({error}); "
                    "{{ name | quote }} makes one word of any value."
                ) from error
        return text

    return filled


def _shown(name: str) -> str:
    return "env" if name == "environ_vars" else name
