"""``balsam qsub``: add a command or a batch script in the words of a queue's own qsub."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from balsam.cli import directives, output
from balsam.cli.directives import Wishes
from balsam.cli.job_options import Wrapping, name_option, workflow_option
from balsam.cli.limits import COUNT, LONGEST_MINUTES
from balsam.errors import InvalidValue

if TYPE_CHECKING:
    from balsam.core.models import BalsamJob

#: What a list of resources asks for, and the names in it that mean nothing here.
Listed = tuple[Wishes, list[str]]
#: What a queue has and Balsam has not.
_IGNORED = {"project": "-A", "queue": "-q", "output": "-o", "error": "-e"}


def wall(text: str) -> int:
    """Minutes or HH:MM:SS. Raises ``click.BadParameter``."""
    try:
        found = directives.minutes(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None
    if found > LONGEST_MINUTES:
        raise click.BadParameter(f"'{text}' is more than {LONGEST_MINUTES} minutes.")
    return found


def listed(text: str) -> Listed:
    """Resources as PBS lists them. Raises ``click.BadParameter``."""
    try:
        found, others = directives.listed(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None
    if (found.minutes or 0) > LONGEST_MINUTES:
        raise click.BadParameter(f"'{text}' is more than {LONGEST_MINUTES} minutes.")
    return found, others


def mode(text: str) -> str:
    """``script`` or ``cN``. Raises ``click.BadParameter``."""
    if text != "script" and not re.fullmatch(r"c[1-9]\d{0,5}", text):
        raise click.BadParameter(f"'{text}' is no mode; write script, or c4 for 4 ranks per node.")
    return text


def _ignored(function: Any) -> Any:
    for name, short in reversed(_IGNORED.items()):
        option = click.option(f"--{name}", short, f"ignored_{name}", metavar="...", help="Ignored.")
        function = option(function)
    return function


@click.command("qsub", cls=Wrapping)
@click.option("--nodes", "-n", "--nodecount", "--num-nodes", "nodes", type=COUNT, help="Nodes.")
@click.option(
    "--ranks-per-node",
    "-N",
    "--ppn",
    "--processes-per-node",
    "ranks",
    type=COUNT,
    help="MPI ranks on each node.",
)
@name_option("A label.", "--jobname", "--job-name", "name")
@click.option(
    "--wall-minutes",
    "-t",
    "--time",
    "--walltime",
    "--wall-time-minutes",
    "minutes",
    type=wall,
    metavar="TIME",
    help="How long it will take: minutes, or HH:MM:SS.",
)
@click.option("--threads-per-rank", "-d", "threads", type=COUNT, help="Threads of each rank.")
@click.option(
    "--threads-per-core", "-j", "threads_per_core", type=COUNT, default=1, help="Threads on a core."
)
@click.option("--env", multiple=True, metavar="A=B[:C=D]", help="Variables. Repeatable.")
@click.option(
    "--mode",
    type=mode,
    metavar="script|cN",
    help="script: run it once, it calls mpirun itself; c4: run it with 4 ranks per node.",
)
@click.option("--cwd", metavar="DIR", help="Where to run; by default, here.")
@click.option(
    "--outputprefix", "-O", "prefix", metavar="PREFIX", help="Link the output at PREFIX.output."
)
@click.option("--dependencies", metavar="ID[:ID]...", default="", help="Jobs to wait for, by id.")
@workflow_option("Its group of jobs.", default="qsub", show_default=True)
@click.option(
    "--resources",
    "-l",
    "lists",
    type=listed,
    multiple=True,
    metavar="LIST",
    help="As PBS has it: select=2:ncpus=8:mpiprocs=4,walltime=1:00:00. Repeatable.",
)
@_ignored
@click.argument("words", nargs=-1, required=True, metavar="COMMAND|SCRIPT [ARGS]...",
                type=click.UNPROCESSED)  # fmt: skip
def command(
    words: tuple[str, ...],
    nodes: int | None,
    ranks: int | None,
    threads: int | None,
    minutes: int | None,
    name: str | None,
    threads_per_core: int,
    env: tuple[str, ...],
    mode: str | None,
    cwd: str | None,
    prefix: str | None,
    dependencies: str,
    workflow: str,
    lists: tuple[Listed, ...],
    **ignored: Any,
) -> None:
    """Add a job and print its number. A launcher runs it, in this directory.

    A SCRIPT is run once, with its nodes to itself, and calls mpirun on its own; its #COBALT, #PBS
    and #SBATCH lines count where the command line says nothing. A COMMAND of more than one rank is
    run through mpirun.
    """
    _say_ignored(ignored, lists)
    directory = _directory(cwd)
    what = _look_at(words, directory, mode)
    said = Wishes(nodes=nodes, ranks=ranks, threads=threads, minutes=minutes, name=name)
    for list_, _ in reversed(lists):
        said = directives.merged(said, list_)
    wanted = directives.merged(said, what.wishes)

    from balsam.core.fields import parse_environ
    from balsam.core.models import BalsamJob

    variables: dict[str, str] = {}
    for text in env:
        variables.update(parse_environ(text))
    params: dict[str, Any] = {"cwd": str(directory)}
    if what.script:
        params["mpirun"] = False
        if wanted.ranks is None:
            params["whole_nodes"] = True
    elif mode:
        wanted.ranks = int(mode.removeprefix("c"))
    job = BalsamJob(
        name=wanted.name or what.name,
        workflow=workflow,
        direct_command=shlex.join(what.argv),
        num_nodes=wanted.nodes or 1,
        ranks_per_node=wanted.ranks or 1,
        threads_per_rank=wanted.threads or 1,
        threads_per_core=threads_per_core,
        wall_time_minutes=1 if wanted.minutes is None else wanted.minutes,
        environ_vars=variables,
        launch_params=params,
        auto_timeout_retry=False,
        input_files="",
        parents=[BalsamJob.objects.find(one) for one in dependencies.split(":") if one.strip()],
    )
    link = _free_link(directory, prefix) if prefix else None
    job.save()
    if link:
        _link(link, job)
    print(job.pk)


@dataclass
class What:
    """What is to be run: its argument list, a name for it, whether it starts its own ranks."""

    argv: list[str]
    name: str
    script: bool = False
    wishes: Wishes = field(default_factory=Wishes)


def _look_at(words: tuple[str, ...], directory: Path, mode: str | None) -> What:
    """Tell a script from a program from a one-line command. Raises InvalidValue."""
    first = os.path.expanduser(words[0])
    path = Path(os.path.abspath(first))
    if path.is_file():
        return _look_at_file(path, words, mode)
    if len(words) == 1 and len(words[0].split()) > 1:
        # 'balsam qsub "cd x && ./y"': one line for the shell.
        shell = shutil.which("bash") or "/bin/sh"
        name = os.path.basename(words[0].split()[0])
        return What([shell, "-c", words[0]], name, mode == "script")
    if os.sep in first or not shutil.which(first):
        raise InvalidValue(
            f"There is no file or program '{words[0]}' here; give the path of a script, or a "
            "program on PATH."
        )
    return What([first, *words[1:]], os.path.basename(first), mode == "script")


def _look_at_file(path: Path, words: tuple[str, ...], mode: str | None) -> What:
    try:
        beginning = directives.head(path)
    except OSError as error:
        if os.access(path, os.X_OK):  # a program that may be run, though not read
            return What([str(path), *words[1:]], path.name, mode == "script")
        raise InvalidValue(f"The file {path} can not be read: {error.strerror}.") from None
    argv = [str(path), *words[1:]]
    script = mode == "script" or (directives.is_script(beginning) and mode is None)
    if b"\0" not in beginning and not os.access(path, os.X_OK):
        argv = [*directives.interpreter(beginning), *argv]
        script = mode in (None, "script")
    elif not os.access(path, os.X_OK):
        raise InvalidValue(f"The file {path} is not executable; try chmod +x.")
    elif not directives.is_script(beginning) and b"\0" not in beginning:
        argv = ["/bin/sh", *argv]  # the kernel does not run a text without a first line
        script = mode in (None, "script")
    if not script:
        return What(argv, path.name)
    try:
        wished = directives.wishes(beginning.decode(errors="replace"))
    except ValueError as error:
        raise InvalidValue(f"{path}, {error}.") from None
    return What(argv, path.name, True, wished)


def _directory(cwd: str | None) -> Path:
    directory = Path(os.path.abspath(os.path.expanduser(cwd or os.getcwd())))
    if not directory.is_dir():
        raise InvalidValue(f"--cwd: there is no directory {directory}.")
    return directory


def _say_ignored(given: dict[str, Any], lists: tuple[Listed, ...]) -> None:
    said = [f"-l {name}" for _, names in lists for name in names]
    said += [short for name, short in _IGNORED.items() if given[f"ignored_{name}"] is not None]
    said = list(dict.fromkeys(said))
    if len(said) == 1:
        output.note(f"Note: {said[0]} means nothing to Balsam; it was ignored.")
    elif said:
        *others, last = said
        output.note(
            f"Note: {', '.join(others)} and {last} mean nothing to Balsam; they were ignored."
        )


def _free_link(directory: Path, prefix: str) -> Path:
    link = Path(os.path.join(directory, f"{os.path.expanduser(prefix)}.output"))
    if os.path.lexists(link) and not link.is_symlink():
        raise InvalidValue(f"-O: there is a file {link} already; choose another prefix.")
    if not link.parent.is_dir():
        raise InvalidValue(f"-O: there is no directory {link.parent}.")
    return link


def _link(link: Path, job: BalsamJob) -> None:
    """Link the output, which comes when the job runs, where a queue would have put it."""
    from balsam.platform import workdirs

    goal = Path(job.working_directory) / f"{workdirs.output_name(job.name)}.out"
    try:
        link.unlink(missing_ok=True)
        link.symlink_to(goal)
    except OSError as error:
        output.note(f"Note: {link} could not be made ({error.strerror}); the output is in {goal}.")
