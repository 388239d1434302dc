"""Nodes on which attempts fail improbably often: set aside, and what failed there is excused.

Whose fault it was is seen when that has run elsewhere. If it ends well there, the node is done
with; if it fails again, the node gets tasks as before.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from math import inf

from balsam import states
from balsam.core import excuse
from balsam.core.backoff import EXCUSED
from balsam.core.excuse import NOT_BEGUN
from balsam.launcher.attempts import Attempts
from balsam.launcher.entries import End
from balsam.launcher.guard import Guard
from balsam.launcher.health import LEAST_FAILURES, NodeHealth, Suspect, verdict
from balsam.launcher.node_pool import NodePool
from balsam.launcher.source import Source
from balsam.launcher.tasks import Task

logger = logging.getLogger(__name__)

#: How long a node rests on which all fails before anything has ended elsewhere: at first, at most.
REST_SECONDS, MOST_REST_SECONDS = 5.0, 60.0
#: How long what failed on a suspect has to fail elsewhere, too. What fails for its input is quick.
TRIAL_SECONDS = 600.0
#: So many jobs that end elsewhere decide.
ENOUGH = LEAST_FAILURES
#: So often a job is excused: on more nodes it fails by itself.
MOST_EXCUSES = 3


@dataclass
class _Trial:
    """Of a suspect: how the jobs that failed there have ended elsewhere, and on which node."""

    until: float
    good: set[int] = field(default_factory=set)
    bad: dict[int, str] = field(default_factory=dict)


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
    #: What was set aside, why, and what failed there: that can be excused once its end is in the
    #: record.
    _aside: set[str] = field(default_factory=set)
    _why: dict[str, str] = field(default_factory=dict)
    _failed: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    #: How long the next rest of a node is, in seconds.
    _pauses: dict[str, float] = field(default_factory=dict)
    #: Jobs that were lost with a node.
    _lost: set[int] = field(default_factory=set)
    #: Those on which there is no judgement yet.
    _trials: dict[str, _Trial] = field(default_factory=dict)
    #: Job -> the suspects on which it has failed.
    _tried: dict[int, set[str]] = field(default_factory=dict)

    def ended(self, task: Task, end: End) -> End:
        """Take in how an attempt ended; a node that this convicts gets no more tasks.

        The end to commit: that of an attempt which was stopped for its node says so.
        """
        data = end.outcome.data
        nodes, good = data.get("nodes", ()), verdict(data["cause"])
        attempt = end.attempt if end.old_state == states.RUNNING else NOT_BEGUN
        aside = next((node for node in nodes if node in self._aside), None)
        if data["cause"] == states.NODE_LOST:
            if aside:
                return _excused(end, aside)
            self._note_loss(task.id)
        if aside and good is False:
            # It was there when the node was convicted, and ended before it was stopped.
            self._excuse_soon(aside, [(task.id, attempt)])
            return end
        tried = self._tried.get(task.id)
        if tried and good is not None:
            self._note(task.id, tried, nodes, good)
        excused = tried is not None and len(tried) >= MOST_EXCUSES
        if not (excused and good is False):
            self.health.record(nodes, good, _kind(task), task.id, attempt, counts=not tried)
        if good is False:
            self._rest(nodes)
        suspects = self.health.suspects()
        if suspects and self.nodes.limits.nodes - len(self._trials) > 1:
            self._set_aside(suspects[0])
        return end

    def _note_loss(self, job: int) -> None:
        """A job that was lost again with its node may be why: it is to take no others with it."""
        if job in self._lost:
            self.source.alone.add(job)
        self._lost.add(job)

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
        node = suspect.node
        self.health.remove(node)
        self.attempts.rest(node, inf)
        self.attempts.gone[node] = f"set aside: {suspect}"
        self._aside.add(node)
        self._why[node] = str(suspect)
        self._trials[node] = _Trial(time.monotonic() + TRIAL_SECONDS)
        for trial in self._trials.values():
            trial.bad = {job: where for job, where in trial.bad.items() if where != node}
        self._excuse_soon(node, suspect.attempts)
        self.tell(f"{suspect}: it gets no more tasks, and those tasks run elsewhere.")

    def _excuse_soon(self, node: str, attempts: Iterable[tuple[int, int]]) -> None:
        """Excuse what failed on a suspect, once its end is in the record."""
        for job, attempt in attempts:
            self._tried.setdefault(job, set()).add(node)
            self._failed.setdefault(node, []).append((job, attempt))

    # -- whose fault it was ---------------------------------------------------------------------

    def _note(self, job: int, tried: Collection[str], nodes: Collection[str], good: bool) -> None:
        """A job that failed on suspects has ended elsewhere."""
        for node in tried:
            trial = self._trials.get(node)
            if trial is None or node in nodes:
                continue
            if good:
                trial.good.add(job)
                trial.bad.pop(job, None)
            else:
                trial.bad[job] = next(iter(nodes), "")

    @property
    def deadline(self) -> float | None:
        """When (monotonic) the next trial ends, whether anything has ended elsewhere or not."""
        return min((trial.until for trial in self._trials.values()), default=None)

    def look(self) -> None:
        """Judge the nodes on trial on which enough is known by now, or whose time is over.

        A node on trial still counts as one that there is, so that a job which needs all nodes
        waits for the verdict.
        """
        now = time.monotonic()
        for node, trial in list(self._trials.items()):
            if not self.nodes.has(node):
                del self._trials[node]  # it was lost meanwhile
            elif len(trial.bad) >= ENOUGH and len(trial.bad) > len(trial.good):
                self._acquit(node)
            elif len(trial.good) >= ENOUGH or now >= trial.until:
                self._convict(node)

    def _convict(self, node: str) -> None:
        logger.warning("%s: what failed there has not failed elsewhere", node)
        del self._trials[node]
        self.nodes.remove(node)
        self.attempts.endings.leave(node, states.NODE_LOST, self.grace_seconds)

    def _acquit(self, node: str) -> None:
        logger.warning("%s: what failed there fails elsewhere, too", node)
        del self._trials[node], self.attempts.gone[node]
        self._aside.remove(node)
        self.health.add(node)
        self.attempts.trust(node)
        self.tell(f"What failed on {node} fails elsewhere, too: it gets tasks again.")

    def committed(self) -> None:
        """Excuse what failed on nodes that were set aside: those ends are in the record now."""
        if self._failed:
            self.guard.run(self._excuse)

    def _excuse(self) -> None:
        while self._failed:
            node, attempts = next(iter(self._failed.items()))
            done = excuse.give_again(attempts, node, self._why[node])
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
