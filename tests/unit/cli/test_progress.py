"""The launcher's progress, on a terminal and elsewhere."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

import pytest

from balsam.cli.progress import Progress, line
from balsam.launcher.options import Snapshot


def snap(**changes: Any) -> Snapshot:
    base = Snapshot(1, 2, 0, 3, rate_per_s=1.25, seconds_left=61.0, elapsed=3661.0)
    return dataclasses.replace(base, **changes)


def test_a_line_says_it_all() -> None:
    assert line(snap()) == (
        "[1:01:01] 1 running, 2 done, 0 failed, 3 waiting, 1.2 jobs/s, 0:01:01 left"
    )


def test_killed_jobs_are_no_failures_and_old_failures_no_news(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "2 done, 4 failed, 5 killed, 3 waiting" in line(snap(failed=4, killed=5))
    with Progress(period_seconds=0, terminal=False) as report:
        report(snap(failed=4, killed=5, final=True))
    assert "ls --state" not in capsys.readouterr().out


def test_lines_come_now_and_then_and_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(period_seconds=1000, terminal=False) as report:
        for done in range(5):
            report(snap(done=done))
        report(snap(done=9, failed=1, newly_failed=1, waiting=0, final=True))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "0 done" in lines[0] and "9 done" in lines[1]
    assert "balsam ls --state FAILED --history" in lines[2]


def test_jobs_that_wait_in_the_end_are_hinted_at(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ("--wf=a b", "--tag=k=v")
    with Progress(period_seconds=0, terminal=False, chosen=chosen) as report:
        report(snap(waiting=1))
        report(snap(waiting=1, final=True))
    *_, progress, hint = capsys.readouterr().out.splitlines()
    assert hint == "Why jobs wait: balsam ls --by-reason '--wf=a b' --tag=k=v"
    assert "1 waiting" in progress


def test_a_notice_is_never_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    for terminal in (True, False):
        with Progress(period_seconds=1000, terminal=terminal) as report:
            report(snap())
            report(snap(notice="[x] has no mpirun"))
        assert "[x] has no mpirun" in capsys.readouterr().out


def test_the_live_view_has_no_thread(capsys: pytest.CaptureFixture[str]) -> None:
    before = threading.active_count()
    with Progress(period_seconds=1000, terminal=True) as report:
        report(snap())
        assert threading.active_count() == before
        report(snap(final=True, running=0, waiting=0))
    assert "2 done" in capsys.readouterr().out


def test_a_lost_terminal_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed:
        def write(self, text: str) -> int:
            raise BrokenPipeError

        def flush(self) -> None:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Closed())
    with Progress(period_seconds=0, terminal=False) as report:
        report(snap())
        report(snap(final=True))
