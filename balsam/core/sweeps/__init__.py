"""Sweeps: many jobs from one description, with ``{{ name }}`` filled in row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from balsam.core import insert
from balsam.core.models import BalsamJob
from balsam.core.names import twice
from balsam.core.sweeps.fields import field_name, fillable
from balsam.core.sweeps.filling import Fill, fill_of
from balsam.core.sweeps.rows import Given, Rows
from balsam.errors import InvalidValue, NoApplication, UnknownName

__all__ = ["INDEX", "Rows", "Sweep", "jobs"]

#: In each template, the number of its row, from 0.
INDEX = "index"


class Sweep:
    """A description with ``{{ }}``, and rows to fill it in with; iterating gives dicts of fields.

    ``template`` maps names of fields (of any Balsam line) to values; text in it, also inside dicts
    and lists, may be a template. A name of the rows that no template uses and that is a field
    fills that field, unless ``template`` has it. A ``name`` without anything to fill in gets the
    number of the row appended.

    Raises InvalidValue and UnknownName at once for what is wrong for all rows, and while iterating
    for what is wrong with one; :attr:`place` then names it.
    """

    def __init__(self, template: Mapping[str, Any], rows: Rows) -> None:
        self.rows = rows
        self.number = -1
        self._row: Mapping[str, Any] = {}
        meant = {name: field_name(name) for name in template}
        fields = {meant[name]: value for name, value in template.items()}
        if len(fields) < len(template):
            raise twice(BalsamJob, meant)
        used: set[str] = set()
        self._fills: list[tuple[str, Fill]] = []
        self._constants: dict[str, Any] = {}
        known = {*rows.names, INDEX}
        for name, value in fields.items():
            templates, fill = fill_of(name, value)
            for one in templates:
                one.check(known)
                used |= one.names
            if templates:
                self._fills.append((name, fill))
            else:
                self._constants[name] = value
        self.filled = set(self._fill_fields(fields, used).values())
        self.unused = [name for name in rows.names if name not in used | self.filled]
        self._refuse_unused()
        insert.check(BalsamJob, [self._constants])
        text = self._constants.pop("name", "")
        if text:
            self._fills.insert(0, ("name", lambda row: f"{text}_{self.number}"))

    def _fill_fields(self, fields: Mapping[str, Any], used: set[str]) -> dict[str, str]:
        """Let names of the rows fill fields: field -> name."""
        filled: dict[str, str] = {}
        for name in self.rows.names:
            field = fillable(name)
            if name in used or not field or field in fields:
                continue
            if field in filled:
                raise InvalidValue(
                    f"{self.rows.file_of(name)}'{filled[field]}' and '{name}' both fill {field}; "
                    "rename or leave out one of them."
                )
            _, fill = fill_of(field, f"{{{{ {name} }}}}")
            self._fills.append((field, fill))
            filled[field] = name
        return filled

    def _refuse_unused(self) -> None:
        for axis in self.rows.axes:
            unused = [name for name in axis.names if name in self.unused]
            if unused and (not axis.lenient or len(unused) == len(axis.names)):
                names = " or ".join(f"{{{{ {name} }}}}" for name in unused)
                raise InvalidValue(
                    f"No field uses {names}: write it where the value belongs, "
                    "for instance into the args."
                )

    @property
    def given(self) -> set[str]:
        """The fields that each job gets a value for."""
        return {*self._constants, *(name for name, _ in self._fills)}

    @property
    def place(self) -> str:
        """The row that was filled in last, as messages name it."""
        if self.rows.place:
            return self.rows.place
        values = ", ".join(f"{name}={self._row[name]}" for name in self.rows.names)
        return f"Row {self.number} ({values})"

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        constants, fills = self._constants, self._fills
        numbered = INDEX not in self.rows.names
        for number, row in enumerate(self.rows):
            self.number, self._row = number, row
            if numbered:
                row[INDEX] = self.number
            job = constants.copy()
            for name, fill in fills:
                job[name] = fill(row)
            yield job

    def add(self, progress: insert.Progress | None = None) -> int:
        """Insert the jobs, all or none, in one transaction; how many. Errors name the row."""
        return self._located(lambda: insert.stream(BalsamJob, self, progress=progress))

    def check(self) -> int:
        """Raise what :meth:`add` would for the values of any row, writing nothing; how many."""
        return self._located(lambda: insert.check(BalsamJob, self))

    def _located(self, call: Callable[[], int]) -> int:
        try:
            return call()
        except (InvalidValue, UnknownName, NoApplication) as error:
            if self.number < 0 or str(error).startswith(self.place):
                raise
            raise type(error)(f"{self.place}: {error}") from error


def jobs(template: Mapping[str, Any], rows: Rows | Iterable[Mapping[str, Any]]) -> Sweep:
    """The jobs of a sweep, as dicts for ``BalsamJob.objects.bulk_create``; see :class:`Sweep`.

    ``rows`` are the :class:`Rows` of axes or any dicts of one shape.
    """
    return Sweep(template, rows if isinstance(rows, Rows) else Rows([Given(rows)]))
