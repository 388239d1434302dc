"""The command line: parse, call, render."""

from __future__ import annotations

import os
import sys
from typing import NoReturn


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
    from balsam.cli.boundary import run

    sys.exit(run(prog, sys.argv[1:], command))
