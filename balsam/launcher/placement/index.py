"""Nodes by what is free of them, so that finding one does not depend on how many there are."""

from __future__ import annotations

from collections.abc import Iterator

from balsam.launcher.placement.need import UNITS, Need
from balsam.launcher.placement.node import PLAIN, Kind, Node

#: Kinds without any node are forgotten once there are so many.
MANY_KINDS = 64


class Group:
    """Nodes of one kind, in buckets by the number of their free cores."""

    __slots__ = ("buckets", "filled")

    def __init__(self) -> None:
        #: Bit n is set where nodes with n free cores are.
        self.filled = 0
        self.buckets: dict[int, dict[Node, None]] = {}


class Index:
    """Some of the nodes. The last one that came to a bucket is the first one taken from it."""

    def __init__(self, cores: int, gpus: int) -> None:
        self._cores = cores
        self._groups: dict[Kind, Group] = {}
        self._idle: Kind = (gpus, 0, 0)
        #: Units of cores that are free, of all these nodes.
        self.idle_units = 0

    def add(self, node: Node) -> None:
        """Keep a node by what is free of it now."""
        self._put(node)
        self.idle_units += node.free * UNITS + node.kind[2]

    def moved(self, node: Node) -> None:
        """Keep one of its nodes by what is free of it now that something was taken or given."""
        before = node.free * UNITS + node.kind[2]
        self._drop(node)
        self._put(node)
        self.idle_units += node.free * UNITS + node.kind[2] - before

    def discard(self, node: Node) -> None:
        """Forget a node."""
        if node.home is not None:
            self._drop(node)
            self.idle_units -= node.free * UNITS + node.kind[2]
            node.home = None

    def _put(self, node: Node) -> None:
        free = node.cores.bit_count()
        kind = node.look() if node.gpus or node.shared or node.parts else PLAIN
        group = self._groups.get(kind)
        if group is None:
            group = self._new_group(kind)
        bucket = group.buckets.get(free)
        if bucket is None:
            bucket = group.buckets[free] = {}
        bucket[node] = None
        group.filled |= 1 << free
        node.home, node.free, node.kind = bucket, free, kind

    def _drop(self, node: Node) -> None:
        bucket = node.home
        assert bucket is not None
        # Unlike deletions at the end, this leaves nothing behind to be skipped ever after.
        last = bucket.popitem()[0]
        if last is not node:
            bucket[last] = None
            del bucket[node]
        if not bucket:
            self._groups[node.kind].filled ^= 1 << node.free

    def _new_group(self, kind: Kind) -> Group:
        if len(self._groups) >= MANY_KINDS:
            self._groups = {one: group for one, group in self._groups.items() if group.filled}
        group = self._groups[kind] = Group()
        return group

    @property
    def idle(self) -> int:
        """Nodes that nobody holds anything of."""
        group = self._groups.get(self._idle)
        return len(group.buckets.get(self._cores, ())) if group else 0

    def rooms(self) -> Iterator[tuple[float, float]]:
        """GPUs and cores that are free on a node, of each kind that with the most cores."""
        for (gpus, part, room), group in self._groups.items():
            if group.filled:
                yield gpus or part / UNITS, group.filled.bit_length() - 1 + room / UNITS

    def find(self, need: Need) -> Node | None:
        """The node with the fewest free cores on which there is room for ``need``."""
        if need.whole:
            return self.idle_node()
        found: dict[Node, None] | None = None
        fewest = 1 << 30
        for (gpus, part, room), group in self._groups.items():
            if need.gpus > gpus:
                continue
            worse = 0
            if need.gpu_units > part:
                if not gpus:
                    continue
                worse = self._cores + 1  # a GPU that is wholly free should stay so
            least = need.cores if room >= need.rest else need.cores + 1
            fitting = group.filled >> least
            if fitting:
                free = least + (fitting & -fitting).bit_length() - 1
                if free + worse < fewest:
                    fewest, found = free + worse, group.buckets[free]
        return next(reversed(found)) if found else None

    def idle_node(self) -> Node | None:
        """A node that nobody holds anything of."""
        group = self._groups.get(self._idle)
        bucket = group.buckets.get(self._cores) if group else None
        return next(reversed(bucket)) if bucket else None

    def emptiest(self) -> Iterator[Node]:
        """The nodes of the buckets with the most free cores, those of each kind one by one."""
        for group in self._groups.values():
            if group.filled:
                yield from reversed(group.buckets[group.filled.bit_length() - 1])

    def capacity(self, need: Need) -> int:
        """How many of these, and nothing else, could start now."""
        if need.whole:
            return self.idle // need.nodes
        total = 0
        for (gpus, part, room), group in self._groups.items():
            most = 1 << 30
            if need.gpus:
                most = gpus // need.gpus
            elif need.gpu_units:
                most = gpus * (UNITS // need.gpu_units) + part // need.gpu_units
            for free in _set_bits(group.filled if most else 0):
                fitting = min((free * UNITS + room) // need.units, most)
                if need.cores:
                    fitting = min(fitting, free // need.cores)
                total += fitting * len(group.buckets[free])
        return total


def _set_bits(bits: int) -> Iterator[int]:
    while bits:
        low = bits & -bits
        yield low.bit_length() - 1
        bits ^= low
