"""The process that keeps the tasks of one node, whatever becomes of the MPI that carries messages.

It is started by a rank, in a session of its own. It lives on when the rank dies, and is found again
by the next one. It ends its tasks and itself when the launcher says so, is known to be gone, or has
been silent for so long that its jobs may be given to another launcher.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from balsam import states
from balsam.launcher.ensemble import meeting, wire
from balsam.launcher.ensemble.link import Link
from balsam.launcher.ensemble.nodetasks import NodeTasks
from balsam.launcher.ensemble.pipes import Pipe
from balsam.launcher.ensemble.strays import end_strays, mark_of
from balsam.launcher.ensemble.vigil import Vigil, now

_MEMORY_SECONDS = 10.0


class Keeper:
    """One node's keeper: ``step`` waits for the next thing to happen, and does what is due."""

    def __init__(
        self,
        directory: Path,
        node: str,
        session: str,
        listening: socket.socket,
        starter: tuple[int, int] | None = None,
    ) -> None:
        """``starter``: the rank, as pid and start time, that is going to greet it."""
        self.node = node
        self.name = f"{os.getpid()}.{time.time_ns():x}"
        self.tasks = NodeTasks(mark_of(session, node))
        #: Why it ends, '' while it does not.
        self.ending = ""
        self._link = Link(self.name)
        self._listening = listening
        self._guests: dict[int, tuple[socket.socket, Pipe, wire.Splitter]] = {}
        self._rank: tuple[socket.socket, Pipe, wire.Splitter] | None = None
        self._generation = -1
        self._synced = False
        self._beat_seconds = 1.0
        self._vigil = Vigil(starter)
        self._next_beat = 0.0
        self._next_memory = 0.0
        self._poll = select.poll()
        self._watched: dict[int, int] = {}
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._watch(listening.fileno(), select.POLLIN)
        self._watch(self._reader.fileno(), select.POLLIN)

    def hear_signals(self) -> None:
        """Wake up when a child ends; end on TERM. In the main thread only."""
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, self._noticed)
        signal.signal(signal.SIGTERM, self._terminated)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)

    def _noticed(self, number: int, frame: FrameType | None) -> None:
        """A handler has to be there for the signal to reach the wake-up descriptor."""

    def _terminated(self, number: int, frame: FrameType | None) -> None:
        self._vigil.terminated()

    # -- the loop -------------------------------------------------------------------------------

    @property
    def over(self) -> bool:
        """Whether there is nothing left to do."""
        return bool(self.ending) and not len(self.tasks)

    def step(self) -> None:
        """Wait for the next thing to happen, and do what is due."""
        events = self._poll.poll(1e3 * self._pause())
        # Before anything is read that was said long ago.
        self._look_at_the_clock()
        for descriptor, _ in events:
            if descriptor == self._reader.fileno():
                with contextlib.suppress(BlockingIOError):
                    while self._reader.recv(4096):
                        pass
            elif descriptor == self._listening.fileno():
                self._accept()
            else:
                self._hear(descriptor)
        self.tasks.reap()
        self.tasks.timers()
        self._tell()

    def _pause(self) -> float:
        due = [self._vigil.due(alone=not self._rank)]
        if self._rank:
            due.append(self._next_beat - now())
        deadline = self.tasks.deadline
        if deadline is not None:
            due.append(deadline - time.monotonic())
        # What is due for long because the end has begun must not keep it awake.
        return max(0.0, min(due)) if not self.ending else max(0.002, min(0.5, *due))

    def _look_at_the_clock(self) -> None:
        verdict = self._vigil.verdict(alone=not self._rank)
        if verdict:
            self.end(verdict.why, verdict.grace_seconds, verdict.cause)
        moment = now()
        if moment >= self._next_memory:
            self._next_memory = moment + _MEMORY_SECONDS
            self.tasks.watch_memory()

    def end(self, why: str, grace_seconds: float, cause: str = states.NODE_LOST) -> None:
        """End the tasks, then itself."""
        self.ending = self.ending or why
        self.tasks.stop_all(grace_seconds, cause)

    def farewell(self) -> None:
        """Tell the rank that this end is no accident. Waits for a moment only."""
        if self._rank:
            _, pipe, _ = self._rank
            pipe.write(wire.control(bye=self.ending))
            deadline = time.monotonic() + 1.0
            while pipe.pending and not pipe.closed and time.monotonic() < deadline:
                select.select([], [pipe.writer], [], 0.1)
                pipe.push()

    # -- who talks ------------------------------------------------------------------------------

    def _accept(self) -> None:
        try:
            talk, _ = self._listening.accept()
        except OSError:
            return
        if meeting.peer(talk)[1] != os.geteuid():
            talk.close()
            return
        pipe = Pipe(talk.fileno(), talk.fileno())
        self._guests[talk.fileno()] = talk, pipe, wire.Splitter()
        self._watch(talk.fileno(), select.POLLIN)

    def _hear(self, descriptor: int) -> None:
        guest = self._guests.get(descriptor)
        if guest is None:
            return
        _, pipe, splitter = guest
        pipe.push()
        for address, body in splitter.frames(pipe.read()):
            if self._guests.get(descriptor) is not guest:
                return
            if address == wire.CONTROL:
                self._control(guest, body)
            elif guest is self._rank and address == self.node:
                self._obey(body)
        if pipe.closed:
            self._part(guest)

    def _control(self, guest: tuple[socket.socket, Pipe, wire.Splitter], body: Any) -> None:
        if "config" in body:
            self._greet(guest, body["config"])
        elif guest is not self._rank:
            return
        elif "alive" in body:
            self._vigil.heard(body["alive"])
        elif "orphan" in body:
            self._vigil.orphaned(body["orphan"])
        elif "quit" in body:
            self.end(body.get("why") or "its launcher ends", body["quit"])

    def _greet(self, guest: tuple[socket.socket, Pipe, wire.Splitter], config: Any) -> None:
        """A rank says what there is to know, and takes the place of the one before."""
        if self.ending or config["generation"] < self._generation:
            answer = {"bye": self.ending} if self.ending else {"refused": "there is a later rank"}
            guest[1].write(wire.frame(wire.CONTROL, answer))
            self._part(guest)
            return
        if self._rank and self._rank is not guest:
            self._rank[1].write(wire.control(refused="a later rank came"))
            self._part(self._rank)
        self._rank = guest
        self._vigil.greeted(config)
        self._generation = config["generation"]
        self._beat_seconds = config["beat"]
        self._next_beat = 0.0
        self._synced = False
        self.tasks.tail_lines = config["tail_lines"]
        self.tasks.base = config["environ"]
        self.tasks.cpus = config["cpus"]
        guest[1].write(wire.frame(self.node, {"hello": self.name, "got": self._link.got}))

    def _part(self, guest: tuple[socket.socket, Pipe, wire.Splitter]) -> None:
        talk = guest[0]
        if self._guests.pop(talk.fileno(), None) is None:
            return  # it was sent away, and then found to be gone as well
        self._poll.unregister(talk.fileno())
        del self._watched[talk.fileno()]
        talk.close()
        if guest is self._rank:
            self._rank = None

    # -- what is said ---------------------------------------------------------------------------

    def _obey(self, packet: Any) -> None:
        if packet[0] == self.name and not self._synced:
            self._link.resume(packet[2])
            self._synced = True
        for command in self._link.receive(packet):
            self.tasks.obey(command)

    def _tell(self) -> None:
        if self.tasks.news:
            for message in self.tasks.news:
                self._link.send(message)
            self.tasks.news = []
            if not len(self.tasks):
                # Starting tasks changes the directory; nobody's is to be held on to.
                os.chdir("/")
        if not self._rank:
            return
        _, pipe, _ = self._rank
        out = b""
        if self._synced:
            packet = self._link.packet()
            if packet:
                out = wire.frame(self.node, packet)
        moment = now()
        if moment >= self._next_beat:
            self._next_beat = moment + self._beat_seconds
            out += wire.control(beat=moment)
        if out:
            pipe.write(out)
        self._watch(pipe.reader, select.POLLIN | (select.POLLOUT if pipe.pending else 0))

    def _watch(self, descriptor: int, events: int) -> None:
        if self._watched.get(descriptor) != events:
            self._watched[descriptor] = events
            self._poll.register(descriptor, events)


