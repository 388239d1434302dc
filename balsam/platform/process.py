"""Starting, reaping and ending the processes of tasks, each in a process group of its own."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from balsam.errors import LaunchError, ProgramMissing
from balsam.platform import commandline
from balsam.platform.memory import Floor

#: Python ignores some of these and we catch others; a task starts with none of that.
_DEFAULT_SIGNALS = frozenset(
    (
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGCHLD,
        signal.SIGPIPE,
        signal.SIGHUP,
        signal.SIGUSR1,
        signal.SIGXFSZ,
    )
)
_floor = Floor()
#: Errors that may not be there later.
SHORTAGES = frozenset((errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE))
#: A disk, or what a quota leaves of it.
FULL = frozenset((errno.ENOSPC, errno.EDQUOT))


@dataclass(frozen=True)
class RunSpec:
    """A process to start: arguments, directory, whole environment, file for stdout and stderr.

    ``sigpipe`` False starts it with SIGPIPE ignored, as Python itself runs. ``cpus`` are the
    operating system's numbers of the hardware threads to confine it to; none: as we are ourselves.
    """

    argv: Sequence[str]
    cwd: str
    env: Mapping[str, str]
    output: str
    append: bool = False
    sigpipe: bool = True
    cpus: Sequence[int] = ()
    #: What an mpirun is to start, '' where there is none.
    program: str = ""


@dataclass(frozen=True)
class Exit:
    """How a process ended; ``signal`` is 0 unless a signal ended it.

    CPU time is seconds of user and system time, memory the largest resident set in KiB (0 if that
    was no more than what the process that started it has itself), and what was read from and
    written to storage is in bytes (0 also where the kernel does not count that, as on some network
    file systems): all of the process and the descendants it has waited for.
    ``time`` is seconds since the epoch; ``wall_seconds`` is of a clock that nobody sets, and 0 if
    the start was not given.
    """

    pid: int
    returncode: int
    signal: int
    cpu_seconds: float
    max_rss_kb: int
    wall_seconds: float = 0.0
    read_bytes: int = 0
    write_bytes: int = 0
    time: float = field(default_factory=time.time)

    def by(self, number: int) -> bool:
        """Whether a signal ended it, or a child whose end a shell passes on."""
        return number in (self.signal, self.returncode - 128)


def shortage(error: BaseException) -> bool:
    """Whether ``spawn`` failed for want of processes, memory or descriptors: later it may not."""
    return _because_of(SHORTAGES, error)


def disk_is_full(error: BaseException) -> bool:
    """Whether something could not be started because there is no space for its files."""
    return _because_of(FULL, error)


def _because_of(numbers: frozenset[int], error: BaseException) -> bool:
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in numbers


def reason(error: OSError | ValueError) -> str:
    """Why a path can not be used: a locale without UTF-8 can not name every file."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


def spawn(spec: RunSpec, pipes: tuple[int, int] | None = None) -> int:
    """Start ``spec`` with its own process group, no standard input, output in its file; its pid.

    With ``pipes`` these are its standard input and output, and only its errors go to the file.
    ``argv[0]`` is a path (see ``commandline``). ``posix_spawn`` takes no directory, so the
    calling process changes its own: callers are single threaded and use absolute paths.
    Raises ProgramMissing and LaunchError.
    """
    try:
        os.chdir(spec.cwd)
    except (OSError, ValueError) as error:
        raise LaunchError(
            f"The work directory {spec.cwd} can not be entered: {reason(error)}."
        ) from error
    how = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_APPEND if spec.append else os.O_TRUNC)
    try:
        output = os.open(spec.output, how, 0o666)
    except (OSError, ValueError) as error:
        raise LaunchError(
            f"The output file {spec.output} can not be written: {reason(error)}."
        ) from error
    ours = None
    stdin: tuple[Any, ...] = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    if pipes:
        stdin = (os.POSIX_SPAWN_DUP2, pipes[0], 0)
    try:
        if spec.cpus:
            ours = _confine(spec.cpus)
        return os.posix_spawn(
            spec.argv[0],
            tuple(spec.argv),
            spec.env,
            file_actions=(
                stdin,
                (os.POSIX_SPAWN_DUP2, pipes[1] if pipes else output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
            ),
            setpgroup=0,
            setsigmask=(),
            setsigdef=_DEFAULT_SIGNALS if spec.sigpipe else _DEFAULT_SIGNALS - {signal.SIGPIPE},
        )
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in commandline.UNRUNNABLE:
            why = commandline.refusal(spec.argv[0], error)
            raise ProgramMissing(f"The program '{spec.argv[0]}' can not be run: {why}.") from error
        raise LaunchError(f"'{spec.argv[0]}' could not be started: {error}.") from error
    finally:
        os.close(output)
        if ours is not None:
            os.sched_setaffinity(0, ours)


def _confine(cpus: Sequence[int]) -> set[int]:
    """Confine ourselves, for children take over to what their parent is confined; what we had."""
    ours = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, cpus)
    except (OSError, ValueError) as error:
        wanted = ", ".join(map(str, cpus))
        raise LaunchError(f"A task can not be confined to the CPUs {wanted}: {error}.") from error
    return ours


