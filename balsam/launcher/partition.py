"""An allocation in parts: a launcher of its own for each, started, stopped and waited for."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType

from balsam.errors import AllocationError, InvalidValue
from balsam.launcher.options import AUTO, MPI, SERIAL, LauncherOptions, tag_of
from balsam.launcher.wakeup import STOP_SIGNALS

#: So many mpiruns a serial part has: two start its workers and what keeps their tasks, and when a
#: node is lost, some more find out which of the others are well.
SERIAL_MPIRUNS = 20
#: All serial parts together have a limit divided by this at most, if there are others, whose jobs
#: need an mpirun each.
_SERIAL_DIVISOR = 10

_MODES = (MPI, SERIAL, AUTO)
_NODES = re.compile(r"[1-9]\d{0,6}", re.ASCII)
#: How often to look for a part that has ended while something it left holds its output open.
_LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Part:
    """So many nodes, the way jobs are run there, and the tags of those jobs."""

    job_mode: str
    nodes: int
    tags: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Slice:
    """A part with its place among the nodes of the allocation."""

    part: Part
    offset: int

    @property
    def name(self) -> str:
        """What its lines of output begin with: ``mpi 0-3``."""
        last = self.offset + self.part.nodes - 1
        return f"{self.part.job_mode} {self.offset}" + (f"-{last}" if last > self.offset else "")

    def words(self) -> list[str]:
        """The options of its launcher."""
        part = self.part
        words = [f"--offset-nodes={self.offset}", f"--limit-nodes={part.nodes}"]
        if part.job_mode != AUTO:
            words.append(f"--job-mode={part.job_mode}")
        return [*words, *(f"--tag={name}={value}" for name, value in part.tags)]


def part_of(text: str) -> Part:
    """The part that ``MODE:NODES[:TAG=VALUE]...`` describes. Raises InvalidValue."""
    mode, *rest = text.split(":")
    if mode not in _MODES or not rest or not _NODES.fullmatch(rest[0]):
        raise InvalidValue(
            f"A part is MODE:NODES[:TAG=VALUE]..., as in mpi:4 or serial:2:step=fit, not '{text}' "
            f"(the modes are {', '.join(_MODES)})."
        )
    return Part(mode, int(rest[0]), tuple(map(tag_of, rest[1:])))


def slices(parts: Sequence[Part], nodes: int, offset: int = 0) -> list[Slice]:
    """Parts one after the other from the node at ``offset``; ``nodes`` are there from that on.

    Raises AllocationError if they are too few.
    """
    wanted = sum(part.nodes for part in parts)
    if wanted > nodes:
        sums = " + ".join(str(part.nodes) for part in parts)
        each = f"{sums} = " if len(parts) > 1 else ""
        raise AllocationError(
            f"The parts need {each}{wanted} nodes, but only {nodes} "
            f"{'is' if nodes == 1 else 'are'} here; ask the scheduler for more, or make the parts "
            "smaller."
        )
    found = []
    for part in parts:
        found.append(Slice(part, offset))
        offset += part.nodes
    return found


def together(slices: Sequence[Slice]) -> list[str]:
    """The options that tell each launcher of all parts: its share of a limit depends on them."""
    nodes = sum(one.part.nodes for one in slices if one.part.job_mode != SERIAL)
    serial = sum(one.part.job_mode == SERIAL for one in slices)
    return [f"--in-partition={nodes}", f"--serial-parts={serial}"]


def share(limit: int, nodes: int, options: LauncherOptions) -> int:
    """What a launcher with so many nodes has of a limit on mpiruns for all parts (0: none).

    All of it if it is no part, else at least 1: a serial part a few, the others by their nodes.
    """
    others, serial = options.in_partition, options.serial_parts
    if not limit or others is None:
        return limit
    for_serial = limit // _SERIAL_DIVISOR if others else limit
    each = max(1, min(SERIAL_MPIRUNS, for_serial // max(1, serial)))
    if options.job_mode == SERIAL:
        return each
    return max(1, (limit - serial * each) * nodes // max(nodes, others))


@dataclass
class _Child:
    name: str
    process: subprocess.Popen[bytes]
    rest: bytes = b""
    told: int = 0

    @property
    def pipe(self) -> int:
        assert self.process.stdout is not None
        return self.process.stdout.fileno()


class Partition:
    """The launchers of all parts. ``write`` gets their lines, each after the name of its part.

    ``words`` are what all of their command lines share.
    """

    def __init__(
        self, slices: Sequence[Slice], words: Sequence[str], write: Callable[[str], None]
    ) -> None:
        self._slices = slices
        self._words = words
        self._write = write
        self._children: list[_Child] = []
        self._asked: list[int] = []

    def run(self) -> int:
        """Start them, pass on what asks to stop, wait for all; the worst of their exit codes.

        The code of one that a signal ended is 128 and the signal, as in a shell.
        """
        before = {
            number: signal.signal(number, self._pass_on)
            for number in STOP_SIGNALS
            # What nohup has ignored stays ignored.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
        }
        try:
            self._start()
            self._listen()
        finally:
            for child in self._children:
                # Something went wrong here: a launcher that is asked to stop leaves all in order.
                if child.process.poll() is None:
                    child.process.terminate()
            for child in self._children:
                child.process.wait()
            for number, handler in before.items():
                signal.signal(number, handler)
        return max((_code(child.process.returncode) for child in self._children), default=0)

    def _start(self) -> None:
        for one in self._slices:
            if self._asked:
                break
            # In a session of its own, so that Ctrl-C comes to it once, from here.
            process = subprocess.Popen(
                [*_balsam(), "launcher", *self._words, *one.words()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            child = _Child(one.name, process)
            self._children.append(child)
            self._tell(child)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self._asked.append(number)
        for child in self._children:
            self._tell(child)

    def _tell(self, child: _Child) -> None:
        """Pass on what it was not told yet; a signal may come in the middle of this."""
        while child.told < len(self._asked):
            child.told += 1
            child.process.send_signal(self._asked[child.told - 1])

    def _listen(self) -> None:
        """Show their lines until all of them have ended."""
        with selectors.DefaultSelector() as selector:
            for child in self._children:
                os.set_blocking(child.pipe, False)
                selector.register(child.pipe, selectors.EVENT_READ, child)
            running = list(self._children)
            while running:
                for key, _ in selector.select(_LOOK_SECONDS):
                    if self._read(key.data) == b"":
                        selector.unregister(key.fd)
                running = [child for child in running if child.process.poll() is None]
                if running and not selector.get_map():
                    running[0].process.wait()
        for child in self._children:
            while self._read(child):
                pass
            if child.rest:
                self._line(child, child.rest)

    def _read(self, child: _Child) -> bytes | None:
        """Show the lines that are there; None if there is nothing now, nothing at the end."""
        try:
            found = os.read(child.pipe, 65536)
        except BlockingIOError:
            return None
        *lines, child.rest = (child.rest + found).split(b"\n")
        for line in lines:
            self._line(child, line)
        return found

    def _line(self, child: _Child, line: bytes) -> None:
        # Where it can not be written for lack of space or readers, the work goes on.
        with contextlib.suppress(OSError, ValueError):
            self._write(f"[{child.name}] {line.decode(errors='replace').rstrip()}")


def _balsam() -> list[str]:
    """The command line of balsam, with modules from where this process has them.

    ``-m`` and ``-c`` look into the current directory first, where a campaign may well have a
    ``queue.py`` or ``yaml.py`` of its own; ``-P`` is not there before Python 3.11, and a variable
    that says the same would reach the tasks.
    """
    path = [entry for entry in sys.path if isinstance(entry, str)]
    code = f"import sys; sys.path[:] = {path!r}; from balsam.cli import main; main()"
    return [sys.executable, "-c", code]


def _code(returncode: int) -> int:
    return returncode if returncode >= 0 else 128 - returncode
