"""One node: which of its cores and GPUs are free, and who holds the rest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from balsam.launcher.placement.need import UNITS, Need
from balsam.platform.shape import NodeShape

#: The end of what nobody can estimate.
NEVER = float("inf")
#: What of a node is free beside its cores: whole GPUs, the largest rest of a GPU that is given out
#: in parts, and the rest of the cores that are given out in parts (both in units).
Kind = tuple[int, int, int]
PLAIN: Kind = (0, 0, 0)


class Share(NamedTuple):
    """What one attempt holds of one node: bits of cores and GPUs, and units of shared ones."""

    end: float
    cores: int
    rest: int = 0
    #: The shared core it is on, -1 for none.
    core: int = -1
    gpus: int = 0
    #: The GPU it shares, -1 for none, with so many units of it (0: nobody asked for it).
    gpu: int = -1
    gpu_units: int = 0


class Layout:
    """A node's shape, in bits."""

    def __init__(self, shape: NodeShape) -> None:
        self.shape = shape
        self.all_cores = (1 << shape.cores) - 1
        self.all_gpus = (1 << len(shape.gpus)) - 1
        self.domains = [sum(1 << core for core in domain) for domain in shape.numa]
        near = shape.gpu_numa if self.domains else ()
        #: The GPUs next to each domain.
        self.domain_gpus = [
            sum(1 << gpu for gpu, domain in enumerate(near) if domain == index)
            for index in range(len(self.domains))
        ]

    def choose_cores(self, free: int, number: int, gpus: int) -> int:
        """``number`` of the free cores: from one domain where they fit, next to these GPUs."""
        if not self.domains:
            return lowest(free, number)
        near = [bool(gpus & own) for own in self.domain_gpus]
        fitting = [
            (not near[index], here.bit_count(), index)
            for index, domain in enumerate(self.domains)
            if (here := free & domain).bit_count() >= number
        ]
        if fitting:
            return lowest(free & self.domains[min(fitting)[2]], number)
        chosen = 0
        order = sorted(
            range(len(self.domains)),
            key=lambda index: (not near[index], -(free & self.domains[index]).bit_count(), index),
        )
        for index in order:
            here = free & self.domains[index]
            chosen |= lowest(here, min(number - chosen.bit_count(), here.bit_count()))
        return chosen

    def choose_gpus(self, free: int, number: int, cores: int, wanted: int) -> int:
        """``number`` of the free GPUs: next to ``wanted`` cores of one domain, where that can be.

        ``cores`` are the free ones.
        """
        for domain, gpus in zip(self.domains, self.domain_gpus, strict=True):
            here = free & gpus
            if here.bit_count() >= number and (cores & domain).bit_count() >= wanted:
                return lowest(here, number)
        return lowest(free, number)


def lowest(bits: int, number: int) -> int:
    """The lowest so many of the set bits."""
    if bits.bit_count() <= number:
        return bits
    chosen = 0
    for _ in range(number):
        low = bits & -bits
        chosen |= low
        bits ^= low
    return chosen


def positions(bits: int) -> tuple[int, ...]:
    """Which bits are set."""
    found = []
    while bits:
        low = bits & -bits
        found.append(low.bit_length() - 1)
        bits ^= low
    return tuple(found)


