"""``balsam logs``: what jobs have printed, and print."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from balsam.cli import output
from balsam.cli.commands import Command
from balsam.cli.following import Generations, Tail, Titled, allow_files, kept, rest, stdout, write
from balsam.cli.limits import COUNT, OR_NONE
from balsam.cli.selector import require, selecting

if TYPE_CHECKING:
    from balsam.core.models import BalsamJob
    from balsam.core.selection import Selection

#: Of more jobs without an output it is not said why.
MOST_REASONS = 10
HOOK_LOGS = ("preprocess.log", "postprocess.log")


@click.command("logs", cls=Command)
@selecting()
@click.option("--follow", "-f", is_flag=True, help="Go on until all of the jobs have ended.")
@click.option("--attempt", type=COUNT, metavar="N", help="What the N-th attempt printed.")
@click.option("--tail", type=OR_NONE, metavar="N", help="The last N lines of each file only.")
@click.option("--hooks", is_flag=True, help="What their pre- and postprocess scripts printed, too.")
@click.option("--path", "paths", is_flag=True, help="Only say which files they are.")
def command(
    selection: Selection,
    follow: bool,
    attempt: int | None,
    tail: int | None,
    hooks: bool,
    paths: bool,
) -> None:
    """Print the output of jobs: of one as it is, of several each below its name.

    It is that of the latest attempt unless --attempt says another. A job's stdout and stderr are
    one file.
    """
    require(selection, all_option=False)
    if follow and (attempt or paths):
        raise click.UsageError("--follow goes with the latest attempt; leave out the other option.")

    from balsam.core.models import BalsamJob

    jobs = BalsamJob.objects.matching(selection).order_by("id")
    if not jobs.exists():
        output.note("No jobs found matching query")
        return
    shown = (Shown.of(job, hooks, attempt) for job in jobs.iterator(chunk_size=1000))
    if follow:
        found = Following(list(shown), tail).run()
    elif paths:
        found = _print_paths(shown)
    else:
        found = _print(shown, tail, titles=hooks or jobs[1:2].exists())
    if not found:
        raise click.exceptions.Exit(1)


@dataclass
class Shown:
    """A job with the files to show of it. ``missing`` says which there are instead of one."""

    job: BalsamJob
    label: str
    files: list[Path]
    missing: str = ""

    @classmethod
    def of(cls, job: BalsamJob, hooks: bool, attempt: int | None) -> Shown:
        """The files of the latest attempt, or of another one."""
        main = output_path(job)
        label = f"{output.cell(job.name)} {job.pk} attempt {attempt or job.attempt or 1}".strip()
        one = main if attempt is None else _attempt(job, main, attempt)
        if one is None:
            return cls(job, label, [], _attempts(job, main, attempt))
        if not hooks:
            return cls(job, label, [one])
        before, after = (main.with_name(name) for name in HOOK_LOGS)
        return cls(job, label, [before, one, after])

    def there(self) -> list[Path]:
        """The files that exist."""
        return [path for path in self.files if os.path.lexists(path)]

    def why_not(self) -> str:
        """Why there is none."""
        from balsam.core.exits import without_output

        why = self.missing or f"{without_output(self.job)}."
        return f"Job {self.job.pk} {self.job.cute_id} {why}"

    def title(self, path: Path) -> str:
        """What stands above a file."""
        return f"{self.label} {path.name}" if path.name in HOOK_LOGS else self.label


class Without:
    """Says on stderr which jobs have nothing to show: of the first why, of the others how many."""

    def __init__(self) -> None:
        self._number = 0

    def files(self, shown: Shown) -> list[Path]:
        """The files that there are of a job."""
        found = shown.there()
        if not found:
            self._number += 1
            if self._number <= MOST_REASONS:
                output.note(shown.why_not())
        return found

    def end(self) -> None:
        """No more jobs."""
        if self._number > MOST_REASONS:
            output.note(f"... and {self._number - MOST_REASONS} more jobs have no output.")


def output_path(job: BalsamJob) -> Path:
    """Where the output of a job's latest attempt is, or will be."""
    from balsam.platform import workdirs

    return Path(job.working_directory) / f"{workdirs.output_name(job.name)}.out"


