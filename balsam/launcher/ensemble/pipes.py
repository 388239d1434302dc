"""A stream of bytes in both directions that never blocks its process."""

from __future__ import annotations

import os

_CHUNK = 1 << 18


class Pipe:
    """Reads from one descriptor and writes to another, as far as they take it."""

    def __init__(self, reader: int, writer: int) -> None:
        self.reader = reader
        self.writer = writer
        self._out = bytearray()
        #: The other end is gone.
        self.closed = False
        for descriptor in (reader, writer):
            os.set_blocking(descriptor, False)

    @property
    def pending(self) -> int:
        """How many bytes wait to be written."""
        return len(self._out)

    def read(self) -> bytes:
        """What has come; sets ``closed`` at the end of it."""
        try:
            data = os.read(self.reader, _CHUNK)
        except (BlockingIOError, InterruptedError):
            return b""
        except OSError:
            data = b""
        if not data:
            self.closed = True
        return data

    def write(self, data: bytes) -> None:
        """Add to what is to be written, and write what goes."""
        self._out += data
        self.push()

    def push(self) -> None:
        """Write on."""
        while self._out:
            try:
                done = os.write(self.writer, memoryview(self._out)[:_CHUNK].tobytes())
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self._out.clear()
                self.closed = True
                return
            del self._out[:done]
