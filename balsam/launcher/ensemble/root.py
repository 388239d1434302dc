"""Rank 0: it carries frames between the launcher, by its own standard input and output, and nodes.

It also looks after who is silent, and passes on the launcher's sign of life: a node's keeper may go
on for a while after the launcher is known to have lived later than the beat the keeper sent.
"""

from __future__ import annotations

import math
import select
import time
from typing import Any

from balsam.launcher.ensemble import wire
from balsam.launcher.ensemble.mail import Mail
from balsam.launcher.ensemble.pipes import Pipe
from balsam.launcher.ensemble.rank import Rank, patience
from balsam.launcher.ensemble.vigil import launcher_alive

#: How long rank 0 waits for the other ranks' farewell after the grace.
_LEAVE_SECONDS = 3.0


class Root(Rank):
    """The first rank; it looks after its own node as well."""

    def __init__(self, mail: Mail, stdin: int = 0, stdout: int = 1) -> None:
        super().__init__(mail)
        self._pipe = Pipe(stdin, stdout)
        self._from_launcher = wire.Splitter()
        self._splitters = [wire.Splitter() for _ in range(mail.size)]
        self._names: dict[int, list[str]] = {}
        self._whole: Any = None
        self._node_of: dict[int, str] = {}
        self._rank_of: dict[bytes, int] = {}
        self._free: dict[str, None] = {}
        self._by_short_name: dict[str, str] = {}
        #: The last beat of each rank's keeper, by that node's clock, and when it came.
        self._beats: dict[int, tuple[float, float]] = {}
        self._silent: set[int] = set()
        self._left: set[int] = set()
        self._pings: dict[int, dict[int, float]] = {}
        self._granted: dict[int, float] = {}
        self._ping = 0
        self._next_ping = 0.0
        self._leave_at: float | None = None
        self._orphan = False
        self.wake(stdin, select.POLLIN)

    # -- the launcher ---------------------------------------------------------------------------

    def readable(self, descriptor: int) -> None:
        """Hear the launcher, and the keeper of this node."""
        if descriptor == self._pipe.writer:
            self._pipe.push()
            self._watch_output()
        elif descriptor != self._pipe.reader:
            super().readable(descriptor)
        else:
            lines = self._from_launcher.lines(self._pipe.read())
            if lines:
                # What has heard nothing of it for long is as useless as a rank cut off from us.
                self._heard_root = time.monotonic()
            self._pass_on(lines)
            if self._pipe.closed:
                self._poll.unregister(descriptor)
                self._launcher_gone()

    def _pass_on(self, lines: list[bytes]) -> None:
        letters: dict[int, list[bytes]] = {}
        for line in lines:
            if wire.is_control(line):
                self._asked(wire.parse(line)[1])
                continue
            to = self._rank_of.get(line[1 : line.index(b" ")])
            if to is not None:
                letters.setdefault(to, []).append(line)
        for to, many in letters.items():
            self._deliver(to, b"".join(many))

    def _deliver(self, to: int, data: bytes) -> None:
        if to == 0:
            self.letter(0, data)
        elif to not in self._left:
            self.mail.send(to, data)

    def _everybody(self, data: bytes) -> None:
        for to in range(self.mail.size):
            self._deliver(to, data)

    def _asked(self, body: Any) -> None:
        if "config" in body:
            self._begin_with(body["config"])
        elif "pong" in body:
            for to, beat in self._pings.pop(body["pong"], {}).items():
                if self._granted.get(to) != beat:
                    self._granted[to] = beat
                    self._deliver(to, wire.control(alive=beat))
        elif "quit" in body:
            self._quit(body["quit"], "its launcher ends")

    def _tell(self, data: bytes) -> None:
        self._pipe.write(data)
        self._watch_output()

    def _watch_output(self) -> None:
        self.wake(self._pipe.writer, select.POLLOUT if self._pipe.pending else 0)

    def _launcher_gone(self) -> None:
        """Standard input has ended: the launcher is dead, or else what is between us is."""
        if self.quitting:
            return
        if self._whole is None:
            # One of those who got no standard input, for they are all alone in their MPI.
            self.over = self.hurry = True
            return
        alive = launcher_alive(self._whole)
        if alive is False:
            self._quit(3.0, "its launcher is gone")
        if alive is not None:
            return
        self._orphan = True
        self._everybody(wire.control(orphan=self._whole["orphan"]))
        self._leave_at = time.monotonic() + self._whole["orphan"]

    def _quit(self, grace_seconds: float, why: str) -> None:
        self._leave_at = time.monotonic() + grace_seconds + _LEAVE_SECONDS
        self._everybody(wire.control(quit=grace_seconds, why=why))

    # -- the ranks ------------------------------------------------------------------------------

    def _begin_with(self, config: Any) -> None:
        self._whole = config
        nodes = config["nodes"]
        if self.mail.size == 1 and len(nodes) > 1:
            self._tell(wire.control(alone=True))
            self.over = self.hurry = True
            return
        self._free = dict.fromkeys(nodes)
        self._by_short_name = {name.partition(".")[0]: name for name in reversed(nodes)}
        for number, names in self._names.items():
            self._settle(number, names)

    def _settle(self, number: int, names: list[str]) -> None:
        """Decide which node a rank is on, and tell it."""
        assert self._whole is not None
        name = self._whole["nodes"][number] if number < len(self._whole["nodes"]) else ""
        if not self._whole["by_rank"]:
            name = self._matching(names) or name
        if name not in self._free:
            name = next(iter(self._free), "")
        if name:
            del self._free[name]
            self._node_of[number] = name
            self._rank_of[name.encode()] = number
            self._beats[number] = 0.0, time.monotonic()
            config = {**self._whole, "node": name}
            for needless in ("nodes", "by_rank"):
                del config[needless]
            self._deliver(number, wire.control(config=config))
        if len(self._names) == self.mail.size and self._free:
            self._tell(wire.control(absent=list(self._free)))

    def _matching(self, names: list[str]) -> str:
        """The node that a host is: by its full name, else by its short one."""
        for name in names:
            if name in self._free:
                return name
        found = (self._by_short_name.get(name.partition(".")[0], "") for name in names if name)
        return next((name for name in found if name in self._free), "")

    def letter(self, source: int, data: bytes) -> None:
        """Bytes of another rank; our own are delivered without MPI."""
        if source == 0:
            super().letter(0, data)
        else:
            self._from_node(source, data)

    def to_root(self, data: bytes) -> None:
        """Here."""
        self._from_node(0, data)

    def _from_node(self, source: int, data: bytes) -> None:
        out = []
        for line in self._splitters[source].lines(data):
            if wire.is_control(line):
                self._said(source, wire.parse(line)[1])
            else:
                out.append(line)
        if out:
            self._tell(b"".join(out))

    def _said(self, source: int, body: Any) -> None:
        if "beat" in body:
            self._beats[source] = body["beat"], time.monotonic()
            if source in self._silent:
                self._silent.discard(source)
                self._tell(wire.control(heard=self._node_of[source]))
        elif "names" in body:
            self._names[source] = body["names"]
            if self._whole is not None:
                self._settle(source, body["names"])
        elif "left" in body:
            self._left.add(source)
            self._next_look = 0.0
        elif "unusable" in body:
            # It has spoken, and will not beat.
            self._beats.pop(source, None)
            self._tell(wire.control(unusable=self._node_of[source], why=body["unusable"]))

    # -- time -----------------------------------------------------------------------------------

    def _silence(self) -> float:
        # Also where this node could not be used, and has no part in the work.
        return float(self._whole["silence"]) if self._whole is not None else math.inf

    def look(self, moment: float) -> None:
        """Find out who is silent, and ask the launcher for a sign of life."""
        if self._leave_at is not None:
            self._heard_root = moment  # it ends then, and not before
        super().look(moment)
        if self._leave_at is not None:
            gone = len(self._left) == self.mail.size
            if gone or moment >= self._leave_at:
                self.over = True
                self.hurry = not gone
            return
        if self._whole is None:
            return
        if self._pipe.closed and not self._orphan:
            self._launcher_gone()
        for source, (_, heard) in self._beats.items():
            if moment - heard > patience(self._whole) and source not in self._silent:
                self._silent.add(source)
                silent = wire.control(silent=self._node_of[source], age=round(moment - heard, 3))
                self._tell(silent)
        if moment >= self._next_ping:
            self._next_ping = moment + self._whole["beat"]
            self._ping += 1
            self._pings[self._ping] = {
                source: beat for source, (beat, _) in self._beats.items() if beat
            }
            for old in [number for number in self._pings if number <= self._ping - 64]:
                del self._pings[old]
            self._tell(wire.control(ping=self._ping))

    def leave(self) -> None:
        """Stay until all have left."""
        self.tidy()
        self._left.add(0)
        self._next_look = 0.0
        self.config = None

    def last_words(self, seconds: float) -> None:
        """Wait until the launcher has heard everything."""
        deadline = time.monotonic() + seconds
        while self._pipe.pending and time.monotonic() < deadline:
            select.select([], [self._pipe.writer], [], 0.1)
            self._pipe.push()
