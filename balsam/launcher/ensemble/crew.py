"""One mpirun of an ensemble, from the launcher's side: started, talked to, and ended."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from balsam.launcher.ensemble import wire
from balsam.launcher.ensemble.pipes import Pipe
from balsam.launcher.ensemble.search import Wave
from balsam.platform import evidence, process
from balsam.platform.process import Exit, RunSpec

_PIPE_BYTES = 1 << 20
#: Linux; Python 3.9 has no name for it.
_F_SETPIPE_SZ = 1031
#: What ranks say that could not start (MPICH and Intel MPI; Open MPI).
_GAVE_UP = re.compile(r"^Abort\(\d+\) on node|error occurred in MPI_Init", re.MULTILINE)
_WORDS_LINES = 30
_WORDS_BYTES = 8192


class Crew:
    """An mpirun over some nodes. Times are monotonic."""

    def __init__(self, nodes: Sequence[str], spec: RunSpec, wave: Wave, tries: int) -> None:
        self.nodes = tuple(nodes)
        self.wave = wave
        #: How often in a row these nodes could not be started.
        self.tries = tries
        self.began = time.monotonic()
        #: When rank 0 was last heard; 0 before it was, and so before all ranks had started.
        self.heard = 0.0
        #: A reason that rank 0 gave.
        self.complaint = ""
        #: Whether rank 0 was heard, and then not any more: perhaps its node is dead.
        self.mute = False
        #: Why it was killed.
        self.verdict = ""
        #: When it was first seen that a rank had given up; 0 before.
        self.broken = 0.0
        self.end: Exit | None = None
        self._log = spec.output
        self._log_start = _size(spec.output)
        self._splitter = wire.Splitter()
        inner_in, writer = os.pipe()
        reader, inner_out = os.pipe()
        try:
            for descriptor in (inner_in, inner_out):
                _enlarge(descriptor)
            # Several mpiruns of an ensemble share a log.
            self.pid = process.spawn(replace(spec, append=True), (inner_in, inner_out))
        except BaseException:
            os.close(writer)
            os.close(reader)
            raise
        finally:
            os.close(inner_in)
            os.close(inner_out)
        self._pipe = Pipe(reader, writer)

    @property
    def fd(self) -> int:
        """What to watch, while :attr:`open`."""
        return self._pipe.reader

    @property
    def open(self) -> bool:
        """Whether something may still be heard."""
        return not self._pipe.closed

    @property
    def pending(self) -> int:
        """How many bytes mpirun has not taken yet."""
        return self._pipe.pending

    def tell(self, data: bytes) -> None:
        """Send frames."""
        self._pipe.write(data)

    def hear(self) -> list[tuple[str, Any]]:
        """The frames that have come; sends on what is left to send."""
        self._pipe.push()
        found: list[tuple[str, Any]] = []
        while self.open:
            data = self._pipe.read()
            if not data:
                break
            found += self._splitter.frames(data)
        return found

    def over(self) -> bool:
        """Whether mpirun has ended."""
        if self.end is None:
            self.end = process.reap(self.pid)
        return self.end is not None

    def kill(self, why: str = "") -> None:
        """End mpirun and what it started here at once. The keepers are no children of it."""
        everyone = [] if self.verdict else process.family(self.pid)
        self.verdict = self.verdict or why or "mpirun was ended"
        process.signal_group(self.pid, signal.SIGKILL)
        process.signal_all(everyone, signal.SIGKILL)

    def shut(self) -> None:
        """Give back the descriptors."""
        self._pipe.closed = True
        for descriptor in (self._pipe.reader, self._pipe.writer):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def words(self) -> str:
        """What mpirun printed that may say why it ended."""
        size = min(_size(self._log) - self._log_start, _WORDS_BYTES)
        said = evidence.tail(self._log, _WORDS_LINES, size) if size > 0 else ""
        return "\n".join([*self._splitter.noise, said]).strip()

    def gave_up(self) -> bool:
        """Whether a rank said that it could not start."""
        return _GAVE_UP.search(self.words()) is not None

    def why(self) -> str:
        """In a clause, why it ended."""
        if self.complaint:
            return self.complaint
        how = "mpirun was ended" if self.end is None else f"mpirun ended with {_how(self.end)}"
        words = [line for line in self.words().splitlines() if re.search(r"\w", line)]
        return (self.verdict or how) + (f": {words[-1].strip()}" if words else "")

    def named(self) -> set[str]:
        """The nodes that its words name, if not all."""
        words = set(re.findall(r"[\w.-]+", self.words()))
        words |= {word.partition(".")[0] for word in words}
        found = {node for node in self.nodes if node.partition(".")[0] in words}
        return found if len(found) < len(self.nodes) else set()


def _how(end: Exit) -> str:
    return evidence.describe_exit(end.returncode, end.signal)


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def _enlarge(descriptor: int) -> None:
    import fcntl

    with contextlib.suppress(OSError):
        fcntl.fcntl(descriptor, _F_SETPIPE_SZ, _PIPE_BYTES)
