"""What an attempt asks for, in the units of the nodes at hand."""

from __future__ import annotations

from dataclasses import dataclass

from balsam.launcher.placement.request import DEPTH, NONE, Request
from balsam.platform.shape import NodeShape

#: Cores and GPUs are counted in whole units, so that whatever is given out comes back exactly.
UNITS = 1 << 40
#: Requests are translated once, and forgotten once there are so many.
_MANY = 4096


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
        rider=rider,
        simple=units == UNITS and not (own or part or rider or shape.numa),
        confined=request.num_nodes == 1 and is_confined(request),
    )


def is_confined(request: Request) -> bool:
    """Whether it asked for that. "depth" is about the ranks of an mpirun, and nothing else."""
    if request.affinity == DEPTH:
        return request.ranks_per_node > 1
    return request.affinity != NONE


NOTHING = Need(0, 0.0, 0, 0, False, 0, 0, rider=False, simple=False, confined=False)


class Needs:
    """Translates requests for nodes of one shape; ``pack`` says whether jobs may share a node."""

    def __init__(self, shape: NodeShape, pack: bool) -> None:
        #: Whether all that was ever asked for was the same.
        self.alike = True
        self._shape = shape
        self._pack = pack
        self._known: dict[Request, Need] = {}
        #: Most tasks ask for the same object as the one before.
        self._last = Request()
        self._last_need = need(self._last, shape, pack=pack)

    def of(self, request: Request) -> Need:
        """What a request needs."""
        if request is self._last:
            return self._last_need
        found = self._known.get(request)
        if found is None:
            self.alike = not self._known
            if len(self._known) >= _MANY:
                self._known.clear()
            found = self._known[request] = need(request, self._shape, pack=self._pack)
        self._last, self._last_need = request, found
        return found
