"""The first names in the record that begin in some way, found fast enough for each press of TAB."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import connection

from balsam.core.ids import uuid_range
from balsam.core.models import ApplicationDefinition, BalsamJob
from balsam.core.names import NamedQuerySet

#: Nobody waits for a writer at a prompt.
PATIENCE_MILLISECONDS = 500
#: How far back names are looked for: there is no index to find them by.
NEWEST_JOBS = 100_000
#: No text sorts behind this character.
_LAST_CHARACTER = "\U0010ffff"

#: A word and what to say about it.
Candidate = tuple[str, str]


def apps(prefix: str, most: int) -> list[Candidate]:
    """Names of applications, by name, with their descriptions."""
    found = _beginning(_record(ApplicationDefinition.objects.order_by("name")), "name", prefix)
    return list(found.values_list("name", "description")[:most])


def workflows(prefix: str, most: int) -> list[Candidate]:
    """Workflows that have jobs, by name."""
    found = _beginning(_record(BalsamJob.objects.order_by("workflow")), "workflow", prefix)
    return _plain(found.values_list("workflow", flat=True).distinct()[:most])


def names(prefix: str, most: int) -> list[Candidate]:
    """Names of jobs, by name."""
    newest = _record(BalsamJob.objects.order_by("-id")).values_list("id", flat=True)
    oldest = next(iter(newest[NEWEST_JOBS : NEWEST_JOBS + 1]), 0)
    found = _beginning(BalsamJob.objects.order_by("name"), "name", prefix).filter(id__gt=oldest)
    return _plain(found.values_list("name", flat=True).distinct()[:most])


def jobs(prefix: str, most: int) -> list[Candidate]:
    """Ids of jobs, the newest first, with their names; numbers if any begin so, else UUIDs."""
    newest = _record(BalsamJob.objects.order_by("-id"))
    if not prefix:
        return [(str(key), name) for key, name in newest.values_list("id", "name")[:most]]
    found: list[Candidate] = []
    if prefix.isdecimal() and prefix[0] != "0":
        latest = next(iter(newest.values_list("id", flat=True)[:1]), 0)
        for low, high in reversed(_numbers_beginning(int(prefix), latest)):
            rows = newest.filter(id__gte=low, id__lte=high).values_list("id", "name")
            found += [(str(key), name) for key, name in rows[: most - len(found)]]
    ends = uuid_range(prefix)
    if found or ends is None:
        return found
    rows = newest.filter(job_id__gte=ends[0], job_id__lte=ends[1]).values_list("job_id", "name")
    dashed = "-" in prefix or len(prefix) <= 8
    pairs = [(str(key) if dashed else key.hex, name) for key, name in rows[:most]]
    return [pair for pair in pairs if pair[0].startswith(prefix.lower())]


def _record(found: NamedQuerySet) -> NamedQuerySet:
    """``found``, with a connection that gives up soon where others hold the database."""
    if connection.connection is None and connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute(f"PRAGMA busy_timeout={PATIENCE_MILLISECONDS}")
    return found


def _beginning(found: NamedQuerySet, field: str, prefix: str) -> NamedQuerySet:
    """Those whose ``field`` begins with ``prefix``, by a range that an index can serve."""
    if not prefix:
        return found.exclude(**{field: ""})
    return found.filter(**{f"{field}__gte": prefix, f"{field}__lt": prefix + _LAST_CHARACTER})


def _plain(texts: Iterable[str]) -> list[Candidate]:
    return [(text, "") for text in texts]


def _numbers_beginning(number: int, latest: int) -> list[tuple[int, int]]:
    """Ranges that hold all whole numbers up to ``latest`` whose digits begin as ``number``'s."""
    ranges = []
    low, width = number, 1
    while low <= latest:
        ranges.append((low, low + width - 1))
        low, width = low * 10, width * 10
    return ranges
