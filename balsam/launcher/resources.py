"""What a launcher has: nodes, cores, GPUs, programs that start ranks, limits, and until when."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone

from balsam.conf import machines
from balsam.conf.machines import AUTO, Machine
from balsam.conf.project import Project
from balsam.conf.settings import Launcher as LauncherSettings
from balsam.conf.settings import Mpi as MpiSettings
from balsam.core.offer import Offer
from balsam.launcher.options import LauncherOptions
from balsam.launcher.partition import share
from balsam.launcher.tasks import short
from balsam.platform import allocation as allocations
from balsam.platform import node, nodelist, time_left
from balsam.platform import shape as shapes
from balsam.platform.allocation import Allocation
from balsam.platform.allotment import Gpus
from balsam.platform.mpirun import SETTINGS
from balsam.platform.shape import NodeShape

#: The part of its time that a launcher gives up for stopping in order, at most.
_MOST_MARGIN = 0.1
#: What tells a job its GPUs where no machine file does.
_MASKS = ("CUDA_VISIBLE_DEVICES",)
_MASK_ENVIRON = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
_NOT_ASKED = (
    "Nobody told how many cores the nodes have: they are taken to be like this host, which is none "
    "of them, with {cores}; launcher.cores_per_node in settings.yml says otherwise."
)


@dataclass(frozen=True)
class Starts:
    """What starts ranks: a program and its family, or ``auto``, and more options for it.

    ``said_by`` is for people: who named the program.
    """

    program: str = AUTO
    flavour: str = AUTO
    flags: str = ""
    said_by: str = field(default=SETTINGS, compare=False)


@dataclass(frozen=True)
class Resources:
    """What a launcher may use. Times are epoch seconds; None: no end; 0: no limit.

    ``workers`` starts the workers on nodes, where there are others than this one.
    """

    machine: str
    nodes: tuple[str, ...]
    shape: NodeShape
    #: Whether the CPUs of all nodes have the numbers that ``shape`` gives.
    alike: bool = True
    scheduler: str = ""
    batch_id: str = ""
    ends: float | None = None
    max_ranks: int = 0
    pack: bool = True
    max_concurrent_mpiruns: int = 0
    max_launches: int = 0
    gpu_masks: tuple[str, ...] = ()
    gpu_environ: Mapping[str, str] | None = None
    mpi: Starts = Starts()
    workers: Starts = Starts()
    #: What a person should know of how this was found.
    notice: str = ""

    def seconds_left(self, now: float) -> float | None:
        """Seconds until it has to be done, not below 0; None without an end."""
        return None if self.ends is None else max(0.0, self.ends - now)


def resolve(
    machine: Machine,
    settings: LauncherSettings,
    mpi: MpiSettings,
    options: LauncherOptions,
    allocation: Allocation,
    now: float,
    ask: Callable[[bool], NodeShape] = lambda separate: shapes.this_node(separate_threads=separate),
    on_node: bool = True,
) -> Resources:
    """What all say made one: options go before settings, machine file, batch job and this node.

    ``ask`` tells what this node has, for a machine that does not say; it is told whether hardware
    threads count as cores. ``on_node``: this is one of the nodes. Raises AllocationError for nodes
    that are not there.
    """
    nodes = allocations.part(allocation.nodes, options.limit_nodes, options.offset_nodes)
    masks, variables = _masks(machine, allocation)
    shape = _shape(machine, settings, options, allocation, nodes, ask, on_node)
    at_once = _least(settings.max_concurrent_mpiruns, machine.max_concurrent_mpiruns)
    launches = _least(settings.max_launches, machine.max_launches)
    told = on_node or machine.shape or settings.cores_per_node or _least_cpus(allocation, nodes)
    return Resources(
        machine=machine.name,
        nodes=nodes,
        shape=shape,
        # Its parts of several nodes need not be the same CPUs on each.
        alike=not (shape.part and allocation.cpus and len(nodes) > 1),
        notice=_sentences(allocation.notice, "" if told else _NOT_ASKED.format(cores=shape.cores)),
        scheduler=allocation.scheduler,
        batch_id=allocation.batch_id,
        ends=_ends(settings, options, allocation, now),
        max_ranks=options.max_ranks_per_node
        or settings.max_ranks_per_node
        or machine.max_ranks_per_node,
        pack=machine.pack,
        max_concurrent_mpiruns=share(at_once, len(nodes), options),
        max_launches=share(launches, len(nodes), options),
        gpu_masks=masks,
        gpu_environ=variables,
        mpi=_starts(mpi, machine),
        workers=_workers(mpi, machine),
    )


def find(
    project: Project, options: LauncherOptions, environ: Mapping[str, str] = os.environ
) -> Resources:
    """What a launcher started here and now has. Raises AllocationError and SettingsError."""
    settings, now = project.settings(), time.time()
    given = allocations.detect(environ, now)
    machine = machines.load(
        options.machine or settings.launcher.machine,
        project.path,
        environ,
        given.scheduler,
        (socket.gethostname(), given.nodes[0]),
    )
    on_node = has_this_node(given.nodes)
    found = resolve(machine, settings.launcher, settings.mpi, options, given, now, on_node=on_node)
    if found.ends is None:
        more = time_left.misunderstood(given.scheduler, environ)
        found = replace(found, notice=_sentences(found.notice, more))
    return found


def has_this_node(nodes: Iterable[str]) -> bool:
    """Whether any of these is the node that this is."""
    here = names_of_this_node()
    return any(short(name) in here for name in nodes)


def names_of_this_node() -> frozenset[str]:
    """How an allocation may call this node, without a domain."""
    hostname = node.this_node().hostname
    names = (hostname, os.environ.get("SLURMD_NODENAME", hostname))
    return frozenset(short(name) for name in names)


def offer(resources: Resources, options: LauncherOptions) -> Offer:
    """What a launcher with these resources tells others that it can run, and where."""
    ends = resources.ends
    return Offer(
        nodes=len(resources.nodes),
        cores_per_node=resources.shape.cores,
        gpus_per_node=len(resources.shape.gpus),
        max_ranks_per_node=resources.max_ranks,
        wf_filter=options.wf_filter,
        job_mode=options.job_mode,
        ends=None if ends is None else datetime.fromtimestamp(ends, timezone.utc),
        tags=options.tags,
        scheduler=resources.scheduler,
        batch_id=resources.batch_id,
        node_names=nodelist.compress(resources.nodes),
    )


def _shape(
    machine: Machine,
    settings: LauncherSettings,
    options: LauncherOptions,
    allocation: Allocation,
    nodes: tuple[str, ...],
    ask: Callable[[bool], NodeShape],
    on_node: bool,
) -> NodeShape:
    """What each of the nodes has."""
    shape, cores = machine.shape, settings.cores_per_node
    part = on_node and allocation.cpus and not cores
    if shape is None and not on_node and not cores:
        # This host is none of the nodes: what it has says nothing of them.
        told = _least_cpus(allocation, nodes)
        shape = _with_gpus_of(machine, shapes.uniform(told)) if told else None
    if shape is None or part:
        # Which cores of a node that it shares with others, only this node can tell.
        here = _with_gpus_of(machine, ask(machine.separate_threads))
        shape = here if shape is None or here.cores < shape.cores else shape
    given = 0 if cores else _cores_given(allocation, nodes, shape)
    shape = _with_cores(replace(shape, part=shape.part or bool(given)), cores or given)
    if allocation.gpus:
        shape = _of_these(allocation.gpus, machine, shape)
    if options.gpus_per_node is not None:
        return _with_gpus(shape, options.gpus_per_node)
    return _with_gpus(shape, settings.gpus_per_node or None)


def _masks(machine: Machine, allocation: Allocation) -> tuple[tuple[str, ...], Mapping[str, str]]:
    """The variables that tell a job its GPUs, and others that belong to them."""
    if allocation.gpus and allocation.gpus.masks and not machine.gpus:
        # The ids are those of the environment as it is.
        return allocation.gpus.masks, machine.gpu_environ
    if machine.gpu_masks:
        return machine.gpu_masks, machine.gpu_environ
    return _MASKS, _MASK_ENVIRON


def _ends(
    settings: LauncherSettings, options: LauncherOptions, allocation: Allocation, now: float
) -> float | None:
    """The end of its time: that of the batch job but for a margin, and that it was told."""
    ends = []
    if allocation.ends is not None:
        there = max(0.0, allocation.ends - now)
        ends.append(now + there - min(settings.margin_seconds, there * _MOST_MARGIN))
    if options.time_limit_minutes:
        ends.append(now + 60 * options.time_limit_minutes)
    return min(ends, default=None)


def _sentences(*notices: str) -> str:
    return " ".join(filter(None, notices))


def _least(*limits: int) -> int:
    """The least of these limits, of which 0 are none."""
    return min((limit for limit in limits if limit), default=0)


def _starts(mpi: MpiSettings, machine: Machine) -> Starts:
    if mpi.mpirun != AUTO:
        # The machine's flavour and options are those of its own program.
        return Starts(mpi.mpirun, mpi.flavour, mpi.flags)
    flavour = machine.mpi_flavour if mpi.flavour == AUTO else mpi.flavour
    flags = " ".join(part for part in (machine.mpi_flags, mpi.flags) if part)
    return Starts(machine.mpi_program, flavour, flags, f"mpi.mpirun of machine '{machine.name}'")


def _workers(mpi: MpiSettings, machine: Machine) -> Starts:
    if machine.serial_program == AUTO:
        return _starts(mpi, machine)
    program, flavour = machine.serial_program, machine.serial_flavour
    said_by = f"workers.mpirun of machine '{machine.name}'"
    return Starts(program, flavour, machine.serial_flags, said_by)


def _with_gpus_of(machine: Machine, shape: NodeShape) -> NodeShape:
    """A node that was asked for its cores, with the GPUs that the machine file names."""
    there = max(machine.gpu_numa, default=0) < len(shape.numa)
    return replace(shape, gpus=machine.gpus, gpu_numa=machine.gpu_numa if there else ())


def _of_these(given: Gpus, machine: Machine, shape: NodeShape) -> NodeShape:
    """A node with the GPUs of it that the batch job was given, in the order of the machine."""
    if machine.gpus and given.masks and not set(given.masks) & set(machine.gpu_masks):
        return shape  # the mask is for another make of GPUs
    # A whole GPU of several tiles stands for all of them: 0 for 0.0 and 0.1.
    kept = [
        place
        for place, gpu in enumerate(shape.gpus)
        if gpu in given.ids or gpu.partition(".")[0] in given.ids
    ]
    if not kept:
        return replace(shape, gpus=given.ids, gpu_numa=())
    numa = tuple(shape.gpu_numa[place] for place in kept) if shape.gpu_numa else ()
    return replace(shape, gpus=tuple(shape.gpus[place] for place in kept), gpu_numa=numa)


def _cores_given(allocation: Allocation, nodes: tuple[str, ...], shape: NodeShape) -> int:
    """How many cores of a node like this the batch job has on each of them; 0: all there are.

    Slurm counts hardware threads, unless it was told that it has as many CPUs as there are cores.
    """
    least = _least_cpus(allocation, nodes)
    if not least:
        return 0
    in_threads = allocation.scheduler == allocations.SLURM and allocation.cpus[0] != shape.cores
    cores = max(1, least // (shape.threads_per_core if in_threads else 1))
    return cores if cores < shape.cores else 0


def _least_cpus(allocation: Allocation, nodes: tuple[str, ...]) -> int:
    """The CPUs that the batch job has on each of these nodes, the least; 0 where nobody tells."""
    cpus = dict(zip(allocation.nodes, allocation.cpus, strict=False))
    return min((cpus[node] for node in nodes if node in cpus), default=0)


def _with_cores(shape: NodeShape, cores: int) -> NodeShape:
    """A node with as many cores as the settings say: its first ones, or some more than once."""
    if cores in (0, shape.cores):
        return shape
    source = [core % shape.cores for core in range(cores)]
    domains = [
        tuple(core for core in range(cores) if source[core] in domain)
        for domain in map(frozenset, shape.numa)
    ]
    left = tuple(domain for domain in domains if domain)
    numa = left if len(left) > 1 else ()
    # Domains keep their numbers only as long as all of them are there.
    gpu_numa = shape.gpu_numa if len(left) == len(shape.numa) else ()
    cpus = tuple(shape.cpus[core] for core in source)
    return NodeShape(cores, cpus, numa, shape.gpus, gpu_numa, shape.part)


def _with_gpus(shape: NodeShape, number: int | None) -> NodeShape:
    """A node with so many GPUs, the first it has; None: as it is."""
    there = len(shape.gpus)
    if number is None or number == there:
        return shape
    if number < there:
        return replace(shape, gpus=shape.gpus[:number], gpu_numa=shape.gpu_numa[:number])
    more = (str(gpu) for gpu in range(number + there) if str(gpu) not in shape.gpus)
    added = tuple(next(more) for _ in range(number - there))
    return replace(shape, gpus=shape.gpus + added, gpu_numa=())
