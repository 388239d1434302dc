"""The listings that ``balsam ls`` can make, rendered for a person or for a program."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from balsam.cli import output
from balsam.cli.tree import walk
from balsam.core import graph, listing
from balsam.core.models import ApplicationDefinition, BalsamJob
from balsam.errors import InvalidValue, UnknownName

if TYPE_CHECKING:
    from balsam.core.selection import Selection

JOB_COLUMNS = ("job_id", "name", "workflow", "application", "state")
APP_COLUMNS = ("pk", "name", "executable", "description")
#: A program gets the number that people type as well.
PROGRAM_COLUMNS = ("id", *JOB_COLUMNS)
DEFAULT_LIMIT = 5000
TREE_LINES = 500
#: Jobs that were not shown are counted up to here.
MOST_COUNTED = 10_000


@dataclass(frozen=True)
class Form:
    """How a listing is written, from the options."""

    json: bool = False
    csv: bool = False
    history: bool = False
    verbose: bool = False
    tree: bool = False
    columns: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    limit: int | None = None
    pager: bool = True

    @property
    def machine(self) -> bool:
        """Whether a program reads it."""
        return self.json or self.csv

    def write(self, columns: Sequence[str], records: Iterable[Mapping[str, Any]]) -> None:
        """Records for a program."""
        if self.json:
            output.print_json(records)
        else:
            output.print_csv(columns, records)

    def write_rows(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """The same from rows of values, which are many."""
        if self.csv:
            output.print_csv_rows(columns, rows)
        else:
            output.print_json(dict(zip(columns, row, strict=True)) for row in rows)

    def show(self, lines: Iterable[str]) -> None:
        """Lines for a person, paged where they fill more than the terminal."""
        if self.pager:
            output.page(lines)
        else:
            output.emit(lines)


# -- jobs ---------------------------------------------------------------------------------------


def jobs(selection: Selection, form: Form) -> None:
    """Jobs as a table, a tree, whole records or histories."""
    found = listing.ordered(BalsamJob.objects.matching(selection), form.order)
    limit = _limit(form)
    if form.machine and (form.verbose or form.history):
        form.write(*_records(found, limit, form))
    elif form.machine:
        columns = form.columns or (*PROGRAM_COLUMNS, *_more_fields())
        form.write_rows(columns, _tuples(found, columns, limit, form))
    elif form.tree:
        form.show(_tree(found, limit))
    else:
        first, more = _first(found, limit)
        form.show(_with_rest(_job_lines(first, limit, form), more))


def _first(found: Any, limit: int | None) -> tuple[Any, Callable[[], str]]:
    """The jobs to show, and what tells how many more there are; '' for none.

    A filter may have to look at all jobs, so that it is asked only once.
    """
    if limit is None:
        return found, str
    if not found.query.where:  # an index knows how many jobs there are in all
        return found, lambda: _number(found.count() - limit)
    most = limit + MOST_COUNTED + 1
    if limit > listing.ROWS_PER_PAGE:  # a list of them would be sent with each page
        return found, lambda: _bounded(found.order_by()[:most].count() - limit)
    keys = list(found.values_list("id", flat=True)[:most])
    return found.among(keys[:limit]), lambda: _bounded(len(keys) - limit)


def _bounded(more: int) -> str:
    return f"more than {MOST_COUNTED}" if more > MOST_COUNTED else _number(more)


def _number(more: int) -> str:
    return str(more) if more > 0 else ""


def _with_rest(lines: Iterator[str], more: Callable[[], str]) -> Iterator[str]:
    first = next(lines, None)
    if first is None:
        yield "No jobs found matching query"
        return
    yield first
    yield from lines
    if rest := more():
        yield f"({rest} more BalsamJobs not shown...)"


def _job_lines(found: Any, limit: int | None, form: Form) -> Iterator[str]:
    if form.history and form.verbose:
        for job, text in listing.with_history(found, limit):
            yield from _record(job)
            yield from output.history(job.name, job.job_id, text)
    elif form.history:
        for name, job_id, text in listing.named_histories(found, limit):
            yield from output.history(name, job_id, text)
    elif form.verbose:
        for job in listing.objects(found, limit):
            yield from _record(job)
            yield ""
    else:
        columns = form.columns or (*JOB_COLUMNS, *_more_fields())
        listed = _tuples(found, columns, limit, form)
        rows = [_with_program(columns, row) for row in listed]
        if rows:
            yield from output.table(columns, rows)


def _record(job: Any) -> Iterator[str]:
    from balsam.cli.jobs import record

    yield from record(job)


def _records(
    found: Any, limit: int | None, form: Form
) -> tuple[Sequence[str], Iterable[Mapping[str, Any]]]:
    """Names and records for a program: whole jobs, or their histories, or both."""
    if form.verbose:
        names = list(BalsamJob().to_dict())
        if not form.history:
            return names, listing.copies(found, limit)
        return (*names, "history"), listing.copies(found, limit, with_texts=True)
    whole = listing.with_history(found, limit)
    return (*PROGRAM_COLUMNS, "history"), (
        {**{name: getattr(job, name) for name in PROGRAM_COLUMNS}, "history": text}
        for job, text in whole
    )


def _tuples(
    found: Any, columns: Sequence[str], limit: int | None, form: Form
) -> Iterator[Sequence[Any]]:
    try:
        return listing.tuples(found, columns, limit)
    except UnknownName as error:
        if form.columns:
            raise
        raise InvalidValue(f"{error}; correct BALSAM_LS_FIELDS, or unset it.") from error


def _with_program(columns: Sequence[str], row: Sequence[Any]) -> list[Any]:
    return [
        output.program(value or "") if name == "application" else value
        for name, value in zip(columns, row, strict=True)
    ]


def _tree(found: Any, limit: int | None) -> Iterator[str]:
    lines = walk(listing.roots(found), graph.children_of)
    shown = itertools.islice(lines, limit)
    empty = True
    while batch := list(itertools.islice(shown, TREE_LINES)):
        empty = False
        jobs = BalsamJob.objects.by_key({key for _, key in batch})
        for depth, key in batch:
            if job := jobs.get(key):  # a job may be removed meanwhile
                yield output.tree_line(depth, job.name, job.cute_id, job.state)
    if empty:
        yield "No jobs found matching query"
    elif next(lines, None):
        yield "(more lines not shown; select fewer jobs, or give --limit)"


# -- counts -------------------------------------------------------------------------------------


def by_states(selection: Selection, form: Form) -> None:
    """How many jobs are in each state."""
    counts = BalsamJob.objects.matching(selection).counts_by_state()
    if form.machine:
        records = [{"state": name, "jobs": count} for name, count in counts.items()]
        form.write(("state", "jobs"), records)
    elif counts:
        form.show(output.state_counts(counts))
    else:
        print("No jobs found matching query")


def by_reason(selection: Selection, form: Form) -> None:
    """How many jobs are held up by what, the most common first."""
    from balsam.core import why

    counts = why.count(BalsamJob.objects.matching(selection))
    if form.machine:
        records = [{"code": one.code, "reason": one.text, "jobs": one.jobs} for one in counts]
        form.write(("code", "reason", "jobs"), records)
    elif counts:
        form.show(f"{one.jobs:>10}  {output.cell(one.text)}" for one in counts)
    else:
        print("No jobs found matching query")


def in_workflows(selection: Selection) -> Selection:
    """The selection of ``ls wf``: words and names are exact names of workflows, or globs."""
    named = (*selection.names, *selection.words)
    named = (*selection.workflows, *named)
    return replace(selection, names=(), words=(), workflows=named, parts=not named)


def workflows(selection: Selection, form: Form) -> None:
    """The names of workflows; with a name or a shape, the jobs in them."""
    if selection.workflows or form.tree or form.verbose or form.history or form.columns:
        jobs(selection, form)
    else:
        _workflow_names(BalsamJob.objects.matching(selection), form)


def _workflow_names(found: Any, form: Form) -> None:
    groups: Sequence[tuple[str, int]] = found.workflows()[: form.limit]
    if form.machine:
        records = [{"workflow": name, "jobs": count} for name, count in groups]
        form.write(("workflow", "jobs"), records)
    elif groups:
        form.show(["Workflows", "---------", *(output.cell(name) for name, _ in groups)])
    else:
        print("No workflows found matching query")


# -- applications -------------------------------------------------------------------------------


def apps(selection: Selection, form: Form, options: Iterable[tuple[str, object]]) -> None:
    """The registered applications."""
    from balsam.cli.apps import FIELDS

    for name, given in options:
        if given and name not in ("--verbose", "--columns"):
            raise click.UsageError(f"{name} goes with jobs only.")
    for name in ("workflows", "states", "tags", "parents", "since", "until", "last"):
        if getattr(selection, name):
            raise click.UsageError("Applications are selected by --name and --id only.")
    found = ApplicationDefinition.objects.selected(
        (*selection.names, *selection.apps), (*selection.ids, *selection.words)
    )
    default = ("pk", *FIELDS) if form.verbose or form.json else APP_COLUMNS
    columns = form.columns or default
    paths = [listing.column_path(ApplicationDefinition, name) for name in columns]
    rows = list(listing.ordered(found, form.order).values_list(*paths)[: form.limit])
    records = [dict(zip(columns, row, strict=True)) for row in rows]
    if form.machine:
        form.write(columns, records)
    elif not rows:
        print("No apps found matching query")
    elif form.verbose:
        for record in records:
            form.show([*output.app_record(record.pop("pk", ""), record.items()), ""])
    else:
        form.show(output.table(columns, rows))


def _more_fields() -> tuple[str, ...]:
    asked = os.environ.get("BALSAM_LS_FIELDS", "").split(":")
    return tuple(name for name in asked if name and name not in JOB_COLUMNS)


def _limit(form: Form) -> int | None:
    if form.limit is not None or form.machine:
        return form.limit
    text = os.environ.get("BALSAM_LS_LIMIT", "")
    if not text:
        return DEFAULT_LIMIT
    if not text.isdecimal() or not int(text):
        raise InvalidValue(f"BALSAM_LS_LIMIT is a whole number above 0, not '{text}'.")
    return int(text)