def _attempt(job: BalsamJob, main: Path, number: int) -> Path | None:
    """The output of one attempt, if it is there."""
    earlier = dict(kept(main))
    if number in earlier:
        return earlier[number]
    return main if number == job.attempt and os.path.lexists(main) else None


def _attempts(job: BalsamJob, main: Path, wanted: int | None) -> str:
    """That an attempt left no output, and which have."""
    there = sorted({*dict(kept(main)), *([job.attempt] if os.path.lexists(main) else [])})
    which = ", ".join(map(str, there))
    known = f"there is output of attempt {which}" if there else "none has an output"
    return f"has no output of attempt {wanted}; {known}."


def _print_paths(shown: Iterable[Shown]) -> bool:
    """Print the paths of files; whether there was any."""
    there, without = False, Without()
    for one in shown:
        found = without.files(one)
        output.emit(map(str, found))
        there = there or bool(found)
    without.end()
    return there


def _print(shown: Iterable[Shown], tail: int | None, titles: bool) -> bool:
    """Print the files; whether there was any."""
    out = stdout()
    there, without = False, Without()
    screen = Titled(out, titles)
    for one in shown:
        for path in without.files(one):
            try:
                file = Tail(path, tail)
            except OSError as error:
                output.note(f"{path} can not be read: {error.strerror}.")
                continue
            there = True
            screen.copy(file, one.title(path))
            file.close()
    without.end()
    return there


class Following:
    """Jobs whose files are shown as they grow, until all of the jobs have ended."""

    def __init__(self, shown: list[Shown], tail: int | None) -> None:
        self._shown = shown
        self._tail = tail
        self._several = len(shown) > 1 or len(shown[0].files) > 1
        self._last: Growing | None = None

    def run(self) -> bool:
        """Follow them; whether any had an output. BrokenPipeError when nobody reads any more."""
        out = stdout()
        growing = [Growing(one, path, self._tail) for one in self._shown for path in one.files]
        without = Without()
        found = {one.job.pk: bool(without.files(one)) for one in self._shown}
        without.end()
        told = self._ended({job for job, there in found.items() if not there})
        allow_files(len(growing))
        while growing:
            # Asked for first: a job's files are complete before the record says that it ended.
            ended = self._ended({one.shown.job.pk for one in growing})
            for one in growing:
                self._copy(one, out)
                found[one.shown.job.pk] |= one.files.found
            for one in growing:
                if one.shown.job.pk in ended:
                    one.files.close()
            growing = [one for one in growing if one.shown.job.pk not in ended]
            if growing:
                rest(out)
        self._tell_without({job for job, there in found.items() if not there} - told)
        return any(found.values())

    def _tell_without(self, ids: set[int]) -> None:
        """Say of jobs that ended meanwhile, without a word of output, how."""
        from balsam.core.models import BalsamJob

        now = BalsamJob.objects.among(ids).in_bulk()
        without = Without()
        for shown in self._shown:
            if shown.job.pk in now:
                shown.job = now[shown.job.pk]
                without.files(shown)
        without.end()

    def _copy(self, one: Growing, out: int) -> None:
        if not one.files.look():
            return
        if self._several and one is not self._last:
            blank = "\n" if self._last else ""
            write(out, f"{blank}==> {one.title} <==\n".encode(errors="replace"))
        self._last = one
        one.files.copy(out)

    def _ended(self, ids: set[int]) -> set[int]:
        from balsam import states
        from balsam.core.models import BalsamJob

        there = BalsamJob.objects.states_of(ids)
        return {job for job in ids if there.get(job, states.FAILED) in states.END_STATES}


class Growing:
    """One file of a job that is followed, through all attempts from the latest one on."""

    def __init__(self, shown: Shown, path: Path, tail: int | None) -> None:
        self.shown = shown
        self.title = shown.title(path)
        self.files = Generations(path, tail)
        self.files.skip()
