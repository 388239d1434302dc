"""The command line: parse, call, render."""

from __future__ import annotations

import gc
import os
import sys
from typing import NoReturn

#: Reference counts free nearly all that a command or a launcher makes; what they leave are few
#: cycles. To look for those as often as Python does by default takes several per cent of the time.
COLLECT_EVERY = 10_000


def main() -> NoReturn:
    """Run ``balsam`` on the words of the command line and exit."""
    _start("balsam")


def launcher_main() -> NoReturn:
    """Run ``balsam_launcher``, which is ``balsam launcher`` under the name batch scripts use."""
    _start("balsam_launcher", "launcher")


def _start(prog: str, command: str | None = None) -> NoReturn:
    asked = os.environ.get("_BALSAM_COMPLETE")
    if asked:
        from balsam.cli.shells import answer

        sys.exit(answer(prog, asked, command))
    gc.set_threshold(COLLECT_EVERY)
    from balsam.cli.boundary import run

    code = run(prog, sys.argv[1:], command)
    # Before it ends, the interpreter searches everything for garbage: a fifth of a short command.
    gc.freeze()
    sys.exit(code)
