"""``balsam doctor``: examine the project and the machine, and repair what is safe."""

from __future__ import annotations

import click

from balsam.cli import output
from balsam.cli.commands import Command

CHECK_WIDTH, STATUS_WIDTH = 12, 7


@click.command("doctor", cls=Command)
@click.option("--fix", is_flag=True, help="Repair what can be repaired without losing anything.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, for programs.")
@click.pass_context
def command(ctx: click.Context, fix: bool, as_json: bool) -> None:
    """Check the project and this machine: database, sessions, clock, disk, MPI, scheduler.

    Each line is ok, a warning or a problem, with what to do about it. The exit code is 1 if there
    is a problem, else 0. What --fix has done is marked 'fixed', and is also in the log directory
    and in the events of the jobs it was done to; the work of living launchers is not touched.
    """
    from balsam.doctor.examination import examine, healthy
    from balsam.doctor.patient import Patient

    findings = []
    for finding in examine(Patient.here(output.note), fix=fix):
        findings.append(finding)
        if not as_json:
            output.emit(lines(finding.status, finding.check, finding.says, finding.repair))
    if as_json:
        output.print_json(finding.to_dict() for finding in findings)
    elif not fix and any(finding.cure for finding in findings):
        print("'balsam doctor --fix' repairs what can be repaired safely.")
    ctx.exit(0 if healthy(findings) else 1)


def lines(status: str, check: str, says: str, repair: str) -> list[str]:
    """A finding as it is printed: the line, and the repair below it."""
    found = [f"{status:<{STATUS_WIDTH}}  {check:<{CHECK_WIDTH}}  {output.cell(says)}"]
    if repair:
        found.append(f"{'':{STATUS_WIDTH + CHECK_WIDTH + 4}}-> {output.cell(repair)}")
    return found
