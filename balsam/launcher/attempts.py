"""The attempts in progress: placed, started, stopped and reaped."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from balsam import states
from balsam.conf.settings import Launcher as LauncherSettings
from balsam.errors import LaunchError
from balsam.launcher import runs
from balsam.launcher.bindings import Bindings
from balsam.launcher.doubts import Doubts
from balsam.launcher.ending import Endings
from balsam.launcher.ensemble import protocol
from balsam.launcher.ensemble.protocol import Hands, Mislaid, NodeLost, Struck
from balsam.launcher.entries import End, Start
from balsam.launcher.far import Far, Returned
from balsam.launcher.mpi import MpiFinder
from balsam.launcher.mpiruns import Mpiruns
from balsam.launcher.near import Near
from balsam.launcher.node_pool import NodePool, slots
from balsam.launcher.onlookers import Onlookers
from balsam.launcher.options import MPI
from balsam.launcher.preparing import Drafts, Preparer
from balsam.launcher.runs import Run
from balsam.launcher.tasks import Application, Task
from balsam.launcher.watch import Watch
from balsam.outcomes import Outcome
from balsam.platform import process
from balsam.platform.process import Exit

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bounds:
    """Limits of a launcher: mpiruns at once, and in all (0: none); its end (monotonic), if any.

    ``doubt_seconds``: how long failed attempts wait for news of a greater end (0: not at all).
    """

    mpiruns: int = 1000
    launches: int = 0
    ends: float | None = None
    doubt_seconds: float = 0.0


@dataclass(frozen=True)
class Sent:
    """A task is on its way to a node; :meth:`Attempts.reap` tells when it begins."""


class Attempts:
    """What runs, by job. Nothing here knows the database.

    ``hands`` start serial tasks on other nodes; where mpirun starts all of them there may be
    ``onlookers``. Without either all nodes are this one, or nobody sees what happens on the others.
    """

    def __init__(
        self,
        nodes: NodePool,
        preparer: Preparer,
        config: LauncherSettings,
        mpi: MpiFinder,
        job_mode: str,
        bounds: Bounds | None = None,
        hands: Hands | None = None,
        onlookers: Onlookers | None = None,
    ) -> None:
        self.nodes = nodes
        self._preparer = preparer
        self._config = config
        bounds = bounds or Bounds(config.max_concurrent_mpiruns)
        self._far = Far(hands, nodes) if hands else None
        self._onlookers = onlookers
        self._distant = self._far or onlookers
        self._watch = Watch(nodes, onlookers or hands)
        self._running: dict[int, Run] = {}
        #: Those of them that are processes of this machine, mpiruns above all.
        self._near = Near()
        self.mpiruns = Mpiruns(
            mpi, self._near, hands, job_mode == MPI, bounds.mpiruns, bounds.launches
        )
        eyes = self._distant.hands if self._distant else None
        self._doubts = Doubts(bounds.doubt_seconds, eyes)
        #: Ends them before they end by themselves.
        self.endings = Endings(self._running, config, bounds.ends)
        self._recent: deque[Task] = deque(maxlen=16)
        self._bindings = Bindings(self._running, self._near, preparer, eyes)
        self._drafts = Drafts(preparer)
        self._stop_requested = False
        #: Why there is no hope for any node, '' while there is.
        self.trouble = ""
        #: Nodes that are out of use, and why.
        self.gone: dict[str, str] = {}
        self._lost_now: list[NodeLost] = []
        #: Called with each attempt that ended.
        self.on_end: Callable[[Task, End], End] | None = None
        #: Called with each node that is lost.
        self.on_loss: Callable[[str], None] | None = None
        #: What a person should know, until somebody has told it.
        self.news: list[str] = []

    def __len__(self) -> int:
        return len(self._running)

    def __contains__(self, job: int) -> bool:
        return job in self._running

    def jobs(self) -> set[int]:
        """The jobs that run, or were sent to a node."""
        return set(self._running)

    def room(self) -> int:
        """How many more tasks like the recent ones could start now, or were taken for soon."""
        room = slots(self.nodes, [task.request for task in self._recent])
        return room + self._far.room() if self._far else room

    # -- starting -------------------------------------------------------------------------------

    def start(self, task: Task, app: Application) -> Start | Sent | None:
        """Start a task if its share of a node, and a process to run it, is free.

        None means later: then, or when mpirun has said what it is. Raises BalsamError, for
        :func:`could_not_start`, if it can not run at all; MpiUnavailable, if not without an mpirun.
        """
        self.nodes.check(task.request)
        needs_mpi = self.mpiruns.needed(task)
        mpi = self.mpiruns.get() if needs_mpi else None
        if needs_mpi and mpi is None:
            return None
        far = self._far is not None and not needs_mpi and task.ranks == 1
        placement = self.nodes.place(task.request, task.seconds, time.monotonic())
        if placement is None:
            return self._send_ahead(task, app) if far else None
        try:
            draft = self._drafts.take(task, app)
            spec = self._preparer.spec(draft, placement, mpi)
            if far and self._far:
                return self._sent(self._far.send(task, placement, spec))
            run, start = runs.start(task, placement, spec, mpi)
        except BaseException as error:
            self.nodes.give_back(placement)
            if self._running and isinstance(error, LaunchError) and process.shortage(error):
                return None
            raise
        self._near.add(run)
        self._filed(run)
        self.endings.begun(run)
        self._bindings.begun(run)
        return start

    def _send_ahead(self, task: Task, app: Application) -> Sent | None:
        """Let it wait on a node for the share of one that will soon have ended."""
        assert self._far is not None
        before = self._far.predecessor(task)
        if before is None:
            return None
        try:
            spec = self._preparer.spec(self._drafts.take(task, app), before.placement, None)
        except BaseException:
            self._far.forget(task)
            raise
        return self._sent(self._far.follow(task, before, spec))

    def _sent(self, run: Run) -> Sent:
        self._filed(run)
        return Sent()

    def _filed(self, run: Run) -> None:
        self._running[run.task.id] = run
        self._recent.append(run.task)

    def prepare(self, task: Task, app: Application) -> None:
        """Do what can be done of a start that has to wait; what speaks against it is told then."""
        self._drafts.prepare(task, app)

    # -- ending ---------------------------------------------------------------------------------

    def reap(self) -> Iterator[Start | End | Returned]:
        """What has begun on other nodes, and ended anywhere, since this was last asked."""
        ended = self._near.ended()
        unclean = []
        for run, end in ended:
            if self._stop_requested:
                run.stopping = run.stopping or states.BATCH_TIME_LIMIT
            if run.stopping or (run.mpi is not None and end.returncode):
                unclean.append(run)
        runs.kill_leftovers(unclean)
        for run, end in ended:
            self.nodes.give_back(run.placement)
            outcome = self._outcome(run, end)
            if not self._doubts.take(run, end, outcome):
                yield self._judged(run, end, outcome)
        if self._far:
            yield from self._hear(self._far)
        elif self._onlookers:
            self._look_on(self._onlookers)
        self._tell_losses()
        for one in self._doubts.settled():
            known = not (one.run.stopping or one.oom)
            outcome = one.outcome if known else self._outcome(one.run, one.end, oom=one.oom)
            yield self._judged(one.run, one.end, outcome)
        self._watch.look()

    def _outcome(self, run: Run, end: Exit, *, oom: bool = False) -> Outcome:
        ours = run.mpi is None or self._bindings.looks_at(run.placement.nodes)
        watch = self._near.oom if ours else None
        found = runs.traces(run, watch, self._config.error_tail_lines, oom=oom)
        return runs.outcome(run, end, found)

    def _judged(self, run: Run, end: Exit, outcome: Outcome) -> End:
        del self._running[run.task.id]
        nodes = run.placement.nodes
        # Where it is known which one, the others are in no doubt.
        if outcome.data["cause"] == states.NODE_LOST and self.gone.keys().isdisjoint(nodes):
            self._watch.doubt(nodes)
        return self._told(run, End(run.task.id, states.RUNNING, run.attempt, outcome, end.time))

    def _hear(self, far: Far) -> Iterator[Start | End | Returned]:
        try:
            yield from self._heard(far)
        except LaunchError as error:
            # What is lost with the nodes comes next.
            self.trouble = str(error)

    def _heard(self, far: Far) -> Iterator[Start | End | Returned]:
        for event in far.hear():
            if isinstance(event, NodeLost | Mislaid | Struck):
                self._note(event)
                continue
            run, entry = event
            if isinstance(entry, Start):
                self.endings.begun(run)
                yield entry
                continue
            del self._running[run.task.id]
            yield self._told(run, entry) if isinstance(entry, End) else entry

    def _look_on(self, onlookers: Onlookers) -> None:
        try:
            for event in onlookers.hear():
                self._note(event)
        except LaunchError as error:
            logger.warning("%s", error)
            self.news.append(str(error))

    def _note(self, event: NodeLost | Mislaid | Struck) -> None:
        """What a node told of itself, or of ranks there."""
        if isinstance(event, NodeLost):
            self._lose(event)
        elif isinstance(event, Mislaid):
            self._bindings.hear(event)
        else:
            self._doubts.hear(event)

    def _told(self, run: Run, end: End) -> End:
        outcome = end.outcome
        if outcome.state != states.RUN_DONE:
            logger.info("%s: %s", run.task.label, outcome.message.split("\n", 1)[0])
        if run.note:
            self.news += self._bindings.tell(run)
        return self.on_end(run.task, end) if self.on_end else end

    def rest(self, node: str, seconds: float) -> None:
        """Start nothing on a node for so long; what runs there goes on."""
        self._watch.rest(node, seconds)

    def trust(self, node: str) -> None:
        """End the rest of a node."""
        self._watch.trust(node)

    def give_up(self) -> Iterator[End | Returned]:
        """What was stopped on other nodes that do not answer: they were ended as we were.

        Unless nobody ended us: then tasks may run there until their node is taken for lost.
        """
        if self._far is None or not self._by_scheduler:
            return
        for run, entry in self._far.give_up():
            del self._running[run.task.id]
            yield self._told(run, entry) if isinstance(entry, End) else entry

    def _lose(self, event: NodeLost) -> None:
        """A node is lost, with the tasks sent there; mpiruns of ranks there may never notice."""
        logger.warning("node %s: %s", event.node, event.why)
        if not event.gone:
            return
        self.nodes.remove(event.node)
        self.gone[event.node] = event.why
        self._lost_now.append(event)
        if self.on_loss:
            self.on_loss(event.node)
        if self._far or event.silent:
            # Where workers run no tasks, they may end on a node that does all that mpiruns need.
            self.endings.leave(event.node, states.NODE_LOST, self._config.kill_grace_seconds)

    def _tell_losses(self) -> None:
        """Nodes that died together are one piece of news; with all of them there is another."""
        lost, self._lost_now = self._lost_now, []
        if lost and not self.trouble:
            nodes = protocol.names([event.node for event in lost])
            some = f"Node {nodes} is" if len(lost) == 1 else f"Nodes {nodes} are"
            self.news.append(f"{some} lost: {lost[0].why}")

    @property
    def terminated(self) -> bool:
        """Whether a scheduler has begun to end what runs: it may tell the launcher last."""
        return self._far is not None and self._far.terminated

    def stop_requested(self) -> None:
        """The launcher got a signal; to be called in its handler.

        A scheduler sends its TERM to our tasks as well. So what was not reaped before was stopped,
        also if it saved its work in the meantime and exited with 0: it is better run again than
        taken for a result.
        """
        self._stop_requested = True

    def kill_all(self) -> None:
        """KILL everything at once."""
        self._near.kill_all()
        if self._far:
            self._far.hands.kill_all()

    def stop(self, job: int, cause: str, grace_seconds: float) -> None:
        """End one attempt, by force after the grace."""
        self.endings.stop(job, cause, grace_seconds)

    def stop_all(self, cause: str, grace_seconds: float) -> None:
        """End every attempt, by force after the grace."""
        self.endings.stop_all(cause, grace_seconds, even_ended=self._by_scheduler)

    @property
    def _by_scheduler(self) -> bool:
        return self._stop_requested or self.terminated

    # -- time -----------------------------------------------------------------------------------

    def due(self) -> float | None:
        """When (monotonic) :meth:`timers` has something to do."""
        distant = self._distant.deadline if self._distant else None
        times = (self.endings.due(), self._doubts.deadline, distant)
        return min((when for when in times if when is not None), default=None)

    def timers(self) -> None:
        """Enforce the tasks' own time limits, and KILL what did not heed its TERM."""
        now = time.monotonic()
        self.endings.timers(now)
        self._bindings.check(now)

    def beat(self) -> None:
        """Do what has to be done now and then."""
        self._near.beat()

    def settle(self) -> None:
        """Go back to where relative paths mean nothing: starting tasks changes directories."""
        os.chdir(self._preparer.data)

    def fds(self) -> list[int]:
        """Descriptors that become readable when :meth:`reap` has something to tell."""
        return self._distant.hands.fds() if self._distant else []

    def flush(self) -> None:
        """Send what is meant for other nodes; to be called before going to sleep."""
        if self._distant:
            self._distant.hands.flush()

    def close(self, grace_seconds: float) -> None:
        """End what there is on other nodes."""
        if self._far:
            self._far.hands.close(grace_seconds)
        elif self._onlookers:
            self._onlookers.close(grace_seconds)
