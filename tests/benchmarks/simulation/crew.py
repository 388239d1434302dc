"""The mpirun of an ensemble, simulated: rank 0 and the keepers, in the frames that they speak.

Stands in for ``balsam.launcher.ensemble.crew.Crew``. Everything on the launcher's side of the pipe
(links, frames, acknowledgements, signs of life) is the launcher's own, and is counted.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import Any

from balsam.launcher.ensemble import crews, wire
from balsam.launcher.ensemble.link import Link
from balsam.launcher.ensemble.nodetasks import ASKED, ENDED, REFUSED, STARTED
from balsam.platform.process import Exit, RunSpec
from tests.benchmarks.simulation.clock import Clock
from tests.benchmarks.simulation.nodes import ACK, BEGUN, HELLO, OVER, PING, Happening, Nodes

#: Beyond what Linux gives.
FIRST_PID = 1 << 24
#: What of an attempt's times the node tells.
_DIGITS = 6


class SimulatedCrew:
    """The launcher's side of it; see ``Crew`` for what each member means."""

    def __init__(
        self,
        clock: Clock,
        world: Nodes,
        nodes: Sequence[str],
        spec: RunSpec,
        wave: Any,
        tries: int,
    ) -> None:
        self.nodes = tuple(nodes)
        self.wave = wave
        self.verdict = ""
        self.broken = 0.0
        self.tries = tries
        self.began = clock.monotonic()
        self.heard = 0.0
        self.complaint = ""
        self.end: Exit | None = None
        self.open = True
        self.pending = 0
        self._clock = clock
        self._world = world
        self._epoch = clock.time() - clock.monotonic()
        self._number_of = {name: number for number, name in enumerate(nodes)}
        self._links = [Link(f"keeper-{name}") for name in nodes]
        self._synced = [False] * len(nodes)
        self._splitter = wire.Splitter()
        self._from_launcher = wire.Splitter()
        self._pids = FIRST_PID
        self._beat = 5.0
        self._pings = 0
        self.fd, self._writer = os.pipe()
        self._nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)

    # -- from the launcher ----------------------------------------------------------------------

    def tell(self, data: bytes) -> None:
        """Frames of the launcher, on their way to the nodes."""
        os.write(self._nowhere, data)
        with self._clock.stopped():
            for address, body in self._from_launcher.frames(data):
                if address == wire.CONTROL:
                    self._control(body)
                else:
                    self._packet(self._number_of[address], body)

    def _control(self, body: Any) -> None:
        if "config" in body:
            self._beat = body["config"]["beat"]
            self._world.gather(self._beat)
        elif "quit" in body:
            for token in list(self._world.running):
                self._world.end(token, 9)
            self.kill()

    def _packet(self, node: int, packet: Any) -> None:
        link = self._links[node]
        if not self._synced[node]:
            link.resume(packet[2])
            self._synced[node] = True
        for name, *given in link.receive(packet):
            if name == "start":
                token, after, packed = given
                self._world.start(token, node, float(packed[0][-1]), after=after)
            elif name == "kill_all":
                for token in self._world.on(node):
                    self._world.end(token, 9)
            elif name == "stop" or given[1] in (2, 9, 15):
                self._world.end(given[0], 15)

    # -- to the launcher ------------------------------------------------------------------------

    def hear(self) -> list[tuple[str, Any]]:
        """The frames that have come."""
        with self._clock.stopped():
            data = b"".join(map(self._frame, self._world.happened(local=False)))
        return self._splitter.frames(data) if data else []

    def _frame(self, happening: Happening) -> bytes:
        what, node, attempt = happening
        if what == PING:
            self._pings += 1
            return wire.control(ping=self._pings)
        name, link = self.nodes[node], self._links[node]
        if what == HELLO:
            return wire.frame(name, {"hello": link.peer, "got": link.got})
        if what != ACK:
            link.send(self._message(what, attempt))
        packet = link.packet()
        return wire.frame(name, packet) if packet else b""

    def _message(self, what: str, attempt: Any) -> list[Any]:
        if what == BEGUN:
            self._pids += 1
            return [STARTED, attempt.token, self._pids, self._epoch + attempt.began]
        if what != OVER:
            return [REFUSED, attempt.token, "", "It was stopped before it began.", False]
        code = 128 + attempt.signal if attempt.signal else 0
        end = Exit(self._pids, code, attempt.signal, 0.0, 4096, time=self._epoch + attempt.ends)
        wall = round(attempt.ends - attempt.began, _DIGITS)
        stopped = ASKED if attempt.signal else ""
        return [ENDED, attempt.token, vars(end), wall, None, "", "", stopped]

    # -- its end --------------------------------------------------------------------------------

    def over(self) -> bool:
        """Whether mpirun has ended."""
        return self.end is not None

    def kill(self) -> None:
        """End mpirun at once."""
        if self.open:
            self.open, self.end = False, Exit(FIRST_PID, 0, 0, 0.0, 0)
            self._world.part()

    def shut(self) -> None:
        """Give back the descriptors."""
        for descriptor in (self.fd, self._writer, self._nowhere):
            os.close(descriptor)

    def gave_up(self) -> bool:
        """Whether a rank said that it could not start."""
        return False

    def why(self) -> str:
        """In a clause, why it ended."""
        return "the simulated mpirun ended"

    def named(self) -> set[str]:
        """The nodes that its words name."""
        return set()

    @property
    def pid(self) -> int:
        """Nobody's."""
        return FIRST_PID


def install(clock: Clock, world: Nodes) -> None:
    """Take the place of real mpiruns in this process."""
    crews.Crew = partial(SimulatedCrew, clock, world)
