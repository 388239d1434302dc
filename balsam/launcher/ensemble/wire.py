"""Frames: how messages look on a pipe, a socket, or in an MPI message.

A frame is a record separator, an address, a space, JSON in ASCII and a newline (close to RFC 7464).
What others print into the same pipe, mpirun for instance, is told apart by that. The address is a
node's name, or CONTROL for what is between neighbours.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from typing import Any

from balsam.platform.process import RunSpec

#: The address of what is for the next one in line, not for a node.
CONTROL = "!"
MARK = b"\x1e"
_CONTROL_FRAME = MARK + CONTROL.encode() + b" "
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def frame(address: str, body: Any) -> bytes:
    """One message, ready to be sent."""
    return f"\x1e{address} {_encode(body)}\n".encode()


def control(**body: Any) -> bytes:
    """A message for the next one in line."""
    return frame(CONTROL, body)


class Splitter:
    """Finds the frames in a stream of bytes that comes in pieces."""

    def __init__(self) -> None:
        self._rest = b""
        #: The last lines that were no frames.
        self.noise: deque[str] = deque(maxlen=20)

    def lines(self, data: bytes) -> list[bytes]:
        """The frames that ``data`` completes, as they came, each with its newline."""
        whole, newline, rest = data.rpartition(b"\n")
        if not newline:
            self._rest += data
            return []
        whole, self._rest = self._rest + whole, rest
        found = []
        for line in whole.split(b"\n"):
            start = line.rfind(MARK)
            if start:
                self._note(line if start < 0 else line[:start])
            if start >= 0:
                found.append(line[start:] + b"\n")
        return found

    def frames(self, data: bytes) -> list[tuple[str, Any]]:
        """Address and body of the frames that ``data`` completes; damaged ones are noise."""
        found = []
        for line in self.lines(data):
            try:
                found.append(parse(line))
            except ValueError:
                self._note(line)
        return found

    def _note(self, line: bytes) -> None:
        text = line.decode(errors="replace").strip()
        if text:
            self.noise.append(text)


def parse(line: bytes) -> tuple[str, Any]:
    """Address and body of one frame. Raises ValueError."""
    address, space, body = line[1:].partition(b" ")
    if not space or not address:
        raise ValueError("a frame without an address")
    return address.decode(), json.loads(body)


def is_control(line: bytes) -> bool:
    """Whether a frame is for the next one in line."""
    return line.startswith(_CONTROL_FRAME)


def pack(spec: RunSpec, base: Mapping[str, str]) -> list[Any]:
    """A RunSpec as JSON values, its environment as a difference to ``base``."""
    env = spec.env
    changed = {name: value for name, value in env.items() if base.get(name) != value}
    missing = [name for name in base if name not in env]
    return [
        list(spec.argv),
        spec.cwd,
        spec.output,
        int(spec.append),
        int(spec.sigpipe),
        list(spec.cpus),
        changed,
        missing,
    ]


def unpack(packed: list[Any], base: Mapping[str, str]) -> RunSpec:
    """The RunSpec of :func:`pack`."""
    argv, cwd, output, append, sigpipe, cpus, changed, missing = packed
    env = {**base, **changed}
    for name in missing:
        env.pop(name, None)
    return RunSpec(argv, cwd, env, output, bool(append), bool(sigpipe), tuple(cpus))
