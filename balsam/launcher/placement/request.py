"""What an attempt asks for, what it gets, and the first in the units of a kind of node."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from balsam.platform.shape import NodeShape

_ROUNDING = 1e-6
#: Cores and GPUs are counted in whole units, so that whatever is given out comes back exactly.
UNITS = 1 << 40
#: Of ``affinity``.
NONE = "none"
DEPTH = "depth"


@dataclass(frozen=True)
class Request:
    """What one attempt asks for. ``gpus_per_rank`` may be a fraction.

    ``affinity``: "none", or what it is to be confined to: "core", "numa", or "depth", which is
    "core" for several ranks and "none" for one.
    """

    num_nodes: int = 1
    ranks_per_node: int = 1
    threads_per_rank: int = 1
    threads_per_core: int = 1
    node_packing_count: int = 1
    gpus_per_rank: float = 0.0
    whole_nodes: bool = False
    affinity: str = NONE

    def cores(self) -> int:
        """Cores per node: ranks x threads, by the threads that share a core."""
        return max(1, -(-self.ranks_per_node * self.threads_per_rank // self.threads_per_core))

    def gpus(self) -> int:
        """GPUs per node that it needs to be there; fractions are added up over the ranks."""
        wanted = self.ranks_per_node * self.gpus_per_rank
        return int(-(-(wanted - _ROUNDING) // 1)) if wanted > 0 else 0

    def gpu_part(self) -> float:
        """The part of one GPU that it asks for, if less than a whole one is enough; else 0."""
        wanted = self.ranks_per_node * self.gpus_per_rank
        return wanted if _ROUNDING < wanted < 1 - _ROUNDING else 0.0


#: Many tasks ask for the same: one object for all of them is smaller, and found faster.
requested = lru_cache(maxsize=4096)(Request)


class Placement(NamedTuple):
    """The share an attempt holds, the same on each of its nodes.

    ``cores`` may be a fraction. ``gpus`` are ids for the mask variable; ``shared_gpus`` says that
    others may hold them too, ``gpu_part`` the part of the one GPU that this one asked for.
    ``core_ids`` are the cores it holds, () for all; ``cpus`` are the hardware threads, in the
    system's numbers, that it is to be confined to, () if it is not.
    """

    nodes: tuple[str, ...]
    cores: float
    gpus: tuple[str, ...] = ()
    shared_gpus: bool = False
    core_ids: tuple[int, ...] = ()
    cpus: tuple[int, ...] = ()
    gpu_part: float = 0.0


@dataclass(frozen=True, slots=True)
class Need:
    """A request in the units of the nodes at hand.

    It takes ``cores`` whole cores, and ``rest`` units of those that are shared. ``whole`` needs
    nothing else to be on its nodes. ``gpus`` are GPUs of its own, ``gpu_units`` a part of one;
    a ``rider`` asked for none, and sees one that nobody asked for.
    """

    nodes: int
    share: float
    cores: int
    rest: int
    whole: bool
    gpus: int
    gpu_units: int
    gpu_part: float
    rider: bool
    #: One core, any core, and nothing else.
    simple: bool
    #: To the threads of its cores, or the domains of these.
    confined: bool

    @property
    def units(self) -> int:
        """Units of each node."""
        return self.cores * UNITS + self.rest


def need(request: Request, shape: NodeShape, *, pack: bool) -> Need:
    """A request for nodes of this shape; ``pack`` says whether jobs may share a node."""
    whole = request.whole_nodes or request.num_nodes > 1 or not pack
    count, units = request.node_packing_count, min(request.cores(), shape.cores) * UNITS
    if whole:
        units = shape.cores * UNITS
    elif count > 1:
        units = max(1, shape.cores * UNITS // count)
    share = shape.cores / count if count > 1 and not whole else units / UNITS
    part = 0.0 if whole else request.gpu_part()
    own = len(shape.gpus) if whole else 0 if part else request.gpus()
    rider = bool(shape.gpus) and not own and not part and request.ranks_per_node == 1
    return Need(
        nodes=request.num_nodes,
        share=share,
        cores=units // UNITS,
        rest=units % UNITS,
        whole=whole,
        gpus=own,
        gpu_units=int(part * UNITS),
        gpu_part=part,
        rider=rider,
        simple=units == UNITS and not (own or part or rider or shape.numa),
        confined=request.num_nodes == 1 and _is_confined(request),
    )


def _is_confined(request: Request) -> bool:
    """Whether it asked for that. "depth" is about the ranks of an mpirun, and nothing else."""
    if request.affinity == DEPTH:
        return request.ranks_per_node > 1
    return request.affinity != NONE