def reap(pid: int, begun: float = 0.0) -> Exit | None:
    """How child ``pid`` ended, or None while it runs. Leftovers of its group are killed.

    ``begun`` is when it was started, by ``time.monotonic()``.
    """
    try:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
    except ChildProcessError:
        return Exit(pid, 255, 0, 0.0, 0, _since(begun))
    return collect(pid, begun)


def collect(pid: int, begun: float = 0.0) -> Exit:
    """:func:`reap` for a child that is known to have ended.

    Its group is killed while the ended leader still holds its number.
    """
    signal_group(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    code = 128 + number if number else os.WEXITSTATUS(status)
    # The kernel's own sums of /proc/PID/io, in blocks of 512 bytes: no file to read for them.
    return Exit(
        pid,
        code,
        number,
        usage.ru_utime + usage.ru_stime,
        _floor.known(usage.ru_maxrss),
        _since(begun),
        usage.ru_inblock * 512,
        usage.ru_oublock * 512,
    )


def _since(begun: float) -> float:
    return time.monotonic() - begun if begun else 0.0


def ended(pid: int) -> bool:
    """Whether child ``pid`` has ended; it stays to be reaped."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def ended_child() -> int | None:
    """A child that has ended and is yet to be reaped, None if there is none.

    One and the same until somebody reaps it. 0 if there is no child at all.
    """
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return 0
    return found.si_pid if found else None


def signal_group(pid: int, number: int) -> bool:
    """Send a signal to the group that ``pid`` leads; False if there is no such group."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def family(*pids: int) -> list[int]:
    """``pids`` and their living descendants, also those in groups of their own."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    found: dict[int, None] = {}
    todo = list(pids)
    while todo:
        pid = todo.pop()
        if pid not in found:
            found[pid] = None
            todo += children.get(pid, ())
    return list(found)


def _parents() -> Iterator[tuple[int, int]]:
    """Each process with that which started it, or took it over."""
    for pid in _pids():
        try:
            parent = int(_stat(pid)[1])
        except OSError:
            continue
        yield pid, parent


def _pids() -> Iterator[int]:
    return map(int, filter(str.isdigit, os.listdir("/proc")))


def _stat(pid: int) -> list[bytes]:
    """What the kernel tells of a process, from its state on: proc(5). Raises OSError."""
    with open(f"/proc/{pid}/stat", "rb") as stat:
        return stat.read().rpartition(b")")[2].split()


def marked_processes(name: str, *values: str) -> list[int]:
    """Pids of this user whose environment had ``name`` as one of ``values`` when they started.

    Never our own.
    """
    wanted = {f"{name}={value}".encode() for value in values}
    return [pid for pid, variables in environments() if not wanted.isdisjoint(variables)]


def environments() -> Iterator[tuple[int, list[bytes]]]:
    """Each process of this user but our own, with the variables it was started with: NAME=VALUE."""
    for pid in _pids():
        if pid == os.getpid():
            continue
        try:
            with open(f"/proc/{pid}/environ", "rb") as environ:
                variables = environ.read()
        except OSError:
            continue
        yield pid, variables.split(b"\0")


def signal_all(pids: Iterable[int], number: int) -> None:
    """Send a signal to each process that is still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def end_processes(pids: Collection[int], grace_seconds: float) -> None:
    """End processes that are no children of ours: TERM, then KILL for what is left.

    Blocks until they are gone or the grace is over.
    """
    living = list(pids)
    signal_all(living, signal.SIGTERM)
    _wait_gone(living, grace_seconds)
    living = [pid for pid in living if _alive(pid)]
    signal_all(living, signal.SIGKILL)
    _wait_gone(living, 1.0)


def _wait_gone(pids: Collection[int], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    pause = 0.002
    while any(_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(pause)
        pause = min(0.05, pause * 2)


def _alive(pid: int) -> bool:
    try:
        return _stat(pid)[0] not in (b"Z", b"X")
    except OSError:
        return False
