"""A machine file as it is written: its keys with their help, types and limits.

The parser and the reference page are made from these tables; ``machines.py`` makes a machine of
what was read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from balsam.conf import schema
from balsam.conf.schema import group, pairs, setting, table, texts
from balsam.platform.families import FAMILIES

#: Schedulers by the names that machine files and batch jobs know them by.
SCHEDULERS = ("", "cobalt", "pbs", "slurm", "lsf")
#: Families of programs that start ranks.
FLAVOURS = ("auto", *FAMILIES)

_WINDOW = re.compile(r"(\d{1,7})-(\d{1,7}) nodes for (\d{1,7})-(\d{1,7}) min", re.ASCII)


@dataclass(frozen=True)
class NodeSection:
    """What each node has. What says more of ``cores`` is refused without them."""

    cores: int = setting(
        0,
        "Cores of a node; 0 = ask the node that the launcher runs on, for hardware threads and "
        "NUMA domains as well.",
    )
    threads_per_core: int = setting(
        0,
        "Hardware threads of each of these cores; 0 = 1. Without cores, 1 makes each hardware "
        "thread of the node a core.",
    )
    numa_domains: int = setting(1, "NUMA domains, equal blocks of these cores.", least=1)
    cpu_ids: str = setting(
        "",
        "The operating system's ids of the hardware threads of these cores, as in 0-83,88-171; "
        "empty = from 0.",
    )
    cpu_order: str = setting(
        "apart",
        "together: a core's threads have ids in a row; apart: first the first threads of all "
        "these cores, then the second ones, and so on.",
        choices=("apart", "together"),
    )
    max_ranks: int = setting(0, "The most MPI ranks on a node; 0 = no limit.")
    pack: bool = setting(
        True, "Whether jobs may share a node; those of --job-mode serial always may."
    )


@dataclass(frozen=True)
class GpuSection:
    """The GPUs of each node."""

    ids: tuple[str, ...] = texts(
        "What the mask variables call each GPU or tile, in the order to hand them out."
    )
    numa: tuple[int, ...] = texts(
        "The NUMA domain next to each of them, from 0; empty = spread evenly over numa_domains.",
        int,
    )
    masks: tuple[str, ...] = texts("Variables that tell a job its GPUs, by their ids.")
    environ: Mapping[str, str] = pairs("Other variables for every job that gets GPUs.")


@dataclass(frozen=True)
class MpiSection:
    """What starts the ranks of MPI jobs."""

    mpirun: str = setting("auto", "A path, or a name on PATH; auto = find one.")
    flavour: str = setting("auto", "Whose it is; auto = ask it.", choices=FLAVOURS)
    flags: str = setting("", "More options for every call, as in a shell.")
    max_concurrent: int = setting(
        0, "The most of them that a launcher runs at once; 0 = no limit of the machine's own."
    )
    max_launches: int = setting(
        0,
        "The most of them over the life of one launcher, those that start workers included; 0 = no "
        "limit of the machine's own.",
    )


@dataclass(frozen=True)
class WorkersSection:
    """What starts the workers, one on each node, that run serial jobs and look after ranks."""

    mpirun: str = setting(
        "auto",
        "A path, or a name on PATH; auto = as for MPI jobs, but srun for MPICH and Intel MPI "
        "inside Slurm.",
    )
    flavour: str = setting("auto", "Whose it is; auto = ask it.", choices=FLAVOURS)
    flags: str = setting("", "More options for it, as in a shell.")


@dataclass(frozen=True)
class QueueSection:
    """What a queue of the scheduler takes."""

    max_queued: int = setting(1, "The most batch jobs that one user may have in it.", least=1)
    submit: bool = setting(True, "Whether Balsam may use this queue of its own accord.")
    allows: tuple[str, ...] = texts(
        "Sizes it takes, each as in '1-2 nodes for 5-60 min'; empty = any."
    )


@dataclass(frozen=True)
class MachineFile:
    """All keys of a machine file."""

    title: str = setting("", "What the machine is called, in a few words.")
    scheduler: str = setting("", "Its scheduler; empty = none, or whichever there is.",
                             choices=SCHEDULERS)  # fmt: skip
    hosts: tuple[str, ...] = texts(
        "Names of its hosts (* and ? stand for any text and letter), to know it by."
    )
    environ: Mapping[str, str] = pairs(
        "Variables and patterns of their values; it is also known where all of them match."
    )
    node: NodeSection = group(NodeSection, "What each node has.")
    gpus: GpuSection = group(GpuSection, "The GPUs of each node.")
    mpi: MpiSection = group(MpiSection, "What starts the ranks of MPI jobs.")
    workers: WorkersSection = group(
        WorkersSection,
        "What starts the workers, one on each node, that run serial jobs and look after ranks.",
    )
    queues: Mapping[str, QueueSection] = table(
        QueueSection, "Queues of its scheduler by name, each with these settings."
    )


@dataclass(frozen=True)
class Window:
    """Sizes of batch jobs that a queue takes, both ends included."""

    min_nodes: int
    max_nodes: int
    min_minutes: int
    max_minutes: int


def parse(text: str, path: str) -> tuple[MachineFile, Mapping[str, int]]:
    """The machine written in ``text``, and the line of each key; ``path`` names it in errors.

    Raises SettingsError, and nothing else.
    """
    return schema.read_as(text, path, MachineFile, "a machine file")


def window(text: str) -> Window:
    """One size that a queue allows. Raises ValueError with what is wrong and what is expected."""
    match = _WINDOW.fullmatch(" ".join(text.split()))
    found = Window(*map(int, match.groups())) if match else Window(1, 0, 1, 0)
    if found.min_nodes > found.max_nodes or found.min_minutes > found.max_minutes:
        raise ValueError(f"'{text[:60]}'; expected sizes such as '1-2 nodes for 5-60 min'")
    return found
