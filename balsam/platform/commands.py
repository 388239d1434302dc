"""Runs one command of the machine to its end, within a time limit, and captures what it says."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from balsam.errors import LaunchError, ProgramMissing


@dataclass(frozen=True)
class Completed:
    """What a command answered; ``returncode`` is negative when a signal ended it."""

    returncode: int
    stdout: str
    stderr: str


class Command:
    """A command of the machine that runs beside its caller, until its time is over.

    ``argv`` is run without a shell, with an empty input, as the leader of a process group. The
    program is looked up on the PATH of ``env``; None means this process's environment. Raises
    ProgramMissing when it does not exist or may not be executed, LaunchError when it can not be
    started.
    """

    def __init__(
        self, argv: Sequence[str], timeout_seconds: float, env: Mapping[str, str] | None = None
    ) -> None:
        self._argv = argv
        self._timeout = timeout_seconds
        #: When (monotonic) its time is over.
        self.deadline = time.monotonic() + timeout_seconds
        # Files, not pipes: something the command leaves running may hold a pipe open for ever.
        with contextlib.ExitStack() as stack:
            self._out = stack.enter_context(tempfile.TemporaryFile())
            self._err = stack.enter_context(tempfile.TemporaryFile())
            try:
                self._process = subprocess.Popen(
                    list(argv),
                    stdin=subprocess.DEVNULL,
                    stdout=self._out,
                    stderr=self._err,
                    env=None if env is None else dict(env),
                    start_new_session=True,
                )
            except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
                raise ProgramMissing(
                    f"'{argv[0]}' can not be run ({error.strerror}): is it installed, executable "
                    "and on PATH?"
                ) from error
            except (OSError, ValueError) as error:
                raise LaunchError(f"'{shlex.join(argv)}' could not be started: {error}.") from error
            self._files = stack.pop_all()

    def answer(self, wait: bool = False) -> Completed | None:
        """What it answered; None while it runs and its time is not over.

        Any exit code is an answer. Raises LaunchError when it was not done in time; whatever it
        started in its process group is killed then.
        """
        with contextlib.suppress(subprocess.TimeoutExpired):
            left = max(0.0, self.deadline - time.monotonic())
            code = self._process.wait(left) if wait else self._process.poll()
            if code is not None:
                return Completed(code, _text(self._out.fileno()), _text(self._err.fileno()))
        if time.monotonic() < self.deadline:
            return None
        raise LaunchError(
            f"'{shlex.join(self._argv)}' did not answer within {self._timeout:g} s and was killed."
        )

    def close(self) -> None:
        """Kill its process group, unless it has ended."""
        if self._process.poll() is None:
            # Not reaped yet, so the number still means this process's group.
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._files.close()


def run(
    argv: Sequence[str], timeout_seconds: float, env: Mapping[str, str] | None = None
) -> Completed:
    """Run a :class:`Command` to its end and return its answer; the same errors."""
    with contextlib.closing(Command(argv, timeout_seconds, env)) as command:
        while True:
            answer = command.answer(wait=True)
            if answer is not None:
                return answer


def _text(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0).decode(errors="replace")
