"""A command on a terminal of its own, with somebody who answers its question."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def answered(
    arguments: Sequence[str], cwd: Path, env: Mapping[str, str], answer: str
) -> tuple[int, str]:
    """The exit code and the screen of a command to which ``answer`` is typed."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        list(arguments), cwd=cwd, env=dict(env), stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        os.write(ours, answer.encode())
        screen = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            screen += piece
        os.close(ours)
        return process.wait(60), screen.decode()
