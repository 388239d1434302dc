"""``balsam fsck``: check the database and what it holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from balsam.cli import output
from balsam.cli.commands import Command

if TYPE_CHECKING:
    from balsam.core.care.fsck import Finding, Report

SAYS_WIDTH = 7


@click.command("fsck", cls=Command)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, for programs.")
@click.pass_context
def command(ctx: click.Context, file: Path | None, as_json: bool) -> None:
    """Check the database of the project, or a copy of one in FILE; nothing is changed.

    The file itself (or the tables in Postgres), and the rules that hold for all it holds: every job
    is in the state of its newest event, every history is a way the states allow, and so on. Others
    may go on working; with journal mode 'delete' their commits wait meanwhile. The exit code is 1
    if there is a problem.
    """
    from balsam.conf import project as projects
    from balsam.core.care import fsck
    from balsam.doctor.patient import Patient

    if file is None:
        project = projects.find()
        # Settings that can not be read are no reason not to check the database.
        seconds = Patient(project).settings.database.busy_timeout_seconds
        report = fsck.check_project(project, timeout_seconds=seconds)
    else:
        report = fsck.check(file, untouched=True)
    if as_json:
        output.print_json(_plain(finding) for finding in report.findings)
    else:
        output.emit(_lines(report))
    ctx.exit(0 if report.sound else 1)


def _plain(finding: Finding) -> dict[str, object]:
    return {
        "check": finding.check,
        "status": "ok" if finding.sound else "problem",
        "count": finding.count,
        "says": finding.says,
        "examples": list(finding.examples),
        "repair": finding.repair if not finding.sound else "",
    }


def _lines(report: Report) -> list[str]:
    rows = ", ".join(
        f"{number} {table.removeprefix('balsam_')}" for table, number in report.rows.items()
    )
    lines = [f"{output.cell(report.path)} (schema {report.schema}; rows: {rows})"]
    for finding in report.findings:
        if finding.sound:
            lines.append(f"{'ok':<{SAYS_WIDTH}}  {finding.says}")
            continue
        lines.append(f"{'problem':<{SAYS_WIDTH}}  not so in {finding.count}: {finding.says}")
        lines += [f"{'':{SAYS_WIDTH}}    {output.cell(words)}" for words in finding.examples]
        if finding.count > len(finding.examples):
            lines.append(f"{'':{SAYS_WIDTH}}    and {finding.count - len(finding.examples)} more")
        lines.append(f"{'':{SAYS_WIDTH}} -> {finding.repair}")
    broken = [finding for finding in report.findings if not finding.sound]
    lines.append(f"{len(broken)} problem(s)." if broken else "No problems.")
    return lines
