"""A clock that can be set for single processes, by a small library that is loaded into them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")


def missing() -> str:
    """Why there can be no such clock here, '' if there can."""
    return "" if shutil.which("cc") else "not installed: cc (a C compiler)"


class Clock:
    """A clock that runs as usual until it is told to jump."""

    def __init__(self, directory: Path) -> None:
        self._library = directory / "clock.so"
        self._offset = directory / "clock-offset"
        command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(self._library), str(SOURCE), "-ldl"]
        subprocess.run(command, check=True)
        self.environ = {"LD_PRELOAD": str(self._library), "CLOCK_JUMP": str(self._offset)}

    def jump(self, seconds: int) -> None:
        """Set the clock to that far from the truth, at once for all who use it."""
        new = self._offset.with_suffix(".new")
        new.write_text(str(seconds))
        os.replace(new, self._offset)
