"""Whether running tasks may use the CPUs that they should: looked at early on, and told."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import chain

from balsam.launcher.ensemble import protocol
from balsam.launcher.ensemble.protocol import RUN_MARK, Confinement, Hands, Mislaid
from balsam.launcher.ensemble.ranks import Ranks
from balsam.launcher.near import Near
from balsam.launcher.placement.need import is_confined
from balsam.launcher.preparing import Preparer
from balsam.launcher.runs import Run
from balsam.launcher.tasks import Mpi
from balsam.platform import affinity

logger = logging.getLogger(__name__)

#: A launcher reports so many tasks that are on the wrong CPUs; all are in the record and its log.
MOST_NOTES = 3


class Bindings:
    """The CPUs of those attempts that were to be confined and are not sent to other nodes.

    The ranks of an mpirun are looked at by the ``hands``, on each of their nodes; on this one also
    where they are not.
    """

    def __init__(
        self, running: Mapping[int, Run], near: Near, preparer: Preparer, hands: Hands | None
    ) -> None:
        self._running = running
        self._near = near
        self._preparer = preparer
        self._hands = hands
        self._unchecked: deque[tuple[float, Run]] = deque()
        self._ranks = Ranks()
        self._mislaid = 0

    def begun(self, run: Run) -> None:
        """A task is to be looked at once it has run for a moment."""
        if run.mpi is None:
            if run.placement.cpus:
                self._unchecked.append((run.since + affinity.SETTLED_SECONDS, run))
            return
        confinement = self._confinement(run, run.mpi)
        if confinement is None:
            return
        if self._hands:
            self._hands.check(run.token, run.placement.nodes, confinement)
        if self.looks_at(run.placement.nodes):
            self._ranks.check(run.token, confinement)

    def looks_at(self, nodes: Sequence[str]) -> bool:
        """Whether one of these nodes is this one, and nobody else looks at it."""
        others = self._hands.ready_nodes if self._hands else frozenset()
        return self._preparer.is_here(name for name in nodes if name not in others)

    def _confinement(self, run: Run, mpi: Mpi) -> Confinement | None:
        """What its ranks are to keep to on each node; None where they were told nothing."""
        if not is_confined(run.task.request):
            return None
        launch = self._preparer.launch(run.task, run.placement, mpi)
        if not mpi.flavour.binds(launch, run.spec.env):
            return None
        cpus = frozenset(chain.from_iterable(launch.rank_cpus))
        # Where an MPI deals out a whole node by itself, that is as many as there are.
        number = len(cpus) or sum(map(len, self._preparer.ground.cpus))
        ranks, variable = run.task.request.ranks_per_node, mpi.flavour.rank_variable
        return Confinement(run.spec.env[RUN_MARK], variable, ranks, tuple(sorted(cpus)), number)

    def check(self, now: float) -> None:
        """Look at those that have run for a moment."""
        while self._unchecked and self._unchecked[0][0] <= now:
            _, run = self._unchecked.popleft()
            if run in self._near:
                run.note = affinity.compare(run.placement.cpus, run.pid)
        for token, note in self._ranks.look(now):
            self.hear(Mislaid(token, note))

    def hear(self, event: Mislaid) -> None:
        """Ranks that still run are not where they should be."""
        run = self._running.get(protocol.job_of(event.token))
        if run and run.token == event.token:
            run.note = event.note

    def tell(self, run: Run) -> list[str]:
        """What is wrong with one, for people to know: many may be bound wrongly for one reason."""
        self._mislaid += 1
        logger.warning("%s: %s", run.task.label, run.note)
        if self._mislaid > MOST_NOTES:
            return []
        return [f"{run.task.label} on {', '.join(run.placement.nodes)}: {run.note}"]
