"""What an attempt asks for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from balsam.core import offer
from balsam.core.offer import ROUNDING

#: Of ``affinity``.
NONE = "none"
DEPTH = "depth"
NUMA = "numa"


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
        return offer.gpus(self)

    def gpu_part(self) -> float:
        """The part of one GPU that it asks for, if less than a whole one is enough; else 0."""
        wanted = self.ranks_per_node * self.gpus_per_rank
        return wanted if ROUNDING < wanted < 1 - ROUNDING else 0.0


#: Many tasks ask for the same: one object for all of them is smaller, and found faster.
requested = lru_cache(maxsize=4096)(Request)
