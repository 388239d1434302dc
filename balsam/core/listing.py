"""Jobs for a reader: in any order, with any columns, a page at a time.

No query stays open between two pages, so whoever reads them slowly keeps no writer waiting.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from django.db.models import TextField
from django.db.models.functions import Cast

from balsam.core.graph import parent_keys, parents_of
from balsam.core.names import canonical, known_names, unknown
from balsam.core.sql import among, dialect, key_list, rows
from balsam.errors import UnknownName

JOBS_PER_PAGE = 1_000
ROWS_PER_PAGE = 20_000


def column_path(model: Any, name: str) -> str:
    """A column as queries know it: ``queued_launch__nodes`` names a field of the relation.

    Raises UnknownName, with the nearest.
    """
    first, _, rest = name.partition("__")
    real = canonical(model, first)
    if not rest:
        return real
    related = {field.name: field.related_model for field in model._meta.get_fields()}.get(real)
    if related is None:
        raise UnknownName(f"{model.__name__} has no field '{name}'")
    return f"{real}__{column_path(related, rest)}"


def ordered(jobs: Any, names: Sequence[str]) -> Any:
    """``jobs`` by these columns, ``-name`` downwards; by id where they are equal."""
    paths = []
    for name in names:
        down, bare = name.startswith("-"), name.lstrip("-")
        path = column_path(jobs.model, bare)
        if bare not in known_names(jobs.model) and "__" not in bare:
            raise unknown(jobs.model, bare)
        paths.append(f"-{path}" if down else path)
    return jobs.order_by(*paths, "id")


def tuples(jobs: Any, columns: Sequence[str], limit: int | None) -> Iterator[Sequence[Any]]:
    """The columns of each job, ``job_id`` as text. Raises UnknownName at once."""
    paths = [column_path(jobs.model, name) for name in columns]
    uuids = [index for index, path in enumerate(paths) if path == _UUID]
    if not uuids:
        return _rows(jobs, paths, limit)
    # A hundred thousand objects that are only to be written out would be made first.
    jobs = jobs.annotate(uuid_text=Cast(_UUID, TextField()))
    for index in uuids:
        paths[index] = "uuid_text"
    return (_with_dashes(row, uuids) for row in _rows(jobs, paths, limit))


_UUID = "job_id"


def _with_dashes(row: Sequence[Any], uuids: Sequence[int]) -> Sequence[Any]:
    values = list(row)
    for index in uuids:
        text = values[index]
        if len(text) == 32:  # SQLite keeps none
            text = f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
        values[index] = text
    return values


def _rows(jobs: Any, paths: Sequence[str], limit: int | None) -> Iterator[Sequence[Any]]:
    if limit is not None and limit <= ROWS_PER_PAGE:
        return iter(list(jobs.values_list(*paths)[:limit]))
    if jobs.query.order_by == ("id",):
        return _rows_by_id(jobs, paths, limit)
    return _rows_in_order(jobs, paths, limit)


def _rows_by_id(jobs: Any, paths: Sequence[str], limit: int | None) -> Iterator[Sequence[Any]]:
    """Without a list of all ids: each page begins after the last one."""
    last, left = 0, limit
    while left is None or left > 0:
        size = ROWS_PER_PAGE if left is None else min(left, ROWS_PER_PAGE)
        page = list(jobs.filter(id__gt=last).values_list("id", *paths)[:size])
        yield from (row[1:] for row in page)
        if len(page) < size:
            return
        last, left = page[-1][0], None if left is None else left - size


def _rows_in_order(jobs: Any, paths: Sequence[str], limit: int | None) -> Iterator[Sequence[Any]]:
    for page in _pages(jobs, limit, ROWS_PER_PAGE):
        chosen = jobs.order_by().among(page)
        found = {row[0]: row[1:] for row in chosen.values_list("id", *paths)}
        yield from (found[key] for key in page if key in found)


def objects(jobs: Any, limit: int | None) -> Iterator[Any]:
    """Each job, with its application."""
    base = jobs.model._default_manager.prefetch_related("app").order_by()
    for page in _pages(jobs, limit, JOBS_PER_PAGE):
        found = {job.id: job for job in base.among(page)}
        yield from (found[key] for key in page if key in found)


def with_history(jobs: Any, limit: int | None) -> Iterator[tuple[Any, str]]:
    """Each job with the text of its history."""
    base = jobs.model._default_manager.prefetch_related("app").order_by()
    for page in _pages(jobs, limit, JOBS_PER_PAGE):
        found = {job.id: job for job in base.among(page)}
        texts = histories(page)
        yield from ((found[key], texts.get(key, "")) for key in page if key in found)


def named_histories(jobs: Any, limit: int | None) -> Iterator[tuple[str, Any, str]]:
    """Name, UUID and history of each job."""
    base = jobs.model._default_manager.order_by()
    for page in _pages(jobs, limit, JOBS_PER_PAGE):
        names = base.among(page).values_list("id", "name", "job_id")
        found = {key: (name, job_id) for key, name, job_id in names}
        texts = histories(page)
        yield from ((*found[key], texts.get(key, "")) for key in page if key in found)


def copies(jobs: Any, limit: int | None, *, with_texts: bool = False) -> Iterator[dict[str, Any]]:
    """Each job as a dict of all its fields, with the text of its ``history`` for ``with_texts``."""
    base = jobs.model._default_manager.prefetch_related("app").order_by()
    for page in _pages(jobs, limit, JOBS_PER_PAGE):
        found = {job.id: job for job in base.among(page)}
        parents = parents_of(page)
        texts = histories(page) if with_texts else {}
        for key in page:
            if key in found:
                record = found[key].to_dict(parents.get(key, []))
                yield {**record, "history": texts.get(key, "")} if with_texts else record


def histories(ids: Collection[int]) -> dict[int, str]:
    """Job -> every event as a line ``[MM-DD-YYYY HH:MM:SS.ffffff STATE] message``, UTC."""
    time = dialect().written_time.format("timestamp")
    found = rows(
        f"""SELECT job_id, {time}, to_state, message FROM balsam_event
            WHERE job_id {among()} ORDER BY job_id, id""",
        (key_list(ids),),
    )
    lines: dict[int, list[str]] = {}
    for job, written, state, message in found:
        lines.setdefault(job, []).append(f"[{written} {state}] {message}".rstrip())
    return {job: "\n".join(texts) for job, texts in lines.items()}


def roots(jobs: Any) -> Iterator[int]:
    """Ids of those of ``jobs`` that are no child of another of them, in order, read as needed."""
    everything = not (jobs.query.where or jobs.query.is_sliced)
    last, size = 0, JOBS_PER_PAGE
    while page := list(jobs.filter(id__gt=last).values_list("id", flat=True)[:size]):
        parents = parent_keys(page)
        chosen = {parent for some in parents.values() for parent in some}
        if not everything:
            chosen = set(jobs.order_by().among(chosen).values_list("id", flat=True))
        yield from (key for key in page if chosen.isdisjoint(parents.get(key, ())))
        last, size = page[-1], ROWS_PER_PAGE


def _pages(jobs: Any, limit: int | None, size: int) -> Iterator[list[int]]:
    everything = list(jobs.values_list("id", flat=True)[:limit])
    for start in range(0, len(everything), size):
        yield everything[start : start + size]
