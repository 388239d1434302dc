"""What an attempt gets: its share of a node, by the ids that programs and the system know."""

from __future__ import annotations

from typing import NamedTuple

from balsam.launcher.placement.need import Need
from balsam.launcher.placement.node import Layout, Share, positions
from balsam.launcher.placement.request import NUMA, Request


class Placement(NamedTuple):
    """The share an attempt holds, the same on each of its nodes.

    ``cores`` may be a fraction. ``gpus`` are ids for the mask variable; others may hold a GPU too
    that was asked for in parts, or not at all. ``core_ids`` are the cores it holds, () for all;
    ``cpus`` are the hardware threads, in the system's numbers, that it is to be confined to, () if
    it is not.
    """

    nodes: tuple[str, ...]
    cores: float
    gpus: tuple[str, ...] = ()
    core_ids: tuple[int, ...] = ()
    cpus: tuple[int, ...] = ()


class Grants:
    """Placements on nodes of one shape."""

    def __init__(self, layout: Layout) -> None:
        shape = layout.shape
        self._shape = shape
        self._all_gpus = layout.all_gpus
        self._singles = [(core,) if shape.cores > 1 else () for core in range(shape.cores)]

    def of(self, names: tuple[str, ...], share: Share, need: Need, request: Request) -> Placement:
        """What a share of one node comes to."""
        cores: tuple[int, ...]
        gpus: tuple[str, ...]
        if need.simple:
            cores, gpus = self._singles[share.cores.bit_length() - 1], ()
        else:
            cores, gpus = self._core_ids(share, need), self._gpu_ids(share)
        cpus = self._confined(cores, request) if need.confined else ()
        return Placement(names, need.share, gpus, cores, cpus)

    def whole(self, names: tuple[str, ...], need: Need) -> Placement:
        """All of several nodes."""
        return Placement(names, need.share, self._shape.gpus)

    def _gpu_ids(self, share: Share) -> tuple[str, ...]:
        gpus = self._shape.gpus
        if share.gpus:
            if share.gpus == self._all_gpus:
                return gpus
            return tuple([gpus[gpu] for gpu in positions(share.gpus)])
        return (gpus[share.gpu],) if share.gpu >= 0 else ()

    def _core_ids(self, share: Share, need: Need) -> tuple[int, ...]:
        if need.cores == self._shape.cores:
            return ()
        return positions(share.cores) if share.cores else (share.core,)

    def _confined(self, cores: tuple[int, ...], request: Request) -> tuple[int, ...]:
        """The hardware threads of some cores that a request is to be confined to."""
        shape = self._shape
        own = cores or range(shape.cores)
        if request.affinity != NUMA:
            return tuple(
                cpu for core in own for cpu in shape.cpus[core][: request.threads_per_core]
            )
        domains = [domain for domain in shape.numa if not set(domain).isdisjoint(own)]
        mine = [core for domain in domains for core in domain] or range(shape.cores)
        return tuple(cpu for core in mine for cpu in shape.cpus[core])
