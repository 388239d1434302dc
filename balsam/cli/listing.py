"""``balsam ls``: what the record holds."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from balsam import states
from balsam.cli import output
from balsam.cli.commands import Command
from balsam.cli.limits import COUNT
from balsam.cli.tree import walk
from balsam.errors import InvalidValue, UnknownName, nearest

JOB_COLUMNS = ("job_id", "name", "workflow", "application", "state")
APP_COLUMNS = ("pk", "name", "executable", "description")
KINDS = {"jobs": "jobs", "job": "jobs", "apps": "apps", "app": "apps", "wf": "wf"}
DEFAULT_LIMIT = 5000
JOBS_PER_PAGE = 2_000
ROWS_PER_PAGE = 50_000


@dataclass(frozen=True)
class Form:
    """How a listing is written, from the options."""

    json: bool
    csv: bool
    history: bool
    verbose: bool
    tree: bool

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


@click.command("ls", cls=Command)
@click.argument("kind", type=click.Choice(list(KINDS)), default="jobs", metavar="[jobs|apps|wf]")
@click.option("--name", help="Only those with this text in their name.")
@click.option("--id", "key", metavar="ID", help="Only the job of this id (or the start of it).")
@click.option("--state", metavar="STATE", help="Only jobs in this state.")
@click.option("--wf", metavar="W", help="Only jobs of workflows with this text in their name.")
@click.option("--by-states", is_flag=True, help="Count jobs by state.")
@click.option("--history", is_flag=True, help="Show every change of state, and why.")
@click.option("--verbose", is_flag=True, help="Show whole records.")
@click.option("--tree", is_flag=True, help="Show jobs below the jobs they wait for.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Write CSV.")
@click.option("--limit", type=COUNT, help="Show at most that many.")
def command(
    kind: str,
    name: str | None,
    key: str | None,
    state: str | None,
    wf: str | None,
    by_states: bool,
    history: bool,
    verbose: bool,
    tree: bool,
    as_json: bool,
    as_csv: bool,
    limit: int | None,
) -> None:
    """List jobs (also: apps, wf), all or those the options select.

    BALSAM_LS_FIELDS=field:field adds columns; BALSAM_LS_LIMIT (5000) is the limit of tables.
    """
    if as_json and as_csv:
        raise click.UsageError("Give one of --json and --csv.")
    form = Form(as_json, as_csv, history, verbose, tree)
    if KINDS[kind] == "apps":
        _apps(name, key, limit, form)
        return

    from balsam.core.models import BalsamJob

    if KINDS[kind] == "wf":
        which: dict[str, str | None] = {"exact_workflow": name or wf}
    else:
        which = {"name": name, "workflow": wf}
    jobs = BalsamJob.objects.select(id=key, state=_state(state), **which)
    if by_states:
        _by_states(jobs.counts_by_state(), form)
    elif KINDS[kind] == "wf" and not (tree or verbose or history or which["exact_workflow"]):
        _workflows(jobs.workflows(), form)
    else:
        _jobs(jobs, _limit(limit, form), form)


def _jobs(jobs: Any, limit: int | None, form: Form) -> None:
    if form.machine:
        form.write(*_job_records(jobs, limit, form))
        return
    shown = 0
    if form.tree:
        _tree(jobs, limit)
        return
    if form.history or form.verbose:
        for job in _paged(jobs.select_related("app"), limit):
            _print_job(job, form)
            shown += 1
    else:
        columns = (*JOB_COLUMNS, *_more_fields())
        rows = [_with_program(columns, row) for row in _values(jobs, columns, limit)]
        shown = len(rows)
        if rows:
            output.emit(output.table(columns, rows))
    if not shown:
        print("No jobs found matching query")
    if shown == limit and (rest := jobs.count() - shown) > 0:
        print(f"({rest} more BalsamJobs not shown...)")


def _print_job(job: Any, form: Form) -> None:
    from balsam.cli.jobs import record

    if form.verbose:
        output.emit(record(job))
    if form.history:
        output.emit(output.history(job.name, job.job_id, job.state_history))
    else:
        print()


def _job_records(
    jobs: Any, limit: int | None, form: Form
) -> tuple[Sequence[str], Iterable[Mapping[str, Any]]]:
    """Columns and records for a program: table columns, whole jobs, or their histories."""
    columns: Sequence[str] = (*JOB_COLUMNS, *_more_fields())
    whole = _paged(jobs.select_related("app"), limit)
    if form.history:
        names = JOB_COLUMNS
        return (*names, "history"), (
            {**{name: getattr(job, name) for name in names}, "history": job.state_history}
            for job in whole
        )
    if form.json or form.verbose:
        from balsam.core.models import BalsamJob

        return list(BalsamJob().to_dict()), (job.to_dict() for job in whole)
    rows = _values(jobs, columns, limit)
    return columns, (dict(zip(columns, row, strict=True)) for row in rows)


def _values(jobs: Any, columns: Sequence[str], limit: int | None) -> Iterator[Sequence[Any]]:
    """The columns of each job, as tuples; says which variable holds a name that is no field."""
    try:
        paths = [_path(jobs.model, name) for name in columns]
    except UnknownName as error:
        raise InvalidValue(f"{error}; correct BALSAM_LS_FIELDS, or unset it.") from error
    return _paged(jobs.values_list(*paths), limit, ROWS_PER_PAGE)


def _path(model: Any, name: str) -> str:
    """A column as the database knows it: ``queued_launch__nodes`` names a field of the relation.

    Raises UnknownName.
    """
    from balsam.core.names import canonical

    first, _, rest = name.partition("__")
    real = canonical(model, first)
    if not rest:
        return real
    related = {field.name: field.related_model for field in model._meta.get_fields()}.get(real)
    if related is None:
        raise UnknownName(f"{model.__name__} has no field '{name}'")
    return f"{real}__{_path(related, rest)}"


def _paged(jobs: Any, limit: int | None, size: int = JOBS_PER_PAGE) -> Iterator[Any]:
    """Rows by number, a page at a time: no query stays open while whoever reads them is slow."""
    ordered = jobs.order_by("id")
    start = 0
    while limit is None or start < limit:
        stop = start + size if limit is None else min(start + size, limit)
        page = list(ordered[start:stop])
        yield from page
        if len(page) < stop - start:
            return
        start = stop


def _with_program(columns: Sequence[str], row: Sequence[Any]) -> list[Any]:
    return [
        output.program(value or "") if name == "application" else value
        for name, value in zip(columns, row, strict=True)
    ]


def _tree(jobs: Any, limit: int | None) -> None:
    from balsam.core.models import BalsamJob, Dependency

    selected = jobs.order_by("id").values_list("id", flat=True)
    edges = Dependency.objects.order_by("id").values_list("parent_id", "child_id")
    lines = walk(selected.iterator(), edges.iterator())
    shown = 0
    while batch := list(itertools.islice(lines, min(500, limit - shown) if limit else 500)):
        found = BalsamJob.objects.in_bulk([key for _, key in batch])
        for depth, key in batch:
            if job := found.get(key):  # a job may be removed meanwhile
                print(output.tree_line(depth, job.name, job.cute_id, job.state))
        shown += len(batch)
    if not shown:
        print("No jobs found matching query")
    rest = sum(1 for _ in lines)
    if rest:
        print(f"({rest} more lines not shown...)")


def _by_states(counts: Mapping[str, int], form: Form) -> None:
    if form.machine:
        form.write(
            ("state", "jobs"), [{"state": name, "jobs": count} for name, count in counts.items()]
        )
    elif counts:
        output.emit(output.state_counts(counts))
    else:
        print("No jobs found matching query")


def _workflows(workflows: Sequence[tuple[str, int]], form: Form) -> None:
    if form.machine:
        form.write(
            ("workflow", "jobs"), [{"workflow": name, "jobs": count} for name, count in workflows]
        )
    elif workflows:
        output.emit(["Workflows", "---------", *(output.cell(name) for name, _ in workflows)])
    else:
        print("No workflows found matching query")


def _apps(name: str | None, key: str | None, limit: int | None, form: Form) -> None:
    from balsam.cli.apps import FIELDS, selected_apps

    apps = selected_apps(name, key)[:limit]
    columns = ("pk", *FIELDS) if form.verbose or form.json else APP_COLUMNS
    records = [{field: getattr(app, field) for field in columns} for app in apps]
    if form.machine:
        form.write(columns, records)
    elif not apps:
        print("No apps found matching query")
    elif form.verbose:
        for record in records:
            output.emit(output.app_record(record.pop("pk"), record.items()))
            print()
    else:
        output.emit(output.table(columns, [list(record.values()) for record in records]))


def _state(state: str | None) -> str | None:
    if state is None or state.upper() in states.STATES:
        return state.upper() if state else None
    raise InvalidValue(f"There is no state '{state}'{nearest(state.upper(), states.STATES)}")


def _more_fields() -> tuple[str, ...]:
    asked = os.environ.get("BALSAM_LS_FIELDS", "").split(":")
    return tuple(name for name in asked if name and name not in JOB_COLUMNS)


def _limit(limit: int | None, form: Form) -> int | None:
    if limit is not None or form.machine:
        return limit
    text = os.environ.get("BALSAM_LS_LIMIT", "")
    if not text:
        return DEFAULT_LIMIT
    if not text.isdecimal() or not int(text):
        raise InvalidValue(f"BALSAM_LS_LIMIT is a whole number above 0, not '{text}'.")
    return int(text)
