"""The hooks: run a user's pre- or post-processing script and say how it ended."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from balsam import states
from balsam.errors import LaunchError
from balsam.outcomes import Outcome
from balsam.platform import commandline, process, variables
from balsam.platform.evidence import describe_exit, tail
from balsam.transitions.spec import PREPROCESS, STEP_VARIABLE, StepSpec
from balsam.transitions.staging import NoSpace, made_work_directory, make_directory, refused

#: Between asking a hook to stop and killing it, in seconds.
GRACE_SECONDS = 0.5
#: How much of the end of a hook's output an event keeps.
TAIL_LINES = 16
TAIL_BYTES = 8192

_EXITED, _TIMED_OUT, _STOPPED = "exited", "timed out", "stopped"


class Waiter(Protocol):
    """What the wait for a hook needs from the process it runs in."""

    @property
    def stopped(self) -> bool:
        """Whether the hook is to be ended because its worker has to."""

    def wait(self, timeout: float) -> None:
        """Return when a child may have ended, ``stopped`` has changed or after ``timeout`` s."""


def run(spec: StepSpec, waiter: Waiter) -> Outcome | None:
    """Run the hook of ``spec`` to its end; None if the waiter was told to stop before that.

    When this returns, no process of the hook's process group is left. Every way to fail gives an
    outcome with the state FAILED, the cause ``hook``, and a message with command and log file.
    A job that had nothing to stage gets its work directory here.

    :raises InvalidValue, TransferError: for a work directory that can not be made.
    :raises NoSpace: for a project whose disk is full.
    """
    name = "preprocess" if spec.kind == PREPROCESS else "postprocess"
    what = f"{name} '{spec.command}'"
    workdir = made_work_directory(spec)
    log = workdir / (spec.log or f"{name}.log")
    if spec.log:
        make_directory(spec, log.parent)
    inherited = {k: v for k, v in os.environ.items() if k not in variables.OF_ONE_JOB}
    env = {**inherited, **spec.env, STEP_VARIABLE: spec.token}
    try:
        argv = command_line(spec, str(workdir), env)
    except LaunchError as error:
        return _failed(f"{what} can not be started: {error}")
    try:
        start = _write_header(log, spec)
    except OSError as error:
        trouble = refused(spec, log, f"{what} was not run: can not write '{log}'", error)
        if isinstance(trouble, NoSpace):
            raise trouble from error
        return _failed(str(trouble))
    try:
        pid = process.spawn(process.RunSpec(argv, str(workdir), env, str(log), append=True))
    except LaunchError as error:
        return _failed(f"{what} can not be started: {error}")
    try:
        ending = _wait(pid, spec.time_limit, waiter)
    finally:
        # Until it is reaped, the leader keeps the number of its group from being used again.
        process.signal_group(pid, signal.SIGKILL)
    if ending != _EXITED:
        process.end_processes(process.marked_processes(STEP_VARIABLE, spec.token), 0.0)
    _, status = os.waitpid(pid, 0)
    if ending == _STOPPED:
        return None
    return _outcome(spec, what, log, ending, os.waitstatus_to_exitcode(status), start)


def command_line(spec: StepSpec, workdir: str, env: Mapping[str, str]) -> list[str]:
    """The argument list of the hook. No shell, except to read an envscript.

    :raises ProgramMissing: for what can not be split into words, or found.
    """
    words = commandline.words(("the command", spec.command))
    return commandline.Programs().ready(words, workdir, env, spec.envscript)


def _write_header(log: Path, spec: StepSpec) -> int:
    """Begin a hook's part of its log; the offset where its own output starts.

    A link in the log's place may lead to another job's log, so it is replaced.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        output = os.open(log, flags, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        os.unlink(log)
        output = os.open(log, flags, 0o666)
    title = "Preprocessor" if spec.kind == PREPROCESS else "Postprocessor"
    text = f"# Balsam {title}: {spec.command}\n"
    if spec.handler:
        text += f"# Invoked to handle {spec.state}\n"
    with open(output, "wb") as file:
        file.write(text.encode(errors="replace"))
        return file.tell()


def _wait(pid: int, time_limit: float, waiter: Waiter) -> str:
    """Wait for the end of a hook, or ask it to end and give it time; it is not reaped yet."""
    deadline = time.monotonic() + time_limit if time_limit > 0 else float("inf")
    ending = _EXITED
    while not process.ended(pid):
        if waiter.stopped:
            ending = _STOPPED
        elif time.monotonic() >= deadline:
            ending = _TIMED_OUT
        else:
            waiter.wait(deadline - time.monotonic())
            continue
        _stop(pid, waiter)
        break
    return ending


def _stop(pid: int, waiter: Waiter) -> None:
    process.signal_group(pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while not process.ended(pid) and (left := deadline - time.monotonic()) > 0:
        waiter.wait(left)


def _outcome(
    spec: StepSpec, what: str, log: Path, ending: str, returncode: int, start: int
) -> Outcome:
    if ending == _TIMED_OUT:
        trouble = f"was stopped at its time limit of {spec.time_limit:g} s"
    elif returncode:
        trouble = f"ended with {describe_exit(returncode)}"
    elif spec.handler:
        trouble = f"ended without setting a state, which the handler of {spec.state} has to do"
    else:
        return Outcome(spec.done_state)
    return _failed(f"{what} {trouble}; its output is in '{log}'", returncode, _tail(log, start))


def _failed(message: str, returncode: int | None = None, text: str = "") -> Outcome:
    data: dict[str, Any] = {"cause": states.HOOK, "returncode": returncode, "tail": text}
    return Outcome(states.FAILED, message, data)


def _tail(log: Path, start: int) -> str:
    """The last lines of what was written to ``log`` after the offset ``start``."""
    try:
        written = os.stat(log).st_size - start
    except OSError:
        return ""
    # One byte more than was written: that of the newline before it, so no line is cut off.
    return tail(log, TAIL_LINES, min(TAIL_BYTES, written + 1)) if written > 0 else ""
