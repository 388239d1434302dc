"""Sweeps: many jobs from one description, with ``{{ name }}`` filled in row by row."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from django.db import models

from balsam.core import insert
from balsam.core.models import BalsamJob
from balsam.core.names import canonical, twice
from balsam.core.rules import PROTECTED
from balsam.core.sweeps.axes import LARGEST, Axis
from balsam.core.sweeps.templates import Template, is_template
from balsam.core.values import from_text
from balsam.errors import InvalidValue, NoApplication, UnknownName, nearest

Fill = Callable[[Mapping[str, Any]], Any]

#: In each template, the number of its row, from 0.
INDEX = "index"
#: A name as people write it, for the field behind it.
FIELD_NAMES = {"env": "environ_vars"}


class Rows:
    """The rows of one or more axes: every combination, or with ``zipped`` side by side.

    The last axis varies fastest. Iterating gives a dict name -> value for each row. Raises
    InvalidValue for names given twice, unequal lengths, and more than ten million rows.
    """

    def __init__(self, axes: Sequence[Axis], zipped: bool = False) -> None:
        self.axes = list(axes)
        self.zipped = zipped
        self.names = [name for axis in axes for name in axis.names]
        for name in self.names:
            if self.names.count(name) > 1:
                raise InvalidValue(f"'{name}' is given values twice; rename one of them.")
        self.count = self._counted()
        if self.count > LARGEST:
            raise InvalidValue(f"That makes {self.count:,} jobs; at most {LARGEST:,} are allowed.")

    def _counted(self) -> int:
        sizes = [len(axis) for axis in self.axes]
        if self.zipped:
            if len(set(sizes)) > 1:
                listed = ", ".join(
                    f"{axis.names[0]} has {size}"
                    for axis, size in zip(self.axes, sizes, strict=True)
                )
                raise InvalidValue(f"Only axes of one length can be zipped: {listed} values.")
            return sizes[0]
        count = 1
        for size in sizes:
            count *= size
        return count

    @property
    def place(self) -> str:
        """Where the row given last came from, if that is a place in a file."""
        read = self.axes if self.zipped else self.axes[:1]
        return next((axis.place for axis in read if axis.place), "")

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[dict[str, Any]]:
        names = self.names
        if self.zipped:
            for parts in zip(*self.axes, strict=True):
                yield dict(zip(names, chain.from_iterable(parts), strict=True))
        else:
            # A file is gone through once; those after the first are kept, as they come round again.
            again = [tuple(axis) if axis.in_file else axis for axis in self.axes[1:]]
            for values in _product([self.axes[0], *again]):
                yield dict(zip(names, values, strict=True))


def _product(axes: Sequence[Iterable[tuple[Any, ...]]]) -> Iterator[tuple[Any, ...]]:
    if len(axes) == 1:
        yield from axes[0]
        return
    for head in axes[0]:
        for tail in _product(axes[1:]):
            yield head + tail


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
        fields = {field_name(name): value for name, value in template.items()}
        if len(fields) < len(template):
            raise twice(BalsamJob, template)
        used: set[str] = set()
        self._fills: list[tuple[str, Fill]] = []
        self._constants: dict[str, Any] = {}
        known = {*rows.names, INDEX}
        for name, value in fields.items():
            templates, fill = _filling(name, value)
            for one in templates:
                one.check(known)
                used |= one.names
            if templates:
                self._fills.append((name, fill))
            else:
                self._constants[name] = value
        self.filled = self._fill_fields(fields, used)
        self.unused = [name for name in rows.names if name not in used | self.filled]
        self._refuse_unused()
        insert.check(BalsamJob, [self._constants])
        self.varying = [name for name, _ in self._fills]
        text = self._constants.pop("name", "")
        if text:
            self._fills.insert(0, ("name", lambda row: f"{text}_{self.number}"))

    def _fill_fields(self, fields: Mapping[str, Any], used: set[str]) -> set[str]:
        filled = set()
        for name in self.rows.names:
            field = fillable(name)
            if name in used or not field or field in fields:
                continue
            if field in dict(self._fills):
                raise twice(BalsamJob, self.rows.names)
            _, fill = _filling(field, f"{{{{ {name} }}}}")
            self._fills.append((field, fill))
            filled.add(name)
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
    return Sweep(template, rows if isinstance(rows, Rows) else Rows([_Given(rows)]))


class _Given(Axis):
    """Rows that a program has as dicts."""

    lenient = True

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self.rows = [dict(row) for row in rows]
        if not self.rows:
            raise InvalidValue("A sweep needs rows; none were given.")
        self.names = tuple(self.rows[0])
        for index, row in enumerate(self.rows):
            if set(row) != set(self.names):
                raise InvalidValue(f"Row {index} of the sweep has other names than the first.")

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return (tuple(row[name] for name in self.names) for row in self.rows)


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


def _filling(name: str, value: Any) -> tuple[list[Template], Fill]:
    """The templates in the value of a field, and what makes its value of a row."""
    templates: list[Template] = []
    fill = _nested(value, _shown(name), templates)
    if not is_template(value):
        return templates, fill
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
        parts = {key: _nested(part, f"{where} {key}", templates) for key, part in value.items()}
        return lambda row: {key: part(row) for key, part in parts.items()}
    if isinstance(value, list):
        items = [_nested(part, where, templates) for part in value]
        return lambda row: [part(row) for part in items]
    return lambda row: value


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
