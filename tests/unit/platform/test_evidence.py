from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.platform.evidence import (
    OomWatch,
    default_oom_counters,
    describe_exit,
    oom_victims,
    tail,
)


@pytest.mark.parametrize(
    ("returncode", "number", "words"),
    [
        (3, None, "exit code 3"),
        (0, 0, "exit code 0"),
        (None, 9, "signal 9 (SIGKILL)"),
        (-15, None, "signal 15 (SIGTERM)"),
        (-9, 9, "signal 9 (SIGKILL)"),
        (None, signal.SIGRTMIN + 5, f"signal {signal.SIGRTMIN + 5}"),
        (None, None, "unknown exit code"),
    ],
)
def test_describe_exit(returncode: int | None, number: int | None, words: str) -> None:
    assert describe_exit(returncode, number) == words


def test_oom_watch_sees_a_counter_rise_once(tmp_path: Path) -> None:
    machine, group = tmp_path / "vmstat", tmp_path / "memory.events"
    machine.write_text("nr_free_pages 12\noom_kill 7\ndrop_slab 0\n")
    group.write_text("low 0\noom 3\noom_kill 2\noom_group_kill 0\n")
    watch = OomWatch([machine, group, tmp_path / "no-such-file"])
    assert not watch.struck()
    group.write_text("low 0\noom 4\noom_kill 2\noom_group_kill 9\n")
    assert not watch.struck()
    group.write_text("low 0\noom 4\noom_kill 3\noom_group_kill 9\n")
    assert watch.struck()
    assert not watch.struck(), "one kill explains one death"
    machine.write_text("nr_free_pages 9\noom_kill 9\n")
    assert watch.struck()
    assert watch.struck()
    assert not watch.struck()


def test_an_oom_kill_outlives_one_look_at_the_counters_but_not_two(tmp_path: Path) -> None:
    """A look may come between a kill and the question; kills of long ago explain nothing."""
    machine = tmp_path / "vmstat"
    machine.write_text("oom_kill 7\n")
    watch = OomWatch([machine])
    early = time.monotonic()
    machine.write_text("oom_kill 8\n")
    watch.refresh()
    late = time.monotonic()
    assert not watch.struck(began=late), "it had not begun"
    assert watch.struck(began=early)
    machine.write_text("oom_kill 9\n")
    watch.refresh()
    watch.refresh()
    assert not watch.struck(began=early)


def test_oom_watch_survives_counters_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\x00\xffoom_kill x\n")
    watch = OomWatch([tmp_path, tmp_path / "binary"])
    assert not watch.struck()
    assert not OomWatch().struck()


@pytest.mark.parametrize(
    ("line", "file"),
    [
        ("0::/user.slice/job_12", "user.slice/job_12/memory.events"),
        ("4:memory:/slurm/job_12", "memory/slurm/job_12/memory.oom_control"),
        ("4:cpu,memory:/not/mounted", "memory/memory.oom_control"),
    ],
)
def test_the_counters_of_either_cgroup_version_are_found(
    tmp_path: Path, line: str, file: str
) -> None:
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "vmstat").write_text("oom_kill 0\n")
    (proc / "self" / "cgroup").write_text(f"9:pids:/\n{line}\n")
    counter = cgroups / file
    counter.parent.mkdir(parents=True)
    counter.write_text("oom_kill 0\n")
    assert default_oom_counters(proc, cgroups) == (proc / "vmstat", counter)
    assert default_oom_counters(tmp_path / "nothing", cgroups) == ()


def test_tail_is_the_end_of_the_file(tmp_path: Path) -> None:
    output = tmp_path / "job.out"
    output.write_text("one\ntwo\nthree\n")
    assert tail(output, 2) == "two\nthree"
    assert tail(output, 9) == "one\ntwo\nthree"
    assert tail(output, 0) == ""
    output.write_text("no newline at the end")
    assert tail(str(output), 1) == "no newline at the end"
    output.write_text("")
    assert tail(output, 5) == ""


def test_tail_of_a_huge_file_reads_its_end_and_no_half_line(tmp_path: Path) -> None:
    output = tmp_path / "job.out"
    with output.open("wb") as file:
        file.seek(1 << 33)
        file.write(b"x" * 50 + b"\nfirst whole line\nlast line\n")
    assert tail(output, 16, max_bytes=40) == "first whole line\nlast line"
    output.write_bytes(b"y" * 10000)
    assert tail(output, 16, max_bytes=100) == "y" * 100


def test_tail_is_printable(tmp_path: Path) -> None:
    output = tmp_path / "job.out"
    output.write_bytes(b"ok \xc3\xa9\nnul \x00 esc \x1b[1m bad \xff\ttab\r\n10%\r50%\r100%\n")
    assert tail(output, 9) == "ok \xe9\nnul \ufffd esc \ufffd[1m bad \ufffd\ttab\n100%"


def test_tail_of_what_is_no_file_is_empty(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "missing", tmp_path, tmp_path / "fifo", "nul\0name"):
        assert tail(path, 5) == ""


@given(st.binary(max_size=300), st.integers(0, 6), st.integers(1, 80))
def test_tail_is_bounded_whatever_the_file(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, lines: int, max_bytes: int
) -> None:
    output = tmp_path_factory.getbasetemp() / "any.out"
    output.write_bytes(content)
    text = tail(output, lines, max_bytes)
    assert len(text) <= max_bytes
    assert len(text.split("\n")) <= max(lines, 1)
    assert all(char.isprintable() or char in "\n\t" or ord(char) > 127 for char in text)


def kmsg(path: Path, *records: tuple[float, int]) -> Path:
    """A file like /dev/kmsg, except that one read gives all of it."""
    lines = (
        f"3,{number},{int(when * 1e6)},-;Memory cgroup out of memory: Killed process {pid} (x) ..."
        for number, (when, pid) in enumerate(records)
    )
    path.write_text("\n".join(lines))
    return path


def test_the_kernels_messages_say_whom_it_struck(tmp_path: Path) -> None:
    now = time.monotonic()
    counter = tmp_path / "vmstat"
    counter.write_text("oom_kill 1\n")
    messages = kmsg(tmp_path / "kmsg", (now + 5, 17))
    watch = OomWatch([counter], messages)
    assert not watch.struck(17)
    counter.write_text("oom_kill 4\n")
    assert watch.struck(17) and watch.struck()
    assert not watch.struck(18)  # killed by somebody else
    kmsg(messages, (now - 100, 17))
    assert oom_victims(messages, now) == set()
    assert watch.struck(18)  # the messages do not tell
    assert oom_victims(tmp_path / "none", now) is None
    assert OomWatch([counter], tmp_path / "none").struck(18) is False


def test_the_real_messages_are_read_to_their_end() -> None:
    found = oom_victims("/dev/kmsg", time.monotonic())
    assert found is None or found == set()
