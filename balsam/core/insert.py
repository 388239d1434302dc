"""New jobs: rows, first events and edges, one at a time or by the million.

Django's ``bulk_create`` spends a quarter of a millisecond a row preparing values; here each column
has its converter, and whatever was not given is converted once. Rows are written as they come, so
that a stream of them needs no more memory than one chunk.
"""

from __future__ import annotations

import contextlib
import gc
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any

from django.db import IntegrityError, connection, models, transaction

from balsam import states
from balsam.core import events, graph, history, ids
from balsam.core.bulk import bulk_dialect, cells
from balsam.core.columns import converters
from balsam.core.names import canonical, twice
from balsam.core.rules import MINIMUM
from balsam.core.sql import column, is_sqlite
from balsam.errors import IllegalMove, InvalidValue, UsageError

#: Written by Balsam alone; a new job starts with their defaults.
_MANAGED = ("state", "session_id", "attempt", "lost_attempts")
_TIMES = ("state_timestamp", "last_update")
_CHUNK = 5000

#: Told how many jobs have been written so far; what it raises undoes them all.
Progress = Callable[[int], None]


def jobs(
    model: Any, given: Iterable[Any], message: str = "", progress: Progress | None = None
) -> list[Any]:
    """Insert jobs given as unsaved objects or as dicts; all or none. Returns what was given.

    Parents are jobs, integer ids or UUIDs; those of other jobs of the same call may be named too.
    Raises InvalidValue, UnknownName, NoApplication, DependencyError.
    """
    given = list(given)
    new = [item for item in given if not isinstance(item, dict) and item._state.adding]
    if given:
        try:
            with connection.out_of_turn(), transaction.atomic(), _without_collecting():
                _insert(model, given, message, progress)
        except BaseException:
            for item in new:  # an id of a row that is not there would be taken for one
                item.id = None
            raise
        alias = connection.alias
        for item in new:
            item._state.adding, item._state.db = False, alias
            item._new_parents = []
            item._remember()
    return given


def stream(
    model: Any, given: Iterable[dict[str, Any]], message: str = "", progress: Progress | None = None
) -> int:
    """Insert the dicts of any iterable as :func:`jobs` does, keeping none; how many there were.

    SQLite's record is locked for other writers from the first to the last: an iterable that waits
    for anything keeps them waiting.
    """
    with connection.out_of_turn(), transaction.atomic(), _without_collecting():
        return _insert(model, given, message, progress)


def check(model: Any, given: Iterable[dict[str, Any]]) -> int:
    """Raise what :func:`stream` would for the values of these dicts; how many there are.

    Writes nothing. Parents are not looked up.
    """
    return sum(1 for _ in map(checker(model), given))


def checker(model: Any) -> Callable[[dict[str, Any]], object]:
    """What :func:`check` does to one dict, for callers that have them one by one."""
    return _Columns(model).made


def _insert(model: Any, given: Iterable[Any], message: str, progress: Progress | None) -> int:
    table = model._meta.db_table
    columns = _Columns(model)
    edges: list[tuple[int, list[Any]]] = []
    new: dict[uuid.UUID, int] = {}
    number = 0
    runs: list[tuple[int, int]] = []
    made = map(columns.made, given)
    with _unique_ids(), columns.writing(table) as rows:
        while chunk := list(islice(made, _CHUNK)):
            rows.finish()
            keys = _reserve(table, len(chunk))
            for key, (item, row, job_id, parents) in zip(keys, chunk, strict=True):
                row[0] = columns.cell(key)
                if parents:
                    edges.append((key, parents))
                if job_id is not None:
                    new[job_id] = key
                if not isinstance(item, dict):
                    item.id = key
            rows.write([row for _, row, _, _ in chunk])
            runs += _runs(keys)
            number += len(chunk)
            if progress is not None:
                progress(number)
        rows.finish()
    connection.take_turn()
    for first, last in runs:
        events.created(first, last, message)
    _link(model, edges, new)
    return number


@contextlib.contextmanager
def _unique_ids() -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        raise InvalidValue(f"A job_id is there already, or given twice ({error}).") from error


@contextlib.contextmanager
def _without_collecting() -> Iterator[None]:
    """Rows refer to nothing that refers to them; looking for that again and again takes a tenth."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _runs(keys: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ascending keys as ranges: (first, last)."""
    begin = keys[0]
    for key, following in zip(keys, [*keys[1:], None], strict=True):
        if following != key + 1:
            yield begin, key
            begin = following or 0


def _link(model: Any, edges: list[tuple[int, list[Any]]], new: dict[uuid.UUID, int]) -> None:
    """Write the edges to the parents of new jobs, some of which are new jobs themselves."""
    manager = model._default_manager
    found: dict[int, list[int]] = {}
    for key, parents in edges:
        known = [new.get(parent, parent) if new else parent for parent in map(_as_key, parents)]
        plain = all(type(parent) is int for parent in known)
        found[key] = list(dict.fromkeys(known if plain else manager.keys_of(known)))
    if found:
        graph.link_new(found)


