"""Bulk creation: jobs per second from dicts and from model objects, against Django's own."""

from __future__ import annotations

from functools import partial

from tests.benchmarks.options import Options
from tests.benchmarks.project import Bench, bench
from tests.benchmarks.table import Table, interleave, ratios


def measure(options: Options) -> list[Table]:
    """Rates in jobs per second on SQLite."""
    number = 20 * options.tasks
    with bench() as made:
        rates = interleave(
            {how: partial(_rate, made, how, number) for how in ("dicts", "objects", "django")},
            options.repeat,
        )
    table = Table(
        f"Bulk creation of {number:,} jobs",
        "One call in a process of its own. Balsam's writes the first event of each job too; "
        "Django's (``QuerySet.bulk_create`` of the same model objects) writes none.",
    )
    table.add("bulk_create of dicts, with events", "/s", rates["dicts"], least=20_000)
    table.add("bulk_create of BalsamJob objects, with events", "/s", rates["objects"])
    table.add("Django's bulk_create of the same objects", "/s", rates["django"])
    table.add("objects to Django's", "x", ratios(rates["objects"], rates["django"]), least=3.0)
    return [table]


def _rate(made: Bench, how: str, number: int) -> float:
    return float(made.python("create_many", how, str(number)))
