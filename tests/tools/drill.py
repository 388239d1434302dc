"""A process that is killed at a call.

``before`` or ``after`` the call, or with the call ``torn``: it gets half of its last argument,
which is bytes. The name is looked up where it is used.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import os
import signal
from typing import Any

#: A target, MODULE:NAME; when; and the number of the call.
Point = tuple[str, str, int]


def die() -> None:
    """As by kill -9."""
    os.kill(os.getpid(), signal.SIGKILL)


def arm(target: str, when: str, number: int) -> None:
    """Let this process be killed at the ``number``-th call of a target."""
    module, _, path = target.partition(":")
    owner: Any = importlib.import_module(module)
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    real = getattr(owner, name)
    calls = itertools.count(1)

    @functools.wraps(real)
    def drilled(*arguments: Any, **named: Any) -> Any:
        fatal = next(calls) == number
        if fatal and when == "before":
            die()
        if fatal and when == "torn":
            *first, data = arguments
            real(*first, data[: len(data) // 2])
            die()
        result = real(*arguments, **named)
        if fatal:
            die()
        return result

    setattr(owner, name, drilled)
