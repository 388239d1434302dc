"""Placement: which share of the allocation's cores and GPUs an attempt gets."""

from __future__ import annotations

from collections.abc import Sequence

from balsam.core.misfits import Limits
from balsam.core.offer import count
from balsam.core.queue import Rooms
from balsam.errors import Unsatisfiable
from balsam.launcher.placement.grant import Grants, Placement
from balsam.launcher.placement.index import Index
from balsam.launcher.placement.need import NOTHING, UNITS, Need, Needs
from balsam.launcher.placement.node import NEVER, Layout, Node
from balsam.launcher.placement.nodes import Nodes
from balsam.launcher.placement.request import Request, requested
from balsam.launcher.placement.reservation import Reservation
from balsam.platform.shape import NodeShape

__all__ = ["NodePool", "Placement", "Request", "Reservation", "never", "requested", "slots"]

#: Less of a core than this is none.
ROUNDING = 1e-4
#: Whoever has GPUs that Balsam does not know of has to be told how to say so.
NO_GPUS = "if there are GPUs, --gpus-per-node or a machine file says how many"


class NodePool(Nodes):
    """The nodes of an allocation, their cores and GPUs given out and taken back.

    A job of several nodes takes them whole. Any other takes ``ranks x threads`` cores, at most the
    node: more ranks than cores share them. A ``node_packing_count`` above 1 says instead that so
    many such jobs fill a node, and ``whole_nodes`` (or ``pack`` False, for machines that cannot
    share nodes) that the job has all of it. Nodes that are in use already are filled first, so that
    others stay idle for wide jobs; but where there is ``plenty`` of jobs, all of which have asked
    for the same, each idle node gets one of them before.

    Whole GPUs that were asked for are nobody else's. Parts of one are shared by those that asked
    for parts; a single-rank job that asks for none sees the least used other. Without any, a job
    that has a part of a node sees none.

    Times are of one clock, that of who places; ``seconds`` is how long an attempt will take, None
    where nobody knows.
    """

    def __init__(
        self, nodes: Sequence[str], shape: NodeShape, max_ranks: int = 0, pack: bool = True
    ) -> None:
        layout = Layout(shape)
        super().__init__(nodes, layout)
        self._cores = shape.cores
        self._gpus = len(shape.gpus)
        self._max_ranks = max_ranks
        self._needs = Needs(shape, pack)
        self._grants = Grants(layout)

    # -- what there can be ----------------------------------------------------------------------

    @property
    def limits(self) -> Limits:
        """What :meth:`check` goes by."""
        return Limits(len(self._nodes), self._max_ranks, self._gpus)

    def check(self, request: Request) -> None:
        """Raise Unsatisfiable, with the numbers, for what this allocation can never give."""
        if request.num_nodes > len(self._nodes):
            raise Unsatisfiable(
                f"asks for {request.num_nodes} nodes; this launcher has {len(self._nodes)}"
            )
        if self._max_ranks and request.ranks_per_node > self._max_ranks:
            raise Unsatisfiable(
                f"asks for {request.ranks_per_node} ranks per node; "
                f"this launcher allows {self._max_ranks}"
            )
        if request.gpus_per_rank and request.gpus() > self._gpus:
            asked = f"asks for {count(request.gpus(), 'GPU')} per node"
            more = "" if self._gpus else f" ({NO_GPUS})"
            raise Unsatisfiable(f"{asked}; the node has {self._gpus}{more}")

    # -- giving out -----------------------------------------------------------------------------

    def place(
        self, request: Request, seconds: float | None = None, now: float = 0.0
    ) -> Placement | None:
        """Take the share of one attempt, or None while there is no room for it.

        What a reservation keeps is given to the request it is for, which ends it, and to what
        ends before that one could start.
        """
        need = self._needs.of(request)
        end = NEVER if seconds is None else now + seconds
        if self.reservation is None:
            if need.nodes > 1:
                return self._take_nodes(need, end)
            idle = self._open.idle_node() if self.plenty and self._needs.alike else None
            node = idle or self._open.find(need)
            return self._take(self._open, node, need, request, end) if node else None
        return self._place_around(self.reservation, need, request, seconds, now)

    def fits(self, request: Request, seconds: float | None = None, now: float = 0.0) -> bool:
        """Whether :meth:`place` would find room."""
        need, kept = self._needs.of(request), self.reservation
        mine = kept is not None and (kept.request == request or kept.lets(seconds, now))
        if need.nodes > 1:
            return self._open.idle + (self._kept.idle if mine else 0) >= need.nodes
        return bool(
            self._open.find(need)
            or (mine and self._kept.find(need))
            or (kept and self._spared(kept, need))
        )

    def _place_around(
        self,
        kept: Reservation,
        need: Need,
        request: Request,
        seconds: float | None,
        now: float,
    ) -> Placement | None:
        end = NEVER if seconds is None else now + seconds
        if kept.request == request:
            if not self.fits(request):
                return None
            self.unreserve()
            return self.place(request, seconds, now)
        if need.nodes > 1:
            return self._take_nodes(need, end, kept.lets(seconds, now))
        node = self._open.find(need)
        if node:
            return self._take(self._open, node, need, request, end)
        node = self._kept.find(need) if kept.lets(seconds, now) else self._spared(kept, need)
        return self._take(self._kept, node, need, request, end) if node else None

    def _spared(self, kept: Reservation, need: Need) -> Node | None:
        """The only node of a request that waits for GPUs, if its cores are enough for both."""
        node = kept.nodes[0]
        own = need.whole or need.gpus or need.gpu_units or need.rider and (node.gpus or node.riders)
        return node if not own and self._spare(kept, need) >= 0 else None

    def _spare(self, kept: Reservation, need: Need = NOTHING) -> int:
        """Free cores that both would leave, less than 0 if they are too few."""
        head, node = self._needs.of(kept.request), kept.nodes[0]
        if head.nodes > 1 or head.whole or not (head.gpus or head.gpu_units):
            return -1
        parts = head.rest + need.rest - node.kind[2]
        return node.free - head.cores - need.cores - max(0, -(-parts // UNITS))

    def _take(
        self, index: Index, node: Node, need: Need, request: Request, end: float
    ) -> Placement:
        share = node.take(need, end)
        index.moved(node)
        placement = self._grants.of(node.names, share, need, request)
        node.held[id(placement)] = share
        return placement

    def _take_nodes(self, need: Need, end: float, kept_too: bool = False) -> Placement | None:
        if self._open.idle + (self._kept.idle if kept_too else 0) < need.nodes:
            return None
        taken, shares = [], []
        for _ in range(need.nodes):
            index = self._open if self._open.idle else self._kept
            node = index.find(need)
            assert node is not None
            shares.append(node.take(need, end))
            index.moved(node)
            taken.append(node)
        placement = self._grants.whole(tuple([node.name for node in taken]), need)
        for node, share in zip(taken, shares, strict=True):
            node.held[id(placement)] = share
        return placement

    # -- giving on and taking back --------------------------------------------------------------

    def take_over(
        self, placement: Placement, seconds: float | None = None, now: float = 0.0
    ) -> bool:
        """Leave a placement to the next task that asks for the same; whether that may be.

        It may not if one of its nodes is gone, or kept for a job that would have to wait.
        """
        nodes = [self._nodes.get(name) for name in placement.nodes]
        if not all(node and id(placement) in node.held for node in nodes):
            return False
        kept = self.reservation
        if kept and not kept.lets(seconds, now) and any(node and node.reserved for node in nodes):
            return False
        end = NEVER if seconds is None else now + seconds
        for node in nodes:
            if node:
                node.extend(id(placement), end)
        return True

    def give_back(self, placement: Placement) -> None:
        """Free the share of an attempt that ended: the very object that :meth:`place` returned.

        What was given back before, or was on a node that is gone, is nobody's concern.
        """
        key = id(placement)
        for name in placement.nodes:
            node = self._nodes.get(name)
            if node is None or key not in node.held:
                continue
            share = node.held.pop(key)
            index = self._index_of(node)
            node.give(share)
            index.moved(node)
            kept = self.reservation
            if kept and index is self._open and not node.held:
                self._exchange(kept, node)
            elif kept and index is self._kept and share.end >= (kept.starts or NEVER):
                kept.ended()

    # -- how many more --------------------------------------------------------------------------

    def capacity(self, request: Request) -> int:
        """How many such attempts, and nothing else, could start now beside the reservation."""
        return self._open.capacity(self._needs.of(request))

    def rooms(self, *, kept_too: bool = False) -> Rooms:
        """What is free on single nodes; ``kept_too``: on those that are reserved as well."""
        found = [*self._open.rooms(), *(self._kept.rooms() if kept_too else ())]
        if self.reservation and not kept_too:
            found.append((0.0, float(self._spare(self.reservation))))
        best: list[tuple[float, float]] = []
        for gpus, cores in sorted(found, reverse=True):
            if cores > max(ROUNDING, best[-1][1] if best else 0.0):
                best.append((gpus, cores))
        idle = self._open.idle + (self._kept.idle if kept_too else 0) > 0
        return Rooms(self._cores, tuple(best), idle)

    def share(self, request: Request) -> float:
        """Cores of all its nodes that a request takes."""
        need = self._needs.of(request)
        return need.share * need.nodes


def never(error: Unsatisfiable) -> str:
    """What to say of a job that :meth:`NodePool.check` refuses."""
    return f"It {error}: it can never run here"


def slots(pool: NodePool, requests: Sequence[Request]) -> int:
    """How many more jobs like the recent ones could start now; one at least if a core is idle."""
    idle = pool.open_cores
    if idle <= ROUNDING:
        return 0
    if not requests:
        return max(1, int(idle))
    able = {one: number for one in set(requests) if (number := pool.capacity(one))}
    shares = [pool.share(one) for one in requests if one in able]
    if not shares:
        return 1
    usable = max(number * pool.share(one) for one, number in able.items())
    return max(1, int(usable * len(shares) / sum(shares) + ROUNDING))
