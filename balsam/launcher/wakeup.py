"""Sleeping until something happens: a child's end, a signal, a pipe, or the next timer."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from types import FrameType, TracebackType

#: HUP comes when a terminal is closed.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Wakeup:
    """Turns SIGCHLD, the signals that ask to stop, and readable descriptors into an early wake-up.

    Works in the main thread only, as Python's signals do. Earlier handlers return on exit. A signal
    that comes again within ``settle_seconds`` is the same request.
    """

    def __init__(self, signals: Sequence[int] = STOP_SIGNALS, settle_seconds: float = 0.0) -> None:
        self._settle = settle_seconds
        self._stopped = 0.0
        self.stop_requests = 0
        #: The last signal that asked to stop.
        self.stop_signal = 0
        #: Called when one comes, in the signal handler.
        self.on_stop: Callable[[], None] | None = None
        self._signals = signals
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._reader, selectors.EVENT_READ)
        self._watched: set[int] = set()
        self._before: dict[int, object] = {}
        self._old_fd = -1

    def __enter__(self) -> Wakeup:
        self._old_fd = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, self._ignore)
        for number in self._signals:
            # What nohup has ignored stays ignored.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        signal.set_wakeup_fd(self._old_fd)
        self._selector.close()
        os.close(self._reader)
        os.close(self._writer)

    def _ignore(self, number: int, frame: FrameType | None) -> None:
        """A handler has to be there for the signal to reach the wake-up descriptor."""

    def _stop(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.stop_requests and number == self.stop_signal and now < self._stopped + self._settle:
            return
        self._stopped = now
        self.stop_requests += 1
        self.stop_signal = number
        if self.on_stop:
            self.on_stop()

    def watch(self, descriptors: Iterable[int], *, renewed: bool = False) -> None:
        """Wake up when one of these becomes readable; replaces what was watched before.

        ``renewed`` says that some may be other files by now, under the numbers of closed ones.
        """
        wanted = set(descriptors)
        if renewed:
            for descriptor in self._watched:
                self._selector.unregister(descriptor)
            self._watched = set()
        for descriptor in self._watched - wanted:
            self._selector.unregister(descriptor)
        for descriptor in wanted - self._watched:
            self._selector.register(descriptor, selectors.EVENT_READ)
        self._watched = wanted

    def wait(self, seconds: float) -> None:
        """Sleep until something happens, ``seconds`` at most."""
        ready = self._selector.select(max(0.0, seconds))
        if any(key.fd == self._reader for key, _ in ready):
            self._drain()

    def _drain(self) -> None:
        """Take notice of the signals that came: each has written a byte.

        What does not fit into one piece wakes up once more.
        """
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 4096)
