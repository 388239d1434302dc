"""Processes that write all the time to one record: how many of them each database serves."""

from __future__ import annotations

import subprocess
import sys

from tests.benchmarks.options import POSTGRES, SQLITE, Options
from tests.benchmarks.project import ROOT, Bench, bench
from tests.benchmarks.stopwatch import read
from tests.benchmarks.table import Table

NUMBERS, SECONDS = (1, 2, 4, 8, 16), 10.0
#: Journal mode of SQLite, or '' -> what the rows are called.
WAYS = {
    (SQLITE, "wal"): "SQLite, write-ahead log",
    (SQLITE, "delete"): "SQLite, rollback journal",
    (POSTGRES, ""): "Postgres",
}


def measure(options: Options) -> list[Table]:
    """One table for all databases."""
    table = Table(
        "Writers at once",
        f"Each process adds jobs for {SECONDS:.0f} seconds without a pause, a transaction with its "
        "event for each: far more than a launcher or script does. The longest wait is of any of "
        "them for one transaction; the slowest is the one that got the least done.",
    )
    for (database, journal), name in WAYS.items():
        if database not in options.databases:
            continue
        with bench(database) as made:
            if journal:
                settings = made.path / "settings.yml"
                text = settings.read_text()
                settings.write_text(text.replace("journal_mode: wal", f"journal_mode: {journal}"))
            for number in NUMBERS:
                found = _together(made, number)
                several = f"{number} writer{'s' if number > 1 else ''}"
                total = sum(len(times) for times in found) / SECONDS
                table.add(f"{name}: {several}, together", "/s", [total])
                slowest = min(len(times) for times in found) / SECONDS
                table.add(f"{name}: {several}, the slowest of them", "/s", [slowest])
                every = sorted(time for times in found for time in times)
                table.add(f"{name}: {several}, 99 in 100", "ms", [every[len(every) * 99 // 100]])
                table.add(f"{name}: {several}, longest wait", "ms", [every[-1]])
    return [table]


def _together(made: Bench, number: int) -> list[list[float]]:
    writers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.writer", f"w{index}", str(SECONDS)],
            env=made.environ, cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for index in range(number)
    ]  # fmt: skip
    for writer in writers:
        assert writer.stdout is not None
        if writer.stdout.readline() != "ready\n":
            raise RuntimeError("a writer could not begin")
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    found = []
    for writer in writers:
        printed, _ = writer.communicate(timeout=SECONDS + 300)
        if writer.returncode:
            raise RuntimeError(f"a writer ended with {writer.returncode}")
        found.append(read(printed)["write"])
    return found
