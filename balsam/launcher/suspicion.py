"""Nodes on which attempts fail improbably often: set aside, and what failed there is excused."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from balsam import states
from balsam.core import excuse
from balsam.launcher.attempts import Attempts
from balsam.launcher.guard import Guard
from balsam.launcher.health import NodeHealth, Suspect, verdict
from balsam.launcher.ledger import End
from balsam.launcher.node_pool import NodePool
from balsam.launcher.source import Source
from balsam.launcher.tasks import Task

logger = logging.getLogger(__name__)


@dataclass
class Suspicion:
    """Judges the nodes of one launcher by how attempts end on them."""

    nodes: NodePool
    health: NodeHealth
    attempts: Attempts
    source: Source
    guard: Guard
    grace_seconds: float
    tell: Callable[[str], None]
    #: Set aside; what failed there can be excused once its end is in the record.
    _convicted: list[Suspect] = field(default_factory=list)

    def ended(self, task: Task, end: End) -> None:
        """Take in how an attempt ended; a node that this convicts gets no more tasks."""
        data = end.outcome.data
        self.health.record(
            data.get("nodes", ()), verdict(data["cause"]), _kind(task), task.id, end.attempt
        )
        suspects = self.health.suspects()
        if suspects:
            self._set_aside(suspects[0])

    def _set_aside(self, suspect: Suspect) -> None:
        """Without the worst one the others may look better: they are judged at the next failure."""
        logger.warning("%s: set aside", suspect)
        self.health.remove(suspect.node)
        self.nodes.remove(suspect.node)
        self.attempts.gone[suspect.node] = f"set aside: {suspect}"
        self.attempts.leave(suspect.node, states.NODE_LOST, self.grace_seconds)
        self._convicted.append(suspect)
        self.tell(
            f"{suspect}: it gets no more tasks from this launcher, and those tasks run elsewhere."
        )

    def committed(self) -> None:
        """Excuse the attempts that convicted a node: their ends are in the record now."""
        if self._convicted:
            self.guard.run(self._excuse)

    def _excuse(self) -> None:
        while self._convicted:
            suspect = self._convicted[0]
            done = excuse.give_again(suspect.attempts, suspect.node, str(suspect))
            logger.info("%s: %d jobs run again elsewhere", suspect.node, done.jobs)
            self._convicted.pop(0)
            self.source.dirty = True


def _kind(task: Task) -> object:
    """What is compared with itself: an application, or the program of a command."""
    return task.app_id or task.direct_command.partition(" ")[0]
