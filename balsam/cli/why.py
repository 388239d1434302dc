"""``balsam why``: what holds a job, and the command that would help."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from balsam.cli import output
from balsam.cli.commands import Command
from balsam.cli.limits import COUNT
from balsam.cli.selector import require, selecting
from balsam.errors import NoSuchJob

if TYPE_CHECKING:
    from balsam.core.selection import Selection
    from balsam.core.why import Reason

INDENT = "    "
DEFAULT_LIMIT = 20
PER_PAGE = 500


@click.command("why", cls=Command)
@selecting()
@click.option("--limit", type=COUNT, help=f"At most so many jobs ({DEFAULT_LIMIT} as text).")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
def command(selection: Selection, limit: int | None, as_json: bool) -> None:
    """Say what holds each job, whatever its state, and which command would help.

    'balsam ls --by-reason' counts the jobs that each reason holds.
    """
    require(selection, all_option=False)

    from balsam.core.models import BalsamJob

    jobs = BalsamJob.objects.matching(selection)
    if not as_json and limit is None:
        limit = DEFAULT_LIMIT
    total = jobs.count()
    if not total:
        raise NoSuchJob("No job matches; 'balsam ls' lists those there are.")
    told = _told(jobs, total if limit is None else min(limit, total))
    if as_json:
        output.print_json(_record(job, reason) for job, reason in told)
        return
    for job, reason in told:
        output.emit(_paragraph(job, reason))
    if limit is not None and total > limit:
        output.note(f"({total - limit} more; 'balsam ls --by-reason' counts them by reason)")


def _told(jobs: Any, number: int) -> Iterator[tuple[Any, Reason]]:
    """The first so many jobs with their reasons, a page at a time."""
    from balsam.core import why
    from balsam.core.why import situation

    ordered = jobs.order_by("id")
    for begin in range(0, number, PER_PAGE):
        now = situation.observe()
        for job in list(ordered[begin : min(begin + PER_PAGE, number)]):
            try:
                yield job, why.reason(job, now)
            except NoSuchJob:
                continue  # removed while others were told about


def _record(job: Any, reason: Reason) -> dict[str, Any]:
    return {
        "id": job.pk,
        "job_id": job.job_id,
        "name": job.name,
        "workflow": job.workflow,
        "state": job.state,
        "code": reason.code,
        "reason": reason.text,
        "command": reason.command,
    }


def _paragraph(job: Any, reason: Reason) -> Iterator[str]:
    """A job, what holds it, and what to type; long lines are folded for a terminal."""
    yield f"{job.pk} {output.cell(job.cute_id)} {job.state}"
    sentences, *tail = reason.text.splitlines()
    yield from _folded(output.cell(sentences))
    for line in tail:
        yield f"{INDENT}| {output.cell(line)}"
    if reason.command:
        yield f"{INDENT}$ {output.cell(reason.command)}"


def _folded(text: str) -> list[str]:
    if not sys.stdout.isatty():
        return [INDENT + text]
    width = max(40, min(100, shutil.get_terminal_size().columns))
    return textwrap.wrap(text, width, initial_indent=INDENT, subsequent_indent=INDENT)
