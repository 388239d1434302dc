"""Emulated machines: each has a name, pids and /dev/shm of its own, perhaps also a network.

A machine is a set of Linux namespaces around one first process; when that is killed, the kernel
ends all that runs on the machine, as a power cut does. All machines share the file system.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from balsam.platform import node

#: Where the daemons and tools of administrators are, too.
PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
_OWN = ("unshare", "nsenter", "setpriv")
#: What the first process does before it runs what it is given, then it adopts orphans for ever.
_BOOT = """\
hostname "$1" && mount --bind "$2" /etc/hosts && mount -t tmpfs -o mode=1777 tmpfs /dev/shm || exit
mount -t tmpfs -o mode=1777 tmpfs /var/tmp || exit
shift 2
"$@" & sleep infinity &
wait
"""


def lacking(*programs: str) -> str:
    """Why machines can not be emulated here, '' if they can."""
    if os.geteuid():
        return "only root can emulate machines"
    missing = [one for one in (*_OWN, *programs) if not shutil.which(one, path=PATH)]
    return f"not installed: {', '.join(missing)}" if missing else ""


class Record:
    """Processes started here, known by pid and start time, also to the next program that asks.

    If they are ``bound``, they end with who started them, however that ends.
    """

    def __init__(self, directory: Path, bound: bool = False) -> None:
        self._directory = directory
        self._bound = ["setpriv", "--pdeathsig", "KILL", "--"] if bound else []

    def start(
        self, name: str, command: Sequence[str], log: Path, environ: Mapping[str, str] | None = None
    ) -> None:
        """Start a process in a session of its own."""
        with open(log, "ab") as output:
            process = subprocess.Popen(
                [*self._bound, *command], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env=environ, start_new_session=True,
            )  # fmt: skip
        self._path(name).write_text(f"{process.pid} {node.start_time(process.pid)}")
        # It is ended by pid, perhaps by another program, and reaped by whoever may.
        process.returncode = 0

    def pid(self, name: str) -> int:
        """The pid of a process that is alive, otherwise 0."""
        try:
            pid, started = map(int, self._path(name).read_text().split())
        except (OSError, ValueError):
            return 0
        return pid if node.process_alive(pid, started) else 0

    def names(self, prefix: str = "") -> list[str]:
        """The processes that were started and not ended."""
        return sorted(path.stem for path in self._directory.glob(f"{prefix}*.pid"))

    def end(self, name: str, number: int = signal.SIGKILL, seconds: float = 10.0) -> None:
        """Send a signal and wait for the end; KILL where that does not come."""
        for last in (number, signal.SIGKILL):
            pid = self.pid(name)
            if pid:
                os.kill(pid, last)
                if not wait_for(lambda: not self._lives(name), seconds):
                    continue
            break
        self._path(name).unlink(missing_ok=True)

    def _lives(self, name: str) -> bool:
        pid = self.pid(name)
        with contextlib.suppress(ChildProcessError):
            if pid:
                os.waitpid(pid, os.WNOHANG)
        return bool(self.pid(name))

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}.pid"


class Machine:
    """One emulated machine."""

    def __init__(
        self, name: str, directory: Path, hosts: Path, network: str = "", bound: bool = False
    ) -> None:
        self.name = name
        self._record = Record(directory, bound)
        self._directory = directory
        self._hosts = hosts
        self._network = network

    def boot(self, command: Sequence[str], environ: Mapping[str, str] | None = None) -> None:
        """Switch it on; ``command`` is its daemon."""
        inside = ["ip", "netns", "exec", self._network] if self._network else []
        apart = [
            "unshare",
            "--uts",
            "--ipc",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ]
        shell = ["sh", "-c", _BOOT, "sh", self.name, str(self._hosts)]
        log = self._directory / f"{self.name}.log"
        self._record.start(self.name, [*inside, *apart, *shell, *command], log, environ)

    @property
    def first(self) -> int:
        """The pid of its first process, seen from outside; 0 while it is off."""
        outer = self._record.pid(self.name)
        if not outer:
            return 0
        try:
            return int(Path(f"/proc/{outer}/task/{outer}/children").read_text().split()[0])
        except (OSError, IndexError):
            return 0

    def die(self) -> None:
        """Cut its power."""
        first = self.first
        started = node.start_time(first)
        self._record.end(self.name)
        if first:
            wait_for(lambda: not node.process_alive(first, started))

    def inside(self, *command: str, directory: str | Path = "/") -> list[str]:
        """A command line that runs ``command`` on this machine."""
        where = ["--uts", "--ipc", "--mount", "--pid", *(["--net"] if self._network else [])]
        return ["nsenter", "-t", str(self.first), *where, f"--wd={directory}", "--", *command]

    def pids(self) -> list[int]:
        """Everything that runs on it, by the pids seen from outside."""
        first = self.first
        if not first:
            return []
        own = _namespace(first)
        numbers = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
        return [pid for pid in numbers if _namespace(pid) == own]


def _namespace(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}/ns/pid").st_ino
    except OSError:
        return 0


def wait_for(condition: Callable[[], object], seconds: float = 10.0) -> bool:
    """Whether a condition came true in that time.

    The longer a look takes, which may need a process, the longer is the pause before the next.
    """
    begin = time.monotonic()
    while True:
        looked = time.monotonic()
        if condition():
            return True
        now = time.monotonic()
        if now > begin + seconds:
            return False
        time.sleep(min(max(0.01, 5 * (now - looked)), 0.25))