def keep(directory: Path, node: str, session: str, starter: tuple[int, int] | None = None) -> None:
    """Be the keeper of a node until its end, unless there is one."""
    lock = meeting.take(directory)
    if lock is None:
        return
    end_strays(mark_of(session, node), looks=3 if meeting.used(directory) else 1)
    listening = meeting.listen(directory)
    # Whoever started this waits for the end of a pipe, or reads what is written here by accident.
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
    keeper = Keeper(directory, node, session, listening, starter)
    keeper.hear_signals()
    try:
        while not keeper.over:
            keeper.step()
        end_strays(mark_of(session, node))
        keeper.farewell()
    finally:
        keeper.tasks.kill_all()
        meeting.leave(directory)


def be_free() -> None:
    """Leave the process group, the session and the CPUs of the rank, and stay no child of it.

    And close what it had open: other ranks see that it died by the end of its connections.
    """
    for descriptor in meeting.descriptors():
        with contextlib.suppress(OSError):
            os.close(descriptor)
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, range(os.cpu_count() or 1))


def main() -> None:
    """``... -m balsam.launcher.ensemble.keeper DIRECTORY NODE SESSION PID START``, by a rank.

    Or, started on every node by a scheduler that ends whatever belongs to a step together with it:
    ``... SESSION``, in a step of its own.
    """
    if len(sys.argv) == 2:
        session, node = sys.argv[1], os.environ.get("SLURMD_NODENAME", socket.gethostname())
        os.chdir("/")
        keep(meeting.directory_of(session, node), node, session)
        return
    directory, node, session, pid, started = sys.argv[1:6]
    be_free()
    keep(Path(directory), node, session, (int(pid), int(started)))


if __name__ == "__main__":
    main()
