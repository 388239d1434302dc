"""Batch scripts: is this file one, and what its #COBALT, #PBS and #SBATCH lines ask for."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

#: Directives come first in a script; more than this is not read.
_HEAD_BYTES = 64 * 1024
_MARKS = ("#COBALT", "#PBS", "#SBATCH")
_SHORT = {
    "#COBALT": {"-n": "nodes", "-t": "time"},
    "#PBS": {"-N": "name"},
    "#SBATCH": {"-N": "nodes", "-t": "time", "-J": "name", "-n": "tasks", "-c": "threads"},
}
_LONG = {
    "--nodecount": "nodes",
    "--nodes": "nodes",
    "--time": "time",
    "--jobname": "name",
    "--job-name": "name",
    "--ntasks": "tasks",
    "--ntasks-per-node": "ranks",
    "--cpus-per-task": "threads",
}


@dataclass
class Wishes:
    """What a script asks for; None where it says nothing. ``minutes`` are whole ones."""

    nodes: int | None = None
    ranks: int | None = None
    threads: int | None = None
    minutes: int | None = None
    name: str | None = None


def head(path: Path) -> bytes:
    """The beginning of a file. Raises OSError."""
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def is_script(beginning: bytes) -> bool:
    """Whether a file that begins so is a text with an interpreter."""
    return beginning.startswith(b"#!") and b"\0" not in beginning


def interpreter(beginning: bytes) -> list[str]:
    """The words of a script's first line, /bin/sh without one."""
    line = beginning.split(b"\n", 1)[0].decode(errors="replace")
    return line[2:].split() if line.startswith("#!") else ["/bin/sh"]


def wishes(text: str) -> Wishes:
    """What the directives at the head of a script ask for.

    Later ones win. What means nothing here (a queue, an account, e-mail) is passed over. Raises
    ValueError, naming the line, for a number or a time that can not be read.
    """
    found = Wishes()
    tasks: int | None = None
    for number, mark, words in _directives(text):
        try:
            for name, value in _options(mark, words):
                if name == "tasks":
                    tasks = int(value)
                elif name == "list":
                    _read_list(found, value)
                elif name == "time":
                    found.minutes = minutes(value, slurm=mark == "#SBATCH")
                elif name == "name":
                    found.name = value
                else:
                    setattr(found, name, _count(value))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    if tasks and found.ranks is None:
        found.ranks = -(-tasks // (found.nodes or 1))
    return found


def listed(text: str) -> tuple[Wishes, list[str]]:
    """What a list of resources after ``-l`` asks for, and the names in it that mean nothing here.

    Raises ValueError as :func:`wishes` does.
    """
    found = Wishes()
    return found, _read_list(found, text)


def merged(first: Wishes, second: Wishes) -> Wishes:
    """``first``, and what only ``second`` says."""
    names = [field.name for field in fields(Wishes)]
    mine = {name: getattr(first, name) for name in names}
    return Wishes(
        **{name: getattr(second, name) if value is None else value for name, value in mine.items()}
    )


def minutes(text: str, *, slurm: bool = False) -> int:
    """Minutes, rounded up, of ``90`` (minutes) or ``1:30:00``; ValueError otherwise.

    Two numbers are hours and minutes, in Slurm's scripts minutes and seconds; a number of days
    with a dash may come first.
    """
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text.strip())
    if not found:
        raise ValueError(f"'{text}' is no time; write minutes or HH:MM:SS")
    days, *rest = found.groups()
    parts = [int(part) for part in rest if part is not None]
    if days is not None or len(parts) == 3:
        seconds = [60 * 60, 60, 1]
    elif len(parts) == 2:
        seconds = [60, 1] if slurm else [60 * 60, 60]
    else:
        seconds = [60]
    total = sum(part * unit for part, unit in zip(parts, seconds, strict=False))
    total += 24 * 60 * 60 * int(days or 0)
    return -(-total // 60)


def _directives(text: str) -> Iterator[tuple[int, str, list[str]]]:
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if line and not line.startswith("#"):
            return
        mark, _, rest = line.partition(" ")
        if mark in _MARKS:
            try:
                yield number, mark, shlex.split(rest, comments=True)
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None


def _options(mark: str, words: list[str]) -> Iterator[tuple[str, str]]:
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if word.startswith("--"):
            option, equals, value = word.partition("=")
            name = _LONG.get(option)
        else:
            option, equals, value = word[:2], word[2:], word[2:].removeprefix("=")
            name = "list" if (mark, option) == ("#PBS", "-l") else _SHORT[mark].get(option)
        if name is None:
            continue
        if not equals:
            if not queue:
                raise ValueError(f"{option} needs a value")
            value = queue.pop(0)
        yield name, value


def _read_list(found: Wishes, text: str) -> list[str]:
    """``select=2:ncpus=8:mpiprocs=4,walltime=1:00:00`` and ``nodes=2:ppn=4``.

    The CPUs of a chunk are shared by its ranks, as PBS does where ``ompthreads`` is not given.
    Returns the names of what means nothing.
    """
    cpus = threads = None
    ignored: list[str] = []
    for item in text.split(","):
        for part in re.split(r":(?=[a-z])", item):
            name, _, value = part.partition("=")
            if name in ("select", "nodes"):
                found.nodes = _count(value)
            elif name in ("mpiprocs", "ppn"):
                found.ranks = _count(value)
            elif name == "ompthreads":
                threads = _count(value)
            elif name == "ncpus":
                cpus = _count(value)
            elif name == "walltime":
                found.minutes = _pbs_minutes(value)
            elif name:
                ignored.append(name)
    if cpus and threads is None:
        threads = max(1, cpus // (found.ranks or 1))
    if threads:
        found.threads = threads
    return ignored


def _pbs_minutes(text: str) -> int:
    """PBS counts from the right: seconds, MM:SS, HH:MM:SS."""
    if not re.fullmatch(r"\d+(:\d+){0,2}", text):
        raise ValueError(f"'{text}' is no walltime; write HH:MM:SS")
    total = 0
    for part in text.split(":"):
        total = total * 60 + int(part)
    return -(-total // 60)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ValueError(f"'{text}' is no number of nodes, ranks or threads")
    return int(text)
