"""The launcher's side of an ensemble: many nodes, few mpiruns, and no task lost with one."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple
from typing import Any

from balsam.errors import LaunchError, MpiUnavailable
from balsam.launcher.ensemble import search, wire
from balsam.launcher.ensemble.crew import Crew
from balsam.launcher.ensemble.crews import HOPELESS, Crews
from balsam.launcher.ensemble.protocol import Confinement, Event, names
from balsam.launcher.ensemble.roster import Node, Roster
from balsam.platform import node as machine
from balsam.platform import process
from balsam.platform.process import RunSpec

logger = logging.getLogger(__name__)

#: How long ranks wait for keepers that others start.
KEEPERS_SECONDS = 10.0


def rank_command() -> tuple[str, ...]:
    """What mpirun has to run, once on each node."""
    return (sys.executable, "-m", "balsam.launcher.ensemble")


def keeper_command(session: str) -> tuple[str, ...]:
    """What has to run once on each node where keepers are not to be started by ranks."""
    return (sys.executable, "-m", "balsam.launcher.ensemble.keeper", session)


class Ensemble:
    """Serial tasks on nodes that an mpirun reaches. See ``protocol.Hands`` for what it does.

    ``start`` gives the mpirun for some of the nodes: its ``output`` is the log of its errors.
    ``session`` is no other launcher's. ``environ`` is what the tasks' environments have in common.
    A keeper that has not heard of the launcher for half the ``lease_seconds`` ends its tasks, one
    that is told that the launcher may be gone, after ``orphan_seconds``. Where ``beat_seconds`` and
    ``orphan_seconds`` are not given they follow from the lease. ``by_rank`` takes rank i to be on
    ``nodes[i]`` whatever its host is called. ``cpus`` are all that tasks are confined to: nodes
    that have others go by their order. ``keepers`` starts :func:`keeper_command` on all
    nodes, where the keepers that ranks start would not outlive the MPI.
    """

    def __init__(
        self,
        nodes: Sequence[str],
        start: Callable[[Sequence[str]], RunSpec],
        session: str,
        environ: Mapping[str, str],
        *,
        tail_lines: int = 16,
        beat_seconds: float | None = None,
        lease_seconds: float = 120.0,
        start_seconds: float = 120.0,
        orphan_seconds: float | None = None,
        by_rank: bool = False,
        cpus: Sequence[int] = (),
        keepers: RunSpec | None = None,
    ) -> None:
        if beat_seconds is None:
            beat_seconds = search.beat_seconds(lease_seconds)
        if orphan_seconds is None:
            orphan_seconds = search.orphan_seconds(lease_seconds)
        self._environ = dict(environ)
        self._start_seconds = start_seconds
        self._look_seconds = min(1.0, beat_seconds)
        self._deaf_seconds = 0.5 + 2 * self._look_seconds
        config = {
            "session": session,
            "environ": self._environ,
            "beat": beat_seconds,
            "silence": search.silence_seconds(lease_seconds),
            "orphan": orphan_seconds,
            "tail_lines": tail_lines,
            "by_rank": by_rank,
            "cpus": list(cpus),
            "patience": KEEPERS_SECONDS if keepers else 0.0,
            "launcher": [machine.identity(), os.getpid(), machine.start_time(os.getpid())],
        }
        self._roster = Roster(nodes, lease_seconds / 2)
        self._told: dict[str, Node] = {}
        self._crews = Crews(start, config, start_seconds)
        self._trouble: LaunchError | None = None
        #: There is no hope for any node.
        self._over = False
        self._last_poll = time.monotonic()
        self._next_look = self._last_poll
        self._keepers = process.spawn(keepers) if keepers else 0
        self._had_keepers = bool(keepers)
        try:
            self._crews.launch(nodes, wave=search.Wave(whole=True))
        except BaseException:
            self._end_keepers(0.0)
            raise

    # -- what the launcher asks -----------------------------------------------------------------

    @property
    def ready_nodes(self) -> frozenset[str]:
        """The nodes that have reported in, answer, and can be given tasks now."""
        return self._roster.ready

    @property
    def launches(self) -> int:
        """How many mpiruns were started for them, that of their keepers among them."""
        return self._crews.launches + self._had_keepers

    @property
    def deadline(self) -> float | None:
        """When (monotonic) to call ``poll`` at the latest."""
        if self._roster.events or self._trouble:
            return 0.0
        return min([self._next_look, *self._crews.due()])

    def fds(self) -> list[int]:
        """When one of these is readable, ``poll`` has something to say."""
        return self._crews.fds()

    def start(self, token: str, node: str, spec: RunSpec, after: str = "") -> None:
        """Start an attempt, now, or when the attempt ``after`` on the same node has ended."""
        where = self._roster.assign(token, node)
        self._send(where, ["start", token, after, wire.pack(spec, self._environ)])

    def signal(self, token: str, number: int) -> None:
        """Send a signal to the process group of an attempt."""
        self._send(self._roster.where(token), ["signal", token, int(number)])

    def stop(self, token: str, grace_seconds: float) -> None:
        """TERM the group of an attempt, KILL all that it started after the grace."""
        self._send(self._roster.where(token), ["stop", token, grace_seconds])

    def withdraw(self, token: str) -> None:
        """Have an attempt not begin, if it has not begun yet."""
        self._send(self._roster.where(token), ["withdraw", token])

    def kill_all(self) -> None:
        """KILL everything, and withdraw the rest."""
        for node in self._roster.nodes.values():
            if node.tokens:
                self._send(node, ["kill_all"])

    def check(self, token: str, nodes: Sequence[str], confinement: Confinement) -> None:
        """See where the ranks of an attempt run; a node that is not ready yet looks later."""
        command = ["check", token, list(astuple(confinement))]
        for name in nodes:
            self._send(self._roster.nodes.get(name), command)

    def ask_memory(
        self, token: str, nodes: Sequence[str], seconds: float, ranks: int
    ) -> frozenset[str]:
        """Whether something of an attempt may have been killed for want of memory."""
        asked = self.ready_nodes.intersection(nodes)
        for name in asked:
            self._send(self._roster.nodes[name], ["ask_memory", token, seconds, ranks])
        return asked

    def _send(self, node: Node | None, command: list[Any]) -> None:
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
        gap = moment - self._last_poll
        if gap > self._deaf_seconds:
            # It was us who did not listen.
            self._crews.listened(moment, gap)
        self._last_poll = moment
        for crew in self._crews.living:
            self._hear(crew, moment)
        if moment >= self._next_look or self._crews.someone_ended():
            self._look(moment)
        self.flush()
        if self._trouble:
            trouble, self._trouble = self._trouble, None
            raise trouble
        events, self._roster.events = self._roster.events, []
        return events

    def _hear(self, crew: Crew, moment: float) -> None:
        for address, body in crew.hear():
            if address == wire.CONTROL:
                self._control(crew, body, moment)
            else:
                if not crew.heard:
                    self._crews.heard(crew, moment)
                self._from_node(crew, address, body)

    def _from_node(self, crew: Crew, name: str, body: Any) -> None:
        node = self._roster.nodes.get(name)
        if node is None or node.gone:
            return
        if isinstance(body, dict):
            self._roster.greeted(crew, node, body["hello"], body["got"])
        else:
            for message in node.link.receive(body):
                self._roster.told(node, message)
        self._told[name] = node

    def _control(self, crew: Crew, body: Any, moment: float) -> None:
        roster, nodes = self._roster, self._roster.nodes
        if "error" in body:
            crew.complaint = body["error"]
        elif "alone" in body:
            crew.complaint = (
                f"its {len(crew.nodes)} processes do not see each other: the mpi4py of "
                f"{sys.executable} was made for another MPI than this mpirun"
            )
        elif "ping" in body:
            self._crews.heard(crew, moment)
            crew.tell(wire.control(pong=body["ping"]))
        elif "heard" in body:
            roster.heard(crew, nodes[body["heard"]])
        elif "silent" in body:
            roster.silent(crew, nodes[body["silent"]], moment - body["age"])
        elif "unusable" in body:
            roster.unusable(nodes[body["unusable"]], body["why"])
        elif "absent" in body:
            for name in body["absent"]:
                roster.give_up(nodes[name], "mpirun started nothing there")

    # -- the mpiruns ----------------------------------------------------------------------------

    def _look(self, moment: float) -> None:
        self._next_look = moment + self._look_seconds
        for crew in self._crews.watch(moment):
            self._ended(crew, moment)
        if self._keepers and process.reap(self._keepers):
            self._keepers = 0
        self._crews.launch_due(moment, self._roster.gone)
        for crew in self._crews.late(moment):
            for name in crew.nodes:
                node = self._roster.nodes[name]
                if not node.keeper and not node.gone:
                    late = f"it did not report in within {self._start_seconds:.0f} s"
                    self._roster.lose(node, late, gone=True)
        self._roster.look(moment, self._crews.searched)
        for crew in self._crews.living:
            if all(self._roster.gone(name) for name in crew.nodes):
                crew.kill()
        if not self._roster.succeeded and self._roster.empty and not self._over:
            self._hopeless(next(iter(self._roster.nodes.values())).why)

    def _ended(self, crew: Crew, moment: float) -> None:
        """An mpirun is no more: its keepers go on, and other ranks find them."""
        self._hear(crew, moment)
        self._crews.remove(crew)
        why, suspects = crew.why(), crew.named()
        nodes = [self._roster.nodes[name] for name in crew.nodes]
        was_up = any(node.crew is crew for node in nodes)
        living = [node for node in nodes if node.crew in (crew, None) and not node.gone]
        for node in living:
            if node.crew is crew and node.lost_at is not None:
                suspects.add(node.name)
            node.crew = None
            self._roster.doubt(node, why, moment)
            # Whichever of them is not heard again: nobody was left to say which it is.
            node.silent |= crew.mute
        logger.warning("%s (over %s)", why, names(crew.nodes))
        self._crews.failures += not was_up
        hopeless = self._crews.failures >= HOPELESS and not self._crews.living
        if not self._roster.succeeded and not self._over and (crew.complaint or hopeless):
            self._hopeless(why)
            return
        good = [node.name for node in living if node.name not in suspects]
        bad = [node.name for node in living if node.name in suspects]
        for name in self._crews.regroup(crew, good, bad, was_up, moment):
            self._roster.give_up(self._roster.nodes[name], why)
        self._next_look = moment

    def _hopeless(self, why: str) -> None:
        self._over = True
        self._crews.give_up()
        self._trouble = MpiUnavailable(f"The workers can not be started: {why}.")
        for node in self._roster.nodes.values():
            self._roster.lose(node, why, gone=True)

    def suspect(self, nodes: Sequence[str]) -> None:
        """Somebody else lost one of these: an mpirun that has yet to start is not waited for."""
        for crew in self._crews.living:
            up = any(self._roster.nodes[name].crew is crew for name in crew.nodes)
            if not up and not set(nodes).isdisjoint(crew.nodes):
                crew.kill()

    def close(self, grace_seconds: float) -> None:
        """End what runs and all processes on all nodes; returns within about the grace."""
        self.flush()
        self._crews.close(grace_seconds)
        self._end_keepers(grace_seconds)

    def _end_keepers(self, grace_seconds: float) -> None:
        """End what started the keepers; they are the children of others."""
        if self._keepers:
            process.end_processes([self._keepers], grace_seconds)
            process.reap(self._keepers)
            self._keepers = 0
