"""What a snapshot of the campaign looks like, in one line and in many."""

from __future__ import annotations

from datetime import datetime, timezone

from balsam import states
from balsam.cli.watch import MOST, line, lines
from balsam.core.progress import Failure, Launcher, Progress, Running

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


def launcher(
    pid: int, alive: bool = True, workflows: str = "", left: float | None = None
) -> Launcher:
    return Launcher(1, "n1", pid, alive, "live", 2, workflows, left, 3.0)


def test_a_snapshot() -> None:
    counts = {states.READY: 5, states.RUNNING: 1, states.JOB_FINISHED: 1200, states.FAILED: 2}
    now = Progress(
        NOW, counts, 12.0,
        [Running(7, "[a | 12345678]", "n1, n2", 61.0, 1)],
        [launcher(10, left=125.0, workflows="w*"), launcher(11, alive=False)],
        [Failure(8, "[b\n | 12345678]", 4.0, "exit: RETURN CODE 7")],
    )  # fmt: skip
    assert line(now) == "1 running, 1200 done, 2 failed, 5 waiting, 12 per minute, 1 launcher"
    assert list(lines(now)) == [
        "1,202 of 1,208 jobs ended, 12 per minute",
        "READY 5  RUNNING 1  JOB_FINISHED 1,200  FAILED 2",
        "Launchers",
        "  n1, process 10: 2 running, workflow w*, 2 min 5 s left, heard of 3 s ago",
        "  n1, process 11: dead, heard of 3 s ago; the next launcher recovers its jobs",
        "Running longest",
        "     1 min 1 s  7 [a | 12345678] on n1, n2",
        "Failed last",
        "       4 s ago  8 [b\\n | 12345678] exit: RETURN CODE 7",
    ]


def test_an_empty_project_says_what_to_start() -> None:
    told = list(lines(Progress(NOW, {}, 0.0, [], [], [])))
    assert told[0] == "0 of 0 jobs ended, 0 per minute"
    assert told[-1] == "  none; start one with: balsam launcher --consume-all"


def test_many_launchers_do_not_fill_the_screen() -> None:
    now = Progress(NOW, {}, 0.0, [], [launcher(pid) for pid in range(MOST + 5)], [])
    assert list(lines(now))[-1] == "  ... and 5 more"
