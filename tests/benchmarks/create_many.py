"""Create jobs in one way and print how many per second: dicts|objects|django NUMBER."""

from __future__ import annotations

import sys
import time
from typing import Any


def main() -> None:
    from django.db import models

    from balsam.core.models import ApplicationDefinition, BalsamJob

    how, number = sys.argv[1], int(sys.argv[2])
    app = ApplicationDefinition.objects.filter(name="task").first()
    app = app or ApplicationDefinition.register(name="task", executable="/bin/true")
    rows: list[dict[str, Any]] = [
        {
            "name": f"t{index}",
            "workflow": "bench",
            "application": "task",
            "args": f"--index {index}",
            "data": {"index": index},
        }
        for index in range(number)
    ]
    given: list[Any] = rows if how == "dicts" else [BalsamJob(**row) for row in rows]
    if how == "django":
        for job in given:
            job.app = app
    jobs = models.QuerySet(BalsamJob) if how == "django" else BalsamJob.objects
    begin = time.perf_counter()
    jobs.bulk_create(given)
    print(number / (time.perf_counter() - begin))


if __name__ == "__main__":
    main()
