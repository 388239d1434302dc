"""One rank of an ensemble: it carries bytes between rank 0 and the keeper of its node."""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from balsam.errors import LaunchError
from balsam.launcher.ensemble import meeting, strays, wire
from balsam.launcher.ensemble.mail import Mail
from balsam.launcher.ensemble.pipes import Pipe
from balsam.platform import mpirun, process
from balsam.platform import node as machine

#: Between two looks at MPI: short after something happened, then longer and longer.
LEAST_PAUSE_MILLISECONDS = 1
MOST_PAUSE_MILLISECONDS = 4
#: How long a keeper may take to start.
KEEPER_SECONDS = 30.0
_TRY_SECONDS = 0.01
_SPAWN_AGAIN_SECONDS = 0.5
#: How long to look for a keeper that was just being started when all were told to quit.
_QUIT_SECONDS = 1.0
_CONTROL = b"\x1e! "
#: So many letters are heard before anything else is looked at.
LETTERS = 1000


class Rank:
    """Ranks but the first; ``step`` waits for the next thing to happen, and does what is due."""

    def __init__(self, mail: Mail) -> None:
        self.mail = mail
        self.config: Any = None
        #: There is nothing left to do.
        self.over = False
        #: Something is wrong with the other ranks: do not wait for them in MPI's own end.
        self.hurry = False
        self.quitting = False
        self._keeper: tuple[socket.socket, Pipe, int] | None = None
        self._directory = Path()
        self._last_words = b""
        self._wanted_since = self._next_try = self._next_spawn = 0.0
        self._heard_keeper = self._heard_root = self._last_step = time.monotonic()
        self._parent = os.getppid()
        self._next_look = 0.0
        self._pause = LEAST_PAUSE_MILLISECONDS
        self._poll = select.poll()
        self._watched: dict[int, int] = {}

    def begin(self) -> None:
        """Tell rank 0 where this one is."""
        names = [os.environ.get("SLURMD_NODENAME", ""), socket.gethostname()]
        self.to_root(wire.control(names=names))

    # -- the loop -------------------------------------------------------------------------------

    def step(self) -> None:
        """Wait a moment, and do what is due."""
        events, letter = self._sleep()
        moment = time.monotonic()
        if moment - self._last_step > 2.0:
            # It was not the others who were silent.
            self._heard_keeper = self._heard_root = moment
        self._last_step = moment
        for descriptor, _ in events:
            self.readable(descriptor)
        left = LETTERS
        while letter is not None:
            self.letter(*letter)
            left -= 1
            # What is received is heard: it comes only once.
            letter = self.mail.receive() if left else None
        if self.config and not self._keeper and not self.over and moment >= self._next_try:
            self._meet(moment)
        if moment >= self._next_look:
            self._next_look = moment + min(1.0, self.config["beat"] if self.config else 1.0)
            self.look(moment)

    def _sleep(self) -> tuple[list[tuple[int, int]], tuple[int, bytes] | None]:
        """Look at MPI again and again, ever more slowly, until something happens or is due."""
        poll, receive, clock = self._poll.poll, self.mail.receive, time.monotonic
        due = self._next_look
        if self.config and not self._keeper:
            due = min(due, self._next_try)
        pause = self._pause
        while True:
            events = poll(pause)
            letter = receive()
            if events or letter is not None:
                self._pause = LEAST_PAUSE_MILLISECONDS
                return events, letter
            pause = min(MOST_PAUSE_MILLISECONDS, pause + 1)
            if clock() >= due:
                self._pause = pause
                return events, None

    def letter(self, source: int, data: bytes) -> None:
        """Bytes from rank 0: for the keeper, and some for us as well."""
        self._heard_root = time.monotonic()
        if _CONTROL in data:
            for line in wire.Splitter().lines(data):
                if wire.is_control(line):
                    self.told(wire.parse(line)[1])
        self.to_keeper(data)

    def told(self, body: Any) -> None:
        """Something that concerns this rank too."""
        if "config" in body:
            self.config = body["config"]
            self._wanted_since = time.monotonic()
            # One that is being started by others is better than ours, which ends with our step.
            self._next_spawn = self._wanted_since + self.config.get("patience", 0.0)
        if "quit" in body:
            self.quitting = True
            self._wanted_since = time.monotonic()
            if not self.config:
                self.leave()

    def readable(self, descriptor: int) -> None:
        """A descriptor has something to read, or takes more."""
        if not self._keeper or descriptor != self._keeper[1].reader:
            return
        pipe = self._keeper[1]
        pipe.push()
        data = pipe.read()
        if data:
            self._heard_keeper = time.monotonic()
            self._listen(data)
            self.to_root(data)
        if pipe.closed:
            self._part()
        else:
            self.watch(pipe)

    def _silence(self) -> float:
        """Seconds without a word after which a keeper gives up whom it has to hear."""
        return float(self.config["silence"]) if self.config else math.inf

    def look(self, moment: float) -> None:
        """What has to be looked at from time to time."""
        if os.getppid() != self._parent:
            # What carried us here is dead, and so is our MPI. The keeper waits for another rank.
            os._exit(1)
        if moment - self._heard_root > 2 * self._silence():
            os._exit(1)
        if not self.config:
            return
        if self._keeper and moment - self._heard_keeper > patience(self.config):
            # A keeper that hangs can not end its tasks in time; the next one does.
            with contextlib.suppress(OSError):
                os.kill(self._keeper[2], signal.SIGKILL)

    # -- the keeper -----------------------------------------------------------------------------

    def _meet(self, moment: float) -> None:
        """Find the keeper of this node, or start one."""
        self._next_try = moment + _TRY_SECONDS
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        try:
            if moment - self._wanted_since > KEEPER_SECONDS:
                raise LaunchError(f"its keeper did not start within {KEEPER_SECONDS:.0f} s")
            self._directory = meeting.directory_of(self.config["session"], self.config["node"])
            met = meeting.connect(self._directory)
            if met is None:
                if self.quitting and (moment - self._wanted_since > _QUIT_SECONDS):
                    self.leave()
                elif not self.quitting and moment >= self._next_spawn:
                    self._next_spawn = moment + _SPAWN_AGAIN_SECONDS
                    self._start_keeper()
                return
        except (LaunchError, OSError) as error:
            if isinstance(error, OSError) and error.errno in process.SHORTAGES:
                return  # it is tried again
            # What an earlier keeper has left will be run elsewhere.
            strays.end_strays(strays.mark_of(self.config["session"], self.config["node"]), looks=3)
            self.to_root(wire.control(unusable=str(error)))
            self.config = None
            return
        talk, pid = met
        pipe = Pipe(talk.fileno(), talk.fileno())
        self._keeper = talk, pipe, pid
        self._last_words = b""
        self._heard_keeper = moment
        pipe.write(wire.control(config=self.config))
        if self.quitting:
            pipe.write(wire.control(quit=0.0))
        self.watch(pipe)

    def _start_keeper(self) -> None:
        module = "balsam.launcher.ensemble.keeper"
        where = [str(self._directory), self.config["node"], self.config["session"]]
        own = os.getpid()
        me = [str(own), str(machine.start_time(own))]
        os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", module, *where, *me],
            mpirun.scrub(os.environ),
            file_actions=(
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, 2, 1),
                # By the end of its connections other ranks see that this one died.
                *((os.POSIX_SPAWN_CLOSE, one) for one in meeting.descriptors()),
            ),
            setpgroup=0,
        )

    def _listen(self, data: bytes) -> None:
        """Hear when the keeper has a later rank, and wants no word of ours."""
        words = self._last_words + data
        if b'\x1e! {"refused"' in words:
            os._exit(0)
        self._last_words = data[-16:]

    def _part(self) -> None:
        assert self._keeper
        talk, pipe, _ = self._keeper
        self._poll.unregister(pipe.reader)
        del self._watched[pipe.reader]
        talk.close()
        self._keeper = None
        self._wanted_since = self._next_spawn = time.monotonic()
        if self.quitting:
            self.leave()

    def to_keeper(self, data: bytes) -> None:
        """Pass on; without a keeper it is lost, and sent again when there is one."""
        if self._keeper:
            self._keeper[1].write(data)
            self.watch(self._keeper[1])

    def to_root(self, data: bytes) -> None:
        """Pass on to rank 0."""
        self.mail.send(0, data)

    def leave(self) -> None:
        """The keeper is gone, and nobody is wanted here any more."""
        self.tidy()
        self.to_root(wire.control(left=True))
        self.over = True

    def tidy(self) -> None:
        """Remove the place to meet a keeper, if none came there any more."""
        if self._directory.name:
            with contextlib.suppress(OSError):
                self._directory.rmdir()

    def watch(self, pipe: Pipe) -> None:
        """Wake up for a pipe."""
        self.wake(pipe.reader, select.POLLIN | (select.POLLOUT if pipe.pending else 0))

    def wake(self, descriptor: int, events: int) -> None:
        """Wake up for what happens to a descriptor; no more without events."""
        if not events:
            if self._watched.pop(descriptor, 0):
                self._poll.unregister(descriptor)
        elif self._watched.get(descriptor) != events:
            self._watched[descriptor] = events
            self._poll.register(descriptor, events)


def patience(config: Any) -> float:
    """How many seconds without a beat make one silent."""
    return max(1.0, 3.0 * float(config["beat"]))
