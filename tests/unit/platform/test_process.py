"""How a process ended, and what it used."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from balsam.errors import LaunchError
from balsam.platform import process
from balsam.platform.process import Exit, RunSpec

WRITES = """
import os, subprocess, sys
data = b"x" * 2_000_000
for name in ("a", "b"):
    with open(name, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
if len(sys.argv) == 1:
    subprocess.run([sys.executable, sys.argv[0], "child"], check=True)
"""


def ran(spec: RunSpec) -> Exit:
    begun = time.monotonic()
    pid = process.spawn(spec)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    end = process.reap(pid, begun)
    assert end is not None
    return end


def spec(tmp_path: Path, *argv: str) -> RunSpec:
    return RunSpec(argv, str(tmp_path), dict(os.environ), str(tmp_path / "out"))


@pytest.mark.parametrize("field", ["cwd", "output"])
def test_a_name_that_the_system_can_not_spell_is_a_failed_start(tmp_path: Path, field: str) -> None:
    """As in a locale without UTF-8: it is the job's end, not the launcher's."""
    with pytest.raises(LaunchError, match=r"codec can't encode .*\.$"):
        process.spawn(replace(spec(tmp_path, "/bin/true"), **{field: f"{tmp_path}/\ud800"}))


def test_the_time_it_took_is_of_a_clock_that_nobody_sets(tmp_path: Path) -> None:
    end = ran(spec(tmp_path, "/bin/sh", "-c", "sleep 0.05"))
    assert 0.05 <= end.wall_seconds < 30
    pid = process.spawn(spec(tmp_path, "/bin/true"))
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    found = process.reap(pid)
    assert found is not None and found.wall_seconds == 0.0


def test_what_it_and_its_children_wrote_is_counted(tmp_path: Path) -> None:
    """As /proc/PID/io counts it, so nothing where that counts nothing (as on tmpfs)."""
    script = tmp_path / "writes.py"
    script.write_text(WRITES)
    before = counted()
    (tmp_path / "probe").write_bytes(b"x" * 100_000)
    counts = counted() > before
    end = ran(spec(tmp_path, sys.executable, str(script)))
    assert end.returncode == 0, (tmp_path / "out").read_text()
    assert end.write_bytes >= (8_000_000 if counts else 0)
    assert end.cpu_seconds > 0


def counted() -> int:
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("write_bytes:"):
            return int(line.split()[1])
    return 0


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGHUP, signal.SIGPIPE])
def test_a_task_can_catch_what_those_who_start_it_ignore(tmp_path: Path, number: int) -> None:
    """A shell can trap no signal that was ignored when it began: checkpoints would not be saved."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        ran(spec(tmp_path, "/bin/sh", "-c", f"trap 'echo caught' {number}; kill -{number:d} $$"))
    finally:
        signal.signal(number, before)
    assert (tmp_path / "out").read_text() == "caught\n"
