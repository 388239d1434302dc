"""Files of others, copied to stdout byte by byte as they grow."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

#: Bytes held in memory at a time.
CHUNK = 64 * 1024
#: Between two looks at files that grow.
PERIOD_SECONDS = 0.1


class Tail:
    """One open file: what was not yet read of it, from its beginning or from its last lines.

    It stays the same file when it is renamed. Raises OSError if it can not be opened, or is not a
    regular file.
    """

    def __init__(self, path: str | os.PathLike[str], lines: int | None = None) -> None:
        self.path = Path(path)
        # Not blocking: somebody may have put a FIFO in the place of an output.
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(self._file)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(None, "not a regular file", str(path))
            self.identity = (status.st_dev, status.st_ino)
            self._place = 0 if lines is None else last_lines(self._file, status.st_size, lines)
        except BaseException:
            os.close(self._file)
            raise

    def grown(self) -> bool:
        """Whether there is something new; a file that was cut short begins anew."""
        size = os.fstat(self._file).st_size
        if size < self._place:
            self._place = 0
        return size > self._place

    def copy(self, output: int) -> int:
        """Write all there is now to a descriptor; how many bytes. BrokenPipeError at a closed one.

        The end is that of this moment: a file that grows faster than it is read does not hold it.
        """
        begin, end = self._place, os.fstat(self._file).st_size
        while self._place < end:
            data = os.pread(self._file, min(CHUNK, end - self._place), self._place)
            if not data:
                break
            write(output, data)
            self._place += len(data)
        return self._place - begin

    def close(self) -> None:
        """Read no more."""
        os.close(self._file)


def write(output: int, data: bytes) -> None:
    """All of ``data``, also to a descriptor that takes only part of it at a time."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(output, rest) :]
        except BlockingIOError:
            select.select([], [output], [])


def last_lines(file: int, size: int, lines: int) -> int:
    """Where the last ``lines`` lines of an open file begin, read from its end."""
    if lines <= 0:
        return size
    place = size
    wanted = lines
    while place > 0:
        start = max(0, place - CHUNK)
        block = os.pread(file, place - start, start)
        if place == size and block.endswith(b"\n"):
            wanted += 1  # that one ends the last line
        at = len(block)
        while (at := block.rfind(b"\n", 0, at)) >= 0:
            wanted -= 1
            if not wanted:
                return start + at + 1
        place = start
    return 0


class Titled:
    """Copies several files to stdout, with a title whenever the file changes."""

    def __init__(self, output: int, titles: bool) -> None:
        self._output = output
        self._titles = titles
        self._shown: Tail | None = None

    def copy(self, tail: Tail, title: str) -> None:
        """What is new in ``tail``, below its title."""
        if tail is not self._shown:
            if self._titles:
                blank = "\n" if self._shown else ""
                write(self._output, f"{blank}==> {title} <==\n".encode(errors="replace"))
            self._shown = tail
        tail.copy(self._output)


def rest(output: int, seconds: float = PERIOD_SECONDS) -> None:
    """Sleep, but not longer than somebody reads ``output``: then BrokenPipeError."""
    poll = select.poll()
    poll.register(output, 0)
    if poll.poll(seconds * 1000):
        raise BrokenPipeError


def kept(path: Path) -> list[tuple[int, Path]]:
    """The earlier versions ``<path>.<N>`` of a file, by number."""
    start = f"{path.name}."
    try:
        names: Iterable[str] = os.listdir(path.parent)
    except OSError:
        return []
    found = [name.removeprefix(start) for name in names if name.startswith(start)]
    numbers = sorted(int(end) for end in found if end.isascii() and end.isdigit())
    return [(number, path.with_name(f"{start}{number}")) for number in numbers]


class Generations:
    """A file that is moved aside to ``<path>.<N>`` and written anew: each version in its turn.

    Of a version that is there at first, only the last ``lines`` lines are read, if that is given.
    """

    def __init__(self, path: Path, lines: int | None = None) -> None:
        self.path = path
        #: Whether there was any version to read.
        self.found = False
        self._lines = lines
        self._open: Tail | None = None
        self._later: Tail | None = None
        self._done: set[tuple[int, int]] = set()

    def skip(self) -> None:
        """Leave out the earlier versions there are already."""
        for _, path in kept(self.path):
            identity = _identity(path)
            if identity:
                self._done.add(identity)

    def look(self) -> bool:
        """Whether there is something to copy."""
        if self._open is None:
            self._open = self._next()
            return self._open is not None
        if self._later is None:
            self._later = self._next()
        return self._later is not None or self._open.grown()

    def copy(self, output: int) -> None:
        """Write what is new, and all versions that have come since."""
        while self.look():
            assert self._open is not None
            self._open.copy(output)
            if self._later is not None:
                # The open one was moved aside after its last writer had ended: it is complete.
                self._done.add(self._open.identity)
                self._open.close()
                self._open, self._later = self._later, None
            else:
                return

    def _next(self) -> Tail | None:
        """The oldest version that was not read yet."""
        if self._open is not None and _identity(self.path) == self._open.identity:
            return None  # without a look around, which takes long in a crowded directory
        known = {*self._done, *([self._open.identity] if self._open else [])}
        for path in [*(path for _, path in kept(self.path)), self.path]:
            if _identity(path) in (None, *known):
                continue
            with contextlib.suppress(OSError):
                tail = Tail(path, self._lines)
                if tail.identity not in known:
                    self._lines, self.found = None, True
                    return tail
                tail.close()
        return None

    def close(self) -> None:
        """Read no more."""
        for tail in (self._open, self._later):
            if tail is not None:
                tail.close()
        self._open = self._later = None


def _identity(path: Path) -> tuple[int, int] | None:
    """What stays the same when a file is renamed; None if there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def allow_files(number: int) -> None:
    """Let so many files be open at a time, as far as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number + 64
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def stdout() -> int:
    """The descriptor behind stdout, once what was printed before is written."""
    sys.stdout.flush()
    return sys.stdout.fileno()
