"""What ``balsam job`` does for many jobs at once: the options of sweeps, previews, progress."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from balsam.cli import output
from balsam.cli.dialogue import ask, interactive
from balsam.cli.options import join_words

if TYPE_CHECKING:
    from balsam.core.insert import Progress

#: So many jobs are shown before all are added.
SHOWN = 5
#: Columns of that preview, beside the fields that differ from job to job.
_ALWAYS = ("name", "workflow", "application", "args")
_SOURCES = ("each_line", "from_csv", "ranges", "values")
_MARKS = ("{{", "{%")
#: A name to be filled in, perhaps with a filter or some arithmetic after it.
_FILLED = re.compile(r"\{\{-?\s*[A-Za-z_]\w*\s*([-+*/%|\[(][^{}]*)?\}\}")


def sweep_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a sweep; it is called with each of them."""
    for option in reversed(
        [
            click.option(
                "--each-line",
                metavar="FILE",
                help="A job for each line of a file, which is {{ line }}; - is standard input.",
            ),
            click.option(
                "--from-csv",
                metavar="FILE",
                help="A job for each row of a CSV file, whose columns are {{ NAME }}.",
            ),
            click.option(
                "--range",
                "ranges",
                multiple=True,
                metavar="NAME=START:STOP[:STEP]",
                help="A job for each number, which is {{ NAME }}; STOP is excluded. Repeatable.",
            ),
            click.option(
                "--values",
                multiple=True,
                metavar="NAME=A,B,...",
                help="A job for each value, which is {{ NAME }}. Repeatable.",
            ),
            click.option("--zip", "zipped", is_flag=True, help="Take the values side by side."),
            click.option(
                "--product", is_flag=True, help="Take all combinations of the values (the default)."
            ),
            click.option(
                "--from-yaml", metavar="FILE", help="Add the applications and jobs of a workflow."
            ),
            click.option("--dry-run", is_flag=True, help="Show what would be added; add nothing."),
        ]
    ):
        function = option(function)
    return function


def is_sweep(given: Mapping[str, Any]) -> bool:
    """Whether any option gives values to sweep over; ``click.UsageError`` for --zip of nothing."""
    found = any(given[source] for source in _SOURCES)
    if given["zipped"] and given["product"]:
        raise click.UsageError("Give --zip or --product, not both.")
    if not found and (given["zipped"] or given["product"]):
        raise click.UsageError(
            "--zip and --product combine --range, --values, --each-line and --from-csv."
        )
    return found


