"""``balsam bug-report``: pack up what a bug report needs."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from balsam.cli import output
from balsam.cli.commands import Command


@click.command("bug-report", cls=Command)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "--with-jobs",
    is_flag=True,
    help="Also the commands, arguments, variables and data of the jobs that changed last.",
)
def command(file: Path | None, with_jobs: bool) -> None:
    """Make an archive (.tar.gz) of what helps to find a defect, and say what is in it.

    Versions, settings, the findings of doctor and fsck, counts, and the ends of log files. What
    looks like a secret is masked, and what jobs work on is left out. Look through it before you
    send it. FILE is balsam-bug-report-TIME.tar.gz here by default.
    """
    from balsam.doctor import report
    from balsam.doctor.patient import Patient

    if file is None:
        file = Path(time.strftime("balsam-bug-report-%Y%m%dT%H%M%SZ.tar.gz", time.gmtime()))
    elif not file.name.endswith((".tar.gz", ".tgz")):
        raise click.UsageError(f"FILE is a .tar.gz archive; write {file.name}.tar.gz.")
    report.refuse_existing(file)
    parts = []
    for part in report.parts(Patient.here(), os.environ, with_jobs=with_jobs):
        parts.append(part)
        print(f"{part.name:<40} {len(part.text):>8} bytes  {part.about}")
    report.write(file, parts)
    print(f"Made {output.cell(file.absolute())}; secrets are masked, but look through it first.")
