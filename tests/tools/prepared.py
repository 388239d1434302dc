"""``python -m balsam``, forked from a process that has imported it: most of a start is imports.

Each command is a session of its own with the environment, directory, words and streams that it is
given, and exits with the code that ``main`` gives, or is killed in a drill. What a start does, and
which modules a command imports itself, is for the tests that start Python.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tests.tools import drill

ROOT = Path(__file__).parents[2]
#: No message is longer; most of it is an environment.
MESSAGE_BYTES = 200_000
#: What commands import, sooner or later, with all that is in it; and a launcher.
PACKAGES = ("cli", "conf", "core", "doctor")
LAUNCHER = "balsam.launcher.main"

_lock = threading.Lock()
_channel: socket.socket | None = None


def run(
    words: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout: float,
    killed_at: drill.Point | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """A command line with empty input, once it has ended and nobody holds its streams.

    After killing it, and what it has started, ``subprocess.TimeoutExpired``.
    """
    (out, its_out), (err, its_err) = os.pipe(), os.pipe()
    said = {out: b"", err: b""}
    try:
        try:
            command = Command(words, cwd, env, [its_out, its_err], killed_at)
        finally:
            os.close(its_out)
            os.close(its_err)
        in_time = False
        try:
            in_time = _follow(command, said, time.monotonic() + timeout)
        finally:
            if command.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(command.pid, signal.SIGKILL)
            command.close()
    finally:
        os.close(out)
        os.close(err)
    if command.returncode is None or not in_time:
        raise subprocess.TimeoutExpired(list(words), timeout, *said.values())
    return subprocess.CompletedProcess(list(words), command.returncode, *said.values())


def run_text(words: Sequence[str], **named: Any) -> subprocess.CompletedProcess[str]:
    """As :func:`run`, with what it printed as text."""
    done = run(words, **named)
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


class Command:
    """A command that runs, with empty input; it is asked and told as a ``subprocess.Popen``."""

    def __init__(
        self,
        words: Sequence[str],
        cwd: Path,
        env: Mapping[str, str],
        streams: Sequence[int],
        killed_at: drill.Point | None = None,
    ) -> None:
        global _channel
        self.args = list(words)
        self.returncode: int | None = None
        self.ending, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        given = {"words": self.args, "cwd": str(cwd), "env": dict(env), "killed_at": killed_at}
        with _lock:
            try:
                with far, open(os.devnull, "rb") as nothing:
                    passed = [nothing.fileno(), *streams, far.fileno()]
                    socket.send_fds(_prepared(), [json.dumps(given).encode()], passed)
                self.pid = self._answer()
            except OSError:
                self.close()
                # The next finds another one.
                if _channel is not None:
                    _channel.close()
                    _channel = None
                raise

    def fileno(self) -> int:
        """What can be read once it has ended."""
        return self.ending.fileno()

    def poll(self) -> int | None:
        """Its exit code, or the negative number of its signal; None as long as it runs."""
        if self.returncode is None and self._ends_within(0.0):
            self.returncode = self._answer()
            self.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The same, once it has ended; ``subprocess.TimeoutExpired`` if that takes longer."""
        if self.returncode is None:
            self._ends_within(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """Send it, and only it, a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Do not wait for its end."""
        self.ending.close()

    def _ends_within(self, seconds: float | None) -> bool:
        waiting = select.poll()
        waiting.register(self.ending, select.POLLIN)
        return bool(waiting.poll(None if seconds is None else seconds * 1000))

    def _answer(self) -> int:
        text = self.ending.recv(MESSAGE_BYTES)
        if not text:
            raise ConnectionError("The process that commands are forked from has ended.")
        return int(text)


def _follow(command: Command, said: dict[int, bytes], give_up: float) -> bool:
    """Take in what a command writes and how it ends; whether that was all."""
    with selectors.DefaultSelector() as waiting:
        for end in (command, *said):
            waiting.register(end, selectors.EVENT_READ)
        while waiting.get_map():
            ready = waiting.select(max(give_up - time.monotonic(), 0))
            if not ready:
                return False
            for key, _ in ready:
                if key.fileobj is command:
                    waiting.unregister(command)
                    command.poll()
                    continue
                piece = os.read(key.fd, 65536)
                said[key.fd] += piece
                if not piece:
                    waiting.unregister(key.fd)
    return True


def _prepared() -> socket.socket:
    """The way to the process that has all imported, no child of this one; it ends with this one."""
    global _channel
    if _channel is None:
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with there:
            subprocess.run(
                [sys.executable, "-m", __name__, str(there.fileno())],
                cwd=ROOT, env=_without_balsam(os.environ), stdin=subprocess.DEVNULL,
                pass_fds=[there.fileno()], check=True,
            )  # fmt: skip
        _channel = here
    return _channel


def _without_balsam(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if not name.startswith("BALSAM")}


# -- in the process that has all imported --------------------------------------------------------


def _serve(channel: socket.socket) -> None:
    """Fork for each request what forks the command, and tells of it by the socket that came."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()
    while True:
        message, passed, _, _ = socket.recv_fds(channel, MESSAGE_BYTES, 4)
        if not message:
            return
        if not os.fork():
            channel.close()
            _attend(message, passed)
        for number in passed:
            os.close(number)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _attend(message: bytes, passed: list[int]) -> NoReturn:
    *streams, far = passed
    pid = os.fork()
    if not pid:
        os.close(far)
        _become(streams, **json.loads(message))
    for stream in streams:
        os.close(stream)
    # If nobody waits for it any more, it is waited for all the same: none is left a zombie.
    with socket.socket(fileno=far) as ending:
        with contextlib.suppress(OSError):
            ending.send(str(pid).encode())
        # Its number is nobody else's before its end is known.
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        with contextlib.suppress(OSError):
            ending.send(str(code).encode())
        os.waitpid(pid, 0)
    os._exit(0)


def _become(
    streams: list[int],
    words: list[str],
    cwd: str,
    env: dict[str, str],
    killed_at: drill.Point | None,
) -> NoReturn:
    from balsam.cli import main
    from balsam.conf import bootstrap

    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    bootstrap.setup()  # for what it adds to the environment
    if killed_at:
        drill.arm(*killed_at)
    sys.argv = [str(ROOT / "balsam" / "__main__.py"), *words]
    code = 1
    try:
        main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:  # noqa: BLE001 (told, as Python tells it)
        traceback.print_exc()
    # As Python ends, but for taking apart each module, which would copy all that was forked.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _import_all() -> None:
    from django.db import connections

    from balsam.conf import bootstrap

    bootstrap.setup()
    for package in PACKAGES:
        found = importlib.import_module(f"balsam.{package}")
        for module in pkgutil.walk_packages(found.__path__, f"balsam.{package}."):
            importlib.import_module(module.name)
    importlib.import_module(LAUNCHER)
    # Which kind of database it is, is found out by whoever asks it first.
    for alias in connections:
        del connections[alias]
    # It takes its job from the environment as it is imported.
    if "balsam.launcher.dag" in sys.modules:
        raise AssertionError("balsam.launcher.dag is imported with the command line")


if __name__ == "__main__":
    _import_all()
    if os.fork():  # for tests that look whether any child of theirs is left
        os._exit(0)
    _serve(socket.socket(fileno=int(sys.argv[1])))
