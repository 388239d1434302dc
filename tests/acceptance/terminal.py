"""A directory to type commands in as people do, in a shell that finds ``balsam`` on PATH."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import connection

from balsam.conf import current

ROOT = Path(__file__).parents[2]
#: What pip would install, by the function behind it.
COMMANDS = {"balsam": "main", "balsam_launcher": "launcher_main"}
#: Longer than anything here takes on a busy machine.
PATIENCE_SECONDS = 120.0


class Terminal:
    """An empty home directory; ``cwd`` is where commands are typed."""

    def __init__(self, home: Path, python: str = sys.executable) -> None:
        self.home = home
        self.cwd = home / "work"
        self.cwd.mkdir(parents=True)
        programs = home / "bin"
        programs.mkdir()
        for name, function in COMMANDS.items():
            script = programs / name
            script.write_text(f"#!{python}\nfrom balsam.cli import {function}\n{function}()\n")
            script.chmod(0o755)
        # Unbuffered ranks would write their lines in pieces, which get mixed.
        hidden = ("BALSAM", "PYTHONUNBUFFERED")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
        self.env.update(
            HOME=str(home),
            PYTHONPATH=str(ROOT),
            PATH=f"{programs}:{ROOT}/scripts:{os.path.dirname(python)}:{self.env['PATH']}",
        )

    def type(self, line: str, code: int = 0) -> str:
        """What a line of shell prints, errors included; it has to end with ``code``."""
        done = subprocess.run(
            ["/bin/sh", "-c", line],
            cwd=self.cwd, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=PATIENCE_SECONDS,
        )  # fmt: skip
        assert done.returncode == code, f"{line}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def type_in_bash(self, *lines: str) -> str:
        """What lines print that are typed into one bash, each of which has to succeed."""
        script = "set -e\n" + "\n".join(lines)
        return self.type(f"bash -c {shlex.quote(script)}")

    @contextmanager
    def record(self, project: Path) -> Iterator[None]:
        """A block in which this process asks the record of a project made here."""
        connection.close()
        os.environ["BALSAM_DB_PATH"] = str(project)
        current.forget()
        try:
            yield
        finally:
            connection.close()
            del os.environ["BALSAM_DB_PATH"]
            current.forget()
