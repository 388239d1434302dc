"""The worker process: one ``StepSpec`` a line on stdin, one outcome a line on stdout.

``python -m balsam.transitions.worker``. It works on one step at a time and ends at the end of file.
SIGTERM, or the end of file while a hook runs (its launcher died), ends that hook and the worker.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
import traceback
from types import FrameType, TracebackType

from balsam import states
from balsam.errors import BalsamError, InvalidValue
from balsam.outcomes import Outcome
from balsam.platform.full_disk import FullDisk
from balsam.transitions import scripts, staging
from balsam.transitions.spec import HOOKS, StepSpec
from balsam.transitions.staging import NoSpace

_LONGEST_WAIT_SECONDS = 3600.0


class Control:
    """The worker's ears: orders on a descriptor, signals, children.

    ``stopped`` becomes true when the worker has to end. While ``holding`` is false, SIGTERM ends
    the process at once (``SystemExit``); while it is true it only sets ``stopped``.
    """

    def __init__(self, orders: int) -> None:
        self.stopped = False
        self.holding = False
        self._orders = orders
        self._open = True
        self._pending = bytearray()
        self._wake_read, self._wake_write = os.pipe()

    def __enter__(self) -> Control:
        for descriptor in (self._wake_read, self._wake_write):
            os.set_blocking(descriptor, False)
        self._handlers = {
            # Handlers, even empty ones, are reset in the programs a hook starts; SIG_IGN is not.
            number: signal.signal(number, handler)
            for number, handler in (
                (signal.SIGCHLD, self._nothing),
                (signal.SIGINT, self._nothing),
                (signal.SIGTERM, self._stop),
            )
        }
        self._wakeup = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        self._mask = signal.pthread_sigmask(signal.SIG_SETMASK, ())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(self._wake_read)
        os.close(self._wake_write)

    def next_line(self) -> bytes | None:
        """The next order, or None at the end of file. Blocks."""
        while (end := self._pending.find(b"\n")) < 0:
            if not self._open:
                return None
            self._read()
        line = bytes(self._pending[:end])
        del self._pending[: end + 1]
        return line

    def wait(self, timeout: float) -> None:
        """Return at a signal (a child's end among them), an end of file, or after ``timeout`` s."""
        seconds = max(0.0, min(timeout, _LONGEST_WAIT_SECONDS))
        watched = [self._wake_read, self._orders] if self._open else [self._wake_read]
        ready, _, _ = select.select(watched, (), (), seconds)
        if self._wake_read in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 4096)
        if self._orders in ready:
            self._read()
            self.stopped = self.stopped or not self._open

    def _read(self) -> None:
        received = os.read(self._orders, 65536)
        self._open = bool(received)
        self._pending += received

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopped = True
        if not self.holding:
            raise SystemExit(0)

    def _nothing(self, number: int, frame: FrameType | None) -> None:
        """Only the wake-up matters."""


def execute(spec: StepSpec, waiter: scripts.Waiter) -> Outcome | None:
    """The outcome of a step, whatever happens in it; None if it was stopped and has none.

    As long as there is no space for its directory or its log, it is tried again.
    """
    disk = FullDisk()
    while not waiter.stopped:
        try:
            return _executed(spec, waiter)
        except NoSpace as error:
            if disk.refused():
                _log(f"{spec.label}: {error}; trying again")
            while not waiter.stopped and (until := disk.deadline) is not None:
                waiter.wait(until - time.monotonic())
            continue
        except BalsamError as error:
            message = str(error)
        except Exception as error:  # noqa: BLE001 - one bad job must not take its neighbours down
            _log(traceback.format_exc().rstrip())
            message = f"{type(error).__name__}: {error}"
        cause = states.HOOK if spec.kind in HOOKS else states.STAGING
        return Outcome(states.FAILED, message, {"cause": cause})
    return None


def _log(words: str) -> None:
    """Write to the log, which may be on a full disk itself."""
    with contextlib.suppress(OSError):
        os.write(2, f"{words}\n".encode(errors="replace"))


def _executed(spec: StepSpec, waiter: scripts.Waiter) -> Outcome | None:
    if spec.kind in HOOKS:
        return scripts.run(spec, waiter)
    if spec.kind in staging.STEPS:
        return staging.STEPS[spec.kind](spec)
    raise InvalidValue(f"there is no step of the kind '{spec.kind}'")


def serve(control: Control, replies: int) -> None:
    """Work on orders until there are no more, or until told to stop."""
    while not control.stopped and (line := control.next_line()) is not None:
        spec = StepSpec.from_json(line)
        control.holding = spec.kind in HOOKS
        outcome = execute(spec, control)
        control.holding = True
        if outcome is None:
            return
        _reply(replies, spec.token, outcome)
        control.holding = False


def _reply(replies: int, token: str, outcome: Outcome) -> None:
    plain = {
        "token": token,
        "state": outcome.state,
        "message": outcome.message,
        "data": dict(outcome.data),
    }
    left = memoryview(json.dumps(plain).encode() + b"\n")
    while left:
        left = left[os.write(replies, left) :]


def main() -> int:
    """Serve the launcher on stdin and stdout; nothing else can write to that stdout."""
    replies = os.dup(1)
    os.dup2(2, 1)
    with Control(0) as control, contextlib.suppress(BrokenPipeError):
        serve(control, replies)
    return 0


if __name__ == "__main__":
    sys.exit(main())
