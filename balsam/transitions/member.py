"""One worker process as the pool sees it: orders go in, replies come out, some day it dies."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import balsam
from balsam.platform.evidence import describe_exit
from balsam.transitions.spec import StepSpec


class Member:
    """A running worker: its process, the step it has (``spec``) and the two pipes, not blocking.

    :raises OSError: if the process can not be started.
    """

    def __init__(self, python: str, log: str | os.PathLike[str] | None) -> None:
        with contextlib.ExitStack() as stack:
            stderr = stack.enter_context(open(log, "ab")) if log is not None else None
            self.process = subprocess.Popen(
                [python, "-m", "balsam.transitions.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                bufsize=0,
                # There, and not in the launcher's directory, this very package is found.
                cwd=Path(balsam.__file__).parent.parent,
                start_new_session=True,
            )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.orders = self.process.stdin.fileno()
        self.replies = self.process.stdout.fileno()
        os.set_blocking(self.orders, False)
        os.set_blocking(self.replies, False)
        self.spec: StepSpec | None = None
        self.cancelled = False
        self.kill_at = float("inf")
        self._outgoing = bytearray()
        self._incoming = bytearray()

    def give(self, spec: StepSpec) -> bool:
        """Hand over a step; whether all of it is on its way (else ``flush`` later)."""
        self.spec = spec
        self._outgoing += spec.to_json().encode() + b"\n"
        return self.flush()

    def flush(self) -> bool:
        """Write on; whether nothing is left to write."""
        try:
            while self._outgoing:
                del self._outgoing[: os.write(self.orders, self._outgoing)]
        except BlockingIOError:
            return False
        except BrokenPipeError:
            self._outgoing.clear()
        return True

    def receive(self) -> tuple[list[bytes], bool]:
        """The complete lines that have arrived, and whether the worker is still there."""
        alive = True
        try:
            while received := os.read(self.replies, 65536):
                self._incoming += received
            alive = False
        except BlockingIOError:
            pass
        *lines, rest = self._incoming.split(b"\n")
        self._incoming = rest
        return [bytes(line) for line in lines], alive

    def bury(self) -> str:
        """Kill and reap the process, close its pipes; how it ended, in words."""
        self.process.kill()
        code = self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        return describe_exit(code)
