"""How much memory each kind of process takes at a large campaign."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from tests.benchmarks.project import ROOT, Bench, stop
from tests.benchmarks.project_database import NAMES
from tests.benchmarks.table import Table

#: How long a launcher is watched that has jobs to pass on and to run.
WATCH_SECONDS = 30.0
BAR = 200.0
COMMANDS = ("ls --by-states", "ls", "ls --state FAILED --history", "ls --by-reason", "watch --once")
#: Each writes or reads all the jobs.
DUMPS = ("ls --csv", "ls --json", "ls --tree")


def measure(made: Bench, table: Table) -> None:
    """Add rows of megabytes: of a launcher, of the command line, of a script with ``dag``."""
    name = NAMES[made.kind]
    launcher = made.start("--persistent")
    try:
        time.sleep(WATCH_SECONDS)
        peak = peak_of(launcher.pid)
    finally:
        stop(launcher)
    table.add(f"{name}: launcher", "MB", [peak], most=BAR)
    client = [sys.executable, "-m", "tests.benchmarks.client", "memory", "5"]
    table.add(f"{name}: script that adds jobs and asks", "MB", [_peak_of_run(made, client)])
    for line in (*COMMANDS, *DUMPS):
        words = [sys.executable, "-m", "balsam", *line.split()]
        table.add(f"{name}: balsam {line}", "MB", [_peak_of_run(made, words)], most=BAR)


def _peak_of_run(made: Bench, words: list[str]) -> float:
    # The kernel counts what this process had when it started that one, if it was more.
    process = subprocess.Popen(
        words, env=made.environ, cwd=ROOT, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{words} ended with {process.returncode}")
    return usage.ru_maxrss / 1000


def peak_of(pid: int) -> float:
    """Megabytes; 0 once the process has ended."""
    try:
        with open(f"/proc/{pid}/status") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 1000
    except OSError:
        return 0.0
    return 0.0
