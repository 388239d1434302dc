"""Whether running tasks may use the CPUs that they should: looked at once, and told."""

from __future__ import annotations

import logging
from collections import deque

from balsam.launcher.near import Near
from balsam.launcher.runs import Run
from balsam.platform import affinity

logger = logging.getLogger(__name__)

#: A launcher reports so many tasks that are on the wrong CPUs; all are in the record and its log.
MOST_NOTES = 3


class Bindings:
    """The CPUs of those ``near`` tasks that were to be confined, an mpirun's ranks with it."""

    def __init__(self, near: Near) -> None:
        self._near = near
        self._unchecked: deque[tuple[float, Run]] = deque()
        self._mislaid = 0

    def begun(self, run: Run) -> None:
        """A task is to be looked at once it has run for a moment."""
        if run.placement.cpus:
            self._unchecked.append((run.since + affinity.SETTLED_SECONDS, run))

    def check(self, now: float) -> None:
        """Look at those that have run for a moment."""
        while self._unchecked and self._unchecked[0][0] <= now:
            _, run = self._unchecked.popleft()
            if run in self._near:
                run.note = affinity.compare(run.placement.cpus, run.pid)

    def tell(self, run: Run) -> list[str]:
        """What is wrong with one, for people to know: many may be bound wrongly for one reason."""
        self._mislaid += 1
        logger.warning("%s: %s", run.task.label, run.note)
        if self._mislaid > MOST_NOTES:
            return []
        return [f"{run.task.label} on {', '.join(run.placement.nodes)}: {run.note}"]