def templated(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    """An option type that also takes a template, whose values are checked when it is filled in."""

    def n(value: Any) -> Any:
        return value if any(mark in str(value) for mark in _MARKS) else kind(value)

    return n


def refuse_templates(options: Mapping[str, Any], numbers: Iterable[str]) -> None:
    """Raise ``click.UsageError`` for an option that is to be filled in when nothing does.

    In a text, only a name in braces counts: a program may have its own use for others.
    """
    for name, given in options.items():
        for value in given if isinstance(given, tuple) else (given,):
            if isinstance(value, str) and (name in numbers or _FILLED.search(value)):
                raise click.UsageError(
                    f"Nothing fills in --{name.replace('_', '-')} '{value}': give --range, "
                    "--values, --each-line or --from-csv."
                )


def refuse_missing(given: Container[str], columns: Container[str] = ()) -> None:
    """Raise ``click.UsageError`` that names all of what a job needs and is not given.

    ``columns`` are names that the rows of a sweep have.
    """
    missing = [name for name in ("name", "workflow", "application") if name not in given]
    if not missing:
        return
    hints = [
        f"; --{name} '{{{{ {name} }}}}' takes the column" for name in missing if name in columns
    ]
    *others, last = [f"'--{name}'" for name in missing]
    listed = f"options {', '.join(others)} and {last}" if others else f"option {last}"
    raise click.UsageError(f"Missing {listed}{''.join(hints)}.")


def join_templates(words: Sequence[str]) -> str:
    """Words for a shell, where the three words ``{{ x }}`` are one."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1].count("{{") > joined[-1].count("}}"):
            joined[-1] += f" {word}"
        else:
            joined.append(word)
    return join_words(joined)


def add_sweep(template: Mapping[str, Any], given: Mapping[str, Any], yes: bool) -> None:
    """Add the jobs of a sweep, once they were shown and agreed to."""
    from balsam.core import sweeps
    from balsam.core.sweeps import axes

    files: list[tuple[str | None, Callable[[str], axes.Axis]]] = [
        (given["each_line"], axes.Lines),
        (given["from_csv"], axes.Table),
    ]
    if sum(path == "-" for path, _ in files) > 1:
        raise click.UsageError("Standard input can not be both --each-line and --from-csv.")
    rows = sweeps.Rows(
        [
            *(axis(path) for path, axis in files if path),
            *map(axes.Span, given["ranges"]),
            *map(axes.Values, given["values"]),
        ],
        zipped=given["zipped"],
    )
    sweep = sweeps.Sweep(template, rows)
    refuse_missing(sweep.given, rows.names)
    if sweep.unused:
        output.note(f"Note: no field takes {', '.join(sweep.unused)}.")
    workflow = str(template.get("workflow", ""))
    _add(_Bulk(sweep, len(sweep), sweep.check, sweep.add), given["dry_run"], yes, [workflow])


def add_workflow(path: str, workflow: str, dry_run: bool, yes: bool) -> None:
    """Add the applications and jobs of a workflow file, once they were shown and agreed to."""
    from balsam.cli.words import resolved_program
    from balsam.core import workflow_file

    plan = workflow_file.load(path, workflow, resolve=resolved_program)
    for app in plan.new_applications():
        output.emit(output.labelled([("New application", app["name"]), *_executable(app)]))
    workflows = sorted({job["workflow"] for job in plan.jobs})
    _add(_Bulk(plan.jobs, len(plan.jobs), plan.check, plan.add), dry_run, yes, workflows)


def _executable(app: Mapping[str, Any]) -> list[tuple[str, object]]:
    return [("  executable", app["executable"])]


class _Bulk:
    """Jobs to be added together: the descriptions, how many, and what is done with them."""

    def __init__(
        self,
        jobs: Iterable[dict[str, Any]],
        count: int,
        check: Callable[[], int],
        add: Callable[[Progress | None], int],
    ) -> None:
        self.jobs = jobs
        self.count = count
        self.check = check
        self.add = add

    @property
    def number(self) -> str:
        return f"{self.count} job{'s' if self.count != 1 else ''}"


def _add(bulk: _Bulk, dry_run: bool, yes: bool, workflows: Sequence[str]) -> None:
    from balsam.core.models import BalsamJob

    asked = not yes and not dry_run and interactive()
    if asked or dry_run:
        output.emit(preview(list(islice(bulk.jobs, SHOWN)), bulk.count))
    if dry_run:
        bulk.check()
        print(f"{bulk.number} would be added; nothing was written")
        return
    if asked:
        counts = dict(BalsamJob.objects.workflows())
        for name in workflows:
            if "{" not in name:
                print(
                    f'[INFO]: The workflow "{name}" currently has {counts.get(name, 0)} jobs '
                    "in the database"
                )
        if not ask(f"Confirm adding {bulk.number} to DB"):
            print("Add jobs aborted")
            return
    with progress_bar(bulk.count) as progress:
        bulk.add(progress)
    print(f"Added {bulk.number} to database")


def preview(jobs: Sequence[Mapping[str, Any]], count: int) -> Iterator[str]:
    """A few jobs as a table of what differs between them, and how many more there are."""
    columns = list(_ALWAYS)
    for job in jobs:
        columns += [name for name in job if name not in columns and name not in _HIDDEN]
    same = [
        name
        for name in columns
        if name not in _ALWAYS and all(job.get(name) == jobs[0].get(name) for job in jobs)
    ]
    columns = [name for name in columns if name not in same]
    yield from output.table(columns, [[job.get(name) for name in columns] for job in jobs])
    if count > len(jobs):
        yield f"({count - len(jobs)} more jobs not shown...)"
    yield from output.labelled((name, jobs[0].get(name)) for name in same)


_HIDDEN = ("job_id", "parents")


@contextlib.contextmanager
def progress_bar(total: int) -> Iterator[Progress | None]:
    """What to call with the number that are done; None where there is no terminal to draw on."""
    if not sys.stderr.isatty() or os.environ.get("TERM", "") in ("", "dumb"):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    # No thread of its own: it is redrawn when something was written.
    with Progress(
        BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), auto_refresh=False, transient=True,
    ) as bar:  # fmt: skip
        task = bar.add_task("", total=total)

        def update(done: int) -> None:
            bar.update(task, completed=done, refresh=True)

        bar.refresh()
        yield update
