"""The command line: parse, call, render."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run ``balsam`` on the words of the command line and exit."""
    from balsam.cli.boundary import run

    sys.exit(run("balsam", sys.argv[1:]))


def launcher_main() -> NoReturn:
    """Run ``balsam_launcher``, which is ``balsam launcher`` under the name batch scripts use."""
    from balsam.cli.boundary import run

    sys.exit(run("balsam_launcher", sys.argv[1:], command="launcher"))
