"""Runs one command of the machine to its end, within a time limit, and captures what it says."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from balsam.errors import LaunchError, ProgramMissing


@dataclass(frozen=True)
class Completed:
    """What a command answered; ``returncode`` is negative when a signal ended it."""

    returncode: int
    stdout: str
    stderr: str


def run(
    argv: Sequence[str], timeout_seconds: float, env: Mapping[str, str] | None = None
) -> Completed:
    """Run ``argv`` (never a shell) with an empty input and return its answer.

    The program is looked up on the PATH of ``env``; None means this process's environment. Any
    exit code is an answer. Raises ProgramMissing when the program does not exist or may not be
    executed, LaunchError when it can not be started or is not done in time; whatever it started in
    its process group is killed then.
    """
    # Files, not pipes: something the command leaves running may hold a pipe open for ever.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
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
        try:
            process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            _kill_group(process)
            raise LaunchError(
                f"'{shlex.join(argv)}' did not answer within {timeout_seconds:g} s and was killed."
            ) from None
        except BaseException:
            _kill_group(process)
            raise
        return Completed(process.returncode, _text(out.fileno()), _text(err.fileno()))


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    # Not reaped yet, so the number still means this process's group.
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _text(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0).decode(errors="replace")
