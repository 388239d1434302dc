"""Whether running tasks may use the CPUs that they should: looked at once, and told."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable

from balsam.launcher.ensemble import protocol
from balsam.launcher.ensemble.protocol import RUN_MARK, Hands
from balsam.launcher.near import Near
from balsam.launcher.runs import Run
from balsam.platform import affinity, process

logger = logging.getLogger(__name__)

#: A launcher reports so many tasks that are on the wrong CPUs; all are in the record and its log.
MOST_NOTES = 3


class Bindings:
    """The CPUs of those ``near`` tasks that were to be confined, an mpirun's ranks with it.

    Where these are on another node than this one, ``hands`` look there.
    """

    def __init__(
        self, near: Near, hands: Hands | None, is_here: Callable[[Iterable[str]], bool]
    ) -> None:
        self._near = near
        self._hands = hands
        self._is_here = is_here
        self._unchecked: deque[tuple[float, Run]] = deque()
        self._mislaid = 0

    def begun(self, run: Run) -> None:
        """A task is to be looked at once it has run for a moment."""
        nodes, cpus = run.placement.nodes, run.placement.cpus
        if not cpus:
            return
        if run.mpi is None or self._is_here(nodes):
            self._unchecked.append((run.since + affinity.SETTLED_SECONDS, run))
        elif self._hands:
            token = protocol.token(run.task.id, run.attempt)
            self._hands.check(token, nodes[0], run.spec.env[RUN_MARK], cpus)

    def check(self, now: float) -> None:
        """Look at those that have run for a moment."""
        while self._unchecked and self._unchecked[0][0] <= now:
            _, run = self._unchecked.popleft()
            if run in self._near:
                run.note = affinity.compare(run.placement.cpus, run.pid) or _of_ranks(run)

    def tell(self, run: Run) -> list[str]:
        """What is wrong with one, for people to know: many may be bound wrongly for one reason."""
        self._mislaid += 1
        logger.warning("%s: %s", run.task.label, run.note)
        if self._mislaid > MOST_NOTES:
            return []
        return [f"{run.task.label} on {', '.join(run.placement.nodes)}: {run.note}"]


def _of_ranks(run: Run) -> str:
    """The same of ranks that are no descendants of what started them: those of an srun."""
    if run.mpi is None:
        return ""
    marked = process.marked_processes(RUN_MARK, run.spec.env[RUN_MARK])
    return affinity.wrong(run.placement.cpus, marked)
