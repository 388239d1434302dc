"""Machines: what their nodes have, what starts ranks there, and what their queues take."""

from __future__ import annotations

import fnmatch
import os
import socket
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from balsam.conf import machine_file, templates
from balsam.conf.machine_file import MachineFile, Window
from balsam.errors import SettingsError, nearest
from balsam.platform import nodelist, shape
from balsam.platform.shape import NodeShape

AUTO = "auto"
#: The machine that is none: this host, as it is.
LAPTOP = "laptop"
_DIRECTORY = "machines"
_SUFFIX = ".yml"
#: The keys by which a machine is known.
_SIGNS = ("hosts:", "environ:")
_THREADS = "node.threads_per_core"
#: What says more of cores that are given.
_OF_CORES = (_THREADS, "node.numa_domains", "node.cpu_ids", "node.cpu_order")


@dataclass(frozen=True)
class Queue:
    """What a queue takes; no windows: any size."""

    name: str
    max_queued: int = 1
    submit: bool = True
    windows: tuple[Window, ...] = ()


@dataclass(frozen=True)
class Machine:
    """One machine. ``shape`` is None where the node itself has to be asked.

    ``separate_threads`` then makes each hardware thread a core. Numbers of 0 are no limits;
    programs and flavours of ``auto`` are to be found out. ``serial_*`` starts the workers.
    """

    name: str
    title: str = ""
    path: str = ""
    scheduler: str = ""
    hosts: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    shape: NodeShape | None = None
    separate_threads: bool = False
    gpus: tuple[str, ...] = ()
    gpu_numa: tuple[int, ...] = ()
    gpu_masks: tuple[str, ...] = ()
    gpu_environ: Mapping[str, str] = field(default_factory=dict)
    mpi_program: str = AUTO
    mpi_flavour: str = AUTO
    mpi_flags: str = ""
    serial_program: str = AUTO
    serial_flavour: str = AUTO
    serial_flags: str = ""
    max_concurrent_mpiruns: int = 0
    max_launches: int = 0
    max_ranks_per_node: int = 0
    pack: bool = True
    queues: Mapping[str, Queue] = field(default_factory=dict)


def load(
    name: str,
    project: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    scheduler: str = "",
    hosts: Iterable[str] | None = None,
) -> Machine:
    """The machine of that name, of a file (a path), or with ``auto`` the one this is.

    Files in ``machines/`` of the project come before those of Balsam. ``scheduler`` and ``hosts``
    (this host's name if left out) are what ``auto`` goes by, with ``environ``. Raises
    SettingsError, naming file, line and key, or the machines there are.
    """
    if name == AUTO:
        return guess(project, environ, scheduler, hosts)
    if "/" in name or name.endswith((_SUFFIX, ".yaml")):
        path = Path(name).expanduser()
        return read((project / path) if project and not path.exists() else path)
    files = available(project)
    if name not in files:
        own = f", or write {project / _DIRECTORY / name}{_SUFFIX}" if project else ""
        raise SettingsError(
            f"There is no machine '{name[:60]}'{nearest(name, files)} (there are "
            f"{', '.join(files)}{own})."
        )
    return read(files[name])


def available(project: Path | None = None) -> dict[str, Path]:
    """The file of each machine by its name, the project's own before those of Balsam."""
    directories = [templates.directory(_DIRECTORY)]
    if project is not None:
        directories.append(project / _DIRECTORY)
    files = {
        path.stem: path
        for directory in directories
        if directory is not None and directory.is_dir()
        for path in directory.glob(f"*{_SUFFIX}")
    }
    return dict(sorted(files.items()))


def guess(
    project: Path | None,
    environ: Mapping[str, str],
    scheduler: str = "",
    hosts: Iterable[str] | None = None,
) -> Machine:
    """The machine whose patterns match best, else the one named like the scheduler, else a laptop.

    A file of the project that can not be read is an error, for it may be the one that is meant.
    """
    names = [socket.gethostname()] if hosts is None else list(hosts)
    files = available(project)
    ours = templates.directory(_DIRECTORY)
    found = {
        name: _likeness(sketch(path) if path.parent == ours else read(path), names, environ)
        for name, path in files.items()
    }
    best = max(found.values(), default=0)
    if best:
        name = next(name for name, points in found.items() if points == best)
    else:
        name = scheduler if scheduler in files else LAPTOP
    return read(files[name]) if name in files else Machine(LAPTOP, separate_threads=True)


def sketch(path: Path) -> Machine:
    """What one of Balsam's own files says of who it is for, on lines that need no other.

    Reading all of all of them would take every launcher longer than it takes to begin.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    return parse("\n".join(line for line in lines if line.startswith(_SIGNS)), path)


def _likeness(machine: Machine, hosts: Iterable[str], environ: Mapping[str, str]) -> int:
    """How many patterns speak for a machine; 0 for one that this is not."""
    by_host = any(fnmatch.fnmatchcase(host, glob) for host in hosts for glob in machine.hosts)
    by_environ = bool(machine.environ) and all(
        fnmatch.fnmatchcase(environ.get(name, ""), glob) and name in environ
        for name, glob in machine.environ.items()
    )
    return int(by_host) + (len(machine.environ) if by_environ else 0)


def read(path: Path) -> Machine:
    """The machine that a file describes. Raises SettingsError."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise SettingsError(
            f"There is no machine file {path}; 'balsam machines' lists the machines there are."
        ) from error
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} can not be read ({error}).") from error
    return parse(text, path)


