"""A balsam command that is killed at a call: ``drill.py MODULE:NAME WHEN NUMBER COMMAND...``.

WHEN is ``before`` or ``after`` the call, or ``torn``: the call gets half of its last argument, a
text of bytes, and then the process is killed. The name is looked up where it is used.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import os
import signal
import sys
from typing import Any

from balsam.cli import main
from balsam.conf import bootstrap


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def wrap(target: str, when: str, number: int) -> None:
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


if __name__ == "__main__":
    bootstrap.setup()
    target, when, number = sys.argv[1:4]
    wrap(target, when, int(number))
    sys.argv[1:4] = []
    main()
