"""New jobs: rows, first events and edges, one at a time or by the hundred thousand.

Django's ``bulk_create`` spends a quarter of a millisecond a row preparing values; here each column
has its converter, and whatever was not given is converted once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.db import IntegrityError, connection, models, transaction

from balsam import states
from balsam.core import advance, graph, history, ids
from balsam.core.names import canonical, twice
from balsam.core.sql import Dialect, dialect, is_sqlite
from balsam.core.values import checked
from balsam.errors import IllegalMove, InvalidValue, UsageError

#: Written by Balsam alone; a new job starts with their defaults.
_MANAGED = ("state", "session_id", "attempt", "lost_attempts")
_CHUNK = 5000


def jobs(model: Any, given: Iterable[Any], message: str = "") -> list[Any]:
    """Insert jobs given as unsaved objects or as dicts; all or none. Returns what was given.

    Raises InvalidValue, UnknownName, NoApplication, DependencyError.
    """
    given = list(given)
    if not given:
        return []
    with transaction.atomic():
        columns = _Columns(model)
        first = _reserve(model._meta.db_table, len(given))
        rows, edges = [], []
        for key, item in enumerate(given, first):
            values, parents = (
                columns.of_dict(item) if isinstance(item, dict) else columns.of_object(item)
            )
            rows.append(columns.row(key, values))
            if parents:
                edges.append((key, parents))
            if not isinstance(item, dict):
                item.id = key
        try:
            _write(model._meta.db_table, columns.names, rows)
        except IntegrityError as error:
            raise InvalidValue(f"A job_id is there already, or given twice ({error}).") from error
        advance.created(range(first, first + len(given)), message)
        found = {key: model._default_manager.keys_of(parents) for key, parents in edges}
        graph.refuse_cycles(found)
        for key, parents in found.items():
            graph.add_edges(key, parents, fresh=True)
        for item in given:
            if not isinstance(item, dict):
                item._state.adding, item._state.db = False, connection.alias
                item._new_parents = []
                item._remember()
    return given


class _Columns:
    """The columns of a job, with what turns a value into what the driver takes."""

    def __init__(self, model: Any) -> None:
        from balsam.core.models.job import MINIMUM, ON_PARENT_FAILURE

        self.model = model
        self.fields = {field.attname: field for field in model._meta.concrete_fields}
        self.names = [field.column for field in self.fields.values()]
        self.place = {name: index for index, name in enumerate(self.fields)}
        spelling = self.spelling = dialect()
        self.convert = {name: _converter(field, spelling) for name, field in self.fields.items()}
        self.minimum = MINIMUM
        self.policies = ON_PARENT_FAILURE
        self.apps: dict[str, int | None] = {"": None}
        stamp = spelling.time(history.now())
        self.template: list[Any] = [
            None if name in ("id", "job_id") else self.convert[name](field.get_default())
            for name, field in self.fields.items()
        ]
        for name in ("state_timestamp", "last_update"):
            self.template[self.place[name]] = stamp

    def row(self, key: int, values: dict[str, Any]) -> list[Any]:
        row = self.template.copy()
        for name, value in values.items():
            row[self.place[name]] = self.convert[name](
                checked(self.fields[name], value, self.minimum.get(name))
            )
        if values.get("on_parent_failure", self.policies[0]) not in self.policies:
            raise InvalidValue(f"on_parent_failure is one of {', '.join(self.policies)}.")
        row[0] = key
        if "job_id" not in values:
            row[self.place["job_id"]] = self.spelling.uuid(ids.new_uuid())
        return row

    def of_dict(self, given: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
        values: dict[str, Any] = {}
        parents: list[Any] = []
        others = 0
        for name, value in given.items():
            if name in self.fields and name not in _MANAGED:
                values[name] = value
                continue
            real = canonical(self.model, name)
            if real == "parents":
                parents = list(value)
                others += 1
            elif real == "application":
                values["app_id"] = self.app(value)
            elif real in _MANAGED or real == "session":
                self._refuse(real, value)
                others += 1
            else:
                values[self.model._meta.get_field(real).attname] = getattr(value, "pk", value)
        if len(values) + others < len(given):
            raise twice(self.model, given)
        return values, parents

    def of_object(self, job: Any) -> tuple[dict[str, Any], list[Any]]:
        if not job._state.adding:
            raise UsageError(f"{job.cute_id} is saved already; bulk_create is for new jobs.")
        if job._app_name is not None:
            job.app_id, job._app_name = self.app(job._app_name), None
        present = job.__dict__
        for name in _MANAGED:
            self._refuse(name, present[name])
        values = {
            name: present[name]
            for name in self.fields
            if name != "id" and name not in _MANAGED
        }
        return values, job._new_parents

    def _refuse(self, name: str, value: Any) -> None:
        default = self.fields[name].get_default() if name in self.fields else None
        if value != default:
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


def _converter(field: Any, spelling: Dialect) -> Callable[[Any], Any]:
    if isinstance(field, models.JSONField):
        return spelling.json
    if isinstance(field, models.UUIDField):
        return spelling.uuid
    if isinstance(field, models.DateTimeField):
        return spelling.time
    return _as_is


def _as_is(value: Any) -> Any:
    return value


def _reserve(table: str, number: int) -> int:
    """The first of ``number`` consecutive keys that nobody else gets, in this transaction."""
    with connection.cursor() as cursor:
        if not is_sqlite():
            cursor.execute(
                "SELECT min(k) FROM (SELECT nextval(pg_get_serial_sequence(%s, 'id')) AS k "
                "FROM generate_series(1, %s)) AS reserved",
                (table, number),
            )
            return int(cursor.fetchone()[0])
        cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = %s", (table,))
        row = cursor.fetchone()
        return (row[0] if row else 0) + 1


def _write(table: str, names: list[str], rows: list[list[Any]]) -> None:
    listed = ", ".join(f'"{name}"' for name in names)
    marks = ", ".join(["%s"] * len(names))
    statement = f"INSERT INTO {table} ({listed}) VALUES ({marks})"
    with connection.cursor() as cursor:
        for start in range(0, len(rows), _CHUNK):
            cursor.executemany(statement, rows[start : start + _CHUNK])
