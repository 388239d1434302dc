"""The launcher's side of an ensemble: many nodes, one mpirun, no task lost with it."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from balsam.errors import LaunchError, MpiUnavailable
from balsam.launcher.ensemble import nodetasks, wire
from balsam.launcher.ensemble.crew import Crew
from balsam.launcher.ensemble.crews import HOPELESS, Crews
from balsam.launcher.ensemble.link import Link
from balsam.launcher.ensemble.protocol import Ended, Event, NodeLost, Refused, Started, names
from balsam.platform import node as machine
from balsam.platform import process
from balsam.platform.process import Exit, RunSpec

logger = logging.getLogger(__name__)

#: What a keeper needs to end its tasks once its time is over, and the time between two looks.
FENCE_MARGIN_SECONDS = 5.0
#: How long ranks wait for keepers that others start.
KEEPERS_SECONDS = 10.0


def rank_command() -> tuple[str, ...]:
    """What mpirun has to run, once on each node."""
    return (sys.executable, "-m", "balsam.launcher.ensemble")


def keeper_command(session: str) -> tuple[str, ...]:
    """What has to run once on each node where keepers are not to be started by ranks."""
    return (sys.executable, "-m", "balsam.launcher.ensemble.keeper", session)


@dataclass
class _Node:
    """A node as the launcher knows it; ``lost_at`` is when it is given up."""

    name: str
    link: Link = field(default_factory=Link)
    keeper: str = ""
    tokens: dict[str, None] = field(default_factory=dict)
    crew: Crew | None = None
    ready: bool = False
    gone: bool = False
    lost_at: float | None = None
    why: str = ""


class Ensemble:
    """Serial tasks on nodes that an mpirun reaches. See ``protocol.Hands`` for what it does.

    ``start`` gives the mpirun for some of the nodes: its ``output`` is the log of its errors.
    ``session`` is no other launcher's. ``environ`` is what the tasks' environments have in common.
    A keeper that has not heard of the launcher for half the ``lease_seconds`` ends its tasks, one
    that is told that the launcher may be gone, after ``orphan_seconds``. ``by_rank`` takes rank i
    to be on ``nodes[i]`` whatever its host is called. ``keepers`` starts :func:`keeper_command` on
    all nodes, where the keepers that ranks start would not outlive the MPI.
    """

    def __init__(
        self,
        nodes: Sequence[str],
        start: Callable[[Sequence[str]], RunSpec],
        session: str,
        environ: Mapping[str, str],
        *,
        tail_lines: int = 16,
        beat_seconds: float = 5.0,
        lease_seconds: float = 120.0,
        start_seconds: float = 120.0,
        orphan_seconds: float = 15.0,
        by_rank: bool = False,
        keepers: RunSpec | None = None,
    ) -> None:
        self._environ = dict(environ)
        self._start_seconds = start_seconds
        self._beat_seconds = beat_seconds
        self._silence_seconds = lease_seconds / 2
        config = {
            "session": session,
            "environ": self._environ,
            "beat": beat_seconds,
            "silence": self._silence_seconds,
            "orphan": orphan_seconds,
            "tail_lines": tail_lines,
            "by_rank": by_rank,
            "patience": KEEPERS_SECONDS if keepers else 0.0,
            "launcher": [machine.identity(), os.getpid(), machine.start_time(os.getpid())],
        }
        self._nodes = {name: _Node(name) for name in nodes}
        self._node_of: dict[str, _Node] = {}
        self._ready: frozenset[str] | None = None
        self._told: dict[str, _Node] = {}
        self._events: list[Event] = []
        self._crews = Crews(start, config, beat_seconds, start_seconds)
        self._succeeded = False
        self._trouble: LaunchError | None = None
        self._last_poll = time.monotonic()
        self._next_look = self._last_poll
        self._keepers = process.spawn(keepers) if keepers else 0
        self._crews.launch(nodes)

    # -- what the launcher asks -----------------------------------------------------------------

    @property
    def ready_nodes(self) -> frozenset[str]:
        """The nodes that have reported in, answer, and can be given tasks now."""
        if self._ready is None:
            self._ready = frozenset(node.name for node in self._nodes.values() if node.ready)
        return self._ready

    @property
    def deadline(self) -> float | None:
        """When (monotonic) to call ``poll`` at the latest."""
        if self._events or self._trouble:
            return 0.0
        return min([self._next_look, *self._crews.due()])

    def fds(self) -> list[int]:
        """When one of these is readable, ``poll`` has something to say."""
        return self._crews.fds()

    def start(self, token: str, node: str, spec: RunSpec, after: str = "") -> None:
        """Start an attempt, now, or when the attempt ``after`` on the same node has ended."""
        where = self._nodes[node]
        if where.gone:
            self._events.append(NodeLost(node, where.why, (token,)))
            return
        where.tokens[token] = None
        self._node_of[token] = where
        self._send(where, ["start", token, after, wire.pack(spec, self._environ)])

    def signal(self, token: str, number: int) -> None:
        """Send a signal to the process group of an attempt."""
        self._send(self._node_of.get(token), ["signal", token, int(number)])

    def stop(self, token: str, grace_seconds: float) -> None:
        """TERM the group of an attempt, KILL all that it started after the grace."""
        self._send(self._node_of.get(token), ["stop", token, grace_seconds])

    def kill_all(self) -> None:
        """KILL everything, and withdraw the rest."""
        for node in self._nodes.values():
            if node.tokens:
                self._send(node, ["kill_all"])

    def _send(self, node: _Node | None, command: list[Any]) -> None:
        if node is not None and not node.gone:
            node.link.send(command)
            self._told[node.name] = node

    def flush(self) -> None:
        """Send what was asked for."""
        if not self._told:
            return
        letters: dict[int, tuple[Crew, list[bytes]]] = {}
        for node in self._told.values():
            crew = node.crew
            if crew is None or not node.keeper:
                continue
            packet = node.link.packet()
            if packet:
                letters.setdefault(id(crew), (crew, []))[1].append(wire.frame(node.name, packet))
        self._told.clear()
        for crew, frames in letters.values():
            crew.tell(b"".join(frames))

    # -- what happens ---------------------------------------------------------------------------

    def poll(self) -> list[Event]:
        """What has happened. Raises LaunchError if there can be no node at all, once."""
        moment = time.monotonic()
        if moment - self._last_poll > self._beat_seconds:
            # It was us who did not listen.
            self._crews.listened(moment)
        self._last_poll = moment
        for crew in self._crews.living:
            self._hear(crew, moment)
        if moment >= self._next_look or self._crews.someone_ended():
            self._look(moment)
        self.flush()
        if self._trouble:
            trouble, self._trouble = self._trouble, None
            raise trouble
        events, self._events = self._events, []
        return events

    def _hear(self, crew: Crew, moment: float) -> None:
        for address, body in crew.hear():
            if address == wire.CONTROL:
                self._control(crew, body, moment)
            else:
                self._from_node(crew, address, body)

    def _from_node(self, crew: Crew, name: str, body: Any) -> None:
        node = self._nodes.get(name)
        if node is None or node.gone:
            return
        if isinstance(body, dict):
            self._greeted(crew, node, body["hello"], body["got"])
            return
        for message in node.link.receive(body):
            self._events.append(self._event(node, message))
        self._told[name] = node

    def _greeted(self, crew: Crew, node: _Node, keeper: str, got: int) -> None:
        """A keeper says that it is there: the one we know, or another after it."""
        if node.keeper and node.keeper != keeper:
            self._lose(node, node.why or "the process that kept its tasks died", gone=False)
            node.link = Link()
        node.keeper = node.link.peer = keeper
        node.link.resume(got)
        node.crew = crew
        self._succeeded = True
        self._set_ready(node, True)
        self._told[node.name] = node

    def _event(self, node: _Node, message: list[Any]) -> Event:
        kind, token, *rest = message
        if kind == nodetasks.STARTED:
            return Started(token, *rest)
        node.tokens.pop(token, None)
        self._node_of.pop(token, None)
        if kind == nodetasks.REFUSED:
            return Refused(token, *rest)
        end, wall, oom, tail, stopped = rest
        return Ended(token, Exit(**end), wall, bool(oom), tail, stopped)

    def _control(self, crew: Crew, body: Any, moment: float) -> None:
        if "ping" in body:
            crew.heard = moment
            crew.tell(wire.control(pong=body["ping"]))
        elif "heard" in body:
            self._heard(crew, self._nodes[body["heard"]])
        elif "silent" in body:
            node = self._nodes[body["silent"]]
            if node.crew is crew or not node.keeper:
                self._doubt(node, "it does not answer any more", moment - body["age"])
        elif "unusable" in body:
            self._give_up(self._nodes[body["unusable"]], body["why"])
        elif "absent" in body:
            for name in body["absent"]:
                self._give_up(self._nodes[name], "mpirun started nothing there")
        elif "alone" in body:
            crew.complaint = (
                f"its {len(crew.nodes)} processes do not see each other: the mpi4py of "
                f"{sys.executable} was made for another MPI than this mpirun"
            )
        elif "error" in body:
            crew.complaint = body["error"]

    def _heard(self, crew: Crew, node: _Node) -> None:
        if node.crew is crew and node.keeper:
            self._set_ready(node, True)

    def _set_ready(self, node: _Node, ready: bool) -> None:
        if ready and not node.gone:
            node.lost_at = None
            node.why = ""
        if node.ready != ready:
            node.ready = ready
            self._ready = None

    def _doubt(self, node: _Node, why: str, since: float) -> None:
        """A node is silent: not to be used, and lost when its keeper has ended everything."""
        if node.gone:
            return
        self._set_ready(node, False)
        node.why = why
        if node.lost_at is None and node.keeper:
            node.lost_at = since + self._silence_seconds + FENCE_MARGIN_SECONDS

    def _give_up(self, node: _Node, why: str) -> None:
        """A node will never report in. What may run there is lost with its time only."""
        node.why = why
        if node.keeper:
            self._doubt(node, why, time.monotonic())
        else:
            self._lose(node, why, gone=True)

    def _lose(self, node: _Node, why: str, *, gone: bool) -> None:
        if node.gone:
            return
        tokens = tuple(node.tokens)
        for token in tokens:
            self._node_of.pop(token, None)
        node.tokens.clear()
        if gone:
            node.gone = True
            node.why = why
            self._set_ready(node, False)
        if gone or tokens:
            logger.warning("node %s: %s (%d attempts lost)", node.name, why, len(tokens))
            self._events.append(NodeLost(node.name, why, tokens, gone))

    # -- the mpiruns ----------------------------------------------------------------------------

    def _look(self, moment: float) -> None:
        self._next_look = moment + min(1.0, self._beat_seconds)
        for crew in self._crews.watch(moment):
            self._ended(crew, moment)
        self._crews.launch_due(moment, lambda name: self._nodes[name].gone)
        for crew in self._crews.late(moment):
            for name in crew.nodes:
                node = self._nodes[name]
                if not node.keeper and not node.gone:
                    late = f"it did not report in within {self._start_seconds:.0f} s"
                    self._lose(node, late, gone=True)
        for node in self._nodes.values():
            if node.lost_at is not None and moment >= node.lost_at and not node.ready:
                self._lose(node, node.why, gone=True)

    def _ended(self, crew: Crew, moment: float) -> None:
        """An mpirun is no more: its keepers go on, and other ranks find them."""
        self._hear(crew, moment)
        self._crews.remove(crew)
        why, suspects = crew.why(), crew.named()
        nodes = [self._nodes[name] for name in crew.nodes]
        was_up = any(node.crew is crew for node in nodes)
        living = [node for node in nodes if node.crew in (crew, None) and not node.gone]
        for node in living:
            if node.lost_at is not None:
                suspects.add(node.name)
            node.crew = None
            self._doubt(node, why, moment)
        logger.warning("%s (over %s)", why, names(crew.nodes))
        self._crews.failures += not was_up
        if not self._succeeded and (crew.complaint or self._crews.failures >= HOPELESS):
            self._hopeless(why)
            return
        good = [node.name for node in living if node.name not in suspects]
        bad = [node.name for node in living if node.name in suspects]
        if not self._crews.regroup(crew, good, bad, was_up, moment):
            for node in living:
                self._give_up(node, why)
        self._next_look = moment

    def _hopeless(self, why: str) -> None:
        self._crews.give_up()
        self._trouble = MpiUnavailable(f"The nodes can not be used: {why}.")
        for node in self._nodes.values():
            self._lose(node, why, gone=True)

    def close(self, grace_seconds: float) -> None:
        """End what runs and all processes on all nodes; returns within about the grace."""
        self.flush()
        self._crews.close(grace_seconds)
        if self._keepers:
            process.end_processes([self._keepers], grace_seconds)
            process.reap(self._keepers)
