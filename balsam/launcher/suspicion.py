"""Nodes on which attempts fail improbably often: set aside, and what failed there is excused."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from balsam import states
from balsam.core import excuse
from balsam.core.backoff import EXCUSED
from balsam.core.excuse import NOT_BEGUN
from balsam.launcher.attempts import Attempts
from balsam.launcher.entries import End
from balsam.launcher.guard import Guard
from balsam.launcher.health import NodeHealth, Suspect, verdict
from balsam.launcher.node_pool import NodePool
from balsam.launcher.source import Source
from balsam.launcher.tasks import Task

logger = logging.getLogger(__name__)

#: How long a node rests on which all fails before anything has ended elsewhere: at first, at most.
REST_SECONDS, MOST_REST_SECONDS = 5.0, 60.0


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
    #: What was set aside, and what failed there: it can be excused once its end is in the record.
    _aside: dict[str, Suspect] = field(default_factory=dict)
    _failed: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    #: How long the next rest of a node is, in seconds.
    _pauses: dict[str, float] = field(default_factory=dict)

    def ended(self, task: Task, end: End) -> End:
        """Take in how an attempt ended; a node that this convicts gets no more tasks.

        The end to commit: that of an attempt which was stopped for its node says so.
        """
        data = end.outcome.data
        nodes, good = data.get("nodes", ()), verdict(data["cause"])
        attempt = end.attempt if end.old_state == states.RUNNING else NOT_BEGUN
        aside = next((node for node in nodes if node in self._aside), None)
        if aside and data["cause"] == states.NODE_LOST:
            return _excused(end, aside)
        if aside and good is False:
            # It was there when the node was convicted, and ended before it was stopped.
            self._failed.setdefault(aside, []).append((task.id, attempt))
            return end
        self.health.record(nodes, good, _kind(task), task.id, attempt)
        if good is False:
            self._rest(nodes)
        suspects = self.health.suspects()
        if suspects and self.nodes.limits.nodes > 1:
            self._set_aside(suspects[0])
        return end

    def _rest(self, names: Collection[str]) -> None:
        """Have nodes wait on which all fails, until it is known how such jobs end elsewhere.

        They would fail job after job, for they are the first to be free.
        """
        for node in names:
            if self.nodes.gives(node) and self.health.is_dubious(node):
                seconds = self._pauses.get(node, REST_SECONDS)
                self._pauses[node] = min(2 * seconds, MOST_REST_SECONDS)
                logger.warning("%s: all fail there, it rests for %g s", node, seconds)
                self.attempts.rest(node, seconds)

    def _set_aside(self, suspect: Suspect) -> None:
        """Without the worst one the others may look better: they are judged at the next failure."""
        logger.warning("%s: set aside", suspect)
        self.health.remove(suspect.node)
        self.nodes.remove(suspect.node)
        self.attempts.gone[suspect.node] = f"set aside: {suspect}"
        self.attempts.endings.leave(suspect.node, states.NODE_LOST, self.grace_seconds)
        self._aside[suspect.node] = suspect
        self._failed[suspect.node] = list(suspect.attempts)
        self.tell(
            f"{suspect}: it gets no more tasks from this launcher, and those tasks run elsewhere."
        )

    def committed(self) -> None:
        """Excuse what failed on nodes that were set aside: those ends are in the record now."""
        if self._failed:
            self.guard.run(self._excuse)

    def _excuse(self) -> None:
        while self._failed:
            node, attempts = next(iter(self._failed.items()))
            done = excuse.give_again(attempts, node, str(self._aside[node]))
            logger.info("%s: %d jobs run again elsewhere", node, done.jobs)
            del self._failed[node]
            self.source.dirty = True


def _excused(end: End, node: str) -> End:
    """It was lost with its node, but by our own decision: no limit counts it."""
    outcome = end.outcome
    words = outcome.with_words(f"; the node {node} was set aside")
    data = {**outcome.data, EXCUSED: end.attempt}
    return replace(end, outcome=replace(outcome, message=words, data=data))


def _kind(task: Task) -> object:
    """What is compared with itself: an application, or the program of a command."""
    return task.app_id or task.direct_command.partition(" ")[0]
