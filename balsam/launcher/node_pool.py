"""Placement: which share of the allocation's cores and GPUs an attempt gets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from balsam.core.misfits import Limits
from balsam.errors import Unsatisfiable

_ROUNDING = 1e-6


@dataclass(frozen=True)
class Request:
    """What one attempt asks for. ``gpus_per_rank`` may be a fraction."""

    num_nodes: int = 1
    ranks_per_node: int = 1
    threads_per_rank: int = 1
    threads_per_core: int = 1
    node_packing_count: int = 1
    gpus_per_rank: float = 0.0
    whole_nodes: bool = False

    def cores(self) -> int:
        """Cores per node: ranks x threads, by the threads that share a core."""
        return max(1, -(-self.ranks_per_node * self.threads_per_rank // self.threads_per_core))

    def gpus(self) -> int:
        """Whole GPUs per node; fractions of one GPU are added up over the ranks."""
        wanted = self.ranks_per_node * self.gpus_per_rank
        return int(-(-(wanted - _ROUNDING) // 1)) if wanted > 0 else 0


@dataclass(frozen=True)
class Placement:
    """The share an attempt holds: nodes by name, cores (may be a fraction), ids of GPUs."""

    nodes: tuple[str, ...]
    cores: float
    gpus: tuple[int, ...] = ()
    shared_gpus: bool = False


@dataclass
class NodePool:
    """One node's cores and GPUs, given out and taken back.

    A job takes ``ranks x threads`` cores, at most the node: more ranks than cores share them. A
    ``node_packing_count`` above 1 says instead that so many such jobs fill a node, and
    ``whole_nodes`` that the job wants all of it. GPUs that were
    asked for are nobody else's; a single-rank job that asks for none shares the least used other.
    """

    hostname: str
    cores: int
    gpus: int = 0
    max_ranks: int = 0
    _used: float = field(default=0.0, init=False)
    _busy_gpus: set[int] = field(default_factory=set, init=False)
    _sharers: Counter[int] = field(default_factory=Counter, init=False)

    def check(self, request: Request) -> None:
        """Raise Unsatisfiable, with the numbers, for what this allocation can never give."""
        if request.num_nodes > 1:
            raise Unsatisfiable(f"asks for {request.num_nodes} nodes; this launcher has 1")
        if self.max_ranks and request.ranks_per_node > self.max_ranks:
            raise Unsatisfiable(
                f"asks for {request.ranks_per_node} ranks per node; "
                f"this launcher allows {self.max_ranks}"
            )
        if request.gpus() > self.gpus:
            raise Unsatisfiable(
                f"asks for {request.gpus()} GPUs per node; the node has {self.gpus}"
            )

    @property
    def limits(self) -> Limits:
        """What :meth:`check` goes by."""
        return Limits(1, self.max_ranks, self.gpus)

    def place(self, request: Request) -> Placement | None:
        """Take the share of one attempt, or None while the node is too full for it."""
        cores = self._share(request)
        if self._used + cores > self.cores + _ROUNDING:
            return None
        own = self.gpus if request.whole_nodes else request.gpus()
        free = [gpu for gpu in range(self.gpus) if gpu not in self._busy_gpus]
        if own > sum(not self._sharers[gpu] for gpu in free):
            return None
        self._used += cores
        if own:
            gpus = tuple([gpu for gpu in free if not self._sharers[gpu]][:own])
            self._busy_gpus.update(gpus)
            return Placement((self.hostname,), cores, gpus)
        if free and request.ranks_per_node == 1:
            gpus = (min(free, key=lambda gpu: self._sharers[gpu]),)
            self._sharers.update(gpus)
            return Placement((self.hostname,), cores, gpus, shared_gpus=True)
        return Placement((self.hostname,), cores)

    def give_back(self, placement: Placement) -> None:
        """Free the share of an attempt that ended."""
        self._used = max(0.0, self._used - placement.cores)
        if placement.shared_gpus:
            self._sharers.subtract(placement.gpus)
        else:
            self._busy_gpus.difference_update(placement.gpus)

    @property
    def idle_cores(self) -> float:
        """Cores that nobody holds; may be a fraction."""
        return max(0.0, self.cores - self._used)

    def _share(self, request: Request) -> float:
        if request.whole_nodes:
            return float(self.cores)
        if request.node_packing_count > 1:
            return self.cores / request.node_packing_count
        return float(min(request.cores(), self.cores))


def never(error: Unsatisfiable) -> str:
    """What to say of a job that :meth:`NodePool.check` refuses."""
    return f"It {error}: it can never run here"


def slots(pool: NodePool, requests: Sequence[Request]) -> int:
    """How many more jobs like the recent ones could start now; one at least if a core is idle."""
    if pool.idle_cores <= _ROUNDING:
        return 0
    if not requests:
        return max(1, int(pool.idle_cores))
    mean = sum(pool._share(request) for request in requests) / len(requests)
    return max(1, int(pool.idle_cores / max(mean, _ROUNDING) + _ROUNDING))