def parse(text: str, path: Path) -> Machine:
    """The machine written in ``text``; its name is that of the file. Raises SettingsError."""
    written, lines = machine_file.parse(text, str(path))
    try:
        node, gpu_numa, queues = _node(written, lines), _gpu_numa(written), _queues(written)
        _check_workers(written)
    except _Wrong as wrong:
        line = next((lines[key] for key in (wrong.key, *_parents(wrong.key)) if key in lines), 1)
        raise SettingsError(f"{path}, line {line}: {wrong.key} is {wrong.what}.") from wrong
    gpus, mpi, workers = written.gpus, written.mpi, written.workers
    return Machine(
        name=path.stem,
        title=written.title or path.stem,
        path=str(path),
        scheduler=written.scheduler,
        hosts=written.hosts,
        environ=written.environ,
        shape=node and NodeShape(node.cores, node.cpus, node.numa, gpus.ids, gpu_numa),
        separate_threads=written.node.threads_per_core == 1,
        gpus=gpus.ids,
        gpu_numa=gpu_numa,
        gpu_masks=gpus.masks,
        gpu_environ=gpus.environ,
        mpi_program=mpi.mpirun,
        mpi_flavour=mpi.flavour,
        mpi_flags=mpi.flags,
        serial_program=workers.mpirun,
        serial_flavour=workers.flavour,
        serial_flags=workers.flags,
        max_concurrent_mpiruns=mpi.max_concurrent,
        max_launches=mpi.max_launches,
        max_ranks_per_node=written.node.max_ranks,
        pack=written.node.pack,
        queues=queues,
    )


class _Wrong(Exception):
    """A value that can not be, by itself or beside another one."""

    def __init__(self, key: str, what: str) -> None:
        super().__init__(key, what)
        self.key, self.what = key, what


def _parents(key: str) -> list[str]:
    parts = key.split(".")
    return [".".join(parts[:number]) for number in range(len(parts) - 1, 0, -1)]


def _node(written: MachineFile, given: Container[str]) -> NodeShape | None:
    """Cores and domains of a node; None if the node itself is to be asked."""
    node = written.node
    if not node.cores:
        for key in _OF_CORES:
            # One thread for each core is a way to ask.
            if key in given and (key != _THREADS or node.threads_per_core > 1):
                raise _Wrong(key, "given without node.cores; expected both, or neither to have the "
                             "node asked")  # fmt: skip
        return None
    threads = max(1, node.threads_per_core)
    number = node.cores * threads
    if node.numa_domains > node.cores:
        raise _Wrong("node.numa_domains", f"{node.numa_domains}; expected at most {node.cores}, "
                     "the number of cores")  # fmt: skip
    try:
        cpus = nodelist.numbers(node.cpu_ids) if node.cpu_ids else list(range(number))
    except ValueError as error:
        raise _Wrong("node.cpu_ids", f"no list of numbers such as 0-83,88-171: {error}") from error
    if len(set(cpus)) != number or len(cpus) != number:
        each = f"{node.cores} cores of {threads} threads"
        raise _Wrong("node.cpu_ids", f"{len(set(cpus))} numbers; expected {number} ({each})")
    if node.cpu_order == "together":
        threads_of = [cpus[core * threads : (core + 1) * threads] for core in range(node.cores)]
    else:
        threads_of = [cpus[core :: node.cores] for core in range(node.cores)]
    domains = tuple(shape.blocks(range(node.cores), node.numa_domains))
    return NodeShape(node.cores, tuple(map(tuple, threads_of)), domains)


def _gpu_numa(written: MachineFile) -> tuple[int, ...]:
    gpus, node = written.gpus, written.node
    domains = node.numa_domains
    if len(set(gpus.ids)) < len(gpus.ids):
        raise _Wrong("gpus.ids", "a list that names a GPU twice")
    if gpus.ids and not gpus.masks:
        raise _Wrong("gpus.masks", "empty; expected the variables that tell a job its GPUs")
    if not gpus.numa:
        return shape.spread(len(gpus.ids), domains)
    if len(gpus.numa) != len(gpus.ids):
        raise _Wrong("gpus.numa", f"a list of {len(gpus.numa)}; expected one number for each of "
                     f"gpus.ids, which are {len(gpus.ids)}")  # fmt: skip
    # A node that is asked tells later whether it has such domains.
    if node.cores and max(gpus.numa) >= domains:
        raise _Wrong("gpus.numa", f"a list with {max(gpus.numa)}; expected numbers below "
                     f"{domains}, the number of node.numa_domains")  # fmt: skip
    return gpus.numa


def _check_workers(written: MachineFile) -> None:
    """What is said of a program is said of one that has a name."""
    workers = written.workers
    for key, given in (("flavour", workers.flavour != AUTO), ("flags", workers.flags)):
        if given and workers.mpirun == AUTO:
            raise _Wrong(f"workers.{key}", "given without workers.mpirun; expected both, or "
                         "neither to have the workers started as MPI jobs are")  # fmt: skip


def _queues(written: MachineFile) -> dict[str, Queue]:
    queues = {}
    for name, queue in written.queues.items():
        try:
            windows = tuple(map(machine_file.window, queue.allows))
        except ValueError as error:
            raise _Wrong(f"queues.{name}.allows", str(error)) from error
        queues[name] = Queue(name, queue.max_queued, queue.submit, windows)
    return queues
