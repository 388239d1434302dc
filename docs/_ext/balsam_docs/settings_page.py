"""Settings and keys of machine files as tables, made from the dataclasses in ``balsam/conf``."""

from __future__ import annotations

import dataclasses

from balsam.conf import machine_file, schema, settings
from balsam_docs.rst import literal, plain, table


def settings_tables() -> list[str]:
    """Every section with its settings, as rst."""
    lines: list[str] = []
    for part in dataclasses.fields(settings.Settings):
        lines += [f".. rubric:: {part.name}", "", plain(part.metadata["help"]), ""]
        rows = [_row(field) for field in dataclasses.fields(settings.SECTIONS[part.name])]
        lines += _table(rows)
    return lines


def machine_tables() -> list[str]:
    """The keys of a machine file, those of its sections after its own, as rst."""
    own, groups = [], []
    for part in dataclasses.fields(machine_file.MachineFile):
        of = part.metadata.get("group") or part.metadata.get("table")
        if of is None:
            own.append(_row(part))
        else:
            name = f"{part.name}.NAME" if "table" in part.metadata else part.name
            groups += [f".. rubric:: {name}", "", plain(part.metadata["help"]), ""]
            groups += _table([_row(field) for field in dataclasses.fields(of)])
    return [*_table(own), *groups]


def _table(rows: list[list[str]]) -> list[str]:
    return table(["Setting", "Default", "Meaning", "Allowed"], rows, [24, 12, 40, 24])


def _row(field: dataclasses.Field[object]) -> list[str]:
    empty = field.default in ("", ()) or field.default is dataclasses.MISSING
    default = "(empty)" if empty else str(field.default)
    return [
        literal(field.name),
        literal(default),
        plain(field.metadata["help"]),
        plain(schema.expected(field)),
    ]
