"""The nodes of an allocation: open to all, kept for the head of the queue, or resting."""

from __future__ import annotations

from collections.abc import Iterable

from balsam.launcher.placement.index import Index
from balsam.launcher.placement.need import UNITS
from balsam.launcher.placement.node import Layout, Node
from balsam.launcher.placement.request import Request
from balsam.launcher.placement.reservation import Reservation, choose


class Nodes:
    """Nodes of one layout, and for whom they are. Times are seconds since the epoch."""

    def __init__(self, names: Iterable[str], layout: Layout) -> None:
        #: The nodes kept for the head of the queue, and for whom.
        self.reservation: Reservation | None = None
        #: Whether so many tasks wait that all nodes will be full soon: none would stay idle for
        #: the sake of wide jobs.
        self.plenty = False
        # What is added last is taken first.
        self._nodes = {
            name: Node(name, layout, layout.all_cores, layout.all_gpus, (name,))
            for name in reversed(list(dict.fromkeys(names)))
        }
        cores, gpus = layout.shape.cores, len(layout.shape.gpus)
        self._open = Index(cores, gpus)
        self._kept = Index(cores, gpus)
        self._resting = Index(cores, gpus)
        for node in self._nodes.values():
            self._open.add(node)

    # -- which there are ------------------------------------------------------------------------

    @property
    def living(self) -> tuple[str, ...]:
        """The nodes that were not removed, in the order of the allocation."""
        return tuple(reversed(self._nodes))

    def remove(self, name: str) -> None:
        """Give out nothing of a node any more; what is held of it need not be given back."""
        node = self._nodes.pop(name, None)
        if node is None:
            return
        self._index_of(node).discard(node)
        if node.reserved:
            self.unreserve()

    def rest(self, name: str) -> None:
        """Give out nothing of a node for the moment: nobody knows how it is."""
        node = self._nodes.get(name)
        if node is None or node.resting:
            return
        if node.reserved:
            self.unreserve()
        self._open.discard(node)
        node.resting = True
        self._resting.add(node)

    def resume(self, name: str) -> None:
        """Give out a node again that was resting."""
        node = self._nodes.get(name)
        if node is None or not node.resting:
            return
        self._resting.discard(node)
        node.resting = False
        self._open.add(node)

    def has(self, name: str) -> bool:
        """Whether a node was not removed."""
        return name in self._nodes

    def gives(self, name: str) -> bool:
        """Whether a node is given out: it is there, and does not rest."""
        node = self._nodes.get(name)
        return node is not None and not node.resting

    def _index_of(self, node: Node) -> Index:
        if node.resting:
            return self._resting
        return self._kept if node.reserved else self._open

    # -- the head of the queue ------------------------------------------------------------------

    def reserve(self, request: Request, now: float = 0.0) -> Reservation | None:
        """Keep nodes for a request there is no room for: those that will be free first.

        None if so many nodes are not left. A reservation for another request ends.
        """
        self.unreserve()
        wanted = request.num_nodes
        up = [node for node in self._nodes.values() if not node.resting]
        if wanted > len(up):
            return None
        nodes = self._open.emptiest() if wanted == 1 else up
        self.reservation = choose(request, nodes, wanted, now)
        for node in self.reservation.nodes:
            self._keep(node)
        return self.reservation

    def unreserve(self) -> None:
        """Keep nodes for nobody."""
        kept, self.reservation = self.reservation, None
        if kept is None:
            return
        for node in kept.nodes:
            self._kept.discard(node)
            node.reserved = False
            if node.name in self._nodes:
                self._open.add(node)

    def _keep(self, node: Node) -> None:
        self._open.discard(node)
        node.reserved = True
        self._kept.add(node)

    def _exchange(self, kept: Reservation, idle: Node) -> None:
        """An idle node is better for the head of the queue than one that is still in use."""
        busy = kept.exchange(idle)
        if busy is not None:
            self._kept.discard(busy)
            busy.reserved = False
            self._open.add(busy)
            self._keep(idle)

    # -- what is free ---------------------------------------------------------------------------

    @property
    def idle_cores(self) -> float:
        """Cores that nobody holds, also of nodes that are kept; may be a fraction."""
        return (self._open.idle_units + self._kept.idle_units) / UNITS

    @property
    def open_cores(self) -> float:
        """Those of nodes that are not kept for anybody."""
        return self._open.idle_units / UNITS

    @property
    def idle_nodes(self) -> int:
        """Nodes of which nobody holds anything, and that are not kept for anybody."""
        return self._open.idle

    @property
    def kept_idle_nodes(self) -> int:
        """Those that are kept."""
        return self._kept.idle
