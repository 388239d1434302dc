"""``python -m balsam``, forked from a process that has imported it: most of a start is imports.

Each command is a session of its own with the environment, directory, words and streams that it is
given, and exits with the code that ``main`` gives. What a start does, and which modules a command
imports itself, is for the tests that start Python.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
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
from typing import NoReturn

ROOT = Path(__file__).parents[2]
#: No message is longer; most of it is an environment.
MESSAGE_BYTES = 200_000
#: What commands import, sooner or later.
PACKAGES = ("cli", "conf", "core", "doctor")

_lock = threading.Lock()
_channel: socket.socket | None = None


def run(
    words: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[bytes]:
    """A command line with empty input, once it has ended and nobody holds its streams.

    After killing it, and what it has started, ``subprocess.TimeoutExpired``.
    """
    global _channel
    request = json.dumps({"words": words, "cwd": str(cwd), "env": dict(env)}).encode()
    with _lock:
        try:
            return _Command(_prepared(), list(words), request).end(timeout)
        except BaseException:
            # What it would still say is no answer to the next.
            if _channel is not None:
                _channel.close()
                _channel = None
            raise


def run_text(
    words: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """The same with what it printed as text."""
    done = run(words, cwd=cwd, env=env, timeout=timeout)
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


class _Command:
    """A command that runs: the pipes it writes into, and the socket that tells its exit code."""

    def __init__(self, channel: socket.socket, words: list[str], request: bytes) -> None:
        self.words = words
        self.channel = channel
        self.code: int | None = None
        (self.out, out), (self.err, err) = os.pipe(), os.pipe()
        self.said = {self.out: b"", self.err: b""}
        with open(os.devnull, "rb") as nothing:
            socket.send_fds(channel, [request], [nothing.fileno(), out, err])
        os.close(out)
        os.close(err)
        self.pid = self._answer()

    def end(self, timeout: float) -> subprocess.CompletedProcess[bytes]:
        """Wait until it has ended and nobody can write into its pipes any more."""
        in_time = False
        try:
            in_time = self._follow(time.monotonic() + timeout)
        finally:
            if self.code is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
            os.close(self.out)
            os.close(self.err)
        out, err = self.said.values()
        if self.code is None or not in_time:
            raise subprocess.TimeoutExpired(self.words, timeout, out, err)
        return subprocess.CompletedProcess(self.words, self.code, out, err)

    def _follow(self, give_up: float) -> bool:
        """Take in what it writes and how it ends; whether that was all."""
        with selectors.DefaultSelector() as waiting:
            for end in (self.channel, *self.said):
                waiting.register(end, selectors.EVENT_READ)
            while waiting.get_map():
                ready = waiting.select(max(give_up - time.monotonic(), 0))
                if not ready:
                    return False
                for key, _ in ready:
                    if key.fileobj is self.channel:
                        self.code = self._answer()
                        waiting.unregister(self.channel)
                        continue
                    piece = os.read(key.fd, 65536)
                    self.said[key.fd] += piece
                    if not piece:
                        waiting.unregister(key.fd)
        return True

    def _answer(self) -> int:
        text = self.channel.recv(MESSAGE_BYTES)
        if not text:
            raise ConnectionError("The process that commands are forked from has ended.")
        return int(text)


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
    """Fork for each request; answer with the process, then with its exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()
    while True:
        message, streams, _, _ = socket.recv_fds(channel, MESSAGE_BYTES, 3)
        if not message:
            return
        pid = os.fork()
        if not pid:
            channel.close()
            _become(streams, **json.loads(message))
        for stream in streams:
            os.close(stream)
        try:
            channel.send(str(pid).encode())
            _, status = os.waitpid(pid, 0)
            channel.send(str(os.waitstatus_to_exitcode(status)).encode())
        except OSError:  # nobody waits for it any more
            return


def _become(streams: list[int], words: list[str], cwd: str, env: dict[str, str]) -> NoReturn:
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
