"""The settings as tables, made from the dataclasses in ``balsam/conf/settings.py``."""

from __future__ import annotations

import dataclasses

from balsam.conf import schema, settings
from balsam_docs.rst import literal, plain, table


def settings_tables() -> list[str]:
    """Every section with its settings, as rst."""
    lines: list[str] = []
    for part in dataclasses.fields(settings.Settings):
        lines += [f".. rubric:: {part.name}", "", plain(part.metadata["help"]), ""]
        rows = [_row(field) for field in dataclasses.fields(settings.SECTIONS[part.name])]
        lines += table(["Setting", "Default", "Meaning", "Allowed"], rows, [24, 12, 40, 24])
    return lines


def _row(field: dataclasses.Field[object]) -> list[str]:
    default = str(field.default) if field.default != "" else "(empty)"
    return [
        literal(field.name),
        literal(default),
        plain(field.metadata["help"]),
        plain(schema.expected(field)),
    ]
