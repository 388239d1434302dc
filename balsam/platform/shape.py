"""What a node has: its cores with their hardware threads, NUMA domains and GPUs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from balsam.platform.nodelist import numbers

_SYSTEM = Path("/sys/devices/system")


@dataclass(frozen=True)
class NodeShape:
    """What each node of an allocation has.

    Cores are numbered from 0; ``cpus[core]`` are the operating system's ids of its hardware
    threads. ``numa`` are the cores of each domain, () where it is one domain. ``gpus`` are the ids
    that the mask variable takes ("0", "0.1", "MIG-..."), in the order in which they are handed
    out, and ``gpu_numa`` the domain that each is next to, () where that is not known. ``part``: it
    has CPUs that are not among these, which others may use.
    """

    cores: int
    cpus: tuple[tuple[int, ...], ...]
    numa: tuple[tuple[int, ...], ...] = ()
    gpus: tuple[str, ...] = ()
    gpu_numa: tuple[int, ...] = ()
    part: bool = False

    @property
    def threads_per_core(self) -> int:
        """Hardware threads of a core, the most of any."""
        return max(map(len, self.cpus), default=1)


def uniform(
    cores: int,
    threads_per_core: int = 1,
    numa_domains: int = 1,
    gpus: Sequence[str] = (),
    gpu_numa: Sequence[int] | None = None,
) -> NodeShape:
    """A node of equal cores in equal domains; ``cpus[core]`` is (core, core + cores, ...).

    Domains are blocks of cores. GPUs are spread over the domains in their order, unless
    ``gpu_numa`` says where each is.
    """
    cpus = tuple(tuple(range(core, cores * threads_per_core, cores)) for core in range(cores))
    if gpu_numa is None:
        gpu_numa = spread(len(gpus), numa_domains)
    return NodeShape(
        cores, cpus, tuple(blocks(range(cores), numa_domains)), tuple(gpus), tuple(gpu_numa)
    )


def spread(number: int, domains: int) -> tuple[int, ...]:
    """The domain of each of so many things in a row; () where there is one domain."""
    return tuple(index * domains // number for index in range(number)) if domains > 1 else ()


def blocks(cores: Sequence[int], domains: int) -> Iterator[tuple[int, ...]]:
    """The cores of each domain; none where there is one domain."""
    if domains > 1:
        edges = [len(cores) * index // domains for index in range(domains + 1)]
        for first, last in zip(edges, edges[1:], strict=False):
            yield tuple(cores[first:last])


def this_node(*, separate_threads: bool = False, system: Path = _SYSTEM) -> NodeShape:
    """What this process may use of the node it runs on, without GPUs.

    That is the hardware threads it is bound to, grouped to cores and domains as the kernel tells.
    Where it does not tell (as in some containers), and with ``separate_threads``, each thread
    counts as a core, and where it tells of no domains, there is one.
    """
    allowed = os.sched_getaffinity(0)
    return observed(allowed, system, separate_threads=separate_threads)


def observed(allowed: Iterable[int], system: Path, *, separate_threads: bool = False) -> NodeShape:
    """:func:`this_node` for given hardware threads and directory of the kernel's answers."""
    mine = frozenset(allowed)
    cpus: list[tuple[int, ...]] = []
    seen: set[int] = set()
    for cpu in sorted(mine):
        if cpu not in seen:
            together = {cpu} if separate_threads else siblings(cpu, system) & mine - seen | {cpu}
            cpus.append(tuple(sorted(together)))
            seen |= together
    core_of = {cpu: core for core, cpus_of_it in enumerate(cpus) for cpu in cpus_of_it}
    part = not _listed(system / "cpu" / "online") <= mine
    return NodeShape(len(cpus), tuple(cpus), _domains(core_of, system), part=part)


def siblings(cpu: int, system: Path = _SYSTEM) -> set[int]:
    """The hardware threads of the core that has this one, none where the kernel does not tell."""
    topology = system / "cpu" / f"cpu{cpu}" / "topology"
    return _listed(topology / "thread_siblings_list")


def _domains(core_of: dict[int, int], system: Path) -> tuple[tuple[int, ...], ...]:
    """The cores of each domain, each core in one; () unless that is more than one domain."""
    try:
        found = [
            path for path in (system / "node").iterdir() if re.fullmatch(r"node\d+", path.name)
        ]
    except OSError:
        return ()
    domains: list[tuple[int, ...]] = []
    left = set(core_of.values())
    for path in sorted(found, key=lambda path: int(path.name[len("node") :])):
        cores = {core_of[cpu] for cpu in _listed(path / "cpulist") if cpu in core_of} & left
        # Domains of memory alone have no cores.
        if cores:
            domains.append(tuple(sorted(cores)))
            left -= cores
    return tuple(domains) if len(domains) > 1 and not left else ()


def _listed(path: Path) -> set[int]:
    try:
        return set(numbers(path.read_text()))
    except (OSError, ValueError):
        return set()
