"""Create jobs in one way and print how many per second: HOW NUMBER.

HOW is dicts, stream (of dicts), objects, django (its bulk_create of objects) or rows (bare ones).
"""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable
from typing import Any


def main() -> None:
    from balsam.core.models import ApplicationDefinition

    how, number = sys.argv[1], int(sys.argv[2])
    app = ApplicationDefinition.objects.filter(name="task").first()
    app = app or ApplicationDefinition.register(name="task", executable="/bin/true")
    given: list[dict[str, Any]] = [
        {
            "name": f"t{index}",
            "workflow": "bench",
            "application": "task",
            "args": f"--index {index}",
            "data": {"index": index},
        }
        for index in range(number)
    ]
    create = _ready(how, given, app)
    begin = time.perf_counter()
    create()
    print(number / (time.perf_counter() - begin))


def _ready(how: str, given: list[dict[str, Any]], app: Any) -> Callable[[], object]:
    from django.db import models

    from balsam.core import insert
    from balsam.core.models import BalsamJob

    if how == "dicts":
        return lambda: BalsamJob.objects.bulk_create(given)
    if how == "stream":
        return lambda: insert.stream(BalsamJob, iter(given))
    if how == "rows":
        rows = _bare_rows(BalsamJob, given, app)
        return lambda: _write(BalsamJob, rows)
    jobs = [BalsamJob(**row) for row in given]
    if how == "objects":
        return lambda: BalsamJob.objects.bulk_create(jobs)
    for job in jobs:
        job.app = app
    return lambda: models.QuerySet(BalsamJob).bulk_create(jobs)


def _bare_rows(model: Any, given: list[dict[str, Any]], app: Any) -> list[tuple[Any, ...]]:
    from django.db import connection

    fields = model._meta.concrete_fields[1:]
    default = model(app=app)
    values = [
        field.get_db_prep_save(getattr(default, field.attname), connection) for field in fields
    ]
    place = {field.attname: index for index, field in enumerate(fields)}
    rows = []
    for row in given:
        made = values.copy()
        key = uuid.uuid4()
        made[place["job_id"]] = key.hex if connection.vendor == "sqlite" else key
        for name in ("name", "workflow", "args"):
            made[place[name]] = row[name]
        rows.append(tuple(made))
    return rows


def _write(model: Any, rows: list[tuple[Any, ...]]) -> None:
    from django.db import connection, transaction

    names = ", ".join(f'"{field.column}"' for field in model._meta.concrete_fields[1:])
    table = model._meta.db_table
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            marks = ", ".join(["%s"] * len(rows[0]))
            cursor.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)
            return
        with cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)


if __name__ == "__main__":
    main()
