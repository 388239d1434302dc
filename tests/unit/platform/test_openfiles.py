"""Other processes that have a file open are found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from balsam.platform import openfiles


def test_who_has_a_file_open(tmp_path: Path) -> None:
    file, other = tmp_path / "file", tmp_path / "other"
    file.touch()
    other.touch()
    with (
        open(file) as ours,
        subprocess.Popen(
            [sys.executable, "-c", "import sys; print('x', flush=True); sys.stdin.read()"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(ours.fileno(),),
        ) as process,
    ):  # fmt: skip
        assert process.stdout and process.stdout.readline() == b"x\n"
        assert openfiles.holders([file]) == [process.pid]
        assert openfiles.holders([other, tmp_path / "missing"]) == []
        assert "sys.stdin.read" in openfiles.command_of(process.pid)
        process.communicate(b"")
    assert openfiles.holders([file]) == []
    assert openfiles.command_of(process.pid) == ""
    assert os.getpid() not in openfiles.holders([file])
