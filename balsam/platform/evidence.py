"""What can be learnt about a process that ended: how, by the OOM killer or not, its last words."""

from __future__ import annotations

import os
import re
import signal as signals
import stat
import time
from collections.abc import Iterable
from pathlib import Path

_OOM_KILL = re.compile(rb"^oom_kill (\d+)", re.MULTILINE)
#: ``6,1234,5678901,-;Memory cgroup out of memory: Killed process 4711 (python3) ...``
_KILLED = re.compile(rb"^\d+,\d+,(\d+),[^;]*;.*?Killed process (\d+)", re.DOTALL)
_MOST_MESSAGES = 100_000
#: Control characters a database or a terminal would choke on; newline and tab stay.
_UNPRINTABLE = {code: "\ufffd" for code in (*range(32), 127) if chr(code) not in "\n\t"}


def describe_exit(returncode: int | None, signal: int | None = None) -> str:
    """How a process ended, in words: ``exit code 3``, ``signal 9 (SIGKILL)``.

    A negative ``returncode`` means a signal, as everywhere in Python.
    """
    if not signal and returncode is not None and returncode < 0:
        signal = -returncode
    if not signal:
        return "unknown exit code" if returncode is None else f"exit code {returncode}"
    try:
        return f"signal {signal} ({signals.Signals(signal).name})"
    except ValueError:
        return f"signal {signal}"


class OomWatch:
    """Tells whether the kernel's OOM killer struck, by the kernel's own counters and messages.

    Ask it when a process died of SIGKILL: ``struck()`` says whether a counter rose since the last
    ``refresh()`` but one (one may come between a kill and the question), or since the last, if the
    process began after it. A counter that can not be read counts for nothing. The counters do not
    say whom it struck; where the kernel's messages may be read, they do.
    """

    def __init__(
        self, paths: Iterable[str | Path] | None = None, messages: str | Path = "/dev/kmsg"
    ) -> None:
        self._paths = tuple(default_oom_counters() if paths is None else paths)
        self._messages = messages
        #: The last two readings, the older one first: when (monotonic), and the counters.
        self._readings = [(time.monotonic(), self._read())] * 2

    def refresh(self) -> None:
        """Remember the counters as they are now."""
        self._readings = [self._readings[1], (time.monotonic(), self._read())]

    def struck(self, pid: int = 0, began: float = 0.0, processes: int = 1) -> bool:
        """Whether the OOM killer killed something lately; one kill explains one death.

        ``began`` (monotonic) is when the process began, and ``processes`` how many may have died.
        With ``pid``, of a process that itself died of SIGKILL: whether that was it, as far as the
        kernel's messages tell. Its descendants are not asked about.
        """
        older, latest = self._readings
        since, before = latest if began >= latest[0] else older
        counts = self._read()
        if not any(now > then for then, now in zip(before, counts, strict=True)):
            return False
        victims = oom_victims(self._messages, since) if pid else None
        if victims and pid not in victims:
            return False
        self._readings = [(when, _less(read, counts, processes)) for when, read in self._readings]
        return True

    def _read(self) -> tuple[int, ...]:
        return tuple(_oom_kills(path) for path in self._paths)


def _less(before: tuple[int, ...], now: tuple[int, ...], kills: int) -> tuple[int, ...]:
    """Counters from which so many of the kills since are not to be seen any more."""
    return tuple(min(then + kills, count) for then, count in zip(before, now, strict=True))


def oom_victims(path: str | Path, since: float) -> set[int] | None:
    """Pids that the kernel says it killed for want of memory after ``since`` (monotonic).

    None where its messages can not be read: often they are for root only
    (https://www.kernel.org/doc/Documentation/ABI/testing/dev-kmsg).
    """
    victims = set()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        for _ in range(_MOST_MESSAGES):
            try:
                record = os.read(descriptor, 8192)
            except BrokenPipeError:  # overwritten while we read: the next one is there
                continue
            if not record:
                break
            match = _KILLED.search(record)
            # The kernel's own time of a message is of the same clock, a little less exact.
            if match and int(match[1]) / 1e6 > since - 1.0:
                victims.add(int(match[2]))
    except BlockingIOError:
        pass
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return victims


def default_oom_counters(
    proc: str | Path = "/proc", cgroups: str | Path = "/sys/fs/cgroup"
) -> tuple[Path, ...]:
    """The files that count OOM kills for this process: of the machine and of its cgroup.

    The file of the cgroup is ``memory.events`` (cgroup v2) or ``memory.oom_control`` (v1, still
    found on many clusters).
    """
    found = [Path(proc, "vmstat")]
    try:
        lines = Path(proc, "self", "cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        hierarchy, controllers, group = line.split(":", 2)
        if hierarchy == "0" and not controllers:
            found.append(Path(cgroups, group.lstrip("/"), "memory.events"))
        elif "memory" in controllers.split(","):
            # In a container the group's own path is often mounted as the top of the tree.
            own = Path(cgroups, "memory", group.lstrip("/"), "memory.oom_control")
            found.append(own if own.is_file() else Path(cgroups, "memory", own.name))
    return tuple(path for path in found if path.is_file())


def _oom_kills(path: str | Path) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        match = _OOM_KILL.search(os.read(descriptor, 65536))
    except OSError:
        return 0
    finally:
        os.close(descriptor)
    return int(match[1]) if match else 0


def tail(path: str | Path, lines: int, max_bytes: int = 4096) -> str:
    """The last ``lines`` lines of an output file, from its last ``max_bytes`` bytes.

    Empty for a file that is missing, unreadable or no regular file. Bytes that are no UTF-8 and
    control characters come out as U+FFFD; of a progress bar redrawn by carriage returns, the last
    state is kept. A line cut off at the front is left out unless it is the only one.
    """
    try:
        # Not blocking: the job may have put a FIFO in the place of its output.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        return ""
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return ""
        start = max(0, status.st_size - max_bytes)
        raw = os.pread(descriptor, max_bytes, start)
    except OSError:
        return ""
    finally:
        os.close(descriptor)
    text = raw.decode(errors="replace").removesuffix("\n")
    kept = text.split("\n")
    if start and len(kept) > 1:
        del kept[0]
    last = kept[-lines:] if lines > 0 else []
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in last).translate(_UNPRINTABLE)