def _as_key(parent: Any) -> Any:
    return (ids.as_uuid(parent) or parent) if isinstance(parent, str) else parent


class _Columns:
    """The columns of a job, with what turns a value into what the driver takes."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.fields = {field.attname: field for field in model._meta.concrete_fields}
        self.names = [field.column for field in self.fields.values()]
        self.place = {name: index for index, name in enumerate(self.fields)}
        self.spelling = bulk_dialect()
        self.convert = cells(converters(self.fields, MINIMUM, self.spelling), self.spelling)
        self.apps: dict[Any, int | None] = {"": None}
        self.canonical: dict[str, str] = {}
        now = self.now = history.now()
        changing = ("id", "job_id", *_TIMES)
        self.defaults = {
            name: None if name in changing else field.get_default()
            for name, field in self.fields.items()
        }
        self.all_of = itemgetter(*self.fields)
        self.template: list[Any] = [
            None if name in changing else self.convert[name](value)
            for name, value in self.defaults.items()
        ]
        for name in _TIMES:
            self.template[self.place[name]] = self.convert[name](now)

    def made(self, item: Any) -> tuple[Any, list[Any], uuid.UUID | None, list[Any]]:
        """The item, its row without a key, the UUID it was given as a dict, and its parents."""
        if isinstance(item, dict):
            values, parents = self.of_dict(item)
            return item, self.row(values), values.get("job_id"), parents
        values, parents = self.of_object(item)
        return item, self.row(values), None, parents

    def cell(self, value: Any) -> Any:
        """A value of the driver as part of a row."""
        return self.spelling.cell(value)

    def writing(self, table: str) -> Any:
        """A block in which rows are written to the table."""
        return self.spelling.writing(table, self.names)

    def row(self, values: dict[str, Any]) -> list[Any]:
        row = self.template.copy()
        place, convert = self.place, self.convert
        for name, value in values.items():
            row[place[name]] = convert[name](value)
        if "job_id" not in values:
            row[place["job_id"]] = self.spelling.uuid(ids.new_uuid())
        return row

    def of_dict(self, given: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
        values: dict[str, Any] = {}
        parents: list[Any] = []
        others = 0
        for name, value in given.items():
            if name in self.fields and name not in _MANAGED:
                values[name] = value
                continue
            real = self.canonical.get(name)
            if real is None:
                real = self.canonical[name] = canonical(self.model, name)
            if real == "parents":
                parents = ids.several(value)
                others += 1
            elif real == "application":
                values["app_id"] = self.app(value)
            elif real in _MANAGED or real == "session":
                self._refuse(real, value)
                others += 1
            else:
                values[self.model._meta.get_field(real).attname] = getattr(value, "pk", value)
        if len(values) + others < len(given):
            raise twice(self.model, {name: self._meant(name) for name in given})
        return values, parents

    def _meant(self, name: str) -> str:
        """The column that a name of an item stands for."""
        real = self.canonical.get(name, name)
        columns = {field.name: column for column, field in self.fields.items()}
        return {"application": "app_id", **columns}.get(real, real)

    def of_object(self, job: Any) -> tuple[dict[str, Any], list[Any]]:
        if not job._state.adding:
            raise UsageError(f"{job.cute_id} is saved already; bulk_create is for new jobs.")
        if job._app_name is not None:
            job.app_id, job._app_name = self.app(job._app_name), None
        values = {}
        for name in _TIMES:
            job.__dict__[name] = self.now
        present = self.all_of(job.__dict__)
        for (name, default), value in zip(self.defaults.items(), present, strict=True):
            # An equal value of another type (True for 1) has to be looked at.
            if value is not default and (value != default or type(value) is not type(default)):
                values[name] = value
        for name in ("id", *_TIMES):
            values.pop(name, None)
        for name in _MANAGED:
            if name in values:
                self._refuse(name, values[name])
        return values, job._new_parents

    def _refuse(self, name: str, value: Any) -> None:
        if value != self.defaults.get(name):
            raise IllegalMove(
                f"A new job starts as {states.CREATED}; its {name} can not be set to {value!r}. "
                "Save it, then use update_state."
            )

    def app(self, name: Any) -> int | None:
        if isinstance(name, models.Model):
            return int(name.pk)
        if name not in self.apps:
            from balsam.core.models.app import ApplicationDefinition

            self.apps[name] = int(ApplicationDefinition.objects.named(name).pk)
        return self.apps[name]


def _reserve(table: str, number: int) -> Sequence[int]:
    """Keys that nobody else gets, ascending."""
    if not is_sqlite():
        statement = "SELECT nextval(pg_get_serial_sequence(%s, 'id')) FROM generate_series(1, %s)"
        return sorted(column(statement, (table, number)))
    # Nobody else inserts while this transaction lasts.
    last = column("SELECT seq FROM sqlite_sequence WHERE name = %s", (table,))
    first = (last[0] if last else 0) + 1
    return range(first, first + number)