@dataclass(eq=False, slots=True)
class Node:
    """What is free of one node. Whoever calls :meth:`take` has looked that it is."""

    name: str
    layout: Layout
    cores: int
    gpus: int
    #: ``name``, as placements want it.
    names: tuple[str, ...]
    #: Cores given out in parts -> attempts on each; the units of them that are taken.
    shared: dict[int, int] = field(default_factory=dict)
    load: int = 0
    #: GPUs given out in parts -> units taken; GPUs nobody asked for -> attempts that see them.
    parts: dict[int, int] = field(default_factory=dict)
    riders: dict[int, int] = field(default_factory=dict)
    #: By placement, told apart by identity.
    held: dict[int, Share] = field(default_factory=dict)
    reserved: bool = False
    resting: bool = False
    _end: float | None = 0.0
    #: Where the index keeps it.
    home: dict[Node, None] | None = None
    kind: Kind = (0, 0, 0)
    free: int = 0

    def is_idle(self) -> bool:
        """Whether nobody holds anything of it."""
        return not self.held

    def end(self) -> float:
        """When all that runs here will have ended; never, if one is not known."""
        if self._end is None:
            self._end = max([share[0] for share in self.held.values()], default=0.0)
        return self._end

    def look(self) -> Kind:
        """What is free beside the cores."""
        room = len(self.shared) * UNITS - self.load
        largest = UNITS - min(self.parts.values()) if self.parts else 0
        return self.gpus.bit_count(), largest, room

    def take(self, need: Need, end: float) -> Share:
        """Take the share of one attempt; the caller keeps it in ``held``."""
        if self._end is not None and end > self._end:
            self._end = end
        if need.simple:
            # One core where one is as good as another: what most tasks of most campaigns ask for.
            bits = self.cores & -self.cores
            self.cores ^= bits
            return Share(end, bits)
        gpus, gpu = 0, -1
        if need.gpus:
            gpus = self.layout.choose_gpus(self.gpus, need.gpus, self.cores, need.cores)
            self.gpus ^= gpus
        elif need.gpu_units:
            gpu = self._part(need)
        near = gpus | (1 << gpu) if gpu >= 0 else gpus
        bits, core = 0, -1
        if need.cores:
            bits = self.layout.choose_cores(self.cores, need.cores, near)
            self.cores ^= bits
        if need.rest:
            core = self._share_core(need, near)
        if need.rider:
            gpu = self._ride()
        return Share(end, bits, need.rest, core, gpus, gpu, need.gpu_units)

    def _part(self, need: Need) -> int:
        """Take a part of a GPU: of the fullest that has room, else of one that is free."""
        fitting = [
            (-taken, gpu) for gpu, taken in self.parts.items() if taken + need.gpu_units <= UNITS
        ]
        if fitting:
            gpu = min(fitting)[1]
        else:
            bit = self.layout.choose_gpus(self.gpus, 1, self.cores, need.cores)
            self.gpus ^= bit
            gpu = bit.bit_length() - 1
        self.parts[gpu] = self.parts.get(gpu, 0) + need.gpu_units
        return gpu

    def _ride(self) -> int:
        """See the GPU that the fewest others see, of those that nobody asked for."""
        seen = [(number, gpu) for gpu, number in self.riders.items()]
        if self.gpus:
            gpu = (self.gpus & -self.gpus).bit_length() - 1
            self.gpus &= self.gpus - 1
        elif seen:
            gpu = min(seen)[1]
        else:
            return -1
        self.riders[gpu] = self.riders.get(gpu, 0) + 1
        return gpu

    def _share_core(self, need: Need, near: int) -> int:
        """Take units of shared cores: one more of them if they are full; the one to run on."""
        self.load += need.rest
        if self.load > len(self.shared) * UNITS:
            bit = self.layout.choose_cores(self.cores, 1, near)
            self.cores ^= bit
            self.shared[bit.bit_length() - 1] = 0
        if need.cores:
            return -1
        core = min(self.shared, key=self.shared.__getitem__)
        self.shared[core] += 1
        return core

    def extend(self, key: int, end: float) -> None:
        """Let the share of a placement last until ``end``."""
        share = self.held[key]
        self.held[key] = share._replace(end=end)
        self._end = None

    def give(self, share: Share) -> None:
        """Take back what :meth:`take` gave, no longer in ``held``."""
        self.cores |= share.cores
        self.gpus |= share.gpus
        if share.rest:
            self._leave_core(share)
        if share.gpu >= 0:
            users = self.parts if share.gpu_units else self.riders
            users[share.gpu] -= share.gpu_units or 1
            if not users[share.gpu]:
                del users[share.gpu]
                self.gpus |= 1 << share.gpu
        if share.end == self._end:
            self._end = None

    def _leave_core(self, share: Share) -> None:
        self.load -= share.rest
        if share.core >= 0:
            self.shared[share.core] -= 1
        too_many = len(self.shared) - -(-self.load // UNITS)
        if too_many > 0:
            for core in [core for core, users in self.shared.items() if not users][:too_many]:
                del self.shared[core]
                self.cores |= 1 << core
