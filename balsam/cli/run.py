"""``balsam run``: add one job, run it here, and be what it was."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from balsam.cli import output
from balsam.cli.following import PERIOD_SECONDS, Generations
from balsam.cli.job_options import (
    Wrapping,
    app_option,
    env_option,
    environment,
    name_option,
    resources,
    workflow_option,
)
from balsam.cli.limits import number

if TYPE_CHECKING:
    from balsam.core.models import BalsamJob
    from balsam.launcher.options import Snapshot


@click.command("run", cls=Wrapping)
@name_option("A label; by default the program's name.", default="")
@workflow_option("Its group of jobs.", default="run", show_default=True)
@app_option("Run this application, with the words as its arguments.")
@resources()
@env_option()
@click.option("--description", default="", help="What it is.")
@click.option(
    "--gpus-per-node",
    type=number(0, 1000),
    help="GPUs there are here (setting launcher.gpus_per_node).",
)
@click.argument("words", nargs=-1, metavar="[--] COMMAND...", type=click.UNPROCESSED)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    words: tuple[str, ...],
    application: str,
    env: tuple[str, ...],
    gpus_per_node: int | None,
    **fields: Any,
) -> None:
    """Add a job, run it here and now in this directory, and exit with its code.

    Its output comes to stdout as it is written; a copy stays with the job. Ctrl-C kills it. It is
    run beside whatever launchers run on this node: no other launcher can take it.
    """
    if not words and not application:
        raise click.UsageError("Say what to run: balsam run -- COMMAND [WORDS]...")

    from balsam.conf import project as projects
    from balsam.core.exits import verdict
    from balsam.core.models import BalsamJob
    from balsam.launcher.options import LauncherOptions
    from balsam.launcher.single import run_single

    project = projects.find()
    fields["name"] = fields["name"] or application or os.path.basename(words[0]) or "run"
    job = BalsamJob(
        **fields,
        environ_vars=environment(env),
        auto_timeout_retry=False,
        input_files="",
        launch_params={"cwd": os.getcwd()},
    )
    if application:
        job.application = application
        job.args = shlex.join(words)
    else:
        job.direct_command = shlex.join(words)
    notices = Notices()
    follower = Follower(project.data, job)
    try:
        stopped = run_single(
            project,
            LauncherOptions(gpus_per_node=gpus_per_node),
            job,
            notices,
            begun=follower.start,
            abandoned=lambda: follower.closed,
        )
    finally:
        follower.finish()
    if stopped:
        if not follower.closed:
            output.note(f"Job {job.pk} {job.cute_id} was killed.")
        ctx.exit(128 + stopped)
    try:
        job.refresh_from_db()
    except BalsamJob.DoesNotExist:
        raise click.ClickException(f"Job {job.pk} was removed while it ran.") from None
    end = verdict(job)
    if end.sentence and not notices.told(end.sentence):
        output.note(end.sentence)
    ctx.exit(end.code)


class Notices:
    """Says on stderr what a launcher has to say, and nothing of how it goes."""

    def __init__(self) -> None:
        self._said: list[str] = []

    def __call__(self, snapshot: Snapshot) -> None:
        if snapshot.notice:
            self._said.append(snapshot.notice.rstrip("."))
            with contextlib.suppress(OSError):
                output.note(snapshot.notice)

    def told(self, sentence: str) -> bool:
        """Whether a notice has said as much."""
        return any(said in sentence for said in self._said)


class Follower:
    """Copies a job's output to stdout while it is written, in a thread of its own.

    A reader who takes his time holds up the copy, not the launcher.
    """

    def __init__(self, data: Path, job: BalsamJob) -> None:
        self._data = data
        self._job = job
        #: Nobody reads stdout any more.
        self.closed = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._files: Generations | None = None

    def start(self) -> None:
        """Begin, once the job has its place."""
        from balsam.platform import workdirs

        name = f"{workdirs.output_name(self._job.name)}.out"
        self._files = Generations(self._job.working_path(self._data) / name)
        self._thread.start()

    def finish(self) -> None:
        """Copy what is left, and end. Waits for whoever reads."""
        self._over.set()
        # Not join() alone: a Ctrl-C has to reach us while a reader takes his time.
        while self._thread.is_alive():
            self._thread.join(1.0)

    def _follow(self) -> None:
        assert self._files is not None
        out = sys.stdout.fileno()
        try:
            while True:
                over = self._over.is_set()
                self._files.copy(out)
                if over:
                    break
                self._over.wait(PERIOD_SECONDS / 2)
        except OSError as error:
            self.closed = True
            if not isinstance(error, BrokenPipeError):
                output.note(f"The output can not be shown any more: {error.strerror}.")
        finally:
            self._files.close()
