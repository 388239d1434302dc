"""The launcher's side of an ensemble: many nodes, one mpirun, no task lost with it."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from balsam.errors import LaunchError, MpiUnavailable
from balsam.launcher.ensemble import nodetasks, wire
from balsam.launcher.ensemble.crew import Crew
from balsam.launcher.ensemble.link import Link
from balsam.launcher.ensemble.protocol import Ended, Event, NodeLost, Refused, Started, names
from balsam.platform import node as machine
from balsam.platform.process import Exit, RunSpec

logger = logging.getLogger(__name__)

#: What a keeper needs to end its tasks once its time is over, and the time between two looks.
FENCE_MARGIN_SECONDS = 5.0
#: So many mpiruns that never ran, and no other that did: it will not run at all.
HOPELESS = 3
_AGAIN_SECONDS = 0.02
_TRIES = 4


def rank_command() -> tuple[str, ...]:
    """What mpirun has to run, once on each node."""
    return (sys.executable, "-m", "balsam.launcher.ensemble")


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
    to be on ``nodes[i]`` whatever its host is called.
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
    ) -> None:
        self._start_mpi = start
        self._environ = dict(environ)
        self._start_seconds = start_seconds
        self._beat_seconds = beat_seconds
        self._silence_seconds = lease_seconds / 2
        self._config = {
            "session": session,
            "environ": self._environ,
            "beat": beat_seconds,
            "silence": self._silence_seconds,
            "orphan": orphan_seconds,
            "tail_lines": tail_lines,
            "by_rank": by_rank,
            "launcher": [machine.identity(), os.getpid(), machine.start_time(os.getpid())],
        }
        self._nodes = {name: _Node(name) for name in nodes}
        self._node_of: dict[str, _Node] = {}
        self._ready: frozenset[str] | None = None
        self._told: dict[str, _Node] = {}
        self._events: list[Event] = []
        self._crews: list[Crew] = []
        self._generation = 0
        self._failures = 0
        self._succeeded = False
        self._again: list[tuple[float, tuple[str, ...], int]] = []
        self._trouble: LaunchError | None = None
        self._closing = False
        self._last_poll = time.monotonic()
        self._next_look = self._last_poll
        self._launch(tuple(nodes), 0)

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
        soon = any(crew.pending for crew in self._crews)
        due = [time.monotonic() + _AGAIN_SECONDS] if soon else [self._next_look]
        due += [when for when, _, _ in self._again]
        return min(due)

    def fds(self) -> list[int]:
        """When one of these is readable, ``poll`` has something to say."""
        return [crew.fd for crew in self._crews if crew.open]

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
            for crew in self._crews:
                crew.heard = crew.heard and moment
        self._last_poll = moment
        for crew in list(self._crews):
            for address, body in crew.hear():
                if address == wire.CONTROL:
                    self._control(crew, body, moment)
                else:
                    self._from_node(crew, address, body)
        if not self._closing and (moment >= self._next_look or self._someone_ended()):
            self._look(moment)
        self.flush()
        if self._trouble:
            trouble, self._trouble = self._trouble, None
            raise trouble
        events, self._events = self._events, []
        return events

    def _someone_ended(self) -> bool:
        return any(not crew.open or crew.over() for crew in self._crews)

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
        if node.lost_at is None:
            wait = self._silence_seconds + FENCE_MARGIN_SECONDS if node.keeper else 0.0
            node.lost_at = since + wait if node.keeper else node.lost_at

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
        for crew in list(self._crews):
            self._look_at(crew, moment)
        for entry in [entry for entry in self._again if moment >= entry[0]]:
            self._again.remove(entry)
            self._launch(tuple(n for n in entry[1] if not self._nodes[n].gone), entry[2])
        for node in self._nodes.values():
            if node.lost_at is not None and moment >= node.lost_at and not node.ready:
                self._lose(node, node.why, gone=True)

    def _look_at(self, crew: Crew, moment: float) -> None:
        mute = max(5.0, 4 * self._beat_seconds)
        if crew.over():
            self._ended(crew, moment)
        elif crew.heard and moment - crew.heard > mute or not crew.open:
            crew.kill()
        elif moment - crew.began > self._start_seconds:
            if not crew.heard:
                crew.kill()
            for name in crew.nodes if crew.heard else ():
                node = self._nodes[name]
                if not node.keeper and not node.gone and node.crew is None:
                    late = f"it did not report in within {self._start_seconds:.0f} s"
                    self._lose(node, late, gone=True)

    def _launch(self, nodes: tuple[str, ...], tries: int) -> None:
        """Start an mpirun over some nodes. Raises LaunchError if there is nothing to start."""
        if not nodes:
            return
        self._generation += 1
        crew = Crew(nodes, self._start_mpi(nodes), self._generation, tries)
        self._crews.append(crew)
        config = {**self._config, "nodes": nodes, "generation": self._generation}
        crew.tell(wire.control(config=config))
        logger.info("mpirun %d over %s", crew.pid, names(nodes))

    def _ended(self, crew: Crew, moment: float) -> None:
        """An mpirun is no more: its keepers go on, and other ranks find them."""
        for address, body in crew.hear():
            if address == wire.CONTROL:
                self._control(crew, body, moment)
            else:
                self._from_node(crew, address, body)
        crew.shut()
        self._crews.remove(crew)
        why, was_up = crew.why(), False
        living, silent = [], set()
        for name in crew.nodes:
            node = self._nodes[name]
            was_up = was_up or node.crew is crew
            if node.crew not in (crew, None):
                continue
            if node.lost_at is not None:
                silent.add(name)
            node.crew = None
            if not node.gone:
                living.append(name)
                self._doubt(node, why, moment)
        logger.warning("%s (over %s)", why, names(crew.nodes))
        self._regroup(crew, living, silent | crew.named(), why, was_up, moment)

    def _regroup(
        self,
        crew: Crew,
        living: list[str],
        suspects: set[str],
        why: str,
        was_up: bool,
        moment: float,
    ) -> None:
        """Start again: what is above suspicion first, and apart from the rest."""
        tries = 0 if was_up else crew.tries + 1
        if not was_up:
            self._failures += 1
        if not self._succeeded and (crew.complaint or self._failures >= HOPELESS):
            self._hopeless(why)
            return
        if tries > _TRIES:
            for name in living:
                self._give_up(self._nodes[name], why)
            return
        good = [name for name in living if name not in suspects]
        bad = [name for name in living if name in suspects]
        groups = [good, bad]
        if not was_up and not bad and len(good) > 1:
            half = len(good) // 2
            groups, tries = [good[:half], good[half:]], crew.tries
        delay = 0.0 if was_up else min(5.0, 0.25 * 2**tries)
        self._again += [(moment + delay, tuple(group), tries) for group in groups if group]
        self._next_look = moment

    def _hopeless(self, why: str) -> None:
        for crew in self._crews:
            crew.kill()
        self._again = []
        self._trouble = MpiUnavailable(f"The nodes can not be used: {why}.")
        for node in self._nodes.values():
            self._lose(node, why, gone=True)

    # -- the end --------------------------------------------------------------------------------

    def close(self, grace_seconds: float) -> None:
        """End what runs and all processes on all nodes; returns within about the grace."""
        self._closing = True
        self._again = []
        deadline = time.monotonic() + grace_seconds
        self.flush()
        for crew in self._crews:
            crew.tell(wire.control(quit=min(1.0, grace_seconds / 2)))
        pause = 0.001
        while self._crews and time.monotonic() < deadline:
            self._close_ended()
            time.sleep(pause)
            pause = min(0.02, 2 * pause)
        for crew in self._crews:
            crew.kill()
        deadline = time.monotonic() + 1.0
        while self._crews and time.monotonic() < deadline:
            self._close_ended()
            time.sleep(0.005)
        self._shut(self._crews)
        self._crews = []

    def _close_ended(self) -> None:
        """Hear what is said, also what nobody wants to know any more."""
        for crew in list(self._crews):
            crew.hear()
            if crew.over():
                self._crews.remove(crew)
                self._shut([crew])

    def _shut(self, crews: Iterable[Crew]) -> None:
        for crew in crews:
            with contextlib.suppress(OSError):
                crew.shut()
