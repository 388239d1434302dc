"""What a child took of memory, and what only looks like it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from balsam.platform import memory, process
from balsam.platform.process import Exit, RunSpec


def ran(directory: Path, *argv: str) -> Exit:
    pid = process.spawn(RunSpec(argv, str(directory), dict(os.environ), str(directory / "out")))
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    found = process.reap(pid)
    assert found is not None and found.returncode == 0
    return found


def test_our_own_memory_is_not_taken_for_that_of_a_child(tmp_path: Path) -> None:
    """To the kernel, /bin/true needs as much as the process that started it."""
    assert ran(tmp_path, "/bin/true").max_rss_kb == 0
    wanted = 2 * memory._own_peak() + 50_000
    found = ran(tmp_path, sys.executable, "-c", f"x = b'x' * ({wanted} * 1024)").max_rss_kb
    assert wanted < found < wanted + 100_000
    # A child that waits for others answers for the largest of them.
    script = f'"{sys.executable}" -c "x = b\'x\' * ({wanted} * 1024)"; exit 0'
    assert wanted < ran(tmp_path, "/bin/sh", "-c", script).max_rss_kb < wanted + 100_000


def test_the_floor_rises_with_us_and_is_read_only_if_it_has_to_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peaks = iter([1000, 2000, 3000])
    monkeypatch.setattr(memory, "_own_peak", lambda: next(peaks))
    monkeypatch.setattr(memory, "_MARGIN_KB", 100)
    floor = memory.Floor()
    assert floor.known(1000) == 0  # read: 1000
    assert floor.known(1050) == floor.known(900) == 0
    assert floor.known(2500) == 2500  # read: 2000
    assert floor.known(2100) == 0
    assert floor.known(3100) == 0  # read: 3000


def test_a_system_that_tells_nothing(tmp_path: Path) -> None:
    assert memory._own_peak(str(tmp_path / "none")) == 0
    (tmp_path / "status").write_text("Name:\tx\nVmHWM:\t   4711 kB\n")
    assert memory._own_peak(str(tmp_path / "status")) == 4711
