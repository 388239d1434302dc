"""What one mpirun is to start: ranks, hosts, cores, variables; the same for every flavour."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from balsam.errors import LaunchError
from balsam.platform.affinity import BINDINGS
from balsam.platform.launch_params import BIND_PARAMS

#: Those that give each rank cores of its own.
_OWN_CORES = ("depth", "core")


@dataclass(frozen=True)
class Launch:
    """Ranks and where they go. Without ``hosts`` they run where mpirun is started.

    Every host gets ``ranks_per_node`` ranks. ``cores`` are the hardware threads (numbers of the
    operating system) of each core that the ranks of one node hold, core by core; empty, they hold
    the whole node. ``node_cpus`` are those of each core of a node, empty where nobody told.
    """

    ranks: int = 1
    ranks_per_node: int = 1
    hosts: Sequence[str] = ()
    threads_per_rank: int = 1
    threads_per_core: int = 1
    #: One of BINDINGS.
    binding: str = "none"
    cores: Sequence[Sequence[int]] = ()
    node_cpus: Sequence[Sequence[int]] = ()
    gpus_per_rank: float = 0.0
    #: Ids of the GPUs that the ranks of one node hold; empty, they hold all of them.
    gpus: Sequence[str] = ()
    #: Variables that say so to a program, for a launcher that sets them to what it thinks.
    masks: Mapping[str, str] = field(default_factory=dict)
    #: Names of variables that are the job's own, for a launcher that passes only those it is told.
    variables: Sequence[str] = ()
    #: More options, of the site and of the job; they replace those of the same name.
    flags: Sequence[str] = ()
    #: The job's launch_params.
    params: Mapping[str, object] = field(default_factory=dict)
    #: A file that names the hosts, where they are too many for a command line.
    hosts_file: str = ""

    @property
    def nodes(self) -> int:
        """How many nodes it covers."""
        return len(self.hosts) or math.ceil(self.ranks / max(1, self.ranks_per_node))

    @property
    def cores_per_rank(self) -> int:
        """Cores that the threads of a rank need."""
        return max(1, math.ceil(self.threads_per_rank / max(1, self.threads_per_core)))

    @property
    def lanes(self) -> int:
        """Hardware threads of a core of its nodes, the most of any."""
        return max(map(len, self.node_cpus), default=1)

    @property
    def crowded(self) -> bool:
        """Whether a whole node has too few cores to give each rank its own; for "numa", one."""
        each = 1 if self.binding == "numa" else self.cores_per_rank
        return not self.cores and 0 < len(self.node_cpus) < self.ranks_per_node * each

    @property
    def has_own_cores(self) -> bool:
        """Whether ranks are bound to cores of their own, each to no more than half of a node."""
        half = not self.node_cpus or 2 * self.cores_per_rank <= len(self.node_cpus)
        return self.bound in _OWN_CORES and half and not self.crowded

    @property
    def rank_gpus(self) -> tuple[tuple[int, ...], ...]:
        """The numbers of the GPUs of each rank of a node; empty if ranks share, or hold all."""
        each = int(self.gpus_per_rank)
        numbers = [int(gpu) for gpu in self.gpus if gpu.isdecimal()]
        if not each or each != self.gpus_per_rank or len(numbers) < each * self.ranks_per_node:
            return ()
        return tuple(
            tuple(numbers[rank * each : (rank + 1) * each]) for rank in range(self.ranks_per_node)
        )

    @property
    def wish(self) -> str:
        """The binding that ``params`` ask for in so many words, '' without."""
        for name in BIND_PARAMS:
            value = self.params.get(name)
            if value:
                return str(value)
        return ""

    @property
    def bound(self) -> str:
        """How ranks are bound: one of BINDINGS, "list" (``rank_cpus``), or "wish"."""
        if self.wish:
            return self.wish if self.wish in BINDINGS else "wish"
        if self.binding not in BINDINGS:
            raise LaunchError(f"cpu_affinity is '{self.binding}'; it may be {', '.join(BINDINGS)}.")
        if self.cores and self.binding != "none":
            return "list"
        # Most launchers refuse to bind more threads than there are; ranks may share cores unbound.
        return "none" if self.binding in _OWN_CORES and self._lacks_threads else self.binding

    @property
    def _lacks_threads(self) -> bool:
        """Whether even the hardware threads of a whole node are too few for its ranks."""
        used = sum(min(len(core), max(1, self.threads_per_core)) for core in self.node_cpus)
        return self.crowded and used < self.ranks_per_node * self.threads_per_rank

    @property
    def rank_cpus(self) -> tuple[tuple[int, ...], ...]:
        """The hardware threads of each rank of a node, in the order of ranks."""
        if self.bound != "list":
            return ()
        if self.binding == "numa":
            held = tuple(cpu for core in self.cores for cpu in core)
            return (held,) * self.ranks_per_node
        return deal(self.cores, self.ranks_per_node, self.threads_per_core)


def deal(
    cores: Sequence[Sequence[int]], ranks: int, threads_per_core: int = 1
) -> tuple[tuple[int, ...], ...]:
    """The hardware threads of each of ``ranks``, dealt from whole cores as long as they suffice.

    Of each core the first ``threads_per_core`` are used. Neighbouring ranks get neighbouring cores.
    More ranks than hardware threads share them.
    """
    used = [tuple(core)[: max(1, threads_per_core)] for core in cores]
    shares: Sequence[tuple[int, ...]] = used
    if len(used) < ranks:
        shares = [(cpu,) for core in used for cpu in core]
    dealt = []
    for rank in range(ranks):
        first = rank * len(shares) // ranks
        last = max(first + 1, (rank + 1) * len(shares) // ranks)
        dealt.append(tuple(cpu for share in shares[first:last] for cpu in share))
    return tuple(dealt)
