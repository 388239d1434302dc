"""Placement: which share of the allocation's cores and GPUs an attempt gets."""

from __future__ import annotations

from collections.abc import Sequence

from balsam.core.misfits import Limits
from balsam.core.offer import count
from balsam.errors import Unsatisfiable
from balsam.launcher.placement import request as requests
from balsam.launcher.placement.index import Index
from balsam.launcher.placement.node import NEVER, Layout, Node, Share, positions
from balsam.launcher.placement.request import UNITS, Need, Placement, Request, requested
from balsam.launcher.reservation import Reservation, choose
from balsam.platform.shape import NodeShape

__all__ = ["NodePool", "Placement", "Request", "Reservation", "never", "requested", "slots"]

_ROUNDING = 1e-4
#: Requests are translated once, and forgotten once there are so many.
_MANY_NEEDS = 4096
NUMA = "numa"
#: Whoever has GPUs that Balsam does not know of has to be told how to say so.
NO_GPUS = "if there are GPUs, --gpus-per-node or a machine file says how many"


class NodePool:
    """The nodes of an allocation, their cores and GPUs given out and taken back.

    A job of several nodes takes them whole. Any other takes ``ranks x threads`` cores, at most the
    node: more ranks than cores share them. A ``node_packing_count`` above 1 says instead that so
    many such jobs fill a node, and ``whole_nodes`` (or ``pack`` False, for machines that cannot
    share nodes) that the job has all of it. Nodes that are in use already are filled first.

    Whole GPUs that were asked for are nobody else's. Parts of one are shared by those that asked
    for parts; a single-rank job that asks for none sees the least used other.

    Times are seconds since the epoch; ``seconds`` is how long an attempt will take, None where
    nobody knows.
    """

    def __init__(
        self, nodes: Sequence[str], shape: NodeShape, max_ranks: int = 0, pack: bool = True
    ) -> None:
        self.shape = shape
        self.max_ranks = max_ranks
        self.pack = pack
        #: Changes whenever something was given back, or a reservation ended.
        self.version = 0
        #: The nodes kept for the head of the queue, and for whom.
        self.reservation: Reservation | None = None
        self._layout = Layout(shape)
        # What is added last is taken first.
        self._nodes = {name: self._new(name) for name in reversed(list(dict.fromkeys(nodes)))}
        self._open = Index(shape.cores, len(shape.gpus))
        self._kept = Index(shape.cores, len(shape.gpus))
        self._resting = Index(shape.cores, len(shape.gpus))
        for node in self._nodes.values():
            self._open.add(node)
        self._needs: dict[Request, Need] = {}
        self._last = Request()
        self._last_need = self._needs[self._last] = requests.need(self._last, shape, pack=pack)
        self._everything = tuple(shape.gpus)
        self._singles = [(core,) if shape.cores > 1 else () for core in range(shape.cores)]

    def _new(self, name: str) -> Node:
        layout = self._layout
        return Node(name, layout, layout.all_cores, layout.all_gpus, (name,))

    # -- what there can be ----------------------------------------------------------------------

    @property
    def cores(self) -> int:
        """Cores of each node."""
        return self.shape.cores

    @property
    def gpus(self) -> int:
        """GPUs of each node."""
        return len(self.shape.gpus)

    @property
    def living(self) -> tuple[str, ...]:
        """The nodes that were not removed, in the order of the allocation."""
        return tuple(reversed(self._nodes))

    @property
    def limits(self) -> Limits:
        """What :meth:`check` goes by."""
        return Limits(len(self._nodes), self.max_ranks, self.gpus)

    def check(self, request: Request) -> None:
        """Raise Unsatisfiable, with the numbers, for what this allocation can never give."""
        if request.num_nodes > len(self._nodes):
            raise Unsatisfiable(
                f"asks for {request.num_nodes} nodes; this launcher has {len(self._nodes)}"
            )
        if self.max_ranks and request.ranks_per_node > self.max_ranks:
            raise Unsatisfiable(
                f"asks for {request.ranks_per_node} ranks per node; "
                f"this launcher allows {self.max_ranks}"
            )
        if request.gpus_per_rank and request.gpus() > self.gpus:
            asked = f"asks for {count(request.gpus(), 'GPU')} per node"
            more = "" if self.gpus else f" ({NO_GPUS})"
            raise Unsatisfiable(f"{asked}; the node has {self.gpus}{more}")

    # -- giving out -----------------------------------------------------------------------------

    def place(
        self, request: Request, seconds: float | None = None, now: float = 0.0
    ) -> Placement | None:
        """Take the share of one attempt, or None while there is no room for it.

        What a reservation keeps is given to the request it is for, which ends it, and to what
        ends before that one could start.
        """
        need = self._need(request)
        end = NEVER if seconds is None else now + seconds
        if self.reservation is None:
            if need.nodes > 1:
                return self._take_nodes(need, end)
            node = self._open.find(need)
            return self._take(self._open, node, need, request, end) if node else None
        return self._place_around(self.reservation, need, request, seconds, now)

    def fits(self, request: Request, seconds: float | None = None, now: float = 0.0) -> bool:
        """Whether :meth:`place` would find room."""
        need, kept = self._need(request), self.reservation
        mine = kept is not None and (kept.request == request or kept.lets(seconds, now))
        if need.nodes > 1:
            return self._open.idle + (self._kept.idle if mine else 0) >= need.nodes
        return bool(self._open.find(need) or (mine and self._kept.find(need)))

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
            if self.reservation and not node.held and index is self._open:
                self._exchange(self.reservation, node)
        self.version += 1

    def remove(self, name: str) -> None:
        """Give out nothing of a node any more; what is held of it need not be given back."""
        node = self._nodes.pop(name, None)
        if node is None:
            return
        self._index_of(node).discard(node)
        if node.reserved:
            self.unreserve()
        self.version += 1

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
        self.version += 1

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
        need = self._need(request)
        up = [node for node in self._nodes.values() if not node.resting]
        if need.nodes > len(up):
            return None
        nodes = self._open.emptiest() if need.nodes == 1 else up
        self.reservation = choose(request, nodes, need.nodes, now)
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
        self.version += 1

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
        if kept.lets(seconds, now):
            node = self._kept.find(need)
            if node:
                return self._take(self._kept, node, need, request, end)
        return None

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

    def capacity(self, request: Request) -> int:
        """How many such attempts, and nothing else, could start now beside the reservation."""
        return self._open.capacity(self._need(request))

    def share(self, request: Request) -> float:
        """Cores of all its nodes that a request takes."""
        need = self._need(request)
        return need.share * need.nodes

    # -- helpers --------------------------------------------------------------------------------

    def _need(self, request: Request) -> Need:
        if request is self._last:
            return self._last_need
        need = self._needs.get(request)
        if need is None:
            if len(self._needs) >= _MANY_NEEDS:
                self._needs.clear()
            need = self._needs[request] = requests.need(request, self.shape, pack=self.pack)
        self._last, self._last_need = request, need
        return need

    def _take(
        self, index: Index, node: Node, need: Need, request: Request, end: float
    ) -> Placement:
        share = node.take(need, end)
        index.moved(node)
        cores: tuple[int, ...]
        gpus: tuple[str, ...]
        if need.simple:
            cores, gpus = self._singles[share.cores.bit_length() - 1], ()
        else:
            cores, gpus = self._core_ids(share, need), self._gpu_ids(share)
        cpus = self._confined(cores, request) if need.confined else ()
        placement = Placement(
            node.names, need.share, gpus, share.gpu >= 0, cores, cpus, need.gpu_part
        )
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
        placement = Placement(tuple([node.name for node in taken]), need.share, self._everything)
        for node, share in zip(taken, shares, strict=True):
            node.held[id(placement)] = share
        return placement

    def _gpu_ids(self, share: Share) -> tuple[str, ...]:
        if share.gpus:
            if share.gpus == self._layout.all_gpus:
                return self._everything
            return tuple([self.shape.gpus[gpu] for gpu in positions(share.gpus)])
        return (self.shape.gpus[share.gpu],) if share.gpu >= 0 else ()

    def _core_ids(self, share: Share, need: Need) -> tuple[int, ...]:
        if need.cores == self.shape.cores:
            return ()
        return positions(share.cores) if share.cores else (share.core,)

    def _confined(self, cores: tuple[int, ...], request: Request) -> tuple[int, ...]:
        """The hardware threads of some cores that a request is to be confined to."""
        own = cores or range(self.shape.cores)
        if request.affinity != NUMA:
            return tuple(
                cpu for core in own for cpu in self.shape.cpus[core][: request.threads_per_core]
            )
        domains = [domain for domain in self.shape.numa if not set(domain).isdisjoint(own)]
        mine = [core for domain in domains for core in domain] or range(self.shape.cores)
        return tuple(cpu for core in mine for cpu in self.shape.cpus[core])


def never(error: Unsatisfiable) -> str:
    """What to say of a job that :meth:`NodePool.check` refuses."""
    return f"It {error}: it can never run here"


def slots(pool: NodePool, requests: Sequence[Request]) -> int:
    """How many more jobs like the recent ones could start now; one at least if a core is idle."""
    idle = pool.open_cores
    if idle <= _ROUNDING:
        return 0
    if not requests:
        return max(1, int(idle))
    able = {one: number for one in set(requests) if (number := pool.capacity(one))}
    shares = [pool.share(one) for one in requests if one in able]
    if not shares:
        return 1
    usable = max(number * pool.share(one) for one, number in able.items())
    return max(1, int(usable * len(shares) / sum(shares) + _ROUNDING))
